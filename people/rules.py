"""Who somebody is, and what a phone number looks like."""

import re
import unicodedata
from dataclasses import dataclass, replace

CODE_SECONDS = 300
CODE_TRIES = 5

MEMBER = "member"
OFFICER = "union_officer"
APPROVER = "union_approver"
MERCHANT = "merchant"
STATION = "station"
OPERATOR = "operator"
SEATS = (OFFICER, APPROVER, MERCHANT, STATION, OPERATOR)

_AUDIENCE_ROLES = {
    "member": {MEMBER},
    "union": {OFFICER, APPROVER},
    "merchant": {MERCHANT},
    "station": {STATION},
    "operator": {OPERATOR},
}


# What a token may do: look at anything its owner may, order and pay, keep stock and ship, run campaigns.
SCOPES = ("read", "orders", "stock", "admin")
_SCOPE_OF = {
    "member": "orders",
    "union": "orders",
    "signed_in": "orders",
    "merchant": "stock",
    "station": "stock",
    "operator": "admin",
}

# How somebody signed in. A one-time code shows a phone is in one's hand: enough for a member, not for a seat.
BY_CODE, BY_PASSWORD, BY_TOTP, BY_PROVIDER = "code", "password", "totp", "provider"
TOTP_ROLES = (APPROVER, OPERATOR)  # for these a second factor is compulsory

PASSWORD_LENGTH = 10
FREE_FAILURES = 5


def lock_seconds(failures: int) -> int:
    """Return how long a name is locked after so many wrong passwords in a row: longer each time, an hour at most.

    >>> [lock_seconds(failures) for failures in (4, 5, 6, 8, 30)]
    [0, 30, 60, 240, 3600]
    """
    return 0 if failures < FREE_FAILURES else min(3600, 30 * 2 ** min(failures - FREE_FAILURES, 10))


def password_problem(password: str, *, login: str, name: str) -> str | None:
    """Return why a password is not taken, or None where it is: long, not one character, not the name itself."""
    if len(password) < PASSWORD_LENGTH:
        return "密码至少 10 个字符。"
    if len(password) > 200:
        return "密码最多 200 个字符。"
    if len(set(password)) < 5 or password.lower() in (login.lower(), name.lower()):
        return "这个密码太容易猜到。"
    return None


def needed_scope(audience: str, method: str) -> str:
    """Return the scope a token needs for a request.

    >>> needed_scope("merchant", "GET"), needed_scope("merchant", "POST"), needed_scope("operator", "PATCH")
    ('read', 'stock', 'admin')
    """
    return "read" if method in ("GET", "HEAD", "OPTIONS") else _SCOPE_OF.get(audience, "orders")


@dataclass(frozen=True)
class Seat:
    """岗位权限: a person's role in one organization."""

    role: str
    union_id: int | None = None
    merchant_id: int | None = None
    id: int | None = None
    station_id: int | None = None


@dataclass(frozen=True)
class Identity:
    """A signed-in person with everything access decisions need, read by one query."""

    person_id: int
    name: str
    phone: str
    member_id: int | None = None
    member_union_id: int | None = None
    seats: tuple[Seat, ...] = ()
    seat_id: int | None = None
    scopes: tuple[str, ...] = SCOPES
    method: str = BY_TOTP
    sign_in_id: int | None = None

    @property
    def roles(self) -> list[str]:
        """The roles this person has here and now, 'member' first, each once.

        Of several unions, merchants or stations only the one chosen counts: an officer of one union is nobody in
        another.
        """
        held = [MEMBER] if self.member_id is not None else []
        here = {
            seat.role
            for seat in self.seats
            if seat.union_id in (None, self.union_id)
            and seat.merchant_id in (None, self.merchant_id)
            and seat.station_id in (None, self.station_id)
        }
        return held + sorted(here)

    def _chosen_first(self) -> list[Seat]:
        return sorted(self.seats, key=lambda seat: seat.id != self.seat_id)

    @property
    def union_id(self) -> int | None:
        """The grassroots union this person works for as officer or approver: of several, the chosen seat's."""
        return next((seat.union_id for seat in self._chosen_first() if seat.union_id is not None), None)

    @property
    def merchant_id(self) -> int | None:
        """The merchant this person works for: of several, the chosen seat's."""
        return next((seat.merchant_id for seat in self._chosen_first() if seat.merchant_id is not None), None)

    @property
    def station_id(self) -> int | None:
        """The pickup station this person works at: of several, the chosen seat's."""
        return next((seat.station_id for seat in self._chosen_first() if seat.station_id is not None), None)

    def with_seats_of(self, method: str, *, staff_by_code: bool) -> "Identity":
        """Return what this person may be, having signed in in this way.

        A code or a provider makes a member; a password also opens a seat, and with the second factor every seat.
        """
        if method == BY_TOTP or (method == BY_CODE and staff_by_code):
            seats = self.seats
        elif method == BY_PASSWORD:
            seats = tuple(seat for seat in self.seats if seat.role not in TOTP_ROLES)
        else:
            seats = ()
        if method == self.method and seats == self.seats:
            return self
        return replace(self, seats=seats, method=method)

    def only_for(self, merchant_id: int | None) -> "Identity":
        """Return what a token of one merchant opens: that merchant's seat, no other, and no membership.

        >>> seats = (Seat("merchant", merchant_id=2), Seat("merchant", merchant_id=3), Seat("operator"))
        >>> Identity(1, "a", "1", member_id=7, seats=seats).only_for(2).roles
        ['merchant']
        """
        if merchant_id is None:
            return self
        own = tuple(seat for seat in self.seats if seat.merchant_id == merchant_id)
        return replace(self, member_id=None, member_union_id=None, seats=own)

    def may(self, audience: str, method: str) -> bool:
        """Return whether a token's scopes allow a request."""
        return needed_scope(audience, method) in self.scopes

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
    if len(text) == 11 and text.isascii() and text.isdigit() and text[0] == "1" and text[1] >= "3":
        return text
    digits = re.sub(r"[\s\-().·–—‐‑]", "", unicodedata.normalize("NFKC", text).strip().removesuffix(".0"))
    digits = re.sub(r"^(\+86|0086|86(?=1\d{10}$))", "", digits)
    return digits if re.fullmatch(r"1[3-9][0-9]{9}", digits) else None


def masked(phone: str) -> str:
    """Return a phone number that its owner recognizes and nobody else can call.

    >>> masked("13800000001")
    '138****0001'
    """
    return f"{phone[:3]}****{phone[-4:]}"
