"""库存表: reading what a merchant's spreadsheet says of its stock, with each fault named by row and column."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kernel import sheets
from kernel.errors import Invalid
from kernel.sheets import Fault, Rows

HEADERS = {
    "pack": ("礼包编号", "礼包", "编号", "pack_id", "pack id", "pack", "code", "id"),
    "delta": ("增减", "增减数量", "delta", "change"),
    "count": ("盘点数", "盘点", "现货", "库存", "count", "on_hand", "on hand", "stock"),
    "reason": ("原因", "事由", "备注", "reason", "note"),
}
COLUMN_NAMES = {name: names[0] for name, names in HEADERS.items()}
UNSAID = "按表格更新"
MOST = 10**9


@dataclass(frozen=True)
class StockRow:
    """What one row says of a pack: a signed change, or a count of what is on hand."""

    row: int
    pack_id: int
    delta: int | None
    count: int | None
    reason: str


@dataclass(frozen=True)
class StockSheet:
    """What a sheet has: the rows that make sense, and every fault."""

    rows: tuple[StockRow, ...]
    faults: tuple[Fault, ...]
    total: int


def read_file(content: bytes, filename: str) -> Rows:
    """Return a sheet's rows. Raises Invalid for what is no sheet of stock."""
    rows = sheets.read(content, filename, HEADERS, required=("pack",))
    if not rows:
        raise Invalid("表格里没有内容。", errors={"file": ["表格里没有内容。"]})
    if not {"delta", "count"} & rows[0][1].keys():
        names = "、".join(f"“{COLUMN_NAMES[name]}”" for name in ("delta", "count"))
        raise Invalid("表格里要有这些列之一：%(names)s。", names=names, errors={"file": ["没有找到表头。"]})
    return rows


def check(rows: Iterable[tuple[int, dict[str, str]]], *, packs: Mapping[str, int]) -> StockSheet:
    """Check every row; `packs` are the merchant's own by what a sheet may call them (id, code, name)."""
    good: list[StockRow] = []
    faults: list[Fault] = []
    seen: dict[int, int] = {}
    total = 0
    for row, values in rows:
        total += 1
        found = _faults_of(row, values, packs=packs, seen=seen)
        faults += found
        if found:
            continue
        pack_id = packs[values["pack"]]
        seen[pack_id] = row
        good.append(
            StockRow(
                row=row,
                pack_id=pack_id,
                delta=_whole(values.get("delta", "")),
                count=_whole(values.get("count", "")),
                reason=values.get("reason", "") or UNSAID,
            )
        )
    return StockSheet(tuple(good), tuple(faults), total)


def _whole(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[+-]?[0-9]{1,10}", text, re.ASCII) and abs(int(text)) <= MOST else None


def _faults_of(row: int, values: dict[str, str], *, packs: Mapping[str, int], seen: Mapping[int, int]) -> list[Fault]:
    faults = []
    pack_id = packs.get(values.get("pack", ""))
    if pack_id is None:
        faults.append(Fault(row, COLUMN_NAMES["pack"], "您没有这个礼包。"))
    elif pack_id in seen:
        faults.append(Fault(row, COLUMN_NAMES["pack"], "这个礼包与第 %(row)s 行重复。", {"row": seen[pack_id]}))
    given = [name for name in ("delta", "count") if values.get(name)]
    if len(given) != 1:
        faults.append(Fault(row, COLUMN_NAMES["delta"], "请填写增减或盘点数其中一个。"))
    for name in given:
        number = _whole(values[name])
        if number is None or (name == "count" and number < 0):
            faults.append(Fault(row, COLUMN_NAMES[name], "请填写整数。"))
    if len(values.get("reason", "")) > 200:
        faults.append(Fault(row, COLUMN_NAMES["reason"], "最多 %(max)s 个字。", {"max": 200}))
    return faults
