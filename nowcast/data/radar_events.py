"""Whole archives as cases: events of several radars, of which a model is tested on some and may be
trained on others.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nowcast.data.archive import Archive
from nowcast.data.base import Cases, DataSet
from nowcast.data.cadence import usual_step
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
        # before any archive is opened, which takes time
        self._refuse_wrong_names(names)
        opened, starts = {}, {}
        for name, path in zip(names, paths, strict=True):
            archive = Archive(path).use_one_of_each_time(self.task.timedelta)
            times, tolerance = archive.times, archive.tolerance
            opened[name] = archive
            starts[name] = window_starts(times, self.task, tolerance=tolerance)
            if not len(starts[name]):
                shortage = describe_shortage(times, self.task, tolerance)
                raise UserError(f"{path} {shortage}. {self._what_to_do(archive)}")
        object.__setattr__(self, "_opened", opened)
        object.__setattr__(self, "_starts", starts)

    def _what_to_do(self, archive: Archive) -> str:
        """What to do with an archive that has no case, as a sentence."""
        step = usual_step(archive.times, archive.tolerance)
        if step is None or step == self.task.timedelta:
            return "Leave it out."
        minutes = f"{step / np.timedelta64(1, 'm'):g}"
        return f"Its frames come every {minutes} min: set task.timestep={minutes}, or leave it out."

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

    def part(self, name: str) -> "EventCases":
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
        if name == "test":
            return self._whole(events[name])
        return self._crops(events[name], CropDraws.of(self, name))

    def _whole(self, events: list[str]) -> "EventCases":
        """Whole frames, archive by archive in the order of time."""
        cases, places = {}, []
        for event in events:
            archive, starts = self._opened[event], self._starts[event]
            cases[event] = WholeCases(archive, starts, self.task, self.test_stride)
            places += [(event, index) for index in range(len(cases[event]))]
        return EventCases(cases, places)

    def _crops(self, events: list[str], draws: CropDraws) -> "EventCases":
        """Crops of the archives in turn, so that each counts the same, however long it is."""
        cases = {}
        for event in events:
            archive = self._opened[event]
            if min(archive.grid.shape) < self.crop:
                # a batch is of one size
                raise UserError(
                    f"{archive.path} has {' x '.join(map(str, archive.grid.shape))} pixels; crops "
                    f"of {self.crop} from several grids need that many on each side. Set "
                    "data.crop."
                )
            frames = kept_in_memory(archive, self.memory_mb)
            cases[event] = CropCases(archive, frames, self._starts[event], draws)
        places = [(events[index % len(events)], index) for index in range(draws.count)]
        return EventCases(cases, places)


class EventCases(Cases):
    """Cases of several archives.

    Args:
        cases: those of each event by its name.
        places: the event of each case, and its index there.
    """

    def __init__(self, cases: dict[str, WholeCases | CropCases], places: list[tuple[str, int]]):
        self._cases, self._places = cases, places
        self.stride_hours = next(iter(cases.values())).stride_hours

    def __len__(self) -> int:
        return len(self._places)

    def _of(self, index: int) -> tuple[WholeCases | CropCases, int]:
        event, index_there = self._places[index]
        return self._cases[event], index_there

    def case(self, epoch: int, index: int) -> np.ndarray:
        """Rain rates [mm/h] of context and target, (T, h, w) float32, NaN = not observed."""
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

    def grid_of(self, index: int) -> Grid | None:
        """The grid of a test case; None of a crop."""
        cases, index = self._of(index)
        return cases.grid_of(index)

    def size_of(self, index: int) -> tuple[int, int]:
        """(h, w) of the case."""
        cases, index = self._of(index)
        return cases.size_of(index)
