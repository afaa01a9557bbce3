"""发票: which tax numbers can be right, and the fewest invoices that add up to what was paid. Pure: figures only."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from orders.rules import Line, give_back

NORMAL, SPECIAL = "normal", "special"
KINDS = {
    NORMAL: (
        "normal",
        "general",
        "plain",
        "ordinary",
        "common",
        "electronic",
        "普通",
        "普票",
        "普通发票",
        "增值税普通发票",
    ),
    SPECIAL: ("special", "vat", "专用", "专票", "专用发票", "增值税专用发票"),
}
# GB 32100-2015: 31 characters, without I, O, S, V and Z, weighed by the powers of 3 modulo 31.
_ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_WEIGHTS = tuple(pow(3, place, 31) for place in range(17))


def kind_of(text: str) -> str | None:
    """Return which kind of invoice a word means, None where it means none.

    >>> kind_of("专用发票"), kind_of("Normal"), kind_of("x")
    ('special', 'normal', None)
    """
    word = text.strip().lower()
    return next((kind for kind, words in KINDS.items() if word in words), None)


def credit_code(text: str) -> str | None:
    """Return a unified social credit code (统一社会信用代码) as it is written, None where its check digit is wrong.

    GB 32100-2015, 5.2: the eighteenth character is 31 less the weighted sum of the others modulo 31.

    >>> credit_code("91350100m000100y43"), credit_code("91350100M000100Y44"), credit_code("")
    ('91350100M000100Y43', None, None)
    """
    code = text.strip().upper().replace(" ", "")
    if len(code) != 18 or any(character not in _ALPHABET for character in code):
        return None
    total = sum(_ALPHABET.index(character) * weight for character, weight in zip(code[:17], _WEIGHTS, strict=True))
    return code if _ALPHABET[-total % 31] == code[17] else None


@dataclass(frozen=True)
class Item:
    """One line of an invoice: units of a pack and what was paid for them after discount, in fen."""

    name: str
    quantity: int
    net_fen: int


@dataclass(frozen=True)
class Proposed:
    """An invoice to ask for: of one merchant, in fen; a red one (红字发票) has a negative amount."""

    merchant_id: int
    merchant_name: str
    amount_fen: int
    items: tuple[Item, ...] = ()
    merchant_name_en: str = ""

    @property
    def is_red(self) -> bool:
        """Whether it takes back what an issued invoice said."""
        return self.amount_fen < 0


@dataclass(frozen=True)
class Plan:
    """The fewest invoices for an order; `fits` says whether they are at most as many as asked."""

    invoices: tuple[Proposed, ...]
    at_most: int

    @property
    def total_fen(self) -> int:
        """What they add up to: paid after discount, less what was refunded."""
        return sum(one.amount_fen for one in self.invoices)

    @property
    def fits(self) -> bool:
        """Whether the blue ones are few enough."""
        return len([one for one in self.invoices if not one.is_red]) <= self.at_most


def net_of(line: Line) -> int:
    """Return what was paid for a line after discount, in fen, less what came back of it in cash."""
    paid_fen = line.amount_fen - line.discount_fen
    if line.refunded == 0:
        return paid_fen
    back = give_back(
        amount_fen=line.amount_fen,
        discount_fen=line.discount_fen,
        quantity=line.quantity,
        before=0,
        units=line.refunded,
    )
    return paid_fen - back.cash_fen


def nets_of(lines: Iterable[Line]) -> dict[int, int]:
    """Return what each merchant was paid by the buyer after discount and refunds, in fen."""
    nets: dict[int, int] = {}
    for line in lines:
        nets[line.merchant_id] = nets.get(line.merchant_id, 0) + net_of(line)
    return nets


def plan(
    lines: Sequence[Line], *, issued_fen: Mapping[int, int] | None = None, at_most: int = 3, ceiling_fen: int = 0
) -> Plan:
    """Propose the fewest invoices that, with those issued already, add up to the fen to what each merchant was paid.

    A merchant invoices its own goods, so there is one for each; more where one may not pass `ceiling_fen` (0: no
    ceiling). Where a refund made an issued invoice too high, a red one takes the difference back.
    """
    assert ceiling_fen >= 0
    issued = issued_fen or {}
    proposed: list[Proposed] = []
    for merchant_id, net_fen in nets_of(lines).items():
        own = [line for line in lines if line.merchant_id == merchant_id]
        left_fen = net_fen - issued.get(merchant_id, 0)
        items = tuple(Item(line.pack_name, line.left, net_of(line)) for line in own if line.left > 0)
        if left_fen < 0:
            parts = [left_fen]
        elif ceiling_fen == 0 or left_fen <= ceiling_fen:
            parts = [left_fen] if left_fen else []
        else:
            count = -(-left_fen // ceiling_fen)
            parts = [left_fen // count + (1 if part < left_fen % count else 0) for part in range(count)]
        whole = parts == [net_fen]
        proposed += [
            Proposed(merchant_id, own[0].merchant_name, fen, items if whole else (), own[0].merchant_name_en)
            for fen in parts
        ]
    return Plan(tuple(proposed), at_most)
