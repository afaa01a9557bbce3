"""Delivering messages: by the worker, each at most once unless a person says otherwise.

A message is claimed in one transaction, sent with no row locked, and its outcome written in another. Whatever happens
between (a time-out, an error of the provider's, a process that dies) leaves it "unsure": an operator is shown it, and
it is never sent again by itself. Only what certainly was not taken is tried again, later each time.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import or_, select, update

from kernel import audit, origin
from kernel.clock import local
from kernel.db import db, rows_changed, transaction, unindexed
from kernel.errors import NotFound, StateConflict
from people import message_queries as queries
from people import texts
from people.message_queries import MessageRow
from people.models import Message
from people.services.senders import Envelope, Outbox, Refused, Sender, Unsure
from people.telling import CODE, EMAIL, SMS

log = logging.getLogger("huigong.messages")

CODE_TRIES, NOTICE_TRIES = 4, 8
CODE_GIVES_UP = timedelta(minutes=5)  # a code is of no use later
NOTICE_GIVES_UP = timedelta(days=3)
LEASE = timedelta(minutes=2)
"""How long sending one message may take before whoever does it counts as gone."""
AFTER_UNSURE = timedelta(minutes=1)
"""While the last message of a channel within this time is unsure, one is tried at a time."""
SECONDS_A_LOOK = 5.0
AT_ONCE = 8
"""How many messages a worker hands to a provider side by side: as many are unsure where the worker dies meanwhile."""


@dataclass(frozen=True)
class Quiet:
    """From which minute of the day to which, in Asia/Shanghai, nobody is sent what can wait; the same two is never."""

    begins: int = 21 * 60
    ends: int = 8 * 60

    def at(self, now: datetime) -> bool:
        """Return whether it is quiet now.

        >>> from datetime import UTC
        >>> [Quiet().at(datetime(2026, 11, 1, hour, 59, tzinfo=UTC)) for hour in (12, 13, 23, 0)]
        [False, True, True, False]
        """
        moment = local(now)
        minute = moment.hour * 60 + moment.minute
        if self.begins <= self.ends:
            return self.begins <= minute < self.ends
        return minute >= self.begins or minute < self.ends


def deliver(
    senders: Mapping[str, Sender],
    *,
    key: str,
    now: datetime,
    quiet: Quiet = Quiet(0, 0),
    limit: int = 200,
    seconds: float = SECONDS_A_LOOK,
) -> int:
    """Send what waits, each message taken by one worker only; return how many were sent.

    Codes go first, and whatever the hour. Stops after `seconds`: the worker has other things to do.
    """
    note_lost(now=now)
    until = time.monotonic() + seconds
    sent = 0
    for channel in (SMS, EMAIL):
        at_once = 1  # the first shows whether the provider is well
        due = _due(channel, quiet=quiet.at(now), limit=limit, now=now)
        while due:
            if time.monotonic() > until:
                return sent
            some, due = due[:at_once], due[at_once:]
            outcomes = _deliver(some, senders[channel], key=key, now=now)
            at_once = AT_ONCE
            sent += outcomes.count("sent")
            if "unsure" in outcomes:
                break  # it may be the same with the next: the provider is given time
    return sent


def _due(channel: str, *, quiet: bool, limit: int, now: datetime) -> list[int]:
    ready = (Message.channel == channel, Message.status == "waiting", Message.send_at <= now)
    troubled = db.session.scalar(
        select(Message.id)
        .where(Message.channel == channel, Message.status == "unsure", Message.claimed_at > now - AFTER_UNSURE)
        .limit(1)
    )
    limit = 1 if troubled is not None else limit
    urgent = [kind.name for kind in texts.KINDS.values() if kind.urgent]
    found: list[int] = []
    for which in (Message.kind == CODE, Message.kind != CODE):
        query = select(Message.id).where(*ready, which).order_by(Message.send_at).limit(limit - len(found))
        if quiet:
            query = query.where(or_(Message.kind == CODE, Message.event.in_(urgent)))
        found += db.session.scalars(query)
        if len(found) >= limit:
            break
    return found


def note_lost(*, now: datetime) -> int:
    """Say of what somebody began to send and never finished that it is unsure; return how many."""
    lost = (Message.status == "sending", or_(Message.claimed_at.is_(None), Message.claimed_at <= now - LEASE))
    if db.session.scalar(select(Message.id).where(*lost).limit(1)) is None:
        return 0
    with transaction():
        return rows_changed(update(Message).where(*lost).values(status="unsure", error="the worker went away"))


def _deliver(message_ids: Sequence[int], sender: Sender, *, key: str, now: datetime) -> list[str]:
    """Claim messages, send them side by side with no row locked, and write what came of each; return the outcomes."""
    taken = [row for message_id in message_ids if (row := _claimed(message_id, now=now)) is not None]
    ready = [_envelope(row, key=key) for row in taken]
    with ThreadPoolExecutor(AT_ONCE, "message") as threads:
        tried = list(threads.map(lambda row, envelope: _tried(row, envelope, sender, now=now), taken, ready))
    for row, outcome in zip(taken, tried, strict=True):
        _record(row, outcome, now=now)
    return [outcome["status"] for outcome in tried]


def _claimed(message_id: int, *, now: datetime) -> MessageRow | None:
    """Take a message that waits; None where somebody else has it."""
    with transaction():
        taken = rows_changed(
            update(Message)
            .where(Message.id == message_id, unindexed(Message.status == "waiting"), Message.send_at <= now)
            .values(status="sending", tries=Message.tries + 1, claimed_at=now)
        )
        return queries.one(message_id) if taken else None


def _tried(row: MessageRow, ready: Envelope | None, sender: Sender, *, now: datetime) -> dict[str, Any]:
    """Send a message, in a thread of its own that touches no database; return what came of it."""
    last = row.tries >= (CODE_TRIES if row.kind == CODE else NOTICE_TRIES)
    if now - row.send_at > (CODE_GIVES_UP if row.kind == CODE else NOTICE_GIVES_UP) or (
        row.kind == CODE and now - row.made_at > CODE_GIVES_UP
    ):
        return {"status": "failed", "error": "too late"}
    if ready is None:
        return {"status": "failed", "error": "nothing to send, or nowhere to send it"}
    try:
        sender.send(ready)
    except Refused as refused:
        outcome: dict[str, Any] = {"status": "failed" if last else "waiting", "error": str(refused)[:200]}
        if not last:
            outcome["send_at"] = now + delay_after(row.tries, code=row.kind == CODE)
    except Unsure as unsure:
        outcome = {"status": "unsure", "error": str(unsure)[:200]}
    except Exception as error:  # a fault of ours or of a library's: the message may have left before it
        outcome = {"status": "unsure", "error": type(error).__name__}
    else:
        outcome = {"status": "sent", "error": "", "sent_at": now, "said": queries.shown(row)}
        if not isinstance(sender, Outbox):
            outcome["sealed"] = ""
    return outcome


def _record(row: MessageRow, outcome: dict[str, Any], *, now: datetime) -> None:
    """Write what came of a try, also where it took so long that it was called unsure meanwhile."""
    if row.kind == CODE and outcome["status"] == "failed":
        outcome["sealed"] = ""
    with transaction():
        rows_changed(
            update(Message)
            .where(Message.id == row.id, Message.status.in_(("sending", "unsure")), Message.tries == row.tries)
            .values(**outcome)
        )
    with origin.work_of(row.request_id):
        about = {"message_id": row.id, "kind": row.event or row.kind, "attempt": row.tries}
        log.info("message handled", extra={**about, "outcome": outcome["status"], "error": outcome["error"] or None})


def delay_after(tries: int, *, code: bool) -> timedelta:
    """Return how long to wait after so many tries: a code cannot wait long, the rest up to twelve hours.

    >>> [str(delay_after(tries, code=True)) for tries in (1, 3)], [str(delay_after(n, code=False)) for n in (1, 3, 7)]
    (['0:00:10', '0:00:40'], ['0:01:00', '0:16:00', '12:00:00'])
    """
    if code:
        return timedelta(seconds=5 * 2**tries)
    return min(timedelta(minutes=4 ** (tries - 1)), timedelta(hours=12))


def _envelope(row: MessageRow, *, key: str) -> Envelope | None:
    """Return a message as a provider gets it; None where it has no address, or its sealed part cannot be opened."""
    secret = queries.opened(row.sealed, key=key, event=row.event if row.kind != CODE else "")
    to = queries.address_of(row)
    if secret is None or not to:
        return None
    if row.kind == CODE:
        code = secret.get("", "")
        return Envelope(row.id, to, CODE, "", code, code=code) if code else None
    if not row.event:
        return Envelope(row.id, to, "", "", secret.get("", ""))
    values = {**row.details, **secret}
    subject, words = queries.words_of(row)
    return Envelope(row.id, to, row.event, subject, texts.filled(words, values), values=values)


def mark_delivered(message_id: int | None, *, actor_id: int, now: datetime) -> None:
    """An operator found out that an unsure message arrived. Raises NotFound, StateConflict where it is not unsure."""
    _decide(
        message_id, "message.delivered", ("unsure",), {"status": "sent", "sent_at": now}, actor_id=actor_id, now=now
    )


def give_up(message_id: int | None, *, actor_id: int, now: datetime) -> None:
    """An operator lets an unsure message be. Raises NotFound, StateConflict where it is not unsure."""
    _decide(message_id, "message.give_up", ("unsure",), {"status": "failed"}, actor_id=actor_id, now=now)


def send_again(message_id: int | None, *, actor_id: int, now: datetime) -> None:
    """An operator has a message sent again, on purpose: its person may get it twice.

    Raises NotFound, StateConflict where it neither failed nor is unsure, or is a one-time code: those are asked anew.
    """
    values = {"status": "waiting", "send_at": now, "tries": 0}
    _decide(message_id, "message.again", ("unsure", "failed"), values, actor_id=actor_id, now=now)


def _decide(
    message_id: int | None,
    action: str,
    states: tuple[str, ...],
    values: dict[str, Any],
    *,
    actor_id: int,
    now: datetime,
) -> None:
    with transaction():
        row = db.session.execute(
            select(Message.status, Message.kind).where(Message.id == message_id).with_for_update()
        ).one_or_none()
        if row is None:
            raise NotFound("没有这条消息。")
        if row.kind == CODE and values["status"] == "waiting":
            raise StateConflict("验证码不能重发，请本人重新获取。")
        done = rows_changed(
            update(Message)
            .where(Message.id == message_id, Message.status.in_(states))
            .values(decided_by=actor_id, decided_at=now, **values)
        )
        if done == 0:
            raise StateConflict("这条消息的状态已经变了，请刷新后再看。")
        before, after = {"status": row.status}, {"status": values["status"]}
        audit.record(action, f"message:{message_id}", actor_id=actor_id, now=now, before=before, after=after)
