"""How a reader likes to read: dark or light, large text or normal. Remembered in the session, no script needed."""

import re

from flask import current_app, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue

from kernel.doors import PageBlueprint
from kernel.errors import NotFound
from web.settings import ROOT
from web.signing import local_path

bp = PageBlueprint("looks", __name__, audience="everyone")
# The first of each is what a reader has who chose nothing: the device's theme, text of normal size.
CHOICES = {"theme": ("auto", "light", "dark"), "text": ("normal", "large")}


@bp.get("/look/<name>/<value>")
def choose(name: str, value: str) -> ResponseReturnValue:
    """Remember a choice and go back to the page it was made on."""
    if value not in CHOICES.get(name, ()):
        raise NotFound("没有找到您要的内容。")
    if value == CHOICES[name][0]:
        session.pop(name, None)
    else:
        session[name] = value
        session.permanent = True
    return redirect(local_path(request.args.get("next", "")) or url_for("shop.home"))


def chosen() -> dict[str, str]:
    """Return what the reader chose, or the default, by name."""
    return {name: str(session.get(name, values[0])) for name, values in CHOICES.items()}


@bp.get("/styleguide")
def styleguide() -> ResponseReturnValue:
    """Every component on one page, for who writes pages (development only)."""
    if current_app.config["HUIGONG"].production:
        raise NotFound("没有找到您要的内容。")
    tokens = re.findall(r"--(?!bs-|touch|shadow)([a-z-]+): #", (ROOT / "web/static/css/tokens.css").read_text("utf-8"))
    return render_template("pages/styleguide.html", tokens=list(dict.fromkeys(tokens)))
