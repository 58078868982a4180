"""A forecast from the newest frames, published as NetCDF: what `nowcast predict` does and its
benchmark measures.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nowcast.data.archive import NewestFrames, is_archive
from nowcast.data.cadence import at_time
from nowcast.data.inputs import expand_inputs, read_frames
from nowcast.data.reading import ReadingProcess, opened_inputs
from nowcast.data.tolerant import Tolerant
from nowcast.data.unpacking import Unpacking
from nowcast.data.windows import utc_text, utc_time
from nowcast.forecasting.forecaster import Forecaster
from nowcast.forecasting.products import Products, derive
from nowcast.output.origin import origin_attributes
from nowcast.output.writers import writer_for
from nowcast.runtime.errors import UserError
from nowcast.runtime.files import is_one_of
from nowcast.types.frames import Forecast, Frames
from nowcast.types.tolerance import DEFAULT, Tolerance

STEPS = ("read", "network", "transform", "derive", "write")
"""What a prediction spends its time on, in words of ``Published.seconds``."""


@dataclass(frozen=True)
class Published:
    """A forecast that lies on the disk.

    Args:
        context: the frames it was made from.
        made: what was written: the forecast, or the products that were made of it.
        attributes: texts that were written with it, see ``nowcast.output.origin``.
        files: where it lies; ODIM has one for each lead time.
        seconds: time spent by step, with the keys ``STEPS``; transform is everything between the
            frames and the forecast that is not the network, derive makes accumulations and
            probabilities.
    """

    context: Frames
    made: Forecast | Products
    attributes: dict[str, str]
    files: list[Path]
    seconds: dict[str, float]

    @property
    def forecast(self) -> Forecast:
        """The rain rates that were written, and what the model gave with them."""
        return self.made.forecast if isinstance(self.made, Products) else self.made


def publish(
    forecaster: Forecaster,
    read: Callable[[], Frames],
    output: str | Path,
    *,
    forecast_length: int | None = None,
    run: str = "",
    model_sha256: str | None = None,
    thresholds: Sequence[float] = (),
    members: int = 0,
    point: str | None = None,
    tolerance: Tolerance = DEFAULT,
) -> Published:
    """Read the newest frames, forecast, and write the forecast in the format of the output's
    suffix.

    Args:
        forecaster: what forecasts.
        read: gives the frames; at least the task's context_length of them.
        output: the file, see ``nowcast.output.writers``; it appears complete or not at all.
        forecast_length: number of frames to predict; None for the task's.
        run: name of the forecaster, for the file.
        model_sha256: of its weights, for the file.
        thresholds: rain rates [mm/h] to give probabilities for, beside accumulated rain; empty:
            rain rates alone are written.
        members: of an ensemble to write beside them, where the format has a place for them; 0:
            none.
        point: which number of the predicted distribution is written, see ``Forecaster``; None: the
            mean.
        tolerance: how far frames may lie off regular times.

    Raises:
        UserError: frames a forecast cannot be made from, an unknown functional, members of a model
            that draws none, or a file that cannot be written.
    """
    writer = writer_for(output, members=members)
    clock = [time.perf_counter()]
    frames = forecaster.one_of_each_time(read(), tolerance)
    clock.append(time.perf_counter())
    before = forecaster.network_seconds
    forecast = forecaster(
        frames,
        forecast_length,
        thresholds=thresholds,
        members=members,
        point=point,
        tolerance=tolerance,
    )
    network = forecaster.network_seconds - before
    clock.append(time.perf_counter())
    context = frames[-forecaster.task.context_length :]
    made = derive(forecast, context, thresholds=thresholds) if thresholds else forecast
    clock.append(time.perf_counter())
    origin = origin_attributes(
        model=run,
        model_sha256=model_sha256,
        analysis_time=forecast.analysis_time,
        inputs=[(frames.source, forecast.analysis_time)],
    )
    attributes = {"title": "Precipitation nowcast"} | origin
    files = writer.write(made, output, attributes=attributes)
    clock.append(time.perf_counter())
    reading, forecasting, deriving, writing = np.diff(clock).tolist()
    seconds = (reading, network, forecasting - network, deriving, writing)
    return Published(context, made, attributes, files, dict(zip(STEPS, seconds)))


def notes(context: Frames, forecast: Forecast) -> list[str]:
    """What a user should know of a forecast that is not whole, in sentences."""
    found = []
    discarded = context.discarded.sum()
    if discarded:
        found.append(
            f"{discarded} pixels of the input were negative or implausibly high, and are taken as "
            "missing"
        )
    empty = np.isnan(context.values).all(axis=(1, 2))
    if empty.any():
        first = utc_text(context.times[empty][0])
        frames = f"{empty.sum()} of {len(context)} input frames"
        found.append(f"{frames} contain no observation, the first of {first}")
    missing = forecast.is_missing
    if missing.any():
        first = forecast.lead_times[missing][0] / np.timedelta64(60, "s")
        fields = f"{missing.sum()} of {missing.size} fields"
        found.append(f"{fields} are missing at every pixel, the first at +{first:g} min")
    return found


def newest_frames(
    pattern: str | Path,
    *,
    context_length: int,
    reader,
    outputs: Sequence[Path],
    analysis_time=None,
    tolerance: Tolerance = DEFAULT,
) -> Frames:
    """The context frames of a prediction.

    Args:
        pattern: an archive, a radar file, a folder, a pattern, or a list of these.
        context_length: frames to read.
        reader: of raw radar files; they and archives are read in a process of their own, which can
            be killed.
        outputs: where the forecast and its pictures will go; none must be one of the files, nor an
            archive.
        analysis_time: UTC time of the last frame to read, as typed; None: the newest.
        tolerance: how far values, grids and times of the files may be off.

    Raises:
        UserError: no such files or frames, or files that cannot be read.
    """
    until = None if analysis_time is None else utc_time("analysis_time", analysis_time)
    paths = expand_inputs(pattern)
    for output in outputs:
        if is_one_of(output, paths):
            raise UserError(f"{output} is one of the input files; give the forecast another path.")
        if is_archive(output):
            raise UserError(
                f"{output} is an archive of radar frames, which a forecast must not replace; "
                "give the forecast another path."
            )
    inputs = opened_inputs(paths)
    newest = Unpacking(
        NewestFrames(Tolerant(reader, tolerance), context_length, until, tolerance), inputs.refused
    )
    try:
        with ReadingProcess(newest) as process:
            frames = read_frames(
                inputs.paths, reader=process, last=context_length, until=until, tolerance=tolerance
            )
    except UserError as error:
        if not inputs.containers:
            raise
        way = (
            "nowcast convert leaves out files that it cannot read; predict takes the archive "
            "it makes."
        )
        raise UserError(f"{error} ({way})") from error
    if until is not None and at_time(frames.times[-1:], until, None, tolerance) is None:
        raise UserError(
            f"{pattern} has no frame at the analysis time {utc_text(until)}; the newest before "
            f"it is {utc_text(frames.times[-1])}."
        )
    return frames
