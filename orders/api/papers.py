"""Papers of a union's order through the API: rosters with faults marked, sign-off sheets, lists, invoices, dossier."""

import io
from datetime import datetime
from typing import Any

from flask import Response, current_app, request, send_file
from flask.views import MethodView
from flask_babel import gettext

from finance.gateway import queries as gateway_queries
from kernel import clock, files
from kernel.doors import ApiBlueprint, json_answer, once, who
from kernel.errors import Invalid, NotFound
from orders import queries, union_schemas
from orders.api.union import as_officer
from orders.links import link_of
from orders.papers import unions as papers
from orders.queries import unions as union_queries
from orders.services import handing_in, invoicing, rostering
from people import queries as people_queries

union = ApiBlueprint(
    "api_bulk_papers", __name__, audience="union", url_prefix="/api/v1/bulk", description="Papers of a union's order"
)
merchant = ApiBlueprint(
    "api_merchant_invoices",
    __name__,
    audience="merchant",
    url_prefix="/api/v1/merchant",
    description="Invoices a merchant is asked for",
)

XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
MOST = 5 * 1024 * 1024
TAKEN = frozenset({files.PDF, files.JPEG, files.PNG})


def _file(content: bytes, name: str, kind: str) -> Response:
    answer = send_file(io.BytesIO(content), mimetype=kind, as_attachment=True, download_name=name)
    answer.headers["Cache-Control"] = "private, no-store"
    return answer


def _own(number: str) -> Any:
    return queries.order_of_union(number, union_id=who().union_id, now=clock.now())


def sheet_of(order: Any) -> papers.Sheet:
    """Return what an order's sign-off sheet and lists are made from."""
    union_row = people_queries.union(order.union_id)
    return papers.Sheet(
        order=order,
        union_name=union_row.name if union_row is not None else "",
        people=queries.recipients_of(order.id),
        packs={line.pack_id: line.pack_name for line in order.lines},
    )


@union.route("/roster-template.xlsx")
@union.response(200, content_type=XLSX)
def template() -> Any:
    """Download an empty roster to fill in."""
    return _file(papers.template(), "roster-template.xlsx", XLSX)


@union.route("/orders/<number>/roster-faults.xlsx")
@union.response(200, content_type=XLSX)
def faults(number: str) -> Any:
    """Download the last roster with its faults marked: kept for a day, until a good one comes."""
    found = rostering.marked_copy(number=number, union_id=who().union_id, now=clock.now())
    return _file(papers.marked_roster(found.content, found.filename, found.faults), "roster-faults.xlsx", XLSX)


@union.route("/orders/<number>/sign-off.xlsx")
@union.response(200, content_type=XLSX)
def sign_off(number: str) -> Any:
    """Download the sheet recipients sign (签领表)."""
    return _file(papers.sign_off(sheet_of(_own(number))), f"sign-off-{number}.xlsx", XLSX)


@union.route("/orders/<number>/sign-off.pdf")
@union.response(200, content_type=files.PDF)
def sign_off_pdf(number: str) -> Any:
    """Download the sign-off sheet to print."""
    return _file(papers.sign_off_pdf(sheet_of(_own(number))), f"sign-off-{number}.pdf", files.PDF)


@union.route("/orders/<number>/packing-list.xlsx")
@union.response(200, content_type=XLSX)
def packing_list(number: str) -> Any:
    """Download what goes to which department, or to whom."""
    return _file(papers.packing_list(sheet_of(_own(number))), f"packing-list-{number}.xlsx", XLSX)


@union.route("/orders/<number>/links.xlsx")
@union.response(200, content_type=XLSX)
def links(number: str) -> Any:
    """Download each recipient's own link, to send out; the audit says who took it."""
    as_officer()
    order = _own(number)
    people = handing_in.export_links(order=order, actor_id=who().person_id, now=clock.now())
    listed = [(one, link_of(one.order_id, one.position, one.link_code)) for one in people]
    return _file(papers.links_sheet(listed, title=order.number), f"links-{number}.xlsx", XLSX)


@union.route("/orders/<number>/dossier.zip")
@union.response(200, content_type="application/zip")
def dossier(number: str) -> Any:
    """Download what an auditor asks for: goods, roster with signatures, invoices, bank slip, approval, contents."""
    order = _own(number)
    store = current_app.config["FILES"]
    names = people_queries.names(actors_of(order))
    slip = files.read(store, order.terms.slip_key) if order.terms.slip_key else None
    parts = papers.Dossier(
        sheet=sheet_of(order),
        names=names,
        steps=steps_of(order, names),
        payments=[one for one in gateway_queries.of_order(order.id) if one.status == "succeeded"],
        invoices=invoice_files(order),
        slip=(order.terms.slip_key, slip) if slip is not None else None,
        made_at=clock.now(),
    )
    return _file(papers.dossier(parts), f"dossier-{number}.zip", "application/zip")


def invoice_files(order: Any) -> list[tuple[Any, str, bytes | None]]:
    """Return an order's invoices, each with its merchant's name and, where it was handed in, its file."""
    store, found = current_app.config["FILES"], union_queries.invoices_of(order.id)
    sellers = invoicing.sellers_of(order, found)
    return [
        (one, sellers[one.merchant_id].merchant_name, files.read(store, one.file_key) if one.file_key else None)
        for one in found
    ]


@union.route("/orders/<number>/invoices.zip")
@union.response(200, content_type="application/zip")
def all_invoices(number: str) -> Any:
    """Download all invoices merchants have handed in."""
    content = papers.invoices_zip(invoice_files(_own(number)))
    if content is None:
        raise NotFound("商户还没有交来发票。")
    return _file(content, f"invoices-{number}.zip", "application/zip")


def actors_of(order: Any) -> list[Any]:
    """Return who did something with an order, by id."""
    acted = [order.placed_by, order.submitted_by, order.decided_by, order.terms.overridden_by]
    return acted + [one["by"] for one in order.terms.replaced]


def steps_of(order: Any, names: Any) -> list[tuple[Any, str, str]]:
    """Return who did what with an order, when: drafted, submitted, approved, passed the cap, paid."""
    found = [(order.placed_at, names.get(order.placed_by, ""), gettext("起草"))]
    if order.terms.voided_at:
        found.append((order.terms.voided_at, "", gettext("有改动，原审批作废")))
    if order.submitted_at:
        found.append((order.submitted_at, names.get(order.submitted_by, ""), gettext("提交")))
    if order.decided_at:
        what = gettext("退回") if order.reject_reason else gettext("审批通过")
        found.append((order.decided_at, names.get(order.decided_by, ""), what))
    if order.terms.cap_override:
        who_did = names.get(order.terms.overridden_by, "")
        reason = gettext("同意超过年度上限：%(reason)s", reason=order.terms.cap_override)
        found.append((order.decided_at, who_did, reason))
    if order.paid_at:
        found.append((order.paid_at, "", gettext("到账")))
    for one in order.terms.replaced:
        what = gettext(
            "“%(old)s”%(units)s 份换成同档位的“%(new)s”，金额不变", old=one["old"], units=one["units"], new=one["new"]
        )
        found.append((datetime.fromisoformat(one["at"]), names.get(one["by"], ""), what))
    return sorted(found, key=lambda one: one[0])


@union.route("/orders/<number>/bank-slip", methods=["POST"])
@union.response(200, union_schemas.BulkOrder)
def bank_slip(number: str) -> Any:
    """Keep the bank's slip (PDF or picture, field `file`) for the dossier."""
    return bank_slip_of(number)


def bank_slip_of(number: str) -> Any:
    """Keep the slip a request carries and return the order."""
    as_officer()
    order = _own(number)
    key = files.keep(current_app.config["FILES"], uploaded(), allowed=TAKEN, most=MOST)
    handing_in.keep_slip(order=order, key=key, actor_id=who().person_id, now=clock.now())
    return _own(number)


def uploaded() -> bytes:
    """Return the file of a request, in the field `file`; raise Invalid where there is none."""
    sent = request.files.get("file")
    if sent is None or not sent.filename:
        raise Invalid("请选择文件。", errors={"file": ["请选择文件。"]})
    return sent.read()


@union.route("/orders/<number>/invoice")
class Invoices(MethodView):
    """Invoices of an order."""

    @union.arguments(union_schemas.AskInvoice)
    @union.response(201, union_schemas.InvoiceList)
    def post(self, body: dict[str, Any], number: str) -> Any:
        """Ask each merchant for an invoice over what it was paid after discount."""
        as_officer()
        answer = invoicing.ask(
            number=number,
            union_id=who().union_id,
            **body,
            actor_id=who().person_id,
            once=once(body=request.get_json(), required=False),
            now=clock.now(),
        )
        return current_app.response_class(*json_answer(answer, 201))

    @union.response(200, union_schemas.InvoiceList)
    def get(self, number: str) -> Any:
        """List the order's invoices."""
        return {"items": union_queries.invoices_of(_own(number).id)}


@union.route("/orders/<number>/invoice-plan")
@union.arguments(union_schemas.PlanArgs, location="query")
@union.response(200, union_schemas.InvoicePlan)
def plan(args: dict[str, Any], number: str) -> Any:
    """Propose the fewest invoices that add up to the fen; refunds as red ones."""
    at_most = args["max_invoices"] or current_app.config["HUIGONG"].invoices_per_order
    return invoicing.plan(_own(number), at_most=at_most, ceiling_fen=args["ceiling_fen"])


@union.route("/orders/<number>/invoices/<invoice>/file")
@union.response(200, content_type=files.PDF)
def invoice_file(number: str, invoice: str) -> Any:
    """Download an invoice a merchant handed in."""
    row = invoicing.invoice_of_union(invoice, number=number, union_id=who().union_id, now=clock.now())
    return stored(row.file_key, row.number or str(row.id))


def stored(key: str | None, shown_as: str) -> Response:
    """Return an uploaded file; raise NotFound."""
    content = files.read(current_app.config["FILES"], key) if key else None
    if key is None or content is None:
        raise NotFound("没有找到您要的内容。")
    name = f"{shown_as}.{key.rpartition('.')[2]}"
    return current_app.response_class(content, headers=files.headers(key, shown_as=name))


@merchant.route("/invoices")
@merchant.response(200, union_schemas.InvoiceList)
def merchant_invoices() -> Any:
    """List what unions ask invoices for: what waits first."""
    return {"items": union_queries.invoices_of_merchant(who().merchant_id)}


@merchant.route("/invoices/<invoice>/file", methods=["PUT"])
@merchant.response(200, union_schemas.Invoice)
def hand_in(invoice: str) -> Any:
    """Hand an invoice in: its file (PDF or picture) in the field `file`, its `number` in the form."""
    return hand_in_form(invoice)


def hand_in_form(invoice: str) -> Any:
    """Take an invoice from a form and return it; a page's form says in `amount_fen` what its reader saw."""
    own = invoicing.invoice_of_merchant(invoice, merchant_id=who().merchant_id)
    number = request.form.get("number", "").strip()
    if not number or len(number) > 40 or not number.isprintable():
        raise Invalid("请填写发票号码。", errors={"number": ["请填写发票号码。"]})
    seen = request.form.get("amount_fen", str(own.amount_fen))
    key = files.keep(current_app.config["FILES"], uploaded(), allowed=TAKEN, most=MOST)
    invoicing.issue(
        invoice_id=invoice,
        merchant_id=who().merchant_id,
        invoice_number=number,
        file_key=key,
        file_name=request.files["file"].filename or "",
        amount_fen=int(seen) if seen.isascii() and seen.removeprefix("-").isdigit() and len(seen) < 16 else 0,
        actor_id=who().person_id,
        now=clock.now(),
    )
    return invoicing.invoice_of_merchant(invoice, merchant_id=who().merchant_id)


@merchant.route("/parcels/<parcel>/packing-list.xlsx")
@merchant.response(200, content_type=XLSX)
def merchant_packing_list(parcel: str) -> Any:
    """Download what of a union's order goes to which department, or to whom: own packs only."""
    found = queries.parcel_of_merchant(parcel, merchant_id=who().merchant_id)
    order = queries.order(found.order_id, now=clock.now())
    if order.union_id is None:
        raise NotFound("没有这个包裹。")
    content = papers.packing_list(sheet_of(order), merchant_id=who().merchant_id)
    return _file(content, f"packing-list-{found.id}.xlsx", XLSX)
