"""Pages for everybody: sign in, sign out, choose a language; and the sandbox cashier of the demonstration."""

from typing import Any

from flask import current_app, g, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue

from finance.gateway import queries as gateway_queries
from kernel import clock
from kernel.doors import PageBlueprint
from kernel.errors import Invalid, NotFound
from orders import queries as order_queries
from orders.queries import OrderView
from orders.services import paying
from people import services as people_services
from people.rules import MEMBER, MERCHANT, OPERATOR, Identity

bp = PageBlueprint("pages", __name__, audience="everyone")


def _settings() -> Any:
    return current_app.config["HUIGONG"]


def _local_path(target: str) -> str | None:
    """Return a path on this site, or None for an address that leads elsewhere."""
    # Browsers drop tabs and line ends from an address: "/\t/elsewhere.example" would lead elsewhere.
    safe = target.startswith("/") and not target.startswith("//") and "\\" not in target and target.isprintable()
    return target if safe else None


def _home_of(identity: Identity) -> str:
    if MEMBER in identity.roles:
        return url_for("shop.home")
    if OPERATOR in identity.roles:
        return url_for("operator.home")
    return url_for("merchant.home") if MERCHANT in identity.roles else url_for("union.home")


@bp.get("/sign-in")
def sign_in() -> ResponseReturnValue:
    """Ask for a phone number."""
    return render_template("pages/sign_in.html", next=request.args.get("next", ""), errors={})


@bp.post("/sign-in")
def send_code() -> ResponseReturnValue:
    """Send a one-time code, or check it."""
    form = request.form
    known: dict[str, Any] = {"next": form.get("next", ""), "phone": form.get("phone", ""), "errors": {}}
    try:
        if "code" not in form:
            phone, code = people_services.ask_for_code(
                phone=form.get("phone", ""), pepper=_settings().secret_key, now=clock.now()
            )
            shown = code if _settings().show_codes else None
            return render_template("pages/code.html", **{**known, "phone": phone}, shown=shown)
        identity = people_services.sign_in(
            phone=form.get("phone", ""), code=form["code"], pepper=_settings().secret_key, now=clock.now()
        )
    except Invalid as refused:
        page = "pages/code.html" if "code" in form else "pages/sign_in.html"
        return render_template(page, **{**known, "errors": refused.errors}, shown=None), 422
    language, cart = session.get("language"), session.get("cart")
    session.clear()
    session["person_id"] = identity.person_id
    session.update({key: value for key, value in (("language", language), ("cart", cart)) if value})
    return redirect(_local_path(known["next"]) or _home_of(identity), 303)


@bp.post("/sign-out")
def sign_out() -> ResponseReturnValue:
    """End the session."""
    language = session.get("language")
    session.clear()
    if language:
        session["language"] = language
    return redirect(url_for("shop.home"), 303)


@bp.get("/language/<code>")
def language(code: str) -> ResponseReturnValue:
    """Remember the reader's language."""
    if code not in ("zh_CN", "en"):
        raise NotFound("没有找到您要的内容。")
    session["language"] = code
    return redirect(_local_path(request.args.get("next", "")) or url_for("shop.home"))


@bp.route("/sandbox/<reference>", methods=["GET", "POST"])
def cashier(reference: str) -> ResponseReturnValue:
    """The sandbox cashier (development only): act as the buyer at the provider's page."""
    if not _settings().sandbox:
        raise NotFound("没有找到您要的内容。")
    if request.method == "POST":
        paying.act_at_cashier(
            reference=reference,
            outcome=request.form.get("outcome", ""),
            secret=_settings().secret_key,
            now=clock.now(),
        )
    payment = gateway_queries.by_reference(reference)
    if payment is None or payment.provider != "sandbox":
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
