"""Every route and who may use it, as a table: docs/access.md. `python -m web.routes > docs/access.md` writes it."""

from flask import Flask

from people.rules import needed_scope
from web.access import OPEN_ENDPOINTS

HEADINGS = {
    "everyone": "everyone, signed in or not",
    "signed_in": "whoever is signed in",
    "member": "members, each their own things",
    "union": "officers and approvers of a grassroots union, their own union's things",
    "merchant": "merchants' clerks, their own merchant's things",
    "station": "a pickup station's staff, parcels for their own station",
    "operator": "the district union's operators",
}
INTRODUCTION = """# Who may use what

Each blueprint names its audience once, and the door refuses everybody else: 401 for who is not signed in (a page leads
to the sign-in), 403 for who belongs to another audience, and 404 for another's thing: nobody learns that it exists. A
token also needs the scope in the last column. Tests try every row with every seat (tests/house/test_access.py), and
fail for a route that has no row here. Written by `python -m web.routes > docs/access.md`.
"""


def rows(app: Flask) -> list[tuple[str, str, str, str]]:
    """Return (path, method, audience, scope) for every route; an audience of '' is a route that nobody named."""
    found = []
    for rule in app.url_map.iter_rules():
        blueprint = app.blueprints.get(rule.endpoint.rpartition(".")[0])
        audience = getattr(blueprint, "audience", "everyone" if rule.endpoint in OPEN_ENDPOINTS else "")
        if rule.endpoint in OPEN_ENDPOINTS:
            audience = "everyone"
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            scope = needed_scope(audience, method) if rule.rule.startswith("/api/") and audience != "everyone" else ""
            found.append((rule.rule, method, audience, scope))
    return sorted(set(found))


def table(app: Flask) -> str:
    """Return the document."""
    lines = [INTRODUCTION]
    for audience, heading in HEADINGS.items():
        lines += [f"\n## {heading[0].upper()}{heading[1:]}\n", "| route | method | scope |", "| --- | --- | --- |"]
        lines += [
            f"| `{path}` | {method} | {scope or '-'} |" for path, method, named, scope in rows(app) if named == audience
        ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    from web.app import create_app

    print(table(create_app()), end="")
