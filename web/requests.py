"""Every request has an id and a line in the log: which route, how it ended, how long it took.

The line names the route's pattern, never the address asked for: that may hold a phone or the key of a link.
"""

import logging
from time import perf_counter

from flask import Flask, Response, g, request

from kernel import origin

log = logging.getLogger("huigong.requests")
HEADER = "X-Request-ID"
# Asked every few seconds by machines: their lines would be most of a quiet night's log.
UNTOLD = frozenset({"web.healthz", "web.readyz", "web.metrics", "static", "bootstrap.static"})


def install(app: Flask) -> None:
    """Give every request its id, and tell the log how it ended. Before whoever may refuse it."""
    app.before_request(_begin)
    app.after_request(_end)
    app.teardown_request(lambda _error: origin.forget())


def _begin() -> None:
    g.began = perf_counter()
    origin.begin_request(request.headers.get(HEADER))


def _end(response: Response) -> Response:
    response.headers[HEADER] = origin.request_id()
    if log.isEnabledFor(logging.INFO) and (request.endpoint not in UNTOLD or response.status_code >= 500):
        rule = request.url_rule
        told = {
            "method": request.method,
            "route": rule.rule if rule is not None else "(none)",
            "status": response.status_code,
            "milliseconds": round((perf_counter() - g.began) * 1000, 1),
            "person": origin.actor(),
        }
        log.info("request", extra=told)
    return response
