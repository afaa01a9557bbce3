"""The headers every answer has: what a browser must not do with it."""

from collections.abc import Callable, Iterable
from typing import Any

from flask import Flask

ALWAYS = (
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "same-origin"),
    ("X-Frame-Options", "DENY"),
    (
        "Content-Security-Policy",
        "default-src 'self'; img-src 'self' data:; style-src 'self'; script-src 'self'; object-src 'none'; "
        "frame-ancestors 'none'; base-uri 'self'; form-action 'self'",
    ),
)
OVER_TLS = ("Strict-Transport-Security", "max-age=31536000; includeSubDomains")

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def install(app: Flask) -> None:
    """Stand before the application, behind whatever says whether a request came over TLS."""
    app.wsgi_app = _with_headers(app.wsgi_app)  # type: ignore[method-assign]


def _with_headers(application: Application) -> Application:
    """Return the application, its answers with these headers: those it has set itself stay as they are."""

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            named = {name for name, _ in headers}
            headers += [header for header in ALWAYS if header[0] not in named]
            if environ.get("wsgi.url_scheme") == "https" and OVER_TLS[0] not in named:
                headers.append(OVER_TLS)
            return start_response(status, headers, *more)

        return application(environ, start)

    return answer
