"""Where an evaluation's batches come from: forecasts made now, or read from files."""

from abc import ABC, abstractmethod
from collections.abc import Iterable

import numpy as np

from nowcast.evaluation.blocks import Blocks
from nowcast.evaluation.judging import Batch
from nowcast.types.frames import Grid


class ForecastSource(ABC):
    """Cases with the forecasts that are judged on them, batch by batch.

    Attributes:
        members: number of members of the forecasts; 0 or None where they are no ensembles.
        count: number of cases.
    """

    members: int | None
    count: int

    @abstractmethod
    def blocks(self, hours: float | None) -> Blocks:
        """The cases in blocks of so many hours, which intervals are computed from."""

    @abstractmethod
    def ranges(self) -> list[range]:
        """The cases of each batch."""

    @abstractmethod
    def batch(self, indices: Iterable[int], of_case: np.ndarray) -> Batch:
        """Some cases with their forecasts; ``of_case`` is the number of the block of every case."""

    @abstractmethod
    def grid_of(self, index: int) -> Grid | None:
        """Where the pixels of a case are; None where they are nowhere on earth."""

    @abstractmethod
    def title(self, index: int) -> str:
        """Which case it is, for people."""
