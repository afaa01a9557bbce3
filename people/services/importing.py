"""What sheets of members, unions, merchants and model workers say, and what they change (kernel.imports)."""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import Any

from sqlalchemy import bindparam, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from kernel import clock
from kernel.db import among, db
from kernel.errors import StateConflict
from kernel.imports import ImportSeen, Kind, Leaving, Outcome, Row, Settled
from kernel.sheets import Fault
from people.models import GrassrootsUnion, Honour, Member, Merchant, Person
from people.rules import masked, normal_phone

MODEL_WORKER = "model_worker"
ACTIVE = ("在册", "在会", "在职", "正常", "会员", "是", "active", "member", "yes", "1")
GONE = ("离会", "已离会", "退会", "已退会", "离职", "已离职", "注销", "left", "inactive", "ended", "no", "0", "否")
YES = ("是", "对口", "帮扶", "yes", "y", "true", "1", "√")
NO = ("否", "不是", "no", "n", "false", "0", "×")

MEMBER_HEADERS = {
    "member_no": ("会员编号", "会员号", "会员证号", "会员卡号", "编号", "工号", "职工编号", "员工编号")
    + ("member_no", "member no", "member number", "member id", "membership no", "employee_no", "no"),
    "name": ("姓名", "会员姓名", "职工姓名", "名字", "name", "full name", "member name"),
    "phone": ("手机号", "手机", "电话", "联系电话", "手机号码", "电话号码", "联系方式")
    + ("phone", "mobile", "phone number", "mobile phone", "tel", "phone_number"),
    "union": (
        "工会编号",
        "基层工会",
        "工会",
        "工会名称",
        "所属工会",
        "基层工会编号",
        "单位编号",
        "单位",
        "所在单位",
        "单位名称",
    )
    + ("union", "union_code", "union code", "union_id", "union id", "union name", "union_name", "unit", "unit code"),
    "department": ("部门", "科室", "所属部门", "department", "dept"),
    "joined_on": ("入会日期", "入会时间", "加入日期", "joined_on", "joined on", "joined", "join date", "date joined"),
    "status": ("状态", "会员状态", "会籍状态", "在册", "status", "state", "active"),
    "left_on": ("离会日期", "退会日期", "离职日期", "离会时间", "left_on", "left on", "left", "leave date"),
}
UNION_HEADERS = {
    "code": ("工会编号", "编号", "单位编号", "代码", "code", "union_code", "union code", "no"),
    "name": ("工会名称", "名称", "工会", "基层工会", "单位", "单位名称", "name", "union", "union name"),
    "name_en": ("英文名称", "英文名", "name_en", "name en", "english name"),
    "address": ("地址", "单位地址", "address"),
}
MERCHANT_HEADERS = {
    "code": ("商户编号", "编号", "代码", "code", "merchant_code", "merchant code", "no"),
    "name": ("商户名称", "名称", "商户", "全称", "name", "merchant", "merchant name"),
    "short_name": ("简称", "商户简称", "short_name", "short name"),
    "name_en": ("英文名称", "英文名", "name_en", "name en", "english name"),
    "region": ("产地", "地区", "所在地", "区域", "region"),
    "assisted_region": (
        "对口支援",
        "消费帮扶",
        "帮扶地区",
        "对口帮扶",
        "assisted_region",
        "assisted region",
        "assisted",
    ),
    "intro": ("介绍", "简介", "intro", "introduction"),
    "intro_en": ("英文介绍", "英文简介", "intro_en", "intro en"),
}
HONOUR_HEADERS = {
    "name": ("姓名", "劳模姓名", "name"),
    "phone": ("手机号", "手机", "电话", "联系电话", "手机号码", "联系方式", "phone", "mobile"),
    "title": ("荣誉", "荣誉称号", "称号", "title", "honour", "honor"),
    "year": ("获评年份", "年份", "评选年份", "获评年度", "year"),
    "unit": ("单位", "所在单位", "工作单位", "unit"),
    "member_no": ("会员编号", "会员号", "member_no", "member no"),
}


def _same(text: str) -> str | None:
    return text or None


def _day(text: str) -> date | None:
    """Return the day a cell says, however it is written; None for what is none.

    >>> _day("1997/4/7"), _day("1997年4月7日"), _day("19970407"), _day("1997-04-07 00:00:00"), _day("soon")
    (datetime.date(1997, 4, 7), datetime.date(1997, 4, 7), datetime.date(1997, 4, 7), datetime.date(1997, 4, 7), None)
    """
    found = re.match(r"([0-9]{4})[-/.\u5e74]([0-9]{1,2})[-/.\u6708]([0-9]{1,2})\u65e5?(?:[ T].*)?$", text) or re.match(
        r"([0-9]{4})([0-9]{2})([0-9]{2})$", text
    )
    if found is None:
        return None
    try:
        day = date(int(found[1]), int(found[2]), int(found[3]))
    except ValueError:
        return None
    return day if clock.is_plausible(day) else None


def _plain_name(text: str) -> str:
    """Return a name without the spaces that only line characters up.

    >>> _plain_name("王  芳"), _plain_name("Anna  Li")
    ('王芳', 'Anna Li')
    """
    parts = text.split()
    return ("" if all(part[:1] > "\u2e80" for part in parts) else " ").join(parts)


def _add(model: Any, rows: Sequence[dict[str, Any]], *back: Any) -> list[Any]:
    """Add rows that nobody else has added meanwhile; return `back` of those that are new."""
    if not rows:
        return []
    on_engine = postgresql.insert if db.session.get_bind().dialect.name == "postgresql" else sqlite.insert
    statement = on_engine(model).on_conflict_do_nothing().returning(*back)
    return list(db.session.execute(statement, list(rows)))


def _add_all(model: Any, rows: Sequence[dict[str, Any]]) -> list[int]:
    """Add rows and return their ids. Raises StateConflict where somebody else has just added one of them."""
    added = [row.id for row in _add(model, rows, model.id)]
    if len(added) < len(rows):
        raise StateConflict("同时有人在改同样的内容，请再试一次。")
    return added


def _change(model: Any, changed: Mapping[int, dict[str, Any]]) -> None:
    """Change rows by id: those that change the same columns by one statement."""
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for key, values in changed.items():
        groups.setdefault(tuple(sorted(values)), []).append(
            {"row_id": key, **{f"to_{k}": v for k, v in values.items()}}
        )
    for names, rows in groups.items():
        table = model.__table__
        statement = update(table).where(table.c.id == bindparam("row_id"))
        db.session.connection().execute(statement.values({name: bindparam(f"to_{name}") for name in names}), rows)


class _Members:
    """One part of a members' list against what is known of its people."""

    def __init__(self, rows: Sequence[Row], *, today: date) -> None:
        self.today = today
        self.settled = Settled()
        self.new: list[tuple[str, str, dict[str, Any]]] = []
        self.people: dict[int, dict[str, Any]] = {}
        self.members: dict[int, dict[str, Any]] = {}
        phones = {phone for _, values in rows if (phone := normal_phone(values["phone"])) is not None}
        numbers = {number for _, values in rows if (number := values.get("member_no", ""))}
        columns = (
            *(Member.id, Member.member_no, Member.union_id, Member.department, Member.joined_on, Member.left_on),
            *(Person.id.label("person_id"), Person.name, Person.phone),
        )
        query = select(*columns).select_from(Person).outerjoin(Member, Member.person_id == Person.id)
        by_number = query.where(among(Member.member_no, numbers))
        self.by_number = {row.member_no: row for row in db.session.execute(by_number)}
        self.by_phone = {row.phone: row for row in db.session.execute(query.where(among(Person.phone, phones)))}
        self.unions: dict[str, int] = {}
        self.codes: dict[int, str] = {}
        units = db.session.execute(
            select(GrassrootsUnion.id, GrassrootsUnion.code, GrassrootsUnion.name, GrassrootsUnion.name_en)
        ).all()
        for names in (
            lambda unit: unit.name_en,
            lambda unit: unit.name,
            lambda unit: str(unit.id),
            lambda unit: unit.code,
        ):
            self.unions |= {names(unit).casefold(): unit.id for unit in units if names(unit)}
        self.codes = {unit.id: unit.code for unit in units}

    def take(self, row: int, values: dict[str, str]) -> None:
        """Settle one row: an outcome, or what is wrong with it."""
        column = MEMBER_HEADERS
        faults: list[Fault] = []

        def wrong(name: str, message: str, **figures: Any) -> None:
            faults.append(Fault(row, column[name][0], message, figures))

        name = _plain_name(values["name"])
        phone = normal_phone(values["phone"])
        number = values.get("member_no", "")
        unit = values.get("union", "")
        union_id = self.unions.get(unit.casefold()) if unit else None
        joined_on = _day(values["joined_on"]) if values.get("joined_on") else None
        if not name:
            wrong("name", "请填写姓名。")
        if phone is None:
            wrong("phone", "请填写 11 位手机号。")
        if unit and union_id is None:
            wrong("union", "没有这个基层工会。")
        if values.get("joined_on") and joined_on is None:
            wrong("joined_on", "请填写日期，如 2026-01-31。")
        left_on, leaves = self._leaving(values, wrong)
        known = self.by_number.get(number) if number else None
        other = self.by_phone.get(phone) if phone is not None else None
        if other is not None and known is not None and other.person_id != known.person_id:
            wrong("phone", "这个手机号是别人的（%(whose)s）。", whose=other.member_no or other.name[:20])
        elif other is not None and known is None and _plain_name(other.name) != name and name:
            # Whoever has the number may have given it up: a person decides, not a list.
            wrong("phone", "这个手机号是别人的（%(whose)s）。", whose=other.member_no or other.name[:20])
        known = known or (other if other is not None and other.id is not None else None)
        if known is None and union_id is None and not unit and not leaves:
            wrong("union", "请填写基层工会。")
        if faults or phone is None:
            self.settled.faults += faults
            return
        if known is None:
            self._enter(row, name, phone, number, union_id, values, joined_on, leaves=leaves)
            return
        person = {"name": name, "phone": phone}
        member: dict[str, Any] = {"left_on": (left_on or known.left_on or self.today) if leaves else None}
        member |= {"member_no": number} if number else {}
        member |= {"union_id": union_id} if union_id is not None else {}
        member |= {"department": values["department"]} if values.get("department") else {}
        member |= {"joined_on": joined_on} if joined_on is not None else {}
        self._alter(row, known, person, member)

    def _leaving(self, values: dict[str, str], wrong: Callable[..., None]) -> tuple[date | None, bool]:
        status = values.get("status", "").casefold()
        text = values.get("left_on", "")
        left_on = _day(text) if text else None
        if status and status not in ACTIVE and status not in GONE:
            wrong("status", "请填写“在册”或“离会”。")
        if text and left_on is None:
            wrong("left_on", "请填写日期，如 2026-01-31。")
        if left_on is not None and left_on > self.today:
            wrong("left_on", "离会日期不能晚于今天。")
        if left_on is not None and status in ACTIVE:
            wrong("left_on", "状态是在册，就不要填写离会日期。")
        return left_on, left_on is not None or status in GONE

    def _enter(
        self,
        row: int,
        name: str,
        phone: str,
        number: str,
        union_id: int | None,
        values: dict[str, str],
        joined_on: date | None,
        *,
        leaves: bool,
    ) -> None:
        if leaves or union_id is None:  # nobody is entered in order to have left
            self.settled.outcomes.append(Outcome(row, "unchanged", name))
            return
        details = {
            "member_no": number,
            "union_id": union_id,
            "department": values.get("department", ""),
            "joined_on": joined_on,
        }
        self.new.append((name, phone, details))
        self.settled.scope.add(union_id)
        self.settled.outcomes.append(
            Outcome(row, "created", f"{name} {number}".strip(), {column_of("union"): ("", self.codes[union_id])})
        )

    def _alter(self, row: int, known: Any, person: dict[str, Any], member: dict[str, Any]) -> None:
        person = {name: value for name, value in person.items() if getattr(known, name) != value}
        member = {name: value for name, value in member.items() if getattr(known, name) != value}
        self.settled.seen.add(known.id)
        self.settled.scope.add(member.get("union_id", known.union_id))
        effect = "updated" if person or member else "unchanged"
        if "union_id" in member:
            effect = "moved"
        if "left_on" in member:
            effect = "left" if member["left_on"] is not None else "returned"
            effect = "updated" if known.left_on is not None and member["left_on"] is not None else effect
        if person:
            self.people[known.person_id] = person
        if member:
            self.members[known.id] = member
        changes = {}
        for field, value in {**person, **member}.items():
            before = getattr(known, field)
            if field == "union_id":
                changes[column_of("union")] = (self.codes.get(before, ""), self.codes[value])
            elif field == "phone":
                changes[column_of("phone")] = (masked(before), masked(value))
            else:
                changes[column_of(field)] = (str(before or ""), str(value or ""))
        self.settled.outcomes.append(Outcome(row, effect, f"{known.name} {known.member_no}", changes))

    def apply(self) -> None:
        """Write what the rows said."""
        _change(Person, self.people)
        _change(Member, self.members)
        people = [{"name": name, "phone": phone} for name, phone, _ in self.new]
        fresh = [person for person in people if person["phone"] not in self.by_phone]
        ids = {row.phone: row.id for row in _add(Person, fresh, Person.phone, Person.id)}
        ids |= {phone: row.person_id for phone, row in self.by_phone.items()}
        missing = [person["phone"] for person in people if person["phone"] not in ids]
        if missing:  # somebody entered them a moment ago
            ids |= dict(db.session.execute(select(Person.phone, Person.id).where(among(Person.phone, missing))).all())
        rows = [
            {"person_id": ids[phone], **details, "member_no": details["member_no"] or f"N{10_000_000 + ids[phone]}"}
            for _, phone, details in self.new
        ]
        self.settled.seen |= set(_add_all(Member, rows))


def column_of(field: str) -> str:
    """Return what a member's field is called in a report."""
    return MEMBER_HEADERS[field][0]


def settle_members(rows: Sequence[Row], *, apply: bool, now: datetime) -> Settled:
    """Say what a part of a members' list does, and do it to apply: who moved union moves, who left is marked."""
    part = _Members(rows, today=clock.local(now).date())
    for number, values in rows:
        part.take(number, values)
    if apply:
        part.apply()
    return part.settled


def _not_named(import_id: int, scope: Sequence[int]) -> Any:
    named = select(ImportSeen.thing_id).where(ImportSeen.import_id == import_id)
    return (Member.union_id.in_(scope), Member.left_on.is_(None), Member.id.not_in(named))


def _count_leaving(*, import_id: int, scope: Sequence[int]) -> int:
    query = select(func.count()).select_from(Member).where(*_not_named(import_id, scope))
    return db.session.scalar(query) or 0


def _end_missing(*, import_id: int, scope: Sequence[int], now: datetime, limit: int) -> int:
    ids = db.session.scalars(select(Member.id).where(*_not_named(import_id, scope)).limit(limit)).all()
    _change(Member, {member_id: {"left_on": clock.local(now).date()} for member_id in ids})
    return len(ids)


class _Table:
    """A kind that is one table with a natural key: what each field's text means, and what a new row must have."""

    def __init__(
        self,
        model: Any,
        headers: Mapping[str, Sequence[str]],
        *,
        key: str,
        needed: Sequence[str],
        meanings: Mapping[str, tuple[Callable[[str], Any], str]],
        fixed: Mapping[str, Any],
        defaults: Callable[[dict[str, Any]], dict[str, Any]],
    ) -> None:
        self.model, self.headers, self.key, self.needed = model, headers, key, needed
        self.meanings, self.fixed, self.defaults = meanings, fixed, defaults

    def settle(self, rows: Sequence[Row], *, apply: bool, now: datetime) -> Settled:
        """Say what a part does, and do it to apply; what a row leaves empty stays as it is."""
        settled, new = Settled(), []
        changed: dict[int, dict[str, Any]] = {}
        column = getattr(self.model, self.key)
        read = [(number, *self._meant(number, values)) for number, values in rows]
        keys = {given[self.key] for _, given, _ in read if given.get(self.key)}
        same = [getattr(self.model, name) == value for name, value in self.fixed.items()]
        found = db.session.scalars(
            select(self.model).where(among(column, keys), *same).execution_options(populate_existing=True)
        )
        known = {getattr(row, self.key): row for row in found}
        for number, given, faults in read:
            row = known.get(given.get(self.key))
            missing = self.needed if row is None else (self.key,)
            told = {fault.column for fault in faults}
            faults += [
                Fault(number, self.headers[name][0], "请填写这一项。")
                for name in missing
                if given.get(name) in (None, "") and self.headers[name][0] not in told
            ]
            if faults:
                settled.faults += faults
                continue
            about = str(given.get("name") or given[self.key])
            if row is None:
                new.append({**self.defaults(given), **given, **self.fixed})
                settled.outcomes.append(Outcome(number, "created", about))
                continue
            change = {name: value for name, value in given.items() if getattr(row, name) != value}
            shown = {self.headers[name][0]: (str(getattr(row, name) or ""), str(to)) for name, to in change.items()}
            settled.outcomes.append(Outcome(number, "updated" if change else "unchanged", about, shown))
            if change:
                changed[row.id] = change
        if apply:
            _change(self.model, changed)
            _add_all(self.model, new)
        return settled

    def _meant(self, number: int, values: dict[str, str]) -> tuple[dict[str, Any], list[Fault]]:
        given: dict[str, Any] = {}
        faults = []
        for name, text in values.items():
            if not text:
                continue
            meaning, message = self.meanings.get(name, (_same, ""))
            value = meaning(text)
            if value is None:
                faults.append(Fault(number, self.headers[name][0], message))
            else:
                given[name] = value
        return given, faults


def _yes(text: str) -> bool | None:
    said = text.casefold()
    return True if said in YES else False if said in NO else None


def _year(text: str) -> int | None:
    found = re.fullmatch(r"([0-9]{4})\u5e74?", text)
    return int(found[1]) if found and 1900 <= int(found[1]) <= 2999 else None


_UNIONS = _Table(
    GrassrootsUnion,
    UNION_HEADERS,
    key="code",
    needed=("code", "name"),
    meanings={},
    fixed={},
    defaults=lambda given: {"name_en": "", "address": ""},
)
_MERCHANTS = _Table(
    Merchant,
    MERCHANT_HEADERS,
    key="code",
    needed=("code", "name", "region"),
    meanings={"assisted_region": (_yes, "请填写“是”或“否”。")},
    fixed={},
    defaults=lambda given: {
        **{"short_name": given["name"][:40], "name_en": "", "assisted_region": False},
        **{"intro": "", "intro_en": ""},
    },
)
_HONOURS = _Table(
    Honour,
    HONOUR_HEADERS,
    key="phone",
    needed=("name", "phone"),
    meanings={"phone": (normal_phone, "请填写 11 位手机号。"), "year": (_year, "请填写四位数的年份。")},
    fixed={"kind": MODEL_WORKER},
    defaults=lambda given: {"title": "", "year": None, "unit": "", "member_no": None},
)

MEMBERS = Kind(
    name="members",
    title="会员",
    headers=MEMBER_HEADERS,
    required=("name", "phone"),
    lengths={"member_no": 40, "name": 80, "department": 80},
    keys={"member_no": _same, "phone": normal_phone},
    settle=settle_members,
    example=(
        ("会员编号", "姓名", "手机号", "工会编号", "部门", "入会日期", "状态", "离会日期"),
        ("LS900001", "王芳", "13800000000", "U01", "外科", "2020-04-07", "在册", ""),
    ),
    notes=(
        "按会员编号认人，没有编号的按手机号。编号或手机号认得出的，以表格为准更新；工会变了就是转会。",
        "离会的人写“离会”或离会日期：不再能领券和登录，记录保留。表格里空着的格子不改动原来的内容。",
    ),
    leaving=Leaving(count=_count_leaving, end=_end_missing),
)
UNIONS = Kind(
    name="unions",
    title="基层工会",
    headers=UNION_HEADERS,
    required=("code", "name"),
    lengths={"code": 20, "name": 120, "name_en": 200, "address": 200},
    keys={"code": _same},
    settle=_UNIONS.settle,
    example=(
        ("工会编号", "工会名称", "英文名称", "地址"),
        ("U01", "青岛仁和医院工会", "Renhe Hospital Trade Union", "崂山区某路 1 号"),
    ),
    notes=("按工会编号认；编号没有的新建，有的更新。空着的格子不改动原来的内容。",),
)
MERCHANTS = Kind(
    name="merchants",
    title="商户",
    headers=MERCHANT_HEADERS,
    required=("code", "name"),
    lengths={"code": 20, "name": 120, "short_name": 40, "name_en": 200, "region": 40, "intro": 400, "intro_en": 600},
    keys={"code": _same},
    settle=_MERCHANTS.settle,
    example=(
        ("商户编号", "商户名称", "简称", "英文名称", "产地", "对口支援", "介绍"),
        ("M01", "安顺山里人农业有限公司", "山里人", "Hill People Farm", "贵州安顺", "是", "高山茶与蜂蜜"),
    ),
    notes=("按商户编号认；编号没有的新建，有的更新。“对口支援”填“是”或“否”。",),
)
HONOURS = Kind(
    name="honours",
    title="劳动模范",
    headers=HONOUR_HEADERS,
    required=("name", "phone"),
    lengths={"name": 80, "title": 80, "unit": 120, "member_no": 40},
    keys={"phone": normal_phone},
    settle=_HONOURS.settle,
    example=(
        ("姓名", "手机号", "荣誉", "获评年份", "单位", "会员编号"),
        ("王芳", "13800000000", "山东省劳动模范", "2018", "青岛某某有限公司", "LS900001"),
    ),
    notes=("按手机号认。会员编号填上，就能按劳模名册发福利券。",),
)
KINDS = (MEMBERS, UNIONS, MERCHANTS, HONOURS)
