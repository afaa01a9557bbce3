"""A member's pages: the campaign and its packs, the cart, placing, paying and following an order."""

import secrets
from collections.abc import Sequence
from typing import Any

from flask import current_app, flash, g, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext
from marshmallow import ValidationError

from catalog import queries as catalog_queries
from finance.gateway import queries as gateway_queries
from kernel import clock
from kernel.doors import PageBlueprint, locale_of, said, who
from kernel.errors import DomainError, Invalid
from kernel.idempotency import Once, request_once
from kernel.ids import as_id
from kernel.kept import keep_answers
from kernel.paging import decode_cursor
from orders import queries, schemas
from orders.queries import OrderView
from orders.queries import grants as grant_queries
from orders.queries import refunds as refund_queries
from orders.queries import why as why_queries
from orders.rules import MEMBER_BUYER, REFUNDABLE, Line, Wanted
from orders.services import events, fulfilment, paying, pickup, placing, refunding
from orders.views_pickup import qr_of
from orders.views_stations import position_told, stations_near
from people import queries as people_queries
from voices import queries as voice_queries
from voucher import queries as voucher_queries
from voucher import services as voucher_services
from voucher.queries import CampaignView
from voucher.rules import NextSaving, next_saving

shop = PageBlueprint("shop", __name__, audience="everyone")
bp = PageBlueprint("member", __name__, audience="member")
keep_answers(shop)

FILTERS = ("tier_fen", "category", "merchant", "region", "q")
CATEGORIES = ("food", "household")
PLACE_FIELDS = {"ship": ("region", "address"), "pickup": ("station_id",)}


def _identity() -> Any:
    return g.get("identity")


def _open_campaigns() -> list[CampaignView]:
    if "open_campaigns" not in g:
        g.open_campaigns = [one for one in voucher_queries.campaigns(now=clock.now()) if one.status == "open"]
    return list(g.open_campaigns)


def _campaign() -> CampaignView | None:
    """Return the campaign the reader is in: the one chosen last, or the latest that is open."""
    found = _open_campaigns()
    chosen = session.get("campaign")
    return next((campaign for campaign in found if campaign.slug == chosen), found[0] if found else None)


def _own_voucher(campaign: CampaignView | None) -> Any:
    identity = _identity()
    if identity is None or identity.member_id is None or campaign is None:
        return None
    placing.expire_own(member_id=identity.member_id, now=clock.now())
    own = g.own_vouchers = voucher_queries.vouchers_of(identity.member_id, now=clock.now())
    return next((voucher for voucher in own if voucher.campaign == campaign.slug), None)


def purse() -> tuple[Any, NextSaving | None] | None:
    """Return the member's voucher and what the cart's next full step would save; None for who has no voucher to use.

    Every page of a member's shows it, so it costs a query or two and changes nothing.
    """
    identity = _identity()
    if identity is None or identity.member_id is None:
        return None
    own = g.get("own_vouchers") or voucher_queries.vouchers_of(identity.member_id, now=clock.now())
    slug = campaign.slug if "open_campaigns" in g and (campaign := _campaign()) else session.get("campaign")
    usable = [one for one in own if one.status == "active"]
    voucher = next((one for one in usable if one.campaign == slug), usable[0] if usable and slug is None else None)
    if voucher is None:
        return None
    prices = catalog_queries.prices_of(line.pack_id for line in _cart()) if _cart() else {}
    spend_fen = sum(prices.get(line.pack_id, 0) * line.quantity for line in _cart())
    return voucher, next_saving(voucher.offer, spend_fen=spend_fen, available_fen=voucher.balance_fen)


@shop.get("/")
def home() -> ResponseReturnValue:
    """The open campaign, the member's voucher, and its packs."""
    args = request.args
    campaigns = _open_campaigns()
    campaign = _campaign()
    if campaign is not None and args.get("campaign") in [one.slug for one in campaigns if one.slug != campaign.slug]:
        # Each campaign has a cart of its own.
        session[f"cart-{campaign.slug}"] = session.pop("cart", {})
        session["campaign"] = args["campaign"]
        session["cart"] = session.pop(f"cart-{args['campaign']}", {})
        campaign = _campaign()
    wanted = catalog_queries.Filter(
        tiers_fen=campaign.tiers_fen if campaign else (),
        tier_fen=as_id(args.get("tier_fen", "")),
        merchant_id=as_id(args.get("merchant", "")),
        region=args.get("region") or None,
        category=args.get("category") or None,
        words=args.get("q", "")[:100],
    )
    merchants = catalog_queries.merchants()
    return render_template(
        "member/home.html",
        campaign=campaign,
        campaigns=campaigns,
        voucher=_own_voucher(campaign),
        has_gift=_identity() is not None and grant_queries.has_open(_identity().member_id, now=clock.now()),
        packs=catalog_queries.packs(wanted, limit=24, after=decode_cursor(args.get("cursor"))),
        merchants=merchants,
        regions=sorted({merchant.region for merchant in merchants}),
        wanted=wanted,
        chosen={name: args[name] for name in FILTERS if args.get(name)},
        categories=CATEGORIES,
        days_left=(campaign.ends_at - clock.now()).days + 1 if campaign else 0,
        announcements=voice_queries.announcements(
            now=clock.now(), campaign_id=campaign.id if campaign else None, limit=3
        ),
    )


@shop.get("/packs/<pack_id>")
def pack(pack_id: str) -> ResponseReturnValue:
    """One pack."""
    return pack_page(pack_id)


def pack_page(pack_id: str, *, form: Any = None, errors: Any = None, status: int = 200) -> ResponseReturnValue:
    """Show a pack with its ratings and answers; `form` is a question that was not taken, `errors` why."""
    found = catalog_queries.pack(as_id(pack_id))
    page = render_template(
        "member/pack.html",
        pack=found,
        campaign=_campaign(),
        ratings=voice_queries.words_on_pack(found.id, limit=20),
        questions=voice_queries.questions_on_pack(found.id, limit=20, now=clock.now()),
        answer_hours=max(1, current_app.config["HUIGONG"].answer_seconds // 3600),
        form=form or {},
        errors=errors or {},
    )
    return page, status


def _cart() -> list[Wanted]:
    kept = session.get("cart", {})
    return [Wanted(int(pack_id), int(quantity)) for pack_id, quantity in kept.items()]


def _priced(campaign: CampaignView | None, wanted: list[Wanted]) -> tuple[Any, str | None]:
    if not wanted or campaign is None:
        return None, None
    try:
        priced = placing.price_basket(slug=campaign.slug, member_id=who().member_id, wanted=wanted, now=clock.now())
    except Invalid:
        # A pack that is gone leaves the cart; the rest stays.
        known = catalog_queries.packs_by_id(line.pack_id for line in wanted)
        kept = {
            str(line.pack_id): line.quantity
            for line in wanted
            if line.pack_id in known and known[line.pack_id].status == "on_sale"
        }
        session["cart"] = kept if len(kept) < len(wanted) else {}
        return None, gettext("有礼包已下架，已从购物车移除。")
    return priced, None


@bp.get("/cart")
def cart() -> ResponseReturnValue:
    """The cart with its price at once."""
    campaign = _campaign()
    priced, problem = _priced(campaign, _cart())
    if problem:
        flash(problem, "warning")
        priced, _ = _priced(campaign, _cart())
    packs = catalog_queries.packs_by_id((line.pack_id for line in _cart()), channel="member")
    return render_template("member/cart.html", priced=priced, packs=packs, campaign=campaign)


@bp.post("/cart")
def change_cart() -> ResponseReturnValue:
    """Put a pack in, change how many, or take it out."""
    pack_id, quantity = as_id(request.form.get("pack_id", "")), as_id(request.form.get("quantity", "1"))
    if pack_id is None or quantity is None or quantity > 999:
        raise Invalid("请填写 0 到 999 之间的数量。")
    kept = dict(session.get("cart", {}))
    key = str(pack_id)
    count = quantity + (kept.get(key, 0) if request.form.get("add") else 0)
    kept[key] = min(count, 999)
    session["cart"] = {name: value for name, value in list(kept.items())[:50] if value > 0}
    if request.form.get("add"):
        flash(gettext("已放入购物车。"), "success")
    return redirect(url_for("member.cart"), 303)


@bp.get("/checkout")
def checkout() -> ResponseReturnValue:
    """Ask where the order goes: where the last one went stands there already; a station chosen on the map is chosen."""
    station = as_id(request.args.get("station_id", ""))
    last = queries.last_delivery(who().member_id)
    form = {
        name: str(last[name]) for name in ("kind", "name", "phone", "region", "address", "station_id") if last.get(name)
    }
    if station is not None:
        form |= {"kind": "pickup", "station_id": str(station)}
    return _checkout_page(form, {}, secrets.token_urlsafe(18))


def _checkout_page(
    form: Any, errors: dict[str, list[str]], key: str, problem: str | None = None, status: int = 200
) -> ResponseReturnValue:
    campaign = _campaign()
    priced, gone = _priced(campaign, _cart())
    if priced is None:
        if gone or problem:
            flash(gone or problem or "", "warning")
        return redirect(url_for("member.cart"), 303)
    seen_fen = as_id(form.get("payable_fen", ""))
    here = position_told(form)
    near = stations_near("" if here else form.get("near", ""), here=here, listed=5)
    page = render_template(
        "member/checkout.html",
        priced=priced,
        campaign=campaign,
        **near,
        by_position=here is not None,
        picked=_picked(form, nearest=near["stations"] if here else []),
        form=form,
        errors=errors,
        key=key,
        problem=problem,
        seen_fen=seen_fen if seen_fen != priced.quote.payable_fen else None,
        wait_seconds=current_app.config["HUIGONG"].payment_seconds,
    )
    return page, status


def _picked(form: Any, *, nearest: Sequence[Any]) -> str:
    """Return the id of the station that is chosen: by its own button, before, or the nearest to where one is."""
    chosen = as_id(form.get("pick", "")) or as_id(form.get("station_id", ""))
    return str(chosen or (nearest[0].id if nearest and nearest[0].lat_e6 is not None else ""))


@bp.post("/checkout")
def place() -> ResponseReturnValue:
    """Place the order at the price that was shown."""
    form = request.form
    key = form.get("idempotency_key", "") or secrets.token_urlsafe(18)
    if "find" in form or "pick" in form:
        # Asks for the stations near a place, or picks one of them: nothing is placed, what was typed stays.
        return _checkout_page(form, {}, key)
    if not _cart() and (number := placing.placed_under(person_id=who().person_id, key=key[:200])) is not None:
        return redirect(url_for("member.order", number=number), 303)
    campaign = _campaign()
    body = {
        "campaign": campaign.slug if campaign else "-",
        "lines": [{"pack_id": str(line.pack_id), "quantity": line.quantity} for line in _cart()],
        "payable_fen": as_id(form.get("payable_fen", "")),
        "delivery": {
            name: form.get(name, "")
            for name in ("kind", "name", "phone", *PLACE_FIELDS.get(form.get("kind", ""), ()))
            if form.get(name)
        },
    }
    settings = current_app.config["HUIGONG"]
    try:
        request_body = schemas.PlaceOrder().load(body)
        answer = placing.place_order(
            slug=request_body["campaign"],
            member_id=who().member_id,
            wanted=[Wanted(line["pack_id"], line["quantity"]) for line in request_body["lines"]],
            payable_fen=request_body["payable_fen"],
            delivery=request_body["delivery"],
            once=_once(key, body),
            terms=placing.Terms(settings.payment_seconds, settings.max_unpaid),
            now=clock.now(),
        )
    except ValidationError as wrong:
        messages: Any = wrong.messages
        return _checkout_page(
            form, messages.get("delivery", {}), key, problem=gettext("请检查填写的内容。"), status=422
        )
    except DomainError as refused:
        detail = said(refused)
        errors = {name.removeprefix("delivery."): told for name, told in refused.extra.get("errors", {}).items()}
        return _checkout_page(form, errors, secrets.token_urlsafe(18), problem=detail, status=refused.status)
    session["cart"] = {}
    return redirect(url_for("member.order", number=answer.body["number"]), 303)


def _once(key: str, body: Any) -> Once:
    return request_once(person_id=who().person_id, key=key[:200], route=request.path, body=body)


@bp.get("/orders")
def orders() -> ResponseReturnValue:
    """Own orders, newest first."""
    now = clock.now()
    placing.expire_own(member_id=who().member_id, now=now)
    page = queries.orders_of_member(
        who().member_id, limit=20, before=decode_cursor(request.args.get("cursor")), now=now
    )
    return render_template("member/orders.html", page=page)


@bp.get("/orders/<number>")
def order(number: str) -> ResponseReturnValue:
    """One own order: what was bought, paid and sent."""
    now = clock.now()
    if "returned" in request.args:
        events.ask_about(queries.order_of_member(number, member_id=who().member_id, now=now).id, now=now)
    placing.expire_own(member_id=who().member_id, now=now)
    found = queries.order_of_member(number, member_id=who().member_id, now=now)
    station = found.delivery.get("station_id") if found.delivery.get("kind") == "pickup" else None
    return render_template(
        "member/order.html",
        order=found,
        pickups={one.id: (code, qr_of(code)) for one, code in pickup.codes_of(found, now=now)},
        station=people_queries.station(station, closed=True) if station is not None else None,
        payments=gateway_queries.of_order(found.id),
        sent_back=gateway_queries.refunds_of(found.id),
        refunds=(returned := refund_queries.refunds_of(found.id)),
        why=why_queries.of_order(found),
        why_refund=why_queries.of_refunds(returned, found),
        may_return=found.buyer_kind == MEMBER_BUYER
        and found.status in REFUNDABLE
        and any(line.quantity > line.refund_asked for line in found.lines),
        seconds_left=max(0, int((found.expires_at - now).total_seconds())) if found.expires_at else 0,
        providers=current_app.config["HUIGONG"].member_providers,
        returned="returned" in request.args,
        key=secrets.token_urlsafe(18),
    )


@bp.post("/orders/<number>/pay")
def pay(number: str) -> ResponseReturnValue:
    """Go to the cashier."""
    settings = current_app.config["HUIGONG"]
    answer = paying.start_payment(
        number=number,
        member_id=who().member_id,
        provider=(provider := request.form.get("provider", "sandbox")),
        allowed=settings.member_providers,
        bank_account=settings.bank_account,
        return_url=url_for("member.order", number=number, _external=True),
        locale=locale_of(),
        once=_once(request.form.get("idempotency_key", "") or secrets.token_urlsafe(18), {"provider": provider}),
        now=clock.now(),
    )
    return redirect(answer.body["redirect_url"] or url_for("member.order", number=number), 303)


@bp.post("/orders/<number>/cancel")
def cancel(number: str) -> ResponseReturnValue:
    """Cancel an unpaid order."""
    placing.cancel(number=number, member_id=who().member_id, now=clock.now())
    flash(gettext("订单已取消，福利券已退回余额。"), "success")
    return redirect(url_for("member.order", number=number), 303)


@bp.route("/orders/<number>/refund", methods=["GET", "POST"])
def refund(number: str) -> ResponseReturnValue:
    """Choose what to give back, see what comes back and why, then confirm."""
    now, form = clock.now(), request.values
    found = queries.order_of_member(number, member_id=who().member_id, now=now)
    chosen, problem = _chosen_units(found, form)
    key = form.get("idempotency_key", "") or secrets.token_urlsafe(18)
    if request.method == "POST" and chosen and problem is None:
        reason = form.get("reason", "").strip()[:200]
        body = {"lines": [[line.line_no, units] for line, units in chosen], "reason": reason}
        try:
            refunding.ask(
                number=number,
                member_id=who().member_id,
                wanted=[refunding.Returned(line.line_no, units) for line, units in chosen],
                reason=reason,
                reply_seconds=current_app.config["HUIGONG"].refund_reply_seconds,
                once=_once(key, body),
                now=now,
            )
        except DomainError as refused:
            problem, chosen, key = said(refused), [], secrets.token_urlsafe(18)
        else:
            flash(gettext("退款申请已提交。"), "success")
            return redirect(url_for("member.order", number=number), 303)
    steps = why_queries.of_units(found, chosen)
    shipped = {parcel.parcel_no for parcel in found.parcels if parcel.status in ("shipped", "delivered")}
    page = render_template(
        "member/refund.html",
        order=found,
        form=form,
        chosen=chosen,
        back=refund_queries.back_of(chosen),
        waits=[line for line, _ in chosen if line.parcel_no in shipped],
        steps=steps,
        voucher_to=refund_queries.voucher_goes_to(found.id, now=now),
        problem=problem,
        key=key,
    )
    return page, 422 if problem else 200


def _chosen_units(found: OrderView, form: Any) -> tuple[list[tuple[Line, int]], str | None]:
    chosen = []
    for line in found.lines:
        text = form.get(f"line_{line.line_no}", "").strip()
        units = as_id(text) if text else 0
        if units is None or units > line.quantity - line.refund_asked:
            return [], gettext("“%(name)s”最多还能退 %(left)s 份。") % {
                "name": line.pack_name,
                "left": line.quantity - line.refund_asked,
            }
        if units:
            chosen.append((line, units))
    if not chosen and "preview" in form:
        return [], gettext("请填写要退的份数。")
    return chosen, None


@bp.post("/orders/<number>/refunds/<refund_id>/appeal")
def appeal(number: str, refund_id: str) -> ResponseReturnValue:
    """Ask the operator to look at what a merchant declined."""
    reason = request.form.get("reason", "").strip()[:200]
    if not reason:
        raise Invalid("请说明申诉的理由。")
    refunding.appeal(number=number, refund=refund_id, member_id=who().member_id, reason=reason, now=clock.now())
    flash(gettext("申诉已提交，运营会处理。"), "success")
    return redirect(url_for("member.order", number=number), 303)


@bp.post("/orders/<number>/parcels/<parcel>/receive")
def receive(number: str, parcel: str) -> ResponseReturnValue:
    """A parcel has arrived."""
    fulfilment.receive(number=number, parcel=parcel, member_id=who().member_id, now=clock.now())
    flash(gettext("已确认收货。"), "success")
    return redirect(url_for("member.order", number=number), 303)


@bp.get("/vouchers")
def vouchers() -> ResponseReturnValue:
    """Own vouchers, each with its history."""
    now = clock.now()
    placing.expire_own(member_id=who().member_id, now=now)
    own = voucher_queries.vouchers_of(who().member_id, now=now)
    histories = {voucher.id: voucher_queries.entries_of(voucher.id, member_id=who().member_id) for voucher in own[:10]}
    held = {voucher.campaign for voucher in own}
    claimable = [
        campaign
        for campaign in voucher_queries.campaigns(now=now)
        if campaign.status == "open" and campaign.issue_mode == "claim" and campaign.slug not in held
    ]
    return render_template("member/vouchers.html", vouchers=own, histories=histories, claimable=claimable)


@bp.post("/campaigns/<slug>/claim")
def claim(slug: str) -> ResponseReturnValue:
    """Claim a campaign's voucher."""
    voucher_services.claim(slug=slug, member_id=who().member_id, now=clock.now())
    flash(gettext("福利券已领取。"), "success")
    return redirect(url_for("member.vouchers"), 303)
