"""The one stylesheet of all pages: what our templates use of Bootstrap 5, then our tokens, then our components.

Bootstrap comes from the Bootstrap-Flask package, 227 KB of it; a poor phone gets only the rules whose classes some
template names. It is put together once per process, at the first request, so a template may use any class of
Bootstrap's and nobody has to build anything. Colours of the dark theme hold where the reader chose dark, and where
the reader chose nothing and the device asks for dark.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import flask_bootstrap

HERE = Path(__file__).resolve().parent
BOOTSTRAP = Path(flask_bootstrap.__file__).parent / "static" / "bootstrap5" / "css" / "bootstrap.min.css"
OWN = ("tokens.css", "huigong.css")
DARK, UNCHOSEN = "[data-bs-theme=dark]", ":root:not([data-bs-theme])"
# What makes a class whatever the templates say: flashed messages name their kind.
ALWAYS = frozenset({"alert-success", "alert-warning", "alert-danger", "alert-info"})
_CLASS = re.compile(r"\.(-?[A-Za-z_][\w-]*)")


def rules(css: str) -> Iterator[tuple[str, str]]:
    """Yield (prelude, body) of each block at the top of a stylesheet; a block of an at-rule has blocks in its body.

    >>> list(rules("a{b:c}@media x{d{e:f}g{h:i}}"))
    [('a', 'b:c'), ('@media x', 'd{e:f}g{h:i}')]
    """
    css = re.sub(r"/\*.*?\*/", "", css, flags=re.S)
    start = 0
    while (opens := css.find("{", start)) >= 0:
        depth, at = 1, opens + 1
        while depth and at < len(css):
            depth += {"{": 1, "}": -1}.get(css[at], 0)
            at += 1
        yield css[start:opens].rpartition(";")[2].strip(), css[opens + 1 : at - 1].strip()
        start = at


def used_words() -> frozenset[str]:
    """Return every word of our templates and page scripts: a class that is none of them is on no page."""
    found: set[str] = set(ALWAYS)
    for path in [*(HERE / "templates").rglob("*.html"), *(HERE / "static" / "js").glob("*.js")]:
        found |= set(re.findall(r"-?[A-Za-z_][\w-]*", path.read_text(encoding="utf-8")))
    return frozenset(found)


def kept(css: str, words: frozenset[str]) -> str:
    """Return the rules whose every class is among the words.

    >>> kept(".a{x:y}.b,.a:hover{x:y}@media z{.b{x:y}}p{x:y}", frozenset({"a"}))
    '.a{x:y}.a:hover{x:y}p{x:y}'
    """
    out = []
    for prelude, body in rules(css):
        if prelude.startswith("@media") or prelude.startswith("@supports"):
            inner = kept(body, words)
            out.append(f"{prelude}{{{inner}}}" if inner else "")
        elif prelude.startswith("@"):
            name = prelude.partition(" ")[2]
            out.append(f"{prelude}{{{body}}}" if prelude.startswith("@keyframes") and name in words else "")
        else:
            chosen = [one for one in _selectors(prelude) if set(_CLASS.findall(one)) <= words]
            out.append(f"{','.join(chosen)}{{{body}}}" if chosen else "")
    return "".join(out)


def _selectors(prelude: str) -> list[str]:
    """Split at the commas that stand in no bracket."""
    return [one.strip() for one in re.split(r",(?![^(]*\))", prelude)]


def dark_unchosen(css: str) -> str:
    """Return the rules of the dark theme once more, for a device that asks for dark and a reader who chose nothing.

    >>> dark_unchosen("[data-bs-theme=dark]{a:b}p{c:d}")
    '@media (prefers-color-scheme:dark){:root:not([data-bs-theme]){a:b}}'
    """
    again = []
    for prelude, body in rules(css):
        if prelude.startswith("@"):
            continue
        chosen = [one.replace(DARK, UNCHOSEN) for one in _selectors(prelude) if DARK in one]
        if chosen:
            again.append(f"{','.join(chosen)}{{{body}}}")
    return f"@media (prefers-color-scheme:dark){{{''.join(again)}}}" if again else ""


def _tight(css: str) -> str:
    css = re.sub(r"/\*.*?\*/", "", css, flags=re.S)
    return re.sub(r"\s*([{};,])\s*", r"\1", re.sub(r"\s+", " ", css)).replace(";}", "}").strip()


@lru_cache(maxsize=1)
def stylesheet() -> str:
    """Return all of it, as it is served."""
    bootstrap = kept(BOOTSTRAP.read_text(encoding="utf-8"), used_words())
    sheets = [bootstrap, *((HERE / "static" / "css" / name).read_text(encoding="utf-8") for name in OWN)]
    return "\n".join(_tight(sheet) + dark_unchosen(sheet) for sheet in sheets)
