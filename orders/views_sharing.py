"""What leaves the shop as a file: a pack's picture to be sent on, and a member's receipt."""

from flask import Response, current_app, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import get_locale, gettext

from catalog import queries as catalog_queries
from catalog.rules import is_upload
from finance.gateway import queries as gateway_queries
from kernel import clock, files
from kernel.doors import PageBlueprint, saved, who
from kernel.errors import StateConflict
from kernel.ids import as_id
from kernel.money import yuan
from kernel.pictures import at_width
from orders import queries
from orders.papers.receipts import receipt as receipt_of
from orders.papers.sharing import share_picture
from voucher import queries as voucher_queries

everyone = PageBlueprint("sharing", __name__, audience="everyone", url_prefix="/packs")
member = PageBlueprint("receipts", __name__, audience="member", url_prefix="/orders")


@everyone.get("/<pack_id>/share.png")
def share(pack_id: str) -> ResponseReturnValue:
    """A pack on one picture, with a code that leads to it."""
    pack = catalog_queries.pack(as_id(pack_id))
    zh = str(get_locale()).startswith("zh")
    campaign = next((one for one in voucher_queries.campaigns(now=clock.now()) if one.status == "open"), None)
    merchant = pack.merchant
    terms = {"step": yuan(campaign.offer.step_fen), "save": yuan(campaign.offer.save_fen)} if campaign else {}
    drawn = share_picture(
        heading=f"{gettext('惠工')} · {gettext('崂山区总工会')}",
        name=pack.name if zh else pack.name_en or pack.name,
        price=yuan(pack.price_fen),
        saving=gettext("用福利券每满 %(step)s 省 %(save)s", **terms) if campaign else "",
        origin=f"{merchant.name if zh else merchant.name_en or merchant.name} · {gettext(merchant.region)}",
        contents=tuple(
            f"{one.name if zh else one.name_en or one.name} × {one.quantity} {gettext(one.unit)}"
            for one in pack.contents
        ),
        hint=gettext("用手机相机或微信扫码"),
        address=url_for("shop.pack", pack_id=pack.id, _external=True),
        picture=files.read(current_app.config["FILES"], at_width(pack.picture, 1280))
        if is_upload(pack.picture)
        else None,
    )
    response = Response(drawn, mimetype="image/png", headers={"Cache-Control": "private, max-age=300"})
    response.add_etag()
    return response.make_conditional(request)


@member.get("/<number>/receipt.pdf")
def receipt(number: str) -> ResponseReturnValue:
    """An order's receipt, once it is paid."""
    now = clock.now()
    order = queries.order_of_member(number, member_id=who().member_id, now=now)
    if order.paid_at is None:
        raise StateConflict("付款以后才有购买凭证。")
    document = receipt_of(
        order,
        payments=gateway_queries.of_order(order.id),
        sent_back=gateway_queries.refunds_of(order.id),
        issuer=gettext("青岛市崂山区总工会 · 惠工福利平台"),
        now=now,
    )
    return saved(document, f"receipt-{order.number}.pdf")
