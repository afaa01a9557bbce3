"""What everybody may see, answered again for a moment without asking the database.

A blueprint given to `keep_answers` keeps its good answers to strangers in the process for HUIGONG_CATALOG_SECONDS and
gives them again, or 304 to whoever has them already. What sells is decided by the order, never by what a page showed,
so a page may be a moment old; nobody's own things are kept. With 0 seconds nothing is. For the same reason such a look
reads the replica, where there is one.
"""

from collections import OrderedDict
from datetime import datetime, timedelta
from typing import Any, cast

from flask import Blueprint, Response, current_app, g, request, session
from flask_babel import get_locale

from kernel import clock
from kernel.db import read_the_replica

MOST = 500  # answers kept by a process; the oldest goes first
_KEPT = "huigong_kept"
Key = tuple[str, str]


def keep_answers(blueprint: Blueprint) -> None:
    """Keep this blueprint's answers to strangers for a moment."""
    blueprint.before_request(_again)
    blueprint.after_request(_keep)


def _key() -> Key | None:
    """Return what tells answers apart; None for what is not to be kept."""
    if request.method not in ("GET", "HEAD") or current_app.config["CATALOG_SECONDS"] == 0:
        return None
    if g.identity is not None or session:
        return None
    return request.full_path, str(get_locale())


def _answers() -> OrderedDict[Key, tuple[datetime, bytes, list[tuple[str, str]]]]:
    answers: OrderedDict[Key, tuple[datetime, bytes, list[tuple[str, str]]]]
    answers = current_app.extensions.setdefault(_KEPT, OrderedDict())
    return answers


def _again() -> Response | None:
    key = _key()
    found = _answers().get(key) if key is not None else None
    if found is None or found[0] <= clock.now():
        if request.method in ("GET", "HEAD") and g.identity is None and not session:
            read_the_replica()
        return None
    answer = Response(found[1], 200, found[2])
    g.kept = True
    return cast(Response, cast("Any", answer).make_conditional(request))


def _keep(answer: Response) -> Response:
    key = _key()
    if key is None or g.get("kept") or answer.status_code != 200 or answer.is_streamed:
        return answer
    answer.add_etag()
    answer.headers.setdefault("Cache-Control", "no-cache")
    answer.vary.update(("Cookie", "Accept-Language", "Authorization"))
    answers = _answers()
    until = clock.now() + timedelta(seconds=current_app.config["CATALOG_SECONDS"])
    answers[key] = until, answer.get_data(), list(answer.headers)
    answers.move_to_end(key)
    while len(answers) > MOST:
        answers.popitem(last=False)
    return cast(Response, cast("Any", answer).make_conditional(request))
