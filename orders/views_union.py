"""A grassroots union's pages: order for its people, put the roster, have a second person approve, pay."""

import secrets
from dataclasses import replace
from typing import Any

from flask import current_app, flash, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext

from catalog import queries as catalog_queries
from finance.gateway import queries as gateway_queries
from kernel import clock
from kernel.doors import PageBlueprint, locale_of, said, who
from kernel.errors import DomainError, Invalid
from kernel.idempotency import request_once
from kernel.ids import as_id
from orders import queries, roster
from orders.api.papers import actors_of, steps_of
from orders.api.union import as_officer, district
from orders.queries import unions as union_queries
from orders.queries import why as why_queries
from orders.rules import DELIVERY_MODES, Wanted
from orders.services import bulk, events, fulfilment, invoicing, paying, replacing, rostering
from orders.services.rostering import Upload
from people import queries as people_queries
from people.rules import APPROVER, OFFICER, masked
from voucher import queries as voucher_queries

bp = PageBlueprint("union", __name__, audience="union", url_prefix="/union")


CHOSEN = "union_campaign"  # the session's key for the campaign an officer chose


def open_campaigns() -> list[Any]:
    """Return the campaigns that are open now, the latest first."""
    return [campaign for campaign in voucher_queries.campaigns(now=clock.now()) if campaign.status == "open"]


def open_campaign() -> Any:
    """Return the campaign the officer chose last, or the latest that is open; None where there is none."""
    found = open_campaigns()
    asked = request.args.get("campaign")
    if asked in [campaign.slug for campaign in found]:
        session[CHOSEN] = asked
    return next((campaign for campaign in found if campaign.slug == session.get(CHOSEN)), found[0] if found else None)


def form_once(body: Any) -> Any:
    """Return the idempotency identity of a form."""
    key = request.form.get("idempotency_key", "")[:200] or secrets.token_urlsafe(18)
    return request_once(person_id=who().person_id, key=key, route=request.path, body=body)


@bp.get("/")
def home() -> ResponseReturnValue:
    """The union's orders and what to do next."""
    return render_template(
        "union/home.html",
        union=people_queries.union(who().union_id),
        campaign=open_campaign(),
        campaigns=open_campaigns(),
        page=queries.orders_of_union(who().union_id, limit=50, now=clock.now()),
        now=clock.now(),
        key=secrets.token_urlsafe(18),
        may_order=OFFICER in who().roles,
        may_decide=APPROVER in who().roles,
    )


@bp.get("/orders/new")
def new() -> ResponseReturnValue:
    """Choose packs and counts."""
    return _new_page({}, None)


def _new_page(form: Any, problem: str | None, quoted: Any = None, status: int = 200) -> ResponseReturnValue:
    campaign = open_campaign()
    tier = as_id(request.args.get("tier_fen", ""))
    packs = catalog_queries.packs(
        catalog_queries.Filter(tiers_fen=campaign.tiers_fen if campaign else (), tier_fen=tier, channel="bulk"),
        limit=500,
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
        modes=DELIVERY_MODES,
        key=secrets.token_urlsafe(18),
    )
    return page, status


@bp.post("/orders/new")
def draft() -> ResponseReturnValue:
    """Show the price, or draft the order."""
    form, campaign = request.form, open_campaign()
    counts = {
        name.removeprefix("pack_"): as_id(value.strip()) or 0
        for name, value in form.items()
        if name.startswith("pack_") and value.strip()
    }
    wanted = [Wanted(as_id(pack_id) or 0, min(count, 100_000)) for pack_id, count in counts.items() if count > 0]
    slug = campaign.slug if campaign else "-"
    as_officer()
    if not wanted:
        return _new_page(form, gettext("请至少选择一种礼包并填写数量。"), status=422)
    try:
        if "quote" in form:
            return _new_page(form, None, bulk.price(slug=slug, wanted=wanted, now=clock.now()))
        delivery = {name: form.get(name, "").strip()[:200] for name in ("name", "phone", "address")}
        delivery["mode"] = form.get("mode", "union") if form.get("mode") in DELIVERY_MODES else "union"
        once = form_once([slug, counts, delivery])
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


def _order_page(number: str, report: Any = None, problem: str | None = None, status: int = 200) -> ResponseReturnValue:
    now = clock.now()
    found = queries.order_of_union(number, union_id=who().union_id, now=now)
    if "returned" in request.args:
        events.ask_about(found.id, now=now)
        found = queries.order_of_union(number, union_id=who().union_id, now=now)
    settings = current_app.config["HUIGONG"]
    warned = union_queries.warnings_of(found, cap_fen=settings.yearly_cap_fen, now=now)
    found = replace(found, warnings=warned)
    names = people_queries.names(actors_of(found))
    packs, left = union_queries.packs_of_choice(found.choice) if found.choice else ((), {})
    plan = invoicing.plan(found, at_most=settings.invoices_per_order) if found.paid_at else None
    page = render_template(
        "union/order.html",
        order=found,
        why=why_queries.of_order(found),
        steps=steps_of(found, names),
        recipients=queries.recipients_of(found.id, limit=200),
        departments=union_queries.progress(found.id),
        choice_packs=packs,
        left=left,
        names_of_packs={line.pack_id: line for line in found.lines},
        short=replacing.replacements(found),
        faults=union_queries.faults_of(found.id),
        invoices=(invoices := union_queries.invoices_of(found.id)),
        sellers=invoicing.sellers_of(found, invoices),
        plan=plan,
        payments=gateway_queries.of_order(found.id),
        sent_back=gateway_queries.refunds_of(found.id),
        providers=settings.union_providers,
        bank_account=settings.bank_account,
        report=report,
        problem=problem,
        masked=masked,
        now=now,
        over_cap=bool(union_queries.over_cap(found.id, cap_fen=settings.yearly_cap_fen, now=now))
        and settings.over_yearly_cap == "refuse",
        may_submit=OFFICER in who().roles,
        may_decide=APPROVER in who().roles and found.submitted_by != who().person_id,
        key=secrets.token_urlsafe(18),
    )
    return page, status


@bp.post("/orders/<number>/roster")
def put_roster(number: str) -> ResponseReturnValue:
    """Put the roster from a spreadsheet."""
    sent = request.files.get("file")
    as_officer()
    try:
        if sent is None or not sent.filename:
            raise Invalid("请选择花名册文件。")
        with sent.stream:
            upload = Upload(sent.filename, sent.read())
        report = rostering.put_roster(
            number=number,
            union_id=who().union_id,
            rows=roster.read_file(upload.content, upload.filename),
            upload=upload,
            partial=bool(request.form.get("partial")),
            district=district(),
            now=clock.now(),
        )
    except Invalid as refused:
        return _order_page(number, problem=said(refused), status=422)
    return _order_page(number, report)


@bp.post("/orders/<number>/leave")
def leave(number: str) -> ResponseReturnValue:
    """Take somebody off the roster."""
    as_officer()
    position = as_id(request.form.get("position", "")) or 0
    rostering.leave(
        number=number,
        union_id=who().union_id,
        position=position,
        code=as_id(request.form.get("code", "")) or 0,
        actor_id=who().person_id,
        now=clock.now(),
    )
    flash(gettext("已从花名册去掉。"), "success")
    return redirect(url_for("union.order", number=number, _anchor="roster"), 303)


@bp.post("/orders/<number>/counts")
def change_counts(number: str) -> ResponseReturnValue:
    """Change how many of each pack."""
    as_officer()
    wanted = []
    for name, text in request.form.items():
        count = as_id(text.strip()) if name.startswith("pack_") else None
        if count:
            wanted.append(Wanted(as_id(name.removeprefix("pack_")) or 0, min(count, 100_000)))
    if not wanted:
        raise Invalid("请至少选择一种礼包并填写数量。")
    bulk.change_lines(number=number, union_id=who().union_id, wanted=wanted, actor_id=who().person_id, now=clock.now())
    flash(gettext("份数已修改。"), "success")
    return redirect(url_for("union.order", number=number), 303)


@bp.post("/orders/<number>/submit")
def submit(number: str) -> ResponseReturnValue:
    """Hand the order to the approver."""
    as_officer()
    bulk.submit(number=number, union_id=who().union_id, actor_id=who().person_id, district=district(), now=clock.now())
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
        override_reason=request.form.get("override_reason", "").strip()[:200],
        district=district(),
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
        once=form_once(provider),
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
    """A parcel has arrived; what of it was missing or broken."""
    told = _faults_told()
    fulfilment.receive_for_union(number=number, parcel=parcel, union_id=who().union_id, faults=told, now=clock.now())
    flash(gettext("已告诉商户。") if told else gettext("已确认收货。"), "success")
    return redirect(url_for("union.order", number=number), 303)


@bp.post("/orders/<number>/parcels/<parcel>/packages/<package>/receive")
def receive_package(number: str, parcel: str, package: str) -> ResponseReturnValue:
    """One package of a parcel has arrived: a department's box."""
    told = _faults_told()
    fulfilment.receive_package(
        number=number,
        parcel=parcel,
        package_no=as_id(package) or 0,
        union_id=who().union_id,
        faults=told,
        actor_id=who().person_id,
        now=clock.now(),
    )
    flash(gettext("已告诉商户。") if told else gettext("已确认收货。"), "success")
    return redirect(url_for("union.order", number=number), 303)


def _faults_told() -> list[dict[str, Any]]:
    """Return what of its lines a form says is missing or broken."""
    form = request.form
    faults = []
    for name in form:
        line_id = as_id(name.removeprefix("missing_")) if name.startswith("missing_") else None
        if line_id is not None:
            counts = [as_id(form.get(f"{kind}_{line_id}", "").strip() or "0") for kind in ("missing", "broken")]
            if None in counts:
                raise Invalid("请填写一个整数。")
            note = form.get(f"note_{line_id}", "").strip()[:200]
            faults.append({"line_id": line_id, "missing": counts[0], "broken": counts[1], "note": note})
    return [fault for fault in faults if fault["missing"] or fault["broken"]]
