"""Schemas show what marshmallow would: objects, mappings, lists of them, with and without a value."""

from types import SimpleNamespace

import pytest
from marshmallow import Schema, fields

from kernel.schemas import Base


class Inner(Base):
    n = fields.Integer()


class Shown(Base):
    plain = fields.Integer()
    named = fields.String(data_key="outside")
    from_another = fields.Integer(attribute="deep.n")
    made = fields.Function(lambda one: "made")
    without = fields.String(dump_default="nothing")
    called = fields.Integer(dump_default=lambda: 7)
    missing = fields.String()
    nested = fields.Nested(Inner)
    several = fields.List(fields.Nested(Inner))
    only_in = fields.String(load_only=True)


INNER = SimpleNamespace(n=3)
OBJECT = SimpleNamespace(plain="5", named=None, deep=INNER, nested=INNER, several=(INNER, INNER), only_in="secret")


@pytest.mark.parametrize("shown", [OBJECT, vars(OBJECT)], ids=["an object", "a mapping"])
def test_one_is_shown_as_marshmallow_shows_it(shown):
    schema = Shown()
    assert (
        schema.dump(shown)
        == Schema._serialize(schema, shown)
        == {
            "plain": 5,
            "outside": None,
            "from_another": 3,
            "made": "made",
            "without": "nothing",
            "called": 7,
            "nested": {"n": 3},
            "several": [{"n": 3}, {"n": 3}],
        }
    )
    assert list(schema.dump(shown)) == list(Schema._serialize(schema, shown)), "in the same order"


def test_several_and_a_part():
    assert Shown(only=("plain",)).dump([OBJECT, OBJECT], many=True) == [{"plain": 5}] * 2
    assert Shown(many=True, exclude=("nested", "several")).dump([]) == []
