"""对账: the payments and refunds of a time against the providers' own lists, and all of them against the ledger.

Reads only, though it asks providers: no row is held. A difference has a `kind`, the amounts both sides say, and a text.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import func, or_, select, union

from finance.gateway import providers
from finance.gateway import queries as gateway_queries
from finance.gateway.providers import Provider, ProviderDown, ProviderRefused
from finance.gateway.queries import PaymentView
from finance.gateway.rules import ARRIVED, CURRENCY, Movement
from finance.ledger import queries as ledger_queries
from kernel.clock import local, start_of_day
from kernel.db import db

GRACE = timedelta(minutes=10)  # an event may be on its way
AROUND = timedelta(days=1)  # what is ours of a day may be theirs of the day beside it


@dataclass(frozen=True)
class Difference:
    """One thing two records of the same money do not agree on, in fen. `kind`:

    `missing_here`, `missing_there`, `doubled`, `amount`, `ledger_in`, `ledger_out`, `unanswered`.
    """

    kind: str
    provider: str
    reference: str
    ours_fen: int | None = None
    theirs_fen: int | None = None
    order_number: str | None = None
    what: str = "payment"

    @property
    def text(self) -> str:
        """The difference in one line."""
        order = f", order {self.order_number}" if self.order_number else ""
        sides = f"ours {self.ours_fen}, theirs {self.theirs_fen}"
        return f"money: {self.kind}: {self.provider} {self.what} {self.reference}{order}: {sides}"


@dataclass
class Compared:
    """What comparing a time found: how many lines, how many nobody can check yet, and the differences."""

    since: datetime
    until: datetime
    compared: int = 0
    unchecked: int = 0
    differences: list[Difference] = field(default_factory=list)

    def listed(self) -> list[dict[str, Any]]:
        """Return the differences as they are stored and answered."""
        return [{**asdict(one), "text": one.text} for one in self.differences]


def compare_day(day: date, *, now: datetime) -> Compared:
    """Compare one day of Asia/Shanghai with the providers' lists, and the whole of payments with the ledger."""
    return compare(start_of_day(day), start_of_day(day + timedelta(days=1)), now=now)


def compare_lately(*, now: datetime) -> Compared:
    """Compare yesterday and today, until now."""
    return compare(start_of_day(local(now).date() - timedelta(days=1)), now + timedelta(seconds=1), now=now)


def compare(since: datetime, until: datetime, *, now: datetime) -> Compared:
    """Compare a time, `until` excluded."""
    found = Compared(since, until)
    payments = gateway_queries.arrived(since, until)
    refunds = gateway_queries.sent(since, until)
    for name, gateway in providers.all_of().items():
        own = [one for one in payments if one.provider == name and one.amount_fen > 0]
        own_refunds = [one for one in refunds if one.provider == name]
        if not own and not own_refunds and name == "stripe" and not getattr(gateway, "can_ask", True):
            continue
        try:
            theirs = gateway.movements(since - AROUND, until + AROUND)
            _payments(found, name, gateway, own, [one for one in theirs if one.kind == "payment"], now=now)
            _refunds(found, name, gateway, own_refunds, [one for one in theirs if one.kind == "refund"], now=now)
        except (ProviderDown, ProviderRefused) as silent:
            found.differences.append(Difference("unanswered", name, str(silent)[:80]))
    found.differences += against_ledger()
    return found


def _within(found: Compared, line: Movement, now: datetime) -> bool:
    return found.since <= line.at < found.until and line.at < now - GRACE


def _payments(
    found: Compared, name: str, gateway: Provider, own: Sequence[PaymentView], theirs: list[Movement], *, now: datetime
) -> None:
    by_reference = {line.reference: line for line in theirs}
    by_our_id = {line.our_id: line for line in theirs if line.our_id is not None}
    for payment in own:
        line = by_reference.get(payment.intent or payment.reference) or by_our_id.get(payment.id)
        found.compared += 1
        if line is not None:
            theirs_fen = line.amount if line.currency == CURRENCY else None
        elif gateway.by_hand:
            found.unchecked += 1  # the statement of that day is not imported yet
            found.compared -= 1
            continue
        else:
            state = gateway.payment(payment.session) if payment.session else None
            theirs_fen = state.amount if state is not None and state.status == "paid" else 0
        if theirs_fen != payment.amount_fen:
            kind = "amount" if theirs_fen else "missing_there"
            found.differences.append(
                Difference(
                    kind, name, payment.intent or payment.reference, payment.amount_fen, theirs_fen, _number(payment)
                )
            )
    counts = Counter(line.our_id for line in theirs if line.our_id is not None and _within(found, line, now))
    for line in theirs:
        if not _within(found, line, now):
            continue
        payment_id = line.our_id
        known = (
            gateway_queries.find(payment_id)
            if gateway.by_hand
            else gateway_queries.named(payment_id=payment_id, session=None, intent=line.reference)
        )
        if payment_id is not None and counts[payment_id] > 1:
            number = _number(known) if known is not None else None
            ours = known.amount_fen if known is not None else None
            if known is None or line.reference != known.intent:
                found.differences.append(Difference("doubled", name, line.reference, ours, line.amount, number))
        elif (known is None or known.status not in ARRIVED) and not gateway_queries.looked_at(line.reference):
            number = _number(known) if known is not None else None
            found.differences.append(Difference("missing_here", name, line.reference, 0, line.amount, number))


def _refunds(
    found: Compared, name: str, gateway: Provider, own: Sequence[Any], theirs: list[Movement], *, now: datetime
) -> None:
    by_reference = {line.reference: line for line in theirs}
    for refund in own:
        found.compared += 1
        line = by_reference.get(refund.reference or "")
        theirs_fen = line.amount if line is not None else 0
        if line is None and gateway.by_hand:
            found.unchecked += 1
            found.compared -= 1
            continue
        if line is None:
            payment = gateway_queries.find(refund.payment_id)
            listed = gateway.refunds(payment.intent) if payment is not None and payment.intent else []
            told = [one.amount for one in listed if one.reference == refund.reference and one.status == "succeeded"]
            theirs_fen = sum(told)
            if not told and refund.attempt and refund.reference and not refund.reference.startswith("re_"):
                found.unchecked += 1  # sent another way by a person, after the provider could not
                found.compared -= 1
                continue
        if theirs_fen != refund.amount_fen:
            kind = "amount" if theirs_fen else "missing_there"
            found.differences.append(
                Difference(
                    kind, name, refund.reference or "", refund.amount_fen, theirs_fen, _number(refund), what="refund"
                )
            )
    for line in theirs:
        if not _within(found, line, now) or gateway.by_hand:
            continue  # a statement's other lines out are the account's own business
        refund_id = gateway_queries.refund_by_reference(name, line.reference)
        if refund_id is None and not gateway_queries.looked_at(line.reference):
            known = gateway_queries.refund(line.our_id)
            kind = "doubled" if known is not None and known.status == "succeeded" else "missing_here"
            ours = known.amount_fen if known is not None and kind == "doubled" else 0
            number = _number(known) if known is not None else None
            found.differences.append(Difference(kind, name, line.reference, ours, line.amount, number, what="refund"))


def _number(thing: Any) -> str | None:
    return str(thing.order_id) if thing.order_id is not None else None


def against_ledger() -> list[Difference]:
    """Return the orders whose payments or refunds are not what the ledger says came in and went back."""
    received, sent = gateway_queries.received_by_order(), gateway_queries.sent_by_order()
    posted = ledger_queries.cash_by_order()
    every = union(select(received.c.order_id), select(sent.c.order_id), select(posted.c.order_id)).subquery()
    got, gone = func.coalesce(received.c.fen, 0), func.coalesce(sent.c.fen, 0)
    came, went = func.coalesce(posted.c.came, 0), func.coalesce(posted.c.went, 0)
    rows = db.session.execute(
        select(every.c.order_id, got, came, gone, went)
        .outerjoin(received, received.c.order_id == every.c.order_id)
        .outerjoin(sent, sent.c.order_id == every.c.order_id)
        .outerjoin(posted, posted.c.order_id == every.c.order_id)
        .where(or_(got != came, gone != went))
        .order_by(every.c.order_id)
    )
    found = []
    for order_id, got_fen, came_fen, gone_fen, went_fen in rows:
        number = str(order_id) if order_id else None
        if got_fen != came_fen:
            found.append(Difference("ledger_in", "ledger", number or "-", int(got_fen), int(came_fen), number))
        if gone_fen != went_fen:
            one = Difference("ledger_out", "ledger", number or "-", int(gone_fen), int(went_fen), number, what="refund")
            found.append(one)
    return found
