"""What an operator asks of money through the API: transfers, statements, what does not match, refunds, reconciling."""

import hashlib
from collections.abc import Sequence
from datetime import date
from typing import Any

from flask import current_app, request

from finance.gateway import queries as gateway_queries
from kernel import clock
from kernel.doors import ApiBlueprint, json_answer, once, who
from kernel.errors import Invalid
from kernel.ids import as_id
from kernel.paging import decode_cursor, part_of
from kernel.schemas import PageArgs, page
from orders import queries, schemas
from orders.queries import money
from orders.services import banking, mismatching, paying, sending

bp = ApiBlueprint(
    "api_operator_money", __name__, audience="operator", url_prefix="/api/v1/admin", description="Money in and out"
)


def _settings() -> Any:
    return current_app.config["HUIGONG"]


def _page(rows: Sequence[Any], args: dict[str, Any]) -> Any:
    return part_of(rows, limit=args["limit"], after=decode_cursor(args["cursor"]), key=lambda row: row.id)


@bp.route("/payments/<payment_id>/confirm", methods=["POST"])
@bp.arguments(schemas.ConfirmTransfer)
@bp.response(200, schemas.Payment)
def confirm(body: dict[str, Any], payment_id: str) -> Any:
    """Say that a bank transfer has arrived."""
    answer = paying.confirm_transfer(
        payment_id=as_id(payment_id),
        amount_fen=body["amount_fen"],
        actor_id=who().person_id,
        second_person_fen=current_app.config["HUIGONG"].second_person_fen,
        once=once(body=request.get_json()),
        now=clock.now(),
    )
    return current_app.response_class(*json_answer(answer, 200))


@bp.route("/payment-refunds/<refund_id>/sent", methods=["POST"])
@bp.arguments(schemas.SentBack)
@bp.response(200)
def refund_sent(body: dict[str, Any], refund_id: str) -> Any:
    """Say that money of a bank transfer was sent back, under which bank reference."""
    answer = sending.record_sent(
        refund_id=as_id(refund_id),
        reference=body["reference"],
        actor_id=who().person_id,
        once=once(body=request.get_json()),
        now=clock.now(),
    )
    return current_app.response_class(*json_answer(answer, 200))


@bp.route("/payment-refunds")
@bp.arguments(PageArgs, location="query")
@bp.response(200, page(schemas.SentRefund))
def failed_refunds(args: dict[str, Any]) -> Any:
    """List the refunds a provider could not send, and those a person sends by bank transfer."""
    by_hand = gateway_queries.waiting_refunds(provider="bank_transfer")
    return _page([*gateway_queries.failed_refunds(), *by_hand], args)


@bp.route("/payment-refunds/<refund_id>/retry", methods=["POST"])
@bp.response(200)
def retry_refund(refund_id: str) -> Any:
    """Let a failed refund be sent once more."""
    answer = sending.retry(
        refund_id=as_id(refund_id),
        actor_id=who().person_id,
        once=once(body=request.get_json(silent=True)),
        now=clock.now(),
    )
    return current_app.response_class(*json_answer(answer, 200))


@bp.route("/bank-statements", methods=["POST"])
@bp.response(200)
def import_statement() -> Any:
    """Import a bank statement (a form with the sheet in `file`): its lines are matched with transfers."""
    upload = request.files.get("file")
    if upload is None or not upload.filename:
        raise Invalid("请选择对账单文件。", errors={"file": ["请选择对账单文件。"]})
    content = upload.read()
    answer = banking.import_statement(
        rows=banking.read_statement(content, upload.filename),
        actor_id=who().person_id,
        second_person_fen=_settings().second_person_fen,
        once=once(body=hashlib.sha256(content).hexdigest()),
        now=clock.now(),
    )
    return current_app.response_class(*json_answer(answer, 200))


@bp.route("/bank-lines")
@bp.arguments(PageArgs, location="query")
@bp.response(200, page(schemas.BankLine))
def bank_lines(args: dict[str, Any]) -> Any:
    """List the statement lines that wait for a person: short, over, again, unknown, or for a second person."""
    return _page(gateway_queries.bank_lines(*gateway_queries.OPEN_LINES), args)


@bp.route("/bank-lines/<line_id>", methods=["POST"])
@bp.arguments(schemas.DecideLine)
@bp.response(200)
def decide_line(body: dict[str, Any], line_id: str) -> Any:
    """Decide on a line: assign it to a transfer, take what is due of it, send it back, or ignore it with a note."""
    answer = banking.decide(
        line_id=as_id(line_id),
        verdict=body["verdict"],
        reference=body["reference"],
        note=body["note"],
        actor_id=who().person_id,
        second_person_fen=_settings().second_person_fen,
        once=once(body=request.get_json()),
        now=clock.now(),
    )
    return current_app.response_class(*json_answer(answer, 200))


@bp.route("/mismatches")
@bp.arguments(PageArgs, location="query")
@bp.response(200, page(schemas.Mismatch))
def mismatches(args: dict[str, Any]) -> Any:
    """List what does not match and waits for a person."""
    return _page(gateway_queries.mismatches(), args)


@bp.route("/mismatches/<mismatch_id>/send-back", methods=["POST"])
@bp.response(200)
def send_back(mismatch_id: str) -> Any:
    """Send money that pays for nothing back to where it came from."""
    answer = mismatching.send_back(
        mismatch_id=as_id(mismatch_id),
        actor_id=who().person_id,
        once=once(body=request.get_json(silent=True)),
        now=clock.now(),
    )
    return current_app.response_class(*json_answer(answer, 200))


@bp.route("/mismatches/<mismatch_id>/close", methods=["POST"])
@bp.arguments(schemas.Note)
@bp.response(200)
def close_mismatch(body: dict[str, Any], mismatch_id: str) -> Any:
    """Close what was settled elsewhere, with a note of how."""
    answer = mismatching.close(
        mismatch_id=as_id(mismatch_id),
        note=body["note"],
        actor_id=who().person_id,
        once=once(body=request.get_json(), required=False),
        now=clock.now(),
    )
    return current_app.response_class(*json_answer(answer, 200))


@bp.route("/reconcile")
@bp.response(200)
def reconcile() -> Any:
    """Check the conservation rules over the whole database, and payments against providers: lately, or of a `day`."""
    now, text = clock.now(), request.args.get("day", "")
    try:
        found = money.compare_day(date.fromisoformat(text), now=now) if text else money.compare_lately(now=now)
    except (ValueError, OverflowError):
        raise Invalid(errors={"day": ["请填写日期，例如 2027-01-05。"]}) from None
    breaches = [*queries.proof(), *(one.text for one in found.differences)]
    return {
        "ok": not breaches,
        "breaches": breaches,
        "since": clock.local(found.since).isoformat(),
        "until": clock.local(found.until).isoformat(),
        "compared": found.compared,
        "unchecked": found.unchecked,
        "differences": found.listed(),
        "waiting_for_a_person": gateway_queries.open_mismatches(),
    }
