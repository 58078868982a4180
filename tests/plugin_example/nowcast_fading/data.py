"""A data set: round cells of rain that drift and fade, made up as they are asked for."""

from dataclasses import dataclass

import numpy as np

from nowcast import Task, UserError
from nowcast.data.base import Cases, DataSet

_FIRST = {"train": 0, "validation": 1_000_000, "test": 2_000_000}  # no case is of two parts


@dataclass(frozen=True)
class DriftingCells(DataSet):
    """Sequences with one cell of rain each.

    Args:
        task: gives the lengths and the timestep.
        size: side of the frames [pixels].
        cases: number of cases in each part.
    """

    task: Task
    size: int = 32
    cases: int = 16

    def part(self, name: str) -> Cases:
        """The cases of "train", "validation" or "test".

        Raises:
            UserError: another part.
        """
        if name not in _FIRST:
            raise UserError(f"there is no part {name!r}; there are {', '.join(_FIRST)}.")
        return _Cells(self, _FIRST[name])


class _Cells(Cases):
    def __init__(self, data: DriftingCells, first: int):
        self._data, self._first = data, first

    def __len__(self) -> int:
        return self._data.cases

    def case(self, epoch: int, index: int) -> np.ndarray:
        """(T, H, W) rain rates [mm/h]."""
        data = self._data
        random = np.random.default_rng(self._first + index)
        x, y = random.uniform(0.3, 0.7, 2) * data.size
        dx, dy = random.uniform(-1.5, 1.5, 2)
        rows, columns = np.mgrid[: data.size, : data.size]
        frames = []
        for step in range(data.task.window_length):
            distance = np.hypot(columns - x - dx * step, rows - y - dy * step)
            frames.append(8.0 * 0.93**step * np.exp(-0.5 * (distance / 4) ** 2))
        return np.stack(frames).astype(np.float32)

    def scale(self, epoch: int, index: int) -> tuple[float, float]:
        """Minutes between frames, kilometres between pixels."""
        return self._data.task.timestep, 1.0
