"""Text messages are written with what they tell of: many at once, and however long."""

from kernel import clock
from kernel.db import db, transaction
from kernel.sealing import unseal
from people import steps
from people.models import Message


def test_many_long_ones_at_once(world):
    told = [(f"139{number:08d}", f"{number}：" + "“山货礼包”、" * 300) for number in range(2000)]
    with world.app.app_context():
        with transaction():
            assert steps.write_notices(told, key="k" * 40, now=clock.now()) == 2000
        rows = db.session.query(Message).filter_by(kind="notice").order_by(Message.id)
        assert [(row.phone, unseal(row.sealed, key="k" * 40, purpose="code")) for row in rows] == told
