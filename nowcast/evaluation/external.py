"""Forecasts that any system wrote as NetCDF, judged on an archive of what came."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from nowcast.data.archive import Archive
from nowcast.data.cadence import are_regular, at_time
from nowcast.evaluation.blocks import Blocks, by_time
from nowcast.evaluation.judging import Batch
from nowcast.evaluation.source import ForecastSource
from nowcast.runtime.errors import UserError
from nowcast.types.frames import Grid
from nowcast.types.scale import Scale
from nowcast.types.task import Task
from nowcast.types.tolerance import DEFAULT, Tolerance, applied

_MINUTE = np.timedelta64(60, "s")
_OF_ONE_SET = ("timestep", "leads", "members")


class ForecastFiles(ForecastSource):
    """Where batches come from: forecast files of one system, one analysis time each.

    Args:
        paths: the files.
        archive: of the observations, on the same grid.
        reader: gives a file as ``nowcast.readers.cf.PredictedRain``.
        name: of the system.
        context_length: frames before the analysis time, for the baselines.
        skip: whether files that cannot be read are left out, and told, instead of refused.
        tolerance: how far values, grids and times of the files, and times of the archive's frames,
            may be off.

    Attributes:
        task: the lead times of the files, with the baselines' context.
        left_out: a sentence for each kind of file or frame that is missing.

    Raises:
        UserError: a file that cannot be read, lies on another grid or differs from the first in its
            lead times or members; two files of one analysis time; no file that the observations
            reach.
    """

    def __init__(
        self,
        paths: list[Path],
        archive: Archive,
        reader,
        *,
        name: str,
        context_length: int,
        skip: bool = False,
        tolerance: Tolerance = DEFAULT,
    ):
        self.archive, self.reader, self.name, self.left_out, self.tolerance = (
            archive,
            reader,
            name,
            [],
            tolerance,
        )
        found, unread = [], []
        for path in paths:
            try:
                found.append(self._about(path))
            except UserError as error:
                if not skip:
                    raise
                unread.append(str(error))
        if unread:
            self.left_out.append(
                f"{len(unread)} of {len(paths)} files were left out; the first: {unread[0]}"
            )
        if not found:
            raise UserError(
                f"none of the {len(paths)} files can be read as a forecast; the first: {unread[0]}"
            )
        found.sort(key=lambda about: about["analysis_time"])
        self._check_alike(found)
        first = found[0]
        self.task = Task(context_length, first["leads"], first["timestep"])
        self.members = first["members"]
        self._files = [about for about in found if self._came(about)]
        if len(self._files) < len(found):
            self.left_out.append(
                f"{len(found) - len(self._files)} of {len(found)} forecasts have no observation "
                "at any lead time and are not judged."
            )
        if not self._files:
            times = archive.times
            raise UserError(
                f"{archive.path} holds no frame for any lead time of the {len(found)} forecasts: "
                f"observations from {times[0]} to {times[-1]} UTC, "
                f"analysis times from {found[0]['analysis_time']} to "
                f"{found[-1]['analysis_time']} UTC."
            )
        self.count = len(self._files)
        missing = sum(
            1
            for about in self._files
            if any(self._place(time) is None for time in self._target(about))
        )
        if missing:
            self.left_out.append(
                f"in {missing} of {len(self._files)} forecasts some lead times have no frame in "
                "the archive; they count as not observed."
            )

    def _place(self, time: np.datetime64) -> int | None:
        """The archive's frame of a time; None if it has none."""
        return at_time(self.archive.times, time, self.task.timedelta, self.tolerance)

    def _step(self, times: np.ndarray) -> np.timedelta64:
        """The step from the analysis time to the first lead time, and on: the whole minutes that
        are meant, if they are within the tolerance.
        """
        first = times[1] - times[0]
        minutes = max(1, round(float(first / _MINUTE))) * _MINUTE
        return (
            minutes
            if abs(first - minutes) <= self.tolerance.off_time(minutes)
            and are_regular(times, minutes, self.tolerance)
            else first
        )

    def _about(self, path: Path) -> dict:
        """What a file says about itself, and whether it fits."""
        with applied(self.tolerance), self.reader.forecast(path) as predicted:
            leads = predicted.valid_times - predicted.analysis_time
            times = np.concatenate([[predicted.analysis_time], predicted.valid_times])
            step = self._step(times)
            if not are_regular(times, step, self.tolerance):
                minutes = (leads / np.timedelta64(60, "s")).tolist()
                raise UserError(
                    f"{path} has the lead times {', '.join(f'{one:g}' for one in minutes[:6])} "
                    "... minutes; steps of one length, "
                    f"the first one step after the analysis time {predicted.analysis_time} UTC, "
                    "are needed."
                )
            difference = self.archive.grid.difference(predicted.grid, self.tolerance.pixels)
            if difference:
                raise UserError(
                    f"{path} lies on another grid than {self.archive.path}: {difference}; regrid "
                    "one of them (nowcast convert regrid=regular)."
                )
            return {
                "path": path,
                "analysis_time": predicted.analysis_time,
                "timestep": float(step / np.timedelta64(60, "s")),
                "leads": len(leads),
                "members": predicted.members,
            }

    def _check_alike(self, found: list[dict]) -> None:
        first = found[0]
        for one, other in zip(found, found[1:]):
            if one["analysis_time"] == other["analysis_time"]:
                raise UserError(
                    f"{one['path']} and {other['path']} are both forecasts of "
                    f"{one['analysis_time']} UTC; give those of one system."
                )
            for name in _OF_ONE_SET:
                if other[name] != first[name]:
                    raise UserError(
                        f"{other['path']} has {name} {other[name]}, but {first['path']} has "
                        f"{first[name]}; evaluate them apart."
                    )

    def _target(self, about: dict) -> np.ndarray:
        return about["analysis_time"] + self.task.lead_times(about["leads"])

    def _came(self, about: dict) -> bool:
        return any(self._place(time) is not None for time in self._target(about))

    def blocks(self, hours: float | None) -> Blocks:
        """The forecasts in blocks."""
        times = np.array([about["analysis_time"] for about in self._files])
        return by_time(
            times, [""] * len(times), self.task.window_length * self.task.timestep / 60, hours
        )

    def ranges(self) -> list[range]:
        """One forecast a batch."""
        return [range(index, index + 1) for index in range(self.count)]

    def batch(self, indices: Iterable[int], of_case: np.ndarray) -> Batch:
        """One forecast, what came, and the frames before it (NaN where the archive has none)."""
        (index,) = indices
        about = self._files[index]
        before = (
            about["analysis_time"]
            + np.arange(1 - self.task.context_length, 1) * self.task.timedelta
        )
        context = self._frames(before)
        with applied(self.tolerance), self.reader.forecast(about["path"]) as predicted:
            values = predicted.values()
        members = {} if self.members is None else {self.name: values[None]}
        mean = values.mean(0, dtype=np.float64).astype(np.float32)
        return Batch(
            context[None],
            self._frames(self._target(about))[None],
            {self.name: mean[None]},
            members,
            of_case[[index]],
            Scale.of_samples([(self.task.timestep, self.archive.grid.pixel_km)]),
        )

    def _frames(self, times: np.ndarray) -> np.ndarray:
        """Observed rain rates [mm/h] at these times, (T, H, W); NaN where the archive has no frame."""
        frames = np.full((len(times), *self.archive.grid.shape), np.nan, np.float32)
        for frame, time in zip(frames, times):
            place = self._place(time)
            if place is not None:
                frame[:] = self.archive.read(place, place + 1)[0]
        return frames

    def grid_of(self, index: int) -> Grid:
        """The grid of all of them."""
        return self.archive.grid

    def title(self, index: int) -> str:
        """Which forecast it is."""
        return f"analysis time {str(self._files[index]['analysis_time']).replace('T', ' ')} UTC"
