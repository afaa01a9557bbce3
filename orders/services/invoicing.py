"""发票: a union asks each merchant of its order for the right amount; the merchant hands the invoice in."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, insert, select, update

from kernel import audit, idempotency
from kernel.db import db, rows_changed, transaction
from kernel.errors import Invalid, NotFound, StateConflict
from kernel.idempotency import Answer, Once
from kernel.ids import as_id, new_id
from orders import invoices, queries, union_schemas
from orders.models import Invoice, Order
from orders.queries import OrderView
from orders.queries import unions as union_queries
from orders.rules import REFUNDABLE, Line
from people import queries as people_queries

MOST_INVOICES = 1000
INVOICED = (*REFUNDABLE, "refunded")


def ask(
    *,
    number: str,
    union_id: int | None,
    title: str,
    tax_no: str,
    kind: str,
    actor_id: int,
    once: Once | None,
    now: datetime,
) -> Answer:
    """Ask each merchant of a paid order for an invoice over what it was paid after discount; asking again changes the
    title of what is not issued yet, and asks for a red invoice where a refund came in between.

    Raises NotFound, StateConflict before the order is paid.
    """
    order = queries.order_of_union(number, union_id=union_id, now=now)
    with transaction():
        if (first := idempotency.begin(once)) is not None:
            return first
        status = db.session.scalar(select(Order.status).where(Order.id == order.id).with_for_update())
        if status not in INVOICED:
            raise StateConflict("付款后才能申请发票。")
        order = queries.order_of_union(number, union_id=union_id, now=now)
        asked = {"title": title, "tax_no": invoices.credit_code(tax_no), "kind": invoices.kind_of(kind)}
        _ask_all(order.id, order.lines, asked, actor_id=actor_id, now=now)
        found = union_queries.invoices_of(order.id)
        after = {**asked, "invoices": [[row.merchant_id, row.amount_fen] for row in found]}
        audit.record("invoice.ask", f"order:{order.id}", actor_id=actor_id, now=now, after=after)
        return idempotency.finish(once, union_schemas.InvoiceList().dump({"items": found}))


def follow(order_id: int, lines: Sequence[Line], *, actor_id: int | None, now: datetime) -> None:
    """Ask for what is right now where invoices were asked for and goods went to another merchant since.

    In the caller's transaction; the order's row is locked.
    """
    found = union_queries.invoices_of(order_id)
    if found:
        last = max(found, key=lambda row: row.asked_at)
        asked = {"title": last.title, "tax_no": last.tax_no, "kind": last.kind}
        _ask_all(order_id, lines, asked, actor_id=actor_id or last.asked_by, now=now)


def _ask_all(order_id: int, lines: Sequence[Line], asked: dict[str, Any], *, actor_id: int, now: datetime) -> None:
    # Whose goods were all replaced by another's sold nothing: what it had invoiced is taken back.
    nets = {row.merchant_id: 0 for row in union_queries.invoices_of(order_id)} | invoices.nets_of(lines)
    for merchant_id, net_fen in nets.items():
        _ask_one(order_id, merchant_id, net_fen, asked, actor_id=actor_id, now=now)


def _ask_one(
    order_id: int, merchant_id: int, net_fen: int, asked: dict[str, Any], *, actor_id: int, now: datetime
) -> None:
    own = (Invoice.order_id == order_id, Invoice.merchant_id == merchant_id)
    issued_fen, parts = db.session.execute(
        select(
            func.coalesce(func.sum(Invoice.amount_fen).filter(Invoice.status == "issued"), 0),
            func.coalesce(func.max(Invoice.part).filter(Invoice.status == "issued"), 0),
        ).where(*own)
    ).one()
    left_fen = net_fen - int(issued_fen)
    waiting = (*own, Invoice.status == "requested")
    if left_fen == 0:
        db.session.execute(delete(Invoice).where(*waiting))
    elif rows_changed(update(Invoice).where(*waiting).values(**asked, amount_fen=left_fen)) == 0:
        db.session.execute(
            insert(Invoice).values(
                id=new_id(),
                order_id=order_id,
                merchant_id=merchant_id,
                part=parts + 1,
                amount_fen=left_fen,
                status="requested",
                number="",
                file_name="",
                asked_by=actor_id,
                asked_at=now,
                **asked,
            )
        )


def plan(order: OrderView, *, at_most: int, ceiling_fen: int = 0) -> invoices.Plan:
    """Propose the fewest invoices that, with those issued, add up to what was paid.

    Raises Invalid for a ceiling so low that there would be no end of them.
    """
    if ceiling_fen and order.payable_fen // ceiling_fen > MOST_INVOICES:
        raise Invalid(errors={"ceiling_fen": ["每张金额太低，要开的发票太多。"]})
    issued: dict[int, int] = {}
    asked = union_queries.invoices_of(order.id)
    for row in asked:
        if row.status == "issued":
            issued[row.merchant_id] = issued.get(row.merchant_id, 0) + row.amount_fen
    found = invoices.plan(order.lines, issued_fen=issued, at_most=at_most, ceiling_fen=ceiling_fen)
    sellers, selling = sellers_of(order, asked), {line.merchant_id for line in order.lines}
    red = [
        invoices.Proposed(one, sellers[one].merchant_name, -issued_fen, (), sellers[one].merchant_name_en)
        for one, issued_fen in issued.items()
        if one not in selling and issued_fen
    ]
    return replace(found, invoices=(*found.invoices, *red))


@dataclass(frozen=True)
class Seller:
    """A merchant by name."""

    merchant_name: str
    merchant_name_en: str


def sellers_of(order: OrderView, found: Sequence[Invoice]) -> dict[int, Seller]:
    """Return by id who sold an order, and who was asked for an invoice of it and sells nothing of it any more."""
    sellers = {line.merchant_id: Seller(line.merchant_name, line.merchant_name_en) for line in order.lines}
    for merchant_id in {row.merchant_id for row in found} - sellers.keys():
        gone = people_queries.merchant(merchant_id)
        sellers[merchant_id] = Seller(gone.short_name, gone.name_en) if gone is not None else Seller("", "")
    return sellers


def issue(
    *,
    invoice_id: str,
    merchant_id: int | None,
    invoice_number: str,
    file_key: str,
    file_name: str,
    amount_fen: int,
    actor_id: int,
    now: datetime,
) -> None:
    """A merchant hands an invoice in; handing in another takes the place of the one before.

    `amount_fen` is what the merchant saw asked: where it changed meanwhile, nothing is taken. Raises NotFound for
    another's, StateConflict.
    """
    own = (Invoice.id == as_id(invoice_id), Invoice.merchant_id == merchant_id)
    with transaction():
        if db.session.scalar(select(Invoice.id).where(*own)) is None:
            raise NotFound("没有这张发票。")
        changed = rows_changed(
            update(Invoice)
            .where(*own, Invoice.amount_fen == amount_fen)
            .values(
                status="issued",
                number=invoice_number,
                file_key=file_key,
                file_name="".join(filter(str.isprintable, file_name))[:200],
                issued_at=now,
            )
        )
        if changed == 0:
            raise StateConflict("发票金额有变化，请刷新后按新的金额开票。")
        audit.record(
            "invoice.issue",
            f"invoice:{invoice_id}",
            actor_id=actor_id,
            now=now,
            after={"number": invoice_number, "amount_fen": amount_fen},
        )


def invoice_of_union(invoice_id: str, *, number: str, union_id: int | None, now: datetime) -> Invoice:
    """Return an invoice of a union's own order; raise NotFound."""
    order = queries.order_of_union(number, union_id=union_id, now=now)
    found = next((row for row in union_queries.invoices_of(order.id) if row.id == as_id(invoice_id)), None)
    if found is None:
        raise NotFound("没有这张发票。")
    return found


def invoice_of_merchant(invoice_id: str, *, merchant_id: int | None) -> Invoice:
    """Return a merchant's own invoice; raise NotFound."""
    found = db.session.scalar(
        select(Invoice)
        .where(Invoice.id == as_id(invoice_id), Invoice.merchant_id == merchant_id)
        .execution_options(populate_existing=True)
    )
    if found is None:
        raise NotFound("没有这张发票。")
    return found
