"""What the README promises of itself: short, its two commands, and nothing named that is not there."""

import re
import subprocess
from pathlib import Path

import pytest

from tests import documentation as docs

README = docs.ROOT / "README.md"
TEXT = docs.read(README)


def test_it_has_at_most_1500_words():
    assert len(TEXT.split()) <= 1500  # as wc -w counts


def test_the_two_commands_are_those_of_the_ci_script():
    first, second = [block.text for block in docs.blocks(README)][:2]
    assert first == "pip install -e . && python train.py\n"
    script = docs.ROOT / ".ci" / "run"
    pattern = re.search(r"sed -n '(.*)' README.md", script.read_text()).group(1)
    found = subprocess.run(
        ["sed", "-n", pattern, "README.md"],
        cwd=docs.ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert found == second == "pip install -e '.[test]' && python -m pytest\n"


def anchors(page: Path) -> set[str]:
    """What can stand behind # in a link to a page, as Sphinx and GitHub make it of headings."""
    headings = re.findall(r"^#+ (.*)$", docs.read(page), flags=re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return {heading.strip().replace(" ", "-") for heading in plain}


LINKS = [link for link in re.findall(r"\]\(([^)]+)\)", TEXT) if not link.startswith("http")]


@pytest.mark.parametrize("link", LINKS)
def test_every_file_and_heading_that_it_links_is_there(link):
    name, _, heading = link.partition("#")
    assert (docs.ROOT / name).exists()
    assert not heading or heading in anchors(docs.ROOT / name)


def test_it_leads_to_the_site_and_to_every_door_of_it():
    doors = {path.parent.name for path in docs.DOCS.glob("*/index.md")}
    assert doors == {"explanation", "how-to", "reference", "tutorials"}
    assert "sphinx-build docs site" in TEXT and "docs/get-started.md" in LINKS
    for door in doors - {"reference"}:  # which is made when the site is built
        assert any(link.startswith(f"docs/{door}/") for link in LINKS)
