"""自提: the page that hands a parcel over, for a merchant and for an operator at a pickup station; and its QR code."""

from io import BytesIO

import segno
from flask import flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext

from kernel import clock
from kernel.doors import PageBlueprint, said, who
from kernel.errors import DomainError
from orders.services import pickup

operator = PageBlueprint("station", __name__, audience="operator", url_prefix="/admin/pickup")


def pickup_page(*, merchant_id: int | None, action: str) -> ResponseReturnValue:
    """Ask for a code, show its parcel, and hand it over when told to."""
    typed = request.values.get("code", "").strip()[:200]
    found, problem, status = None, None, 200
    if typed:
        try:
            if request.method == "POST" and "hand_over" in request.form:
                done = pickup.hand_over(typed, merchant_id=merchant_id, actor_id=who().person_id, now=clock.now())
                flash(
                    gettext("已交付：%(name)s，%(parcel)s。", name=done.delivery.get("name", ""), parcel=done.id),
                    "success",
                )
                return redirect(action, 303)
            found, typed = pickup.look_up(typed, merchant_id=merchant_id, now=clock.now())
        except DomainError as refused:
            problem, status = said(refused), refused.status
    page = render_template("merchant/pickup.html", action=action, typed=typed, parcel=found, problem=problem)
    return page, status


@operator.route("/", methods=["GET", "POST"])
def home() -> ResponseReturnValue:
    """A pickup station's desk: any merchant's parcels."""
    return pickup_page(merchant_id=None, action=url_for("station.home"))


def qr_of(code: str) -> str:
    """Return a QR code as SVG to put into a page; scanned by a phone's own camera it opens the desk's page."""
    target = BytesIO()
    address = url_for("merchant.collect", code=code, _external=True)
    segno.make(address, micro=False, error="m").save(
        target, kind="svg", border=2, xmldecl=False, svgns=True, omitsize=True
    )
    return target.getvalue().decode()
