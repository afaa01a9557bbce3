"""Pages of one's own account, and the operators' page of people and seats."""

from typing import Any

from flask import current_app, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext

from kernel import clock, limits
from kernel.doors import PageBlueprint, said, who
from kernel.errors import DomainError, NotFound
from kernel.ids import as_id
from people import queries
from people.rules import APPROVER, MERCHANT, OFFICER, SCOPES, SEATS, STATION, masked
from people.services import entry, staff, tokens

account = PageBlueprint("account", __name__, audience="signed_in", url_prefix="/account")
seats = PageBlueprint("people", __name__, audience="operator", url_prefix="/admin/people")


@account.get("/")
def home() -> ResponseReturnValue:
    """Who I am, my seats, my live sign-ins and tokens."""
    return _account_page()


def _account_page(
    errors: Any = None, problem: str | None = None, token: str | None = None, status: int = 200
) -> ResponseReturnValue:
    identity, now = who(), clock.now()
    page = render_template(
        "account/home.html",
        seats=queries.seats(person_id=identity.person_id),
        credential=queries.credential(identity.person_id),
        sign_ins=queries.sign_ins(identity.person_id, now=now),
        tokens=queries.tokens(identity.person_id, now=now),
        scopes=SCOPES,
        errors=errors or {},
        problem=problem,
        token=token,
        masked=masked,
    )
    return page, status


@account.post("/seat")
def choose_seat() -> ResponseReturnValue:
    """Work in another of my seats."""
    entry.choose_seat(
        person_id=who().person_id,
        sign_in_id=who().sign_in_id or 0,
        seat_id=as_id(request.form.get("seat", "")),
        now=clock.now(),
    )
    return redirect(url_for("account.home"), 303)


@account.post("/sign-ins/end")
def end_sign_ins() -> ResponseReturnValue:
    """End one of my sign-ins, or all."""
    chosen = as_id(request.form.get("sign_in", ""))
    entry.end(person_id=who().person_id, sign_in_id=chosen, now=clock.now())
    flash(gettext("已退出所选登录。") if chosen else gettext("已在所有设备退出登录。"), "success")
    return redirect(url_for("account.home"), 303)


@account.post("/password")
def change_password() -> ResponseReturnValue:
    """Change my password; every other sign-in of mine ends."""
    try:
        entry.change_password(
            person_id=who().person_id,
            old=request.form.get("old", ""),
            new=request.form.get("new", ""),
            keep=who().sign_in_id,
            now=clock.now(),
        )
    except DomainError as refused:
        errors = refused.extra.get("errors", {})
        return _account_page(errors, None if errors else said(refused), status=refused.status)
    flash(gettext("密码已修改，其他设备已退出登录。"), "success")
    return redirect(url_for("account.home"), 303)


@account.post("/tokens")
def make_token() -> ResponseReturnValue:
    """Make a token; it is shown this once."""
    _count_export("token")
    try:
        token = tokens.make(
            person_id=who().person_id,
            name=request.form.get("name", ""),
            scopes=request.form.getlist("scopes"),
            days=as_id(request.form.get("days", "90")) or 0,
            method=who().method,
            merchant_id=who().merchant_id if "only_merchant" in request.form else None,
            actor_id=who().person_id,
            now=clock.now(),
        )
    except DomainError as refused:
        errors = refused.extra.get("errors", {})
        return _account_page(errors, None if errors else said(refused), status=refused.status)
    return _account_page(token=token)


@account.post("/tokens/<token_id>/revoke")
def revoke_token(token_id: str) -> ResponseReturnValue:
    """End one of my tokens."""
    tokens.revoke(token_id=as_id(token_id), person_id=who().person_id, now=clock.now())
    flash(gettext("令牌已作废。"), "success")
    return redirect(url_for("account.home"), 303)


def _count_export(what: str) -> None:
    allowed = current_app.config["HUIGONG"].exports_per_person
    limits.spend(what, str(who().person_id), at_most=allowed, seconds=600, now=clock.now())


@seats.get("/")
def people() -> ResponseReturnValue:
    """Seats and who holds them."""
    return _people_page()


def _people_page(
    form: Any = None,
    errors: Any = None,
    problem: str | None = None,
    given: tuple[str, str] | None = None,
    status: int = 200,
) -> ResponseReturnValue:
    page = render_template(
        "operator/people.html",
        seats=queries.seats(),
        roles=SEATS,
        unions=queries.unions(),
        merchants=queries.merchants(),
        stations=queries.stations(closed=True),
        form=form or {},
        errors=errors or {},
        problem=problem,
        given=given,
        masked=masked,
    )
    return page, status


@seats.post("/")
def grant() -> ResponseReturnValue:
    """Give somebody a seat."""
    form = request.form
    role = form.get("role", "")
    fields = {OFFICER: "union", APPROVER: "union", MERCHANT: "merchant", STATION: "station"}
    organization = form.get(fields.get(role, ""), "")
    try:
        staff.grant_seat(
            phone=form.get("phone", ""),
            name=form.get("name", ""),
            role=role,
            organization_id=as_id(organization),
            actor_id=who().person_id,
            now=clock.now(),
        )
    except DomainError as refused:
        errors = refused.extra.get("errors", {})
        return _people_page(form, errors, None if errors else said(refused), status=refused.status)
    flash(gettext("岗位已授予。"), "success")
    return redirect(url_for("people.people"), 303)


@seats.post("/seats/<seat_id>/end")
def end_seat(seat_id: str) -> ResponseReturnValue:
    """End a seat; its holder is signed out."""
    staff.end_seat(seat_id=as_id(seat_id), actor_id=who().person_id, now=clock.now())
    flash(gettext("岗位已撤销。"), "success")
    return redirect(url_for("people.people"), 303)


@seats.post("/<person_id>/password")
def give_password(person_id: str) -> ResponseReturnValue:
    """Give somebody with a seat a first password, shown this once."""
    number = as_id(person_id)
    if number is None:
        raise NotFound("没有这个人，或这个人没有岗位。")
    given = staff.give_password(
        person_id=number, login=request.form.get("login", ""), actor_id=who().person_id, now=clock.now()
    )
    return _people_page(given=given)
