"""A grassroots union's pages: order for its people, put the roster, have a second person approve, pay."""

import io
import secrets
from typing import Any

from flask import current_app, flash, redirect, render_template, request, send_file, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext

from catalog import queries as catalog_queries
from finance.gateway import queries as gateway_queries
from kernel import clock, sheets
from kernel.doors import PageBlueprint, locale_of, said, who
from kernel.errors import DomainError, Forbidden, Invalid
from kernel.idempotency import request_once
from kernel.ids import as_id
from orders import queries, roster
from orders.queries import why as why_queries
from orders.rules import Wanted
from orders.services import bulk, events, fulfilment, paying
from people import queries as people_queries
from people.rules import APPROVER, OFFICER, masked
from voucher import queries as voucher_queries

bp = PageBlueprint("union", __name__, audience="union", url_prefix="/union")


def _campaign() -> Any:
    found = voucher_queries.campaigns(now=clock.now())
    return next((campaign for campaign in found if campaign.status == "open"), None)


def _once(body: Any) -> Any:
    key = request.form.get("idempotency_key", "")[:200] or secrets.token_urlsafe(18)
    return request_once(person_id=who().person_id, key=key, route=request.path, body=body)


@bp.get("/")
def home() -> ResponseReturnValue:
    """The union's orders and what to do next."""
    return render_template(
        "union/home.html",
        union=people_queries.union(who().union_id),
        campaign=_campaign(),
        page=queries.orders_of_union(who().union_id, limit=50, now=clock.now()),
    )


@bp.get("/orders/new")
def new() -> ResponseReturnValue:
    """Choose packs and counts."""
    return _new_page({}, None)


def _new_page(form: Any, problem: str | None, quoted: Any = None, status: int = 200) -> ResponseReturnValue:
    campaign = _campaign()
    tier = as_id(request.args.get("tier_fen", ""))
    packs = catalog_queries.packs(
        catalog_queries.Filter(tiers_fen=campaign.tiers_fen if campaign else (), tier_fen=tier), limit=500
    )
    page = render_template(
        "union/new.html",
        campaign=campaign,
        union=people_queries.union(who().union_id),
        packs=packs.items,
        tier=tier,
        form=form,
        problem=problem,
        quoted=quoted,
        key=secrets.token_urlsafe(18),
    )
    return page, status


@bp.post("/orders/new")
def draft() -> ResponseReturnValue:
    """Show the price, or draft the order."""
    form, campaign = request.form, _campaign()
    counts = {
        name.removeprefix("pack_"): as_id(value.strip()) or 0
        for name, value in form.items()
        if name.startswith("pack_") and value.strip()
    }
    wanted = [Wanted(as_id(pack_id) or 0, min(count, 100_000)) for pack_id, count in counts.items() if count > 0]
    slug = campaign.slug if campaign else "-"
    if OFFICER not in who().roles:
        raise Forbidden("需要经办人权限。")
    if not wanted:
        return _new_page(form, gettext("请至少选择一种礼包并填写数量。"), status=422)
    try:
        if "quote" in form:
            return _new_page(form, None, bulk.price(slug=slug, wanted=wanted, now=clock.now()))
        delivery = {name: form.get(name, "").strip()[:200] for name in ("name", "phone", "address")}
        once = _once([slug, counts, delivery])
        answer = bulk.draft(
            slug=slug, union_id=who().union_id, wanted=wanted, delivery=delivery, once=once, now=clock.now()
        )
    except DomainError as refused:
        return _new_page(form, said(refused), status=refused.status)
    return redirect(url_for("union.order", number=answer.body["number"]), 303)


@bp.get("/orders/<number>")
def order(number: str) -> ResponseReturnValue:
    """One of the union's orders."""
    return _order_page(number)


def _order_page(number: str, report: Any = None) -> ResponseReturnValue:
    found = queries.order_of_union(number, union_id=who().union_id, now=clock.now())
    if "returned" in request.args:
        events.ask_about(found.id, now=clock.now())
        found = queries.order_of_union(number, union_id=who().union_id, now=clock.now())
    settings = current_app.config["HUIGONG"]
    return render_template(
        "union/order.html",
        order=found,
        why=why_queries.of_order(found),
        names=people_queries.names([found.placed_by, found.submitted_by, found.decided_by]),
        recipients=queries.recipients_of(found.id, limit=200),
        payments=gateway_queries.of_order(found.id),
        sent_back=gateway_queries.refunds_of(found.id),
        providers=settings.union_providers,
        bank_account=settings.bank_account,
        report=report,
        masked=masked,
        may_submit=OFFICER in who().roles,
        may_decide=APPROVER in who().roles and found.submitted_by != who().person_id,
        key=secrets.token_urlsafe(18),
    )


@bp.get("/roster-template.xlsx")
def template() -> ResponseReturnValue:
    """An empty roster to fill in."""
    headers = ["姓名", "手机号", "工号", "部门", "礼包", "收货地址"]
    file = io.BytesIO(sheets.write([headers], widths=[16] * len(headers)))
    return send_file(file, as_attachment=True, download_name="roster-template.xlsx")


@bp.post("/orders/<number>/roster")
def put_roster(number: str) -> ResponseReturnValue:
    """Put the roster from a spreadsheet."""
    upload = request.files.get("file")
    if upload is None or not upload.filename:
        raise Invalid("请选择花名册文件。")
    report = bulk.put_roster(
        number=number,
        union_id=who().union_id,
        rows=roster.read_file(upload.read(), upload.filename),
        partial=bool(request.form.get("partial")),
        now=clock.now(),
    )
    return _order_page(number, report)


@bp.post("/orders/<number>/submit")
def submit(number: str) -> ResponseReturnValue:
    """Hand the order to the approver."""
    if OFFICER not in who().roles:
        raise Forbidden("需要经办人权限。")
    bulk.submit(number=number, union_id=who().union_id, actor_id=who().person_id, now=clock.now())
    flash(gettext("已提交，等待另一位同事审批。"), "success")
    return redirect(url_for("union.order", number=number), 303)


@bp.post("/orders/<number>/approve")
def approve(number: str) -> ResponseReturnValue:
    """Approve as a second person."""
    bulk.approve(
        number=number,
        union_id=who().union_id,
        actor_id=who().person_id,
        may_approve=APPROVER in who().roles,
        now=clock.now(),
    )
    flash(gettext("已审批，库存与预算已预占，请按期付款。"), "success")
    return redirect(url_for("union.order", number=number), 303)


@bp.post("/orders/<number>/reject")
def reject(number: str) -> ResponseReturnValue:
    """Send the order back with a reason."""
    reason = request.form.get("reason", "").strip()[:200]
    if not reason:
        raise Invalid("请填写退回原因。")
    bulk.reject(
        number=number,
        union_id=who().union_id,
        actor_id=who().person_id,
        may_approve=APPROVER in who().roles,
        reason=reason,
        now=clock.now(),
    )
    return redirect(url_for("union.order", number=number), 303)


@bp.post("/orders/<number>/pay")
def pay(number: str) -> ResponseReturnValue:
    """Ask for the transfer's account and reference."""
    settings = current_app.config["HUIGONG"]
    answer = paying.start_payment(
        number=number,
        union_id=who().union_id,
        provider=(provider := request.form.get("provider", "bank_transfer")),
        allowed=settings.union_providers,
        bank_account=settings.bank_account,
        return_url=url_for("union.order", number=number, _external=True),
        locale=locale_of(),
        once=_once(provider),
        now=clock.now(),
    )
    return redirect(answer.body["redirect_url"] or url_for("union.order", number=number), 303)


@bp.post("/orders/<number>/cancel")
def cancel(number: str) -> ResponseReturnValue:
    """Cancel an order that is not paid."""
    bulk.cancel(number=number, union_id=who().union_id, now=clock.now())
    flash(gettext("订单已取消。"), "success")
    return redirect(url_for("union.order", number=number), 303)


@bp.post("/orders/<number>/parcels/<parcel>/receive")
def receive(number: str, parcel: str) -> ResponseReturnValue:
    """A parcel has arrived."""
    fulfilment.receive_for_union(number=number, parcel=parcel, union_id=who().union_id, now=clock.now())
    return redirect(url_for("union.order", number=number), 303)
