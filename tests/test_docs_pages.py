"""What the pages of the site say of themselves: files that they name are there, figures have their
date, machine and command, and every extra is explained.
"""

import re
import tomllib

import pytest

from tests import documentation as docs

PAGES = [
    page
    for folder in ("how-to", "explanation")
    for page in sorted((docs.DOCS / folder).glob("*.md"))
    if page.name != "index.md" and "{include}" not in docs.read(page)
]
PAGES += [docs.ROOT / "README.md", docs.ROOT / "nowcast" / "shipped" / "MODEL_CARD.md"]
MACHINE = re.compile(r"AMD EPYC|Intel Xeon")
DATE = re.compile(r"\b20\d\d-\d\d-\d\d\b")
MEASURED = re.compile(r"^\|.*\|[^|\n]*\d\.\d[^|\n]*\|$", flags=re.MULTILINE)
NOT_MEASURED = {  # tables whose numbers with a point are none of a machine
    ("docs/how-to/operate.md", "## Watch a folder"): "default thresholds",
    ("docs/how-to/formats.md", "## A forecast others can read"): "versions of formats",
}


def sections(text: str) -> list[str]:
    """A page cut before its headings of the second level; the first part begins it."""
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.split(r"^(?=## )", prose, flags=re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=docs.name_of)
def test_a_table_of_figures_says_its_date_and_machine(page):
    beginning, *rest = sections(docs.read(page))
    for section in [beginning, *rest]:
        heading = section.partition("\n")[0]
        if MEASURED.search(section) and (docs.name_of(page), heading) not in NOT_MEASURED:
            if "same machine and day" in section.replace("\n", " "):
                continue  # as above on the page
            assert DATE.search(section + beginning), f"{heading}: no date"
            assert MACHINE.search(section + beginning), f"{heading}: no machine"


@pytest.mark.parametrize("page", PAGES, ids=docs.name_of)
def test_every_file_that_a_page_names_is_there(page):
    named = re.findall(r"`((?:nowcast|conf|data|tests|docs)/[\w./*-]+\.\w+)`", docs.read(page))
    made = {"data/knmi.nc"}  # by a command of the page
    places = (docs.ROOT, docs.ROOT / "nowcast")  # architecture.md names files from the package on
    missing = [name for name in named if not any(list(place.glob(name)) for place in places)]
    assert [name for name in missing if name not in made] == []


@pytest.mark.parametrize("page", PAGES[:-2], ids=docs.name_of)
def test_a_page_begins_with_a_title_and_two_sentences(page):
    """What it is for, and who needs it."""
    title, _, text = docs.read(page).partition("\n\n")
    first = text.partition("\n\n")[0]
    assert re.fullmatch(r"# [^#\n]+", title) and not first.startswith(("#", "|", "`", "!"))
    assert len(re.findall(r"[.?:](?:\s|$)", first)) >= 2


def test_every_extra_has_a_row_on_the_page_of_installation():
    project = tomllib.loads(docs.read(docs.ROOT / "pyproject.toml"))["project"]
    page = docs.read(docs.DOCS / "how-to" / "install.md")
    explained = set(re.findall(r"^\| `(\w+)` \|", page, flags=re.MULTILINE))
    assert project["optional-dependencies"].keys() <= explained


def test_no_row_of_figures_stands_twice():
    seen: dict[str, str] = {}
    for page in PAGES:
        for row in re.findall(r"^\|.*\|$", docs.read(page), flags=re.MULTILINE):
            if len(re.findall(r"\d+(?:[.,]\d+)*", row)) >= 4:
                assert row not in seen, f"{docs.name_of(page)} and {seen[row]}: {row}"
                seen[row] = docs.name_of(page)
