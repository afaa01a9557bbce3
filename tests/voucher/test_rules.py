"""The law's own table (rules.md) and what follows from it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.money import spread
from voucher.rules import SpendAndSave, next_saving, quote

LAOSHAN = SpendAndSave(step_fen=10000, save_fen=2000)


@pytest.mark.parametrize(
    ("subtotal_fen", "balance_fen", "discount_fen", "payable_fen"),
    [
        (1, 20000, 0, 1),
        (9999, 20000, 0, 9999),
        (10000, 20000, 2000, 8000),
        (15000, 20000, 2000, 13000),
        (19999, 20000, 2000, 17999),
        (20000, 20000, 4000, 16000),
        (25000, 20000, 4000, 21000),
        (30000, 20000, 6000, 24000),
        (100000, 20000, 20000, 80000),
        (130000, 20000, 20000, 110000),
        (30000, 2000, 2000, 28000),
        (30000, 1000, 1000, 29000),
        (30000, 0, 0, 30000),
    ],
)
def test_the_table_of_discounts(subtotal_fen, balance_fen, discount_fen, payable_fen):
    quoted = quote(LAOSHAN, amounts_fen=(subtotal_fen,), available_fen=balance_fen)
    assert (quoted.discount_fen, quoted.payable_fen) == (discount_fen, payable_fen)


def test_the_bulk_example():
    quoted = quote(LAOSHAN, amounts_fen=(15000 * 101,), available_fen=10**9)
    assert (quoted.subtotal_fen, quoted.discount_fen) == (1515000, 302000)


@given(st.lists(st.integers(1, 10**7), min_size=1, max_size=30), st.data())
def test_shares_add_up_and_fit(amounts, data):
    total = data.draw(st.integers(0, sum(amounts)))
    shares = spread(total, amounts)
    assert sum(shares) == total
    assert all(0 <= share <= amount for share, amount in zip(shares, amounts, strict=True))


@given(st.integers(0, 10**6), st.integers(0, 50000))
def test_the_next_saving_is_what_the_next_quote_gives(spend_fen, balance_fen):
    more = next_saving(LAOSHAN, spend_fen=spend_fen, available_fen=balance_fen)
    now = quote(LAOSHAN, amounts_fen=(spend_fen,), available_fen=balance_fen).discount_fen
    if more is None:
        then = quote(LAOSHAN, amounts_fen=(spend_fen + 10000,), available_fen=balance_fen).discount_fen
        assert then == now
    else:
        reached = spend_fen + more.spend_more_fen
        assert reached % 10000 == 0
        assert quote(LAOSHAN, amounts_fen=(reached,), available_fen=balance_fen).discount_fen == (
            now + more.save_more_fen
        )
        assert quote(LAOSHAN, amounts_fen=(reached - 1,), available_fen=balance_fen).discount_fen == now
