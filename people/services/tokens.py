"""Bearer tokens: named, scoped, expiring, kept as a hash, shown once."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import bindparam, insert, select, update

from kernel import audit
from kernel.db import db, rows_changed, transaction
from kernel.errors import Invalid, NotFound
from kernel.ids import digest, new_id, new_secret
from people import queries
from people.models import ApiToken, Credential
from people.rules import BY_TOTP, SCOPES, normal_phone

TOKEN_DAYS = 90


def make_for_login(*, login: str, name: str, scopes: Sequence[str] = SCOPES, now: datetime) -> str:
    """Make a token for whoever has this phone number or staff name, and return it. Raises NotFound."""
    identity = queries.by_phone(normal_phone(login) or login)
    if identity is None:
        person_id = db.session.scalar(select(Credential.person_id).where(Credential.login == login.strip().lower()))
        identity = queries.by_id(person_id) if person_id is not None else None
    if identity is None:
        raise NotFound("没有登录名为 %(login)s 的人。", login=login)
    return make(person_id=identity.person_id, name=name, scopes=scopes, days=TOKEN_DAYS, actor_id=None, now=now)


def make(
    *,
    person_id: int,
    name: str,
    scopes: Sequence[str],
    days: int,
    method: str = BY_TOTP,
    merchant_id: int | None = None,
    actor_id: int | None,
    now: datetime,
) -> str:
    """Make a token and return it: only its hash is kept, so it is shown this once. Raises Invalid.

    It opens no more than `method`, the way its maker is signed in, opens: a phone in somebody's hand makes no
    operator's token. The command line's tokens open every seat; with a `merchant_id`, that merchant's alone, as a
    merchant's own system should have it.
    """
    if not name.strip():
        raise Invalid("请填写令牌用途。", errors={"name": ["请填写令牌用途。"]})
    if not scopes or not set(scopes) <= set(SCOPES):
        raise Invalid("请选择令牌权限。", errors={"scopes": ["请选择令牌权限。"]})
    if not 1 <= days <= 365:
        raise Invalid("有效期为 1 到 365 天。", errors={"days": ["有效期为 1 到 365 天。"]})
    token, token_id = new_secret("hg_"), new_id()
    with transaction():
        db.session.execute(
            insert(ApiToken).values(
                token_hash=digest(token),
                id=token_id,
                person_id=person_id,
                name=name.strip()[:80],
                method=method,
                merchant_id=merchant_id,
                scopes=" ".join(scope for scope in SCOPES if scope in scopes),
                created_at=now,
                expires_at=now + timedelta(days=days),
            )
        )
        audit.record(
            "token.make",
            f"token:{token_id}",
            actor_id=actor_id,
            now=now,
            after={"person_id": person_id, "scopes": sorted(scopes), "days": days},
        )
    return token


def revoke(*, token_id: int | None, person_id: int, now: datetime) -> None:
    """End one of one's own tokens at once. Raises NotFound, also for another's."""
    with transaction():
        ended = rows_changed(
            update(ApiToken)
            .where(ApiToken.id == token_id, ApiToken.person_id == person_id, ApiToken.revoked_at.is_(None))
            .values(revoked_at=now)
        )
        if ended == 0:
            raise NotFound("没有这个令牌。")
        audit.record("token.revoke", f"token:{token_id}", actor_id=person_id, now=now)


class Uses:
    """When tokens were last used: gathered in this process and written together, so that a request costs no write.

    What is gathered and not yet written is lost with the process: `last_used_at` may lag by `EVERY`.
    """

    EVERY = timedelta(seconds=5)

    def __init__(self) -> None:
        self._seen: dict[str, datetime] = {}
        self._written_at: datetime | None = None

    def note(self, token: str, *, now: datetime) -> None:
        """Note a use; write all that is gathered where the last writing was long enough ago."""
        self._seen[digest(token)] = now
        if self._written_at is not None and now - self._written_at < self.EVERY:
            return
        seen, self._seen, self._written_at = self._seen, {}, now
        table = ApiToken.metadata.tables[ApiToken.__tablename__]
        with transaction():
            db.session.execute(
                update(table).where(table.c.token_hash == bindparam("of")).values(last_used_at=bindparam("at")),
                [{"of": token_hash, "at": at} for token_hash, at in sorted(seen.items())],
            )


uses = Uses()
