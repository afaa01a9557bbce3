"""What is said, as JSON."""

from marshmallow import fields

from kernel.schemas import Base, IdField, Instant, Moment, OneOf, PageArgs, Range, lines, text
from voices.rules import MOST_WORDS


class Announcement(Base):
    """公告."""

    id = IdField()
    title = fields.String()
    title_en = fields.String()
    body = fields.String()
    body_en = fields.String()
    starts_at = Moment()
    ends_at = Moment()
    pinned = fields.Boolean(attribute="is_pinned")


class AnnouncementArgs(PageArgs):
    """Which announcements."""

    campaign = fields.String(load_default=None)


class Announce(Base):
    """A new announcement; English left empty is shown in Chinese."""

    campaign = fields.String(load_default=None, allow_none=True)
    title = text(80)
    title_en = text(160, minimum=0, required=False, load_default="")
    body = lines(2000)
    body_en = lines(4000, minimum=0, required=False, load_default="")
    starts_at = Instant(required=True)
    ends_at = Instant(required=True)
    pinned = fields.Boolean(load_default=False, attribute="is_pinned")


class ChangeAnnouncement(Base):
    """What of an announcement changes."""

    title = text(80, required=False)
    title_en = text(160, minimum=0, required=False)
    body = lines(2000, required=False)
    body_en = lines(4000, minimum=0, required=False)
    starts_at = Instant()
    ends_at = Instant()
    pinned = fields.Boolean(attribute="is_pinned")


class Article(Base):
    """帮助."""

    slug = fields.String()
    title = fields.String()
    paragraphs = fields.List(fields.String())


class PublicQuestion(Base):
    """A question on a pack that everybody may read."""

    id = IdField()
    question = fields.String(attribute="words")
    asked_at = Moment()
    answer = fields.String(allow_none=True)
    answered_as = fields.String(allow_none=True)
    answered_at = Moment(allow_none=True)


class Question(PublicQuestion):
    """A question for who asked it and who answers it: never who asked."""

    pack_id = IdField(allow_none=True)
    pack_name = fields.String()
    order_number = fields.String(allow_none=True)
    due_at = Moment()
    overdue = fields.Boolean()
    published = fields.Boolean(attribute="is_published")


class QuestionArgs(PageArgs):
    """Which questions."""

    status = fields.String(load_default=None, validate=OneOf(("open", "overdue", "answered", "late")))


class Ask(Base):
    """A question."""

    question = lines(MOST_WORDS, attribute="words")


class AskOrder(Ask):
    """A question on an order: to one of its merchants, or to the district union."""

    merchant_id = IdField(load_default=None, allow_none=True)


class Answer(Base):
    """An answer."""

    answer = lines(1000)


class Publish(Base):
    """Whether everybody may read a question."""

    published = fields.Boolean(required=True)


class Rate(Base):
    """Stars and words for a pack one has received."""

    stars = fields.Integer(required=True, strict=True, validate=Range(min=1, max=5))
    words = lines(MOST_WORDS, minimum=0, required=False, load_default="")


class Rating(Base):
    """An own rating, or one an operator looks at."""

    id = IdField()
    order_number = fields.String()
    line_id = fields.String(attribute="line_no")
    pack_id = IdField()
    pack_name = fields.String()
    stars = fields.Integer()
    words = fields.String()
    status = fields.String()
    rated_at = Moment()


class RatingArgs(PageArgs):
    """Which ratings."""

    status = fields.String(load_default="waiting", validate=OneOf(("waiting", "shown", "hidden")))


class Moderate(Base):
    """Whether a rating's words are shown."""

    shown = fields.Boolean(required=True)


class ShownRating(Base):
    """A rating everybody may read."""

    id = IdField()
    stars = fields.Integer()
    words = fields.String()
    rated_at = Moment()


class PackRatings(Base):
    """How a pack is rated: `average_tenths` is null while there are fewer than five ratings."""

    count = fields.Integer()
    few = fields.Boolean(attribute="is_few")
    average_tenths = fields.Integer(allow_none=True)
    items = fields.List(fields.Nested(ShownRating))
    next_cursor = fields.String(allow_none=True)
