"""An operator's pages of campaigns: set one up, change what may change, see every version of its settings."""

import unicodedata
from datetime import date, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from flask import flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext
from marshmallow import ValidationError

from kernel import clock
from kernel.doors import PageBlueprint, said, who
from kernel.errors import DomainError, Invalid
from kernel.money import MAX_FEN
from people import queries as people_queries
from voucher import queries, reminding, schemas, services
from voucher.queries import CampaignView
from voucher.rules import OPEN, WAITING

bp = PageBlueprint("campaigns", __name__, audience="operator", url_prefix="/admin/campaigns")

AMOUNTS = ("step_fen", "save_fen", "face_fen", "member_budget_fen", "bulk_budget_fen", "grant_budget_fen")
RULE = ("step_fen", "save_fen", "face_fen")
OPTIONAL = ("grant_budget_fen", "pack_limit", "recipient_cap_fen")
PROMISED = (*RULE, "starts_at", "issue_mode")


@bp.route("/new", methods=["GET", "POST"])
def new() -> ResponseReturnValue:
    """Set a campaign up, from nothing or as another one was (`?like=`)."""
    return _page(None)


@bp.route("/<slug>/settings", methods=["GET", "POST"])
def settings(slug: str) -> ResponseReturnValue:
    """Change what may still change, and see what was before."""
    return _page(queries.campaign(slug, now=clock.now()))


@bp.route("/<slug>/remind", methods=["GET", "POST"])
def remind(slug: str) -> ResponseReturnValue:
    """Remind who has not spent their voucher; say first how many that are."""
    campaign = queries.campaign(slug, now=clock.now())
    problem = ""
    if request.method == "POST":
        try:
            reminding.ask(slug=slug, actor_id=who().person_id, now=clock.now())
        except DomainError as refused:
            problem = said(refused)
        else:
            flash(gettext("提醒已排队，会逐个写给没用完的会员。"), "success")
            return redirect(url_for("works.all_jobs"), 303)
    count, left_fen = reminding.unspent(campaign.id)
    page = render_template(
        "operator/remind.html",
        campaign=campaign,
        count=count,
        left_fen=left_fen,
        until=clock.last_day(campaign.ends_at),
        problem=problem,
        is_open=campaign.status == OPEN,
    )
    return page, 409 if problem else 200


def _page(campaign: CampaignView | None) -> ResponseReturnValue:
    form: dict[str, Any] = request.form.to_dict() if request.method == "POST" else _form_of(campaign)
    problem: str | None = None
    errors: dict[str, Any] = {}
    if request.method == "POST":
        try:
            slug = _save(campaign, form)
        except ValidationError as wrong:
            errors = _flat(wrong.normalized_messages())
            problem = gettext("请检查填写的内容。")
        except DomainError as refused:
            problem, errors = said(refused), refused.extra.get("errors", {})
        else:
            flash(gettext("活动已保存。"), "success")
            return redirect(url_for("campaigns.settings", slug=slug), 303)
    promised = campaign is not None and (campaign.member_committed_fen > 0 or campaign.bulk_committed_fen > 0)
    page = render_template(
        "operator/campaign.html",
        campaign=campaign,
        form=form,
        errors={name.removeprefix("rule."): told for name, told in errors.items()},
        problem=problem,
        promised=promised,
        unions=people_queries.unions(),
        chosen_unions=request.form.getlist("union_ids") if request.method == "POST" else form.get("union_ids", []),
        versions=queries.versions(campaign.id) if campaign else [],
        names=people_queries.names([one.changed_by for one in queries.versions(campaign.id)]) if campaign else {},
        now=clock.now(),
        campaigns=[] if campaign else queries.campaigns(now=clock.now()),
        like=request.args.get("like", ""),
    )
    return page, 422 if problem else 200


def _flat(messages: Any, before: str = "") -> dict[str, list[str]]:
    if isinstance(messages, list):
        return {before.rstrip("."): [str(one) for one in messages]}
    found: dict[str, list[str]] = {}
    for name, told in messages.items():
        found |= _flat(told, f"{before}{name}.")
    return found


def _form_of(campaign: CampaignView | None) -> dict[str, Any]:
    if campaign is None and (like := request.args.get("like")):
        return _like(queries.campaign(like, now=clock.now()))
    if campaign is None:
        return {"step_fen": "100", "save_fen": "20", "face_fen": "200", "tiers": "100 150 200 250 300", "days": "7"}
    figures = {
        "step_fen": campaign.offer.step_fen,
        "save_fen": campaign.offer.save_fen,
        **{name: getattr(campaign, name) for name in AMOUNTS if name not in ("step_fen", "save_fen")},
        "recipient_cap_fen": campaign.recipient_cap_fen,
    }
    return {
        "slug": campaign.slug,
        "name": campaign.name,
        "name_en": _english(campaign),
        "starts_on": clock.local(campaign.starts_at).date().isoformat(),
        "ends_on": (clock.local(campaign.ends_at) - timedelta(microseconds=1)).date().isoformat(),
        **{name: _yuan_text(value) for name, value in figures.items()},
        "tiers": " ".join(_yuan_text(tier) for tier in campaign.tiers_fen),
        "issue_mode": campaign.issue_mode,
        "pack_limit": str(campaign.pack_limit or ""),
        "days": str(campaign.bulk_payment_days),
        "union_ids": [str(union_id) for union_id in campaign.eligible.get("union_ids", [])],
        "joined_by": campaign.eligible.get("joined_by", ""),
    }


def _like(before: CampaignView) -> dict[str, Any]:
    """Return the form of a campaign like one there was, a year later: the days are for a person to look at."""
    form = _form_of(before)
    for name in ("starts_on", "ends_on"):
        # The same day of the week, so that a campaign that began on a Monday does again.
        form[name] = (date.fromisoformat(form[name]) + timedelta(weeks=52)).isoformat()
    return {**form, "slug": ""}


def _english(campaign: CampaignView) -> str:
    return "" if campaign.name_en == campaign.name else campaign.name_en


def _yuan_text(fen: int | None) -> str:
    if fen is None:
        return ""
    whole, rest = divmod(fen, 100)
    return f"{whole}.{rest:02d}" if rest else str(whole)


def _fen(text: str) -> int:
    """Return the fen of an amount typed in yuan. Raises Invalid for what is none; no float is involved."""
    try:
        amount = Decimal(unicodedata.normalize("NFKC", text).replace(",", "").strip().removeprefix("¥").strip()) * 100
    except InvalidOperation:
        raise Invalid("请填写金额。") from None
    if not amount.is_finite() or amount != amount.to_integral_value() or not 0 <= amount <= MAX_FEN:
        raise Invalid("请填写金额。")
    return int(amount)


def _save(campaign: CampaignView | None, form: dict[str, Any]) -> str:
    given = _body(form)
    if campaign is None:
        body = schemas.NewCampaign().load({"slug": form.get("slug", "").strip(), **given, "launch": WAITING})
        services.create_campaign(details=columns_of(body), actor_id=who().person_id, now=clock.now())
        return str(body["slug"])
    changes = columns_of(schemas.CampaignChange().load(given))
    now_is = _current(campaign)
    changed = {name: value for name, value in changes.items() if now_is.get(name, ...) != value}
    if changed:
        services.change_campaign(slug=campaign.slug, changes=changed, actor_id=who().person_id, now=clock.now())
    return campaign.slug


def columns_of(body: dict[str, Any]) -> dict[str, Any]:
    """Return a campaign's settings by column: the rule's parts beside the others."""
    return {**{name: value for name, value in body.items() if name != "rule"}, **body.get("rule", {})}


def _current(campaign: CampaignView) -> dict[str, Any]:
    kept = {name: getattr(campaign, name, ...) for name in services.SETTINGS}
    union_ids = campaign.eligible.get("union_ids", [])
    joined_by = campaign.eligible.get("joined_by")
    return {
        **kept,
        "name_en": _english(campaign),
        "step_fen": campaign.offer.step_fen,
        "save_fen": campaign.offer.save_fen,
        "tiers_fen": list(campaign.tiers_fen),
        "eligible": {
            "union_ids": union_ids,
            "joined_by": date.fromisoformat(joined_by) if joined_by else None,
            "honour": campaign.eligible.get("honour"),
        },
    }


def _body(form: dict[str, Any]) -> dict[str, Any]:
    """Return the API's body of what a form says: yuan in fen, days as moments."""
    errors: dict[str, list[str]] = {}
    body: dict[str, Any] = {name: form.get(name, "").strip() for name in ("name", "name_en")}
    amounts: dict[str, int | None] = {}
    for name in (*AMOUNTS, "recipient_cap_fen"):
        text = form.get(name, "").strip()
        if not text and name in (*OPTIONAL, "bulk_budget_fen"):
            amounts[name] = 0 if name == "bulk_budget_fen" else None
            continue
        try:
            amounts[name] = _fen(text)
        except Invalid as wrong:
            errors[name] = [wrong.message]
    try:
        tiers = unicodedata.normalize("NFKC", form.get("tiers", "")).replace(",", " ").split()
        body["tiers_fen"] = [_fen(text) for text in tiers]
    except Invalid as wrong:
        errors["tiers_fen"] = [wrong.message]
    for name, later in (("starts_on", 0), ("ends_on", 1)):
        try:
            day = date.fromisoformat(form.get(name, ""))
            body[name.replace("_on", "_at")] = clock.start_of_day(day + timedelta(days=later)).isoformat()
        except (ValueError, OverflowError):
            errors[name] = ["请选择日期。"]
    for name, field in (("pack_limit", "pack_limit"), ("days", "bulk_payment_days")):
        text = form.get(name, "").strip()
        if text and not (text.isascii() and text.isdigit() and len(text) < 8):
            errors[name] = ["请填写一个整数。"]
        elif text or name in OPTIONAL:
            body[field] = int(text) if text else None
    if errors:
        raise Invalid(errors=errors)
    body["rule"] = {name: amounts.pop(name) for name in RULE}
    joined_by = form.get("joined_by", "").strip() or None
    eligible = {"union_ids": request.form.getlist("union_ids"), "joined_by": joined_by}
    return {**body, **amounts, "issue_mode": form.get("issue_mode", "push"), "eligible": eligible}
