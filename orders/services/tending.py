"""What the worker and `huigong sweep` look after in money: events, payments without one, statement lines, refunds."""

from datetime import datetime

from orders.services.banking import match_new
from orders.services.events import act_on_waiting, ask_due
from orders.services.sending import send_due

__all__ = ["act_on_waiting", "tend"]


def tend(*, second_person_fen: int, now: datetime) -> dict[str, int]:
    """Do all that is due, each thing in transactions of its own; return how many of each."""
    return {
        "events acted on": act_on_waiting(now=now),
        "payments asked about": ask_due(now=now),
        "statement lines matched": match_new(second_person_fen=second_person_fen, now=now),
        "refunds sent": send_due(now=now),
    }
