"""Training, validation and test cases from one radar's archive.

Only the windows asked for are ever read.
"""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from nowcast.data.archive import Archive
from nowcast.data.base import Cases, DataSet
from nowcast.data.memory import KeptFrames, fits
from nowcast.data.sampling import sample_generator
from nowcast.data.windows import TimeSplit, longest_run, window_starts
from nowcast.runtime.errors import UserError
from nowcast.types.frames import Grid
from nowcast.types.task import Task
from nowcast.types.tolerance import Tolerance

_WET = 0.1
_VALIDATION_STREAM = 1
_COUNTS = ("crop", "crop_candidates", "samples_per_epoch", "validation_samples", "test_stride")
_SIZES = ("seed", "memory_mb")


@dataclass(frozen=True)
class Radar(DataSet):
    """Cases for training and evaluation from an archive made by ``nowcast convert``.

    Args:
        archive: path of the archive.
        task: context and forecast length, timestep; the archive must have frames in a row at that
            timestep.
        seed: of the training and validation crops.
        validation_from: ISO time, UTC, at which validation begins and training ends; None: at 60 %
            of the period.
        test_from: ISO time, UTC, at which the test begins and validation ends; None: at 80 % of the
            period.
        crop: side of training and validation cases [pixels]; a side of the grid that is shorter is
            taken whole.
        crop_candidates: so many windows and crops are drawn for each case, the wettest first target
            frame wins.
        samples_per_epoch: training cases in an epoch.
        validation_samples: validation cases, the same in every epoch.
        test_stride: every how many windows a test case starts.
        memory_mb: an archive that is no larger than this when decoded [1e6 bytes] is kept in memory
            by each process that reads training or validation cases; of a larger one every crop is
            read from the file. 0: never kept.

    Raises:
        UserError: settings out of range, not an archive, or one without a single window for the
            task.
    """

    archive: str | Path
    task: Task
    seed: int
    validation_from: str | None = None
    test_from: str | None = None
    crop: int = 128
    crop_candidates: int = 4
    samples_per_epoch: int = 800
    validation_samples: int = 64
    test_stride: int = 1
    memory_mb: int = 1000
    _opened: Archive = field(init=False, repr=False, compare=False)
    _kept: Archive | KeptFrames = field(init=False, repr=False, compare=False)

    def __post_init__(self):
        wrong = [
            f"{name} {getattr(self, name)!r}"
            for name in _COUNTS
            if not _whole(getattr(self, name), least=1)
        ]
        wrong += [
            f"{name} {getattr(self, name)!r}"
            for name in _SIZES
            if not _whole(getattr(self, name), least=0)
        ]
        if wrong:
            raise UserError(
                f"data: {', '.join(wrong)} is out of range; counts must be whole numbers of at "
                f"least 1, {' and '.join(_SIZES)} of at least 0."
            )
        if self.task.quantity != "rain_rate":
            raise UserError(
                f"radar archives hold rain rates, but the task forecasts {self.task.quantity}; "
                "set task=radar, or take other data."
            )
        object.__setattr__(
            self, "_opened", Archive(self.archive).use_one_of_each_time(self.task.timedelta)
        )
        object.__setattr__(
            self,
            "_kept",
            KeptFrames(self._opened) if fits(self._opened, self.memory_mb) else self._opened,
        )
        self._split.interval("train", self._opened.times)
        if not len(window_starts(self._opened.times, self.task, tolerance=self._opened.tolerance)):
            raise UserError(
                f"{self.archive} {_shortage(self._opened.times, self.task, self._opened.tolerance)}"
            )

    @property
    def _split(self) -> TimeSplit:
        return TimeSplit(self.validation_from, self.test_from)

    @property
    def grid(self) -> Grid:
        """The archive's grid, of which crops are a part."""
        return self._opened.grid

    def bounds(self) -> dict[str, str]:
        """Where validation and test begin, as settings: kept with a run, so that its test never
        meets its training data.
        """
        start, end = self._split.interval("validation", self._opened.times)
        return {"validation_from": str(start), "test_from": str(end)}

    def part(self, name: str) -> "RadarCases":
        """The cases of "train", "validation" or "test"; no window of one part shares a frame with
        another part's.

        Raises:
            UserError: an unknown part, or one without a single window.
        """
        times = self._opened.times
        start, end = self._split.interval(name, times)
        starts = window_starts(
            times, self.task, start=start, end=end, tolerance=self._opened.tolerance
        )
        if not len(starts):
            inside = times[
                slice(
                    *(
                        None if edge is None else np.searchsorted(times, edge)
                        for edge in (start, end)
                    )
                )
            ]
            period = (
                f"{'the beginning' if start is None else start} to "
                f"{'the end' if end is None else end}"
            )
            advice = "change data.validation_from or data.test_from."
            raise UserError(
                f"the {name} part of {self.archive}, {period}, "
                f"{_shortage(inside, self.task, self._opened.tolerance)[:-1]}; {advice}"
            )
        return RadarCases(self, name, starts)


def _whole(value, *, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _shortage(times: np.ndarray, task: Task, tolerance: Tolerance) -> str:
    every = f"{task.timestep:g} min"
    return (
        f"holds {len(times)} frames, but a forecast needs {task.window_length} in a row every "
        f"{every}; "
        f"the longest gap-free run is {longest_run(times, task.timedelta, tolerance)}."
    )


class RadarCases(Cases):
    """The cases of one part of a `Radar`; a case is a pure function of (seed, epoch, index)."""

    def __init__(self, radar: Radar, name: str, starts: np.ndarray):
        self._radar, self._name, self._archive = radar, name, radar._opened
        self._starts = starts[:: radar.test_stride] if name == "test" else starts
        self._frames = (
            radar._opened if name == "test" else radar._kept
        )  # a test set may be long, and each of its windows is read once

    def __len__(self) -> int:
        lengths = {
            "train": self._radar.samples_per_epoch,
            "validation": self._radar.validation_samples,
        }
        return lengths.get(self._name, len(self._starts))

    @property
    def grid(self) -> Grid:
        """The archive's grid: test cases fill it, the others are crops of it."""
        return self._archive.grid

    @cached_property
    def shape(self) -> tuple[int, int, int]:
        """(T, h, w) of a case."""
        sides = (
            self.grid.shape
            if self._name == "test"
            else tuple(min(self._radar.crop, side) for side in self.grid.shape)
        )
        return self._radar.task.window_length, *sides

    def case(self, epoch: int, index: int) -> np.ndarray:
        """Rain rates [mm/h] of context and target, (T, h, w) float32, NaN = not observed.

        Validation and test cases are the same in every epoch.
        """
        start, rows, columns = self.place(epoch, index)
        return self._frames.read(start, start + self.shape[0], rows=rows, columns=columns)

    def analysis_time(self, index: int, *, epoch: int = 0) -> np.datetime64:
        """UTC time of the case's last context frame."""
        return self._archive.times[
            self.place(epoch, index)[0] + self._radar.task.context_length - 1
        ]

    def scale(self, epoch: int, index: int) -> tuple[float, float]:
        """(minutes between frames, kilometres between pixels) of a case."""
        return float(self._radar.task.timestep), self.grid.pixel_km

    @property
    def stride_hours(self) -> float:
        """From one test case to the next of an archive without gaps."""
        return self._radar.test_stride * self._radar.task.timestep / 60

    def size_of(self, index: int) -> tuple[int, int]:
        """(h, w) of the case."""
        return self.shape[1:]

    def grid_of(self, index: int) -> Grid:
        """The grid of a test case."""
        return self.grid

    def place(self, epoch: int, index: int) -> tuple[int, slice, slice]:
        """(first frame, rows, columns) of a case in the archive."""
        if not 0 <= index < len(self):
            raise IndexError(f"the {self._name} part has cases 0 to {len(self) - 1}, not {index}")
        if self._name == "test":
            return int(self._starts[index]), slice(None), slice(None)
        if self._name == "train":
            generator = sample_generator(self._radar.seed, epoch, index)
        else:
            generator = np.random.default_rng(
                np.random.SeedSequence([self._radar.seed, 0, index, _VALIDATION_STREAM])
            )
        candidates = [self._draw(generator) for _ in range(self._radar.crop_candidates)]
        return candidates[0] if len(candidates) == 1 else self._wettest(candidates)

    def _draw(self, generator: np.random.Generator) -> tuple[int, slice, slice]:
        """A window and a crop, uniformly."""
        start = int(self._starts[generator.integers(len(self._starts))])
        corners = [
            int(generator.integers(side - part + 1))
            for side, part in zip(self.grid.shape, self.shape[1:])
        ]
        rows, columns = (
            slice(corner, corner + part) for corner, part in zip(corners, self.shape[1:])
        )
        return start, rows, columns

    def _wettest(self, places: list[tuple[int, slice, slice]]) -> tuple[int, slice, slice]:
        """The place with the most wet pixels in the first target frame; of equally wet ones the
        first with the most observed pixels.
        """
        ahead = self._radar.task.context_length
        fields = [
            self._frames.read(start + ahead, start + ahead + 1, rows=rows, columns=columns)
            for start, rows, columns in places
        ]
        wet = [np.count_nonzero(field >= _WET) for field in fields]
        best = [index for index, count in enumerate(wet) if count == max(wet)]
        return places[
            best[0]
            if len(best) == 1
            else max(best, key=lambda index: np.count_nonzero(~np.isnan(fields[index])))
        ]
