"""拣货单, 装箱单 and 面单: what is picked, what goes into each parcel, and where it goes."""

from collections.abc import Sequence
from typing import Any

from flask_babel import get_locale, gettext

from kernel import pdf
from kernel.clock import local
from kernel.errors import NotFound
from orders.queries import ParcelView
from orders.rules import Line

MOST_PARCELS = 500


def printed(paper: str, parcels: Sequence[ParcelView]) -> bytes:
    """Return a paper by its name: 'pick-list', 'slips' or 'labels'. Raises NotFound for another name."""
    papers = {"pick-list": pick_list, "slips": slips, "labels": labels}
    if paper not in papers:
        raise NotFound("没有找到您要的内容。")
    return papers[paper](parcels)


def _name(line: Line) -> str:
    chinese = str(get_locale()).startswith("zh")
    return line.pack_name if chinese else line.pack_name_en or line.pack_name


def _packed(line: Line) -> int:
    """How many go into the box: what is still to be sent, or, where all has left, what was kept of it."""
    return line.to_send or line.left


def _place(delivery: dict[str, Any]) -> str:
    if delivery.get("kind") == "pickup":
        chinese = str(get_locale()).startswith("zh")
        name = delivery.get("station_name", "")
        name = name if chinese else delivery.get("station_name_en") or name
        return f"{gettext('自提')}：{name}"
    return f"{delivery.get('region') or ''} {delivery.get('address') or ''}".strip()


def _department(parcel: ParcelView) -> str:
    """Return whose box this is, in words."""
    name = parcel.department or gettext("（未列名）")
    return f"{gettext('部门')}：{name}"


def pick_list(parcels: Sequence[ParcelView]) -> bytes:
    """Return how many of each pack to bring from the shelf, and for which parcels (A4)."""
    counts: dict[str, int] = {}
    wanted: dict[str, list[str]] = {}
    for parcel in parcels:
        for line in parcel.lines:
            if line.to_send:
                counts[_name(line)] = counts.get(_name(line), 0) + line.to_send
                wanted.setdefault(_name(line), []).append(f"{parcel.id} × {line.to_send}")
    rows: list[Sequence[object]] = [[gettext("礼包"), gettext("份数"), gettext("包裹")]]
    rows += [[name, count, "  ".join(wanted[name])] for name, count in sorted(counts.items())]
    rows.append([gettext("合计"), sum(counts.values()), gettext("%(count)s 个包裹", count=len(parcels))])
    title = gettext("拣货单")
    blocks: list[pdf.Block] = [pdf.Heading(title), pdf.Table(rows, (4, 1, 6), frozenset({1}), bold_last=True)]
    return pdf.document(blocks, title=title, footer=title)


def slips(parcels: Sequence[ParcelView]) -> bytes:
    """Return a packing slip a parcel, each on a page of its own (A4): no prices, as it may be a gift."""
    blocks: list[pdf.Block] = []
    for parcel in parcels:
        rows: list[Sequence[object]] = [[gettext("礼包"), gettext("份数")]]
        rows += [[_name(line), _packed(line)] for line in parcel.lines if _packed(line)]
        paid = local(parcel.paid_at).strftime("%Y-%m-%d %H:%M") if parcel.paid_at else ""
        if blocks:
            blocks.append(pdf.PageBreak())
        blocks += [
            pdf.Heading(gettext("装箱单")),
            pdf.Text(f"{gettext('包裹')} {parcel.id}    {gettext('付款')} {paid}"),
            *([pdf.Heading(_department(parcel), level=2)] if parcel.department is not None else []),
            pdf.Text(f"{parcel.delivery.get('name', '')} {parcel.delivery.get('phone', '')}"),
            pdf.Text(_place(parcel.delivery)),
            pdf.Gap(),
            pdf.Table(rows, (6, 1), frozenset({1})),
            pdf.Gap(),
            pdf.Text(gettext("商品有问题，请在“我的订单”里申请退款，或联系您的基层工会。"), small=True),
        ]
    return pdf.document(blocks, title=gettext("装箱单"))


def labels(parcels: Sequence[ParcelView]) -> bytes:
    """Return an address label a parcel (100 × 150 mm)."""

    def draw_for(parcel: ParcelView) -> Any:
        def draw(page: pdf.Page) -> None:
            top = page.text(5, 4, parcel.lines[0].merchant_name, size=11)
            page.line(top + 2, left=4, right=4)
            top = page.text(5, top + 4, gettext("收件"), size=9)
            if parcel.department is not None:
                top = page.text(5, top, _department(parcel), size=20, lines=2)
            top = page.text(5, top, str(parcel.delivery.get("name", "")), size=18, lines=2)
            top = page.text(5, top + 1, str(parcel.delivery.get("phone", "")), size=16)
            top = page.text(5, top + 1, _place(parcel.delivery), size=13, lines=5)
            page.line(top + 3, left=4, right=4)
            top += 5
            for line in parcel.lines:
                if _packed(line) and top < 100:
                    top = page.text(5, top, f"{_name(line)} × {_packed(line)}", size=9, lines=2)
            page.line(118, left=4, right=4)
            page.barcode(8, 121, parcel.id, width=84, height=14)
            page.text(8, 137, parcel.id, size=11)

        return draw

    return pdf.pages([draw_for(parcel) for parcel in parcels], title=gettext("面单"))
