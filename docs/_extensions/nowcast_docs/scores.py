"""The directive ``nowcast-scores``: scores with formula, range, better direction and source."""

import math

from docutils import nodes
from sphinx import addnodes
from sphinx.util.docutils import SphinxDirective

from nowcast.evaluation.statistics.scores import DIRECTIONS, Score, about, judged_by
from nowcast.evaluation.titles import score_title
from nowcast_docs import score_runs
from nowcast_docs.formulas import FAMILIES, Formula

OBJECT = "score"


class ScoresDirective(SphinxDirective):
    """Describes the scores of a family of ``nowcast_docs.formulas``."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The nodes of the family."""
        family = FAMILIES[self.arguments[0]]
        return [self._score(name, formula) for name, formula in family.items()]

    def _score(self, name: str, formula: Formula) -> addnodes.desc:
        ident = f"score-{name.replace('_', '-')}"
        signature = addnodes.desc_signature("", "", ids=[ident])
        signature += addnodes.desc_name(name, name)
        signature += nodes.inline("", score_title(name, None), classes=["score-title"])
        self.env.domains.standard_domain.note_object(OBJECT, name, ident, location=signature)
        self.state.document.note_explicit_target(signature)
        content = addnodes.desc_content()
        content += nodes.paragraph("", formula.words)
        content += nodes.math_block(formula.latex, formula.latex, number=None, label=None)
        content += nodes.paragraph("", facts(name, formula), classes=["score-facts"])
        found = addnodes.desc("", signature, content, domain="std", objtype=OBJECT)
        found["classes"] += ["std", OBJECT]
        return found


def facts(name: str, formula: Formula) -> str:
    """Range, direction, unit, how leads are put together, where it is found, source."""
    score = about(name)
    return ". ".join(
        filter(
            None,
            [
                f"Range: {_number(formula.low)} to {_number(formula.high)}",
                _direction(score),
                _judged_by(name),
                f"Unit: {score.unit}" if score.unit else "",
                "Over all leads: the sum" if score.summed else "",
                "" if score.shown else "Not in the tables on the terminal, but in scores.csv",
                _givers(name),
                f"Source: {formula.source.rstrip('.')}.",
            ],
        )
    )


def _judged_by(name: str) -> str:
    """Which number of a distribution the score is of."""
    words = {"decision": "the yes/no forecast", "distribution": "all of it", "": ""}
    functional = judged_by(name)
    return f"Of a distribution: {words.get(functional, 'the ' + functional)}" if functional else ""


def _givers(name: str) -> str:
    """Which choices of ``scores=`` have it."""
    typed = score_runs.givers()[name]
    names = [choice.removeprefix("scores=") for choice in typed]
    return f"With scores={', '.join(names)}"


def _direction(score: Score) -> str:
    words = DIRECTIONS[score.better]
    return words.capitalize() if words else "No direction is the better one"


def _number(value: float) -> str:
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return "−1/3" if value == -1 / 3 else f"{value:g}".replace("-", "−")
