"""Pictures of what arrived: uploaded by the buyer, shown to whom they concern."""

from flask import Response, current_app, flash, redirect, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext

from kernel import clock, files
from kernel.doors import PageBlueprint, upload, who
from kernel.errors import NotFound
from orders.services import evidence

member = PageBlueprint("my_evidence", __name__, audience="member")
signed_in = PageBlueprint("evidence", __name__, audience="signed_in", url_prefix="/refund-pictures")


@member.post("/orders/<number>/refunds/<refund>/pictures")
def add(number: str, refund: str) -> ResponseReturnValue:
    """Take a picture of what arrived."""
    evidence.add_picture(
        number=number,
        refund=refund,
        member_id=who().member_id,
        content=upload()[0],
        store=current_app.config["FILES"],
        now=clock.now(),
    )
    flash(gettext("图片已上传，商户和运营会看到。"), "success")
    return redirect(url_for("member.order", number=number), 303)


@signed_in.get("/<name>")
def show(name: str) -> ResponseReturnValue:
    """A picture, for whom it concerns; for anybody else there is none."""
    me = who()
    content = None
    if evidence.may_see(name, member_id=me.member_id, merchant_id=me.merchant_id, is_operator=me.admits("operator")):
        content = files.read(current_app.config["FILES"], name)
    if content is None:
        raise NotFound("没有找到您要的内容。")
    return Response(content, headers=dict(files.headers(name)))
