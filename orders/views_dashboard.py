"""An operator's dashboard of a campaign, with pictures, the rows behind each figure, and files of each."""

from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from flask import Response, current_app, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext

from finance.gateway import queries as gateway_queries
from kernel import clock, sheets
from kernel.doors import PageBlueprint, locale_of, said, saved
from kernel.errors import DomainError, NotFound
from kernel.ids import as_id
from kernel.money import yuan
from orders import charts
from orders.queries import dashboard as queries
from orders.queries.dashboard import CHANNELS, Assisted, Behind, Dashboard, Wanted, percent
from orders.services import summing, targets
from orders.services.summing import FRESH
from people import queries as people_queries

bp = PageBlueprint("dashboard", __name__, audience="operator", url_prefix="/admin/campaigns/<slug>")

PICTURES = ("days", "tiers", "merchants", "regions", "channels", "unions", "budget", "vouchers")
FILTER = {"days": "day", "tiers": "tier", "merchants": "merchant", "regions": "region", "channels": "channel"}


@dataclass(frozen=True)
class Shown:
    """One table: its columns' names and kinds ('fen', 'count', 'tenths', 'text'); a row is a label and its cells."""

    part: str
    title: str
    first: str
    columns: tuple[tuple[str, str], ...]
    rows: list[dict[str, Any]] = field(default_factory=list)
    note: str = ""

    def as_sheet(self) -> list[list[Any]]:
        """Return it as rows of a spreadsheet: amounts in yuan with two places, shares in percent with one."""
        heads = [self.first]
        for name, kind in self.columns:
            heads.append(f"{name} (¥)" if kind == "fen" else f"{name} (%)" if kind == "tenths" else name)
        found: list[list[Any]] = [heads]
        for row in self.rows:
            cells = [row["label"]]
            for (_, kind), value in zip(self.columns, row["cells"], strict=True):
                places = {"fen": 2, "tenths": 1}.get(kind)
                cells.append(value if places is None or value is None else Decimal(value).scaleb(-places))
            found.append(cells)
        return found


def _wanted() -> Wanted:
    args = request.args
    day = clock.day_of(args.get("day", ""))
    channel = args.get("channel")
    return Wanted(
        since=day or clock.day_of(args.get("since", "")),
        until=day or clock.day_of(args.get("until", "")),
        tier_fen=as_id(args.get("tier")),
        merchant_id=as_id(args.get("merchant")),
        region=args.get("region", "").strip()[:40] or None,
        channel=channel if channel in CHANNELS else None,
    )


def _look(slug: str) -> Dashboard:
    summing.keep_fresh(within=FRESH, now=clock.now())
    settings = current_app.config["HUIGONG"]
    return queries.look(slug, _wanted(), ship_seconds=settings.ship_seconds, now=clock.now())


@bp.get("/dashboard")
def home(slug: str) -> ResponseReturnValue:
    """How a campaign goes."""
    found = _look(slug)
    return render_template(
        "operator/dashboard.html",
        found=found,
        tables=_tables(found),
        pictures=PICTURES,
        filters=_filters(),
        channels={channel: _channel(channel) for channel in CHANNELS},
        regions=sorted({one.region for one in found.merchants.values()}),
        payments=gateway_queries.for_a_person(),
        share=percent(found.assisted_fen, found.whole.net_fen),
        age=summing.age_of(found.book, now=clock.now()),
        now=clock.now(),
    )


def _filters() -> dict[str, str]:
    names = ("day", "since", "until", "tier", "merchant", "region", "channel")
    return {name: request.args[name] for name in names if request.args.get(name)}


@bp.get("/dashboard/<part>.<kind>")
def take(slug: str, part: str, kind: str) -> ResponseReturnValue:
    """One of its tables as a picture (svg), a workbook (xlsx) or a plain file (csv)."""
    found = _look(slug)
    table = _tables(found).get(part)
    if table is None or (kind == "svg" and part not in PICTURES):
        raise NotFound("没有找到您要的内容。")
    return _as_file(table, kind, f"{slug}-{part}", picture=lambda: _picture(part, table, found))


def _as_file(table: Shown, kind: str, name: str, *, picture: Any = None) -> Response:
    if kind == "svg" and picture is not None:
        response = Response(picture(), mimetype="image/svg+xml")
        # The picture's own styles are written into it; nothing in it runs.
        response.headers["Content-Security-Policy"] = "default-src 'none'; style-src 'unsafe-inline'"
        response.headers["Cache-Control"] = "private, max-age=30"
        return response
    if kind == "xlsx":
        sheet = sheets.Sheet(table.as_sheet(), widths=[28] + [16] * len(table.columns), title=table.title)
        return saved(sheets.write_book([sheet]), f"{name}.xlsx")
    if kind == "csv":
        return saved(sheets.write_csv(table.as_sheet()), f"{name}.csv")
    raise NotFound("没有找到您要的内容。")


def _channel(channel: str) -> str:
    return {"member": gettext("会员个人"), "bulk": gettext("基层集采"), "grant": gettext("慰问赠送")}[channel]


def _name(thing: Any) -> str:
    return str(thing.name if locale_of() == "zh" else thing.name_en or thing.name)


def _label(part: str, key: str, found: Dashboard) -> str:
    if part == "tiers":
        return yuan(int(key))
    if part == "merchants":
        return _name(found.merchants[int(key)])
    if part == "regions":
        return gettext(key)
    return _channel(key) if part == "channels" else key


def _tables(found: Dashboard) -> dict[str, Shown]:
    tables = [
        *(_sales(part, title, first, found) for part, title, first in _sale_parts()),
        _unions(found),
        _budget(found),
        _vouchers(found),
        _stock(found),
        _overdue(found),
    ]
    return {table.part: table for table in tables}


def _sale_parts() -> list[tuple[str, str, str]]:
    return [
        ("days", gettext("每日销售"), gettext("日期")),
        ("tiers", gettext("按档位"), gettext("档位")),
        ("merchants", gettext("按商户"), gettext("商户")),
        ("regions", gettext("按产地"), gettext("产地")),
        ("channels", gettext("按渠道"), gettext("渠道")),
    ]


def _sales(part: str, title: str, first: str, found: Dashboard) -> Shown:
    columns = (
        (gettext("订单"), "count"),
        (gettext("份数"), "count"),
        (gettext("销售额"), "fen"),
        (gettext("已退"), "fen"),
        (gettext("净销售额"), "fen"),
        (gettext("其中补贴"), "fen"),
    )
    assisted = {one.region for one in found.merchants.values() if one.assisted_region}
    rows = [
        {
            "label": _label(part, group.key, found),
            "tag": gettext("消费帮扶") if part == "regions" and group.key in assisted else "",
            "link": {FILTER[part]: group.key},
            "cells": [
                group.orders,
                group.net_packs,
                group.sales_fen,
                group.back_fen,
                group.net_fen,
                group.net_subsidy_fen,
            ],
        }
        for group in found.groups[part]
    ]
    return Shown(part, title, first, columns, rows)


def _unions(found: Dashboard) -> Shown:
    columns = (
        (gettext("券"), "count"),
        (gettext("已发放"), "fen"),
        (gettext("已核销"), "fen"),
        (gettext("使用率"), "tenths"),
        (gettext("净销售额"), "fen"),
        (gettext("帮扶占比"), "tenths"),
    )
    rows = [
        {
            "label": _name(one),
            "link": {"union": str(one.id)},
            "cells": [
                one.issued,
                one.issued_fen,
                one.redeemed_fen,
                percent(one.redeemed_fen, one.issued_fen),
                one.net_fen,
                percent(one.assisted_fen, one.net_fen),
            ],
        }
        for one in found.unions
    ]
    note = gettext("会员按现在所在的工会统计；调动的会员从次日起算在新工会。")
    return Shown("unions", gettext("各工会使用情况"), gettext("工会"), columns, rows, note)


def _budget(found: Dashboard) -> Shown:
    columns = ((gettext("当日补贴"), "fen"), (gettext("累计补贴"), "fen"), (gettext("预算剩余"), "fen"))
    rows, spent = [], 0
    for day, amount in found.burn.by_day:
        spent += amount
        cells = [amount, spent, found.burn.budget_fen - spent]
        rows.append({"label": day.isoformat(), "link": {"day": day.isoformat()}, "cells": cells})
    note = gettext("补贴在付款那天计入，退款在同意那天减去。慰问另有预算，不在其内。")
    return Shown("budget", gettext("预算使用"), gettext("日期"), columns, rows, note)


def _vouchers(found: Dashboard) -> Shown:
    totals = found.vouchers
    named = [
        (gettext("已发放"), "issued_fen"),
        (gettext("预占中"), "held_fen"),
        (gettext("已核销"), "redeemed_fen"),
        (gettext("释放过（累计）"), "released_fen"),
        (gettext("已过期"), "expired_fen"),
        (gettext("已收回"), "revoked_fen"),
        (gettext("券面余额"), "balance_fen"),
    ]
    rows = [{"label": label, "link": None, "cells": [totals[name]]} for label, name in named]
    note = gettext("发放 = 余额 + 预占 + 核销 + 过期 + 收回；释放过的已回到余额。")
    return Shown("vouchers", gettext("福利券去向"), gettext("去向"), ((gettext("金额"), "fen"),), rows, note)


def _stock(found: Dashboard) -> Shown:
    columns = (
        (gettext("商户"), "text"),
        (gettext("可售"), "count"),
        (gettext("近 7 天售出"), "count"),
        (gettext("还够几天"), "count"),
    )
    rows = [
        {
            "label": row["name"] if locale_of() == "zh" else row["name_en"] or row["name"],
            "link": None,
            "cells": [_name(found.merchants[row["merchant_id"]]), row["available"], row["sold"], row["days_left"]],
        }
        for row in found.risks
    ]
    note = gettext("可售少于商户设的提醒数，或按近 7 天的速度撑不到活动结束。")
    return Shown("stock", gettext("可能断货的礼包"), gettext("礼包"), columns, rows, note)


def _overdue(found: Dashboard) -> Shown:
    columns = ((gettext("包裹"), "count"), (gettext("最早付款"), "text"))
    rows = [
        {
            "label": _name(found.merchants[row.merchant_id]),
            "link": None,
            "cells": [row.parcels, clock.local(row.oldest).strftime("%Y-%m-%d %H:%M")],
        }
        for row in found.overdue
    ]
    return Shown("overdue", gettext("超时未发的包裹"), gettext("商户"), columns, rows)


def _picture(part: str, table: Shown, found: Dashboard) -> bytes:
    labels = [row["label"] for row in table.rows]

    def column(index: int) -> list[int]:
        return [row["cells"][index] // 100 for row in table.rows]

    if part == "days":
        short = [label[5:] for label in labels]
        return charts.columns(short, (gettext("净销售额"), column(4)), (gettext("其中补贴"), column(5)))
    if part == "budget":
        budget = [found.burn.budget_fen // 100] * len(labels)
        short = [label[5:] for label in labels]
        return charts.lines(short, (gettext("累计补贴"), column(1)), (gettext("预算"), budget))
    if part == "vouchers":
        return charts.bars(labels, (gettext("金额"), column(0)))
    if part == "unions":
        best = sorted(table.rows, key=lambda row: -row["cells"][3])[:20]
        rates = [row["cells"][3] // 10 for row in best]
        return charts.bars([row["label"] for row in best], (gettext("使用率"), rates))
    return charts.bars(labels[:20], (gettext("净销售额"), column(4)[:20]))


@bp.get("/dashboard/orders")
def rows(slug: str) -> ResponseReturnValue:
    """The orders behind a figure."""
    union_id = as_id(request.args.get("union"))
    behind = Behind(_wanted(), union_id)
    found, more = queries.rows_behind(slug, behind, before=as_id(request.args.get("before")), now=clock.now())
    merchant = people_queries.merchant(behind.wanted.merchant_id)
    unions = {one.id: one for one in people_queries.unions()}
    words = [
        (gettext("日期"), behind.wanted.since and _period(behind.wanted)),
        (gettext("档位"), behind.wanted.tier_fen and yuan(behind.wanted.tier_fen)),
        (gettext("商户"), merchant and _name(merchant)),
        (gettext("产地"), behind.wanted.region and gettext(behind.wanted.region)),
        (gettext("渠道"), behind.wanted.channel and _channel(behind.wanted.channel)),
        (gettext("工会"), union_id in unions and _name(unions[union_id])),
    ]
    filters = _filters() | ({"union": str(union_id)} if union_id is not None else {})
    return render_template(
        "operator/dashboard_orders.html",
        slug=slug,
        rows=found,
        more=more,
        words=[(name, word) for name, word in words if word],
        filters=filters,
        unions=unions,
        channel=lambda kind: _channel({"union": "bulk"}.get(kind, kind)),
    )


def _period(wanted: Wanted) -> str:
    if wanted.since == wanted.until:
        return str(wanted.since)
    return f"{wanted.since} – {wanted.until or ''}"


def _assisted(slug: str, union_id: str | None) -> tuple[Assisted, dict[str, Shown]]:
    summing.keep_fresh(within=FRESH, now=clock.now())
    key = as_id(union_id) if union_id is not None else None
    found = queries.assisted(slug, union_id=-1 if union_id is not None and key is None else key, now=clock.now())
    if found is None:
        raise NotFound("没有找到您要的内容。")
    share = (gettext("帮扶占比"), "tenths")
    goal = found.target * 10
    merchants = Shown(
        "merchants",
        gettext("按商户"),
        gettext("商户"),
        (
            (gettext("产地"), "text"),
            (gettext("消费帮扶"), "text"),
            (gettext("份数"), "count"),
            (gettext("净销售额"), "fen"),
        ),
        [
            {
                "label": _name(one),
                "link": {"merchant": str(one.id)} | ({"union": str(key)} if key is not None else {}),
                "cells": [
                    gettext(one.region),
                    gettext("是") if one.assisted_region else gettext("否"),
                    group.net_packs,
                    group.net_fen,
                ],
            }
            for one, group in found.merchants
        ],
    )
    unions = Shown(
        "unions",
        gettext("按工会"),
        gettext("工会"),
        ((gettext("净销售额"), "fen"), (gettext("来自帮扶地区"), "fen"), share, (gettext("达到目标"), "text")),
        [
            {
                "label": _name(one),
                "link": None,
                "id": one.id,
                "cells": [
                    one.net_fen,
                    one.assisted_fen,
                    percent(one.assisted_fen, one.net_fen),
                    ""
                    if not one.net_fen
                    else gettext("是")
                    if one.assisted_fen * 1000 >= goal * one.net_fen
                    else gettext("否"),
                ],
            }
            for one in found.unions
        ],
    )
    return found, {"merchants": merchants, "unions": unions}


@bp.route("/assisted", methods=["GET", "POST"])
def assisted(slug: str) -> ResponseReturnValue:
    """The share of sales from paired-assistance regions against the campaign's target, which can be set here."""
    problem = None
    if request.method == "POST":
        try:
            targets.set_target(slug=slug, percent=as_id(request.form.get("percent", "").strip()), now=clock.now())
        except DomainError as refused:
            problem = refused.extra.get("errors", {}).get("percent", [said(refused)])[0]
        else:
            flash(gettext("目标已保存。"), "success")
            return redirect(url_for("dashboard.assisted", slug=slug), 303)
    return _assisted_page(slug, None, problem), 422 if problem else 200


@bp.get("/assisted/<union_id>")
def assisted_of_union(slug: str, union_id: str) -> ResponseReturnValue:
    """One union's share."""
    return _assisted_page(slug, union_id, None)


def _assisted_page(slug: str, union_id: str | None, problem: str | None) -> str:
    found, tables = _assisted(slug, union_id)
    return render_template(
        "operator/assisted.html",
        found=found,
        tables=tables,
        share=percent(found.assisted_fen, found.net_fen),
        problem=problem,
        percent=request.form.get("percent", found.target),
        age=summing.age_of(found.book, now=clock.now()),
    )


@bp.get("/assisted-<part>.<kind>")
def take_assisted(slug: str, part: str, kind: str) -> ResponseReturnValue:
    """The report by union or by merchant as a file."""
    _, tables = _assisted(slug, None)
    if part not in tables:
        raise NotFound("没有找到您要的内容。")
    return _as_file(tables[part], kind, f"{slug}-assisted-{part}")


@bp.get("/assisted/<union_id>/report.<kind>")
def take_assisted_of_union(slug: str, union_id: str, kind: str) -> ResponseReturnValue:
    """One union's report as a file."""
    found, tables = _assisted(slug, union_id)
    table = replace(tables["merchants"], title=f"{_name(found.union)} · {gettext('消费帮扶')}")
    return _as_file(table, kind, f"{slug}-assisted-{union_id}")
