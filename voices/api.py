"""Doors to announcements, help, answers and the moderation of words; asking and rating are orders' doors."""

from typing import Any

from flask.views import MethodView
from flask_babel import gettext

from catalog import queries as catalog_queries
from kernel import clock
from kernel.doors import ApiBlueprint, tagged, who
from kernel.errors import NotFound
from kernel.ids import as_id
from kernel.paging import Page, decode_cursor, part_of
from kernel.schemas import PageArgs, page
from voices import help as articles
from voices import queries, schemas, services
from voices.figures import figures
from voucher import queries as voucher_queries

everyone = ApiBlueprint(
    "api_voices", __name__, audience="everyone", url_prefix="/api/v1", description="Announcements, help, what is said"
)
merchant = ApiBlueprint(
    "api_merchant_questions", __name__, audience="merchant", url_prefix="/api/v1/merchant", description="Own questions"
)
operator = ApiBlueprint(
    "api_operator_voices",
    __name__,
    audience="operator",
    url_prefix="/api/v1/admin",
    description="Announcing, moderating",
)


@everyone.route("/announcements")
@everyone.arguments(schemas.AnnouncementArgs, location="query")
@everyone.response(200, page(schemas.Announcement))
def announcements(args: dict[str, Any]) -> Any:
    """List the announcements that hold now: pinned first, then newest."""
    campaign = voucher_queries.campaign(args["campaign"], now=clock.now()).id if args["campaign"] else None
    rows = queries.announcements(now=clock.now(), campaign_id=campaign)
    after = decode_cursor(args["cursor"])
    found = part_of(rows, limit=args["limit"], after=after, key=lambda row: row.id)
    return tagged(page(schemas.Announcement)().dump(found))


@everyone.route("/help")
@everyone.response(200, page(schemas.Article))
def help_articles() -> Any:
    """List the help's articles, in the language asked for."""
    every = [articles.said(one, translate=gettext, figures=figures()) for one in articles.ARTICLES]
    return tagged(page(schemas.Article)().dump(Page(every, None)))


@everyone.route("/help/<article>")
@everyone.response(200, schemas.Article)
def help_article(article: str) -> Any:
    """Show one article."""
    found = next((one for one in articles.ARTICLES if one.slug == article), None)
    if found is None:
        raise NotFound("没有找到您要的内容。")
    return tagged(schemas.Article().dump(articles.said(found, translate=gettext, figures=figures())))


@everyone.route("/packs/<pack_id>/questions")
@everyone.arguments(PageArgs, location="query")
@everyone.response(200, page(schemas.PublicQuestion))
def pack_questions(args: dict[str, Any], pack_id: str) -> Any:
    """List the questions on a pack that everybody may read."""
    pack = catalog_queries.pack(as_id(pack_id))
    return queries.questions_on_pack(
        pack.id, limit=args["limit"], before=decode_cursor(args["cursor"]), now=clock.now()
    )


@everyone.route("/packs/<pack_id>/ratings")
@everyone.arguments(PageArgs, location="query")
@everyone.response(200, schemas.PackRatings)
def pack_ratings(args: dict[str, Any], pack_id: str) -> Any:
    """Say how a pack is rated, and list the words an operator let be seen."""
    pack = catalog_queries.pack(as_id(pack_id))
    words = queries.words_on_pack(pack.id, limit=args["limit"], before=decode_cursor(args["cursor"]))
    rating = pack.rating
    return {
        "count": rating.count,
        "is_few": rating.is_few,
        "average_tenths": rating.average_tenths,
        "items": words.items,
        "next_cursor": words.next_cursor,
    }


@merchant.route("/questions")
@merchant.arguments(schemas.QuestionArgs, location="query")
@merchant.response(200, page(schemas.Question))
def merchant_questions(args: dict[str, Any]) -> Any:
    """List the questions on own packs and own parts of orders, newest first, without who asked."""
    return queries.questions_to(
        who().merchant_id or 0,
        status=args["status"],
        limit=args["limit"],
        before=decode_cursor(args["cursor"]),
        now=clock.now(),
    )


@merchant.route("/questions/<question_id>/answer", methods=["POST"])
@merchant.arguments(schemas.Answer)
@merchant.response(200, schemas.Question)
def answer_as_merchant(body: dict[str, Any], question_id: str) -> Any:
    """Answer a question, once."""
    own = who().merchant_id or 0
    services.answer(
        question_id=as_id(question_id),
        merchant_id=own,
        words=body["answer"],
        actor_id=who().person_id,
        now=clock.now(),
    )
    return queries.question(as_id(question_id), merchant_id=own, now=clock.now())


@operator.route("/questions")
@operator.arguments(schemas.QuestionArgs, location="query")
@operator.response(200, page(schemas.Question))
def questions(args: dict[str, Any]) -> Any:
    """List every question, newest first."""
    before = decode_cursor(args["cursor"])
    return queries.questions_to(None, status=args["status"], limit=args["limit"], before=before, now=clock.now())


@operator.route("/questions/<question_id>/answer", methods=["POST"])
@operator.arguments(schemas.Answer)
@operator.response(200, schemas.Question)
def answer_as_operator(body: dict[str, Any], question_id: str) -> Any:
    """Answer a question as the district union, once."""
    services.answer(
        question_id=as_id(question_id),
        merchant_id=None,
        words=body["answer"],
        actor_id=who().person_id,
        now=clock.now(),
    )
    return queries.question(as_id(question_id), now=clock.now())


@operator.route("/questions/<question_id>/publish", methods=["POST"])
@operator.arguments(schemas.Publish)
@operator.response(200, schemas.Question)
def publish(body: dict[str, Any], question_id: str) -> Any:
    """Show an answered question on its pack's page, or no longer."""
    services.publish(question_id=as_id(question_id), shown=body["published"], actor_id=who().person_id, now=clock.now())
    return queries.question(as_id(question_id), now=clock.now())


@operator.route("/ratings")
@operator.arguments(schemas.RatingArgs, location="query")
@operator.response(200, page(schemas.Rating))
def ratings(args: dict[str, Any]) -> Any:
    """List ratings with words of one state: waiting, shown or hidden."""
    return queries.ratings(status=args["status"], limit=args["limit"], before=decode_cursor(args["cursor"]))


@operator.route("/ratings/<rating_id>/moderate", methods=["POST"])
@operator.arguments(schemas.Moderate)
@operator.response(204)
def moderate(body: dict[str, Any], rating_id: str) -> Any:
    """Let a rating's words be seen, or hide them. Its stars count either way."""
    services.moderate(rating_id=as_id(rating_id), shown=body["shown"], actor_id=who().person_id, now=clock.now())


@operator.route("/announcements")
class Announcements(MethodView):
    """Every announcement."""

    @operator.arguments(PageArgs, location="query")
    @operator.response(200, page(schemas.Announcement))
    def get(self, args: dict[str, Any]) -> Any:
        """List every announcement, newest first."""
        return queries.all_announcements(limit=args["limit"], before=decode_cursor(args["cursor"]))

    @operator.arguments(schemas.Announce)
    @operator.response(201, schemas.Announcement)
    def post(self, body: dict[str, Any]) -> Any:
        """Announce something; English left empty is shown in Chinese."""
        slug = body.pop("campaign")
        campaign = voucher_queries.campaign(slug, now=clock.now()).id if slug else None
        made = services.announce(
            announcement_id=None,
            details={**body, "campaign_id": campaign},
            actor_id=who().person_id,
            now=clock.now(),
        )
        return queries.announcement(made, now=None)


@operator.route("/announcements/<announcement_id>", methods=["PATCH"])
@operator.arguments(schemas.ChangeAnnouncement)
@operator.response(200, schemas.Announcement)
def change_announcement(body: dict[str, Any], announcement_id: str) -> Any:
    """Change some of an announcement."""
    number = queries.announcement(as_id(announcement_id), now=None).id
    services.announce(announcement_id=number, details=body, actor_id=who().person_id, now=clock.now())
    return queries.announcement(number, now=None)


@operator.route("/announcements/<announcement_id>/end", methods=["POST"])
@operator.response(204)
def end_announcement(announcement_id: str) -> Any:
    """Take an announcement down."""
    services.take_down(announcement_id=as_id(announcement_id), actor_id=who().person_id, now=clock.now())
