"""Reads of unions' orders: who chose what, who stands on two lists, who is over the yearly cap."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, Select, func, select, union_all

from catalog import queries as catalog_queries
from catalog.queries import PackView
from kernel.clock import local
from kernel.db import among, db
from kernel.errors import NotFound
from kernel.paging import Page, page_of
from orders.models import Grant, GrantRecipient, Invoice, Order, OrderLine, ParcelFault, Recipient, Shortage
from orders.queries.orders import Choice, OrderView, order
from orders.rules import COUNTED, HELD, SENDING, parcel_id
from orders.why import Sentence, sentence
from people import queries as people_queries
from people.rules import masked

GONE = ("cancelled", "expired", "rejected", "refunded")
NAMED_AT_MOST = 20


@dataclass(frozen=True)
class ChoiceView:
    """One recipient of a union's order, with what they chose: what their own link shows."""

    order: OrderView
    position: int
    name: str
    phone: str
    quantity: int
    pack_id: int | None
    chosen_at: datetime | None
    address: str
    delivery: Mapping[str, Any] | None
    received_at: datetime | None
    packs: tuple[PackView, ...]
    left: Mapping[int, int]
    asked_until: datetime | None = None

    def is_open(self, now: datetime) -> bool:
        """Whether it can still be chosen."""
        choice = self.order.choice
        if choice is None:
            return False
        return self.is_asked_again(now) or (self.order.status == "choosing" and now < choice.deadline)

    def is_asked_again(self, now: datetime) -> bool:
        """Whether what was chosen ran out once stock was held, and another pack can be chosen in its place."""
        asked = self.asked_until is not None and now < self.asked_until
        return asked and self.order.choice is not None and self.order.status in (*HELD, *SENDING)

    @property
    def last_minute(self) -> datetime | None:
        """The last minute it can be chosen in."""
        if self.order.choice is None or self.order.status == "choosing":
            return self.order.choice.last_minute if self.order.choice is not None else None
        return self.asked_until

    @property
    def may_receive(self) -> bool:
        """Whether the recipient can say that they have it: once something has been sent."""
        return self.received_at is None and self.order.status in ("fulfilling", "completed")


@dataclass(frozen=True)
class Progress:
    """How many of a department have chosen and have received, of how many people."""

    department: str
    people: int
    chosen: int
    received: int


# Where else a person stands: said of a row of a roster, and said of a person by name.
ON_GRANT = (
    "这个人已在本活动的慰问“%(place)s”的名单上，请确认不要重复发放。",
    "%(name)s 已在本活动的慰问“%(place)s”的名单上，请确认不要重复发放。",
)
ON_OWN_ORDER = (
    "这个人已在本活动的集采订单 %(place)s 的花名册上，请确认不要重复发放。",
    "%(name)s 已在本活动的集采订单 %(place)s 的花名册上，请确认不要重复发放。",
)
ON_OTHER_ORDER = (
    "这个人已在本活动另一个基层工会的花名册上，请确认不要重复发放。",
    "%(name)s 已在本活动另一个基层工会的花名册上，请确认不要重复发放。",
)
Elsewhere = tuple[tuple[str, str], dict[str, Any]]


def elsewhere(*, campaign_id: int, order_id: int, union_id: int | None, phones: Iterable[str]) -> dict[str, Elsewhere]:
    """Return, for each phone that stands on another order's roster or on a grant of the campaign, on which."""
    listed = list(phones)
    found: dict[str, Elsewhere] = {}
    grants = db.session.execute(
        select(GrantRecipient.phone, Grant.name)
        .join(Grant, Grant.id == GrantRecipient.grant_id)
        .where(
            Grant.campaign_id == campaign_id,
            GrantRecipient.status.in_(("waiting", "confirmed")),
            among(GrantRecipient.phone, listed),
        )
    )
    for phone, name in grants:
        found[phone] = (ON_GRANT, {"place": name})
    orders = db.session.execute(
        select(Recipient.phone, Order.id, Order.union_id)
        .join(Order, Order.id == Recipient.order_id)
        .where(
            Order.campaign_id == campaign_id,
            Order.id != order_id,
            Order.status.not_in(GONE),
            among(Recipient.phone, listed),
        )
        .order_by(Order.id)
    )
    for phone, number, other_union in orders:
        found[phone] = (ON_OWN_ORDER, {"place": str(number)}) if other_union == union_id else (ON_OTHER_ORDER, {})
    return found


def twice(view: OrderView) -> list[Sentence]:
    """Return who of an order's roster stands on another list of the campaign too."""
    people = db.session.execute(
        select(Recipient.phone, Recipient.name).where(Recipient.order_id == view.id).order_by(Recipient.position)
    ).all()
    where = elsewhere(
        campaign_id=view.campaign_id,
        order_id=view.id,
        union_id=view.union_id,
        phones=[phone for phone, _ in people if phone],
    )
    return [sentence(where[phone][0][1], name=name, **where[phone][1]) for phone, name in people if phone in where]


@dataclass(frozen=True)
class OverCap:
    """A recipient whose gifts of twelve months are worth more than the cap, in fen."""

    name: str
    phone: str
    worth_fen: int


def over_cap(order_id: int, *, cap_fen: int, now: datetime) -> list[OverCap]:
    """Return the recipients of an order whose gifts in kind of the last twelve months, with this order, pass the cap.

    Counted at list price over all union orders that were submitted, and over grants; packs members buy themselves are
    no gift.
    """
    if cap_fen <= 0:
        return []
    today = local(now)
    last_day = 28 if (today.month, today.day) == (2, 29) else today.day
    since = today.replace(year=today.year - 1, day=last_day)
    own = select(Recipient.phone).where(Recipient.order_id == order_id, Recipient.phone != "")
    gifts = union_all(
        select(Recipient.phone.label("phone"), func.coalesce(Recipient.value_fen, 0).label("worth"))
        .join(Order, Order.id == Recipient.order_id)
        .where(
            Recipient.phone.in_(own),
            (Order.id == order_id) | (Order.status.in_(COUNTED) & (Order.placed_at > since)),
        ),
        select(GrantRecipient.phone, Grant.cost_fen)
        .join(Grant, Grant.id == GrantRecipient.grant_id)
        .where(
            GrantRecipient.phone.in_(own),
            GrantRecipient.status.in_(("waiting", "confirmed")),
            Grant.made_at > since,
        ),
    ).subquery("gifts")
    worth = func.sum(gifts.c.worth)
    sums = select(gifts.c.phone, worth.label("worth")).group_by(gifts.c.phone).having(worth > cap_fen).subquery("sums")
    rows = db.session.execute(
        select(Recipient.name, Recipient.phone, sums.c.worth)
        .join(sums, sums.c.phone == Recipient.phone)
        .where(Recipient.order_id == order_id)
        .order_by(Recipient.position)
    )
    return [OverCap(name, phone, int(total)) for name, phone, total in rows]


def warnings_of(view: OrderView, *, cap_fen: int, now: datetime) -> tuple[Sentence, ...]:
    """Return what an officer and an approver should look at twice before this order goes on."""
    found = twice(view)[:NAMED_AT_MOST]
    over = over_cap(view.id, cap_fen=cap_fen, now=now)
    found += [
        sentence(
            "%(name)s（%(phone)s）十二个月内的节日慰问合计 %(worth)s，超过每人每年 %(cap)s 的上限。",
            name=one.name,
            phone=masked(one.phone),
            worth_fen=one.worth_fen,
            cap_fen=cap_fen,
        )
        for one in over[:NAMED_AT_MOST]
    ]
    if len(over) > NAMED_AT_MOST:
        found.append(sentence("超过年度上限的共 %(count)s 人。", count=len(over)))
    ends_at = view.expires_at
    if view.status in ("approved", "pending_payment") and ends_at is not None and ends_at - now <= timedelta(days=1):
        found.append(
            sentence("付款时间不到一天：%(at)s 前未付款，库存和预算将释放。", at=f"{local(ends_at):%Y-%m-%d %H:%M}")
        )
    return tuple(found)


def recipients_page(
    order_id: int, *, limit: int, after: int | None = None, waiting: bool = False, department: str | None = None
) -> Page[Recipient]:
    """Return an order's recipients with what they chose, in the roster's order."""
    query = select(Recipient).where(Recipient.order_id == order_id)
    if waiting:
        query = query.where(Recipient.chosen_at.is_(None))
    if department is not None:
        query = query.where(Recipient.department == department)
    if after is not None:
        query = query.where(Recipient.position > after)
    rows = db.session.scalars(
        query.order_by(Recipient.position).limit(limit + 1).execution_options(populate_existing=True)
    ).all()
    return page_of(rows, limit=limit, key=lambda row: row.position)


def progress(order_id: int) -> list[Progress]:
    """Return how far each department is, in the roster's order of departments."""
    rows = db.session.execute(
        select(
            Recipient.department,
            func.count(),
            func.count(Recipient.chosen_at),
            func.count(Recipient.received_at),
        )
        .where(Recipient.order_id == order_id)
        .group_by(Recipient.department)
        .order_by(func.min(Recipient.position))
    )
    return [Progress(*row) for row in rows]


def chosen_counts(order_id: int, default_pack_id: int | None) -> dict[int, int]:
    """Return how many of each pack an order's recipients get; who has not chosen counts for the default."""
    pack_id = func.coalesce(Recipient.pack_id, default_pack_id)
    rows = db.session.execute(
        select(pack_id, func.sum(Recipient.quantity))
        .where(Recipient.order_id == order_id, pack_id.is_not(None))
        .group_by(pack_id)
    )
    return {int(pack): int(count) for pack, count in rows}


def chosen_anywhere(pack_ids: Iterable[int]) -> dict[int, int]:
    """Return how many of each pack are chosen by people in orders whose stock is not held yet."""
    rows = db.session.execute(
        select(Recipient.pack_id, func.sum(Recipient.quantity))
        .join(Order, Order.id == Recipient.order_id)
        .where(
            Recipient.pack_id.in_(set(pack_ids)),
            Recipient.chosen_at.is_not(None),
            Order.status.in_(("choosing", "submitted")),
        )
        .group_by(Recipient.pack_id)
    )
    return {int(pack or 0): int(count) for pack, count in rows}


def packs_of_choice(choice: Choice) -> tuple[tuple[PackView, ...], dict[int, int]]:
    """Return the packs of a choice in the officer's order, and how many of each can still be chosen."""
    views = catalog_queries.packs_by_id(choice.pack_ids, channel="bulk")
    taken = chosen_anywhere(choice.pack_ids)
    packs = tuple(views[pack_id] for pack_id in choice.pack_ids if pack_id in views)
    left = {
        view.id: max(0, view.available - taken.get(view.id, 0)) if view.status == "on_sale" else 0 for view in packs
    }
    return packs, left


def choice_of(order_id: int, position: int, code: int, *, now: datetime) -> ChoiceView:
    """Return what an own link shows; raise NotFound, also for a link of an earlier roster."""
    row = db.session.get(Recipient, (order_id, position), populate_existing=True)
    if row is None or row.link_code != code or not row.phone:
        raise NotFound("没有这个链接，请向工会经办人要新的。")
    view = order(order_id, now=now)
    packs: tuple[PackView, ...] = ()
    left: dict[int, int] = {}
    if view.choice is not None:
        packs, left = packs_of_choice(view.choice)
    else:
        ids = [row.pack_id] if row.pack_id is not None else [line.pack_id for line in view.lines]
        packs = tuple(catalog_queries.packs_by_id(ids, channel="bulk").values())
    return ChoiceView(
        order=view,
        position=row.position,
        name=row.name,
        phone=row.phone,
        quantity=row.quantity,
        pack_id=row.pack_id,
        chosen_at=row.chosen_at,
        address=row.address,
        delivery=row.delivery,
        received_at=row.received_at,
        packs=packs,
        left=left,
        asked_until=row.asked_until,
    )


def find_on_board(order_id: int, *, phone: str, employee_no: str) -> tuple[int, int] | None:
    """Return (position, code) of whoever has this phone and employee number on an order's roster."""
    row = db.session.execute(
        select(Recipient.position, Recipient.link_code).where(
            Recipient.order_id == order_id,
            Recipient.phone == phone,
            Recipient.employee_no == employee_no,
            Recipient.employee_no != "",
        )
    ).first()
    return (row.position, row.link_code) if row is not None else None


def invoices_of(order_id: int) -> Sequence[Invoice]:
    """Return an order's invoices, by merchant and part."""
    return db.session.scalars(
        select(Invoice)
        .where(Invoice.order_id == order_id)
        .order_by(Invoice.merchant_id, Invoice.part)
        .execution_options(populate_existing=True)
    ).all()


def invoices_of_merchant(merchant_id: int | None, *, limit: int = 200) -> Sequence[Invoice]:
    """Return what a merchant is asked to invoice: what waits first, then the latest."""
    return db.session.scalars(
        select(Invoice)
        .where(Invoice.merchant_id == merchant_id)
        .order_by(Invoice.status.desc(), Invoice.id.desc())
        .limit(limit)
        .execution_options(populate_existing=True)
    ).all()


def faults_of(order_id: int) -> Sequence[ParcelFault]:
    """Return what of an order came short or broken."""
    return db.session.scalars(
        select(ParcelFault)
        .where(ParcelFault.order_id == order_id)
        .order_by(ParcelFault.line_no)
        .execution_options(populate_existing=True)
    ).all()


def shortages_of(order_id: int) -> dict[int, Shortage]:
    """Return what of a paid order its merchants said they cannot send, by line."""
    rows = db.session.scalars(
        select(Shortage).where(Shortage.order_id == order_id).execution_options(populate_existing=True)
    )
    return {row.line_no: row for row in rows}


def rows_of_phone(phone: str) -> list[tuple[Recipient, str, str]]:
    """Return the rows of rosters with this phone, each with its union's and its pack's name, the oldest first."""
    rows = db.session.execute(
        select(Recipient, Order.union_id)
        .join(Order, Order.id == Recipient.order_id)
        .where(Recipient.phone == phone, Recipient.phone != "")
        .order_by(Recipient.order_id)
        .execution_options(populate_existing=True)
    ).all()
    packs = catalog_queries.packs_by_id(row.pack_id for row, _ in rows if row.pack_id is not None)
    unions = {union.id: union.name for union in people_queries.unions()} if rows else {}
    return [
        (row, unions.get(union_id, ""), packs[row.pack_id].name if row.pack_id in packs else "")
        for row, union_id in rows
    ]


def officer_of(order_id: int) -> int:
    """Return who handed a union's order on, or began it."""
    row = db.session.execute(select(Order.submitted_by, Order.placed_by).where(Order.id == order_id)).one()
    found: int = row.submitted_by or row.placed_by
    return found


@dataclass(frozen=True)
class FaultView:
    """What of a parcel came short or broken (`kind` 'fault'), or cannot be sent (`kind` 'shortage', all `missing`)."""

    kind: str
    order_id: int
    parcel_no: int
    line_no: int
    merchant_name: str
    merchant_name_en: str
    pack_name: str
    pack_name_en: str
    missing: int
    broken: int
    note: str
    told_at: datetime
    answer: str
    answered_at: datetime | None
    union_id: int | None

    @property
    def parcel_id(self) -> str:
        """The parcel's name."""
        return parcel_id(self.order_id, self.parcel_no)


def open_faults(merchant_id: int | None = None, *, answered: bool = False, limit: int = 100) -> list[FaultView]:
    """Return what came short or broken and waits for its merchant's answer, and what merchants cannot send.

    Of one merchant, or of all; with `answered` what was answered too. The oldest first.
    """
    line = (OrderLine.order_id, OrderLine.line_no, OrderLine.parcel_no, OrderLine.merchant_name)
    names = (*line, OrderLine.merchant_name_en, OrderLine.pack_name, OrderLine.pack_name_en, Order.union_id)
    faults = (
        select(ParcelFault, *names)
        .join(OrderLine, (OrderLine.order_id == ParcelFault.order_id) & (OrderLine.line_no == ParcelFault.line_no))
        .join(Order, Order.id == ParcelFault.order_id)
    )
    short = (
        select(Shortage, *names)
        .join(OrderLine, (OrderLine.order_id == Shortage.order_id) & (OrderLine.line_no == Shortage.line_no))
        .join(Order, Order.id == Shortage.order_id)
        .where(OrderLine.quantity - OrderLine.shipped - OrderLine.withdrawn > 0)
    )
    if not answered:
        faults = faults.where(ParcelFault.answered_at.is_(None))
    if merchant_id is not None:
        faults = faults.where(ParcelFault.merchant_id == merchant_id)
        short = short.where(OrderLine.merchant_id == merchant_id)
    found = [
        *_fault_views(faults.order_by(ParcelFault.told_at.desc() if answered else ParcelFault.told_at).limit(limit)),
        *_fault_views(short.order_by(Shortage.told_at).limit(limit)),
    ]
    return sorted(found, key=lambda one: (one.answered_at is not None, one.told_at, one.line_no))


def _fault_views(query: Select[Any]) -> list[FaultView]:
    views = []
    for row in db.session.execute(query.execution_options(populate_existing=True)):
        said = row[0]
        is_fault = isinstance(said, ParcelFault)
        views.append(
            FaultView(
                kind="fault" if is_fault else "shortage",
                order_id=said.order_id,
                parcel_no=row.parcel_no,
                line_no=said.line_no,
                merchant_name=row.merchant_name,
                merchant_name_en=row.merchant_name_en,
                pack_name=row.pack_name,
                pack_name_en=row.pack_name_en,
                missing=said.missing if is_fault else said.units,
                broken=said.broken if is_fault else 0,
                note=said.note,
                told_at=said.told_at,
                answer=said.answer if is_fault else "",
                answered_at=said.answered_at if is_fault else None,
                union_id=row.union_id,
            )
        )
    return views


def last_order_of(union_id: int | None, *, placed_before: datetime | None = None) -> Row[Any] | None:
    """Return the union's last order that was paid: what a new one can be copied from."""
    query = select(Order.id, Order.placed_at).where(
        Order.union_id == union_id, Order.status.in_(("paid", "fulfilling", "completed"))
    )
    if placed_before is not None:
        query = query.where(Order.placed_at < placed_before)
    return db.session.execute(query.order_by(Order.id.desc()).limit(1)).one_or_none()
