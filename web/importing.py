"""Doors to imports: send a sheet of members, unions, merchants, packs or model workers, see its effect, apply it."""

import csv
import io
from typing import Any

from flask import Response, current_app, flash, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from flask.views import MethodView
from flask_babel import gettext
from marshmallow import fields

from catalog import importing as catalog_importing
from kernel import clock, imports, sheets
from kernel.doors import ApiBlueprint, PageBlueprint, said, saved, who
from kernel.errors import DomainError, Invalid, NotFound
from kernel.ids import as_id
from kernel.imports import Kind
from kernel.schemas import Base, IdField, SheetReport
from people.services import importing as people_importing
from voucher.schemas import Job
from web.access import SECRET

KINDS: dict[str, Kind] = {kind.name: kind for kind in (*people_importing.KINDS, catalog_importing.PACKS)}
SHOWN_FAULTS = 200

api = ApiBlueprint("api_imports", __name__, audience="operator", url_prefix="/api/v1/admin", description="Imports")
pages = PageBlueprint("imports", __name__, audience="operator", url_prefix="/admin/imports")


class ImportReport(SheetReport):
    """What a sheet does or did: as every sheet's report, with how many rows had which effect."""

    import_id = IdField()
    kind = fields.String()
    status = fields.String()
    dry_run = fields.Boolean()
    rows = fields.Integer()
    created = fields.Integer()
    updated = fields.Integer()
    moved = fields.Integer()
    returned = fields.Integer()
    left = fields.Integer()
    unchanged = fields.Integer()
    errors_total = fields.Integer()
    changes = fields.List(fields.Dict())
    job_id = IdField(allow_none=True)
    job = fields.Nested(Job, allow_none=True)


class ImportArgs(Base):
    """How a sheet is taken."""

    partial = fields.Boolean(load_default=False)
    dry_run = fields.Boolean(load_default=False)
    complete = fields.Boolean(load_default=False)


@api.url_value_preprocessor
def _long_for_programs(endpoint: str | None, values: Any) -> None:
    request.max_content_length = _most()


@pages.url_value_preprocessor
def _long_for_people(endpoint: str | None, values: Any) -> None:
    if SECRET in session:  # whoever is not signed in is read no further than anybody
        request.max_content_length = _most()


def _most() -> int:
    return int(current_app.config["HUIGONG"].import_megabytes) * 1024 * 1024


def _kind(name: str) -> Kind:
    kind = KINDS.get(name)
    if kind is None:
        raise NotFound("没有找到您要的内容。")
    return kind


def _received(name: str, *, partial: bool, complete: bool) -> int:
    kind = _kind(name)
    file = request.files.get("file")
    if file is None or not file.filename:
        raise Invalid("请选择文件。", errors={"file": ["请选择文件。"]})
    with file.stream:
        return imports.receive(
            kind,
            file.stream,
            file.filename,
            partial=partial,
            complete=complete,
            asked_by=who().person_id,
            now=clock.now(),
        )


def _told(import_id: int, *, at_once: bool) -> Any:
    report = imports.report(import_id)
    if at_once:
        return report
    job = report["job"]
    started = {"id": str(job.id), "job_id": str(job.id), "import_id": str(import_id), "status": job.status}
    return current_app.json.response({**started, "done": job.done, "total": job.total}), 202


def _door(name: str) -> None:
    """Open `/<kind>/import`."""

    @api.route(f"/{name}/import", methods=["POST"], endpoint=f"import_{name}")
    @api.arguments(ImportArgs, location="query")
    @api.response(200, ImportReport)
    def take(args: dict[str, Any]) -> Any:
        """Import a sheet (.xlsx or .csv) in the field `file`; all or nothing unless `?partial=1`.

        `?dry_run=1` says what it would do. `?complete=1` (members) marks who is not in the list of its unions as left.
        Sent twice it changes nothing the second time. More than 10,000 rows are done by a job: 202 with its id.
        """
        import_id = _received(name, partial=args["partial"], complete=args["complete"])
        at_once = imports.begin(import_id, KINDS, apply=not args["dry_run"], now=clock.now())
        return _told(import_id, at_once=at_once)


for _name in KINDS:
    _door(_name)


@api.route("/imports/<import_id>")
@api.response(200, ImportReport)
def show(import_id: str) -> Any:
    """Say what an import does or did, and how far it is."""
    return imports.report(imports.find(as_id(import_id)).id)


@api.route("/imports/<import_id>/apply")
class Apply(MethodView):
    """An import that was looked at only."""

    @api.response(200, ImportReport)
    def post(self, import_id: str) -> Any:
        """Apply an import that was looked at; more than 10,000 rows by a job."""
        found = imports.find(as_id(import_id)).id
        return _told(found, at_once=imports.go_on(found, KINDS, now=clock.now()))


@api.route("/imports/<import_id>/faults.csv")
def faults_for_programs(import_id: str) -> Response:
    """Every fault of an import, as a sheet."""
    return _faults(imports.find(as_id(import_id)).id)


def _faults(import_id: int) -> Response:
    target = io.StringIO()
    writer = csv.writer(target)
    writer.writerow([gettext("行"), gettext("列"), gettext("要改什么")])
    for fault in imports.faults(import_id):
        said = gettext(fault["message"], **fault["figures"])
        writer.writerow([fault["row"], gettext(fault["column"]), sheets.safe(said)])
    response = Response("\ufeff" + target.getvalue(), mimetype="text/csv")
    response.headers["Content-Disposition"] = "attachment; filename=faults.csv"
    response.headers["Cache-Control"] = "private, no-store"
    return response


@pages.get("/")
def home() -> ResponseReturnValue:
    """What can be imported, and the last imports."""
    return render_template("operator/imports.html", kinds=KINDS, latest=imports.latest())


@pages.route("/new/<name>", methods=["GET", "POST"])
def new(name: str) -> ResponseReturnValue:
    """Send a sheet; its effect is shown before it is applied."""
    kind, problem, status = _kind(name), None, 200
    if request.method == "POST":
        try:
            import_id = _received(name, partial="partial" in request.form, complete="complete" in request.form)
            imports.begin(import_id, KINDS, apply=False, now=clock.now())
            return redirect(url_for("imports.one", import_id=import_id), 303)
        except DomainError as refused:
            problem, status = said(refused), refused.status
    return render_template("operator/import_new.html", kind=kind, problem=problem), status


@pages.get("/template/<name>.xlsx")
def template(name: str) -> Response:
    """An empty sheet of a kind with one row to overwrite."""
    kind = _kind(name)
    content = sheets.write(kind.example, widths=[16] * len(kind.example[0]))
    return saved(content, f"{gettext(kind.title)}.xlsx")


@pages.get("/<import_id>")
def one(import_id: str) -> ResponseReturnValue:
    """What an import does or did, and how far it is."""
    found = imports.find(as_id(import_id))
    report = imports.report(found.id, limit=SHOWN_FAULTS)
    errors = [
        {"row": it["row"], "column": gettext(it["column"]), "message": gettext(it["message"], **it["figures"])}
        for it in report["errors"]
    ]
    return render_template(
        "operator/import.html", one=found, report={**report, "errors": errors}, kind=_kind(found.kind)
    )


@pages.post("/<import_id>/apply")
def apply(import_id: str) -> ResponseReturnValue:
    """Apply what was shown."""
    found = imports.find(as_id(import_id)).id
    if imports.go_on(found, KINDS, now=clock.now()):
        flash(gettext("导入完成。"), "success")
    return redirect(url_for("imports.one", import_id=found), 303)


@pages.get("/<import_id>/faults.csv")
def faults(import_id: str) -> Response:
    """Every fault, as a sheet."""
    return _faults(imports.find(as_id(import_id)).id)
