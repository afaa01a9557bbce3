"""问、评、查: a member's questions and ratings, and the search over packs, own orders and help."""

from typing import Any

from flask import current_app, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext
from marshmallow import ValidationError

from kernel import clock
from kernel.doors import PageBlueprint, said, who
from kernel.errors import DomainError, flat
from kernel.ids import as_id
from kernel.paging import decode_cursor
from orders import queries as order_queries
from orders import searching
from orders.api.voices import count_words
from orders.services import voicing
from orders.views_member import pack_page
from voices import queries, schemas, services

search_page = PageBlueprint("search", __name__, audience="everyone")
member = PageBlueprint("asking", __name__, audience="member")


@search_page.get("/search")
def search() -> ResponseReturnValue:
    """Look for words in packs, own orders and help."""
    identity = g.get("identity")
    member_id = identity.member_id if identity is not None else None
    text = request.args.get("q", "").strip()[:100]
    found = searching.search(text, member_id=member_id, translate=gettext, now=clock.now())
    return render_template("member/search.html", text=text, found=found)


@member.get("/questions")
def own() -> ResponseReturnValue:
    """Own questions and their answers."""
    before = decode_cursor(request.args.get("cursor"))
    page = queries.questions_of_member(who().member_id, limit=20, before=before, now=clock.now())
    services.see_answers(page.items, member_id=who().member_id, now=clock.now())
    return render_template("member/questions.html", page=page)


@member.get("/orders/<number>/words")
def words(number: str) -> ResponseReturnValue:
    """What was asked and said about an own order."""
    return _words_page(number)


def _words_page(number: str, *, form: Any = None, errors: Any = None, status: int = 200) -> ResponseReturnValue:
    """Show it; `form` is a question or a rating that was not taken, `errors` why."""
    now = clock.now()
    found = order_queries.order_of_member(number, member_id=who().member_id, now=now)
    questions = queries.questions_of_member(who().member_id, order_id=found.id, limit=50, now=now).items
    services.see_answers(questions, member_id=who().member_id, now=now)
    page = render_template(
        "member/order_words.html",
        order=found,
        questions=questions,
        ratings=queries.ratings_by_pack(who().member_id, [line.pack_id for line in found.lines]),
        answer_hours=max(1, _answer_seconds() // 3600),
        form=form or {},
        errors=errors or {},
    )
    return page, status


@member.post("/packs/<pack_id>/questions")
def ask_on_pack(pack_id: str) -> ResponseReturnValue:
    """Ask about a pack."""
    try:
        body = schemas.Ask().load({"question": request.form.get("question", "")})
        count_words()
        voicing.ask_on_pack(
            pack_id=as_id(pack_id),
            member_id=who().member_id,
            words=body["words"],
            answer_seconds=_answer_seconds(),
            now=clock.now(),
        )
    except ValidationError as wrong:
        return pack_page(pack_id, form=request.form, errors=flat(wrong.messages), status=422)
    flash(gettext("问题已提交，答复后您可以在“我的提问”里看到。"), "success")
    return redirect(url_for("shop.pack", pack_id=pack_id), 303)


@member.post("/orders/<number>/questions")
def ask_on_order(number: str) -> ResponseReturnValue:
    """Ask about an own order."""
    try:
        body = schemas.AskOrder().load(
            {"question": request.form.get("question", ""), "merchant_id": request.form.get("merchant_id") or None}
        )
        count_words()
        voicing.ask_on_order(
            number=number,
            member_id=who().member_id,
            merchant_id=body["merchant_id"],
            words=body["words"],
            answer_seconds=_answer_seconds(),
            now=clock.now(),
        )
    except ValidationError as wrong:
        return _words_page(number, form=request.form, errors=flat(wrong.messages), status=422)
    flash(gettext("问题已提交，答复后您可以在“我的提问”里看到。"), "success")
    return redirect(url_for("asking.words", number=number), 303)


@member.post("/orders/<number>/lines/<line>/rating")
def rate(number: str, line: str) -> ResponseReturnValue:
    """Rate a pack that has arrived, or change the rating."""
    said_form: dict[str, Any] = {"words": request.form.get("words", ""), "stars": as_id(request.form.get("stars", ""))}
    try:
        body = schemas.Rate().load(said_form)
        count_words()
        voicing.rate(number=number, line_no=as_id(line), member_id=who().member_id, now=clock.now(), **body)
    except ValidationError as wrong:
        errors = {f"{name}_{line}": told for name, told in flat(wrong.messages).items()}
        return _words_page(number, form={"rated": line, **request.form}, errors=errors, status=422)
    except DomainError as refused:
        if refused.status != 409:
            raise
        errors = {f"stars_{line}": [said(refused)]}
        return _words_page(number, form={"rated": line, **request.form}, errors=errors, status=409)
    flash(gettext("谢谢您的评价。文字由工会看过以后显示。") if body["words"] else gettext("谢谢您的评价。"), "success")
    return redirect(url_for("asking.words", number=number), 303)


def _answer_seconds() -> int:
    return int(current_app.config["HUIGONG"].answer_seconds)
