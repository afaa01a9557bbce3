"""导入: a sheet's rows are kept in parts, looked at, and applied: in a request where they are few, else by a job.

Looking changes nothing and counts what applying would do; both use a kind's one `settle`. A part is one transaction
that also moves the job on: killed anywhere, an import goes on from its last part. A sheet with faults is not applied
at all unless its good rows were asked for.
"""

import hashlib
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import IO, Any

from sqlalchemy import BigInteger, ForeignKey, LargeBinary, String, delete, func, insert, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, mapped_column

from kernel import audit, jobs, longsheets, sheets
from kernel.db import Base, Id, Json, UtcDateTime, db, insert_many, rows_changed, transaction
from kernel.errors import Invalid, NotFound, StateConflict
from kernel.ids import new_id
from kernel.sheets import Fault, Headers

PART = 2_000  # rows looked at or applied by one transaction
AT_ONCE = 10_000  # up to so many rows an import is done in its request
KEPT_FOR = timedelta(days=30)
KEPT_FAULTS = 20_000  # are told of one import; the rest are counted
SHOWN_CHANGES = 100
EFFECTS = ("created", "updated", "moved", "returned", "left", "unchanged")
MOVES = {
    "reading": {"checking", "refused"},
    "checking": {"checked", "refused", "applying"},
    "checked": {"applying"},
    "applying": {"applied"},
    "refused": set(),
    "applied": set(),
}
CLOSED = ("applied", "refused")
JOB = "import"


class Import(Base):
    """One sheet that was sent: what it holds, what it would do (`effect`) and what it did (`done`)."""

    __tablename__ = "imports"

    id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=False)
    kind: Mapped[str] = mapped_column(String(20), index=True)
    filename: Mapped[str] = mapped_column(String(200))
    digest: Mapped[str] = mapped_column(String(64))
    status: Mapped[str] = mapped_column(String(12))
    fields: Mapped[list[str]] = mapped_column(Json)
    partial: Mapped[bool] = mapped_column(default=False)
    complete: Mapped[bool] = mapped_column(default=False)
    parts: Mapped[int] = mapped_column(default=0)
    records: Mapped[int] = mapped_column(default=0)
    effect: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)
    done: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)
    faults: Mapped[int] = mapped_column(default=0)
    changes: Mapped[list[Any]] = mapped_column(Json, default=list)
    scope: Mapped[list[Any]] = mapped_column(Json, default=list)
    job_id: Mapped[int | None] = mapped_column(Id)
    asked_by: Mapped[int | None] = mapped_column(Id)
    made_at: Mapped[datetime] = mapped_column(UtcDateTime)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class ImportPart(Base):
    """Some rows of a sheet, packed; dropped once they are applied or nobody will."""

    __tablename__ = "import_parts"

    import_id: Mapped[int] = mapped_column(ForeignKey("imports.id"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    content: Mapped[bytes] = mapped_column(LargeBinary)


class ImportKey(Base):
    """The row that was the first to name something (a hash of its phone or number): a second one is a fault."""

    __tablename__ = "import_keys"

    import_id: Mapped[int] = mapped_column(ForeignKey("imports.id"), primary_key=True)
    key: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    row: Mapped[int]


class ImportSeen(Base):
    """What a complete list has named: who is not among them has left."""

    __tablename__ = "import_seen"

    import_id: Mapped[int] = mapped_column(ForeignKey("imports.id"), primary_key=True)
    thing_id: Mapped[int] = mapped_column(Id, primary_key=True)


class ImportFault(Base):
    """What is wrong in a row."""

    __tablename__ = "import_faults"

    import_id: Mapped[int] = mapped_column(ForeignKey("imports.id"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    row: Mapped[int]
    column: Mapped[str] = mapped_column(String(40))
    message: Mapped[str] = mapped_column(String(200))
    figures: Mapped[dict[str, Any]] = mapped_column(Json)


Row = tuple[int, dict[str, str]]
"""A row as it was read: the sheet's own number, and what each field says."""


@dataclass(frozen=True)
class Outcome:
    """What one good row does: its effect, what it is about, and each field's before and after."""

    row: int
    effect: str
    about: str = ""
    changes: Mapping[str, tuple[str, str]] = field(default_factory=dict)


@dataclass
class Settled:
    """What some rows do; for a complete list also which things they name (`seen`), and of which groups (`scope`)."""

    outcomes: list[Outcome] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    seen: set[int] = field(default_factory=set)
    scope: set[int] = field(default_factory=set)


Settle = Callable[..., Settled]
"""Takes rows and, by name, `apply` and `now`; in the caller's transaction says what they do and, to apply, does it."""


@dataclass(frozen=True)
class Leaving:
    """How a complete list ends what it does not name: `count` how many of a scope would, `end` some of them."""

    count: Callable[..., int]
    end: Callable[..., int]


@dataclass(frozen=True)
class Kind:
    """What may be imported: its columns, their lengths, which fields name a thing once, how it settles."""

    name: str
    title: str
    headers: Headers
    required: Sequence[str]
    lengths: Mapping[str, int]
    keys: Mapping[str, Callable[[str], str | None]]
    settle: Settle
    example: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    leaving: Leaving | None = None

    def column(self, name: str) -> str:
        """Return what a fault calls a field."""
        return self.headers[name][0]


Kinds = Mapping[str, Kind]


def receive(
    kind: Kind,
    file: IO[bytes],
    filename: str,
    *,
    partial: bool = False,
    complete: bool = False,
    asked_by: int | None,
    now: datetime,
) -> int:
    """Keep a sheet's rows, part by part; return the import's id. Raises Invalid for what is no sheet of the kind."""
    if complete and kind.leaving is None:
        raise Invalid("这一类不能按完整名单导入。", errors={"complete": ["这一类不能按完整名单导入。"]})
    sheet = longsheets.opened(file, filename, kind.headers, required=kind.required)
    import_id = new_id()
    with transaction():
        db.session.add(
            Import(
                id=import_id,
                kind=kind.name,
                filename="".join(filter(str.isprintable, filename))[:200],
                digest="",
                status="reading",
                fields=list(sheet.fields),
                partial=partial,
                complete=complete,
                asked_by=asked_by,
                made_at=now,
            )
        )
    digest = hashlib.sha256()
    parts = records = 0
    try:
        for batch in _batches(sheet.rows):
            content = zlib.compress(json.dumps(batch, ensure_ascii=False).encode("utf-8", "replace"), 1)
            digest.update(content)
            with transaction():
                db.session.execute(insert(ImportPart).values(import_id=import_id, position=parts, content=content))
            parts, records = parts + 1, records + len(batch)
        if not records:
            raise Invalid("表格里没有内容。", errors={"file": ["表格里没有内容。"]})
    except Invalid:
        with transaction():
            _drop(import_id)
        raise
    with transaction():
        one = _locked(import_id)
        one.parts, one.records, one.digest, one.status = parts, records, digest.hexdigest(), "checking"
    return import_id


def _batches(rows: Iterable[longsheets.Record]) -> Iterator[list[longsheets.Record]]:
    batch: list[longsheets.Record] = []
    for row in rows:
        batch.append(row)
        if len(batch) == PART:
            yield batch
            batch = []
    if batch:
        yield batch


def begin(import_id: int, kinds: Kinds, *, apply: bool, now: datetime, at_once: int | None = None) -> bool:
    """Look at an import and, unless it is only to be looked at, apply it; return False where a job does so."""
    with transaction():
        one = _locked(import_id)
        if one.records > (AT_ONCE if at_once is None else at_once):
            one.job_id = jobs.enqueue(
                kind=JOB,
                arguments={"import_id": str(import_id), "apply": apply, "from": 0},
                total=one.records * (2 if apply else 1),
                asked_by=one.asked_by,
                now=now,
            )
            return False
    with _colliding(), transaction():
        one = _locked(import_id)
        kind = kinds[one.kind]
        for position in range(one.parts):
            _part(one, kind, position, apply=False, now=now)
        _conclude(one, kind, apply=apply, now=now)
        if one.status == "applying":
            _apply_rest(one, kind, now=now)
        if one.status in CLOSED:
            _forget_rows(import_id)
    return True


def go_on(import_id: int, kinds: Kinds, *, now: datetime, at_once: int | None = None) -> bool:
    """Apply an import that was looked at, or go on with one whose job failed; return False where a job does so.

    Raises NotFound, StateConflict.
    """
    with _colliding(), transaction():
        one = _locked(import_id)
        stopped = jobs.find(one.job_id) if one.job_id is not None else None
        if one.status in ("checking", "applying") and stopped is not None and stopped.status == "failed":
            one.job_id = jobs.enqueue(
                kind=JOB,
                arguments={**stopped.arguments, "from": max(stopped.cursor, int(stopped.arguments["from"]))},
                total=max(0, stopped.total - stopped.done),
                asked_by=one.asked_by,
                now=now,
            )
            return False
        if one.status != "checked":
            raise StateConflict("这次导入不能再应用。")
        if _refused(one):
            raise StateConflict("表格里有问题，请改好后重新上传，或选择跳过有问题的行。")
        one.status = "applying"
        if one.records > (AT_ONCE if at_once is None else at_once):
            one.job_id = jobs.enqueue(
                kind=JOB,
                arguments={"import_id": str(import_id), "apply": True, "from": one.parts + 1},
                total=one.records,
                asked_by=one.asked_by,
                now=now,
            )
            return False
        _apply_rest(one, kinds[one.kind], now=now)
        _forget_rows(import_id)
    return True


class _colliding:  # used as a statement
    """Say so where somebody else entered the same thing at the same moment: nothing of this transaction stays."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: Any, error: BaseException | None, _: Any) -> None:
        if isinstance(error, IntegrityError):
            raise StateConflict("同时有人在改同样的内容，请再试一次。") from None


def _apply_rest(one: Import, kind: Kind, *, now: datetime) -> None:
    for position in range(one.parts):
        _part(one, kind, position, apply=True, now=now)
    while not _leave(one, kind, now=now):
        pass


def job(kinds: Kinds) -> jobs.Handler:
    """Return what does one step of an import's job: a part looked at, the verdict, a part applied, some who left."""

    def step(job_id: int, arguments: dict[str, Any], now: datetime) -> bool:
        import_id, apply = int(arguments["import_id"]), bool(arguments["apply"])
        with _colliding(), transaction():
            one = _locked(import_id)
            kind = kinds[one.kind]
            at = max(jobs.cursor_of(job_id), int(arguments["from"]))
            finished = False
            count = 0
            if one.status in CLOSED:
                finished = _forget_some(import_id)
            elif at < one.parts:
                count = _part(one, kind, at, apply=False, now=now)
            elif at == one.parts:
                _conclude(one, kind, apply=apply, now=now)
                finished = one.status == "checked"
            elif at <= 2 * one.parts:
                count = _part(one, kind, at - one.parts - 1, apply=True, now=now)
            else:
                _leave(one, kind, now=now)
            jobs.progress(job_id, done=count, cursor=min(at + 1, 2 * one.parts + 1))
        return finished

    return step


def _locked(import_id: int) -> Import:
    one = db.session.scalar(
        select(Import).where(Import.id == import_id).with_for_update().execution_options(populate_existing=True)
    )
    if one is None:
        raise NotFound("没有这次导入。")
    return one


def _rows_of(one: Import, position: int) -> list[Row]:
    content = db.session.scalar(
        select(ImportPart.content).where(ImportPart.import_id == one.id, ImportPart.position == position)
    )
    assert content is not None, "a part is dropped only when nobody will read it"
    rows = []
    for number, cells in json.loads(zlib.decompress(content)):
        values = dict(zip(one.fields, map(sheets.text_of, cells), strict=True))
        if any(values.values()):
            rows.append((number, values))
    return rows


def _part(one: Import, kind: Kind, position: int, *, apply: bool, now: datetime) -> int:
    """Look at a part, or apply it, in the caller's transaction; return how many rows it has as the sheet has them."""
    read = _rows_of(one, position)
    others = kind.required[1:]
    rows: list[Row] = []
    faults: list[Fault] = []
    keys: dict[int, int] = {}
    count = 0
    known = _first_rows(one.id, [key for _, values in read for _, key in _keys_of(kind, values)])
    for number, values in read:
        # A remark or a sum below the entries, as they stand in real lists.
        if others and not any(values[name] for name in others) and sheets.is_note(list(values.values()), values):
            continue
        count += 1
        found = [
            Fault(number, kind.column(name), "最多 %(max)s 个字。", {"max": length})
            for name, length in kind.lengths.items()
            if len(values.get(name, "")) > length
        ]
        for name, key in _keys_of(kind, values):
            first = known.get(key, keys.get(key, number))
            if first != number:
                found.append(Fault(number, kind.column(name), "与第 %(row)s 行重复。", {"row": first}))
            elif key not in known:
                keys[key] = number
        if found:
            faults += found
        else:
            rows.append((number, values))
    if not apply:
        insert_many(ImportKey, ("import_id", "key", "row"), ((one.id, key, row) for key, row in keys.items()))
    settled = kind.settle(rows, apply=apply, now=now)
    _note(one, kind, settled, [*faults, *settled.faults], count, apply=apply)
    return len(read)


def _keys_of(kind: Kind, values: Mapping[str, str]) -> list[tuple[str, int]]:
    found = []
    for name, normal in kind.keys.items():
        text = normal(values.get(name, ""))
        if text:
            hashed = hashlib.blake2b(f"{name}:{text}".encode("utf-8", "replace"), digest_size=8).digest()
            found.append((name, int.from_bytes(hashed, "big", signed=True)))
    return found


def _first_rows(import_id: int, keys: Sequence[int]) -> dict[int, int]:
    found: dict[int, int] = {}
    for start in range(0, len(keys), 10_000):
        query = select(ImportKey.key, ImportKey.row).where(
            ImportKey.import_id == import_id, ImportKey.key.in_(keys[start : start + 10_000])
        )
        found |= {key: row for key, row in db.session.execute(query)}
    return found


def _note(one: Import, kind: Kind, settled: Settled, faults: Sequence[Fault], count: int, *, apply: bool) -> None:
    figures = dict(one.done if apply else one.effect)
    bad = len({fault.row for fault in faults})
    figures["rows"] = figures.get("rows", 0) + count
    figures["rejected"] = figures.get("rejected", 0) + bad
    figures["accepted"] = figures.get("accepted", 0) + count - bad
    for outcome in settled.outcomes:
        figures[outcome.effect] = figures.get(outcome.effect, 0) + 1
    if apply:
        rows = {fault.row for fault in faults}
        known = select(ImportFault.row).where(ImportFault.import_id == one.id, ImportFault.row.in_(rows))
        told = set(db.session.scalars(known)) if rows else set()
        faults = [fault for fault in faults if fault.row not in told]
    else:
        shown = [
            {
                "row": outcome.row,
                "effect": outcome.effect,
                "about": outcome.about,
                "changes": {name: list(pair) for name, pair in outcome.changes.items()},
            }
            for outcome in settled.outcomes
            if outcome.effect != "unchanged"
        ]
        one.changes = (list(one.changes) + shown)[:SHOWN_CHANGES]
    _keep_faults(one.id, faults, after=one.faults)
    one.faults += len(faults)
    if apply:
        one.done = figures
    else:
        one.effect = figures
    if one.complete:
        one.scope = sorted({*one.scope, *settled.scope})
        on_engine = postgresql.insert if db.session.get_bind().dialect.name == "postgresql" else sqlite.insert
        seen = [{"import_id": one.id, "thing_id": thing} for thing in sorted(settled.seen)]
        if seen:
            db.session.execute(on_engine(ImportSeen).on_conflict_do_nothing(), seen)


def _keep_faults(import_id: int, faults: Sequence[Fault], *, after: int) -> None:
    room = max(0, KEPT_FAULTS - after)
    rows = [
        {
            "import_id": import_id,
            "position": after + position,
            "row": fault.row,
            "column": fault.column,
            "message": fault.message,
            "figures": dict(fault.figures),
        }
        for position, fault in enumerate(faults[:room])
    ]
    if rows:
        db.session.execute(insert(ImportFault), rows)


def _refused(one: Import) -> bool:
    return bool(one.effect.get("rejected")) and (one.complete or not one.partial)


def _conclude(one: Import, kind: Kind, *, apply: bool, now: datetime) -> None:
    """Decide, all rows looked at: refused for its faults, applied, or left for a person to decide."""
    if one.complete and kind.leaving is not None:
        figures = dict(one.effect)
        figures["left"] = figures.get("left", 0) + kind.leaving.count(import_id=one.id, scope=one.scope)
        one.effect = figures
    if apply and not _refused(one):
        one.status = "applying"
    elif apply:
        one.status, one.finished_at = "refused", now
    else:
        one.status = "checked"


def _leave(one: Import, kind: Kind, *, now: datetime) -> bool:
    """End some of what a complete list does not name; then close the import. Returns whether it is closed."""
    if one.complete and kind.leaving is not None:
        gone = kind.leaving.end(import_id=one.id, scope=one.scope, now=now, limit=PART)
        figures = dict(one.done)
        figures["left"] = figures.get("left", 0) + gone
        one.done = figures
        if gone:
            return False
    one.status, one.finished_at = "applied", now
    db.session.flush()
    after = {"import_id": one.id, "file": one.filename, **{name: one.done.get(name, 0) for name in EFFECTS}}
    audit.record(f"{kind.name}.import", f"import:{one.id}", actor_id=one.asked_by, now=now, after=after)
    return True


def _forget_some(import_id: int) -> bool:
    """Drop some of what a closed import's rows were; return whether nothing is left of them.

    Millions dropped by one statement would keep everybody else from writing meanwhile.
    """
    for table, column in ((ImportKey, ImportKey.key), (ImportSeen, ImportSeen.thing_id)):
        # Up to a key, not among so many: before a large table was analyzed those might be looked up one by one.
        first = select(column).where(table.import_id == import_id).order_by(column).limit(10 * PART).subquery()
        last = select(func.max(first.c[0])).scalar_subquery()
        if rows_changed(delete(table).where(table.import_id == import_id, column <= last)):
            return False
    some = select(ImportPart.position).where(ImportPart.import_id == import_id).limit(100)
    return not rows_changed(delete(ImportPart).where(ImportPart.import_id == import_id, ImportPart.position.in_(some)))


def _forget_rows(import_id: int) -> None:
    for table in (ImportPart, ImportKey, ImportSeen):
        db.session.execute(delete(table).where(table.import_id == import_id))


def _drop(import_id: int) -> None:
    _forget_rows(import_id)
    db.session.execute(delete(ImportFault).where(ImportFault.import_id == import_id))
    db.session.execute(delete(Import).where(Import.id == import_id))


def forget_old(*, now: datetime) -> None:
    """Drop imports a month after they came, and after a day the rows of those nobody applied: they name people."""
    working = Import.status.in_(("applying", "checking"))
    for import_id in db.session.scalars(
        select(Import.id).where(Import.made_at < now - KEPT_FOR, ~working).limit(50)
    ).all():
        _forget_piecewise(import_id)
        with transaction():
            _drop(import_id)
    waiting = select(Import.id).where(
        Import.status.in_(("checked", "reading")), Import.made_at < now - timedelta(days=1)
    )
    for import_id in db.session.scalars(waiting.limit(50)).all():
        with transaction():
            one = _locked(import_id)
            if one.status not in ("checked", "reading"):
                continue
            one.status, one.finished_at, one.changes = "refused", now, []
        _forget_piecewise(import_id)


def _forget_piecewise(import_id: int) -> None:
    forgotten = False
    while not forgotten:
        with transaction():
            forgotten = _forget_some(import_id)


def find(import_id: int | None) -> Import:
    """Return an import. Raises NotFound."""
    one = db.session.get(Import, import_id, populate_existing=True) if import_id is not None else None
    if one is None:
        raise NotFound("没有这次导入。")
    return one


def latest(*, limit: int = 20) -> Sequence[Import]:
    """Return the last imports, the newest first."""
    return db.session.scalars(
        select(Import).order_by(Import.id.desc()).limit(limit).execution_options(populate_existing=True)
    ).all()


def faults(import_id: int, *, limit: int = KEPT_FAULTS) -> list[dict[str, Any]]:
    """Return what is wrong in a sheet, by row."""
    rows = db.session.scalars(
        select(ImportFault)
        .where(ImportFault.import_id == import_id)
        .order_by(ImportFault.row, ImportFault.position)
        .limit(limit)
    )
    return [{"row": it.row, "column": it.column, "message": it.message, "figures": it.figures} for it in rows]


def report(import_id: int, *, limit: int = 1000) -> dict[str, Any]:
    """Return what an import does or did: as a roster's report has it, with how many rows had which effect."""
    one = find(import_id)
    figures = one.done if one.status in ("applied", "applying") else one.effect
    nothing = one.status == "refused"
    refused = nothing or (one.status == "checked" and _refused(one))
    rows = int(one.effect.get("rows", 0))
    accepted = 0 if refused else int(figures.get("accepted", 0))
    counts = {name: 0 if nothing else int(figures.get(name, 0)) for name in EFFECTS}
    running = jobs.find(one.job_id) if one.job_id is not None else None
    return {
        "import_id": one.id,
        "kind": one.kind,
        "filename": one.filename,
        "status": one.status,
        "dry_run": one.status == "checked",
        "rows": rows,
        "accepted": accepted,
        "rejected": rows - accepted,
        **counts,
        "errors": faults(one.id, limit=limit),
        "errors_total": one.faults,
        "changes": one.changes,
        "job_id": one.job_id,
        "job": running,
        "may_apply": one.status == "checked" and not refused,
        "made_at": one.made_at,
        "finished_at": one.finished_at,
    }
