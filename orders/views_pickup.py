"""自提: the pages that hand a parcel over, for merchants, pickup stations and operators; and a code as a picture."""

from io import BytesIO

import segno
from flask import current_app, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext

from kernel import clock
from kernel.doors import PageBlueprint, said, who
from kernel.errors import DomainError
from kernel.ids import as_id
from kernel.paging import decode_cursor
from orders.queries import stations as station_queries
from orders.services import pickup
from orders.services.pickup import Desk
from people import queries as people_queries
from people.rules import MERCHANT, OPERATOR, STATION

operator = PageBlueprint("pickup_desk", __name__, audience="operator", url_prefix="/admin/pickup")
station = PageBlueprint("station", __name__, audience="station", url_prefix="/station")
signed_in = PageBlueprint("pickup", __name__, audience="signed_in", url_prefix="/pickup")

DESKS = {STATION: "station.home", MERCHANT: "merchant.collect", OPERATOR: "pickup_desk.home"}
PACKETS_ON_PAGE = 50
LISTS = ("shipped", "to_ship", "delivered")


def pickup_page(desk: Desk, *, action: str, page: str = "merchant/pickup.html", **more: object) -> ResponseReturnValue:
    """Ask for a code, show its parcel, and hand it over when told to."""
    typed = request.values.get("code", "").strip()[:200]
    due, problem, status = None, None, 200
    if typed:
        try:
            if request.method == "POST" and "hand_over" in request.form:
                done = pickup.hand_over(typed, desk=desk, now=clock.now())
                flash(
                    gettext("已交付：%(name)s，%(parcel)s。", name=done.delivery.get("name", ""), parcel=done.id),
                    "success",
                )
                return redirect(action, 303)
            due = pickup.look_up(typed, desk=desk, now=clock.now())
            typed = due.code
        except DomainError as refused:
            problem, status = said(refused), refused.status
    parcel = due.parcel if due else None
    return render_template(page, action=action, typed=typed, parcel=parcel, problem=problem, **more), status


@operator.route("/", methods=["GET", "POST"])
def home() -> ResponseReturnValue:
    """An operator's desk: any merchant's parcels."""
    return pickup_page(Desk(who().person_id), action=url_for("pickup_desk.home"))


@station.route("/", methods=["GET", "POST"], endpoint="home")
def station_home() -> ResponseReturnValue:
    """A pickup station's desk: what waits here, and handing it over."""
    identity, now = who(), clock.now()
    status = request.args.get("status", LISTS[0])
    if status not in LISTS:
        status = LISTS[0]
    before = decode_cursor(request.args.get("cursor"))
    order_id, _, position = request.args.get("packet", "").partition(".")
    after = (as_id(order_id) or 0, as_id(position) or 0) if position else None
    packets, following = station_queries.packets_at(identity.station_id, limit=PACKETS_ON_PAGE, after=after, now=now)
    return pickup_page(
        Desk(identity.person_id, station_id=identity.station_id),
        action=url_for("station.home"),
        page="station/home.html",
        station=people_queries.station_for_operator(identity.station_id),
        counts=station_queries.counts_at(identity.station_id),
        parcels=station_queries.parcels_at(identity.station_id, status=status, limit=50, before=before, now=now),
        packets=packets,
        following=".".join(map(str, following)) if following else None,
        status=status,
        lists=LISTS,
    )


@station.post("/parcels/<parcel>/arrived")
def arrived(parcel: str) -> ResponseReturnValue:
    """Say that a parcel is here: whoever collects it is told."""
    identity = who()
    key = current_app.config["HUIGONG"].secret_key
    pickup.arrived(parcel, station_id=identity.station_id, actor_id=identity.person_id, key=key, now=clock.now())
    flash(gettext("已通知取货人：包裹到了，并附上取货码。"), "success")
    return redirect(url_for("station.home"), 303)


@signed_in.get("/")
def show() -> ResponseReturnValue:
    """Where a scanned code leads: each seat to its own desk; its owner to the order that shows it."""
    code = request.args.get("code", "")[:20]
    for role, endpoint in DESKS.items():
        if role in who().roles:
            return redirect(url_for(endpoint, code=code), 303)
    flash(gettext("取货码是给工作人员扫的：取货时出示给自提点或商户就行。"), "info")
    return redirect(url_for("member.orders") if who().admits("member") else url_for("shop.home"), 303)


def qr_of(code: str) -> str:
    """Return a QR code as SVG to put into a page; a phone's own camera opens the desk of whoever scans it."""
    target = BytesIO()
    address = url_for("pickup.show", code=code, _external=True)
    segno.make(address, micro=False, error="m").save(
        target, kind="svg", border=2, xmldecl=False, svgns=True, omitsize=True
    )
    return target.getvalue().decode()
