"""Who somebody is, and what a phone number looks like."""

import re
import unicodedata
from dataclasses import dataclass

CODE_SECONDS = 300
CODE_TRIES = 5

MEMBER = "member"
OFFICER = "union_officer"
APPROVER = "union_approver"
MERCHANT = "merchant"
OPERATOR = "operator"
SEATS = (OFFICER, APPROVER, MERCHANT, OPERATOR)

_AUDIENCE_ROLES = {
    "member": {MEMBER},
    "union": {OFFICER, APPROVER},
    "merchant": {MERCHANT},
    "operator": {OPERATOR},
}


@dataclass(frozen=True)
class Seat:
    """岗位权限: a person's role in one organization."""

    role: str
    union_id: int | None = None
    merchant_id: int | None = None


@dataclass(frozen=True)
class Identity:
    """A signed-in person with everything access decisions need, read by one query."""

    person_id: int
    name: str
    phone: str
    member_id: int | None = None
    member_union_id: int | None = None
    seats: tuple[Seat, ...] = ()

    @property
    def roles(self) -> list[str]:
        """The roles this person has, 'member' first, each once."""
        held = [MEMBER] if self.member_id is not None else []
        return held + sorted({seat.role for seat in self.seats})

    @property
    def union_id(self) -> int | None:
        """The grassroots union this person works for as officer or approver."""
        return next((seat.union_id for seat in self.seats if seat.union_id is not None), None)

    @property
    def merchant_id(self) -> int | None:
        """The merchant this person works for."""
        return next((seat.merchant_id for seat in self.seats if seat.merchant_id is not None), None)

    def admits(self, audience: str) -> bool:
        """Return whether this person belongs to a blueprint's audience.

        >>> Identity(1, "a", "1", member_id=7).admits("member")
        True
        >>> Identity(1, "a", "1", member_id=7).admits("operator")
        False
        """
        needed = _AUDIENCE_ROLES.get(audience)
        return needed is None or bool(needed & set(self.roles))


def normal_phone(text: str) -> str | None:
    """Return a mainland mobile number as eleven digits, or None where the text is none.

    >>> normal_phone("１３８-0000 0001"), normal_phone("+86 13800000001"), normal_phone("1.38E+10")
    ('13800000001', '13800000001', None)
    """
    digits = re.sub(r"[\s\-()]", "", unicodedata.normalize("NFKC", text))
    digits = re.sub(r"^(\+86|0086|86(?=1\d{10}$))", "", digits)
    return digits if re.fullmatch(r"1[3-9][0-9]{9}", digits) else None


def masked(phone: str) -> str:
    """Return a phone number that its owner recognizes and nobody else can call.

    >>> masked("13800000001")
    '138****0001'
    """
    return f"{phone[:3]}****{phone[-4:]}"
