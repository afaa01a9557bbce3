"""An operator's pages: what was issued and spent, issue, bank transfers, the proof."""

import re
import secrets
from typing import Any

from flask import flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext

from catalog import queries as catalog_queries
from finance.gateway import queries as gateway_queries
from kernel import clock, jobs, sheets
from kernel.doors import PageBlueprint, said, who
from kernel.errors import DomainError, Invalid, NotFound
from kernel.idempotency import request_once
from kernel.ids import as_id
from orders import queries
from orders.queries import dashboard
from orders.queries import refunds as refund_queries
from orders.queries import unions as union_queries
from orders.queries.dashboard import Wanted
from orders.services import refunding, summing
from orders.services.summing import FRESH
from orders.views_merchant import first_of, restock_of
from people import queries as people_queries
from voices import queries as voice_queries
from voucher import queries as voucher_queries
from voucher import services as voucher_services

MEMBER_NO = {"member_no": ("会员编号", "会员号", "工号", "职工编号", "member_no", "employee_no")}

bp = PageBlueprint("operator", __name__, audience="operator", url_prefix="/admin")


def _once(body: Any) -> Any:
    key = request.form.get("idempotency_key", "")[:200] or secrets.token_urlsafe(18)
    return request_once(person_id=who().person_id, key=key, route=request.path, body=body)


@bp.get("/")
def home() -> ResponseReturnValue:
    """Each campaign's figures, from the summaries: no look counts vouchers or orders again."""
    campaigns = voucher_queries.campaigns(now=clock.now())
    slug = request.args.get("campaign") or (campaigns[0].slug if campaigns else None)
    summing.keep_fresh(within=FRESH, now=clock.now())
    found = dashboard.summed(slug, Wanted(), now=clock.now()) if slug else None
    waiting = gateway_queries.for_a_person()
    return render_template(
        "operator/home.html",
        campaigns=campaigns,
        found=found,
        campaign=found.campaign if found else None,
        age=summing.age_of(found.book, now=clock.now()) if found else None,
        waiting=waiting["transfers"],
        packs_waiting=catalog_queries.count_waiting(),
        to_decide=len(refund_queries.parts_for_operator(now=clock.now())) + waiting["refunds"],
        mismatches=waiting["mismatches"],
        faults=len(union_queries.open_faults()),
        questions_open=voice_queries.count_open(now=clock.now()),
        words_waiting=voice_queries.count_waiting_words(),
    )


@bp.route("/campaigns/<slug>/issue", methods=["GET", "POST"])
def issue(slug: str) -> ResponseReturnValue:
    """Choose an audience, see its count and cost, then issue."""
    form, preview, problem, status = request.form, None, None, 200
    unknown: list[str] = []
    if request.method == "POST":
        try:
            chosen = _audience(form)
        except DomainError as refused:
            chosen, problem, status = {}, said(refused), refused.status
        if problem is not None:
            pass
        elif not chosen:
            problem, status = gettext("请选择一种发放对象。"), 422
        else:
            audience = voucher_services.audience_of(chosen)
            try:
                if "preview" in form:
                    preview = voucher_services.preview_issue(slug=slug, audience=audience)
                    unknown = people_queries.unknown_member_nos(audience.member_nos)
                else:
                    answer = voucher_services.ask_to_issue(
                        slug=slug, audience=audience, arguments=chosen, once=_once(chosen), now=clock.now()
                    )
                    return redirect(url_for("operator.job", job_id=answer.body["id"]), 303)
            except DomainError as refused:
                problem, status = said(refused), refused.status
    page = render_template(
        "operator/issue.html",
        campaign=voucher_queries.campaign(slug, now=clock.now()),
        unions=people_queries.unions(),
        form=form,
        member_nos=" ".join(chosen.get("member_nos", ())) if request.method == "POST" else "",
        preview=preview,
        unknown=unknown,
        problem=problem,
        key=secrets.token_urlsafe(18),
    )
    return page, status


def _audience(form: Any) -> dict[str, Any]:
    kind = form.get("audience")
    if kind == "all":
        return {"all": True}
    if kind == "unions":
        union_ids = [as_id(text) for text in form.getlist("union_ids")]
        return {"union_ids": [key for key in union_ids if key is not None]} if union_ids else {}
    if kind == "joined_since":
        day = clock.day_of(form.get("joined_since", ""))
        return {"joined_since": day.isoformat()} if day else {}
    upload = request.files.get("file")
    if kind == "member_nos" and upload is not None and upload.filename:
        rows = sheets.read(upload.read(), upload.filename, MEMBER_NO, required=("member_no",), limit=30_000)
        return {"member_nos": [values["member_no"] for _, values in rows if values["member_no"]]}
    if kind == "member_nos":
        member_nos = re.split(r"[\s,，;；]+", form.get("member_nos", "").strip())[:30_000]
        return {"member_nos": member_nos} if member_nos != [""] else {}
    return {"honour": "model_worker"} if kind == "honour" else {}


@bp.get("/jobs/<job_id>")
def job(job_id: str) -> ResponseReturnValue:
    """How far a job is."""
    found = jobs.find(as_id(job_id) or 0)
    if found is None:
        raise NotFound("没有这个任务。")
    return render_template("operator/job.html", job=found)


@bp.get("/refunds")
def refunds() -> ResponseReturnValue:
    """Refunds to decide, and money of bank transfers to send back."""
    return _refunds_page()


def _refunds_page(
    problem: str | None = None, wrong: tuple[str, str] = ("", ""), code: int = 200
) -> ResponseReturnValue:
    now = clock.now()
    waiting = gateway_queries.waiting_refunds(provider="bank_transfer")
    failed = gateway_queries.failed_refunds()
    order_ids = {refund.order_id for refund in [*waiting, *failed] if refund.order_id is not None}
    page = render_template(
        "operator/refunds.html",
        parts=refund_queries.parts_for_operator(now=now),
        problem=problem,
        wrong=wrong,
        form=request.form if problem else {},
        waiting=waiting,
        failed=failed,
        orders=queries.orders_by_id(order_ids, now=now) if order_ids else {},
        unions={union.id: union.name for union in people_queries.unions()},
        key=secrets.token_urlsafe(12),
    )
    return page, code


@bp.post("/refunds/<refund>/<merchant_id>/<verdict>")
def decide_refund(refund: str, merchant_id: str, verdict: str) -> ResponseReturnValue:
    """Decide a refund that a merchant left too long, or declined and the buyer appealed."""
    reason = request.form.get("reason", "").strip()[:200]
    typed = sorted((name, text) for name, text in request.form.items() if name.startswith("restock_"))
    common: dict[str, Any] = {
        "refund": refund,
        "merchant_id": as_id(merchant_id),
        "actor_id": who().person_id,
        "once": _once([verdict, reason, typed]),
        "now": clock.now(),
    }
    if verdict == "accept":
        try:
            refunding.accept_for_operator(**common, restock=restock_of(request.form))
        except Invalid as refused:
            return _refunds_page(first_of(refused), (refund, merchant_id), refused.status)
        flash(gettext("已同意退款，款项正在退回。"), "success")
    elif verdict == "decline":
        if not reason:
            return _refunds_page(gettext("请填写拒绝的理由。"), (refund, merchant_id), 422)
        refunding.decline(**common, reason=reason, final=True)
        flash(gettext("已拒绝，买家会看到您的理由。"), "success")
    else:
        raise NotFound("没有找到您要的内容。")
    return redirect(url_for("operator.refunds"), 303)
