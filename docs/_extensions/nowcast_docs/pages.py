"""The directive ``nowcast-pages``: pages of a folder as cards, each with title and first
sentence, and the same pages in the navigation.
"""

import re
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.directives.other import TocTree
from sphinx.util import logging

from nowcast_docs import markup

_INCLUDE = re.compile(r"```\{include\} (\S+)")
_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")
_SENTENCE = re.compile(r"(.+?[.!?])(?= [A-Z]|$)")
_logger = logging.getLogger(__name__)


def beginning(path: Path) -> tuple[str, str]:
    """The title of a page, and the first sentence below it; "" where there is none."""
    text = path.read_text(encoding="utf-8")
    included = _INCLUDE.search(text)
    if included and not re.search(r"^# ", text, re.MULTILINE):
        return beginning(path.parent / included[1])
    title, _, rest = re.split(r"^# ", text, maxsplit=1, flags=re.MULTILINE)[-1].partition("\n")
    for block in rest.split("\n\n"):
        words = " ".join(block.split())
        if re.match(r"[A-Za-z*`\[]", words) and not words.startswith("```"):
            plain = _LINK.sub(r"\1", words).replace("*", "")
            found = _SENTENCE.match(plain)
            return title.strip(), found[1] if found else plain
    return title.strip(), ""


class PagesDirective(TocTree):
    """Takes the pages of its folder in the order that they are named in; ``*`` stands for all
    others, if there are any.
    """

    def run(self) -> list[nodes.Node]:
        """The cards, and the toctree, which is not shown."""
        self.options |= {"glob": None, "hidden": None}
        if not self._others():
            for number in reversed(range(len(self.content))):
                if self.content[number] == "*":
                    del self.content[number]
        found = super().run()
        cards = nodes.bullet_list(classes=["doors"])
        for tree in [tree for node in found for tree in node.findall(addnodes.toctree)]:
            cards += [self._card(page) for _, page in tree["entries"]]
        return [cards, *found] if len(cards) else found

    def _others(self) -> set[str]:
        """The pages of the folder that are not named."""
        folder = self.env.docname.rpartition("/")[0]
        beside = {page for page in self.env.found_docs if page.rpartition("/")[0] == folder}
        return beside - {self.env.docname} - {f"{folder}/{name}" for name in self.content}

    def _card(self, page: str) -> nodes.list_item:
        """The card of a page."""
        path = Path(self.env.doc2path(page))
        self.env.note_dependency(str(path))
        title, lead = beginning(path)
        if not lead:
            _logger.warning("%s does not begin with a sentence", page, location=self.get_location())
        link = {"refdomain": "std", "reftype": "doc", "reftarget": f"/{page}"}
        name = nodes.strong("", "", *markup.inline(title, links=False))
        reference = addnodes.pending_xref("", name, refexplicit=True, refwarn=True, **link)
        text = [reference, nodes.Text(" "), *markup.inline(lead, links=False)]
        return nodes.list_item("", nodes.paragraph("", "", *text))
