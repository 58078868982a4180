"""Whole archives as test cases: the events of several radars, none of which a model was trained on."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nowcast.data.archive import Archive
from nowcast.data.inputs import expand_inputs
from nowcast.data.windows import longest_run, window_starts
from nowcast.errors import UserError
from nowcast.frames import Grid
from nowcast.task import Task


@dataclass(frozen=True)
class RadarEvents:
    """Test cases from all frames of several archives, which may lie on different grids.

    Args:
        archives: of ``nowcast convert``: a folder, a pattern, or paths.
        task: context and forecast length, timestep; each archive must have frames in a row at that timestep.
        test_stride: every how many windows a case starts.

    Raises:
        UserError: no archive, two of one name, a stride below 1, or an archive without a single window for the task.
    """

    archives: str | list[str]
    task: Task
    test_stride: int = 1
    _opened: dict[str, Archive] = field(init=False, repr=False, compare=False)
    _starts: dict[str, np.ndarray] = field(init=False, repr=False, compare=False)

    def __post_init__(self):
        paths = expand_inputs(self.archives) if isinstance(self.archives, str) else [Path(path) for path in self.archives]
        names = [path.stem for path in paths]
        if not names or len(set(names)) < len(names):
            raise UserError(f"data.archives names {', '.join(names) or 'no archive'}; one or more archives with different file names are needed.")
        if self.test_stride < 1 or self.task.quantity != "rain_rate":
            raise UserError(f"data.test_stride is {self.test_stride} and the task forecasts {self.task.quantity}; a stride of 1 or more and rain rates are needed.")
        opened = {name: Archive(path) for name, path in zip(names, paths)}
        starts = {name: window_starts(archive.times, self.task)[:: self.test_stride] for name, archive in opened.items()}
        for name in names:
            if not len(starts[name]):
                times = opened[name].times
                raise UserError(f"{opened[name].path} holds {len(times)} frames, but a case needs {self.task.window_length} in a row every "
                                f"{self.task.timestep:g} min; the longest gap-free run is {longest_run(times, self.task.timedelta)}. Leave it out.")
        object.__setattr__(self, "_opened", opened)
        object.__setattr__(self, "_starts", starts)

    def part(self, name: str) -> "EventCases":
        """The test cases; there are no others.

        Raises:
            UserError: another part.
        """
        if name != "test":
            raise UserError(f"data=radar_events holds test cases alone, no {name} part; train on data=radar.")
        return EventCases(self)


class EventCases:
    """The cases of `RadarEvents`, archive by archive in the order of time."""

    def __init__(self, events: RadarEvents):
        self._events, self._length = events, events.task.window_length
        self._places = [(name, int(start)) for name, starts in events._starts.items() for start in starts]

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

    def source(self, index: int) -> str:
        """The name of the case's archive."""
        return self._places[index][0]

    def grid_of(self, index: int) -> Grid:
        """The grid of the case."""
        return self._events._opened[self.source(index)].grid

    def size_of(self, index: int) -> tuple[int, int]:
        """(H, W) of the case."""
        return self.grid_of(index).shape
