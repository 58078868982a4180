"""Training, validation and test cases from one radar's archive.

Only the windows asked for are ever read.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nowcast.data.archive import Archive
from nowcast.data.base import Cases, DataSet
from nowcast.data.memory import KeptFrames, kept_in_memory
from nowcast.data.sampling import sample_generator
from nowcast.data.windows import TimeSplit, longest_run, window_starts
from nowcast.runtime.errors import UserError
from nowcast.types.frames import Grid
from nowcast.types.task import Task
from nowcast.types.tolerance import Tolerance

_WET = 0.1  # mm/h
_VALIDATION_STREAM = 1  # of random numbers
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
        crop_candidates: so many windows and crops are drawn for each case, the wettest last context
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
        refuse_out_of_range(self)
        archive = Archive(self.archive).use_one_of_each_time(self.task.timedelta)
        self._split.interval("train", archive.times)  # refuses bounds in the wrong order
        starts = window_starts(archive.times, self.task, tolerance=archive.tolerance)
        if not len(starts):
            shortage = describe_shortage(archive.times, self.task, archive.tolerance)
            raise UserError(f"{self.archive} {shortage}.")
        object.__setattr__(self, "_opened", archive)
        object.__setattr__(self, "_kept", kept_in_memory(archive, self.memory_mb))

    @property
    def _split(self) -> TimeSplit:
        return TimeSplit(self.validation_from, self.test_from)

    @property
    def grid(self) -> Grid:
        """The archive's grid, of which crops are a part."""
        return self._opened.grid

    def bounds(self) -> dict[str, str]:
        """Where validation and test begin, as settings."""
        start, end = self._split.interval("validation", self._opened.times)
        return {"validation_from": str(start), "test_from": str(end)}

    def part(self, name: str) -> "WholeCases | CropCases":
        """The cases of "train", "validation" or "test"; no window of one part shares a frame with
        another part's.

        Raises:
            UserError: an unknown part, or one without a single window.
        """
        times, tolerance = self._opened.times, self._opened.tolerance
        start, end = self._split.interval(name, times)
        starts = window_starts(times, self.task, start=start, end=end, tolerance=tolerance)
        if not len(starts):
            first = 0 if start is None else np.searchsorted(times, start)
            after = len(times) if end is None else np.searchsorted(times, end)
            since = "the beginning" if start is None else start
            until = "the end" if end is None else end
            shortage = describe_shortage(times[first:after], self.task, tolerance)
            raise UserError(
                f"the {name} part of {self.archive}, {since} to {until}, {shortage}; change "
                "data.validation_from or data.test_from."
            )
        if name == "test":
            # a test set may be long, and each of its windows is read once: nothing is kept
            return WholeCases(self._opened, starts, self.task, self.test_stride)
        return CropCases(self._opened, self._kept, starts, CropDraws.of(self, name))


def refuse_out_of_range(data) -> None:
    """Raise a UserError that names the settings of a `Radar`, or of several, that cannot be."""
    wrong = []
    for least, names in ((1, _COUNTS), (0, _SIZES)):
        for name in names:
            value = vars(data)[name]
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                wrong.append(f"{name} {value!r}")
    if wrong:
        raise UserError(
            f"data: {', '.join(wrong)} is out of range; counts must be whole numbers of at least "
            f"1, {' and '.join(_SIZES)} of at least 0."
        )
    if data.task.quantity != "rain_rate":
        raise UserError(
            f"radar archives contain rain rates, but the task forecasts {data.task.quantity}; set "
            "task=radar, or take other data."
        )


def describe_shortage(times: np.ndarray, task: Task, tolerance: Tolerance) -> str:
    """What frames of these times lack for a single case."""
    return (
        f"has {len(times)} frames, but a case needs {task.window_length} in a row every "
        f"{task.timestep:g} min; the longest gap-free run is "
        f"{longest_run(times, task.timedelta, tolerance)}"
    )


class _OneArchive(Cases):
    """What all cases of one archive have in common.

    Args:
        archive: where they are from.
        task: context length and timestep.
        size: (h, w) of each.
    """

    def __init__(self, archive: Archive, task: Task, size: tuple[int, int]):
        self._archive, self._task = archive, task
        self.shape = (task.window_length, *size)

    def scale(self, epoch: int, index: int) -> tuple[float, float]:
        """(minutes between frames, kilometres between pixels) of a case."""
        return float(self._task.timestep), self._archive.grid.pixel_km

    def size_of(self, index: int) -> tuple[int, int]:
        """(h, w) of the case."""
        return self.shape[1:]

    def _refuse_index(self, index: int, part: str) -> None:
        if not 0 <= index < len(self):
            raise IndexError(f"the {part} part has cases 0 to {len(self) - 1}, not {index}")


class WholeCases(_OneArchive):
    """Windows of whole frames of one archive, in order of time.

    Args:
        archive: where they are read.
        starts: first frame of each window.
        task: context length and timestep.
        stride: every how many windows a case starts.
    """

    def __init__(self, archive: Archive, starts: np.ndarray, task: Task, stride: int):
        super().__init__(archive, task, archive.grid.shape)
        self._starts = starts[::stride]
        self.stride_hours = stride * task.timestep / 60

    def __len__(self) -> int:
        return len(self._starts)

    @property
    def grid(self) -> Grid:
        """The archive's grid."""
        return self._archive.grid

    def _start(self, index: int) -> int:
        self._refuse_index(index, "test")
        return int(self._starts[index])

    def case(self, epoch: int, index: int) -> np.ndarray:
        """Rain rates [mm/h] of context and target, (T, H, W) float32, NaN = not observed."""
        start = self._start(index)
        return self._archive.read(start, start + self.shape[0])

    def analysis_time(self, index: int) -> np.datetime64:
        """UTC time of the case's last context frame."""
        return self._archive.times[self._start(index) + self._task.context_length - 1]

    def grid_of(self, index: int) -> Grid:
        """The grid of the case."""
        return self.grid


@dataclass(frozen=True)
class CropDraws:
    """How crops are drawn.

    Args:
        task: context and forecast length, timestep.
        seed: of the draws.
        crop: side of a crop [pixels].
        candidates: drawn for each case, of which the wettest is taken.
        count: cases in an epoch.
        part: "train", of which cases are others in every epoch, or "validation".
    """

    task: Task
    seed: int
    crop: int
    candidates: int
    count: int
    part: str

    @classmethod
    def of(cls, data, part: str) -> "CropDraws":
        """As the settings of a `Radar`, or of several, say."""
        count = data.samples_per_epoch if part == "train" else data.validation_samples
        return cls(data.task, data.seed, data.crop, data.crop_candidates, count, part)

    def generator(self, epoch: int, index: int) -> np.random.Generator:
        """That of one case."""
        if self.part == "train":
            return sample_generator(self.seed, epoch, index)
        sequence = np.random.SeedSequence([self.seed, 0, index, _VALIDATION_STREAM])
        return np.random.default_rng(sequence)


class CropCases(_OneArchive):
    """Crops of one archive to train with or to validate on; a case is a pure function of (seed,
    epoch, index).

    Args:
        archive: where they are from.
        frames: where they are read: the archive, or what is kept of it in memory.
        starts: first frame of each window.
        draws: how they are drawn.
    """

    def __init__(
        self, archive: Archive, frames: Archive | KeptFrames, starts: np.ndarray, draws: CropDraws
    ):
        rows, columns = archive.grid.shape
        super().__init__(archive, draws.task, (min(draws.crop, rows), min(draws.crop, columns)))
        self._frames, self._starts, self._draws = frames, starts, draws

    def __len__(self) -> int:
        return self._draws.count

    def case(self, epoch: int, index: int) -> np.ndarray:
        """Rain rates [mm/h] of context and target, (T, h, w) float32, NaN = not observed."""
        start, rows, columns = self._place(epoch, index)
        return self._frames.read(start, start + self.shape[0], rows=rows, columns=columns)

    def analysis_time(self, index: int, *, epoch: int = 0) -> np.datetime64:
        """UTC time of the case's last context frame."""
        start, _, _ = self._place(epoch, index)
        return self._archive.times[start + self._task.context_length - 1]

    def _place(self, epoch: int, index: int) -> tuple[int, slice, slice]:
        """(first frame, rows, columns) of a case in the archive."""
        self._refuse_index(index, self._draws.part)
        generator = self._draws.generator(epoch, index)
        # rain is rare: of several crops the wettest teaches most
        candidates = [self._draw(generator) for _ in range(self._draws.candidates)]
        return candidates[0] if len(candidates) == 1 else self._wettest(candidates)

    def _draw(self, generator: np.random.Generator) -> tuple[int, slice, slice]:
        """A window and a crop, uniformly."""
        start = int(self._starts[generator.integers(len(self._starts))])
        crop = []
        for side, length in zip(self._archive.grid.shape, self.shape[1:], strict=True):
            corner = int(generator.integers(side - length + 1))
            crop.append(slice(corner, corner + length))
        return start, *crop

    def _wettest(self, places: list[tuple[int, slice, slice]]) -> tuple[int, slice, slice]:
        """The place with the most wet pixels in the last context frame; of equally wet ones the
        first with the most observed pixels.

        Chosen by what is to be forecast, crops would teach that rain grows more than it does.
        """
        last = self._task.context_length - 1

        def wetness(place: tuple[int, slice, slice]) -> tuple[int, int]:
            start, rows, columns = place
            frame = start + last
            rates = self._frames.read(frame, frame + 1, rows=rows, columns=columns)
            return np.count_nonzero(rates >= _WET), np.count_nonzero(~np.isnan(rates))

        # max returns the first of equal ones
        return max(places, key=wetness)
