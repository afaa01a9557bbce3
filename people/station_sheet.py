"""自提点表: reading a spreadsheet of pickup stations, with each fault named by row and column."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from kernel import sheets
from kernel.sheets import Fault, Rows
from people.places import degrees_e6, shown_degrees

HEADERS = {
    "code": ("编号", "自提点编号", "code", "id", "station"),
    "name": ("名称", "自提点", "自提点名称", "name"),
    "name_en": ("英文名称", "name_en"),
    "district": ("街道", "区域", "所属街道", "district"),
    "address": ("地址", "详细地址", "address"),
    "address_en": ("英文地址", "address_en"),
    "hours": ("营业时间", "开放时间", "时间", "hours"),
    "services": ("服务", "服务项目", "services"),
    "phone": ("电话", "联系电话", "phone"),
    "latitude": ("纬度", "latitude", "lat"),
    "longitude": ("经度", "longitude", "lon", "lng"),
    "open": ("开放", "是否开放", "open", "is_open"),
}
COLUMN_NAMES = {name: names[0] for name, names in HEADERS.items()}
MOST = {
    "code": 20,
    "name": 80,
    "name_en": 160,
    "district": 40,
    "address": 200,
    "address_en": 300,
    "hours": 120,
    "services": 200,
    "phone": 30,
}
NEEDED = ("code", "name", "address")
YES = ("", "是", "开放", "yes", "y", "true", "1", "open")
NO = ("否", "关闭", "停用", "no", "n", "false", "0", "closed")


@dataclass(frozen=True)
class StationRow:
    """What one row says of a station: only the columns the sheet has."""

    row: int
    values: dict[str, Any]


def read_file(content: bytes, filename: str) -> Rows:
    """Return a sheet's rows. Raises Invalid for what is no sheet of stations."""
    return sheets.read(content, filename, HEADERS, required=NEEDED)


def check(rows: Iterable[tuple[int, dict[str, str]]]) -> tuple[list[StationRow], list[Fault], int]:
    """Return the rows that make sense, every fault, and how many rows there were."""
    good: list[StationRow] = []
    faults: list[Fault] = []
    seen: dict[str, int] = {}
    total = 0
    for row, texts in rows:
        total += 1
        values, found = values_of(texts)
        code = texts.get("code", "")
        if code and code in seen:
            found["code"] = ("这个编号与第 %(row)s 行重复。", {"row": seen[code]})
        seen.setdefault(code, row)
        faults += [
            Fault(row, COLUMN_NAMES[name], message, figures) for name, (message, figures) in sorted(found.items())
        ]
        if not found:
            good.append(StationRow(row, values))
    return good, faults, total


def values_of(texts: dict[str, str]) -> tuple[dict[str, Any], dict[str, tuple[str, dict[str, Any]]]]:
    """Return a station's fields from what was written, and what is wrong by field (a message and its figures).

    >>> here = {"latitude": "36.1", "longitude": "120.4"}
    >>> values_of({"code": "S1", "name": "甲", "address": "路 1 号", **here})[0]["lat_e6"]
    36100000
    >>> sorted(values_of({"code": "S1", "name": "", "address": "路", "latitude": "120", "longitude": "36"})[1])
    ['latitude', 'name']
    """
    values: dict[str, Any] = {name: texts[name].strip() for name in MOST if name in texts}
    faults: dict[str, tuple[str, dict[str, Any]]] = {}
    for name, text in values.items():
        if len(text) > MOST[name]:
            faults[name] = ("最多 %(max)s 个字。", {"max": MOST[name]})
    faults |= {name: ("请填写这一项。", {}) for name in NEEDED if not values.get(name)}
    if "latitude" in texts or "longitude" in texts:
        lat_text, lon_text = texts.get("latitude", "").strip(), texts.get("longitude", "").strip()
        lat, lon = degrees_e6(lat_text, most=90), degrees_e6(lon_text, most=180)
        if lat_text and lat is None:
            faults["latitude"] = ("纬度请填 -90 到 90 之间的度数；请看经度和纬度是不是填反了。", {})
        if lon_text and lon is None:
            faults["longitude"] = ("经度请填 -180 到 180 之间的度数。", {})
        if bool(lat_text) != bool(lon_text):
            faults["longitude" if lat_text else "latitude"] = ("经度和纬度要一起填写。", {})
        values |= {"lat_e6": lat, "lon_e6": lon}
    if "open" in texts:
        said = texts["open"].strip().lower()
        if said not in (*YES, *NO):
            faults["open"] = ("请填写“是”或“否”。", {})
        values["is_open"] = said in YES
    return values, faults


def written(stations: Iterable[Any]) -> bytes:
    """Return stations as a spreadsheet that can be changed and read again."""
    rows = [
        [
            *[getattr(one, name) for name in MOST],
            shown_degrees(one.lat_e6),
            shown_degrees(one.lon_e6),
            "是" if one.is_open else "否",
        ]
        for one in stations
    ]
    header = [COLUMN_NAMES[name] for name in (*MOST, "latitude", "longitude", "open")]
    return sheets.write([header, *rows], widths=(10, 24, 24, 16, 36, 36, 24, 30, 16, 12, 12, 8))
