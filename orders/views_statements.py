"""Pages of statements: a merchant looks, confirms or disputes; an operator answers, pays, corrects."""

import re
import secrets
from typing import Any

from flask import flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext

from finance.settlement import queries as settlement_queries
from finance.settlement import services
from finance.settlement.rules import OPENED, STATEMENT_MOVES
from kernel import clock
from kernel.doors import PageBlueprint, said, saved, who
from kernel.errors import DomainError, Invalid, NotFound
from kernel.idempotency import request_once
from kernel.ids import as_id
from kernel.paging import decode_cursor, page_of
from orders.papers import statements as papers
from orders.queries import statements as queries
from people import queries as people_queries
from voucher import queries as voucher_queries

merchant = PageBlueprint("statements", __name__, audience="merchant", url_prefix="/merchant/statements")
operator = PageBlueprint("settlement", __name__, audience="operator", url_prefix="/admin/statements")

LINES_ON_PAGE = 100


def _words() -> dict[str, Any]:
    return {"status_words": papers.status_words(), "kind_words": papers.kind_words()}


@merchant.get("/")
def home() -> ResponseReturnValue:
    """A merchant's statements, the latest month first."""
    found = queries.of_merchant(who().merchant_id, now=clock.now())
    owed_fen = settlement_queries.owed(who().merchant_id)
    return render_template("merchant/statements.html", statements=found, owed_fen=owed_fen, **_words())


@merchant.get("/<period>.xlsx")
def workbook(period: str) -> ResponseReturnValue:
    """A statement as a workbook."""
    return saved(papers.workbook(queries.of_period(period, merchant_id=_own(), now=clock.now())), f"{period}.xlsx")


@merchant.get("/<period>.pdf")
def document(period: str) -> ResponseReturnValue:
    """A statement to print and sign."""
    return saved(papers.document(queries.of_period(period, merchant_id=_own(), now=clock.now())), f"{period}.pdf")


def _own() -> int | None:
    merchant_id: int | None = who().merchant_id
    return merchant_id


@merchant.get("/<period>")
def show(period: str) -> ResponseReturnValue:
    """One statement and what it is made of."""
    one = queries.one_of_period(period, merchant_id=_own(), now=clock.now())
    return render_template("merchant/statement.html", one=one, **_lines(one), **_words())


def _lines(one: queries.NamedStatement) -> dict[str, Any]:
    """Return a page of a statement's entries: all, or those that the figure in the address is made of."""
    figure = request.args.get("figure")
    if figure not in OPENED:
        figure = None
    after = decode_cursor(request.args.get("cursor"))
    rows = queries.lines(one, figure=figure, limit=LINES_ON_PAGE + 1, after=after)
    return {
        "lines": page_of(rows, limit=LINES_ON_PAGE, key=lambda row: row.posting_id),
        "packs": queries.packs_of(rows, merchant_id=one.statement.merchant_id),
        "figure": figure,
    }


@merchant.post("/<period>/<verdict>")
def answer(period: str, verdict: str) -> ResponseReturnValue:
    """Confirm, or dispute with a reason."""
    one = queries.one_of_period(period, merchant_id=_own(), now=clock.now()).statement
    reason = request.form.get("reason", "").strip()[:200]
    if verdict == "confirm":
        services.confirm(one, actor_id=who().person_id, now=clock.now())
        flash(gettext("已确认，等工会付款。"), "success")
    elif verdict == "dispute":
        if not reason:
            raise Invalid("请写明哪里不对。")
        services.dispute(one, reason=reason, actor_id=who().person_id, now=clock.now())
        flash(gettext("异议已提交，运营会答复。"), "success")
    else:
        raise NotFound("没有找到您要的内容。")
    return redirect(url_for("statements.show", period=period), 303)


@operator.get("/")
def every() -> ResponseReturnValue:
    """All merchants' statements."""
    status = request.args.get("status")
    if status not in STATEMENT_MOVES:
        status = None
    return _every_page(status, {}, None)


def _every_page(status: str | None, form: Any, problem: str | None, code: int = 200) -> ResponseReturnValue:
    found = queries.all_statements(status=status, now=clock.now())
    page = render_template(
        "operator/statements.html",
        statements=found,
        together=settlement_queries.total(one.statement for one in found),
        status=status,
        statuses=list(STATEMENT_MOVES),
        merchants=people_queries.merchants(),
        campaigns=voucher_queries.campaigns(now=clock.now()),
        form=form,
        problem=problem,
        key=secrets.token_urlsafe(18),
        **_words(),
    )
    return page, code


@operator.get("/<statement_id>")
def look(statement_id: str) -> ResponseReturnValue:
    """One closed statement: answer a dispute, or say that it is paid."""
    one = queries.by_id(as_id(statement_id), now=clock.now())
    key = secrets.token_urlsafe(18)
    return render_template("operator/statement.html", one=one, key=key, **_lines(one), **_words())


@operator.post("/<statement_id>/paid")
def paid(statement_id: str) -> ResponseReturnValue:
    """Say that a statement has been paid."""
    reference = request.form.get("bank_reference", "").strip()[:80]
    if not reference or not reference.isprintable():
        raise Invalid("请填写银行流水号。")
    services.pay(
        statement_id=as_id(statement_id),
        bank_reference=reference,
        actor_id=who().person_id,
        once=_once([reference]),
        now=clock.now(),
    )
    flash(gettext("已登记付款。"), "success")
    return redirect(url_for("settlement.look", statement_id=statement_id), 303)


@operator.post("/<statement_id>/reply")
def reply(statement_id: str) -> ResponseReturnValue:
    """Answer a dispute."""
    text = request.form.get("reply", "").strip()[:200]
    if not text:
        raise Invalid("请填写答复。")
    services.reply(statement_id=as_id(statement_id), text=text, actor_id=who().person_id, now=clock.now())
    flash(gettext("答复已发给商户，请商户再看一次。"), "success")
    return redirect(url_for("settlement.look", statement_id=statement_id), 303)


@operator.post("/corrections")
def correct() -> ResponseReturnValue:
    """Correct what a merchant is owed, on its next statement."""
    form = request.form
    amount = re.fullmatch(r"([+-]?)(\d{1,10})(?:\.(\d{1,2}))?", form.get("amount", "").strip())
    fen = int(amount[2]) * 100 + int((amount[3] or "0").ljust(2, "0")) if amount else 0
    reason = form.get("reason", "").strip()[:200]
    if amount is None or not fen:
        return _every_page(None, form, gettext("请填写金额，例如 -12.50。"), 422)
    if not reason:
        return _every_page(None, form, gettext("请填写原因。"), 422)
    signed = -fen if amount[1] == "-" else fen
    try:
        services.correct(
            merchant_id=as_id(form.get("merchant_id", "")),
            campaign_id=voucher_queries.campaign(form.get("campaign", ""), now=clock.now()).id,
            amount_fen=signed,
            reason=reason,
            once=_once([form.get("merchant_id"), form.get("campaign"), signed, reason]),
            now=clock.now(),
        )
    except DomainError as refused:
        return _every_page(None, form, said(refused), refused.status)
    flash(gettext("更正已记账，会出现在商户下一张结算单上。"), "success")
    return redirect(url_for("settlement.every"), 303)


def _once(body: Any) -> Any:
    key = request.form.get("idempotency_key", "")[:200] or secrets.token_urlsafe(18)
    return request_once(person_id=who().person_id, key=key, route=request.path, body=body)
