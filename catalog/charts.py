"""Pictures drawn from figures, on the server, with nothing that runs."""

from collections.abc import Sequence
from datetime import date

import pygal
from flask_babel import gettext

from kernel import charts

STYLE = charts.style(("#b3261e",))


def stock_history(days: Sequence[tuple[date, int]]) -> bytes:
    """Return an SVG of how many packs were available at the end of each day."""
    chart = pygal.Line(
        js=[],
        style=STYLE,
        width=720,
        height=240,
        show_legend=False,
        fill=True,
        include_x_axis=True,
        x_labels_major_every=max(1, len(days) // 6),
        show_minor_x_labels=False,
        dots_size=2,
        truncate_label=-1,
    )
    chart.x_labels = [f"{day.month}-{day.day:02d}" for day, _ in days]
    chart.add(gettext("可售"), [count for _, count in days])
    return bytes(chart.render(disable_xml_declaration=False))
