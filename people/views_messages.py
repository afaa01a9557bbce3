"""Operators' pages of messages (who got what, what nobody knows the end of, the words), and a person's own choice."""

from typing import Any

from flask import current_app, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext

from kernel import clock
from kernel.doors import PageBlueprint, said, who
from kernel.errors import DomainError, NotFound
from kernel.ids import as_id
from kernel.paging import decode_cursor
from people import message_queries as queries
from people import queries as people_queries
from people import texts
from people.services import messages, wordings
from people.services.senders import hidden

operator = PageBlueprint("messages", __name__, audience="operator", url_prefix="/admin/messages")
own = PageBlueprint("contact", __name__, audience="signed_in", url_prefix="/account/messages")

PAGE = 50
DECISIONS = {"delivered": messages.mark_delivered, "again": messages.send_again, "give-up": messages.give_up}


@operator.get("/")
def home() -> ResponseReturnValue:
    """Messages, newest first, by state, kind and person."""
    asked = request.args
    wanted = {
        "status": asked.get("status", "") if asked.get("status") in queries.STATES else "",
        "event": asked.get("event", "") if asked.get("event") in texts.KINDS else "",
        "person": asked.get("person", "").strip()[:80],
    }
    page = queries.latest(limit=PAGE, before=decode_cursor(asked.get("cursor")), **wanted)
    return render_template(
        "operator/messages.html",
        page=page,
        wanted=wanted,
        counts=queries.counts(),
        kinds=texts.KINDS,
        address=_address,
        shown=queries.shown,
    )


@operator.get("/<message_id>")
def show(message_id: str) -> ResponseReturnValue:
    """One message: to whom, what it says, how it went, and what can be done about it."""
    row = queries.one(as_id(message_id))
    if row is None:
        raise NotFound("没有这条消息。")
    return render_template(
        "operator/message.html",
        row=row,
        kinds=texts.KINDS,
        address=_address,
        shown=queries.shown,
        decided=_decider(row),
    )


def _address(row: Any) -> str:
    address = queries.address_of(row)
    return hidden(address) if address else ""


def _decider(row: Any) -> str:
    return people_queries.names([row.decided_by]).get(row.decided_by, "")


@operator.post("/<message_id>/<decision>")
def decide(message_id: str, decision: str) -> ResponseReturnValue:
    """Say what became of a message nobody knows the end of, or send one again on purpose."""
    if decision not in DECISIONS:
        raise NotFound("没有找到您要的内容。")
    DECISIONS[decision](as_id(message_id), actor_id=who().person_id, now=clock.now())
    told = {
        "delivered": gettext("已记为送达。"),
        "again": gettext("已排队重发。"),
        "give-up": gettext("已记为未送达，不再发送。"),
    }
    flash(told[decision], "success")
    return redirect(url_for("messages.show", message_id=message_id), 303)


@operator.get("/words")
def words() -> ResponseReturnValue:
    """Every kind of message, with its words in both languages as they would read."""
    return render_template(
        "operator/message_words.html", kinds=texts.KINDS, templates=queries.templates(), preview=_preview
    )


def _preview(event: str, language: str, text: str) -> str:
    return texts.filled(text, texts.examples(texts.KINDS[event], language))


@operator.get("/words/<event>")
def edit(event: str) -> ResponseReturnValue:
    """The words of one kind, to be changed."""
    return _edit_page(event)


def _edit_page(event: str, *, form: Any = None, errors: Any = None, status: int = 200) -> ResponseReturnValue:
    kind = wordings.kind_of(event)
    page = render_template(
        "operator/message_edit.html",
        kind=kind,
        saved=queries.templates()[event],
        contact=queries.contact(who().person_id),
        form=form,
        errors=errors or {},
        preview=_preview,
        parts=texts.parts,
        longest=texts.LONGEST,
    )
    return page, status


@operator.post("/words/<event>/<language>")
def write(event: str, language: str) -> ResponseReturnValue:
    """Look at words as they would read, save them, or have ours again."""
    form = request.form
    kind = wordings.kind_of(event)
    wish = form.get("wish", "preview")
    text = form.get("words", "")
    if wish == "preview":
        faults = wordings.faults(kind, text.strip())
        return _edit_page(event, form={**form, "language": language}, errors={"words": faults} if faults else {})
    now, actor_id = clock.now(), who().person_id
    if wish == "ours":
        wordings.take_back(event, language, actor_id=actor_id, now=now)
        flash(gettext("已恢复默认文字。"), "success")
        return redirect(url_for("messages.edit", event=event), 303)
    try:
        wordings.write(event, language, subject=form.get("subject", ""), words=text, actor_id=actor_id, now=now)
    except DomainError as refused:
        errors = refused.extra.get("errors", {})
        return _edit_page(event, form={**form, "language": language}, errors=errors, status=refused.status)
    flash(gettext("消息文字已保存，之后发出的消息都用它。"), "success")
    return redirect(url_for("messages.edit", event=event), 303)


@operator.post("/words/<event>/test/<channel>")
def send_test(event: str, channel: str) -> ResponseReturnValue:
    """Send me a message of this kind, as saved, with example values."""
    try:
        wordings.send_test(
            event, channel, key=current_app.config["HUIGONG"].secret_key, actor_id=who().person_id, now=clock.now()
        )
    except DomainError as refused:
        if refused.status == 404:
            raise
        flash(said(refused), "danger")
    else:
        flash(gettext("测试消息已排队，一会儿就到。"), "success")
    return redirect(url_for("messages.edit", event=event), 303)


@own.get("/")
def choice() -> ResponseReturnValue:
    """How I want to be told."""
    return _choice_page()


def _choice_page(errors: Any = None, form: Any = None, problem: str = "", status: int = 200) -> ResponseReturnValue:
    page = render_template(
        "account/messages.html",
        contact=queries.contact(who().person_id),
        hidden=hidden,
        errors=errors or {},
        form=form or {},
        problem=problem,
    )
    return page, status


@own.post("/")
def choose() -> ResponseReturnValue:
    """Choose the channel, the language, and whether I want news."""
    form = request.form
    try:
        wordings.choose(
            person_id=who().person_id,
            channel=form.get("channel", ""),
            language=form.get("language", ""),
            news="news" in form,
        )
    except DomainError as refused:
        return _refused(refused)
    flash(gettext("已保存。"), "success")
    return redirect(url_for("contact.choice"), 303)


@own.post("/email")
def name_email() -> ResponseReturnValue:
    """Name an e-mail address; a code is sent there."""
    try:
        wordings.name_email(
            person_id=who().person_id,
            email=request.form.get("email", ""),
            key=current_app.config["HUIGONG"].secret_key,
            now=clock.now(),
        )
    except DomainError as refused:
        return _refused(refused)
    flash(gettext("确认码已发到这个邮箱，请在 15 分钟内填写。"), "success")
    return redirect(url_for("contact.choice"), 303)


@own.post("/email/confirm")
def confirm_email() -> ResponseReturnValue:
    """Type the code: the address is mine."""
    try:
        wordings.confirm_email(
            person_id=who().person_id,
            code=request.form.get("code", ""),
            key=current_app.config["HUIGONG"].secret_key,
            now=clock.now(),
        )
    except DomainError as refused:
        return _refused(refused)
    flash(gettext("邮箱已确认。"), "success")
    return redirect(url_for("contact.choice"), 303)


@own.post("/email/forget")
def forget_email() -> ResponseReturnValue:
    """Write to my address no more."""
    wordings.forget_email(person_id=who().person_id, now=clock.now())
    flash(gettext("邮箱已删除，今后用短信通知。"), "success")
    return redirect(url_for("contact.choice"), 303)


def _refused(refused: DomainError) -> ResponseReturnValue:
    errors = refused.extra.get("errors", {})
    return _choice_page(errors, request.form, "" if errors else said(refused), refused.status)
