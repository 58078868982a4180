"""What a model says of the future: one field, or a distribution at each pixel.

A `Prediction` is what every model returns. Whoever asked takes from it what is needed: one forecast
(`point`), the probability that a value is reached (`exceedance`), or scenarios (`members`). What a
model cannot say it refuses with a sentence; what it can is in its ``capabilities``.

Axes: B batch, M members, K thresholds, T lead times, C = 1 channels, H rows, W columns.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from nowcast.models.yes_no import where_forecast
from nowcast.runtime.errors import UserError
from nowcast.types.functional import Functional


class Answers(NamedTuple):
    """What one pass over a forecast gave.

    Args:
        points: a forecast for each functional that was asked for, (B, T, 1, H, W).
        exceedance: of the thresholds that were asked for, (B, K, T, 1, H, W); None without any.
    """

    points: list[Tensor]
    exceedance: Tensor | None


class Prediction(ABC):
    """What a model says of the future.

    All values are on the model's own scale: normalised for networks, rain rates [mm/h] for the
    baselines. NaN where there is no forecast.
    """

    @abstractmethod
    def point(self, functional: str | Functional | None = None) -> Tensor:
        """One forecast.

        Args:
            functional: "mean", "median", "quantile:0.9", "event:0.3" (where the value is forecast
                for the best critical success index), "event:0.3@0.2" (where its probability is at
                least 0.2), see ``nowcast.types.functional``; None: the one that the model was made
                for.

        Returns:
            (B, T, 1, H, W), float32. Of an event: the value where it is forecast, elsewhere 0.

        Raises:
            UserError: the functional is unknown.
        """

    @abstractmethod
    def exceedance(self, thresholds: Sequence[float] | Tensor) -> Tensor:
        """The probability that each threshold is reached.

        Args:
            thresholds: K values.

        Returns:
            (B, K, T, 1, H, W), in [0, 1].
        """

    @abstractmethod
    def members(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """Scenarios of equal chance.

        Args:
            count: M, how many.
            generator: of their draws; None: torch's own.

        Returns:
            (B, M, T, 1, H, W), float32.

        Raises:
            UserError: the model has none, or not so many.
        """

    def answers(
        self,
        functionals: Sequence[str | Functional | None],
        thresholds: Sequence[float] | Tensor = (),
    ) -> Answers:
        """``point`` of each functional, and ``exceedance``; models that make all of them in one
        pass do so here.
        """
        points = [self.point(functional) for functional in functionals]
        return Answers(points, self.exceedance(thresholds) if len(thresholds) else None)


@dataclass(eq=False)
class SingleField(Prediction):
    """One field, which is the answer to whatever is asked.

    Args:
        values: (B, T, 1, H, W).
    """

    values: Tensor

    def point(self, functional: str | Functional | None = None) -> Tensor:
        """The field itself, (B, T, 1, H, W); of an event, where the field reaches it."""
        name, level, _ = Functional.parse(functional or "mean")
        if name != "event":
            return self.values
        event = torch.where(self.values >= level, level, 0.0)
        return torch.where(self.values.isnan(), torch.nan, event)

    def exceedance(self, thresholds: Sequence[float] | Tensor) -> Tensor:
        """1 where the field reaches a threshold, else 0: (B, K, T, 1, H, W)."""
        limits = torch.as_tensor(thresholds, dtype=self.values.dtype, device=self.values.device)
        reached = self.values[:, None] >= limits[:, None, None, None, None]
        known = ~self.values.isnan()[:, None]
        return torch.where(known, reached.to(self.values.dtype), torch.nan)

    def members(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """A single field has none.

        Raises:
            UserError: always.
        """
        raise UserError(
            f"{count} members were asked for, but this model predicts a single field and draws "
            "none; take a network with state noise (model.state_noise=0.1), model=lagrangian, or 0 "
            "members."
        )


class LogitPrediction(Prediction):
    """A distribution that can be learnt by the probabilities that values are reached."""

    @abstractmethod
    def exceedance_logits(
        self, levels: Tensor, *, every: int = 1, first: tuple[int, int] = (0, 0)
    ) -> tuple[Tensor, Tensor]:
        """Logits of the probability that each level is reached, with gradients.

        Args:
            levels: (K,) values.
            every: only every so many pixels of each row and column,
            first: from a row and a column on.

        Returns:
            (B, K, T, H', W') logits, and (B, T, H', W') booleans: where there is a forecast.
        """


class DrawnEnsemble(Prediction):
    """Members that are drawn when somebody asks for them.

    Args:
        draw: called with a number of members and a generator (None: torch's own); gives
            (B, M, T, 1, H, W).
        usual: how many members the mean, quantiles and probabilities are made of.
        best: gives the forecast where none of them is asked for, (B, T, 1, H, W); None: the mean.
    """

    def __init__(
        self,
        draw: Callable[[int, torch.Generator | None], Tensor],
        usual: int,
        best: Callable[[], Tensor] | None = None,
    ):
        self._draw, self.usual, self._best = draw, usual, best

    def point(self, functional: str | Functional | None = None) -> Tensor:
        """The best forecast, or what is asked for of the usual number of members."""
        return self.answers([functional]).points[0]

    def answers(
        self,
        functionals: Sequence[str | Functional | None],
        thresholds: Sequence[float] | Tensor = (),
    ) -> Answers:
        """All of the same members, which are drawn once."""
        best = self._best
        if best is not None and not len(thresholds) and all(one is None for one in functionals):
            return Answers([best() for _ in functionals], None)
        drawn = Ensemble(self.members(self.usual))
        points = [
            best() if best is not None and one is None else drawn.point(one) for one in functionals
        ]
        return Answers(points, drawn.exceedance(thresholds) if len(thresholds) else None)

    def exceedance(self, thresholds: Sequence[float] | Tensor) -> Tensor:
        """The share of the usual number of members that reach each threshold."""
        return Ensemble(self.members(self.usual)).exceedance(thresholds)

    def members(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """As many as asked for, (B, count, T, 1, H, W).

        Raises:
            UserError: fewer than 1.
        """
        if count < 1:
            raise UserError(f"members is {count}; it must be at least 1.")
        return self._draw(count, generator)


@dataclass(eq=False)
class Ensemble(Prediction):
    """Members that the model made together; its forecast is their mean.

    Args:
        values: (B, M, T, 1, H, W); NaN where a member has no value.
    """

    values: Tensor

    def point(self, functional: str | Functional | None = None) -> Tensor:
        """Of the members, (B, T, 1, H, W); NaN where any of them has no value."""
        name, level, probability = Functional.parse(functional or "mean")
        if name == "mean":
            return self.values.mean(dim=1)
        if name == "event":
            likely = self.exceedance([level])[:, 0]
            known = ~likely.isnan()
            event = torch.where(where_forecast(likely, known, probability), level, 0.0)
            return torch.where(known, event, torch.nan).to(self.values.dtype)
        return _quantile(self.values, level)

    def exceedance(self, thresholds: Sequence[float] | Tensor) -> Tensor:
        """The share of the members that reach each threshold, (B, K, T, 1, H, W)."""
        known = ~self.values.isnan().any(dim=1)
        shares = []
        for threshold in torch.as_tensor(thresholds).tolist():
            share = (self.values >= threshold).to(self.values.dtype).mean(dim=1)
            shares.append(torch.where(known, share, torch.nan))
        return torch.stack(shares, dim=1)

    def members(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """The first ``count`` members, (B, count, T, 1, H, W).

        Raises:
            UserError: more than there are.
        """
        made = self.values.shape[1]
        if not 1 <= count <= made:
            raise UserError(f"{count} members were asked for; this model made {made}.")
        return self.values[:, :count]


def _quantile(members: Tensor, level: float) -> Tensor:
    """A quantile over the members, (B, M, T, 1, H, W) -> (B, T, 1, H, W), linear between them; NaN
    where any has no value.

    ``torch.quantile`` takes up to 2^24 values, fewer than an ensemble on a radar's grid has.
    """
    place = level * (members.shape[1] - 1)
    below = math.floor(place)
    above = min(below + 1, members.shape[1] - 1)
    leads = []
    for lead in range(members.shape[2]):
        ordered = members[:, :, lead].sort(dim=1).values  # NaN come last
        value = torch.lerp(ordered[:, below], ordered[:, above], place - below)
        leads.append(torch.where(ordered[:, -1].isnan(), torch.nan, value))
    return torch.stack(leads, dim=1)


# what shards a model (FSDP) or makes a graph of it looks for the tensors in what it returns
torch.export.register_dataclass(SingleField)
torch.export.register_dataclass(Ensemble)
