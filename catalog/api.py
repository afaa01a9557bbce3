"""Doors to packs, merchants and stock."""

from typing import Any

from flask import current_app, request
from flask.views import MethodView

from catalog import queries, schemas, services, sheet
from finance.ledger import queries as ledger_queries
from kernel import clock
from kernel.doors import ApiBlueprint, expected_versions, json_answer, once, tagged, upload, who
from kernel.ids import as_id, digest
from kernel.kept import keep_answers
from kernel.paging import decode_cursor, page_of, part_of
from kernel.schemas import PageArgs, page

everyone = ApiBlueprint(
    "api_packs", __name__, audience="everyone", url_prefix="/api/v1", description="Packs and merchants"
)
merchant = ApiBlueprint(
    "api_merchant_packs", __name__, audience="merchant", url_prefix="/api/v1/merchant", description="Own packs"
)
operator = ApiBlueprint(
    "api_operator_packs", __name__, audience="operator", url_prefix="/api/v1/admin", description="Approval of packs"
)
keep_answers(everyone)


@everyone.route("/packs")
@everyone.arguments(schemas.PackArgs, location="query")
@everyone.response(200, page(schemas.Pack))
def packs(args: dict[str, Any]) -> Any:
    """List packs on sale: by campaign, tier, merchant, region and words."""
    found = queries.packs(
        queries.Filter(
            tiers_fen=current_app.config["TIERS_OF"](args["campaign"]),
            tier_fen=args["tier_fen"],
            merchant_id=None if args["merchant"] is None else as_id(args["merchant"]) or 0,
            region=args["region"],
            words=args["q"],
            category=args["category"],
            channel=args["channel"],
        ),
        limit=args["limit"],
        after=decode_cursor(args["cursor"]),
    )
    return tagged(page(schemas.Pack)().dump(found))


@everyone.route("/packs/<pack_id>")
@everyone.response(200, schemas.Pack)
def pack(pack_id: str) -> Any:
    """Show a pack."""
    return tagged(schemas.Pack().dump(queries.pack(as_id(pack_id))))


@everyone.route("/merchants")
@everyone.arguments(PageArgs, location="query")
@everyone.response(200, page(schemas.Merchant))
def merchants(args: dict[str, Any]) -> Any:
    """List the merchants."""
    after = decode_cursor(args["cursor"])
    found = part_of(queries.merchants(), limit=args["limit"], after=after, key=lambda row: row.id)
    return tagged(page(schemas.Merchant)().dump(found))


@merchant.route("/packs")
class Packs(MethodView):
    """A merchant's packs."""

    @merchant.arguments(PageArgs, location="query")
    @merchant.response(200, page(schemas.MerchantPack))
    def get(self, args: dict[str, Any]) -> Any:
        """List own packs in any state, with their stock."""
        found = queries.packs_of(who().merchant_id, limit=args["limit"], after=decode_cursor(args["cursor"]))
        return tagged(page(schemas.MerchantPack)().dump(found))

    @merchant.arguments(schemas.NewPack)
    @merchant.response(201, schemas.MerchantPack)
    def post(self, body: dict[str, Any]) -> Any:
        """Offer a pack; it waits for an operator's approval."""
        return services.offer_pack(merchant_id=who().merchant_id, details=body, now=clock.now())


def _own(pack_id: str) -> Any:
    found = queries.pack(as_id(pack_id), merchant_id=who().merchant_id)
    shown: dict[str, Any] = schemas.OwnPack().dump(found)
    change = queries.last_changes([found.id]).get(found.id)
    return shown | {"last_change": schemas.Change().dump(change) if change is not None else None}


@merchant.route("/packs/<pack_id>")
class OnePack(MethodView):
    """One of a merchant's packs."""

    @merchant.response(200, schemas.OwnPack)
    def get(self, pack_id: str) -> Any:
        """Show an own pack with its stock and the last change that was asked of it."""
        shown = _own(pack_id)
        return tagged(shown, version=queries.version_of(int(shown["id"])))

    @merchant.arguments(schemas.PackChange)
    @merchant.response(200, schemas.OwnPack)
    def patch(self, body: dict[str, Any], pack_id: str) -> Any:
        """Take an own pack off sale or put it on again; any other change waits while the old version sells on.

        With `If-Match` and the ETag that GET gave, only where nobody has changed the pack since; a sale is no change.
        """
        services.change_pack(
            pack_id=as_id(pack_id),
            merchant_id=who().merchant_id,
            changes=body,
            expected=expected_versions(),
            actor_id=who().person_id,
            now=clock.now(),
        )
        shown = _own(pack_id)
        return tagged(shown, version=queries.version_of(int(shown["id"])))


@merchant.route("/packs/<pack_id>/picture", methods=["PUT"])
@merchant.response(200, schemas.OwnPack)
def put_picture(pack_id: str) -> Any:
    """Take a picture (JPEG, PNG or WebP) in the field `file`; shown once an operator has approved it."""
    services.change_picture(
        pack_id=as_id(pack_id),
        merchant_id=who().merchant_id,
        content=upload()[0],
        store=current_app.config["FILES"],
        actor_id=who().person_id,
        now=clock.now(),
    )
    return current_app.json.response(_own(pack_id))


@merchant.route("/packs/<pack_id>/stock", methods=["POST"])
@merchant.arguments(schemas.StockChange)
@merchant.response(200, schemas.StockFigures)
def adjust(body: dict[str, Any], pack_id: str) -> Any:
    """Adjust or count what is on hand, with a reason. Send an Idempotency-Key: a repeated delta counts once."""
    answer = services.adjust_stock(
        pack_id=as_id(pack_id),
        merchant_id=who().merchant_id,
        delta=body.get("delta"),
        count=body.get("count"),
        reason=body["reason"],
        actor_id=who().person_id,
        once=once(body=request.get_json(), required=False),
        now=clock.now(),
    )
    return current_app.response_class(*json_answer(answer, 200))


@merchant.route("/stock", methods=["PUT"])
@merchant.response(200, schemas.StockReport)
def put_stock() -> Any:
    """Adjust or count many packs by a spreadsheet in the field `file`; all or nothing unless `?partial=1`.

    Columns: 礼包编号 (pack_id), 增减 (delta) or 盘点数 (count), 原因 (reason). Send an Idempotency-Key, or a sheet of
    changes sent twice counts twice.
    """
    content, filename = upload()
    partial = request.args.get("partial") == "1"
    answer = services.adjust_by_sheet(
        merchant_id=who().merchant_id,
        rows=sheet.read_file(content, filename),
        partial=partial,
        actor_id=who().person_id,
        once=once(body=[digest(content.hex()), partial], required=False),
        now=clock.now(),
    )
    return current_app.response_class(*json_answer(answer, 200))


@merchant.route("/packs/<pack_id>/movements")
@merchant.arguments(PageArgs, location="query")
@merchant.response(200, page(schemas.Movement))
def movements(args: dict[str, Any], pack_id: str) -> Any:
    """List every change of an own pack's stock, newest first."""
    own = queries.pack(as_id(pack_id), merchant_id=who().merchant_id)
    rows = ledger_queries.pack_history(own.id, limit=args["limit"] + 1, before=decode_cursor(args["cursor"]))
    return tagged(page(schemas.Movement)().dump(page_of(rows, limit=args["limit"], key=lambda row: row.id)))


@operator.route("/packs")
@operator.response(200)
def waiting() -> Any:
    """List the packs that wait for approval: new ones, and those with a change."""
    items = [
        schemas.MerchantPack().dump(pack) | {"change": schemas.Change().dump(change) if change else None}
        for pack, change in queries.waiting_for_approval()
    ]
    return {"items": items, "next_cursor": None}


@operator.route("/packs/<pack_id>/approve", methods=["POST"])
@operator.arguments(schemas.Decision)
@operator.response(200, schemas.Pack)
def approve(body: dict[str, Any], pack_id: str) -> Any:
    """Put a pack that waits for approval on sale, or make it what its waiting change says."""
    services.approve_pack(
        pack_id=as_id(pack_id), change_id=body["change_id"], actor_id=who().person_id, now=clock.now()
    )
    return queries.packs_by_id([as_id(pack_id) or 0])[as_id(pack_id) or 0]


@operator.route("/packs/<pack_id>/reject", methods=["POST"])
@operator.arguments(schemas.Rejection)
@operator.response(200, schemas.MerchantPack)
def reject(body: dict[str, Any], pack_id: str) -> Any:
    """Send a pack, or its waiting change, back with a reason."""
    services.reject_pack(
        pack_id=as_id(pack_id),
        change_id=body["change_id"],
        reason=body["reason"],
        actor_id=who().person_id,
        now=clock.now(),
    )
    return queries.packs_by_id([as_id(pack_id) or 0])[as_id(pack_id) or 0]
