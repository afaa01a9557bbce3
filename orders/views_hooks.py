"""系统对接: a merchant's own system is told; what it was told, and again where that failed; all of it for operators."""

from flask import current_app, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext

from kernel import clock
from kernel.doors import PageBlueprint, said, who
from kernel.errors import DomainError
from kernel.ids import as_id
from kernel.paging import decode_cursor
from orders.queries import webhooks as queries
from orders.services import webhooks
from people import queries as people_queries

bp = PageBlueprint("hooks", __name__, audience="merchant", url_prefix="/merchant/hooks")
operator = PageBlueprint("hooks_desk", __name__, audience="operator", url_prefix="/admin/webhooks")


@bp.route("/", methods=["GET", "POST"])
def home() -> ResponseReturnValue:
    """Addresses, what they were told, and a form for one more."""
    problem, secret = None, None
    if request.method == "POST":
        settings = current_app.config["HUIGONG"]
        try:
            _, secret = webhooks.add(
                merchant_id=who().merchant_id,
                url=request.form.get("url", "").strip(),
                events=request.form.getlist("events"),
                private=settings.webhook_private,
                key=settings.secret_key,
                actor_id=who().person_id,
                now=clock.now(),
            )
        except DomainError as refused:
            problem = said(refused)
    page = render_template(
        "merchant/hooks.html",
        endpoints=queries.endpoints(who().merchant_id),
        deliveries=queries.deliveries(who().merchant_id, limit=50, before=decode_cursor(request.args.get("cursor"))),
        events=webhooks.EVENTS,
        form=request.form,
        problem=problem,
        secret=secret,
    )
    return page, 422 if problem else 200


@bp.post("/<endpoint_id>/end")
def end(endpoint_id: str) -> ResponseReturnValue:
    """Tell an address nothing more."""
    webhooks.end(
        endpoint_id=as_id(endpoint_id), merchant_id=who().merchant_id, actor_id=who().person_id, now=clock.now()
    )
    flash(gettext("通知地址已停用。"), "success")
    return redirect(url_for("hooks.home"), 303)


@bp.post("/deliveries/<delivery_id>/replay")
def replay(delivery_id: str) -> ResponseReturnValue:
    """Send a delivery again."""
    webhooks.replay(delivery_id=as_id(delivery_id), merchant_id=who().merchant_id, now=clock.now())
    flash(gettext("会马上再发一次。"), "success")
    return redirect(url_for("hooks.home"), 303)


@operator.get("/")
def every() -> ResponseReturnValue:
    """What merchants' own systems were told, of one merchant or of all."""
    chosen = as_id(request.args.get("merchant", ""))
    return render_template(
        "operator/hooks.html",
        deliveries=queries.deliveries(chosen, limit=50, before=decode_cursor(request.args.get("cursor"))),
        merchants={one.id: one for one in people_queries.merchants()},
        chosen=chosen,
    )
