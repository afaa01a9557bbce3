"""Signing in and out: members by phone and one-time code, staff by password and second factor, or by a provider."""

import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pyotp
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import delete, insert, or_, select, update

from kernel import audit, limits, origin
from kernel.db import db, rows_changed, transaction
from kernel.errors import Invalid, NotFound, RateLimited
from kernel.ids import digest, new_id, new_secret
from kernel.sealing import seal, unseal
from people import queries
from people.models import (
    Credential,
    GrassrootsUnion,
    Member,
    Message,
    Person,
    RecoveryCode,
    SeatRow,
    SignIn,
    SignInCode,
)
from people.rules import (
    BY_PASSWORD,
    BY_PROVIDER,
    BY_TOTP,
    CODE_SECONDS,
    CODE_TRIES,
    FREE_FAILURES,
    TOTP_ROLES,
    Identity,
    lock_seconds,
    normal_phone,
    password_problem,
)

hasher = PasswordHasher()
# Verified where nobody has the name: the answer takes as long as for somebody who has.
_NOBODYS_HASH = hasher.hash(secrets.token_urlsafe(16))
TOTP, CODE_TEXT = "totp", "code"
KEPT = timedelta(days=90)
"""How long it can be looked up who was told what."""
RECOVERY_CODES = 10


class WrongCode(Invalid):
    """The one-time code is wrong, used, expired, or tried too often."""

    code = "wrong_code"


class WrongPassword(Invalid):
    """Name or password is wrong; which of them is not said."""

    code = "wrong_password"


@dataclass(frozen=True)
class Limits:
    """How often one may try: one-time codes a phone, and attempts to sign in an address, in ten minutes."""

    codes_per_phone: int
    tries_per_address: int


@dataclass(frozen=True)
class Terms:
    """How long a sign-in lasts, in seconds: without being used, and in all."""

    idle_seconds: int
    limit_seconds: int


def _count_try(address_limits: Limits, *, now: datetime) -> None:
    limits.spend("sign-in", origin.address(), at_most=address_limits.tries_per_address, seconds=600, now=now)


def ask_for_code(*, phone: str, key: str, allowed: Limits, now: datetime) -> tuple[str, str]:
    """Make the one live code of a phone, have it sent, and return (phone, code).

    The answer is the same whether or not anybody has this phone. Raises Invalid for what is no phone number, and
    RateLimited.
    """
    number = normal_phone(phone)
    if number is None:
        raise Invalid("请填写 11 位手机号。", errors={"phone": ["请填写 11 位手机号。"]})
    _count_try(allowed, now=now)
    limits.spend("code", number, at_most=allowed.codes_per_phone, seconds=600, now=now)
    code = f"{secrets.randbelow(1_000_000):06d}"
    sealed = seal(code, key=key, purpose=CODE_TEXT)
    with transaction():
        known = db.session.scalar(select(Person.id).where(Person.phone == number))
        db.session.execute(delete(SignInCode).where(SignInCode.phone == number))
        db.session.execute(
            insert(SignInCode).values(
                phone=number,
                code_hash=_code_hash(number, code, key),
                tries_left=CODE_TRIES,
                expires_at=now + timedelta(seconds=CODE_SECONDS),
            )
        )
        db.session.execute(
            insert(Message).values(
                id=new_id(),
                phone=number,
                kind=CODE_TEXT,
                event=CODE_TEXT,
                sealed=sealed,
                # Nobody has this phone: the same is written, and never sent.
                status="waiting" if known else "unknown",
                send_at=now,
                made_at=now,
            )
        )
    return number, code


def sign_in_by_code(*, phone: str, code: str, key: str, allowed: Limits, now: datetime) -> Identity:
    """Return who signs in with a phone's live code, which is used up; raise WrongCode otherwise, and RateLimited."""
    number = normal_phone(phone) or ""
    _count_try(allowed, now=now)
    with transaction():
        tried = rows_changed(
            update(SignInCode)
            .where(SignInCode.phone == number, SignInCode.tries_left > 0, SignInCode.expires_at > now)
            .values(tries_left=SignInCode.tries_left - 1)
        )
        expected = db.session.scalar(select(SignInCode.code_hash).where(SignInCode.phone == number))
        right = tried == 1 and hmac.compare_digest(expected or "", _code_hash(number, code.strip(), key))
        if right:
            db.session.execute(delete(SignInCode).where(SignInCode.phone == number))
    identity = queries.by_phone(number) if right else None
    if identity is None:
        raise WrongCode("验证码不正确或已过期。", errors={"code": ["验证码不正确或已过期。"]})
    return identity


def _code_hash(phone: str, code: str, key: str) -> str:
    # Six digits can be tried out in no time from a stolen table; the key is not in the table.
    return hmac.new(key.encode(), f"{phone}:{code}".encode(), "sha256").hexdigest()


def check_password(*, login: str, password: str, allowed: Limits, now: datetime) -> tuple[Identity, Credential]:
    """Return whose name and password these are. Raises WrongPassword, and RateLimited while the name is locked.

    Each wrong password in a row locks the name for longer; a right one ends that.
    """
    _count_try(allowed, now=now)
    row = db.session.scalar(
        select(Credential).where(Credential.login == login.strip().lower()).execution_options(populate_existing=True)
    )
    if row is not None and row.locked_until is not None and row.locked_until > now:
        wait = int((row.locked_until - now).total_seconds()) + 1
        raise _locked(wait)
    try:
        hasher.verify(row.password_hash if row is not None else _NOBODYS_HASH, password)
    except (VerificationError, InvalidHashError):
        if row is not None:
            _note_failure(row.person_id, now=now)
        else:
            _note_unknown(login, now=now)
        raise WrongPassword("登录名或密码不正确。", errors={"password": ["登录名或密码不正确。"]}) from None
    if row is None:
        raise WrongPassword("登录名或密码不正确。", errors={"password": ["登录名或密码不正确。"]})
    with transaction():
        values: dict[str, Any] = {"failures": 0, "locked_until": None}
        if hasher.check_needs_rehash(row.password_hash):
            values["password_hash"] = hasher.hash(password)
        db.session.execute(update(Credential).where(Credential.person_id == row.person_id).values(**values))
    identity = queries.by_id(row.person_id)
    assert identity is not None
    return identity, row


def _note_unknown(login: str, *, now: datetime) -> None:
    """Lock a name nobody has as one that somebody has: whether it exists must not show."""
    try:
        limits.spend("name", login.strip().lower(), at_most=FREE_FAILURES, seconds=lock_seconds(FREE_FAILURES), now=now)
    except RateLimited as refused:
        raise _locked(refused.extra["retry_after"]) from None


def _locked(wait: int) -> RateLimited:
    return RateLimited("密码多次不正确，请在 %(seconds)s 秒后再试。", extra={"retry_after": wait}, seconds=wait)


def _note_failure(person_id: int, *, now: datetime) -> None:
    with transaction():
        db.session.execute(
            update(Credential).where(Credential.person_id == person_id).values(failures=Credential.failures + 1)
        )
        failures = db.session.scalar(select(Credential.failures).where(Credential.person_id == person_id)) or 0
        wait = lock_seconds(failures)
        if wait:
            until = now + timedelta(seconds=wait)
            db.session.execute(update(Credential).where(Credential.person_id == person_id).values(locked_until=until))
            audit.record(
                "sign_in.locked", f"person:{person_id}", actor_id=person_id, now=now, after={"failures": failures}
            )


def check_second_factor(*, person_id: int, code: str, key: str, allowed: Limits, now: datetime) -> None:
    """Take a time-based code or a recovery code, each once. Raises WrongCode, and RateLimited while locked."""
    _count_try(allowed, now=now)
    row = db.session.get(Credential, person_id, populate_existing=True)
    if row is None or row.totp_sealed is None:
        raise NotFound("没有找到您要的内容。")
    if row.locked_until is not None and row.locked_until > now:
        wait = int((row.locked_until - now).total_seconds()) + 1
        raise _locked(wait)
    text = code.strip().replace(" ", "")
    if not (_take_step(row, text, key=key, now=now) or _take_recovery(person_id, text, now=now)):
        _note_failure(person_id, now=now)
        raise WrongCode("动态码不正确或已用过。", errors={"code": ["动态码不正确或已用过。"]})
    with transaction():
        db.session.execute(
            update(Credential).where(Credential.person_id == person_id).values(failures=0, locked_until=None)
        )


def _step_of(secret: str, code: str, *, now: datetime) -> int | None:
    """Return the time step a code belongs to: this one, the one before or the one after."""
    totp = pyotp.TOTP(secret)
    present = int(now.timestamp()) // totp.interval
    for step in (present, present - 1, present + 1):
        if hmac.compare_digest(totp.generate_otp(step), code):
            return step
    return None


def _take_step(row: Credential, code: str, *, key: str, now: datetime) -> bool:
    secret = unseal(row.totp_sealed or "", key=key, purpose=TOTP)
    step = _step_of(secret, code, now=now) if secret and code.isdigit() else None
    if step is None:
        return False
    with transaction():
        return (
            rows_changed(
                update(Credential)
                .where(Credential.person_id == row.person_id, Credential.last_step < step)
                .values(last_step=step)
            )
            == 1
        )


def _take_recovery(person_id: int, code: str, *, now: datetime) -> bool:
    with transaction():
        return (
            rows_changed(
                update(RecoveryCode)
                .where(
                    RecoveryCode.code_hash == digest(f"{person_id}:{code.lower()}"),
                    RecoveryCode.person_id == person_id,
                    RecoveryCode.used_at.is_(None),
                )
                .values(used_at=now)
            )
            == 1
        )


def new_totp_secret() -> str:
    """Return a fresh secret for an authenticator app; nothing is kept until a code of it is shown."""
    return pyotp.random_base32()


def totp_address(secret: str, *, login: str) -> str:
    """Return what the QR code of an authenticator app says."""
    return pyotp.TOTP(secret).provisioning_uri(name=login, issuer_name="Huigong")


def set_up_totp(*, person_id: int, secret: str, code: str, key: str, now: datetime) -> list[str]:
    """Turn the second factor on once its app shows a right code; return ten recovery codes, shown this once."""
    step = _step_of(secret, code.strip().replace(" ", ""), now=now)
    if step is None:
        raise WrongCode("动态码不正确或已用过。", errors={"code": ["动态码不正确或已用过。"]})
    codes = ["-".join(secrets.token_hex(3) for _ in range(4)) for _ in range(RECOVERY_CODES)]
    with transaction():
        set_up = rows_changed(
            update(Credential)
            .where(Credential.person_id == person_id)
            .values(totp_sealed=seal(secret, key=key, purpose=TOTP), totp_since=now, last_step=step)
        )
        if set_up == 0:
            raise NotFound("没有找到您要的内容。")
        db.session.execute(delete(RecoveryCode).where(RecoveryCode.person_id == person_id))
        db.session.execute(
            insert(RecoveryCode),
            [{"code_hash": digest(f"{person_id}:{one}"), "person_id": person_id} for one in codes],
        )
        audit.record("totp.set_up", f"person:{person_id}", actor_id=person_id, now=now)
    return codes


def change_password(*, person_id: int, old: str, new: str, keep: int | None, now: datetime) -> None:
    """Change one's own password and end every other sign-in. Raises WrongPassword; Invalid for a weak one."""
    row = db.session.get(Credential, person_id, populate_existing=True)
    identity = queries.by_id(person_id)
    if row is None or identity is None:
        raise NotFound("没有找到您要的内容。")
    try:
        hasher.verify(row.password_hash, old)
    except (VerificationError, InvalidHashError):
        _note_failure(person_id, now=now)
        raise WrongPassword("原密码不正确。", errors={"old": ["原密码不正确。"]}) from None
    problem = password_problem(new, login=row.login, name=identity.name)
    if problem is None and new == old:
        problem = "新密码不能与原密码相同。"
    if problem is not None:
        raise Invalid(problem, errors={"new": [problem]})
    hashed = hasher.hash(new)
    with transaction():
        db.session.execute(
            update(Credential)
            .where(Credential.person_id == person_id)
            .values(password_hash=hashed, must_change=False, changed_at=now)
        )
        db.session.execute(
            update(SignIn)
            .where(SignIn.person_id == person_id, SignIn.ended_at.is_(None), SignIn.id != (keep or 0))
            .values(ended_at=now)
        )
        audit.record("password.change", f"person:{person_id}", actor_id=person_id, now=now)


def by_provider(*, union_code: str, claim: str, value: str) -> Identity:
    """Return the member of this union whom its identity provider names by phone or member number.

    A provider speaks for its own union only: another union's member is nobody here. Raises WrongCode.
    """
    query = (
        select(Member.person_id)
        .join(Person, Person.id == Member.person_id)
        .join(GrassrootsUnion, GrassrootsUnion.id == Member.union_id)
        .where(GrassrootsUnion.code == union_code, Member.left_on.is_(None))
    )
    if claim == "phone_number":
        query = query.where(Person.phone == (normal_phone(value) or ""))
    else:
        query = query.where(Member.member_no == value)
    person_id = db.session.scalar(query)
    identity = queries.by_id(person_id) if person_id is not None else None
    if identity is None:
        raise WrongCode("没有找到与此账号对应的会员，请联系您的基层工会。")
    return identity


def begin(*, person_id: int, method: str, terms: Terms, agent: str, now: datetime) -> str:
    """Begin a sign-in and return its secret, for the cookie; only the secret's hash is kept."""
    secret = new_secret()
    with transaction():
        db.session.execute(
            insert(SignIn).values(
                token_hash=digest(secret),
                id=new_id(),
                person_id=person_id,
                method=method,
                address=origin.address(),
                agent=agent[:120],
                begun_at=now,
                seen_at=now,
                idle_seconds=terms.idle_seconds,
                idle_until=now + timedelta(seconds=terms.idle_seconds),
                expires_at=now + timedelta(seconds=terms.limit_seconds),
            )
        )
        if method in (BY_PASSWORD, BY_TOTP, BY_PROVIDER):
            audit.record("sign_in", f"person:{person_id}", actor_id=person_id, now=now, after={"method": method})
    return secret


def note_seen(sign_in_id: int, *, now: datetime) -> None:
    """Note that a sign-in is being used; callers do so at most once a minute."""
    with transaction():
        row = db.session.execute(select(SignIn.idle_seconds).where(SignIn.id == sign_in_id)).one_or_none()
        if row is not None:
            db.session.execute(
                update(SignIn)
                .where(SignIn.id == sign_in_id)
                .values(seen_at=now, idle_until=now + timedelta(seconds=row.idle_seconds))
            )


def end(*, person_id: int, sign_in_id: int | None = None, now: datetime) -> int:
    """End one of one's own sign-ins, or all of them ('sign out everywhere'); return how many ended."""
    ending = update(SignIn).where(SignIn.person_id == person_id, SignIn.ended_at.is_(None)).values(ended_at=now)
    if sign_in_id is not None:
        ending = ending.where(SignIn.id == sign_in_id)
    with transaction():
        return rows_changed(ending)


def choose_seat(*, person_id: int, sign_in_id: int, seat_id: int | None, now: datetime) -> None:
    """Work in another of one's own seats from now on. Raises NotFound for a seat that is not one's own."""
    with transaction():
        own = select(SeatRow.id).where(
            SeatRow.id == seat_id, SeatRow.person_id == person_id, SeatRow.ended_at.is_(None)
        )
        if db.session.scalar(own) is None:
            raise NotFound("没有这个岗位。")
        db.session.execute(
            update(SignIn).where(SignIn.id == sign_in_id, SignIn.person_id == person_id).values(seat_id=seat_id)
        )


def needs_second_factor(identity: Identity) -> bool:
    """Return whether a seat of this person is one the second factor is compulsory for."""
    return any(seat.role in TOTP_ROLES for seat in identity.seats)


def forget_old(*, now: datetime) -> None:
    """Drop codes, counts and sign-ins that have ended: nothing of a person is kept longer than it serves."""
    limits.forget(now=now)
    month_ago = now - timedelta(days=30)
    with transaction():
        db.session.execute(delete(SignInCode).where(SignInCode.expires_at < now))
        db.session.execute(delete(SignIn).where(or_(SignIn.expires_at < month_ago, SignIn.ended_at < month_ago)))
        old_code = (Message.kind == CODE_TEXT) & (Message.made_at < month_ago)
        old = (Message.made_at < now - KEPT) & (Message.status.not_in(("waiting", "sending", "unsure")))
        db.session.execute(delete(Message).where(or_(old_code, old)))
