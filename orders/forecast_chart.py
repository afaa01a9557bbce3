"""A forecast as a picture, drawn on the server, with nothing that runs."""

from collections.abc import Sequence

import pygal
from flask_babel import gettext

from kernel import charts
from voucher.forecast import Line

STYLE = charts.style(("#8a6d1b", "#b3261e", "#5b1a52", "#444444"))


def forecast_lines(lines: Sequence[Line], *, budget_fen: int, claimed: bool) -> bytes:
    """Return an SVG of what each line has taken of the budget by the end of each day, in yuan, and the budget."""
    days = lines[0].days
    chart = pygal.Line(
        js=[],
        style=STYLE,
        width=720,
        height=320,
        include_x_axis=True,
        legend_at_bottom=True,
        x_labels_major_every=max(1, len(days) // 6),
        show_minor_x_labels=False,
        dots_size=2,
        truncate_label=-1,
        truncate_legend=-1,
        value_formatter=lambda value: f"¥{int(value):,}",
    )
    chart.x_labels = [f"{day.day.month}-{day.day.day:02d}" for day in days]
    names = {"low": gettext("低"), "middle": gettext("中"), "high": gettext("高")}
    for line in lines:
        chart.add(names[line.name], [(day.committed_fen if claimed else day.total_fen) // 100 for day in line.days])
    top = lines[-1].days[-1]
    if budget_fen <= 2 * (top.committed_fen if claimed else top.total_fen):  # further up it would press the lines flat
        chart.add(
            gettext("会员预算"), [budget_fen // 100] * len(days), show_dots=False, stroke_style={"dasharray": "6, 4"}
        )
    return bytes(chart.render(disable_xml_declaration=False))
