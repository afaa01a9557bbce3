"""What the rooms' schemas share: strict integers, opaque ids, pages."""

import functools
import re
from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Any

from flask_babel import gettext
from marshmallow import EXCLUDE, Schema, ValidationError, fields, missing, pre_load, validate

from kernel.clock import is_plausible, local
from kernel.ids import as_id

MAX_INT = 2**53

# marshmallow's own messages are English. Ours are Chinese, and translated where they are shown.
fields.Field.default_error_messages |= {
    "required": "请填写这一项。",
    "null": "请填写这一项。",
    "validator_failed": "这一项不正确。",
}
fields.String.default_error_messages |= {
    "invalid": "请填写文字。",
    "invalid_utf8": "请填写文字。",
}
fields.Integer.default_error_messages |= {"invalid": "请填写整数。"}
fields.Number.default_error_messages |= {
    "invalid": "请填写整数。",
    "too_large": "数字太大。",
}
fields.List.default_error_messages |= {"invalid": "请填写一个列表。"}
fields.DateTime.default_error_messages |= {
    "invalid": "请填写带时区的时间。",
    "invalid_awareness": "请填写带时区的时间。",
}
fields.Date.default_error_messages |= {"invalid": "请选择日期。"}


class Length(validate.Length):
    """A bounded length, refused in the reader's language."""

    def _format_error(self, value: Any, message: str) -> str:
        if isinstance(value, str):
            if self.min and len(value) < self.min:
                return (
                    str(gettext("请填写这一项。"))
                    if self.min == 1
                    else str(gettext("至少 %(min)s 个字。", min=self.min))
                )
            return str(gettext("最多 %(max)s 个字。", max=self.max))
        if self.min and len(value) < self.min:
            return str(gettext("至少 %(min)s 项。", min=self.min))
        return str(gettext("最多 %(max)s 项。", max=self.max))


class Range(validate.Range):
    """A bounded number, refused in the reader's language."""

    def _format_error(self, value: Any, message: str) -> str:
        return str(gettext("请填写 %(min)s 到 %(max)s 之间的数。", min=self.min, max=self.max))


class OneOf(validate.OneOf):
    """One of a few words."""

    def _format_error(self, value: Any) -> str:
        return str(gettext("请填写其中之一：%(choices)s。", choices=", ".join(map(str, self.choices))))


class Base(Schema):
    """A schema that ignores what it does not know."""

    class Meta:
        """Unknown fields are no error: clients may be newer than we are."""

        unknown = EXCLUDE

    error_messages = {"type": "请填写一组字段。"}

    @functools.cached_property
    def _plan(self) -> list[tuple[str, str, Callable[..., Any] | None, fields.Field[Any]]]:
        """Each field shown: its name, its name outside, and what shows a value read from an attribute of that name."""
        return [
            (
                name,
                field.data_key if field.data_key is not None else name,
                field._serialize if field._CHECK_ATTRIBUTE and field.attribute is None else None,
                field,
            )
            for name, field in self.dump_fields.items()
        ]

    def _serialize(self, obj: Any, *, many: bool = False) -> Any:
        """Show objects as marshmallow does, an object's attributes read at once: it would take twice the time."""
        if many or isinstance(obj, Mapping):
            return super()._serialize(obj, many=many)
        shown = {}
        for name, key, show, field in self._plan:
            value = missing if show is None else getattr(obj, name, missing)
            value = field.serialize(name, obj, self.get_attribute) if value is missing else show(value, name, obj)  # type: ignore[misc]
            if value is not missing:
                shown[key] = value
        return shown


class ListOf(fields.List[Any]):
    """A list whose length is looked at before its items: a hundred thousand faulty lines cost no more than one."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> list[Any]:
        if isinstance(value, list):
            for validator in self.validators:
                if isinstance(validator, Length):
                    validator(value)
        items: list[Any] = super()._deserialize(value, attr, data, **kwargs)
        return items


_UNFIT = re.compile("[\x00-\x1f\ud800-\udfff]")  # control characters, and halves of a character


class Text(fields.String):
    """Text without control characters, trimmed."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text: str = super()._deserialize(value, attr, data, **kwargs)
        if _UNFIT.search(text):
            raise ValidationError(gettext("不能含有控制字符。"))
        return text.strip()


class Lines(Text):
    """Text of several lines: a line's end is the only control character in it."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        whole = fields.String._deserialize(self, value, attr, data, **kwargs).replace("\r\n", "\n")
        every = [super(Lines, self)._deserialize(line, attr, data, **kwargs) for line in whole.split("\n")]
        return "\n".join(every).strip()


class IdField(fields.Field[int]):
    """An id: text outside, a number inside."""

    def _serialize(self, value: Any, attr: str | None, obj: Any, **kwargs: Any) -> str | None:
        return None if value is None else str(value)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        number = as_id(str(value)) if isinstance(value, str | int) and not isinstance(value, bool) else None
        if number is None:
            raise ValidationError(gettext("无效的编号。"))
        return number


class Moment(fields.DateTime):
    """A time: RFC 3339 with the campaign zone's offset."""

    def _serialize(self, value: datetime | None, attr: str | None, obj: Any, **kwargs: Any) -> str | None:
        return None if value is None else local(value).isoformat(timespec="seconds")


class Instant(fields.AwareDateTime):
    """A time a client names: with its offset, and of a year that every zone and both engines know."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> datetime:
        moment = super()._deserialize(value, attr, data, **kwargs)
        if not is_plausible(moment.date()):
            raise ValidationError(gettext("请填写 1900 年到 2999 年之间的日期。"))
        return moment


class Day(fields.Date):
    """A day a client names, of a year that every zone and both engines know."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> date:
        day: date = super()._deserialize(value, attr, data, **kwargs)
        if not is_plausible(day):
            raise ValidationError(gettext("请填写 1900 年到 2999 年之间的日期。"))
        return day


def text(maximum: int, *, minimum: int = 1, required: bool = True, **options: Any) -> Text:
    """Return a text field of bounded length."""
    return Text(required=required, validate=Length(min=minimum, max=maximum), **options)


def lines(maximum: int, *, minimum: int = 1, required: bool = True, **options: Any) -> Lines:
    """Return a field for text of several lines, of bounded length."""
    return Lines(required=required, validate=Length(min=minimum, max=maximum), **options)


def fen(*, required: bool = True, minimum: int = 0, **options: Any) -> fields.Integer:
    """Return a field for an amount in fen."""
    return fields.Integer(required=required, strict=True, validate=Range(min=minimum, max=10**13), **options)


class RowFault(Base):
    """What is wrong in a spreadsheet, where; said in the reader's language."""

    row = fields.Integer()
    column = fields.Function(lambda fault: gettext(fault["column"]))
    message = fields.Function(lambda fault: gettext(fault["message"], **fault["figures"]))


class SheetReport(Base):
    """What became of a spreadsheet's rows; `row` is the sheet's own number."""

    accepted = fields.Integer()
    rejected = fields.Integer()
    errors = fields.List(fields.Nested(RowFault))


class PageArgs(Base):
    """Which page of a list."""

    limit = fields.Integer(load_default=20, validate=Range(min=1, max=100))
    cursor = fields.String(load_default=None, validate=Length(max=100))

    @pre_load
    def _without_empty(self, data: Any, **_: Any) -> dict[str, Any]:
        """A filter left empty (`?tier_fen=`) is no filter."""
        return {name: data[name] for name in data if data[name] != ""}


@functools.cache
def page(item: type[Schema]) -> type[Schema]:
    """Return the schema of a page of items; the same one each time, so that the API's description names it once."""
    return Base.from_dict(
        {"items": fields.List(fields.Nested(item)), "next_cursor": fields.String(allow_none=True)},
        name=f"{item.__name__}Page",
    )
