"""docs/threat-model.md names tests that exist, and what it says of the repository is so."""

import ast
import re
import subprocess

from web.settings import ROOT

DOCUMENT = ROOT / "docs" / "threat-model.md"
SECRETS = re.compile(
    r"sk_live_[0-9a-zA-Z]{10,}|whsec_[0-9a-zA-Z]{20,}|AKIA[0-9A-Z]{16}|-----BEGIN [A-Z ]*PRIVATE KEY"
    r"|ghp_[0-9A-Za-z]{30,}|xox[bp]-[0-9A-Za-z-]{20,}"
)
ROOMS = ("kernel", "people", "finance", "voucher", "catalog", "voices", "orders", "web")
# Statements whose text is ours alone: names of tables and columns from the models, numbers from a sequence.
OWN_TEXT = {"kernel/db.py": 2, "kernel/statements.py": 0}


def tracked():
    """Every file of the repository."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.splitlines()]


def test_every_test_the_document_names_exists():
    named = set(re.findall(r"`(test_\w+)`", DOCUMENT.read_text(encoding="utf-8")))
    there = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        there |= set(re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), re.M))
    assert len(named) > 60
    assert sorted(named - there) == []


def test_every_row_says_who_what_what_stops_it_and_what_shows_it():
    text = DOCUMENT.read_text(encoding="utf-8").partition("## Who could try what")[2].partition("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")][2:]
    assert len(rows) >= 35
    for row in rows:
        assert len(row) == 4, row
        assert "`test_" in row[3], row
    assert {"stranger", "member", "officer", "merchant", "operator"} <= {row[0] for row in rows}


def test_no_secret_stands_in_the_repository():
    for path in tracked():
        if path.suffix in (".png", ".xlsx", ".mo", ".ico") or not path.is_file():
            continue
        found = SECRETS.search(path.read_text(encoding="utf-8", errors="ignore"))
        assert found is None, f"{path}: {found[0][:12]}…"


def test_every_dependency_is_locked_by_its_hash():
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    entries = re.split(r"\n(?=\S)", re.sub(r"^\s*#.*\n", "", lock, flags=re.M).strip())
    assert len(entries) > 60
    for entry in entries:
        assert re.match(r"[\w.-]+(\[[\w,-]+\])?==\S+", entry), entry[:80]
        assert "--hash=sha256:" in entry, entry[:80]
    assert "--require-hashes" in (ROOT / "Makefile").read_text(encoding="utf-8")


def test_no_statement_is_made_of_text():
    """`text()` and the driver's `execute` get texts that stand in the code, never one that is put together."""
    for room in ROOMS:
        for path in (ROOT / room).rglob("*.py"):
            found = 0
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if not isinstance(node, ast.Call) or not node.args:
                    continue
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                made = isinstance(node.args[0], ast.JoinedStr | ast.BinOp)
                found += name in ("text", "execute", "exec_driver_sql", "copy", "literal_column") and made
            known = OWN_TEXT.get(str(path.relative_to(ROOT)), 0)
            assert found <= known, f"{path}: a statement is put together of text"


def test_templates_escape_everything():
    drawn = {"macros.html": ["qr|safe"], "pages/set_up.html": ["picture|safe"]}  # QR codes we draw as SVG
    folder, found = ROOT / "web" / "templates", {}
    for path in folder.rglob("*.html"):
        unescaped = re.findall(r"[\w.]*\s*\|\s*safe\b|autoescape\s+false|Markup\(", path.read_text(encoding="utf-8"))
        if unescaped:
            found[str(path.relative_to(folder))] = unescaped
    assert found == drawn
