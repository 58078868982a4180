"""Whole archives as cases: events of several radars, of which a model is tested on some and may be
trained on others.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nowcast.data.archive import Archive
from nowcast.data.base import Cases, DataSet
from nowcast.data.inputs import expand_inputs
from nowcast.data.memory import kept_in_memory
from nowcast.data.radar import (
    CropCases,
    CropDraws,
    WholeCases,
    describe_shortage,
    refuse_out_of_range,
)
from nowcast.data.windows import PARTS, window_starts
from nowcast.runtime.errors import UserError
from nowcast.types.frames import Grid
from nowcast.types.task import Task


@dataclass(frozen=True)
class RadarEvents(DataSet):
    """Cases from several archives, which may lie on different grids: whole frames of the test
    events, crops of the others.

    Args:
        archives: of ``nowcast convert``: a folder, a pattern, or paths.
        task: context and forecast length, timestep; each archive must have frames in a row at that
            timestep.
        seed: of the training and validation crops.
        test: names of the archives, without folder and ending, to be tested on; empty: all, and
            there is nothing to train on.
        validation: names of those to validate on; the rest is trained on.
        test_stride: every how many windows a test case starts.
        crop, crop_candidates, samples_per_epoch, validation_samples, memory_mb: of the training and
            validation cases, as in ``nowcast.data.radar.Radar``; every archive has its turn.

    Raises:
        UserError: no archive, two of one name, a name that no archive has or that is in both lists,
            a stride below 1, settings out of range, a crop larger than a grid, or an archive
            without a single window for the task.
    """

    archives: str | list[str]
    task: Task
    seed: int = 1
    test: list[str] = field(default_factory=list)
    validation: list[str] = field(default_factory=list)
    test_stride: int = 1
    crop: int = 128
    crop_candidates: int = 4
    samples_per_epoch: int = 800
    validation_samples: int = 64
    memory_mb: int = 1000
    _opened: dict[str, Archive] = field(init=False, repr=False, compare=False)
    _starts: dict[str, np.ndarray] = field(init=False, repr=False, compare=False)

    def __post_init__(self):
        refuse_out_of_range(self)
        paths = self.archives
        paths = expand_inputs(paths) if isinstance(paths, str) else list(map(Path, paths))
        names = [path.stem for path in paths]
        if not names or len(set(names)) < len(names):
            raise UserError(
                f"data.archives names {', '.join(names) or 'no archive'}; one or more archives "
                "with different file names are needed."
            )
        self._refuse_wrong_names(names)
        opened, starts = {}, {}
        for name, path in zip(names, paths, strict=True):
            archive = Archive(path).use_one_of_each_time(self.task.timedelta)
            times, tolerance = archive.times, archive.tolerance
            opened[name] = archive
            starts[name] = window_starts(times, self.task, tolerance=tolerance)
            if not len(starts[name]):
                shortage = describe_shortage(times, self.task, tolerance)
                raise UserError(f"{path} {shortage}. Leave it out.")
        object.__setattr__(self, "_opened", opened)
        object.__setattr__(self, "_starts", starts)

    def _refuse_wrong_names(self, names: list[str]) -> None:
        for part, listed in (("test", self.test), ("validation", self.validation)):
            if not set(listed) <= set(names) or len(set(listed)) < len(listed):
                raise UserError(
                    f"data.{part} names {', '.join(map(str, listed))}; different ones of "
                    f"{', '.join(names)} are needed, each without folder and ending."
                )
        both = sorted(set(self.test) & set(self.validation))
        if both:
            raise UserError(
                f"{', '.join(both)} is in data.test and in data.validation; an event can be in "
                "one of them."
            )

    def part(self, name: str) -> "EventCases | EventCrops":
        """The cases of "train", "validation" or "test"; no two parts share an event.

        Raises:
            UserError: an unknown part, or one without an event.
        """
        others = (*self.test, *self.validation)
        events = {
            "train": [event for event in self._opened if self.test and event not in others],
            "validation": self.validation,
            "test": [event for event in self._opened if event in (self.test or self._opened)],
        }
        if not events.get(name):
            raise UserError(
                f"data=radar_events has no event for the {name} part; parts are "
                f"{', '.join(PARTS)}, and data.test and data.validation say "
                f"which of {', '.join(self._opened)} are in which."
            )
        cases = {}
        for event in events[name]:
            archive, starts = self._opened[event], self._starts[event]
            if name == "test":
                cases[event] = WholeCases(archive, starts, self.task, self.test_stride)
                continue
            if min(archive.grid.shape) < self.crop:
                raise UserError(
                    f"{archive.path} has {' x '.join(map(str, archive.grid.shape))} pixels; crops "
                    f"of {self.crop} from several grids need that many on each side. Set "
                    "data.crop."
                )
            frames = kept_in_memory(archive, self.memory_mb)
            cases[event] = CropCases(archive, frames, starts, CropDraws.of(self, name))
        return EventCases(cases) if name == "test" else EventCrops(cases)


class EventCrops(Cases):
    """The cases of one part of `RadarEvents` that is trained or validated on: crops of its events
    in turn; a case is a pure function of (seed, epoch, index).

    Args:
        crops: by the name of the event.
    """

    def __init__(self, crops: dict[str, CropCases]):
        self._names, self._crops = list(crops), list(crops.values())

    def __len__(self) -> int:
        return len(self._crops[0])

    def _of(self, index: int) -> CropCases:
        return self._crops[index % len(self._crops)]

    def case(self, epoch: int, index: int) -> np.ndarray:
        """Rain rates [mm/h] of context and target, (T, crop, crop) float32, NaN = not observed."""
        return self._of(index).case(epoch, index)

    def scale(self, epoch: int, index: int) -> tuple[float, float]:
        """(minutes between frames, kilometres between pixels) of a case."""
        return self._of(index).scale(epoch, index)

    def source(self, index: int) -> str:
        """The name of the case's archive."""
        return self._names[index % len(self._names)]

    def size_of(self, index: int) -> tuple[int, int]:
        """(h, w) of the case."""
        return self._of(index).size_of(index)


class EventCases(Cases):
    """The test cases of `RadarEvents`, archive by archive in the order of time.

    Args:
        cases: by the name of the event.
    """

    def __init__(self, cases: dict[str, WholeCases]):
        self._cases = cases
        self._places = []  # of each case: (name of the event, index in it)
        for name, of_event in cases.items():
            self._places += [(name, index) for index in range(len(of_event))]
            self.stride_hours = of_event.stride_hours

    def __len__(self) -> int:
        return len(self._places)

    def _of(self, index: int) -> tuple[WholeCases, int]:
        name, index_in_event = self._places[index]
        return self._cases[name], index_in_event

    def case(self, epoch: int, index: int) -> np.ndarray:
        """Rain rates [mm/h] of context and target, (T, H, W) float32, NaN = not observed."""
        cases, index = self._of(index)
        return cases.case(epoch, index)

    def analysis_time(self, index: int) -> np.datetime64:
        """UTC time of the case's last context frame."""
        cases, index = self._of(index)
        return cases.analysis_time(index)

    def scale(self, epoch: int, index: int) -> tuple[float, float]:
        """(minutes between frames, kilometres between pixels) of a case."""
        cases, index = self._of(index)
        return cases.scale(epoch, index)

    def source(self, index: int) -> str:
        """The name of the case's archive."""
        return self._places[index][0]

    def grid_of(self, index: int) -> Grid:
        """The grid of the case."""
        return self._of(index)[0].grid

    def size_of(self, index: int) -> tuple[int, int]:
        """(H, W) of the case."""
        return self.grid_of(index).shape
