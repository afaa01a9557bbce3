"""A merchant's pages: what to send, what runs out, stock with its movements, parcels."""

import secrets
from typing import Any

from flask import current_app, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext

from catalog import queries as catalog_queries
from catalog import services as catalog_services
from finance.ledger import queries as ledger_queries
from finance.settlement import queries as settlement_queries
from kernel import clock, sheets
from kernel.doors import PageBlueprint, said, saved, upload, who
from kernel.errors import DomainError, Invalid, NotFound, StateConflict
from kernel.idempotency import request_once
from kernel.ids import as_id
from kernel.paging import decode_cursor
from orders import carriers, queries, schemas
from orders import shipments as sheet
from orders.api.merchant import chosen_parcels, print_of
from orders.queries import refunds as refund_queries
from orders.queries import unions as union_queries
from orders.rules import PARCEL_MOVES, REFUND_MOVES, delivery_text
from orders.services import fulfilment, refunding
from orders.services.pickup import Desk
from orders.views_pickup import pickup_page
from people import queries as people_queries

bp = PageBlueprint("merchant", __name__, audience="merchant", url_prefix="/merchant")


def _ship_seconds() -> int:
    seconds: int = current_app.config["HUIGONG"].ship_seconds
    return seconds


@bp.get("/")
def home() -> ResponseReturnValue:
    """What must be sent today, what runs out, what is owed: answered without a click."""
    now, merchant_id = clock.now(), who().merchant_id
    packs = catalog_queries.packs_of(merchant_id, limit=500).items
    terms = {"ship_seconds": _ship_seconds(), "now": now}
    to_send, late = queries.parcels_waiting(merchant_id, **terms)
    return render_template(
        "merchant/home.html",
        merchant=people_queries.merchant(merchant_id),
        parcels=queries.parcels_of_merchant(merchant_id, status="to_ship", oldest_first=True, limit=10, **terms),
        to_send=to_send,
        late=late,
        packs=packs,
        days=catalog_queries.days_of_stock(packs, now=now),
        to_answer=refund_queries.parts_of_merchant(merchant_id, status="requested", limit=20),
        low=[pack for pack in packs if pack.is_low],
        owed_fen=settlement_queries.owed(merchant_id),
        to_confirm=settlement_queries.count_to_confirm(merchant_id),
        faults=union_queries.open_faults(merchant_id),
    )


@bp.get("/packs/<pack_id>")
def pack(pack_id: str) -> ResponseReturnValue:
    """One pack's stock and every change of it."""
    return _pack_page(pack_id, {}, None)


def _pack_page(pack_id: str, form: Any, problem: str | None, status: int = 200) -> ResponseReturnValue:
    own = catalog_queries.pack(as_id(pack_id), merchant_id=who().merchant_id)
    movements = ledger_queries.pack_history(own.id, limit=100)
    page = render_template(
        "merchant/pack.html",
        pack=own,
        movements=movements,
        days=catalog_queries.days_of_stock([own], now=clock.now())[own.id],
        change=catalog_queries.last_changes([own.id]).get(own.id),
        names=people_queries.names(row.actor_id for row in movements if row.kind == "adjust"),
        form=form,
        problem=problem,
        key=secrets.token_urlsafe(18),
    )
    return page, status


@bp.post("/packs/<pack_id>/stock")
def adjust(pack_id: str) -> ResponseReturnValue:
    """Adjust or count stock."""
    form = request.form
    text = form.get("number", "").strip()
    number = as_id(text.removeprefix("-").removeprefix("+"))
    reason = form.get("reason", "").strip()[:200]
    kind = form.get("kind")
    if number is None or number > 10**9 or kind not in ("delta", "count") or (kind == "count" and text[:1] == "-"):
        return _pack_page(pack_id, form, gettext("请填写一个整数。"), 422)
    if not reason:
        return _pack_page(pack_id, form, gettext("请填写原因。"), 422)
    signed = -number if text.startswith("-") else number
    once = request_once(
        person_id=who().person_id,
        key=form.get("idempotency_key", "")[:200] or secrets.token_urlsafe(18),
        route=request.path,
        body=[kind, signed, reason],
    )
    try:
        catalog_services.adjust_stock(
            pack_id=as_id(pack_id),
            merchant_id=who().merchant_id or 0,
            delta=signed if kind == "delta" else None,
            count=signed if kind == "count" else None,
            reason=reason,
            actor_id=who().person_id,
            once=once,
            now=clock.now(),
        )
    except DomainError as refused:
        if refused.status == 404:
            raise
        return _pack_page(pack_id, form, said(refused), refused.status)
    flash(gettext("库存已更新。"), "success")
    return redirect(url_for("merchant.pack", pack_id=pack_id), 303)


@bp.get("/parcels")
def parcels() -> ResponseReturnValue:
    """Parcels by status; those that should have left by now."""
    status = request.args.get("status", "to_ship")
    if status not in ("overdue", *PARCEL_MOVES):
        status = "to_ship"
    page = queries.parcels_of_merchant(
        who().merchant_id,
        status=None if status == "overdue" else status,
        overdue=status == "overdue",
        limit=100,
        before=decode_cursor(request.args.get("cursor")),
        ship_seconds=_ship_seconds(),
        now=clock.now(),
    )
    return render_template("merchant/parcels.html", page=page, status=status)


@bp.get("/parcels/<paper>.pdf")
def print_parcels(paper: str) -> ResponseReturnValue:
    """Print a pick list, packing slips or labels."""
    return print_of(paper, request.args.getlist("parcel")[:500])


@bp.get("/parcels/<parcel>")
def parcel(parcel: str) -> ResponseReturnValue:
    """One parcel: what goes in, where it goes."""
    return _parcel_page(parcel, {}, None)


def _parcel_page(parcel: str, form: Any, problem: str | None, code: int = 200) -> ResponseReturnValue:
    found = queries.parcel_of_merchant(
        parcel, merchant_id=who().merchant_id, ship_seconds=_ship_seconds(), now=clock.now()
    )
    faults = [one for one in union_queries.faults_of(found.order_id) if one.parcel_no == found.parcel_no]
    page = render_template(
        "merchant/parcel.html",
        parcel=found,
        carriers=carriers.NAMES,
        form=form,
        problem=problem,
        faults=faults,
        short=union_queries.shortages_of(found.order_id),
    )
    return page, code


@bp.post("/parcels/<parcel>/ship")
def ship(parcel: str) -> ResponseReturnValue:
    """Ship a parcel, or some of it."""
    found = queries.parcel_of_merchant(parcel, merchant_id=who().merchant_id)
    department = request.form.get("department", "*")[:80]
    return _say_shipment(
        parcel, units=_units(found), package_no=None, department=None if department == "*" else department
    )


@bp.post("/parcels/<parcel>/correct")
def correct(parcel: str) -> ResponseReturnValue:
    """Mend a wrong carrier or tracking number."""
    return _say_shipment(parcel, units=None, package_no=as_id(request.form.get("package_no", "")))


def _units(parcel: queries.ParcelView) -> dict[int, int] | None:
    """What was typed beside each line; None where the whole rest goes."""
    if "some" not in request.form:
        return None
    return {line.line_no: as_id(request.form.get(f"units_{line.line_no}", "")) or 0 for line in parcel.lines}


def _say_shipment(
    parcel: str, *, units: dict[int, int] | None, package_no: int | None, department: str | None = None
) -> ResponseReturnValue:
    form = request.form
    carrier, tracking_no = form.get("carrier", ""), form.get("tracking_no", "").strip()[:60]
    if carrier not in carriers.NAMES:
        return _parcel_page(parcel, form, gettext("请选择快递公司。"), 422)
    if not tracking_no or not tracking_no.isprintable():
        return _parcel_page(parcel, form, gettext("请填写运单号。"), 422)
    common: dict[str, Any] = {
        "parcel": parcel,
        "merchant_id": who().merchant_id,
        "carrier": carrier,
        "tracking_no": tracking_no,
        "now": clock.now(),
    }
    try:
        if package_no is None:
            fulfilment.ship(**common, units=units, department=department)
            flash(gettext("已发货。"), "success")
        else:
            fulfilment.correct(**common, package_no=package_no)
            flash(gettext("运单号已更正。"), "success")
    except (Invalid, StateConflict) as refused:
        return _parcel_page(parcel, form, said(refused), refused.status)
    return redirect(url_for("merchant.parcel", parcel=parcel), 303)


@bp.route("/shipments", methods=["GET", "POST"])
def shipments() -> ResponseReturnValue:
    """Ship many parcels by a spreadsheet of tracking numbers."""
    report = None
    if request.method == "POST":
        found = fulfilment.ship_by_sheet(
            merchant_id=who().merchant_id or 0,
            rows=sheet.read_file(*upload()),
            partial="partial" in request.form,
            now=clock.now(),
        )
        report = schemas.ShipmentReport().dump(found)
    page = render_template("merchant/shipments.html", report=report)
    return page, 422 if report and not report["accepted"] else 200


@bp.get("/shipments.xlsx")
def shipment_sheet() -> ResponseReturnValue:
    """All parcels to ship as a sheet to fill in with tracking numbers and send back."""
    rows: list[list[Any]] = [["包裹号", "快递公司", "运单号", "收件人", "电话", "地址", "礼包"]]
    for one in chosen_parcels([]):
        packed = "、".join(f"{line.pack_name} × {line.to_send}" for line in one.lines if line.to_send)
        name, phone = one.delivery.get("name", ""), one.delivery.get("phone", "")
        rows.append([one.id, None, None, name, phone, delivery_text(one.delivery), packed])
    return saved(sheets.write(rows, widths=(26, 12, 22, 12, 14, 40, 40)), "shipments.xlsx")


@bp.route("/pickup", methods=["GET", "POST"])
def collect() -> ResponseReturnValue:
    """Hand a parcel over: type or scan the code, look, confirm."""
    return pickup_page(Desk(who().person_id, merchant_id=who().merchant_id), action=url_for("merchant.collect"))


@bp.get("/refunds")
def refunds() -> ResponseReturnValue:
    """After-sales: what to answer, by when."""
    return _refunds_page()


def _refunds_page(problem: str | None = None, refund: str = "", code: int = 200) -> ResponseReturnValue:
    status = request.args.get("status", "requested")
    if status not in REFUND_MOVES:
        status = "requested"
    page = refund_queries.parts_of_merchant(who().merchant_id, status=status, limit=100)
    told = {"problem": problem, "wrong": refund, "form": request.form if problem else {}}
    return render_template("merchant/refunds.html", page=page, status=status, now=clock.now(), **told), code


@bp.post("/refunds/<refund>/<verdict>")
def answer_refund(refund: str, verdict: str) -> ResponseReturnValue:
    """Accept, with how many units of each line are sold again; or decline with a reason."""
    common: dict[str, Any] = {
        "refund": refund,
        "merchant_id": who().merchant_id,
        "actor_id": who().person_id,
        "once": None,
        "now": clock.now(),
    }
    reason = request.form.get("reason", "").strip()[:200]
    if verdict == "accept":
        try:
            refunding.accept(**common, restock=restock_of(request.form))
        except Invalid as refused:
            return _refunds_page(first_of(refused), refund, refused.status)
        flash(gettext("已同意退款，款项正在退回。"), "success")
    elif verdict == "decline":
        if not reason:
            return _refunds_page(gettext("请填写拒绝的理由。"), refund, 422)
        refunding.decline(**common, reason=reason)
        flash(gettext("已拒绝，买家会看到您的理由。"), "success")
    else:
        raise NotFound("没有找到您要的内容。")
    return redirect(url_for("merchant.refunds"), 303)


def first_of(refused: Invalid) -> str:
    """Return what is wrong with the first field, or with the whole, in the reader's language."""
    told = next(iter(refused.extra.get("errors", {}).values()), [refused.message])
    return gettext(told[0])


def restock_of(form: Any) -> list[refunding.Returned]:
    """Return what is sold again, as typed beside each line. Raises Invalid for what is no number."""
    found = []
    for name, text in form.items():
        if not name.startswith("restock_") or not text.strip():
            continue
        line_no, count = as_id(name.removeprefix("restock_")), as_id(text.strip())
        if line_no is None or count is None or count > schemas.MAX_QUANTITY:
            raise Invalid("请填写一个整数。")
        found.append(refunding.Returned(line_no, count))
    return found
