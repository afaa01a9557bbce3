"""Pictures of a campaign's figures, drawn on the server, with nothing that runs. Each has a table beside it."""

import re
from collections.abc import Sequence
from typing import Any

import pygal

from kernel import charts

COLOURS = ("#b3261e", "#c8963e", "#2f6b2a")


def _options(count: int, height: int) -> dict[str, Any]:
    return {
        "js": [],
        "style": charts.style(COLOURS[:count]),
        "width": 720,
        "height": height,
        "show_legend": count > 1,
        "legend_at_bottom": True,
        "truncate_label": -1,
        "truncate_legend": -1,
        "value_formatter": lambda value: f"{value:,.0f}",
        "include_x_axis": True,
        "disable_xml_declaration": False,
    }


def _plain(chart: Any) -> bytes:
    """Return the picture without the settings that pygal writes for a script of its own, which is not there."""
    return re.sub(rb"<script.*?</script>", b"", bytes(chart.render()), flags=re.DOTALL)


def columns(labels: Sequence[str], *series: tuple[str, Sequence[int]]) -> bytes:
    """Return an SVG of upright columns, such as of days; where there are many, not each is labelled."""
    chart = pygal.Bar(
        **_options(len(series), 260),
        x_labels_major_every=max(1, -(-len(labels) // 8)),
        show_minor_x_labels=False,
    )
    chart.x_labels = list(labels)
    for name, values in series:
        chart.add(name, list(values))
    return _plain(chart)


def bars(labels: Sequence[str], *series: tuple[str, Sequence[int]]) -> bytes:
    """Return an SVG of lying bars with their names beside them, the first on top."""
    chart = pygal.HorizontalBar(**_options(len(series), 110 + 34 * max(1, len(labels)) * len(series)))
    chart.x_labels = list(reversed(labels))
    for name, values in series:
        chart.add(name, list(reversed(values)))
    return _plain(chart)


def lines(labels: Sequence[str], *series: tuple[str, Sequence[int | None]]) -> bytes:
    """Return an SVG of lines from day to day."""
    chart = pygal.Line(
        **_options(len(series), 280),
        x_labels_major_every=max(1, -(-len(labels) // 8)),
        show_minor_x_labels=False,
        dots_size=2,
    )
    chart.x_labels = list(labels)
    for name, values in series:
        chart.add(name, list(values))
    return _plain(chart)
