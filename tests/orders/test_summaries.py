"""The summaries are the ledger's, to the fen: after a random life, however often they are folded, and counted anew."""

import random
import threading
from collections import defaultdict
from datetime import timedelta

import pytest
from sqlalchemy import func, select, text, update

from finance.ledger.models import PostingRow
from kernel import clock
from kernel.clock import local
from kernel.db import db
from orders.models import Order, OrderLine
from orders.queries import report, summaries
from orders.services import granting, placing, summing
from orders.summary_models import (
    MEASURES,
    VOUCHER_MEASURES,
    OrderDay,
    SalesDay,
    SummaryBook,
    UnionSales,
    VoucherSums,
)
from people.models import Member
from tests.factories import APPROVER, MERCHANT_A, MERCHANT_B, OFFICER, OPERATOR
from voucher import services as voucher_services
from voucher.models import Voucher

CELLS = (SalesDay, OrderDay, UnionSales, VoucherSums)
LOGINS = [f"138{number:08d}" for number in range(1, 7)]


def contents():
    """Every cell of the current book, without the book's name."""
    book_id = summaries.book().id
    found = set()
    for table in CELLS:
        columns = [column for column in table.__table__.c if column.name != "book_id"]
        for row in db.session.execute(select(*columns).where(table.book_id == book_id)):
            figures = [row._mapping[name] for name in (*MEASURES, *VOUCHER_MEASURES, "paid") if name in row._mapping]
            if any(figures) or table is OrderDay:
                found.add((table.__tablename__, *row))
    return found


def live(world, rng, steps, between=lambda: None):
    """Members and unions buy, pay, cancel, are late, give back; an operator revokes, grants; merchants ship, answer."""
    placed, paid, asked = [], [], []
    for _ in range(steps):
        move = rng.choice(["place", "place", "place", "pay", "pay", "cancel", "back", "back", "bulk", "ship", "answer"])
        if move == "place":
            login = rng.choice(LOGINS)
            lines = [(rng.choice(sorted(world.packs)), rng.randint(1, 3)) for _ in range(rng.randint(1, 3))]
            answer = world.place(login, *lines)
            if answer.status_code == 201:
                placed.append((login, answer.json["number"], lines))
        elif move == "pay" and placed:
            one = placed.pop(rng.randrange(len(placed)))
            world.pay(one[0], one[1], rng.choice(["pay", "pay", "twice", "late"]))
            paid.append(one)
        elif move == "cancel" and placed:
            login, number, _ = placed.pop(rng.randrange(len(placed)))
            world.call(login, "POST", f"/orders/{number}/cancel")
        elif move == "back" and paid:
            login, number, lines = rng.choice(paid)
            at = rng.randrange(len(lines))
            body = {"lines": [{"line_id": str(at + 1), "quantity": 1}], "reason": "不要了"}
            answer = world.call(login, "POST", f"/orders/{number}/refunds", body)
            if answer.status_code == 201 and answer.json["status"] == "requested":
                asked.append((MERCHANT_A if lines[at][0][0] == "A" else MERCHANT_B, answer.json["id"]))
        elif move == "bulk":
            lines = world.lines((rng.choice(sorted(world.packs)), rng.randint(1, 4)))
            number = world.call(OFFICER, "POST", "/bulk/orders", lines).json["number"]
            world.call(OFFICER, "POST", f"/bulk/orders/{number}/submit")
            if world.call(APPROVER, "POST", f"/bulk/orders/{number}/approve").status_code == 200:
                path = f"/bulk/orders/{number}/payments"
                payment = world.call(OFFICER, "POST", path, {"provider": "bank_transfer"}).json
                body = {"amount_fen": payment["amount_fen"]}
                world.call(OPERATOR, "POST", f"/admin/payments/{payment['id']}/confirm", body)
                body = {"lines": [{"line_id": "1", "quantity": 1}], "reason": "少一人"}
                world.call(OFFICER, "POST", f"/bulk/orders/{number}/refunds", body)
        elif move == "ship" and paid:
            number = rng.choice(paid)[1]
            for login in (MERCHANT_A, MERCHANT_B):
                for parcel in (1, 2):
                    body = {"carrier": "顺丰", "tracking_no": "SF1"}
                    world.call(login, "POST", f"/merchant/parcels/{number}-{parcel}/ship", body)
        elif move == "answer" and asked:
            login, refund = asked.pop()
            world.call(login, "POST", f"/merchant/refunds/{refund}/accept")
        between()


def end(world):
    """A gift is taken, another declined; a voucher is revoked; the campaign ends; what is held past it is released."""
    people = [{"name": "甲", "phone": LOGINS[0]}, {"name": "乙", "phone": LOGINS[4]}]
    body = {"name": "慰问", "pack_id": world.packs["B40"], "recipients": people}
    grant = world.call(OPERATOR, "POST", "/admin/campaigns/spring/grants", body).json["id"]
    voucher = world.voucher(LOGINS[1])["id"]
    world.place(LOGINS[1], ("A150", 1))
    world.call(OPERATOR, "POST", f"/admin/vouchers/{voucher}/revoke", {"reason": "调离"})
    world.place(LOGINS[2], ("A150", 1), ("B150", 1))
    later = clock.now() + timedelta(days=30)
    with world.app.app_context():
        address = {"kind": "ship", "name": "甲", "phone": LOGINS[0], "region": "青岛", "address": "路 1 号"}
        for position, delivery in ((1, address), (2, None)):
            if delivery:
                granting.confirm(
                    grant_id=int(grant), position=position, delivery=delivery, actor_id=None, now=clock.now()
                )
            else:
                granting.decline(grant_id=int(grant), position=position, actor_id=None, now=clock.now())
        voucher_services.expire_ended(now=later)
        placing.expire_due(now=later)


def fold(world):
    with world.app.app_context():
        while not summing.advance(now=clock.now(), seconds=60, patience=60):
            pass


def net(cells, *keys):
    """Sum a table's cells by some of its columns: sales and subsidy less what went back, and packs."""
    found = defaultdict(lambda: [0, 0, 0])
    for row in cells:
        own = found[tuple(getattr(row, key) for key in keys)]
        own[0] += row.sales_fen - row.back_fen
        own[1] += row.subsidy_fen - row.back_subsidy_fen
        own[2] += row.packs - row.back_packs
    return {key: tuple(own) for key, own in found.items() if any(own)}


def assert_equal_to_the_ledger():
    """By merchant, tier, channel, day and union, and voucher by voucher; independently of how they are folded."""
    book = summaries.book()
    campaign_id = db.session.scalar(select(Order.campaign_id).limit(1))
    said = report(campaign_id)
    every = summaries.sales(book.id, campaign_id)
    by_union = summaries.union_sales(book.id, campaign_id)
    figures = ("sales_fen", "subsidy_fen", "packs")
    for name, key, of in (
        ("sales_by_tier", "tier_fen", lambda row: row["tier_fen"]),
        ("sales_by_merchant", "merchant_id", lambda row: int(row["merchant"]["id"])),
        ("sales_by_channel", "channel", lambda row: row["channel"]),
    ):
        expected = {(of(row),): tuple(row[figure] for figure in figures) for row in said[name]}
        expected = {key: row for key, row in expected.items() if any(row)}
        assert net(every, key) == expected, name
        if key != "tier_fen":
            assert net(by_union, key) == expected, name
    owed = db.session.execute(
        select(PostingRow.merchant_id, PostingRow.at, PostingRow.debit, PostingRow.amount).where(
            PostingRow.kind.in_(("paid", "gift", "refund")),
            (PostingRow.debit == "merchant.owed") | (PostingRow.credit == "merchant.owed"),
        )
    ).all()
    by_day = defaultdict(int)
    for row in owed:
        sign = -1 if row.debit == "merchant.owed" else 1
        by_day[local(row.at).date(), row.merchant_id] += sign * row.amount
    assert {key: row[0] for key, row in net(every, "day", "merchant_id").items()} == {
        key: amount for key, amount in by_day.items() if amount
    }
    member_union = {key: union_id for key, union_id in db.session.execute(select(Member.id, Member.union_id))}
    kept = OrderLine.price_fen * (OrderLine.quantity - OrderLine.refunded)
    unions = defaultdict(int)
    for member_id, union_id, amount in db.session.execute(
        select(Order.member_id, Order.union_id, kept)
        .join(OrderLine, OrderLine.order_id == Order.id)
        .where(Order.status.in_(("paid", "fulfilling", "completed")))
    ):
        unions[(union_id or member_union.get(member_id, 0),)] += amount
    assert {key: row[0] for key, row in net(by_union, "union_id").items()} == {k: v for k, v in unions.items() if v}
    sums = {row.union_id: row for row in summaries.vouchers(book.id, campaign_id)}
    for union_id in set(member_union.values()):
        own = db.session.execute(
            select(
                func.count(),
                *(
                    func.sum(getattr(Voucher, f"{name}_fen"))
                    for name in ("face", "held", "redeemed", "expired", "revoked")
                ),
            )
            .join(Member, Member.id == Voucher.member_id)
            .where(Voucher.campaign_id == campaign_id, Member.union_id == union_id)
        ).one()
        names = ("issued", "issued_fen", "held_fen", "redeemed_fen", "expired_fen", "revoked_fen")
        assert [getattr(sums[union_id], name) for name in names] == [int(value) for value in own]
    released = db.session.scalar(
        select(func.sum(PostingRow.amount)).where(
            PostingRow.debit == "voucher.held", PostingRow.credit == "voucher.balance"
        )
    )
    assert sum(row.released_fen for row in sums.values()) == (released or 0)
    paid = db.session.scalar(select(func.count()).where(PostingRow.kind.in_(("paid", "gift")), PostingRow.line == 1))
    assert sum(row.paid for row in summaries.orders(book.id, campaign_id) if row.part == "all") == (paid)
    assert summaries.breaches() == []


@pytest.mark.parametrize("seed", [1, 2])
def test_a_random_life_summed_up_is_the_ledger_to_the_fen(world, monkeypatch, seed):
    """Folded now and then in pieces of a few postings, so that entries lie on both sides of a piece's end."""
    monkeypatch.setattr(summing, "CHUNK", 7)
    rng = random.Random(seed)

    def now_and_then():
        if rng.random() < 0.3:
            fold(world)
            assert world.breaches() == []

    live(world, rng, 40, now_and_then)
    end(world)
    fold(world)
    with world.app.app_context():
        assert_equal_to_the_ledger()
        folded = contents()
        kinds = set(db.session.scalars(select(PostingRow.kind)))
        summing.rebuild(now=clock.now())
        assert contents() == folded
        assert db.session.scalar(select(func.count()).select_from(SummaryBook)) == 1
        assert_equal_to_the_ledger()
    assert {"issue", "hold", "paid", "release", "expire", "refund", "gift", "revoke", "lapse"} <= kinds


def test_what_is_wrong_in_a_summary_is_a_breach(world):
    world.pay(LOGINS[0], world.place(LOGINS[0], ("A150", 1)).json["number"])
    fold(world)
    assert world.breaches() == []
    with world.app.app_context():
        db.session.execute(update(SalesDay).values(sales_fen=SalesDay.sales_fen + 1))
        db.session.execute(update(VoucherSums).values(redeemed_fen=VoucherSums.redeemed_fen + 1))
        db.session.commit()
        found = summaries.breaches()
    assert [line.partition(":")[0] for line in found] == ["summaries", "summaries"]
    assert "by days are (15001, 2000), the ledger says (15000, 2000)" in found[0]


def test_two_that_fold_at_once_count_each_posting_once(world, monkeypatch):
    monkeypatch.setattr(summing, "CHUNK", 3)
    for login in LOGINS[:3]:
        world.pay(login, world.place(login, ("A150", 1), ("B40", 2)).json["number"])
    together = threading.Barrier(4)

    def one():
        together.wait()
        fold(world)

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with world.app.app_context():
        assert db.session.scalar(select(func.count()).select_from(SummaryBook)) == 1
        assert_equal_to_the_ledger()


def test_killed_between_cursor_and_cells_nothing_is_lost_or_doubled(world, monkeypatch):
    world.pay(LOGINS[0], world.place(LOGINS[0], ("A150", 1)).json["number"])
    with monkeypatch.context() as patched:
        patched.setattr(summing, "_add", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
        with world.app.app_context(), pytest.raises(KeyboardInterrupt):
            summing.advance(now=clock.now())
    with world.app.app_context():
        assert (summaries.book().cursor, summaries.book().as_of) == (0, None)
    fold(world)
    with world.app.app_context():
        assert_equal_to_the_ledger()


def test_a_counting_anew_that_was_killed_is_shown_to_nobody_and_goes_on(world, monkeypatch):
    monkeypatch.setattr(summing, "CHUNK", 3)
    world.pay(LOGINS[0], world.place(LOGINS[0], ("A150", 1)).json["number"])
    fold(world)
    with world.app.app_context():
        before = contents()
        assert summing.rebuild_step(now=clock.now(), seconds=0) is False
        assert contents() == before
        assert sorted(db.session.scalars(select(SummaryBook.is_current))) == [False, True]
        assert summing.rebuild_step(now=clock.now(), seconds=60) is True
        assert contents() == before
        assert list(db.session.scalars(select(SummaryBook.is_current))) == [True]


def test_each_night_what_a_member_who_moved_did_moves_along(world, monkeypatch):
    world.pay(LOGINS[0], world.place(LOGINS[0], ("A150", 1)).json["number"])
    fold(world)
    at_four = clock.start_of_day(local(clock.now()).date() + timedelta(days=1)) + timedelta(hours=4)
    with world.app.app_context():
        campaign_id = db.session.scalar(select(Order.campaign_id).limit(1))
        one, other = sorted(db.session.scalars(select(Member.union_id).distinct()))
        db.session.execute(update(Member).where(Member.member_no == "M1").values(union_id=other))
        db.session.commit()

        def bought():
            rows = summaries.union_sales(summaries.book().id, campaign_id)
            return [(row.union_id, row.sales_fen) for row in rows]

        summing.tend(now=clock.now())
        assert bought() == [(one, 15000)]
        summing.tend(now=at_four - timedelta(hours=2), seconds=60)
        assert bought() == [(one, 15000)]
        summing.tend(now=at_four, seconds=60)
        assert bought() == [(other, 15000)]
        assert_equal_to_the_ledger()


def test_a_commit_that_overtakes_another_hides_nothing(world):
    """PostgreSQL shows a higher id first where its transaction is faster: the lower one is waited for, not skipped."""
    if world.app.config["ENGINE"] != "postgresql":
        pytest.skip("SQLite has one writer")
    fold(world)
    row = "INSERT INTO ledger_postings (entry, line, kind, debit, credit, amount, at)"
    with world.app.app_context():
        cursor = summaries.book().cursor
        slow, fast = db.engine.connect(), db.engine.connect()
        try:
            slow.execute(text(f"{row} VALUES ('slow:1', 1, 'adjust', 'stock.source', 'stock.available', 1, now())"))
            fast.execute(text(f"{row} VALUES ('fast:1', 1, 'adjust', 'stock.source', 'stock.available', 1, now())"))
            fast.commit()
            assert summing.advance(now=clock.now(), patience=0.05) is False
            assert summaries.book().cursor == cursor
            slow.commit()
        finally:
            slow.close()
            fast.close()
        assert summing.advance(now=clock.now(), patience=5) is True
        assert summaries.book().cursor == cursor + 2


def test_the_command_counts_anew_and_says_so(world):
    world.pay(LOGINS[0], world.place(LOGINS[0], ("A150", 1)).json["number"])
    with world.app.app_context():
        count = db.session.scalar(select(func.max(PostingRow.id)))
        assert summing.rebuild(now=clock.now()) == count
        assert summaries.book().as_of is not None
        assert_equal_to_the_ledger()
