"""What merchants and operators ask of statements through the API."""

from typing import Any

from flask import current_app, request
from flask.views import MethodView

from finance.settlement import schemas, services
from kernel import clock
from kernel.doors import ApiBlueprint, json_answer, once, saved, tagged, who
from kernel.ids import as_id
from kernel.paging import Page, decode_cursor, encode_cursor, page_of
from kernel.schemas import PageArgs, page
from orders.papers import statements as papers
from orders.queries import statements as queries
from voucher import queries as voucher_queries

merchant = ApiBlueprint(
    "api_merchant_statements", __name__, audience="merchant", url_prefix="/api/v1/merchant", description="Statements"
)
operator = ApiBlueprint(
    "api_operator_statements", __name__, audience="operator", url_prefix="/api/v1/admin", description="Settlement"
)


def _page(found: list[Any], args: dict[str, Any]) -> Page[Any]:
    """A page of a list that is short by its nature: twelve a year and campaign."""
    start = decode_cursor(args["cursor"]) or 0
    end = start + args["limit"]
    return Page(items=found[start:end], next_cursor=encode_cursor(end) if found[end:] else None)


@merchant.route("/statements")
class Statements(MethodView):
    """A merchant's statements."""

    @merchant.arguments(schemas.StatementArgs, location="query")
    @merchant.response(200, page(schemas.Statement))
    def get(self, args: dict[str, Any]) -> Any:
        """List own statements, the latest month first; that of the present month changes with every order."""
        found = queries.of_merchant(who().merchant_id, now=clock.now())
        wanted = [one for one in found if args["status"] in (None, one.statement.status)]
        return tagged(page(schemas.Statement)().dump(_page(wanted, args)))


@merchant.route("/statements/<period>.xlsx")
@merchant.response(200)
def workbook(period: str) -> Any:
    """The statements of a month (2026-11), or of one campaign's (2026-11-spring), with every entry."""
    return saved(papers.workbook(_of(period)), f"{period}.xlsx")


@merchant.route("/statements/<period>.pdf")
@merchant.response(200)
def document(period: str) -> Any:
    """The statements of a month as a document to print and sign."""
    return saved(papers.document(_of(period)), f"{period}.pdf")


def _of(period: str) -> list[queries.NamedStatement]:
    return queries.of_period(period, merchant_id=who().merchant_id, now=clock.now())


@merchant.route("/statements/<period>")
@merchant.arguments(PageArgs, location="query")
@merchant.response(200, schemas.StatementWithLines)
def show(args: dict[str, Any], period: str) -> Any:
    """Show one statement with the entries it is made of."""
    return tagged(_with_lines(_one(period), args))


def _with_lines(one: queries.NamedStatement, args: dict[str, Any]) -> Any:
    rows = queries.lines(one, limit=args["limit"] + 1, after=decode_cursor(args["cursor"]))
    entries = page_of(rows, limit=args["limit"], key=lambda row: row.posting_id)
    content: dict[str, Any] = schemas.Statement().dump(one)
    return content | {"lines": page(schemas.Line)().dump(entries)}


def _one(period: str) -> queries.NamedStatement:
    return queries.one_of_period(period, merchant_id=who().merchant_id, now=clock.now())


@merchant.route("/statements/<period>/confirm", methods=["POST"])
@merchant.response(200, schemas.Statement)
def confirm(period: str) -> Any:
    """Say that a statement is right: the union pays it."""
    services.confirm(_one(period).statement, actor_id=who().person_id, now=clock.now())
    return _one(period)


@merchant.route("/statements/<period>/dispute", methods=["POST"])
@merchant.arguments(schemas.Dispute)
@merchant.response(200, schemas.Statement)
def dispute(body: dict[str, Any], period: str) -> Any:
    """Say that a statement is wrong, and why: an operator answers."""
    services.dispute(_one(period).statement, reason=body["reason"], actor_id=who().person_id, now=clock.now())
    return _one(period)


@operator.route("/statements")
@operator.arguments(schemas.StatementArgs, location="query")
@operator.response(200, page(schemas.Statement))
def every(args: dict[str, Any]) -> Any:
    """List all merchants' statements, the latest month first."""
    return _page(queries.all_statements(status=args["status"], now=clock.now()), args)


@operator.route("/statements/<statement_id>")
@operator.arguments(PageArgs, location="query")
@operator.response(200, schemas.StatementWithLines)
def look(args: dict[str, Any], statement_id: str) -> Any:
    """Show a closed statement with its entries."""
    return _with_lines(queries.by_id(as_id(statement_id), now=clock.now()), args)


@operator.route("/statements/<statement_id>/reply", methods=["POST"])
@operator.arguments(schemas.Reply)
@operator.response(200, schemas.Statement)
def reply(body: dict[str, Any], statement_id: str) -> Any:
    """Answer a dispute; the merchant looks again."""
    services.reply(statement_id=as_id(statement_id), text=body["reply"], actor_id=who().person_id, now=clock.now())
    return queries.by_id(as_id(statement_id), now=clock.now())


@operator.route("/statements/<statement_id>/paid", methods=["POST"])
@operator.arguments(schemas.Paid)
@operator.response(200, schemas.Statement)
def paid(body: dict[str, Any], statement_id: str) -> Any:
    """Say that a confirmed statement has been paid, under which bank reference."""
    services.pay(
        statement_id=as_id(statement_id),
        bank_reference=body["bank_reference"],
        actor_id=who().person_id,
        once=once(body=request.get_json()),
        now=clock.now(),
    )
    return queries.by_id(as_id(statement_id), now=clock.now())


@operator.route("/corrections", methods=["POST"])
@operator.arguments(schemas.Correction)
@operator.response(201, schemas.Corrected)
def correct(body: dict[str, Any]) -> Any:
    """Correct what a merchant is owed: an entry of its own on the next statement, never a change of a closed one."""
    answer = services.correct(
        merchant_id=body["merchant_id"],
        campaign_id=voucher_queries.campaign(body["campaign"], now=clock.now()).id,
        amount_fen=body["amount_fen"],
        reason=body["reason"],
        once=once(body=request.get_json()),
        now=clock.now(),
    )
    return current_app.response_class(*json_answer(answer, 201))
