"""The guides say what the pages say: their words, their pictures, their links; and the two languages agree."""

import re
from pathlib import Path

import pytest
from PIL import Image

from tests.guides import pictures
from tests.guides.camera import LANGUAGES, PICTURES, translations, words
from web.settings import ROOT

GUIDES = ROOT / "docs" / "guides"
AUDIENCES = ("member", "union", "merchant", "station", "operator")
BOLD = re.compile(r"\*\*(.+?)\*\*", re.S)
PICTURE = re.compile(r'<img src="pictures/([^"]+)" width="\d+" alt="([^"]+)">')
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)|<(?:img|a)\s[^>]*?(?:src|href)=\"([^\"]+)\"")
KEPT = re.compile(r'keep(?:\((?:page|officer|approver|phone|desk), |=)"([a-z-]+)"')


def guide(audience: str, language: str) -> str:
    return (GUIDES / f"{audience}{'' if language == 'en' else '.zh-CN'}.md").read_text(encoding="utf-8")


def documents() -> list[Path]:
    return [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")), ROOT / "demo" / "README.md"]


def ids_of(text: str, language: str) -> set[str]:
    """Return the texts of the pages that a reader of the language sees as this, figures filled in."""
    found = set()
    for chinese in translations():
        shown = words(chinese, language)
        if shown == text:
            found.add(chinese)
        elif "%(" in shown and not shown.startswith("%("):
            pattern = re.sub(r"%\\\(\w+\\\)s", ".+", re.escape(shown))
            if re.fullmatch(pattern, text):
                found.add(chinese)
    return found


def quoted(audience: str, language: str) -> list[str]:
    return [" ".join(text.split()) for text in BOLD.findall(guide(audience, language))]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("audience", AUDIENCES)
def test_what_a_guide_quotes_stands_on_the_pages(audience, language):
    said = quoted(audience, language)
    assert len(said) > 8
    assert [text for text in said if not ids_of(text, language)] == []


@pytest.mark.parametrize("audience", AUDIENCES)
def test_both_languages_quote_the_same_words_in_each_step(audience):
    def steps(language):
        parts = re.split(r"^## ", guide(audience, language), flags=re.M)
        return [[" ".join(text.split()) for text in BOLD.findall(part)] for part in parts]

    chinese, english = steps("zh-CN"), steps("en")
    assert len(chinese) == len(english)
    for place, (one, other) in enumerate(zip(chinese, english, strict=True)):
        unmatched = list(other)
        for text in one:
            same = next((said for said in unmatched if ids_of(said, "en") & ids_of(text, "zh-CN")), None)
            assert same, f"step {place}: {text} is not among {unmatched}"
            unmatched.remove(same)
        assert unmatched == [], f"step {place}"


@pytest.mark.parametrize("audience", AUDIENCES)
def test_both_languages_show_the_same_pictures_and_each_is_told(audience):
    shown = {language: PICTURE.findall(guide(audience, language)) for language in LANGUAGES}
    for language, those in shown.items():
        assert those
        assert guide(audience, language).count("<img") == len(those)
        assert all(name.endswith(f".{language}.webp") for name, _ in those)
    plain = [[name.partition(".")[0] for name, _ in shown[language]] for language in ("zh-CN", "en")]
    assert plain[0] == plain[1]


def test_the_pictures_are_those_that_the_script_takes_and_a_guide_shows():
    source = Path(pictures.__file__).read_text(encoding="utf-8")
    taken = {f"{name}.{language}.webp" for name in KEPT.findall(source) for language in LANGUAGES}
    there = {file.name for file in PICTURES.iterdir()}
    shown = {name for one in AUDIENCES for language in LANGUAGES for name, _ in PICTURE.findall(guide(one, language))}
    assert there == taken == shown


def test_the_pictures_are_small_and_of_a_phone_or_a_desk():
    for file in PICTURES.iterdir():
        with Image.open(file) as picture:
            assert picture.size in ((585, 1266), (1200, 800)), file.name
        assert file.stat().st_size < 100_000, file.name


@pytest.mark.parametrize("path", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_of_a_document_leads_somewhere(path):
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    for groups in LINK.findall(text):
        target = next(filter(None, groups))
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        place = (path.parent / name).resolve() if name else path
        assert place.exists(), f"{path.name}: {target}"
        assert place.is_relative_to(ROOT), f"{path.name}: {target}"
        if anchor and place.suffix == ".md":
            assert anchor in anchors(place), f"{path.name}: {target}"


def anchors(path: Path) -> set[str]:
    """Return the anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_document_is_in_the_index():
    index = ROOT / "docs" / "README.md"
    links = LINK.findall(index.read_text(encoding="utf-8"))
    listed = {(index.parent / (one or other)).resolve() for one, other in links}
    # A decision is found by its folder: its number says where it belongs.
    there = {path for path in (ROOT / "docs").rglob("*.md") if path.parent.name != "adr"}
    assert there - listed == {index}, "add a line to docs/README.md"
    assert ROOT / "docs" / "adr" in listed
