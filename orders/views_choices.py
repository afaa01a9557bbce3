"""Pages of self-choice: the officer sets it up and hands out links; recipients choose on their phones; invoices."""

import secrets
from datetime import datetime, timedelta
from typing import Any

import segno
from flask import flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext
from markupsafe import Markup
from marshmallow import ValidationError

from catalog import queries as catalog_queries
from kernel import clock
from kernel.doors import PageBlueprint, said, who
from kernel.errors import DomainError, Invalid
from kernel.ids import as_id
from orders import queries, schemas
from orders.api import papers as paper_doors
from orders.api.choices import remind_all
from orders.api.union import as_officer
from orders.links import asked_again, board_link, ids_of, link_of, token_of
from orders.queries import unions as union_queries
from orders.rules import CHANGEABLE, DELIVERY_MODES
from orders.services import bulk, choosing, copying, handing_in, invoicing, pickup, replacing
from orders.services.bulk import WantedChoice
from orders.views_pickup import qr_of
from orders.views_union import form_once, open_campaign
from people import queries as people_queries
from people.rules import masked

everyone = PageBlueprint("choices", __name__, audience="everyone", url_prefix="/choose")
union = PageBlueprint("union_choices", __name__, audience="union", url_prefix="/union/orders")
merchant = PageBlueprint("merchant_invoices", __name__, audience="merchant", url_prefix="/merchant/invoices")

PLACE_FIELDS = {"ship": ("region", "address"), "pickup": ("station_id",)}
LINKS_ON_A_PAGE = 60


def qr(text: str) -> Markup:
    """Return a QR code as a picture in the page itself."""
    return Markup(segno.make(text, error="m").svg_inline(scale=3, border=2, omitsize=True))  # noqa: S704 segno draws it; the text is only in its dots


def last_moment_of(text: str) -> datetime:
    """Return the first moment after a day that was typed, in the campaign's zone. Raises Invalid."""
    day = clock.day_of(text)
    if day is None:
        raise Invalid(errors={"deadline": ["请选择日期。"]})
    return clock.start_of_day(day + timedelta(days=1))


@union.get("/new-choice")
def new() -> ResponseReturnValue:
    """Choose a tier, and what people can choose from."""
    return _new_page(None)


def _new_page(problem: str | None, errors: Any = None, status: int = 200) -> ResponseReturnValue:
    campaign = open_campaign()
    tiers = campaign.tiers_fen if campaign else ()
    tier = as_id(request.values.get("tier_fen", ""))
    if tier not in tiers:
        tier = tiers[0] if tiers else None
    packs = catalog_queries.packs(
        catalog_queries.Filter(tiers_fen=tiers, tier_fen=tier, channel="bulk"), limit=500
    ).items
    last_day = clock.local(min(campaign.ends_at, clock.now() + timedelta(days=7))) if campaign else None
    page = render_template(
        "union/new_choice.html",
        campaign=campaign,
        union=people_queries.union(who().union_id),
        packs=[pack for pack in packs if pack.available > 0],
        tier=tier,
        form=request.form,
        chosen=request.form.getlist("pack_ids"),
        last_day=(last_day - timedelta(days=1)).date().isoformat() if last_day else "",
        problem=problem,
        errors=errors or {},
        modes=DELIVERY_MODES,
        key=secrets.token_urlsafe(18),
    )
    return page, status


@union.post("/new-choice")
def draft() -> ResponseReturnValue:
    """Draft an order whose recipients choose."""
    as_officer()
    form, campaign = request.form, open_campaign()
    pack_ids = tuple(pack_id for text in form.getlist("pack_ids")[:100] if (pack_id := as_id(text)) is not None)
    mode = form.get("mode", "union")
    try:
        if not pack_ids:
            raise Invalid("请至少选择一种礼包。")
        choice = WantedChoice(
            tier_fen=as_id(form.get("tier_fen", "")) or 0,
            pack_ids=pack_ids,
            deadline=last_moment_of(form.get("deadline", "")),
            default_pack_id=as_id(form.get("default_pack_id", "")),
        )
        delivery = {name: form.get(name, "").strip()[:200] for name in ("name", "phone", "address")}
        delivery["mode"] = mode if mode in DELIVERY_MODES else "union"
        answer = bulk.draft(
            slug=campaign.slug if campaign else "-",
            union_id=who().union_id,
            wanted=(),
            choice=choice,
            delivery=delivery,
            once=form_once(sorted(form.items(multi=True))),
            now=clock.now(),
        )
    except DomainError as refused:
        told = {name.removeprefix("choice."): texts for name, texts in refused.extra.get("errors", {}).items()}
        return _new_page(said(refused), told, refused.status)
    return redirect(url_for("union.order", number=answer.body["number"]), 303)


@union.get("/<number>/links")
def links(number: str) -> ResponseReturnValue:
    """Links and QR codes to send, to print and to put on the notice board."""
    as_officer()
    order = queries.order_of_union(number, union_id=who().union_id, now=clock.now())
    page = union_queries.recipients_page(order.id, limit=LINKS_ON_A_PAGE, after=as_id(request.args.get("after", "")))
    if not request.args.get("after"):
        handing_in.export_links(order=order, actor_id=who().person_id, now=clock.now())
    board = board_link(order.id)
    return render_template(
        "union/links.html",
        order=order,
        board=board,
        board_qr=qr(board),
        people=[(one, link := link_of(one.order_id, one.position, one.link_code), qr(link)) for one in page.items],
        next_after=page.items[-1].position if page.next_cursor else None,
    )


@union.post("/<number>/remind")
def remind(number: str) -> ResponseReturnValue:
    """Remind who has not chosen, by a text message with the own link."""
    count = remind_all(number)
    flash(
        gettext("已给 %(count)s 人发提醒短信。", count=count) if count else gettext("一天内已经提醒过，请稍后再提醒。"),
        "success" if count else "warning",
    )
    return redirect(url_for("union.order", number=number, _anchor="choices"), 303)


@union.post("/<number>/copy")
def copy(number: str) -> ResponseReturnValue:
    """Begin a new order like this one."""
    as_officer()
    campaign = open_campaign()
    answer = copying.copy(
        number=number,
        union_id=who().union_id,
        slug=campaign.slug if campaign else "-",
        once=form_once("copy"),
        now=clock.now(),
    )
    flash(gettext("已按原订单生成草稿，请核对礼包和花名册。"), "success")
    return redirect(url_for("union.order", number=answer.body["number"]), 303)


@union.post("/<number>/replace")
def replace(number: str) -> ResponseReturnValue:
    """Put another pack in the place of one that ran out."""
    as_officer()
    answer = replacing.replace_pack(
        number=number,
        union_id=who().union_id,
        old_id=as_id(request.form.get("pack_id", "")) or 0,
        new_id=as_id(request.form.get("by_pack_id", "")) or 0,
        texts=asked_again(),
        actor_id=who().person_id,
        now=clock.now(),
    )
    again = answer.body["status"] in CHANGEABLE and answer.body["status"] != "approved"
    flash(
        gettext("已换成另一种礼包，请核对后提交。")
        if again
        else gettext("已换成同一档位的礼包，金额不变，原审批继续有效。"),
        "success",
    )
    return redirect(url_for("union.order", number=number), 303)


@union.post("/<number>/invoice")
def ask_invoice(number: str) -> ResponseReturnValue:
    """Ask the merchants for invoices."""
    as_officer()
    form = {name: request.form.get(name, "").strip() for name in ("title", "tax_no", "kind")}
    try:
        body = paper_doors.union_schemas.AskInvoice().load(form)
    except ValidationError as wrong:
        first = next(iter(wrong.normalized_messages().values()))
        raise Invalid(str(first[0])) from None
    invoicing.ask(number=number, union_id=who().union_id, **body, actor_id=who().person_id, once=None, now=clock.now())
    flash(gettext("已向商户申请发票。"), "success")
    return redirect(url_for("union.order", number=number, _anchor="invoices"), 303)


@union.post("/<number>/bank-slip")
def bank_slip(number: str) -> ResponseReturnValue:
    """Keep the bank's slip."""
    paper_doors.bank_slip_of(number)
    flash(gettext("银行回单已保存。"), "success")
    return redirect(url_for("union.order", number=number, _anchor="papers"), 303)


@union.post("/<number>/received")
def note_received(number: str) -> ResponseReturnValue:
    """Note who has signed on paper."""
    as_officer()
    positions = [position for text in request.form.getlist("positions")[:20_000] if (position := as_id(text))]
    count = choosing.note_received(
        number=number, union_id=who().union_id, positions=positions, actor_id=who().person_id, now=clock.now()
    )
    flash(gettext("已登记 %(count)s 人签收。", count=count), "success")
    return redirect(url_for("union.order", number=number, _anchor="roster"), 303)


@everyone.route("/board/<board_token>", methods=["GET", "POST"])
def board(board_token: str) -> ResponseReturnValue:
    """The notice board: phone and employee number open the own page."""
    (order_id,) = ids_of("board", board_token, 1)
    problem, status = None, 200
    if request.method == "POST":
        try:
            position, code = choosing.find_on_board(
                order_id=order_id,
                phone=request.form.get("phone", "")[:40],
                employee_no=request.form.get("employee_no", "")[:40],
                address=request.remote_addr or "",
                now=clock.now(),
            )
            return redirect(url_for("choices.show", choice_token=token_of(order_id, position, code)), 303)
        except DomainError as refused:
            problem, status = said(refused), refused.status
    order = queries.order(order_id, now=clock.now())
    page = render_template(
        "choices/board.html",
        order=order,
        union=people_queries.union(order.union_id),
        form=request.form,
        problem=problem,
    )
    return page, status


@everyone.get("/<choice_token>")
def show(choice_token: str) -> ResponseReturnValue:
    """What there is to choose from, by a recipient's own link."""
    return _choice_page(choice_token)


def _choice_page(token: str, problem: str | None = None, errors: Any = None, status: int = 200) -> ResponseReturnValue:
    view = union_queries.choice_of(*ids_of("choice", token, 3), now=clock.now())
    code = pickup.code_of_recipient(view, now=clock.now())
    page = render_template(
        "choices/choose.html",
        view=view,
        token=token,
        union=people_queries.union(view.order.union_id),
        is_open=view.is_open(clock.now()),
        again=view.is_asked_again(clock.now()),
        # The phone stays masked: whoever found a link should not learn it.
        form=request.form or {name: text for name, text in (view.delivery or {}).items() if name != "phone"},
        errors=errors or {},
        problem=problem,
        stations=people_queries.stations(),
        masked=masked,
        code=code,
        qr=qr_of(code) if code else None,
    )
    return page, status


@everyone.post("/<choice_token>")
def choose(choice_token: str) -> ResponseReturnValue:
    """Choose a pack, and say where to."""
    order_id, position, code = ids_of("choice", choice_token, 3)
    view = union_queries.choice_of(order_id, position, code, now=clock.now())
    try:
        choosing.choose(
            order_id=order_id,
            position=position,
            code=code,
            pack_id=as_id(request.form.get("pack_id", "")) or 0,
            delivery=_delivery(view) if view.order.delivery_mode == "recipient" else None,
            now=clock.now(),
        )
    except ValidationError as wrong:
        return _choice_page(choice_token, gettext("请检查填写的内容。"), wrong.normalized_messages(), 422)
    except DomainError as refused:
        told = {name.removeprefix("delivery."): texts for name, texts in refused.extra.get("errors", {}).items()}
        return _choice_page(choice_token, said(refused), told, refused.status)
    flash(gettext("选好了。截止前还可以改。"), "success")
    return redirect(url_for("choices.show", choice_token=choice_token), 303)


def _delivery(view: Any) -> dict[str, Any]:
    form = request.form
    names = ("kind", "name", "phone", *PLACE_FIELDS.get(form.get("kind", ""), ()))
    body = {name: form.get(name, "") for name in names if form.get(name)}
    # The page shows the phone masked: whoever leaves it empty means the one on the roster.
    loaded: dict[str, Any] = schemas.Delivery().load({"phone": view.phone, "name": view.name, **body})
    return loaded


@everyone.post("/<choice_token>/received")
def receive(choice_token: str) -> ResponseReturnValue:
    """Say that the pack has arrived."""
    order_id, position, code = ids_of("choice", choice_token, 3)
    choosing.receive(order_id=order_id, position=position, code=code, now=clock.now())
    flash(gettext("已确认收到，谢谢。"), "success")
    return redirect(url_for("choices.show", choice_token=choice_token), 303)


@merchant.get("/")
def merchant_invoices() -> ResponseReturnValue:
    """Which invoices unions wait for."""
    return render_template("merchant/invoices.html", invoices=union_queries.invoices_of_merchant(who().merchant_id))


@merchant.post("/<invoice>")
def hand_in(invoice: str) -> ResponseReturnValue:
    """Hand an invoice in."""
    paper_doors.hand_in_form(invoice)
    flash(gettext("发票已交给工会。"), "success")
    return redirect(url_for("merchant_invoices.merchant_invoices"), 303)
