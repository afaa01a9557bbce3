"""Fill a database with a campaign of any size, every counter agreeing with its postings.

Orders are of two packs (¥200, ¥40 of it saved while the voucher lasts) and in the states a running campaign has: of
twenty, one was cancelled, one is paid and waits for its parcels, the others are completed. PostgreSQL only.
"""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from flask import Flask
from sqlalchemy import text

from catalog import services as catalog_services
from kernel import clock
from kernel.db import db
from kernel.ids import digest
from people.services import arrivals
from voucher import services as voucher_services

SLUG, PACKS, MERCHANTS = "load", 100, 12
PRICE_FEN, SAVED_FEN, FACE_FEN = 100_00, 40_00, 200_00
FIRST_PHONE = 15_000_000_000
EPOCH_MS = 1_577_836_800_000  # kernel.ids counts from here
ORDERS_AT_ONCE = 100_000
FILLED = ("orders", "order_lines", "parcels", "payments", "ledger_postings")


def people(app: Flask, *, members: int, stock: int = 10_000_000, face_fen: int = FACE_FEN) -> None:
    """Make unions, merchants, packs, a campaign and members; vouchers are issued apart, so that it can be timed."""
    now = clock.now()
    with app.app_context():
        arrivals.bring_in(
            unions=[{"code": f"L{number}", "name": f"基层工会{number}"} for number in range(1, 41)],
            merchants=[
                {
                    "code": f"B{number}",
                    "name": f"商户{number}",
                    "short_name": f"商户{number}",
                    "region": "贵州安顺" if number % 4 == 0 else "山东青岛",
                    "assisted_region": number % 4 == 0,
                }
                for number in range(1, MERCHANTS + 1)
            ],
            members=[],
            honours=[],
            stations=[],
            staff=[
                {"name": "运营", "phone": "13600000001", "role": "operator"},
                {"name": "经办", "phone": "13900000001", "role": "union_officer", "union_code": "L1"},
                {"name": "商户员", "phone": "13700000001", "role": "merchant", "merchant_code": "B1"},
            ],
        )
        catalog_services.bring_in_packs(
            [
                {
                    "code": f"K{number}",
                    "merchant": f"B{number % MERCHANTS + 1}",
                    "name": f"礼包{number}",
                    "price_fen": PRICE_FEN,
                    "contents": [{"name": "米", "quantity": 1, "unit": "袋"}],
                    "stock": stock,
                }
                for number in range(PACKS)
            ],
            now=now,
        )
        voucher_services.create_campaign(
            details={
                "slug": SLUG,
                "name": "压测",
                "starts_at": now - timedelta(days=20),
                "ends_at": now + timedelta(days=40),
                "step_fen": 10000,
                "save_fen": 2000,
                "face_fen": face_fen,
                "tiers_fen": [PRICE_FEN],
                "member_budget_fen": (members + 1000) * face_fen,
                "bulk_budget_fen": 10**9,
                "issue_mode": "push",
            },
            actor_id=None,
            now=now,
        )
        run(
            "INSERT INTO people (name, phone) SELECT '会员' || n, (:first + n)::text"
            " FROM generate_series(1, :members) n",
            first=FIRST_PHONE,
            members=members,
        )
        run(
            "INSERT INTO members (person_id, member_no, union_id, department)"
            " SELECT p.id, 'L' || p.id, u.id, '' FROM people p"
            " JOIN LATERAL (SELECT id FROM grassroots_unions WHERE code = 'L' || (p.id % 40 + 1)) u ON true"
            " WHERE p.phone >= :first AND length(p.phone) = 11 AND p.phone LIKE '15%'",
            first=str(FIRST_PHONE),
        )
        run("ANALYZE people, members")
        db.session.remove()


def tokens(app: Flask, *, at_most: int | None = None) -> list[str]:
    """Give every member, or the first `at_most`, a bearer token, and return them in the members' order.

    A second row for each has the member's place as its hash: pgbench can make that, and no bearer can.
    """
    with app.app_context():
        ids = list(db.session.scalars(text("SELECT person_id FROM members ORDER BY id LIMIT :most"), {"most": at_most}))
        made = [f"hg_{secrets.token_urlsafe(24)}" for _ in ids]
        rows = [
            {"hash": hashed, "id": 2 * place + second, "person": person_id}
            for place, (person_id, token) in enumerate(zip(ids, made, strict=True))
            for second, hashed in enumerate((digest(token), str(place)))
        ]
        db.session.rollback()
        with db.engine.begin() as connection:
            connection.execute(
                text(
                    "INSERT INTO api_tokens (token_hash, id, person_id, name, scopes, method, created_at, expires_at,"
                    " last_used_at) VALUES (:hash, :id, :person, 'bench', 'read orders', 'code', now(),"
                    " now() + interval '1 day', now() + interval '1 day')"
                ),
                rows,
            )
        db.session.remove()
    return made


def pack_ids(app: Flask) -> list[str]:
    """Return the packs' ids as clients name them."""
    with app.app_context():
        found = [
            str(key) for key in db.session.scalars(text("SELECT id FROM gift_packs WHERE code LIKE 'K%' ORDER BY id"))
        ]
        db.session.remove()
    return found


def leave(pack_id: int, units: int) -> None:
    """Leave so many units of a pack available, with the posting that says so."""
    with db.engine.begin() as connection:
        gone = connection.execute(
            text(
                "WITH old AS"
                " (SELECT taken_in - held - sold - :units AS gone FROM stocks WHERE pack_id = :pack FOR UPDATE)"
                " UPDATE stocks SET taken_in = taken_in - old.gone FROM old WHERE pack_id = :pack RETURNING old.gone"
            ),
            {"units": units, "pack": pack_id},
        ).scalar_one()
        connection.execute(
            text(
                "INSERT INTO ledger_postings (entry, line, kind, debit, credit, amount, pack_id, at)"
                " VALUES ('leave:' || :pack, 1, 'stock', 'stock.available', 'stock.source', :gone, :pack, now())"
            ),
            {"gone": gone, "pack": pack_id},
        )


def vouchers(app: Flask) -> None:
    """Issue to everybody, as an operator would."""
    with app.app_context():
        everyone = voucher_services.Audience(everyone=True)
        voucher_services.issue_now(slug=SLUG, audience=everyone, now=clock.now())
        db.session.remove()


def orders(app: Flask, *, count: int) -> None:
    """Write `count` orders, each with its lines, parcels, payment and postings, then every counter they change."""
    now = clock.now()
    with app.app_context():
        run(
            "CREATE UNLOGGED TABLE load_members AS"
            " SELECT row_number() OVER (ORDER BY m.id) - 1 AS n, m.id, m.person_id, v.id AS voucher_id,"
            " v.campaign_id FROM members m JOIN vouchers v ON v.member_id = m.id"
            " JOIN campaigns c ON c.id = v.campaign_id AND c.slug = :slug",
            slug=SLUG,
        )
        run("ALTER TABLE load_members ADD PRIMARY KEY (n)")
        run(
            "CREATE UNLOGGED TABLE load_packs AS SELECT row_number() OVER (ORDER BY id) - 1 AS n, id, merchant_id, name"
            " FROM gift_packs WHERE code LIKE 'K%'"
        )
        with _unhindered():
            for first in range(0, count, ORDERS_AT_ONCE):
                _orders(first, min(first + ORDERS_AT_ONCE, count), total=count, now=now)
        _counters()
        run("DROP TABLE load_members, load_packs")
        db.session.remove()
    with app.app_context(), db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))


@contextmanager
def _unhindered() -> Iterator[None]:
    """Fill without the indexes that only make reading fast: each is built once, afterwards, from all rows."""
    indexes = (
        "SELECT i.indexrelid::regclass::text AS name, pg_get_indexdef(i.indexrelid) AS made_by FROM pg_index i"
        f" WHERE i.indrelid::regclass::text IN ({', '.join(repr(name) for name in FILLED)})"
        " AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = i.indexrelid)"
    )
    with db.engine.begin() as connection:
        found = connection.execute(text(indexes)).all()
        for index in found:
            connection.execute(text(f"DROP INDEX {index.name}"))
    yield
    with db.engine.begin() as connection:
        connection.execute(text("SET LOCAL maintenance_work_mem = '1GB'"))
        for index in found:
            connection.execute(text(index.made_by.replace(":", r"\:")))


def run(statement: str, **values: object) -> None:
    """Run one statement in a transaction of its own; rows that name each other are right by their making."""
    with db.engine.begin() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))  # no look-up for each foreign key
        connection.execute(text("SET LOCAL synchronous_commit = off"))
        connection.execute(text(statement), values)


def _orders(first: int, last: int, *, total: int, now: datetime) -> None:
    """Write the orders numbered from `first` up to `last`, spread over the ten days before now."""
    run("DROP TABLE IF EXISTS load_orders")
    run(
        "CREATE UNLOGGED TABLE load_orders AS SELECT"
        " ((floor(extract(epoch FROM placed_at) * 1000)::bigint - :epoch) << 22) | (each.n % 4194304) AS id,"
        " each.n, placed_at, m.id AS member_id, m.person_id, m.voucher_id, m.campaign_id,"
        " a.id AS pack_a, a.merchant_id AS merchant_a, a.name AS name_a,"
        " b.id AS pack_b, b.merchant_id AS merchant_b, b.name AS name_b,"
        " CASE WHEN each.n / members < :full THEN :saved ELSE 0 END AS saved,"
        " CASE each.n % 20 WHEN 7 THEN 'cancelled' WHEN 13 THEN 'paid' ELSE 'completed' END AS status"
        " FROM (SELECT n, (SELECT count(*) FROM load_members) AS members, CAST(:now AS timestamptz)"
        "   - interval '10 days' * (1 - n::float / :total) AS placed_at"
        "   FROM generate_series(CAST(:first AS bigint), :last - 1) n) AS each"
        " JOIN load_members m ON m.n = each.n % each.members"
        " JOIN load_packs a ON a.n = each.n % :packs JOIN load_packs b ON b.n = (each.n + 1) % :packs",
        epoch=EPOCH_MS,
        first=first,
        last=last,
        total=total,
        now=now,
        packs=PACKS,
        saved=SAVED_FEN,
        full=FACE_FEN // SAVED_FEN,
    )
    run(
        "INSERT INTO orders (id, campaign_id, buyer_kind, member_id, placed_by, voucher_id, status, step_fen, save_fen,"
        " subtotal_fen, discount_fen, payable_fen, delivery, placed_at, expires_at, paid_at, closed_at, holds,"
        " idempotency_key, request_hash, answer)"
        " SELECT id, campaign_id, 'member', member_id, person_id, CASE WHEN saved > 0 THEN voucher_id END, status,"
        " 10000, 2000, :both, saved, :both - saved,"
        ' \'{"kind": "ship", "name": "会员", "phone": "15000000001", "region": "青岛", "address": "海尔路 1 号"}\','
        " placed_at, placed_at + interval '30 minutes',"
        " CASE WHEN status <> 'cancelled' THEN placed_at + interval '1 minute' END,"
        " CASE WHEN status = 'cancelled' THEN placed_at + interval '1 minute' END, 1,"
        " 'load-' || n, md5(n::text), '{}' FROM load_orders",
        both=2 * PRICE_FEN,
    )
    for line_no, side in ((1, "a"), (2, "b")):
        parcel_no = "1" if line_no == 1 else "CASE WHEN merchant_a = merchant_b THEN 1 ELSE 2 END"
        run(
            "INSERT INTO order_lines (order_id, line_no, pack_id, pack_name, picture, merchant_id, merchant_name,"
            " quantity, price_fen, amount_fen, discount_fen, parcel_no)"
            f" SELECT id, {line_no}, pack_{side}, name_{side}, '', merchant_{side}, '商户', 1, :price, :price,"
            f" saved / 2, {parcel_no} FROM load_orders",
            price=PRICE_FEN,
        )
        run(
            "INSERT INTO parcels (order_id, parcel_no, merchant_id, status, shipped_at, delivered_at)"
            f" SELECT id, {line_no}, merchant_{side}, CASE status WHEN 'paid' THEN 'to_ship' ELSE 'delivered' END,"
            " CASE status WHEN 'completed' THEN placed_at + interval '1 day' END,"
            " CASE status WHEN 'completed' THEN placed_at + interval '2 days' END FROM load_orders"
            " WHERE status <> 'cancelled'" + (" AND merchant_a <> merchant_b" if line_no == 2 else "")
        )
    run(
        "INSERT INTO payments (id, order_id, provider, reference, amount_fen, status, created_at, settled_at)"
        " SELECT id, id, 'sandbox', 'load-' || n, :both - saved, 'succeeded', placed_at,"
        " placed_at + interval '1 minute' FROM load_orders WHERE status <> 'cancelled'",
        both=2 * PRICE_FEN,
    )
    _post(
        "hold", r"|| '\:1'", [("voucher.balance", "voucher.held", "saved", "v"), *_stock("available", "held")], "true"
    )
    _post(
        "paid",
        "",
        [
            ("voucher.held", "voucher.redeemed", "saved", "v"),
            *[
                (source, "merchant.owed", amount, f"m{side}")
                for side in "ab"
                for source, amount in (("cash", f"{PRICE_FEN} - saved / 2"), ("subsidy", "saved / 2"))
            ],
            *_stock("held", "sold"),
        ],
        "status <> 'cancelled'",
    )
    _post(
        "release",
        r"|| '\:1'",
        [("voucher.held", "voucher.balance", "saved", "v"), *_stock("held", "available")],
        "status = 'cancelled'",
    )


def _stock(debit: str, credit: str) -> list[tuple[str, str, str, str]]:
    return [(f"stock.{debit}", f"stock.{credit}", "1", f"p{side}") for side in "ab"]


def _post(kind: str, suffix: str, lines: list[tuple[str, str, str, str]], condition: str) -> None:
    """Write an entry of `lines` (debit, credit, amount, whose) for each order that meets the condition."""
    owners = {
        "v": "campaign_id, voucher_id, NULL::bigint, NULL::bigint",
        "ma": "campaign_id, NULL::bigint, NULL::bigint, merchant_a",
        "mb": "campaign_id, NULL::bigint, NULL::bigint, merchant_b",
        "pa": "NULL::bigint, NULL::bigint, pack_a, NULL::bigint",
        "pb": "NULL::bigint, NULL::bigint, pack_b, NULL::bigint",
    }
    parts = " UNION ALL ".join(
        f"SELECT '{kind}:' || id {suffix} AS entry, {line} AS line, '{kind}', '{debit}', '{credit}',"
        f" {amount} AS amount, {owners[whose]}, id, placed_at FROM load_orders WHERE {condition}"
        for line, (debit, credit, amount, whose) in enumerate(lines, start=1)
    )
    run(
        "INSERT INTO ledger_postings (entry, line, kind, debit, credit, amount, campaign_id, voucher_id, pack_id,"
        f" merchant_id, order_id, at) SELECT * FROM ({parts}) AS rows WHERE amount > 0 ORDER BY entry, line"
    )


def _counters() -> None:
    """Set each voucher's and each pack's counters to what the orders say."""
    run("DROP TABLE load_orders")
    run(
        "UPDATE vouchers v SET redeemed_fen = s.saved FROM (SELECT voucher_id, sum(discount_fen) AS saved FROM orders"
        " WHERE status <> 'cancelled' AND voucher_id IS NOT NULL GROUP BY voucher_id) s WHERE s.voucher_id = v.id"
    )
    run(
        "UPDATE stocks t SET sold = s.sold, shipped = s.shipped FROM (SELECT l.pack_id, count(*) AS sold,"
        " count(*) FILTER (WHERE o.status = 'completed') AS shipped FROM order_lines l"
        " JOIN orders o ON o.id = l.order_id"
        " WHERE o.status <> 'cancelled' GROUP BY l.pack_id) s WHERE s.pack_id = t.pack_id"
    )
