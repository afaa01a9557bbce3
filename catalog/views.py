"""Pictures of packs, as their merchants uploaded them; and the pages on which an operator approves packs."""

from flask import Response, current_app, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext

from catalog import queries, services
from kernel import clock, files
from kernel.doors import PageBlueprint, who
from kernel.errors import Invalid, NotFound
from kernel.ids import as_id

pictures = PageBlueprint("pictures", __name__, audience="everyone", url_prefix="/pictures")
operator = PageBlueprint("approvals", __name__, audience="operator", url_prefix="/admin/packs")


@pictures.get("/<name>")
def show(name: str) -> ResponseReturnValue:
    """A picture in one of its widths; its name is its content's, so it never changes."""
    content = files.read(current_app.config["FILES"], name) if name.endswith(".webp") else None
    if content is None:
        raise NotFound("没有找到您要的内容。")
    return Response(content, headers=dict(files.headers(name, public=True)))


@operator.get("/")
def home() -> ResponseReturnValue:
    """Packs that wait: what each is, and what it is to become."""
    return render_template("operator/packs.html", waiting=queries.waiting_for_approval())


@operator.post("/<pack_id>/<verdict>")
def decide(pack_id: str, verdict: str) -> ResponseReturnValue:
    """Approve, or send back with a reason."""
    change_id = as_id(request.form.get("change_id", ""))
    reason = request.form.get("reason", "").strip()[:200]
    common = {"pack_id": as_id(pack_id), "change_id": change_id, "actor_id": who().person_id, "now": clock.now()}
    if verdict == "approve":
        services.approve_pack(**common)
        flash(gettext("已批准。"), "success")
    elif verdict == "reject":
        if not reason:
            raise Invalid("请填写退回的理由。")
        services.reject_pack(**common, reason=reason)
        flash(gettext("已退回，商户会看到理由。"), "success")
    else:
        raise NotFound("没有找到您要的内容。")
    return redirect(url_for("approvals.home"), 303)
