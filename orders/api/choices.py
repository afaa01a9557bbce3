"""Self-choice through the API: what the officer sees of it, and what a recipient does by their own link."""

from collections.abc import Sequence
from typing import Any

from flask import current_app

from kernel import clock
from kernel.doors import ApiBlueprint, who
from kernel.paging import decode_cursor
from orders import queries, union_schemas
from orders.api.union import as_officer
from orders.links import board_link, ids_of, link_of, token_of
from orders.queries import unions as union_queries
from orders.services import choosing

union = ApiBlueprint(
    "api_bulk_choices", __name__, audience="union", url_prefix="/api/v1/bulk", description="Who chose what"
)
everyone = ApiBlueprint(
    "api_choices", __name__, audience="everyone", url_prefix="/api/v1/choices", description="A recipient's own link"
)


@union.route("/orders/<number>/choices")
@union.arguments(union_schemas.ChoiceArgs, location="query")
@union.response(200, union_schemas.Choices)
def choices(args: dict[str, Any], number: str) -> Any:
    """List recipients with what they chose and their own links, and how far each department is."""
    order = queries.order_of_union(number, union_id=who().union_id, now=clock.now())
    page = union_queries.recipients_page(
        order.id,
        limit=args["limit"],
        after=decode_cursor(args["cursor"]),
        waiting=args["waiting"],
        department=args["department"],
    )
    departments = union_queries.progress(order.id)
    return {
        "items": _with_links(page.items),
        "next_cursor": page.next_cursor,
        "departments": departments,
        "people": sum(one.people for one in departments),
        "chosen": sum(one.chosen for one in departments),
        "deadline": order.choice.deadline if order.choice else None,
        "board_link": board_link(order.id),
    }


def _with_links(rows: Sequence[Any]) -> list[dict[str, Any]]:
    names = union_schemas.Chooser().fields
    return [
        {
            **{name: getattr(row, name, None) for name in names},
            "token": token_of(row.order_id, row.position, row.link_code),
            "link": link_of(row.order_id, row.position, row.link_code),
        }
        for row in rows
    ]


@union.route("/orders/<number>/reminders", methods=["POST"])
@union.response(200, union_schemas.Reminded)
def remind(number: str) -> Any:
    """Remind everybody who has not chosen yet by a text message with their own link, nobody twice within a day."""
    return {"reminded": remind_all(number)}


def remind_all(number: str) -> int:
    """Send the reminders of an order and return how many there were."""
    as_officer()
    return choosing.remind(
        number=number,
        union_id=who().union_id,
        link_for=lambda one: link_of(one.order_id, one.position, one.link_code),
        key=current_app.config["HUIGONG"].secret_key,
        actor_id=who().person_id,
        now=clock.now(),
    )


@union.route("/orders/<number>/received", methods=["POST"])
@union.arguments(union_schemas.Received)
@union.response(200, union_schemas.NotedReceived)
def note_received(body: dict[str, Any], number: str) -> Any:
    """Note who has signed for their pack on paper."""
    as_officer()
    count = choosing.note_received(
        number=number,
        union_id=who().union_id,
        positions=body["positions"],
        actor_id=who().person_id,
        now=clock.now(),
    )
    return {"received": count}


@everyone.route("/<token>")
@everyone.response(200, union_schemas.OwnChoice)
def show(token: str) -> Any:
    """Show what there is to choose from, and what was chosen."""
    order_id, position, code = ids_of("choice", token, 3)
    return union_queries.choice_of(order_id, position, code, now=clock.now())


@everyone.route("/<token>", methods=["POST"])
@everyone.arguments(union_schemas.Choose)
@everyone.response(200, union_schemas.OwnChoice)
def choose(body: dict[str, Any], token: str) -> Any:
    """Choose one pack; another one until the deadline."""
    order_id, position, code = ids_of("choice", token, 3)
    return choosing.choose(
        order_id=order_id,
        position=position,
        code=code,
        pack_id=body["pack_id"],
        delivery=body["delivery"],
        address=body["address"],
        now=clock.now(),
    )


@everyone.route("/<token>/received", methods=["POST"])
@everyone.response(200, union_schemas.OwnChoice)
def receive(token: str) -> Any:
    """Say that the pack has arrived: the sign-off sheet shows it."""
    order_id, position, code = ids_of("choice", token, 3)
    return choosing.receive(order_id=order_id, position=position, code=code, now=clock.now())
