"""Build the demonstration's files: three spreadsheets, the catalogue and the pictures. Deterministic.

Run it from the project's root: `.venv/bin/python -m demo.build`.
"""

import json
import random
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import xlsxwriter

from demo.goods import MERCHANTS, OCCASIONS, PRODUCTS
from demo.pictures import merchant_picture, pack_picture

HERE = Path(__file__).resolve().parent
PICTURES = HERE.parent / "web" / "static" / "pictures"
TIERS_FEN = (10000, 15000, 20000, 25000, 30000)
SURNAMES = "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗梁宋郑谢韩唐冯于董萧程曹袁邓许傅沈曾彭吕苏卢蒋蔡贾丁魏薛叶阎"
GIVEN = [
    "海涛",
    "丽娜",
    "建国",
    "秀兰",
    "志强",
    "桂芳",
    "晓东",
    "雅琴",
    "文博",
    "雪梅",
    "立新",
    "春燕",
    "国庆",
    "玉珍",
    "明辉",
    "凤霞",
    "俊杰",
    "淑华",
    "家豪",
    "晓燕",
    "德胜",
    "美玲",
    "振华",
    "慧敏",
    "鹏飞",
    "红梅",
    "永刚",
    "佳怡",
    "少军",
    "静怡",
    "学文",
    "爱华",
    "宏伟",
    "彩云",
    "长青",
    "思源",
    "培德",
    "若男",
    "向阳",
    "金凤",
]
UNIONS = [
    (
        "青岛崂山仁和医院工会",
        "Renhe Hospital Trade Union",
        "崂山区海尔路 571 号",
        ["内科", "外科", "护理部", "药剂科", "后勤处"],
    ),
    (
        "崂山区育才实验学校工会",
        "Yucai School Trade Union",
        "崂山区秦岭路 188 号",
        ["语文组", "数学组", "英语组", "教务处"],
    ),
    (
        "青岛海岳机械制造有限公司工会",
        "Haiyue Machinery Trade Union",
        "崂山区株洲路 773 号",
        ["一车间", "二车间", "质检部", "设备部"],
    ),
    (
        "青岛云汐软件园工会",
        "Yunxi Software Park Trade Union",
        "崂山区松岭路 399 号",
        ["研发一部", "研发二部", "测试部", "人力资源部"],
    ),
    (
        "崂山区环境卫生中心工会",
        "Sanitation Centre Trade Union",
        "崂山区李宅路 62 号",
        ["清扫一队", "清扫二队", "转运站", "车队"],
    ),
    (
        "崂山区云山街道联合工会",
        "Yunshan Street Joint Trade Union",
        "崂山区云岭路 27 号",
        ["社区服务", "快递物流", "家政服务", "商超"],
    ),
]
SHARES = (52, 38, 44, 33, 21, 12)


def people(count: int, seed: int) -> list[str]:
    """Return distinct believable names."""
    every = [surname + given for surname in SURNAMES for given in GIVEN]
    return random.Random(seed).sample(every, count)


def write_sheet(name: str, header: list[str], rows: list[list[Any]], widths: list[int]) -> None:
    """Write a spreadsheet as an office would: bold frozen header, phones as text, real dates."""
    book = xlsxwriter.Workbook(str(HERE / name), {"constant_memory": False})
    book.set_properties({"created": date(2026, 11, 1)})
    sheet = book.add_worksheet("名单")
    bold, day = book.add_format({"bold": True, "bg_color": "#F6E7C8"}), book.add_format({"num_format": "yyyy-mm-dd"})
    sheet.write_row(0, 0, header, bold)
    sheet.freeze_panes(1, 0)
    for column, width in enumerate(widths):
        sheet.set_column(column, column, width)
    for number, row in enumerate(rows, start=1):
        for column, value in enumerate(row):
            if isinstance(value, date):
                sheet.write_datetime(number, column, value, day)
            elif isinstance(value, int):
                sheet.write_number(number, column, value)
            else:
                sheet.write_string(number, column, value)
    book.close()


def build_people() -> None:
    """Write unions.xlsx, members.xlsx and model_workers.xlsx."""
    staff = people(12, seed=7)
    unions = [
        [
            f"U{number:02d}",
            name,
            english,
            address,
            staff[2 * number - 2],
            f"139{2 * number - 1:08d}",
            staff[2 * number - 1],
            f"139{2 * number:08d}",
        ]
        for number, (name, english, address, _) in enumerate(UNIONS, start=1)
    ]
    write_sheet(
        "unions.xlsx",
        ["工会编号", "工会名称", "英文名称", "地址", "经办人", "经办人手机", "审批人", "审批人手机"],
        unions,
        [10, 32, 32, 26, 10, 14, 10, 14],
    )
    chance = random.Random(2027)
    places = [0, 0, *chance.sample([union for union, share in enumerate(SHARES) for _ in range(share)][2:], 198)]
    members = []
    for number, (name, union) in enumerate(zip(people(200, seed=1), places, strict=True), start=1):
        joined = date(1995, 3, 1) + timedelta(days=chance.randrange(30 * 365))
        department = chance.choice(UNIONS[union][3])
        members.append([f"LS{number:06d}", name, f"138{number:08d}", f"U{union + 1:02d}", department, joined])
    write_sheet(
        "members.xlsx",
        ["会员编号", "姓名", "手机号", "工会编号", "部门", "入会日期"],
        members,
        [12, 10, 14, 10, 14, 12],
    )
    titles = ["全国劳动模范", "山东省劳动模范", "青岛市劳动模范", "青岛市劳动模范", "全国五一劳动奖章"]
    units = ["青岛海岳机械制造有限公司", "崂山区环境卫生中心", "青岛崂山仁和医院", "青岛北湾港务公司", "青岛城阳纺织厂"]
    workers = []
    for number, name in enumerate(people(376, seed=5), start=1):
        if number <= 12:
            member = members[number * 13 % 200]
            workers.append(
                [
                    member[1],
                    member[2],
                    chance.choice(titles),
                    chance.randrange(1995, 2026),
                    UNIONS[int(member[3][1:]) - 1][0].removesuffix("工会"),
                    member[0],
                ]
            )
        else:
            workers.append(
                [
                    name,
                    f"135{number:08d}",
                    chance.choice(titles),
                    chance.randrange(1985, 2026),
                    chance.choice(units),
                    "",
                ]
            )
    write_sheet(
        "model_workers.xlsx",
        ["姓名", "手机号", "荣誉", "获评年份", "单位", "会员编号"],
        workers,
        [10, 14, 18, 10, 28, 12],
    )


def contents_for(merchant: str, tier_fen: int, turn: int) -> list[dict[str, Any]]:
    """Return goods of one merchant worth about the tier, each turn another choice."""
    goods = PRODUCTS[merchant]
    start = (turn * 2) % len(goods)
    chosen = [goods[(start + step) % len(goods)] for step in range(3 + (tier_fen >= 20000) + (tier_fen >= 30000))]
    counts = [1] * len(chosen)
    while sum(good[3] * count for good, count in zip(chosen, counts, strict=True)) < tier_fen // 100:
        cheapest = min(range(len(chosen)), key=lambda index: (counts[index] * chosen[index][3], index))
        counts[cheapest] += 1
    return [
        {"name": name, "name_en": english, "quantity": count, "unit": unit}
        for (name, english, unit, _, _), count in zip(chosen, counts, strict=True)
    ]


def build_catalogue() -> dict[str, Any]:
    """Write catalogue.json and return it."""
    packs: list[dict[str, Any]] = []
    for position, merchant in enumerate(MERCHANTS):
        code = merchant["code"]
        for turn in range(10):
            tier_fen = TIERS_FEN[(turn + position) % 5]
            contents = contents_for(code, tier_fen, turn)
            occasion, occasion_en = OCCASIONS[(turn + position) % len(OCCASIONS)]
            main = contents[0]["name"].split(" ")[0]
            number = len(packs) + 1
            glyphs = {good[0]: good[4] for good in PRODUCTS[code]}
            packs.append(
                {
                    "code": f"P{number:03d}",
                    "merchant": code,
                    "name": f"{occasion}·{main}礼包"[:16],
                    "name_en": f"{occasion_en} — {contents[0]['name_en']} pack",
                    "tier_fen": tier_fen,
                    "category": "household" if merchant["kind"] == "household" else "food",
                    "description": f"{merchant['region']}直发，{len(contents)} 样好物，节前送到家。",
                    "description_en": f"Sent from {merchant['region_en']}: {len(contents)} good things for the feast.",
                    "contents": contents,
                    "stock": 60 + number * 37 % 840,
                    "glyphs": [glyphs[content["name"]] for content in contents],
                }
            )
    five = next(pack for pack in packs if pack["merchant"] == "M05" and pack["tier_fen"] == 20000)
    five |= {
        "name": "福禄寿喜财五福慰问礼包",
        "name_en": "Five Blessings condolence pack",
        "description": "致敬劳模：米、油、面、礼，五福齐到家。",
        "description_en": "For model workers: five blessings for the home.",
        "stock": 900,
    }
    merchants = [
        {name: value for name, value in merchant.items() if name not in ("kind", "region_en", "hue")}
        for merchant in MERCHANTS
    ]
    catalogue = {"merchants": merchants, "packs": packs}
    text = json.dumps(catalogue, ensure_ascii=False, indent=1)
    (HERE / "catalogue.json").write_text(text + "\n", encoding="utf-8")
    return catalogue


def build_pictures(catalogue: dict[str, Any]) -> None:
    """Draw a picture for every pack and merchant."""
    hues = {merchant["code"]: merchant["hue"] for merchant in MERCHANTS}
    for pack in catalogue["packs"]:
        counts = [content["quantity"] for content in pack["contents"]]
        picture = pack_picture(pack["glyphs"], counts, hues[pack["merchant"]], pack["tier_fen"])
        (PICTURES / "packs" / f"{pack['code']}.svg").write_text(picture, encoding="utf-8")
    for merchant in MERCHANTS:
        glyph = PRODUCTS[merchant["code"]][0][4]
        (PICTURES / "merchants" / f"{merchant['code']}.svg").write_text(
            merchant_picture(glyph, merchant["hue"]), encoding="utf-8"
        )


if __name__ == "__main__":
    build_people()
    build_pictures(build_catalogue())
