"""The clock is read at a door and passed in. Times are aware UTC; a campaign's days are Asia/Shanghai's."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

SHANGHAI = ZoneInfo("Asia/Shanghai")


def now() -> datetime:
    """Return the present moment, aware, in UTC."""
    return datetime.now(UTC)


def is_plausible(day: date) -> bool:
    """Return whether a day is of a year that every zone and both engines can tell the time of."""
    return 1900 <= day.year <= 2999


def day_of(text: str) -> date | None:
    """Return the day a form's field names, or None where it names none.

    >>> day_of("2027-01-27"), day_of("0001-01-01"), day_of("27.1.2027")
    (datetime.date(2027, 1, 27), None, None)
    """
    try:
        day = datetime.strptime(text, "%Y-%m-%d").date()
    except ValueError:
        return None
    return day if is_plausible(day) else None


def local(moment: datetime) -> datetime:
    """Return a moment as the campaign's zone reads it."""
    return moment.astimezone(SHANGHAI)


def start_of_day(day: date) -> datetime:
    """Return the UTC moment a day begins in Asia/Shanghai.

    'To 27 January' is `start_of_day(date(2027, 1, 28))`, exclusive (rules.md, 'Time').

    >>> start_of_day(date(2027, 1, 28)).isoformat()
    '2027-01-27T16:00:00+00:00'
    """
    return datetime.combine(day, time(), tzinfo=SHANGHAI).astimezone(UTC)


def last_day(end: datetime) -> date:
    """Return the last local day before an exclusive end.

    >>> last_day(start_of_day(date(2027, 1, 28)))
    datetime.date(2027, 1, 27)
    """
    return local(end - timedelta(seconds=1)).date()


def days_from(moment: datetime, days: int) -> datetime:
    """Return the start of the local day `days` days after the day of `moment`.

    >>> days_from(datetime(2027, 1, 6, 3, tzinfo=UTC), 21).isoformat()
    '2027-01-26T16:00:00+00:00'
    """
    return start_of_day(local(moment).date() + timedelta(days=days))


def month_of(moment: datetime) -> str:
    """Return the month of a moment in Asia/Shanghai.

    >>> month_of(datetime(2026, 11, 30, 16, tzinfo=UTC))
    '2026-12'
    """
    return local(moment).strftime("%Y-%m")


def start_of_month(month: str) -> datetime:
    """Return the UTC moment a month begins in Asia/Shanghai.

    >>> start_of_month("2026-12").isoformat()
    '2026-11-30T16:00:00+00:00'
    """
    return start_of_day(date(int(month[:4]), int(month[5:]), 1))
