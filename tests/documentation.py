"""The README and the pages of the site as tests read them: blocks of commands and of Python, files
that a page shows, commands in the prose, links.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
SHELLS = ("bash", "sh", "shell", "console")
_BLOCK = re.compile(r"^```(\S+)[^\n]*\n(.*?)^```$", flags=re.DOTALL | re.MULTILINE)
_NOT_RUN = re.compile(r"<!-- not run: (\S.*?) -->\s*\Z", flags=re.DOTALL)
_INLINE = re.compile(r"`((?:nowcast|python) [^`]*)`")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Args:
        language: bash, python, yaml ...
        text: what is in it.
        reason: why it is not run, from a comment `<!-- not run: REASON -->` above it; "" if it is.
    """

    language: str
    text: str
    reason: str

    def commands(self) -> list[str]:
        """Its lines, but for comments; a line that ends with a backslash goes on."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [" ".join(line.split()) for line in lines if line.strip() and line[0] != "#"]


def pages() -> list[Path]:
    """The README and every page of the site that is a file."""
    return [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]


def name_of(page: Path) -> str:
    """The page as tests call it, e.g. docs/how-to/train.md."""
    return page.relative_to(ROOT).as_posix()


def read(page: Path) -> str:
    """The text of a page."""
    return page.read_text(encoding="utf-8")


def blocks(page: Path) -> Iterator[Block]:
    """All fenced blocks of a page; cells that the site's build executes are none of these."""
    text = read(page)
    for found in _BLOCK.finditer(text):
        reason = _NOT_RUN.search(text[: found.start()])
        yield Block(found.group(1), found.group(2), reason.group(1) if reason else "")


def shown_file(block: Block) -> tuple[str, str] | None:
    """A block whose first line is `# FOLDER/NAME.yaml` shows that file: its name and its text.

    Hydra's `# @package _global_` comes before it, or Hydra would not find it.
    """
    first = block.text.removeprefix("# @package _global_\n").partition("\n")[0]
    found = re.fullmatch(r"# (\S+/\S+\.yaml)", first)
    return (found.group(1), block.text) if found else None


def inline_commands(page: Path) -> list[str]:
    """Commands in the prose, each on one line."""
    prose = _BLOCK.sub("", read(page))
    return [" ".join(found.split()) for found in _INLINE.findall(prose)]


def simple_commands(line: str) -> list[list[str]]:
    """The commands of a line that `&&` joins, as words."""
    found: list[list[str]] = [[]]
    for word in shlex.split(line, comments=True):
        if word == "&&":
            found.append([])
        else:
            found[-1].append(word)
    return found
