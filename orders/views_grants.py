"""Pages of grants: an operator gives to a list and sees who has answered; a recipient takes a gift or declines."""

import io
import secrets
from datetime import datetime, timedelta
from typing import Any

from flask import abort, current_app, flash, g, redirect, render_template, request, send_file, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext
from marshmallow import ValidationError

from catalog import queries as catalog_queries
from kernel import clock, links, sheets
from kernel.doors import PageBlueprint, said, who
from kernel.errors import DomainError, Invalid, NotFound
from kernel.idempotency import request_once
from kernel.ids import as_id
from orders import queries, schemas
from orders.queries import grants as grant_queries
from orders.queries.grants import GiftView
from orders.rules import GRANT_MOVES, Wanted
from orders.services import granting, pickup
from orders.views_pickup import qr_of
from people import queries as people_queries
from people.rules import masked
from voucher import queries as voucher_queries

operator = PageBlueprint("grants", __name__, audience="operator", url_prefix="/admin")
everyone = PageBlueprint("gifts", __name__, audience="everyone", url_prefix="/gifts")
member = PageBlueprint("my_gifts", __name__, audience="member", url_prefix="/my-gifts")

PACKS_OF_A_GIFT = 3
PLACE_FIELDS = {"ship": ("region", "address"), "pickup": ("station_id",)}


def link_of(grant_id: int, position: int) -> str:
    """Return the address of a recipient's own link."""
    key = current_app.config["HUIGONG"].secret_key
    return url_for("gifts.show", token=links.make("gift", grant_id, position, key=key), _external=True)


@operator.get("/campaigns/<slug>/grants")
def home(slug: str) -> ResponseReturnValue:
    """A campaign's grants."""
    now = clock.now()
    campaign = voucher_queries.campaign(slug, now=now)
    return render_template("operator/grants.html", campaign=campaign, grants=grant_queries.grants(campaign.id, now=now))


@operator.route("/campaigns/<slug>/grants/new", methods=["GET", "POST"])
def new(slug: str) -> ResponseReturnValue:
    """Make a grant: what, to whom, until when."""
    now, form = clock.now(), request.form
    campaign = voucher_queries.campaign(slug, now=now)
    problem, faults, errors = None, [], {}
    if request.method == "POST":
        try:
            answer = granting.make(
                slug=slug,
                name=form.get("name", "").strip()[:120] or gettext("慰问"),
                wanted=_wanted(form),
                voucher_slug=form.get("voucher_campaign") or None,
                rows=_people(form),
                deadline=_end_of_day(form.get("deadline", "")),
                once=request_once(
                    person_id=who().person_id,
                    key=form.get("idempotency_key", "")[:200] or secrets.token_urlsafe(18),
                    route=request.path,
                    body=[sorted(form.items(multi=True)), sorted(request.files)],
                ),
                now=now,
            )
        except DomainError as refused:
            problem = said(refused)
            faults = refused.extra.get("rows", [])
            errors = refused.extra.get("errors", {})
        else:
            flash(gettext("慰问已发出，礼包已为名单上的每个人留好。"), "success")
            return redirect(url_for("grants.recipients", grant_id=answer.body["id"]), 303)
    page = render_template(
        "operator/grant_new.html",
        campaign=campaign,
        others=[one for one in voucher_queries.campaigns(now=now) if one.status != "closed"],
        packs=catalog_queries.packs(catalog_queries.Filter(), limit=500).items,
        form=form,
        problem=problem,
        faults=faults[:100],
        errors=errors,
        rows=range(1, PACKS_OF_A_GIFT + 1),
        key=secrets.token_urlsafe(18),
    )
    return page, 422 if problem else 200


def _wanted(form: Any) -> list[Wanted]:
    wanted = []
    for row in range(1, PACKS_OF_A_GIFT + 1):
        pack_id, quantity = as_id(form.get(f"pack_{row}", "")), as_id(form.get(f"quantity_{row}", "") or "1")
        if pack_id is None:
            continue
        if quantity is None or not 1 <= quantity <= schemas.MAX_QUANTITY:
            raise Invalid("请填写一个整数。")
        wanted.append(Wanted(pack_id, quantity))
    return wanted


def _people(form: Any) -> sheets.Rows:
    if form.get("to") == "honour":
        return granting.honour_list("model_worker")
    upload = request.files.get("file")
    if upload is None or not upload.filename:
        raise Invalid("请选择名单文件。")
    return granting.read_list(upload.read(), upload.filename)


def _end_of_day(text: str) -> datetime | None:
    """Return the first moment after a day that was typed, in the campaign's zone; None where none was."""
    if not text:
        return None
    day = clock.day_of(text)
    if day is None:
        raise Invalid("请选择日期。")
    return clock.start_of_day(day + timedelta(days=1))


@operator.get("/grants/<grant_id>")
def recipients(grant_id: str) -> ResponseReturnValue:
    """Who has taken a gift, who has not."""
    found = grant_queries.grant(as_id(grant_id), now=clock.now())
    status = request.args.get("status")
    if status not in GRANT_MOVES:
        status = None
    page = grant_queries.recipients_of(found.id, status=status, limit=200, after=as_id(request.args.get("after", "")))
    return render_template(
        "operator/grant.html",
        grant=found,
        page=page,
        status=status,
        masked=masked,
        link_of=link_of,
        last=page.items[-1].position if page.next_cursor else None,
    )


@operator.get("/grants/<grant_id>/recipients.xlsx")
def export(grant_id: str) -> ResponseReturnValue:
    """The list with each one's answer and own link, to send to them."""
    found = grant_queries.grant(as_id(grant_id), now=clock.now())
    people = granting.export(grant_id=found.id, actor_id=who().person_id, now=clock.now())
    answers = {
        "waiting": gettext("未答复"),
        "confirmed": gettext("已领取"),
        "declined": gettext("不要"),
        "lapsed": gettext("过期未领"),
    }
    header = [gettext("姓名"), gettext("手机号"), gettext("会员编号"), gettext("答复"), gettext("领取链接")]
    rows = [
        [one.name, one.phone, one.member_no, answers[one.status], link_of(found.id, one.position)] for one in people
    ]
    file = io.BytesIO(sheets.write([header, *rows], widths=(12, 14, 14, 10, 60), title=found.name))
    return send_file(file, as_attachment=True, download_name=f"grant-{found.id}.xlsx")


@operator.get("/grant-template.xlsx")
def template() -> ResponseReturnValue:
    """An empty list to fill in."""
    file = io.BytesIO(sheets.write([["姓名", "手机号", "会员编号"]], widths=(16, 16, 16)))
    return send_file(file, as_attachment=True, download_name="grant-template.xlsx")


@member.get("/")
def mine() -> ResponseReturnValue:
    """A member's gifts."""
    now = clock.now()
    gifts = grant_queries.gifts_of_member(who().member_id, now=now)
    return render_template("member/gifts.html", gifts=gifts, now=now, link_of=link_of)


def _gift(token: str) -> GiftView:
    ids = links.read("gift", token, key=current_app.config["HUIGONG"].secret_key)
    if ids is None or len(ids) != 2:
        raise NotFound("没有这份慰问。")
    return grant_queries.gift(*ids, now=clock.now())


def _page(token: str, errors: Any = None, problem: str | None = None, status: int = 200) -> ResponseReturnValue:
    gift = _gift(token)
    page = render_template(
        "member/gift.html",
        gift=gift,
        token=token,
        form=request.form,
        errors=errors or {},
        problem=problem,
        stations=people_queries.stations(),
        is_open=gift.is_open(clock.now()),
        pickups=[(one, code, qr_of(code)) for one, code in _codes_of(gift)],
        masked=masked,
    )
    return page, status


def _codes_of(gift: GiftView) -> list[tuple[queries.ParcelView, str]]:
    """Return the codes for what a gift's recipient, a member or not, collects: their own link shows them."""
    if gift.order_id is None:
        return []
    return pickup.codes_of(queries.order(gift.order_id, now=clock.now()), now=clock.now())


@everyone.get("/<token>")
def show(token: str) -> ResponseReturnValue:
    """A gift, by its recipient's own link."""
    return _page(token)


@everyone.post("/<token>")
def answer(token: str) -> ResponseReturnValue:
    """Take it, with a place to send it to, or decline."""
    gift, form = _gift(token), request.form
    identity = g.get("identity")
    actor_id = identity.person_id if identity is not None else None
    asked = {"grant_id": gift.grant.id, "position": gift.position, "actor_id": actor_id, "now": clock.now()}
    if form.get("answer") not in ("take", "decline"):
        abort(400)
    try:
        if form["answer"] == "decline":
            granting.decline(**asked)
        else:
            granting.confirm(**asked, delivery=_delivery(form, gift) if gift.grant.lines else None)
    except ValidationError as wrong:
        messages: Any = wrong.messages
        return _page(token, messages, gettext("请检查填写的内容。"), 422)
    except DomainError as refused:
        errors = {name.removeprefix("delivery."): told for name, told in refused.extra.get("errors", {}).items()}
        return _page(token, errors, said(refused), refused.status)
    return redirect(url_for("gifts.show", token=token), 303)


def _delivery(form: Any, gift: GiftView) -> dict[str, Any]:
    body = {
        name: form.get(name, "")
        for name in ("kind", "name", "phone", *PLACE_FIELDS.get(form.get("kind", ""), ()))
        if form.get(name)
    }
    # The page shows the phone masked: whoever leaves it empty means the one on the list.
    loaded: dict[str, Any] = schemas.Delivery().load({"phone": gift.phone, **body})
    return loaded
