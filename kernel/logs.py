"""Logs: an object of JSON a line, or plain text, each with its request's id and none with a secret or a phone.

Everybody logs through Python's own `logging`; what is given as `extra` becomes a field. Whatever is written passes
`scrub` last, the text of an error too: an error of the database may quote the row it is about.
"""

import json
import logging
import os
import re
import sys
from collections.abc import Mapping
from typing import Any

import structlog
from structlog.stdlib import ProcessorFormatter
from structlog.types import EventDict, Processor

from kernel import origin

LEVELS = ("debug", "info", "warning", "error")
# PostgreSQL quotes values there: "Key (phone)=(…)", "Failing row contains (…)".
_QUOTED_ROW = re.compile(r"DETAIL: .*|Failing row contains .*")
# Their own DEBUG lines hold addresses and bodies of requests to others.
_TALKATIVE = ("alembic.runtime.plugins", "urllib3", "stripe", "botocore", "boto3", "s3transfer", "PIL", "fontTools")


# Made by us, of parts that hold nothing of anybody's; looking through them again would be most of a line's cost.
_OURS = frozenset({"at", "level", "logger", "process", "request_id", "method", "route", "status", "milliseconds"})
_encode = json.JSONEncoder(ensure_ascii=False, default=str).encode


def scrubbed(text: str) -> str:
    """Return a text without phones, tokens, keys and quoted rows.

    >>> scrubbed("sent to 13800000001 with Bearer hg_abcdefghijklmnopqrstu")
    'sent to [hidden] with [hidden]'
    >>> scrubbed("order 6912345678901234567 of person 42")
    'order 6912345678901234567 of person 42'
    """
    return origin.SECRETS.sub("[hidden]", _QUOTED_ROW.sub("[hidden]", text))


def scrub(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Scrub every text of a line that may hold anything."""
    for name, value in event.items():
        if name in _OURS:
            continue
        if isinstance(value, str):
            event[name] = scrubbed(value)
        elif not isinstance(value, int | float | None):
            event[name] = scrubbed(str(value))
    return event


def _of_request(_logger: Any, _method: str, event: EventDict) -> EventDict:
    for left_by_another in ("message", "asctime"):  # a formatter before us leaves these on the record
        event.pop(left_by_another, None)
    event["process"] = os.getpid()
    if request_id := origin.request_id():
        event["request_id"] = request_id
    return event


def formatter(format: str) -> logging.Formatter:
    """Return what writes a line: 'json' or 'text'."""
    first: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        _of_request,
    ]
    last: Processor = structlog.processors.JSONRenderer(serializer=lambda event, **_: _encode(event))
    if format == "text":
        last = structlog.dev.ConsoleRenderer(colors=False, timestamp_key="at", pad_event_to=0)
    return ProcessorFormatter(
        foreign_pre_chain=first,
        processors=[
            ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            scrub,
            last,
        ],
    )


def config(format: str, level: str) -> dict[str, Any]:
    """Return Python's description of our logs, for logging.config and gunicorn: everything goes to stderr, once."""
    quiet = {name: {"level": "WARNING"} for name in _TALKATIVE}
    ours = {"handlers": [], "propagate": True, "level": level.upper()}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"ours": {"()": "kernel.logs.formatter", "format": format}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "ours", "stream": "ext://sys.stderr"}},
        "root": {"handlers": ["stderr"], "level": level.upper()},
        "loggers": {**quiet, "gunicorn.error": ours, "gunicorn.access": ours},
    }


def install(format: str, level: str) -> None:
    """Write this process's logs to stderr so, where nobody has arranged for it yet (gunicorn does for its workers)."""
    root = logging.getLogger()
    if any(isinstance(handler.formatter, ProcessorFormatter) for handler in root.handlers):
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter(format))
    root.addHandler(handler)
    root.setLevel(level.upper())
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.captureWarnings(True)


def chosen(environ: Mapping[str, str]) -> tuple[str, str]:
    """Return format and level as the environment says; what is neither is refused by the settings, not here."""
    production = environ.get("HUIGONG_ENV") == "production"
    format = environ.get("HUIGONG_LOG_FORMAT", "json" if production else "text").lower()
    level = environ.get("HUIGONG_LOG_LEVEL", "info").lower()
    return format if format in ("json", "text") else "json", level if level in LEVELS else "info"
