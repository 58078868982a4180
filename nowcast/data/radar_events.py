"""Whole archives as cases: events of several radars, of which a model is tested on some and may be
trained on others.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nowcast.data.archive import Archive
from nowcast.data.base import Cases, DataSet
from nowcast.data.inputs import expand_inputs
from nowcast.data.radar import Radar, RadarCases
from nowcast.data.windows import PARTS, longest_run, window_starts
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
        paths = (
            expand_inputs(self.archives)
            if isinstance(self.archives, str)
            else [Path(path) for path in self.archives]
        )
        names = [path.stem for path in paths]
        if not names or len(set(names)) < len(names):
            raise UserError(
                f"data.archives names {', '.join(names) or 'no archive'}; one or more archives "
                "with different file names are needed."
            )
        if self.test_stride < 1 or self.task.quantity != "rain_rate":
            raise UserError(
                f"data.test_stride is {self.test_stride} and the task forecasts "
                f"{self.task.quantity}; a stride of 1 or more and rain rates are needed."
            )
        for part_name, listed in (("test", self.test), ("validation", self.validation)):
            unknown = [name for name in listed if name not in names]
            if unknown or len(set(listed)) < len(listed):
                raise UserError(
                    f"data.{part_name} names {', '.join(map(str, listed))}; different ones of "
                    f"{', '.join(names)} are needed, each without folder and ending."
                )
        both = sorted(set(self.test) & set(self.validation))
        if both:
            raise UserError(
                f"{', '.join(both)} is in data.test and in data.validation; an event can be in "
                "one of them."
            )
        opened = {
            name: Archive(path).use_one_of_each_time(self.task.timedelta)
            for name, path in zip(names, paths)
        }
        starts = {
            name: window_starts(archive.times, self.task, tolerance=archive.tolerance)
            for name, archive in opened.items()
        }
        for name in names:
            if not len(starts[name]):
                times = opened[name].times
                raise UserError(
                    f"{opened[name].path} holds {len(times)} frames, but a case needs "
                    f"{self.task.window_length} in a row every "
                    f"{self.task.timestep:g} min; the longest gap-free run is "
                    f"{longest_run(times, self.task.timedelta, opened[name].tolerance)}. Leave "
                    "it out."
                )
        object.__setattr__(self, "_opened", opened)
        object.__setattr__(self, "_starts", starts)

    def part(self, name: str) -> "EventCases | EventCrops":
        """The cases of "train", "validation" or "test"; no two parts share an event.

        Raises:
            UserError: an unknown part, or one without an event.
        """
        events = {"test": self.test or list(self._opened), "validation": self.validation}
        events["train"] = [
            event
            for event in self._opened
            if self.test and event not in (*self.test, *self.validation)
        ]
        if not events.get(name):
            raise UserError(
                f"data=radar_events has no event for the {name} part; parts are "
                f"{', '.join(PARTS)}, and data.test and data.validation say "
                f"which of {', '.join(self._opened)} are in which."
            )
        return (
            EventCases(self, events[name])
            if name == "test"
            else EventCrops(self, name, events[name])
        )


class EventCrops(Cases):
    """The cases of one part of `RadarEvents` that is trained or validated on: crops of its events
    in turn; a case is a pure function of (seed, epoch, index).
    """

    def __init__(self, events: RadarEvents, name: str, chosen: list[str]):
        shared = {
            key: getattr(events, key)
            for key in (
                "task",
                "seed",
                "crop",
                "crop_candidates",
                "samples_per_epoch",
                "validation_samples",
                "memory_mb",
            )
        }
        self._names = chosen
        self._parts = [
            RadarCases(
                Radar(archive=events._opened[event].path, **shared), name, events._starts[event]
            )
            for event in chosen
        ]
        for event, part in zip(chosen, self._parts):
            if part.shape[1:] != (events.crop, events.crop):
                raise UserError(
                    f"{events._opened[event].path} has {' x '.join(map(str, part.grid.shape))} "
                    f"pixels; crops of {events.crop} from several grids need that many on each "
                    "side. Set data.crop."
                )

    def __len__(self) -> int:
        return len(self._parts[0])

    def _of(self, index: int) -> RadarCases:
        return self._parts[index % len(self._parts)]

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
    """The test cases of `RadarEvents`, archive by archive in the order of time."""

    def __init__(self, events: RadarEvents, chosen: list[str]):
        self._events, self._length = events, events.task.window_length
        self._places = [
            (name, int(start))
            for name in events._opened
            if name in chosen
            for start in events._starts[name][:: events.test_stride]
        ]

    def __len__(self) -> int:
        return len(self._places)

    def case(self, epoch: int, index: int) -> np.ndarray:
        """Rain rates [mm/h] of context and target, (T, H, W) float32, NaN = not observed."""
        name, start = self._places[index]
        return self._events._opened[name].read(start, start + self._length)

    def analysis_time(self, index: int) -> np.datetime64:
        """UTC time of the case's last context frame."""
        name, start = self._places[index]
        return self._events._opened[name].times[start + self._events.task.context_length - 1]

    def scale(self, epoch: int, index: int) -> tuple[float, float]:
        """(minutes between frames, kilometres between pixels) of a case."""
        return float(self._events.task.timestep), self.grid_of(index).pixel_km

    @property
    def stride_hours(self) -> float:
        """From one test case to the next of an archive without gaps."""
        return self._events.test_stride * self._events.task.timestep / 60

    def source(self, index: int) -> str:
        """The name of the case's archive."""
        return self._places[index][0]

    def grid_of(self, index: int) -> Grid:
        """The grid of the case."""
        return self._events._opened[self.source(index)].grid

    def size_of(self, index: int) -> tuple[int, int]:
        """(H, W) of the case."""
        return self.grid_of(index).shape
