"""慰问: packs, and maybe a voucher of another campaign, given free to a named list (rules.md, 'Grants').

Making a grant holds the stock and the money for everybody on its list; each recipient confirms an address or a pickup
point, or declines, once; what is not taken up until the deadline goes back. A confirmed gift is an order of its own,
paid by the union in full.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select, update

from catalog import queries as catalog_queries
from catalog import steps as catalog_steps
from finance.ledger import rules as ledger
from finance.ledger import steps as ledger_steps
from finance.ledger.rules import Cause, Posting
from kernel import audit, idempotency, sheets
from kernel.db import db, rows_changed, transaction
from kernel.errors import Invalid, NotFound, StateConflict
from kernel.idempotency import Answer, Once
from kernel.ids import new_id
from kernel.money import MAX_FEN
from kernel.schemas import RowFault
from orders import grant_schemas
from orders.models import Grant, GrantRecipient, Order
from orders.queries import grants as grant_queries
from orders.rules import GRANTED, Line, Wanted, owed_by_merchant, quantities_of
from orders.services import pickup, telling
from orders.services.fulfilment import write_parcels
from orders.services.placing import make_lines, write_lines
from people import queries as people_queries
from people import telling as people_telling
from people.rules import normal_phone
from people.telling import Notice
from voucher import queries as voucher_queries
from voucher import steps as voucher_steps

HEADERS = {
    "name": ("姓名", "name"),
    "phone": ("手机号", "手机", "电话", "联系电话", "phone", "mobile"),
    "member_no": ("会员编号", "会员号", "工号", "职工编号", "member_no", "employee_no"),
}
LENGTHS = {"name": 80, "member_no": 40}
MAX_RECIPIENTS = 20_000


@dataclass(frozen=True)
class _PackOf:
    pack_name: str
    pack_name_en: str
    picture: str
    merchant_id: int
    merchant_name: str
    merchant_name_en: str
    price_fen: int


def read_list(content: bytes, filename: str) -> sheets.Rows:
    """Return the rows of a spreadsheet of recipients. Raises Invalid for what is none."""
    return sheets.read(content, filename, HEADERS, required=("name", "phone"), limit=MAX_RECIPIENTS)


def honour_list(honour: str) -> sheets.Rows:
    """Return an honour roll (376 model workers) as rows of recipients."""
    return [
        (row, {"name": one.name, "phone": one.phone, "member_no": one.member_no or ""})
        for row, one in enumerate(people_queries.honours(honour), start=1)
    ]


def faults_of(rows: sheets.Rows, *, needs_member: bool, members: Mapping[str, int]) -> list[sheets.Fault]:
    """Return every fault of a list of recipients, by row and column."""
    faults: list[sheets.Fault] = []
    seen: dict[str, int] = {}
    for row, values in rows:
        if not values.get("name"):
            faults.append(sheets.Fault(row, "姓名", "请填写姓名。"))
        phone = normal_phone(values.get("phone", ""))
        if phone is None:
            faults.append(sheets.Fault(row, "手机号", "请填写 11 位手机号。"))
        elif phone in seen:
            faults.append(sheets.Fault(row, "手机号", "手机号与第 %(row)s 行重复。", {"row": seen[phone]}))
        elif needs_member and phone not in members:
            faults.append(sheets.Fault(row, "手机号", "这个手机号不是会员，不能发福利券。"))
        if phone is not None:
            seen.setdefault(phone, row)
        for name, length in LENGTHS.items():
            if len(values.get(name, "")) > length:
                faults.append(sheets.Fault(row, HEADERS[name][0], "最多 %(max)s 个字。", {"max": length}))
    return faults


def make(
    *,
    slug: str,
    name: str,
    name_en: str = "",
    wanted: Sequence[Wanted],
    voucher_slug: str | None,
    rows: sheets.Rows,
    deadline: datetime | None,
    once: Once,
    now: datetime,
) -> Answer:
    """Make a grant: hold its packs and its money for everybody on the list, all or nothing.

    Raises NotFound, Invalid (with a fault for each bad row), OutOfStock and over_limit for a budget that is short.
    """
    with transaction():
        if (first := idempotency.begin(once)) is not None:
            return first
        campaign = voucher_queries.campaign(slug, now=now)
        gift = voucher_queries.campaign(voucher_slug, now=now) if voucher_slug else None
        ends = [campaign.ends_at] + ([gift.ends_at] if gift else []) + ([deadline] if deadline else [])
        until = min(ends)
        if until <= now:
            raise Invalid(errors={"deadline": ["截止时间必须晚于现在，且不晚于活动结束。"]})
        if not wanted and gift is None:
            raise Invalid(errors={"lines": ["请选择要发的礼包或福利券。"]})
        if not rows:
            raise Invalid(errors={"recipients": ["名单是空的。"]})
        lines = _lines(wanted)
        phones = [normal_phone(values.get("phone", "")) for _, values in rows]
        members = people_queries.members_by_phone([phone for phone in phones if phone])
        faults = faults_of(rows, needs_member=gift is not None, members=members)
        if faults:
            report = RowFault(many=True).dump([fault.__dict__ for fault in faults])
            raise Invalid("名单里有 %(count)s 处要改。", count=len(faults), rows=report)
        cost_fen = sum(line.amount_fen for line in lines)
        if cost_fen * len(rows) > MAX_FEN:
            raise Invalid(errors={"recipients": ["金额过大。"]})
        grant_id = new_id()
        _write(grant_id, campaign.id, name, name_en, lines, cost_fen, gift.id if gift else None, until, once, now)
        db.session.execute(
            insert(GrantRecipient),
            [
                {
                    "grant_id": grant_id,
                    "position": position,
                    "name": values["name"],
                    "phone": phone,
                    "member_no": values.get("member_no", ""),
                    "member_id": members.get(phone or ""),
                    "status": "waiting",
                }
                for position, ((_, values), phone) in enumerate(zip(rows, phones, strict=True), start=1)
            ],
        )
        ready = {"gift": name, "until": telling.until(until)}
        told = [Notice("gift.ready", str(grant_id), ready, phone=phone) for phone in phones if phone]
        people_telling.tell(told, now=now)
        quantities = _times(quantities_of(lines), len(rows))
        postings = voucher_steps.hold_grant(campaign_id=campaign.id, amount_fen=cost_fen * len(rows))
        if gift is not None:
            postings += voucher_steps.promise_vouchers(campaign_id=gift.id, count=len(rows))
        postings += catalog_steps.hold_postings(quantities)
        ledger_steps.post(Cause("grant", str(grant_id), actor_id=once.person_id), postings, now=now)
        after = {"name": name, "recipients": len(rows), "cost_fen": cost_fen * len(rows), "voucher": voucher_slug}
        audit.record("grant.make", f"grant:{grant_id}", actor_id=once.person_id, now=now, after=after)
        if quantities:
            catalog_steps.hold(quantities)
        return idempotency.finish(once, grant_schemas.Grant().dump(grant_queries.grant(grant_id, now=now)))


def confirm(
    *, grant_id: int, position: int, delivery: Mapping[str, Any] | None, actor_id: int | None, now: datetime
) -> None:
    """A recipient takes a gift and says where to; confirming it again, to the same place, changes nothing.

    `actor_id` is who is signed in, None for an own link. Raises NotFound, StateConflict once declined, too late, or
    confirmed to another place, Invalid where a gift of packs has no place to go.
    """
    with transaction():
        grant, person = _lock_recipient(grant_id, position)
        if person.status == "confirmed":
            if delivery is not None and person.order_id is not None:
                kept = db.session.scalar(select(Order.delivery).where(Order.id == person.order_id))
                if _place(kept) != _place(delivery):
                    raise StateConflict("这份慰问已经确认过，地址不能再改；要改请联系工会。")
            return
        if person.status != "waiting" or grant.deadline <= now:
            raise StateConflict("这份慰问已经不能再领取。")
        lines = [Line(**line) for line in grant.lines]
        order_id = None
        postings: list[Posting] = []
        if lines:
            if delivery is None:
                raise Invalid(errors={"delivery": ["请填写收货地址或选择自提点。"]})
            order_id = _order_of(grant, person, lines, pickup.placed(delivery), now=now)
            postings += voucher_steps.redeem_grant(campaign_id=grant.campaign_id, amount_fen=grant.cost_fen)
            for merchant_id, (_, subsidy_fen) in owed_by_merchant(lines).items():
                owner = {"campaign_id": grant.campaign_id, "merchant_id": merchant_id}
                postings.append(Posting(ledger.SUBSIDY, ledger.MERCHANT_OWED, subsidy_fen, **owner))
        if grant.voucher_campaign_id is not None and person.member_id is not None:
            promised = grant.voucher_campaign_id
            postings += voucher_steps.keep_promise(campaign_id=promised, member_id=person.member_id, now=now)
        quantities = quantities_of(lines)
        postings += catalog_steps.sell_postings(quantities)
        cause = Cause("gift", f"{grant_id}:{position}", order_id=order_id, actor_id=actor_id)
        ledger_steps.post(cause, postings, now=now)
        _answer(grant_id, position, "confirmed", actor_id=actor_id, order_id=order_id, now=now)
        if quantities:
            catalog_steps.sell(quantities)


def _place(delivery: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a place without what a pickup station was called then."""
    return {name: value for name, value in (delivery or {}).items() if not name.startswith("station_name")}


def decline(*, grant_id: int, position: int, actor_id: int | None, now: datetime) -> None:
    """A recipient does not want a gift; what was held for it goes back. Twice changes nothing."""
    with transaction():
        grant, person = _lock_recipient(grant_id, position)
        if person.status == "declined":
            return
        if person.status != "waiting":
            raise StateConflict("这份慰问已经不能再领取。")
        _answer(grant_id, position, "declined", actor_id=actor_id, order_id=None, now=now)
        cause = Cause("gift_declined", f"{grant_id}:{position}", actor_id=actor_id)
        _give_back(grant, 1, cause, now=now)


def lapse_due(*, now: datetime) -> int:
    """Give back what was not taken up of grants whose deadline is over; return how many gifts lapsed."""
    total = 0
    for grant_id in grant_queries.due(now=now):
        with transaction():
            grant = _lock_grant(grant_id)
            lapsed = rows_changed(
                update(GrantRecipient)
                .where(GrantRecipient.grant_id == grant_id, GrantRecipient.status == "waiting")
                .values(status="lapsed", answered_at=now)
            )
            if lapsed:
                _give_back(grant, lapsed, Cause("gift_lapsed", str(grant_id)), now=now)
            total += lapsed
    return total


def _write(
    grant_id: int,
    campaign_id: int,
    name: str,
    name_en: str,
    lines: Sequence[Line],
    cost_fen: int,
    voucher_campaign_id: int | None,
    deadline: datetime,
    once: Once,
    now: datetime,
) -> None:
    db.session.execute(
        insert(Grant).values(
            id=grant_id,
            campaign_id=campaign_id,
            name=name,
            name_en=name_en,
            lines=[line.__dict__ for line in lines],
            cost_fen=cost_fen,
            voucher_campaign_id=voucher_campaign_id,
            deadline=deadline,
            made_by=once.person_id,
            made_at=now,
        )
    )


def _lines(wanted: Sequence[Wanted]) -> tuple[Line, ...]:
    """Return the packs of a gift with their names and prices copied; the union pays each in full."""
    views = catalog_queries.packs_by_id(line.pack_id for line in wanted)
    offered = {
        view.id: _PackOf(
            view.name,
            view.name_en,
            view.picture,
            view.merchant.id,
            view.merchant.short_name,
            view.merchant.name_en,
            view.price_fen,
        )
        for view in views.values()
        if view.status == "on_sale"
    }
    errors = {
        f"lines.{index}.pack_id": ["没有这个礼包。"] for index, line in enumerate(wanted) if line.pack_id not in offered
    }
    if errors:
        raise Invalid("有礼包已下架或不存在。", errors=errors)
    amounts = [offered[line.pack_id].price_fen * line.quantity for line in wanted]
    return make_lines(offered, wanted, amounts=amounts, discounts=amounts)


def _times(quantities: Mapping[int, int], count: int) -> dict[int, int]:
    return {pack_id: quantity * count for pack_id, quantity in quantities.items()}


def _lock_grant(grant_id: int) -> Grant:
    grant = db.session.scalar(
        select(Grant).where(Grant.id == grant_id).with_for_update().execution_options(populate_existing=True)
    )
    if grant is None:
        raise NotFound("没有这份慰问。")
    return grant


def _lock_recipient(grant_id: int, position: int) -> tuple[Grant, GrantRecipient]:
    """Lock one recipient; whoever lapses a grant takes the grant's row, and then its recipients' rows."""
    grant = db.session.get(Grant, grant_id, populate_existing=True)
    person = db.session.scalar(
        select(GrantRecipient)
        .where(GrantRecipient.grant_id == grant_id, GrantRecipient.position == position)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    if grant is None or person is None:
        raise NotFound("没有这份慰问。")
    return grant, person


def _answer(
    grant_id: int, position: int, status: str, *, actor_id: int | None, order_id: int | None, now: datetime
) -> None:
    db.session.execute(
        update(GrantRecipient)
        .where(GrantRecipient.grant_id == grant_id, GrantRecipient.position == position)
        .values(status=status, answered_at=now, answered_by=actor_id, order_id=order_id)
    )


def _order_of(
    grant: Grant, person: GrantRecipient, lines: Sequence[Line], delivery: dict[str, Any], *, now: datetime
) -> int:
    """Write the order a gift becomes, with its lines and parcels: paid in full by the union."""
    order_id = new_id()
    offer = voucher_queries.campaign_by_id(grant.campaign_id, now=now).offer
    db.session.execute(
        insert(Order).values(
            id=order_id,
            campaign_id=grant.campaign_id,
            buyer_kind=GRANTED,
            member_id=person.member_id,
            placed_by=grant.made_by,
            status="paid",
            step_fen=offer.step_fen,
            save_fen=offer.save_fen,
            subtotal_fen=grant.cost_fen,
            discount_fen=grant.cost_fen,
            payable_fen=0,
            delivery=delivery,
            placed_at=now,
            paid_at=now,
        )
    )
    write_lines(order_id, lines)
    write_parcels(order_id, {line.parcel_no: line.merchant_id for line in lines}, delivery=delivery)
    return order_id


def _give_back(grant: Grant, count: int, cause: Cause, *, now: datetime) -> None:
    quantities = _times(quantities_of([Line(**line) for line in grant.lines]), count)
    postings = voucher_steps.release_grant(campaign_id=grant.campaign_id, amount_fen=grant.cost_fen * count)
    if grant.voucher_campaign_id is not None:
        postings += voucher_steps.break_promise(campaign_id=grant.voucher_campaign_id, count=count)
    postings += catalog_steps.release_postings(quantities)
    ledger_steps.post(cause, postings, now=now)
    if quantities:
        catalog_steps.release(quantities)


def export(*, grant_id: int, actor_id: int, now: datetime) -> Sequence[GrantRecipient]:
    """Return everybody on a list with full phones, for the operator who sends the links; the audit says who took it."""
    people = db.session.scalars(
        select(GrantRecipient).where(GrantRecipient.grant_id == grant_id).order_by(GrantRecipient.position)
    ).all()
    with transaction():
        audit.record("grant.export", f"grant:{grant_id}", actor_id=actor_id, now=now, after={"rows": len(people)})
    return people
