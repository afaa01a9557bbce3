"""A member's copy of their data, and the operators' page to look a member up and erase one."""

import json
from typing import Any

from flask import Response, current_app, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext

from kernel import clock, limits
from kernel.doors import PageBlueprint, who
from kernel.errors import Invalid
from kernel.ids import as_id
from orders.services import privacy
from people import queries as people_queries
from people.rules import masked
from voucher import queries as voucher_queries
from voucher import services as voucher_services

own = PageBlueprint("my_data", __name__, audience="member", url_prefix="/account")
members = PageBlueprint("members", __name__, audience="operator", url_prefix="/admin/members")


@own.get("/data.json")
def download() -> ResponseReturnValue:
    """All that is kept of me, as a file."""
    allowed = current_app.config["HUIGONG"].exports_per_person
    limits.spend("export", str(who().person_id), at_most=allowed, seconds=600, now=clock.now())
    text = json.dumps(privacy.copy_of(who(), now=clock.now()), ensure_ascii=False, indent=1, default=str)
    return Response(
        text, mimetype="application/json", headers={"Content-Disposition": "attachment; filename=huigong-data.json"}
    )


@members.route("/", methods=["GET", "POST"])
def find() -> ResponseReturnValue:
    """Look a member up by phone, member number or name: by POST, so that no phone stands in an address."""
    words = request.form.get("q", "")[:80]
    found = people_queries.find_members(words)
    vouchers: dict[int, list[Any]] = {}
    for voucher in voucher_queries.vouchers_of_members((row.id for row in found), now=clock.now()):
        vouchers.setdefault(voucher.member_id, []).append(voucher)
    return render_template("operator/members.html", words=words, found=found, vouchers=vouchers, masked=masked)


@members.post("/vouchers/<voucher_id>/revoke")
def revoke(voucher_id: str) -> ResponseReturnValue:
    """Take back what a member's voucher has not spent, with a reason."""
    reason = request.form.get("reason", "").strip()[:200]
    if not reason:
        raise Invalid("请填写原因。")
    voucher_services.revoke(voucher_id=as_id(voucher_id), reason=reason, actor_id=who().person_id, now=clock.now())
    flash(gettext("福利券未用部分已收回，退回活动预算。"), "success")
    return redirect(url_for("members.find"), 303)


@members.post("/<member_id>/erase")
def erase(member_id: str) -> ResponseReturnValue:
    """Erase a member's personal data, with a reason."""
    reason = request.form.get("reason", "").strip()[:200]
    if not reason:
        raise Invalid("请填写原因。")
    privacy.erase(member_id=as_id(member_id), reason=reason, actor_id=who().person_id, now=clock.now())
    flash(gettext("个人信息已删除，账目保持完整。"), "success")
    return redirect(url_for("members.find"), 303)
