"""What a data set is: the contract of everything that can be trained with and evaluated on.

Axes: T time, H rows, W columns. Values are physical (mm/h, or grey levels), NaN where not observed.
"""

from abc import ABC, abstractmethod
from functools import cached_property

import numpy as np

from nowcast.types.frames import Grid


class Cases(ABC):
    """A list of sequences of one length: context frames, then the target frames.

    A case is a pure function of its epoch and index, so that every process that reads it, and a
    training that goes on after it was stopped, sees the same one. Of validation and test cases the
    epoch does not matter.

    Attributes:
        stride_hours: hours from one case to the next where nothing is missing between them, though
            others were left out on purpose; 0: none were. Cases farther apart than that are of
            different events.
    """

    stride_hours: float = 0.0

    @abstractmethod
    def __len__(self) -> int:
        """Number of cases in an epoch."""

    @abstractmethod
    def case(self, epoch: int, index: int) -> np.ndarray:
        """Physical values of context and target, (T, H, W) float32, NaN = not observed."""

    def scale(self, epoch: int, index: int) -> tuple[float, float] | None:
        """(minutes between frames, kilometres between pixels) of a case; None where it has none."""
        return None

    def analysis_time(self, index: int) -> np.datetime64 | None:
        """UTC time of the last context frame; None where cases are not of any time.

        Where cases have times they come in order of time within a source.
        """
        return None

    def source(self, index: int) -> str:
        """Which of several archives the case is of, as it is called in results; "" if only one."""
        return ""

    def size_of(self, index: int) -> tuple[int, int]:
        """(H, W) of a case, known without reading it where cases differ; else that of the first."""
        return self._size_of_first

    # read once: evaluation asks for the size of every case
    @cached_property
    def _size_of_first(self) -> tuple[int, int]:
        return self.case(0, 0).shape[1:]

    def grid_of(self, index: int) -> Grid | None:
        """Where on earth the pixels of a test case are; None where they are nowhere."""
        return None

    def kind_of(self, index: int) -> int:
        """A number that is the same for cases which may be in one batch: those of one size."""
        return 0


class DataSet(ABC):
    """Training, validation and test cases; what a YAML file of conf/data names by ``_target_``."""

    @abstractmethod
    def part(self, name: str) -> Cases:
        """The cases of "train", "validation" or "test".

        Raises:
            UserError: an unknown part, or one without a case.
        """

    def bounds(self) -> dict[str, str]:
        """Settings that fix where validation and test begin; they are kept with a run, so that its
        test never meets its training data when the data have grown since.
        """
        return {}
