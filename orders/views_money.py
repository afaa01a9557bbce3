"""An operator's pages of money: transfers and statements, what does not match, refunds sent, reconciling."""

import hashlib
import secrets
from datetime import date, timedelta
from typing import Any

from flask import current_app, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext

from finance.gateway import queries as gateway_queries
from kernel import clock
from kernel.doors import PageBlueprint, said, who
from kernel.errors import DomainError, Invalid
from kernel.idempotency import request_once
from kernel.ids import as_id
from kernel.money import fen_of
from orders import queries
from orders.queries import queues
from orders.services import banking, mismatching, paying, reconciling, sending
from people import queries as people_queries

bp = PageBlueprint("money", __name__, audience="operator", url_prefix="/admin")


def _once(body: Any) -> Any:
    key = request.form.get("idempotency_key", "")[:200] or secrets.token_urlsafe(18)
    return request_once(person_id=who().person_id, key=key, route=request.path, body=body)


def _settings() -> Any:
    return current_app.config["HUIGONG"]


@bp.get("/transfers")
def transfers() -> ResponseReturnValue:
    """Bank transfers to look for on the statement."""
    return _transfers_page({}, None)


def _transfers_page(form: Any, problem: str | None, status: int = 200, faults: Any = ()) -> ResponseReturnValue:
    waiting = gateway_queries.waiting_transfers()
    lines = gateway_queries.bank_lines(*gateway_queries.OPEN_LINES)
    named = gateway_queries.by_ids(line.payment_id for line in lines)
    found = queries.orders_by_id(
        (one.order_id for one in [*waiting, *named.values()] if one.order_id is not None), now=clock.now()
    )
    unions = {union.id: union for union in people_queries.unions()}
    page = render_template(
        "operator/transfers.html",
        waiting=waiting,
        orders=found,
        lines=lines,
        named=named,
        unions=unions,
        form=form,
        problem=problem,
        faults=faults,
        key=secrets.token_urlsafe(18),
    )
    return page, status


@bp.post("/transfers/<payment_id>/confirm")
def confirm(payment_id: str) -> ResponseReturnValue:
    """A bank transfer has arrived."""
    amount_fen = fen_of(request.form.get("amount", ""))
    if amount_fen is None:
        return _transfers_page(request.form, gettext("请填写到账金额，例如 12130.00。"), 422)
    try:
        answer = paying.confirm_transfer(
            payment_id=as_id(payment_id),
            amount_fen=amount_fen,
            actor_id=who().person_id,
            second_person_fen=_settings().second_person_fen,
            once=_once(amount_fen),
            now=clock.now(),
        )
    except DomainError as refused:
        return _transfers_page(request.form, said(refused), refused.status)
    if answer.body["status"] == "pending":
        flash(gettext("已记录您的确认。金额较大，还需要另一位运营确认。"), "info")
    else:
        flash(gettext("已确认到账。"), "success")
    return redirect(url_for("money.transfers"), 303)


@bp.post("/statements")
def import_statement() -> ResponseReturnValue:
    """Import a bank statement."""
    upload = request.files.get("file")
    try:
        if upload is None or not upload.filename:
            raise Invalid("请选择对账单文件。")
        content = upload.read()
        answer = banking.import_statement(
            rows=banking.read_statement(content, upload.filename),
            actor_id=who().person_id,
            second_person_fen=_settings().second_person_fen,
            once=_once(hashlib.sha256(content).hexdigest()),
            now=clock.now(),
        )
    except DomainError as refused:
        return _transfers_page({}, said(refused), refused.status, faults=refused.extra.get("rows", ()))
    report = answer.body
    flash(
        gettext("导入 %(new)s 行，%(repeated)s 行以前导入过。", new=report["new"], repeated=report["repeated"]),
        "success",
    )
    return redirect(url_for("money.transfers"), 303)


@bp.post("/lines/<line_id>")
def decide_line(line_id: str) -> ResponseReturnValue:
    """Decide on a statement line that did not match."""
    verdict, form = request.form.get("verdict", ""), request.form
    if verdict not in ("assign", "take", "send_back", "ignore"):
        raise Invalid("请选择一种处理方式。")
    answer = banking.decide(
        line_id=as_id(line_id),
        verdict=verdict,
        reference=form.get("reference", "").strip()[:40],
        note=form.get("note", "").strip()[:200],
        actor_id=who().person_id,
        second_person_fen=_settings().second_person_fen,
        once=_once([verdict, form.get("reference", ""), form.get("note", "")]),
        now=clock.now(),
    )
    if answer.body["waits_for_another"]:
        flash(gettext("已记录您的确认。金额较大，还需要另一位运营确认。"), "info")
    else:
        flash(gettext("已处理。"), "success")
    return redirect(url_for("money.transfers"), 303)


@bp.get("/mismatches")
def mismatches() -> ResponseReturnValue:
    """What does not match and waits for a person."""
    found = gateway_queries.mismatches()
    payments = gateway_queries.by_ids(one.payment_id for one in found)
    return render_template(
        "operator/mismatches.html",
        found=found,
        payments=payments,
        closed=gateway_queries.mismatches(closed=True, limit=20),
        key=secrets.token_urlsafe(12),
    )


@bp.post("/mismatches/<mismatch_id>/<verdict>")
def settle_mismatch(mismatch_id: str, verdict: str) -> ResponseReturnValue:
    """Send it back, or close it with a note."""
    note = request.form.get("note", "").strip()[:200]
    common: dict[str, Any] = {
        "mismatch_id": as_id(mismatch_id),
        "actor_id": who().person_id,
        "once": _once([verdict, note]),
        "now": clock.now(),
    }
    if verdict == "send-back":
        mismatching.send_back(**common)
        flash(gettext("正在原路退回。"), "success")
    else:
        mismatching.close(**common, note=note)
        flash(gettext("已登记。"), "success")
    return redirect(url_for("money.mismatches"), 303)


@bp.post("/payment-refunds/<refund_id>/retry")
def retry_refund(refund_id: str) -> ResponseReturnValue:
    """Send a refund once more that its provider could not send."""
    sending.retry(refund_id=as_id(refund_id), actor_id=who().person_id, once=_once("retry"), now=clock.now())
    flash(gettext("正在重新退款。"), "success")
    return redirect(url_for("operator.refunds"), 303)


@bp.post("/payment-refunds/<refund_id>/sent")
def refund_sent(refund_id: str) -> ResponseReturnValue:
    """Money of a bank transfer was sent back."""
    reference = request.form.get("reference", "").strip()[:60]
    if not reference or not reference.isprintable():
        raise Invalid("请填写银行流水号。")
    sending.record_sent(
        refund_id=as_id(refund_id),
        reference=reference,
        actor_id=who().person_id,
        once=_once(reference),
        now=clock.now(),
    )
    flash(gettext("已登记退款。"), "success")
    return redirect(url_for("operator.refunds"), 303)


@bp.route("/reconcile", methods=["GET", "POST"])
def reconcile() -> ResponseReturnValue:
    """What comparing a day found, day by day; and compare a day now."""
    now, problem = clock.now(), None
    chosen = request.values.get("day", "")
    if request.method == "POST":
        try:
            day = date.fromisoformat(chosen)
            if not date(2020, 1, 1) <= day <= clock.local(now).date():
                raise ValueError
        except ValueError:
            problem = gettext("请选择今天或以前的日期。")
        else:
            reconciling.reconcile(day, now=now)
            return redirect(url_for("money.reconcile", day=day.isoformat()), 303)
    days = gateway_queries.reconciliations()
    page = render_template(
        "operator/reconcile.html",
        days=days,
        shown=next((one for one in days if one.day.isoformat() == chosen), days[0] if days else None),
        yesterday=(clock.local(now).date() - timedelta(days=1)).isoformat(),
        today=clock.local(now).date().isoformat(),
        problem=problem,
        proof=queues.proof("reconcile"),
    )
    return page, 422 if problem else 200
