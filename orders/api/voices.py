"""What members ask, rate and search through the API."""

from typing import Any

from flask import current_app, g
from flask_babel import gettext
from marshmallow import fields

from catalog import schemas as catalog_schemas
from kernel import clock, limits
from kernel.doors import ApiBlueprint, who
from kernel.ids import as_id
from kernel.paging import decode_cursor
from kernel.schemas import Base, Length, PageArgs, page
from orders import schemas as order_schemas
from orders import searching
from orders.services import voicing
from voices import queries, schemas

member = ApiBlueprint(
    "api_member_voices", __name__, audience="member", url_prefix="/api/v1", description="Asking and rating"
)
everyone = ApiBlueprint("api_search", __name__, audience="everyone", url_prefix="/api/v1", description="Search")


def count_words() -> None:
    """Count a text that is posted; raise RateLimited past what a person may."""
    allowed = current_app.config["HUIGONG"].words_per_person
    limits.spend("words", str(who().person_id), at_most=allowed, seconds=600, now=clock.now())


def _own(question_id: int) -> Any:
    return queries.question_of_member(question_id, member_id=who().member_id, now=clock.now())


@member.route("/packs/<pack_id>/questions", methods=["POST"])
@member.arguments(schemas.Ask)
@member.response(201, schemas.Question)
def ask_on_pack(body: dict[str, Any], pack_id: str) -> Any:
    """Ask about a pack. The same words again are the same question."""
    count_words()
    made = voicing.ask_on_pack(
        pack_id=as_id(pack_id),
        member_id=who().member_id,
        words=body["words"],
        answer_seconds=current_app.config["HUIGONG"].answer_seconds,
        now=clock.now(),
    )
    return _own(made)


@member.route("/orders/<number>/questions", methods=["POST"])
@member.arguments(schemas.AskOrder)
@member.response(201, schemas.Question)
def ask_on_order(body: dict[str, Any], number: str) -> Any:
    """Ask about an own order: one of its merchants, or (without `merchant_id`) the district union."""
    count_words()
    made = voicing.ask_on_order(
        number=number,
        member_id=who().member_id,
        merchant_id=body["merchant_id"],
        words=body["words"],
        answer_seconds=current_app.config["HUIGONG"].answer_seconds,
        now=clock.now(),
    )
    return _own(made)


@member.route("/me/questions")
@member.arguments(PageArgs, location="query")
@member.response(200, page(schemas.Question))
def own_questions(args: dict[str, Any]) -> Any:
    """List own questions, newest first."""
    before = decode_cursor(args["cursor"])
    return queries.questions_of_member(who().member_id, limit=args["limit"], before=before, now=clock.now())


@member.route("/orders/<number>/lines/<line_id>/rating", methods=["PUT"])
@member.arguments(schemas.Rate)
@member.response(200, schemas.Rating)
def rate(body: dict[str, Any], number: str, line_id: str) -> Any:
    """Rate a pack that has arrived; again, from any order that brought it, to change it.

    Words are shown once an operator has seen them.
    """
    count_words()
    own = who().member_id
    given = voicing.rate(number=number, line_no=as_id(line_id), member_id=own, now=clock.now(), **body)
    return queries.rating_of_member(given, member_id=own)


@member.route("/me/ratings")
@member.arguments(PageArgs, location="query")
@member.response(200, page(schemas.Rating))
def own_ratings(args: dict[str, Any]) -> Any:
    """List own ratings, newest first."""
    return queries.ratings_of_member(who().member_id, limit=args["limit"], before=decode_cursor(args["cursor"]))


class SearchArgs(Base):
    """What to look for."""

    q = fields.String(load_default="", validate=Length(max=100))


class SearchFound(Base):
    """What was found: packs on sale, own orders (for a member), help."""

    packs = fields.List(fields.Nested(catalog_schemas.Pack))
    orders = fields.List(fields.Nested(order_schemas.Order))
    help = fields.List(fields.Nested(schemas.Article))


@everyone.route("/search")
@everyone.arguments(SearchArgs, location="query")
@everyone.response(200, SearchFound)
def search(args: dict[str, Any]) -> Any:
    """Look for words in packs, help and, for a member, own orders; at most 20 of each."""
    identity = g.get("identity")
    member_id = identity.member_id if identity is not None else None
    return searching.search(args["q"], member_id=member_id, translate=gettext, now=clock.now())
