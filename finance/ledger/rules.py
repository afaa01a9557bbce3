"""Accounts and postings.

A posting moves an amount from one account (debited) to another (credited), so an entry balances by construction:
what leaves one account arrives in another. An account is a kind plus whom it belongs to: `voucher.balance` of
voucher 7, `stock.held` of pack 3, `merchant.owed` of merchant 2 in campaign 1. Money accounts count fen, stock
accounts count packs; a posting never crosses the two. An account's balance is its credits less its debits.
"""

from dataclasses import dataclass

# Money, in fen.
DISTRICT_FUNDS = "district.funds"  # where a campaign's budget comes from
BUDGET_MEMBER = "budget.member"  # not yet promised to any member
BUDGET_BULK = "budget.bulk"  # not yet promised to any union
VOUCHER_BALANCE = "voucher.balance"
VOUCHER_HELD = "voucher.held"
VOUCHER_REDEEMED = "voucher.redeemed"
BULK_HELD = "bulk.held"
BULK_REDEEMED = "bulk.redeemed"
GRANT_HELD = "grant.held"  # set aside for packs given to people who have not answered yet
GRANT_REDEEMED = "grant.redeemed"
GRANT_PROMISED = "grant.promised"  # face value of vouchers promised by a grant
CASH = "cash"  # what buyers paid in, debited
SUBSIDY = "subsidy"  # what the district pays on top, debited
REFUND_DUE = "refund.due"  # money that reached us and goes back
MERCHANT_OWED = "merchant.owed"

# Stock, in packs.
STOCK_SOURCE = "stock.source"  # the merchant's own warehouse
STOCK_AVAILABLE = "stock.available"
STOCK_HELD = "stock.held"
STOCK_SOLD = "stock.sold"

MONEY_ACCOUNTS = (
    DISTRICT_FUNDS,
    BUDGET_MEMBER,
    BUDGET_BULK,
    VOUCHER_BALANCE,
    VOUCHER_HELD,
    VOUCHER_REDEEMED,
    BULK_HELD,
    BULK_REDEEMED,
    GRANT_HELD,
    GRANT_REDEEMED,
    GRANT_PROMISED,
    CASH,
    SUBSIDY,
    REFUND_DUE,
    MERCHANT_OWED,
)
STOCK_ACCOUNTS = (STOCK_SOURCE, STOCK_AVAILABLE, STOCK_HELD, STOCK_SOLD)


@dataclass(frozen=True)
class Posting:
    """分录: `amount` fen or packs move from the `debit` account to the `credit` account of the named owners."""

    debit: str
    credit: str
    amount: int
    campaign_id: int | None = None
    voucher_id: int | None = None
    pack_id: int | None = None
    merchant_id: int | None = None

    def __post_init__(self) -> None:
        assert self.amount > 0
        assert self.debit != self.credit
        assert (self.debit in STOCK_ACCOUNTS) == (self.credit in STOCK_ACCOUNTS)


@dataclass(frozen=True)
class Cause:
    """Why an entry is made: a kind and the thing it happened to. An entry is unique for its cause."""

    kind: str
    thing: str
    order_id: int | None = None
    actor_id: int | None = None
    reason: str | None = None

    @property
    def entry(self) -> str:
        """The entry's own name.

        >>> Cause("hold", "42").entry
        'hold:42'
        """
        return f"{self.kind}:{self.thing}"
