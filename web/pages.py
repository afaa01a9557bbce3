"""Pages for everybody: choose a language; and, in development, the sandbox cashier and the outbox of messages."""

from typing import Any

from flask import current_app, g, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue

from finance.gateway import queries as gateway_queries
from kernel import clock
from kernel.errors import NotFound
from orders import queries as order_queries
from orders.queries import OrderView
from orders.services import cashier as cashier_service
from people import message_queries
from web.signing import bp, local_path


def _settings() -> Any:
    return current_app.config["HUIGONG"]


@bp.get("/language/<code>")
def language(code: str) -> ResponseReturnValue:
    """Remember the reader's language."""
    if code not in ("zh_CN", "en"):
        raise NotFound("没有找到您要的内容。")
    session["language"] = code
    session.permanent = True
    return redirect(local_path(request.args.get("next", "")) or url_for("shop.home"))


@bp.route("/sandbox/<reference>", methods=["GET", "POST"])
def cashier(reference: str) -> ResponseReturnValue:
    """The sandbox cashier (development only): act as the buyer at the provider's page."""
    if not _settings().sandbox:
        raise NotFound("没有找到您要的内容。")
    if request.method == "POST":
        cashier_service.act(reference=reference, outcome=request.form.get("outcome", ""), now=clock.now())
    payment = gateway_queries.by_reference(reference)
    if payment is None or payment.provider != "sandbox" or payment.order_id is None:
        raise NotFound("没有这笔付款。")
    order = order_queries.order(payment.order_id, now=clock.now())
    if request.accept_mimetypes.best_match(["text/html", "application/json"]) == "application/json":
        return {"order_number": order.number, "order_status": order.status, "payment_status": payment.status}
    back = _order_page(order)
    if back and request.method == "POST":
        return redirect(back, 303)
    return render_template(
        "pages/cashier.html",
        payment=payment,
        order=order,
        back=back,
        done=request.method == "POST",
    )


@bp.get("/outbox")
def outbox() -> ResponseReturnValue:
    """What would have been sent to phones (development only)."""
    if not _settings().show_codes:
        raise NotFound("没有找到您要的内容。")
    return render_template("pages/outbox.html", messages=message_queries.outbox(key=_settings().secret_key))


def _order_page(order: OrderView) -> str | None:
    """Return the order's page for a buyer who is signed in in this browser; None for anybody else."""
    identity = g.get("identity")
    if identity is None:
        return None
    if order.member_id is not None and order.member_id == identity.member_id:
        return url_for("member.order", number=order.number)
    if order.union_id is not None and order.union_id == identity.union_id:
        return url_for("union.order", number=order.number)
    return None
