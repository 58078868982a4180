"""Forecasts that any system wrote as NetCDF, evaluated on an archive of observations."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nowcast.data.archive import Archive
from nowcast.data.cadence import are_regular, at_time
from nowcast.evaluation.batches import CaseBatch
from nowcast.evaluation.blocks import Blocks, by_time
from nowcast.evaluation.judged import forecast_of_members
from nowcast.evaluation.source import ForecastSource
from nowcast.runtime.errors import UserError
from nowcast.types.frames import Grid
from nowcast.types.scale import Scale
from nowcast.types.task import Task
from nowcast.types.tolerance import DEFAULT, Tolerance, applied

_MINUTE = np.timedelta64(60, "s")
_SHOWN_LEADS = 6  # lead times that a message names


@dataclass(frozen=True)
class _ForecastFile:
    """What a file says about itself.

    Args:
        path: of the file.
        analysis_time: UTC.
        timestep: minutes between lead times.
        leads: number of lead times.
        members: number of members; None: a single forecast.
    """

    path: Path
    analysis_time: np.datetime64
    timestep: float
    leads: int
    members: int | None


class ForecastFiles(ForecastSource):
    """Where batches come from: forecast files of one system, one analysis time each.

    Args:
        paths: the files.
        archive: of the observations, on the same grid.
        reader: gives a file as ``nowcast.readers.cf.rain.PredictedRain``.
        name: of the system.
        context_length: frames before the analysis time, for the baselines.
        skip: whether files that cannot be read are left out, and reported, instead of refused.
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
        self.archive, self.reader, self.name = archive, reader, name
        self.tolerance, self.left_out = tolerance, []
        found = sorted(self._readable(paths, skip), key=lambda file: file.analysis_time)
        _refuse_mixed(found)
        self.task = Task(context_length, found[0].leads, found[0].timestep)
        self.members, self._files = found[0].members, self._with_observations(found)
        self.count = len(self._files)

    def _readable(self, paths: Sequence[Path], skip: bool) -> list[_ForecastFile]:
        """What the files say about themselves; those that cannot be read are left out if asked
        for.
        """
        found, unread = [], []
        for path in paths:
            try:
                found.append(self._described(path))
            except UserError as error:
                if not skip:
                    raise
                unread.append(str(error))
        if not found:
            raise UserError(
                f"none of the {len(paths)} files can be read as a forecast; the first: {unread[0]}"
            )
        if unread:
            self.left_out.append(
                f"{len(unread)} of {len(paths)} files were left out; the first: {unread[0]}"
            )
        return found

    def _described(self, path: Path) -> _ForecastFile:
        """What a file says about itself.

        Raises:
            UserError: it cannot be read, its lead times are not equal steps, or it lies on another
                grid than the observations.
        """
        with applied(self.tolerance), self.reader.forecast(path) as predicted:
            start = predicted.analysis_time
            times = np.concatenate([[start], predicted.valid_times])
            step = self._step(times)
            if not are_regular(times, step, self.tolerance):
                minutes = ((predicted.valid_times - start) / _MINUTE).tolist()
                leads = ", ".join(f"{lead:g}" for lead in minutes[:_SHOWN_LEADS])
                raise UserError(
                    f"{path} has the lead times {leads} ... minutes; steps of one length, the "
                    f"first one step after the analysis time {start} UTC, are needed."
                )
            difference = predicted.grid.difference(self.archive.grid, self.tolerance.pixels)
            if difference:
                raise UserError(
                    f"{path} lies on another grid than {self.archive.path}: {difference}; regrid "
                    "one of them (nowcast convert regrid=regular)."
                )
            leads = len(predicted.valid_times)
            return _ForecastFile(path, start, float(step / _MINUTE), leads, predicted.members)

    def _step(self, times: np.ndarray) -> np.timedelta64:
        """The step from the analysis time to the first lead time, and on: the whole minutes that
        are meant, if they are within the tolerance.
        """
        first = times[1] - times[0]
        minutes = max(1, round(float(first / _MINUTE))) * _MINUTE
        near = abs(first - minutes) <= self.tolerance.off_time(minutes)
        return minutes if near and are_regular(times, minutes, self.tolerance) else first

    def _with_observations(self, found: list[_ForecastFile]) -> list[_ForecastFile]:
        """The forecasts that have an observation at some lead time; ``left_out`` says what others
        there are.
        """
        observed = [self._observed_leads(file) for file in found]
        kept = [file for file, leads in zip(found, observed) if any(leads)]
        if not kept:
            times = self.archive.times
            raise UserError(
                f"{self.archive.path} contains no frame for any lead time of the {len(found)} "
                f"forecasts: observations from {times[0]} to {times[-1]} UTC, analysis times from "
                f"{found[0].analysis_time} to {found[-1].analysis_time} UTC."
            )
        if len(kept) < len(found):
            self.left_out.append(
                f"{len(found) - len(kept)} of {len(found)} forecasts have no observation at any "
                "lead time and are not evaluated."
            )
        incomplete = sum(any(leads) and not all(leads) for leads in observed)
        if incomplete:
            self.left_out.append(
                f"in {incomplete} of {len(kept)} forecasts some lead times have no frame in the "
                "archive; they count as not observed."
            )
        return kept

    def _observed_leads(self, file: _ForecastFile) -> list[bool]:
        """Which lead times have a frame in the archive."""
        return [self._index(time) is not None for time in self._valid_times(file)]

    def _valid_times(self, file: _ForecastFile) -> np.ndarray:
        return file.analysis_time + self.task.lead_times(file.leads)

    def _index(self, time: np.datetime64) -> int | None:
        """The index of the archive's frame of a time; None if it has none."""
        return at_time(self.archive.times, time, self.task.timedelta, self.tolerance)

    def blocks(self, hours: float | None) -> Blocks:
        """The forecasts in blocks."""
        times = np.array([file.analysis_time for file in self._files])
        window_hours = self.task.window_length * self.task.timestep / 60
        return by_time(times, [""] * len(times), window_hours, hours)

    def ranges(self) -> list[range]:
        """One forecast a batch."""
        return [range(index, index + 1) for index in range(self.count)]

    def batch(self, indices: Iterable[int], of_case: np.ndarray) -> CaseBatch:
        """One forecast, its observation, and the frames before it (NaN where the archive has
        none).
        """
        (index,) = indices
        file = self._files[index]
        steps = np.arange(1 - self.task.context_length, 1)
        context = self._frames(file.analysis_time + steps * self.task.timedelta)
        with applied(self.tolerance), self.reader.forecast(file.path) as predicted:
            values = predicted.values()
        forecast = values[:1]
        if self.members is not None:
            forecast = forecast_of_members(values[None], self.judged_by)
        return CaseBatch(
            context[None],
            self._frames(self._valid_times(file))[None],
            {self.name: forecast},
            {} if self.members is None else {self.name: values[None]},
            of_case[[index]],
            Scale.of_samples([(self.task.timestep, self.archive.grid.pixel_km)]),
        )

    def _frames(self, times: np.ndarray) -> np.ndarray:
        """Observed rain rates [mm/h] at some times, (T, H, W); NaN where there is no frame."""
        frames = np.full((len(times), *self.archive.grid.shape), np.nan, np.float32)
        for frame, time in zip(frames, times):
            index = self._index(time)
            if index is not None:
                frame[:] = self.archive.read(index, index + 1)[0]
        return frames

    def grid_of(self, index: int) -> Grid:
        """The grid of all of them."""
        return self.archive.grid

    def title(self, index: int) -> str:
        """Which forecast it is."""
        return f"analysis time {str(self._files[index].analysis_time).replace('T', ' ')} UTC"


def _refuse_mixed(files: list[_ForecastFile]) -> None:
    """Refuse two forecasts of one time, and those of other lead times or members than the first.

    Args:
        files: in order of their analysis times.

    Raises:
        UserError: there are such.
    """
    first = files[0]
    for one, other in zip(files, files[1:]):
        if one.analysis_time == other.analysis_time:
            raise UserError(
                f"{one.path} and {other.path} are both forecasts of {one.analysis_time} UTC; give "
                "those of one system."
            )
        for name in ("timestep", "leads", "members"):
            mine, theirs = vars(first)[name], vars(other)[name]
            if mine != theirs:
                raise UserError(
                    f"{other.path} has {name} {theirs}, but {first.path} has {mine}; evaluate "
                    "them apart."
                )
