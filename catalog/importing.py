"""What a sheet of packs says, and what it changes (kernel.imports): an operator's list is approved as it stands."""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select, update

from catalog import queries, services
from catalog.models import GiftPack, Stock
from kernel.db import among, db
from kernel.imports import Kind, Outcome, Row, Settled
from kernel.money import MAX_FEN, fen_of
from kernel.sheets import Fault
from people import queries as people_queries

HEADERS = {
    "code": ("礼包编号", "编号", "代码", "code", "pack_code", "pack code", "no"),
    "merchant": ("商户编号", "商户", "商户名称", "商户简称", "merchant", "merchant_code", "merchant code"),
    "name": ("礼包名称", "名称", "礼包", "name", "pack", "pack name"),
    "name_en": ("英文名称", "英文名", "name_en", "name en", "english name"),
    "price_fen": ("价格", "单价", "档位", "售价", "金额", "price", "tier", "price yuan"),
    "category": ("类别", "分类", "category"),
    "description": ("说明", "描述", "介绍", "description"),
    "description_en": ("英文说明", "英文描述", "description_en", "description en"),
    "contents": ("内容", "礼包内容", "包含商品", "商品", "contents"),
    "stock": ("库存", "期初库存", "数量", "stock", "count"),
}
CATEGORIES = {"食品": "food", "日用品": "household", "food": "food", "household": "household"}
PLAIN = ("name", "name_en", "price_fen", "category", "description", "description_en")
MOST = 10**9


def contents_of(text: str) -> list[dict[str, Any]] | None:
    """Return a pack's contents as a cell lists them; None where it does not.

    >>> contents_of("大米×2袋；花生油*1 瓶")
    [{'name': '大米', 'quantity': 2, 'unit': '袋'}, {'name': '花生油', 'quantity': 1, 'unit': '瓶'}]
    >>> contents_of("大米") is None
    True
    """
    found = []
    for piece in filter(None, (part.strip() for part in re.split(r"[;\uff1b\u3001\n]", text))):
        said = re.fullmatch(r"(.{1,80}?)\s*[×xX*]\s*([0-9]{1,5})\s*(\D{1,12})", piece)
        if said is None or not int(said[2]):
            return None
        found.append({"name": said[1], "quantity": int(said[2]), "unit": said[3].strip()})
    return found if 0 < len(found) <= 30 else None


def _whole(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[0-9]{1,10}", text, re.ASCII) and int(text) <= MOST else None


def settle(rows: Sequence[Row], *, apply: bool, now: datetime) -> Settled:
    """Say what a part of a sheet of packs does, and do it to apply; stock is taken in for new packs only."""
    settled = Settled()
    sellers: dict[str, int] = {}
    for merchant in people_queries.merchants():
        names = (merchant.name_en, merchant.short_name, merchant.name, str(merchant.id), merchant.code)
        sellers |= {name.casefold(): merchant.id for name in names if name}
    found = db.session.scalars(
        select(GiftPack)
        .where(among(GiftPack.code, {values["code"] for _, values in rows}))
        .execution_options(populate_existing=True)
    )
    known = {pack.code: pack for pack in found}
    contents = queries.contents_of([pack.id for pack in known.values()])
    for number, values in rows:
        pack = known.get(values["code"])
        details, faults = _meant(number, values, sellers, is_new=pack is None)
        if pack is not None and details.get("merchant_id", pack.merchant_id) != pack.merchant_id:
            faults.append(Fault(number, HEADERS["merchant"][0], "这个礼包是另一家商户的。"))
        if faults:
            settled.faults += faults
        elif pack is None:
            settled.outcomes.append(Outcome(number, "created", details["name"]))
            if apply:
                _enter(values["code"], details, now=now)
        else:
            listed = [(one.name, one.quantity, one.unit) for one in contents.get(pack.id, ())]
            change = {name: details[name] for name in PLAIN if name in details and details[name] != getattr(pack, name)}
            if "contents" in details and [tuple(one.values()) for one in details["contents"]] != listed:
                change["contents"] = details["contents"]
            shown = {HEADERS[name][0]: (_shown(getattr(pack, name, "")), _shown(to)) for name, to in change.items()}
            settled.outcomes.append(Outcome(number, "updated" if change else "unchanged", pack.name, shown))
            if apply and change:
                services.make_it(pack, change)
    return settled


def _shown(value: Any) -> str:
    return "" if isinstance(value, list) else str(value or "")


def _meant(
    number: int, values: dict[str, str], sellers: dict[str, int], *, is_new: bool
) -> tuple[dict[str, Any], list[Fault]]:
    faults = []
    details: dict[str, Any] = {name: values[name] for name in PLAIN if values.get(name)}

    def wrong(name: str, message: str) -> None:
        faults.append(Fault(number, HEADERS[name][0], message))

    for name in ("code", *(("merchant", "name", "price_fen", "contents") if is_new else ())):
        if not values.get(name):
            wrong(name, "请填写这一项。")
    if values.get("merchant"):
        seller = sellers.get(values["merchant"].casefold())
        if seller is None:
            wrong("merchant", "没有这家商户。")
        else:
            details["merchant_id"] = seller
    if values.get("price_fen"):
        price = fen_of(values["price_fen"].removesuffix("元"))
        if price is None or not 0 < price <= MAX_FEN:
            wrong("price_fen", "请填写金额。")
        else:
            details["price_fen"] = price
    if values.get("category"):
        category = CATEGORIES.get(values["category"].casefold())
        if category is None:
            wrong("category", "请填写“食品”或“日用品”。")
        else:
            details["category"] = category
    if values.get("contents"):
        listed = contents_of(values["contents"])
        if listed is None:
            wrong("contents", "请这样写：大米×2袋；花生油×1瓶")
        else:
            details["contents"] = listed
    if values.get("stock"):
        stock = _whole(values["stock"])
        if stock is None:
            wrong("stock", "请填写整数。")
        else:
            details["stock"] = stock
    return details, faults


def _enter(code: str, details: dict[str, Any], *, now: datetime) -> None:
    stock = details.get("stock", 0)
    given = {name: value for name, value in details.items() if name not in ("merchant_id", "stock")}
    pack_id = services.enter_pack(merchant_id=details["merchant_id"], details={"code": code, **given}, now=now)
    if stock:
        db.session.execute(update(Stock).where(Stock.pack_id == pack_id).values(taken_in=stock))
        services.post_first_stock(pack_id, stock, now=now)


PACKS = Kind(
    name="packs",
    title="礼包",
    headers=HEADERS,
    required=("code", "name"),
    lengths={"code": 40, "name": 80, "name_en": 160, "description": 200, "description_en": 400},
    keys={"code": lambda text: text or None},
    settle=settle,
    example=(
        ("礼包编号", "商户编号", "礼包名称", "英文名称", "价格", "类别", "说明", "内容", "库存"),
        ("P900", "M01", "山茶礼包", "Mountain tea box", "150", "食品", "春茶", "绿茶×2盒；蜂蜜×1瓶", "200"),
    ),
    notes=(
        "按礼包编号认；编号没有的新建并上架，有的更新。已下的订单不变。",
        "库存只用于新礼包；已有礼包的库存由商户盘点或增减。价格以元为单位。",
    ),
)
