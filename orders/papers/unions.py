"""What a union's officer prints, downloads and hands in, in the reader's language: sheets and PDF documents."""

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flask_babel import gettext

from kernel import pdf, sheets
from kernel.clock import local
from kernel.money import yuan
from orders import roster
from orders.models import Invoice, Recipient
from orders.queries import OrderView
from orders.rules import delivery_text, only_pack
from people.rules import masked


@dataclass(frozen=True)
class Sheet:
    """What a sign-off sheet is made from: `packs` are the packs' names by id."""

    order: OrderView
    union_name: str
    people: Sequence[Recipient]
    packs: Mapping[int, str]


def template() -> bytes:
    """Return an empty roster to fill in: the phone's column is text, so that no program writes 1.38E+10."""
    return sheets.write([roster.TEMPLATE], widths=[14, 16, 12, 16, 20, 8, 40])


def marked_roster(content: bytes, filename: str, faults: Sequence[Mapping[str, Any]]) -> bytes:
    """Return a roster as it came, with each fault marked in its cell and said at the end of its row."""
    table = sheets.table(content, filename, roster.HEADERS, required=roster.REQUIRED)
    fields = {names[0]: field for field, names in roster.HEADERS.items()}
    last = max((len(row) for _, row in table.cells), default=0)
    header = table.header - 1
    said: dict[int, list[str]] = {}
    marks: dict[tuple[int, int], str] = {}
    for fault in faults:
        text = str(gettext(fault["message"], **fault["figures"]))
        at = int(fault["row"]) - 1
        column = table.columns.get(fields.get(fault["column"], ""))
        said.setdefault(at, []).append(f"{gettext(fault['column'])}: {text}")
        if column is not None:
            marks[at, column] = "\n".join(filter(None, (marks.get((at, column)), text)))
    rows = []
    for index, (_, row) in enumerate(table.cells):
        cells = [_as_text(cell) for cell in row] + [""] * (last - len(row))
        rows.append([*cells, gettext("怎么改") if index == header else " ".join(said.get(index, ()))])
        if index in said:
            marks[index, last] = ""
    return sheets.write(rows, widths=[14] * last + [60], marks=marks, plain_row=header)


def _as_text(cell: Any) -> Any:
    """Return a cell as it is shown: a long number (a phone) as text, so that it keeps its digits."""
    return sheets.text_of(cell) if isinstance(cell, float) and abs(cell) >= 1e9 else cell


def _sign_off_rows(sheet: Sheet) -> list[list[Any]]:
    header = [
        gettext("序号"),
        gettext("部门"),
        gettext("姓名"),
        gettext("工号"),
        gettext("手机号"),
        gettext("礼包"),
        gettext("数量"),
        gettext("签名"),
        gettext("日期"),
    ]
    rows: list[list[Any]] = [header]
    only = next(iter(sheet.packs.values())) if len(sheet.packs) == 1 else ""
    for number, one in enumerate(sheet.people, start=1):
        at = f"{local(one.received_at):%Y-%m-%d %H:%M}" if one.received_at else ""
        confirmed = {
            "link": gettext("已在线确认"),
            "officer": gettext("已签收"),
            "station": gettext("已在自提点领取"),
        }.get(one.received_how or "", "")
        rows.append(
            [
                number,
                one.department,
                one.name,
                one.employee_no,
                masked(one.phone) if one.phone else "",
                sheet.packs.get(one.pack_id, "") if one.pack_id is not None else only,
                one.quantity,
                confirmed,
                at,
            ]
        )
    return rows


def _sign_off_notes(sheet: Sheet) -> tuple[str, list[str]]:
    title = gettext("%(union)s 慰问品签领表", union=sheet.union_name)
    total = sum(one.quantity for one in sheet.people)
    figures = gettext("共 %(people)s 人，%(packs)s 份", people=len(sheet.people), packs=total)
    return title, [f"{gettext('订单号')} {sheet.order.number}    {figures}"]


def _sign_off_foot() -> str:
    return "        ".join(f"{word}：____________" for word in (gettext("经办人"), gettext("审批人"), gettext("日期")))


def sign_off(sheet: Sheet) -> bytes:
    """Return the sheet recipients sign (签领表) as a workbook; who confirmed by link stands there already."""
    title, notes = _sign_off_notes(sheet)
    paper = sheets.Paper(notes=notes, foot=["", _sign_off_foot()], landscape=True, row_height=24)
    widths = [6, 16, 12, 12, 14, 30, 6, 18, 18]
    return sheets.write(_sign_off_rows(sheet), widths=widths, title=title, paper=paper)


def sign_off_pdf(sheet: Sheet) -> bytes:
    """Return the sign-off sheet as a PDF that prints well on A4, lying."""
    title, notes = _sign_off_notes(sheet)
    blocks: list[pdf.Block] = [pdf.Heading(title), *[pdf.Text(note) for note in notes]]
    header, *people = _sign_off_rows(sheet)
    # Two lines of room where somebody is to sign.
    rows = [header, *([*row[:7], row[7] or "\u00a0\n\u00a0", row[8]] for row in people)]
    blocks.append(pdf.Table(rows, widths=(5, 12, 9, 9, 12, 24, 5, 14, 13), right=frozenset({0, 6})))
    blocks += [pdf.Gap(8), pdf.Text(_sign_off_foot())]
    return pdf.document(blocks, title=title, size=(pdf.A4[1], pdf.A4[0]), footer=sheet.order.number)


def links_sheet(people: Sequence[tuple[Recipient, str]], *, title: str) -> bytes:
    """Return each recipient with their own link, for whoever sends them out."""
    header = [gettext("姓名"), gettext("手机号"), gettext("部门"), gettext("状态"), gettext("自选链接")]
    rows = [
        [
            one.name,
            one.phone,
            one.department,
            gettext("已选") if one.chosen_at else gettext("未选"),
            link,
        ]
        for one, link in people
    ]
    return sheets.write([header, *rows], widths=(12, 14, 16, 10, 80), title=title)


def packing_list(sheet: Sheet, *, merchant_id: int | None = None) -> bytes:
    """Return what goes to which department, and, where each gets it at home, to whom and where.

    A merchant's list has its own packs only, and of a recipient no more than the label needs.
    """
    own = {line.pack_id for line in sheet.order.lines if merchant_id in (None, line.merchant_id)}
    only = only_pack(sheet.order.lines)
    people = [one for one in sheet.people if (one.pack_id or only) in own]
    if sheet.order.delivery_mode == "recipient":
        header = [
            gettext("部门"),
            gettext("收货人"),
            gettext("手机号"),
            gettext("地址"),
            gettext("礼包"),
            gettext("数量"),
        ]
        rows: list[list[Any]] = [
            [
                one.department,
                (one.delivery or {}).get("name") or one.name,
                (one.delivery or {}).get("phone") or one.phone,
                delivery_text(one.delivery) if one.delivery else one.address,
                sheet.packs.get(one.pack_id or only or 0, ""),
                one.quantity,
            ]
            for one in people
        ]
        return sheets.write([header, *rows], widths=(16, 12, 14, 50, 30, 8), title=gettext("装箱单"))
    counts: dict[tuple[str, int], int] = {}
    for one in people:
        key = (one.department, one.pack_id or only or 0)
        counts[key] = counts.get(key, 0) + one.quantity
    header = [gettext("部门"), gettext("礼包"), gettext("数量")]
    rows = [[department, sheet.packs.get(pack_id, ""), count] for (department, pack_id), count in counts.items()]
    for line in sheet.order.lines:
        listed = sum(count for (_, pack_id), count in counts.items() if pack_id == line.pack_id)
        if line.pack_id in own and line.left > listed:
            rows.append([gettext("（未列名）"), line.pack_name, line.left - listed])
    notes = [delivery_text(sheet.order.delivery)]
    return sheets.write([header, *rows], widths=(20, 36, 8), title=gettext("装箱单"), paper=sheets.Paper(notes=notes))


@dataclass(frozen=True)
class Dossier:
    """What an auditor asks for: what was bought, who has it, invoices, the bank slip, who approved."""

    sheet: Sheet
    names: Mapping[int, str]
    steps: Sequence[tuple[datetime, str, str]]
    payments: Sequence[Any]
    invoices: Sequence[tuple[Invoice, str, bytes | None]]
    slip: tuple[str, bytes] | None
    made_at: datetime


def dossier(parts: Dossier) -> bytes:
    """Return the reimbursement dossier of an order as a ZIP whose first page is its table of contents."""
    order = parts.sheet.order
    files: list[tuple[str, str, bytes]] = [
        (gettext("商品清单"), "1-goods.xlsx", _goods(order)),
        (gettext("签领表"), "2-sign-off.xlsx", sign_off(parts.sheet)),
        (gettext("签领表（打印）"), "2-sign-off.pdf", sign_off_pdf(parts.sheet)),
        (gettext("审批与付款记录"), "3-approval.pdf", _approval(parts)),
    ]
    missing: list[str] = []
    for place, (invoice, merchant, content) in enumerate(parts.invoices, start=1):
        label = f"{gettext('发票')} {merchant} {yuan(invoice.amount_fen)} {invoice.number}".strip()
        if content is None:
            missing.append(label)
        else:
            files.append((label, f"4-invoice-{place}.{(invoice.file_key or '').rpartition('.')[2]}", content))
    if not parts.invoices:
        missing.append(gettext("发票"))
    if parts.slip is not None:
        files.append((gettext("银行回单"), f"5-bank-slip.{parts.slip[0].rpartition('.')[2]}", parts.slip[1]))
    else:
        missing.append(gettext("银行回单"))
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("0-contents.pdf", _contents(parts, files, missing))
        for _, name, content in files:
            archive.writestr(name, content)
    return target.getvalue()


def invoices_zip(found: Sequence[tuple[Invoice, str, bytes | None]]) -> bytes | None:
    """Return the invoices that were handed in as a ZIP, named by merchant, amount and number; None where none was."""
    target, there = io.BytesIO(), [(one, merchant, content) for one, merchant, content in found if content is not None]
    if not there:
        return None
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for place, (invoice, merchant, content) in enumerate(there, start=1):
            words = f"{place}-{merchant}-{yuan(invoice.amount_fen)}-{invoice.number}"
            name = "".join("_" if character in '/\\:*?"<>|' else character for character in words)
            archive.writestr(f"{name}.{(invoice.file_key or '').rpartition('.')[2]}", content)
    return target.getvalue()


def _goods_rows(order: OrderView) -> list[list[Any]]:
    header = [
        gettext("礼包"),
        gettext("商户"),
        gettext("单价"),
        gettext("数量"),
        gettext("金额"),
        gettext("优惠"),
        gettext("实付"),
        gettext("已退数量"),
    ]
    rows: list[list[Any]] = [header]
    for line in order.lines:
        paid_fen = line.amount_fen - line.discount_fen
        rows.append(
            [
                line.pack_name,
                line.merchant_name,
                yuan(line.price_fen),
                line.quantity,
                yuan(line.amount_fen),
                yuan(line.discount_fen),
                yuan(paid_fen),
                line.refunded,
            ]
        )
    total = [yuan(order.subtotal_fen), yuan(order.discount_fen), yuan(order.payable_fen), ""]
    return [*rows, [gettext("合计"), "", "", sum(line.quantity for line in order.lines), *total]]


def _goods(order: OrderView) -> bytes:
    title = f"{gettext('商品清单')} {order.number}"
    return sheets.write(_goods_rows(order), widths=(30, 24, 10, 8, 12, 12, 12, 10), title=title)


def _approval(parts: Dossier) -> bytes:
    order = parts.sheet.order
    title = gettext("审批与付款记录")
    steps = [[gettext("时间"), gettext("谁"), gettext("做了什么")]]
    steps += [[f"{local(at):%Y-%m-%d %H:%M}", name, what] for at, name, what in parts.steps]
    paid = [[gettext("转账编号"), gettext("金额"), gettext("时间")]]
    paid += [[one.reference, yuan(one.amount_fen), f"{local(one.created_at):%Y-%m-%d %H:%M}"] for one in parts.payments]
    blocks: list[pdf.Block] = [
        pdf.Heading(f"{parts.sheet.union_name} {title}"),
        pdf.Text(f"{gettext('订单号')} {order.number}"),
        pdf.Table(_goods_rows(order), widths=(24, 16, 9, 7, 11, 11, 11, 8), bold_last=True),
        pdf.Gap(),
        pdf.Table(steps, widths=(20, 15, 65)),
        pdf.Gap(),
        pdf.Table(paid, widths=(40, 30, 30)),
    ]
    return pdf.document(blocks, title=title, footer=order.number)


def _contents(parts: Dossier, files: Sequence[tuple[str, str, bytes]], missing: Sequence[str]) -> bytes:
    title = gettext("%(union)s 报销材料", union=parts.sheet.union_name)
    rows = [[gettext("序号"), gettext("内容"), gettext("文件")]]
    rows += [[str(place), label, name] for place, (label, name, _) in enumerate(files, start=1)]
    blocks: list[pdf.Block] = [
        pdf.Heading(title),
        pdf.Text(
            f"{gettext('订单号')} {parts.sheet.order.number} · {gettext('应付')} {yuan(parts.sheet.order.payable_fen)}"
        ),
        pdf.Table(rows, widths=(8, 52, 40)),
    ]
    if missing:
        blocks += [pdf.Gap(), pdf.Heading(gettext("还缺"), level=2), *[pdf.Text(one) for one in missing]]
    return pdf.document(blocks, title=title, footer=f"{local(parts.made_at):%Y-%m-%d %H:%M}")
