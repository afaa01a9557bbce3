"""Pages of what comes short or broken: the merchant says and answers, the operator looks on."""

from flask import flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext

from kernel import clock
from kernel.doors import PageBlueprint, who
from kernel.errors import Invalid
from kernel.ids import as_id
from orders import queries
from orders.api.shortages import report_of
from orders.queries import unions as union_queries
from orders.services import shortages
from people import queries as people_queries

merchant = PageBlueprint("merchant_faults", __name__, audience="merchant", url_prefix="/merchant")
operator = PageBlueprint("faults", __name__, audience="operator", url_prefix="/admin/faults")


@merchant.post("/parcels/<parcel>/shortage")
def report(parcel: str) -> ResponseReturnValue:
    """Say what of a union's parcel cannot be sent."""
    found = queries.parcel_of_merchant(parcel, merchant_id=who().merchant_id)
    counts = {line.line_no: as_id(request.form.get(f"short_{line.line_no}", "").strip() or "0") for line in found.lines}
    units = {line_no: count for line_no, count in counts.items() if count is not None}
    if len(units) < len(counts):
        raise Invalid("请填写一个整数。")
    report_of(parcel, units, request.form.get("note", "").strip()[:200])
    flash(gettext("已告诉工会经办人。") if any(units.values()) else gettext("已撤销缺货。"), "success")
    return redirect(url_for("merchant.parcel", parcel=parcel), 303)


@merchant.post("/parcels/<parcel>/faults")
def answer(parcel: str) -> ResponseReturnValue:
    """Answer what came short or broken."""
    text = request.form.get("answer", "").strip()[:200]
    if not text:
        raise Invalid("请写明怎么处理。")
    shortages.answer(parcel=parcel, merchant_id=who().merchant_id, text=text, actor_id=who().person_id, now=clock.now())
    flash(gettext("工会会看到您的答复。"), "success")
    return redirect(url_for("merchant.parcel", parcel=parcel), 303)


@operator.get("/")
def home() -> ResponseReturnValue:
    """What came short or broken of unions' orders, and what merchants cannot send."""
    answered = "answered" in request.args
    return render_template(
        "operator/faults.html",
        found=union_queries.open_faults(answered=answered),
        answered=answered,
        unions={union.id: union for union in people_queries.unions()},
    )
