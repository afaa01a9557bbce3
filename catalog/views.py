"""Pages of packs and stock: a merchant offers, changes and counts; an operator approves; pictures as uploaded."""

import secrets
from typing import Any

from flask import Response, current_app, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext
from marshmallow import ValidationError

from catalog import charts, queries, schemas, services, sheet
from kernel import clock, files, sheets
from kernel.doors import PageBlueprint, said, saved, upload, who
from kernel.errors import Invalid, NotFound, Stale, flat
from kernel.idempotency import request_once
from kernel.ids import as_id, digest

pictures = PageBlueprint("pictures", __name__, audience="everyone", url_prefix="/pictures")
merchant = PageBlueprint("packs", __name__, audience="merchant", url_prefix="/merchant")
operator = PageBlueprint("approvals", __name__, audience="operator", url_prefix="/admin/packs")


@pictures.get("/<name>")
def show(name: str) -> ResponseReturnValue:
    """A picture in one of its widths; its name is its content's, so it never changes."""
    content = files.read(current_app.config["FILES"], name) if files.is_public(name) else None
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


@merchant.route("/packs/new", methods=["GET", "POST"])
def new() -> ResponseReturnValue:
    """Offer a pack."""
    return _edit(None)


@merchant.route("/packs/<pack_id>/edit", methods=["GET", "POST"])
def edit(pack_id: str) -> ResponseReturnValue:
    """Change a pack: shown once an operator has approved."""
    return _edit(pack_id)


def _edit(pack_id: str | None) -> ResponseReturnValue:
    own = queries.pack(as_id(pack_id), merchant_id=who().merchant_id) if pack_id is not None else None
    errors: dict[str, list[str]] = {}
    stale: Stale | None = None
    if request.method == "POST":
        try:
            body = schemas.NewPack().load(_offered(request.form))
            if own is None:
                own = services.offer_pack(merchant_id=_merchant_id(), details=body, now=clock.now())
            else:
                _change(own.id, body, opened_at=request.form.get("version"))
        except ValidationError as wrong:
            errors = flat(wrong.messages)
        except Stale as changed:
            stale = changed
        else:
            flash(gettext("已提交，运营批准后生效；批准之前仍按原样销售。"), "success")
            return redirect(url_for("merchant.pack", pack_id=own.id), 303)
    form = request.form if request.method == "POST" else _form_of(own)
    rows = range(max(8, (len(own.contents) if own else 0) + 3))
    version = form.get("version") or (queries.version_of(own.id) if own else "")
    problem = said(stale) if stale is not None else None
    page = render_template(
        "merchant/pack_edit.html", pack=own, form=form, errors=errors, rows=rows, version=version, problem=problem
    )
    return page, stale.status if stale is not None else 422 if errors else 200


def _change(pack_id: int | None, changes: dict[str, Any], *, opened_at: str | None = None) -> None:
    """Change a pack; `opened_at` is the version somebody had before them when they changed it."""
    services.change_pack(
        pack_id=pack_id,
        merchant_id=_merchant_id(),
        changes=changes,
        expected={opened_at} if opened_at else None,
        actor_id=who().person_id,
        now=clock.now(),
    )


def _merchant_id() -> int:
    merchant_id = who().merchant_id
    assert merchant_id is not None, "the audience is merchants"
    return int(merchant_id)


FIELDS = ("name", "quantity", "unit", "shelf_life", "origin")


def _offered(form: Any) -> dict[str, Any]:
    price = as_id(form.get("price", "").strip())
    contents = []
    for row in range(30):
        values = {name: form.get(f"{name}_{row}", "").strip() for name in FIELDS}
        if values["name"]:
            contents.append({**values, "quantity": as_id(values["quantity"])})
    return {
        "name": form.get("name", ""),
        "name_en": form.get("name_en", ""),
        "description": form.get("description", ""),
        "category": form.get("category", "food"),
        "tier_fen": None if price is None or price > 10**9 else price * 100,
        "contents": contents,
    }


def _form_of(own: queries.PackView | None) -> dict[str, Any]:
    if own is None:
        return {}
    form: dict[str, Any] = {name: getattr(own, name) for name in ("name", "name_en", "description", "category")}
    form["price"] = own.price_fen // 100
    for row, content in enumerate(own.contents):
        form |= {f"{name}_{row}": getattr(content, name) for name in FIELDS}
    return form


@merchant.post("/packs/<pack_id>/picture")
def picture(pack_id: str) -> ResponseReturnValue:
    """Take a picture."""
    services.change_picture(
        pack_id=as_id(pack_id),
        merchant_id=_merchant_id(),
        content=upload()[0],
        store=current_app.config["FILES"],
        actor_id=who().person_id,
        now=clock.now(),
    )
    flash(gettext("图片已上传，运营批准后显示。"), "success")
    return redirect(url_for("merchant.pack", pack_id=pack_id), 303)


@merchant.post("/packs/<pack_id>/sale")
def sale(pack_id: str) -> ResponseReturnValue:
    """Take off sale, or put on again."""
    status = request.form.get("status", "")
    if status not in ("on_sale", "off_sale"):
        raise NotFound("没有找到您要的内容。")
    _change(as_id(pack_id), {"status": status})
    flash(gettext("礼包已上架。") if status == "on_sale" else gettext("礼包已下架，已有的订单照常发货。"), "success")
    return redirect(url_for("merchant.pack", pack_id=pack_id), 303)


@merchant.post("/packs/<pack_id>/alert")
def alert(pack_id: str) -> ResponseReturnValue:
    """Say below how many to warn."""
    number = as_id(request.form.get("alert_below", "").strip())
    if number is None or number > 10**6:
        raise Invalid("请填写一个整数。")
    _change(as_id(pack_id), {"alert_below": number})
    flash(gettext("提醒数量已保存。"), "success")
    return redirect(url_for("merchant.pack", pack_id=pack_id), 303)


@merchant.post("/packs/<pack_id>/split")
def split(pack_id: str) -> ResponseReturnValue:
    """Say how many are kept for unions' orders; nothing said, nothing is split."""
    text = request.form.get("bulk_share", "").strip()
    number = as_id(text)
    if text and (number is None or number > 10**9):
        raise Invalid("请填写一个整数。")
    _change(as_id(pack_id), {"bulk_share": number})
    flash(gettext("集采份数已保存。"), "success")
    return redirect(url_for("merchant.pack", pack_id=pack_id), 303)


@merchant.get("/packs/<pack_id>/history.svg")
def history(pack_id: str) -> ResponseReturnValue:
    """How the available stock went, day by day, as a picture."""
    own = queries.pack(as_id(pack_id), merchant_id=who().merchant_id)
    response = Response(charts.stock_history(queries.history_of(own, now=clock.now())), mimetype="image/svg+xml")
    # The picture's own styles are written into it; nothing in it runs.
    response.headers["Content-Security-Policy"] = "default-src 'none'; style-src 'unsafe-inline'"
    response.headers["Cache-Control"] = "private, max-age=60"
    return response


@merchant.route("/stock", methods=["GET", "POST"])
def stock() -> ResponseReturnValue:
    """Change and count many packs by a spreadsheet."""
    report = None
    if request.method == "POST":
        content, filename = upload()
        partial = "partial" in request.form
        once = request_once(
            person_id=who().person_id,
            key=request.form.get("idempotency_key", "")[:200] or secrets.token_urlsafe(18),
            route=request.path,
            body=[digest(content.hex()), partial],
        )
        report = services.adjust_by_sheet(
            merchant_id=_merchant_id(),
            rows=sheet.read_file(content, filename),
            partial=partial,
            actor_id=who().person_id,
            once=once,
            now=clock.now(),
        ).body
    page = render_template("merchant/stock.html", report=report, key=secrets.token_urlsafe(18))
    return page, 422 if report and not report["accepted"] else 200


@merchant.get("/stock.xlsx")
def stock_sheet() -> ResponseReturnValue:
    """All own packs as a sheet to fill in and send back."""
    found = queries.packs_of(who().merchant_id, limit=5000).items
    # “现货” alone would be read back as a count.
    rows: list[list[Any]] = [["礼包编号", "名称", "现在可售", "现在现货", "增减", "盘点数", "原因"]]
    rows += [[pack.code, pack.name, pack.available, pack.on_hand, None, None, None] for pack in found]
    return saved(sheets.write(rows, widths=(22, 30, 10, 10, 10, 10, 24)), "stock.xlsx")
