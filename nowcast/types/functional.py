"""Which one number of a distribution is meant: its mean, its median, a quantile, or whether a value
is forecast to be reached.

One field cannot be best at everything: each score rewards another functional (Gneiting 2011,
Journal of the American Statistical Association 106).
"""

import math
from typing import NamedTuple

from nowcast.runtime.errors import UserError

_EXPECTED = (
    "expected mean, median, quantile:P with P between 0 and 1, event:V with a value V above 0, or "
    "event:V@P, where V is forecast from the probability P on"
)


class Functional(NamedTuple):
    """Which one number of a distribution is wanted.

    Args:
        name: "mean", "median", "quantile" or "event" (the yes/no forecast that a value is reached).
        level: of a quantile its probability, 0.5 of the median; of an event the value.
        probability: of an event, from which on it is forecast: the cost of acting over the loss
            without it. None: the one that promises the best critical success index.
    """

    name: str
    level: float = 0.5
    probability: float | None = None

    @classmethod
    def parse(cls, text: "str | Functional") -> "Functional":
        """From words such as "mean", "quantile:0.9", "event:0.3" or "event:0.3@0.2".

        Raises:
            UserError: other words, or a level or a probability that is none.
        """
        if isinstance(text, Functional):
            return text
        name, _, given = str(text).partition(":")
        if text in ("mean", "median"):
            return cls(name)
        value, at, probability = given.partition("@")
        most = {"quantile": 1.0, "event": math.inf}
        found = cls(name, _number(value), _number(probability) if at else None)
        is_level = 0 < found.level < most.get(name, 0.0)
        is_probability = not at or (name == "event" and 0 < _number(probability) < 1)
        if not (is_level and is_probability):
            raise UserError(f"{_EXPECTED}, got {text!r}.")
        return found

    def __str__(self) -> str:
        """The words that ``parse`` reads."""
        if self.name in ("mean", "median"):
            return self.name
        at = "" if self.probability is None else f"@{self.probability:g}"
        return f"{self.name}:{self.level:g}{at}"

    def in_words(self) -> str:
        """What it is, for titles; events in mm/h."""
        if self.name == "quantile":
            return f"{100 * self.level:g} % quantile"
        if self.name == "event":
            at = "" if self.probability is None else f" from {100 * self.probability:g} % on"
            return f"yes or no: ≥ {self.level:g} mm/h{at}"
        return self.name


def in_words(functional: str) -> str:
    """A functional in words; "" of "", a model's single field."""
    return Functional.parse(functional).in_words() if functional else ""


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
