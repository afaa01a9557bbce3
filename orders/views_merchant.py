"""A merchant's pages: what to send, what runs out, stock with its movements, parcels."""

import secrets
from typing import Any

from flask import flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext

from catalog import queries as catalog_queries
from catalog import services as catalog_services
from finance.ledger import queries as ledger_queries
from kernel import clock
from kernel.doors import PageBlueprint, said, who
from kernel.errors import DomainError, Invalid, NotFound
from kernel.idempotency import request_once
from kernel.ids import as_id
from orders import queries
from orders.queries import refunds as refund_queries
from orders.queries import unions as union_queries
from orders.rules import REFUND_MOVES
from orders.services import fulfilment, refunding
from people import queries as people_queries

bp = PageBlueprint("merchant", __name__, audience="merchant", url_prefix="/merchant")

CARRIERS = ("顺丰", "中通", "圆通", "申通", "韵达", "京东", "邮政EMS", "自送")
LOW_STOCK = 20


@bp.get("/")
def home() -> ResponseReturnValue:
    """What must be sent, what runs out."""
    packs = catalog_queries.packs_of(who().merchant_id, limit=500).items
    return render_template(
        "merchant/home.html",
        merchant=people_queries.merchant(who().merchant_id),
        parcels=queries.parcels_of_merchant(who().merchant_id, status="to_ship", limit=20, now=clock.now()),
        packs=packs,
        to_answer=refund_queries.parts_of_merchant(who().merchant_id, status="requested", limit=20),
        low=[pack for pack in packs if pack.available < LOW_STOCK],
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
    """Parcels by status."""
    status = request.args.get("status", "to_ship")
    if status not in ("to_ship", "shipped", "delivered"):
        status = "to_ship"
    page = queries.parcels_of_merchant(who().merchant_id, status=status, limit=100, now=clock.now())
    return render_template("merchant/parcels.html", page=page, status=status)


@bp.get("/parcels/<parcel>")
def parcel(parcel: str) -> ResponseReturnValue:
    """One parcel: what goes in, where it goes."""
    found = queries.parcel_of_merchant(parcel, merchant_id=who().merchant_id)
    faults = [one for one in union_queries.faults_of(found.order_id) if one.parcel_no == found.parcel_no]
    return render_template("merchant/parcel.html", parcel=found, carriers=CARRIERS, problem=None, faults=faults)


@bp.post("/parcels/<parcel>/ship")
def ship(parcel: str) -> ResponseReturnValue:
    """Ship a parcel."""
    carrier = request.form.get("carrier", "")
    tracking_no = request.form.get("tracking_no", "").strip()[:60]
    if carrier not in CARRIERS or not tracking_no.isprintable():
        raise Invalid("请选择快递公司。")
    if not tracking_no:
        found = queries.parcel_of_merchant(parcel, merchant_id=who().merchant_id)
        problem = gettext("请填写运单号。")
        return render_template("merchant/parcel.html", parcel=found, carriers=CARRIERS, problem=problem), 422
    fulfilment.ship(
        parcel=parcel, merchant_id=who().merchant_id, carrier=carrier, tracking_no=tracking_no, now=clock.now()
    )
    flash(gettext("已发货。"), "success")
    return redirect(url_for("merchant.parcel", parcel=parcel), 303)


@bp.get("/refunds")
def refunds() -> ResponseReturnValue:
    """After-sales: what to answer, by when."""
    status = request.args.get("status", "requested")
    if status not in REFUND_MOVES:
        status = "requested"
    page = refund_queries.parts_of_merchant(who().merchant_id, status=status, limit=100)
    return render_template("merchant/refunds.html", page=page, status=status, now=clock.now())


@bp.post("/refunds/<refund>/<verdict>")
def answer_refund(refund: str, verdict: str) -> ResponseReturnValue:
    """Accept, or decline with a reason."""
    common: dict[str, Any] = {
        "refund": refund,
        "merchant_id": who().merchant_id,
        "actor_id": who().person_id,
        "once": None,
        "now": clock.now(),
    }
    reason = request.form.get("reason", "").strip()[:200]
    if verdict == "accept":
        refunding.accept(**common)
        flash(gettext("已同意退款，款项正在退回。"), "success")
    elif verdict == "decline":
        if not reason:
            raise Invalid("请填写拒绝的理由。")
        refunding.decline(**common, reason=reason)
        flash(gettext("已拒绝，买家会看到您的理由。"), "success")
    else:
        raise NotFound("没有找到您要的内容。")
    return redirect(url_for("merchant.refunds"), 303)
