"""Pages of what is said: announcements, help, the desks where questions are answered and words are looked at."""

from datetime import timedelta
from typing import Any

from flask import flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext
from marshmallow import ValidationError

from kernel import clock
from kernel.doors import PageBlueprint, said, who
from kernel.errors import DomainError, NotFound, flat
from kernel.ids import as_id
from kernel.paging import decode_cursor
from voices import help as articles
from voices import queries, schemas, services
from voices.figures import figures
from voucher import queries as voucher_queries

everyone = PageBlueprint("voices", __name__, audience="everyone")
merchant = PageBlueprint("merchant_questions", __name__, audience="merchant", url_prefix="/merchant/questions")
operator = PageBlueprint("desk", __name__, audience="operator", url_prefix="/admin")

STATUSES = ("open", "overdue", "answered", "late")
LATE_DAYS = 30  # over how many days late answers are counted


@everyone.get("/announcements")
def announcements() -> ResponseReturnValue:
    """What the union has to tell now."""
    return render_template("member/announcements.html", rows=queries.announcements(now=clock.now()))


@everyone.get("/help")
def help_home() -> ResponseReturnValue:
    """What members ask most."""
    every = [articles.said(one, translate=gettext, figures=figures()) for one in articles.ARTICLES]
    return render_template("member/help.html", articles=every)


@everyone.get("/help/<article>")
def help_article(article: str) -> ResponseReturnValue:
    """One answer."""
    found = next((one for one in articles.ARTICLES if one.slug == article), None)
    if found is None:
        raise NotFound("没有找到您要的内容。")
    shown = articles.said(found, translate=gettext, figures=figures())
    return render_template("member/help_article.html", article=shown)


def _status() -> str | None:
    chosen = request.args.get("status", "open")
    return chosen if chosen in STATUSES else None


@merchant.get("/")
def questions() -> ResponseReturnValue:
    """Questions on own packs and orders."""
    return _desk(who().merchant_id or 0)


def _desk(merchant_id: int | None, form: Any = None, errors: Any = None, status: int = 200) -> ResponseReturnValue:
    before = decode_cursor(request.args.get("cursor"))
    page = queries.questions_to(merchant_id, status=_status(), limit=20, before=before, now=clock.now())
    shown = render_template(
        "questions_desk.html",
        page=page,
        chosen=_status() or "all",
        statuses=STATUSES,
        counts=queries.count_open(merchant_id, now=clock.now()),
        late=queries.count_late(merchant_id, since=clock.now() - timedelta(days=LATE_DAYS)),
        late_days=LATE_DAYS,
        is_operator=merchant_id is None,
        base="desk" if merchant_id is None else "merchant_questions",
        form=form or {},
        errors=errors or {},
    )
    return shown, status


def _answer(question_id: str, merchant_id: int | None) -> ResponseReturnValue:
    try:
        body = schemas.Answer().load({"answer": request.form.get("answer", "")})
        services.answer(
            question_id=as_id(question_id),
            merchant_id=merchant_id,
            words=body["answer"],
            actor_id=who().person_id,
            now=clock.now(),
        )
    except ValidationError as wrong:
        errors = {f"answer_{question_id}": flat(wrong.messages).get("answer", [])}
        return _desk(merchant_id, {f"answer_{question_id}": request.form.get("answer", "")}, errors, 422)
    flash(gettext("已答复。"), "success")
    return redirect(url_for("desk.questions" if merchant_id is None else "merchant_questions.questions"), 303)


@merchant.post("/<question_id>/answer")
def answer(question_id: str) -> ResponseReturnValue:
    """Answer a question on an own pack or order."""
    return _answer(question_id, who().merchant_id or 0)


@operator.get("/questions", endpoint="questions")
def every_question() -> ResponseReturnValue:
    """Every question."""
    return _desk(None)


@operator.post("/questions/<question_id>/answer", endpoint="answer")
def answer_for_the_union(question_id: str) -> ResponseReturnValue:
    """Answer a question as the district union."""
    return _answer(question_id, None)


@operator.post("/questions/<question_id>/publish")
def publish(question_id: str) -> ResponseReturnValue:
    """Show a question on its pack's page, or no longer."""
    shown = request.form.get("shown") == "1"
    services.publish(question_id=as_id(question_id), shown=shown, actor_id=who().person_id, now=clock.now())
    flash(gettext("已公开在礼包页上，不写是谁问的。") if shown else gettext("不再公开。"), "success")
    return redirect(url_for("desk.questions", status="answered"), 303)


@operator.get("/ratings")
def ratings() -> ResponseReturnValue:
    """Words that wait to be looked at."""
    chosen = request.args.get("status", "waiting")
    chosen = chosen if chosen in ("waiting", "shown", "hidden") else "waiting"
    page = queries.ratings(status=chosen, limit=20, before=decode_cursor(request.args.get("cursor")))
    return render_template("operator/ratings.html", page=page, chosen=chosen)


@operator.post("/ratings/<rating_id>/moderate")
def moderate(rating_id: str) -> ResponseReturnValue:
    """Let words be seen, or hide them."""
    shown = request.form.get("shown") == "1"
    services.moderate(rating_id=as_id(rating_id), shown=shown, actor_id=who().person_id, now=clock.now())
    flash(gettext("已显示在礼包页上。") if shown else gettext("已隐藏文字，星数照常计入。"), "success")
    return redirect(url_for("desk.ratings"), 303)


@operator.get("/announcements")
def all_announcements() -> ResponseReturnValue:
    """Every announcement."""
    page = queries.all_announcements(limit=20, before=decode_cursor(request.args.get("cursor")))
    return render_template("operator/announcements.html", page=page, now=clock.now(), last_day=clock.last_day)


@operator.route("/announcements/new", methods=["GET", "POST"])
def announce() -> ResponseReturnValue:
    """Write an announcement."""
    today = clock.local(clock.now()).date()
    return _announcement(None, {"starts_on": today.isoformat(), "ends_on": (today + timedelta(days=14)).isoformat()})


@operator.route("/announcements/<announcement_id>/edit", methods=["GET", "POST"])
def edit_announcement(announcement_id: str) -> ResponseReturnValue:
    """Change an announcement."""
    row = queries.announcement(as_id(announcement_id), now=None)
    return _announcement(
        row.id,
        {
            **{name: getattr(row, name) for name in ("title", "title_en", "body", "body_en")},
            "campaign": str(row.campaign_id or ""),
            "pinned": "1" if row.is_pinned else "",
            "starts_on": clock.local(row.starts_at).date().isoformat(),
            "ends_on": clock.last_day(row.ends_at).isoformat(),
        },
    )


def _announcement(announcement_id: int | None, kept: dict[str, str]) -> ResponseReturnValue:
    form: Any = kept
    errors: dict[str, list[str]] = {}
    status = 200
    campaigns = voucher_queries.campaigns(now=clock.now())
    if request.method == "POST":
        form = request.form
        starts, ends = clock.day_of(form.get("starts_on", "")), clock.day_of(form.get("ends_on", ""))
        body = {name: form.get(name, "") for name in ("title", "title_en", "body", "body_en")}
        chosen = as_id(form.get("campaign", ""))
        errors |= flat(schemas.Announce(only=tuple(body)).validate(body))
        errors |= {name: ["请选择日期。"] for name, day in (("starts_on", starts), ("ends_on", ends)) if day is None}
        if chosen is not None and chosen not in {one.id for one in campaigns}:
            errors["campaign"] = ["没有这个活动。"]
        if starts and ends and ends < starts:
            errors["ends_on"] = ["结束要晚于开始。"]
        if not errors and starts and ends:
            details = {
                **schemas.Announce(only=tuple(body)).load(body),
                "campaign_id": chosen,
                "is_pinned": form.get("pinned") == "1",
                "starts_at": clock.start_of_day(starts),
                "ends_at": clock.start_of_day(ends + timedelta(days=1)),
            }
            try:
                services.announce(
                    announcement_id=announcement_id, details=details, actor_id=who().person_id, now=clock.now()
                )
            except DomainError as refused:
                errors["title"] = [said(refused)]
            else:
                flash(gettext("公告已保存。"), "success")
                return redirect(url_for("desk.all_announcements"), 303)
        status = 422
    page = render_template(
        "operator/announcement.html", form=form, errors=errors, campaigns=campaigns, announcement_id=announcement_id
    )
    return page, status


@operator.post("/announcements/<announcement_id>/end")
def end_announcement(announcement_id: str) -> ResponseReturnValue:
    """Take an announcement down now."""
    services.take_down(announcement_id=as_id(announcement_id), actor_id=who().person_id, now=clock.now())
    flash(gettext("公告已撤下。"), "success")
    return redirect(url_for("desk.all_announcements"), 303)
