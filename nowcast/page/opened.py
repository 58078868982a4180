"""What lies in a file, or in several, as a page shows it: a forecast of nowcast in any of its
formats, one of another system as CF NetCDF or ODIM_H5, an archive, or radar files.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nowcast.data.archive import Archive, is_archive
from nowcast.data.inputs import Inputs, expand_inputs, read_frames
from nowcast.data.members import short_name
from nowcast.data.reading import ReadingProcess, opened_inputs
from nowcast.data.tolerant import Tolerant
from nowcast.data.unpacking import Unpacking
from nowcast.forecasting.products import Products, derive
from nowcast.forecasting.status import STATUS
from nowcast.output import geotiff, netcdf
from nowcast.output.origin import GAPS
from nowcast.output.writers import WRITERS
from nowcast.page.content import PageContent, forecast_content, frames_content
from nowcast.page.single_file import About
from nowcast.readers.base import Reader
from nowcast.readers.cf.rain import PredictedRain
from nowcast.readers.cf_netcdf import CfNetcdf
from nowcast.readers.hdf5 import Hdf5File
from nowcast.readers.odim_hdf5 import OdimHdf5
from nowcast.runtime.errors import IsForecast, UserError
from nowcast.types.frames import Forecast, Frames
from nowcast.types.tolerance import DEFAULT, Tolerance, applied

THRESHOLDS = (0.1, 1.0, 5.0)
"""Rain rates [mm/h] whose share of an ensemble's members is shown."""

_CONTEXT = 6  # observed frames that are shown before a forecast
_LEAD_IN_NAME = r"_\d{3,}(?:min|s)"  # see nowcast.output.odim
_OF_CYCLE = re.compile(rf"forecast_(\d{{8}}T\d{{6}}Z){_LEAD_IN_NAME}\.(?:h5|hdf)")
_HEADINGS = (  # attributes of a forecast's file that are shown, and what is said before them
    ("title", "Title"),
    ("institution", "Institution"),
    ("source", "Made by"),
    ("method", "Method"),
    ("fallback_reason", "Fallback because"),
    ("input_files", "Made from"),
    (GAPS, "Gaps"),
    ("model_sha256", "SHA-256 of the weights"),
)


@dataclass(frozen=True)
class Opened:
    """What files contain.

    Args:
        content: as a page shows it.
        title: above it.
        about: what is said of it.
    """

    content: PageContent
    title: str
    about: About


def about_forecast(attributes: Mapping[str, str]) -> list[tuple[str, str]]:
    """What is said of a forecast, from the attributes of its file."""
    own = [(heading, str(attributes[name])) for name, heading in _HEADINGS if name in attributes]
    return [pair for pair in own if pair != ("Method", "nowcast")]


def open_files(
    inputs: Inputs,
    *,
    reader: Reader,
    last: int,
    tolerance: Tolerance = DEFAULT,
    context: Frames | None = None,
) -> Opened:
    """What files contain.

    Args:
        inputs: a forecast; for ODIM_H5 the files of its lead times, or the name that they were
            made from; the folder of a watch or a replay, whose latest forecast is taken; an archive
            or radar files, also packed.
        reader: of radar files.
        last: of observed frames only so many of the newest are shown.
        tolerance: how far values, grids and times may be off.
        context: observed frames, of which those that a forecast of nowcast as NetCDF was made from
            are shown before it.

    Raises:
        UserError: no such files, files that cannot be read, or forecasts of a format that is not
            shown.
    """
    paths = _paths(inputs)
    if len(paths) == 1 and netcdf.is_forecast(paths[0]):
        made = netcdf.read_products(paths[0])
        return _forecast(made, paths, netcdf.read_attributes(paths[0]), context)
    if len(paths) == 1 and is_archive(paths[0]):
        with Archive(paths[0]) as archive:
            return _frames(archive.frames(max(0, len(archive) - last), len(archive)), paths)
    inputs = opened_inputs(paths)
    observations = Unpacking(Tolerant(reader, tolerance), inputs.refused)
    try:
        with ReadingProcess(observations) as process:
            frames = read_frames(inputs.paths, reader=process, last=last, tolerance=tolerance)
        return _frames(frames, paths)
    except IsForecast as refusal:
        if len(paths) == 1 and geotiff.is_forecast(paths[0]):
            made, tags = geotiff.read_geotiff(paths[0])
            return _forecast(made, paths, tags)
        with applied(tolerance):
            return _foreign(inputs.paths, inputs.refused, reader, refusal)


def _paths(inputs: Inputs) -> list[Path]:
    """The files that are meant."""
    typed = Path(str(inputs)).expanduser()
    if typed.is_dir():
        latest = [typed / f"latest{suffix}" for suffix in WRITERS]
        found = [path for path in latest if path.is_file()]
        return found[:1] or _latest_cycle(typed) or expand_inputs(inputs)
    if typed.suffix and not typed.exists():  # the name that ODIM's files were made from
        pattern = re.compile(re.escape(typed.stem) + _LEAD_IN_NAME + re.escape(typed.suffix))
        beside = typed.parent.iterdir() if typed.parent.is_dir() else ()
        found = sorted(path for path in beside if pattern.fullmatch(path.name))
        if found:
            return found
    return expand_inputs(inputs)


def _latest_cycle(folder: Path) -> list[Path]:
    """The files of the newest cycle in the folder of a watch that has no ``latest``: one that
    writes ODIM_H5 alone.
    """
    if not (folder / STATUS).is_file():
        return []
    by_cycle: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if found := _OF_CYCLE.fullmatch(path.name):
            by_cycle.setdefault(found[1], []).append(path)
    return by_cycle[max(by_cycle)] if by_cycle else []


def _named(paths: Sequence[Path]) -> str:
    """Files in words: the first and the last of several."""
    names = [short_name(path) for path in (paths[0], paths[-1])]
    return names[0] if len(paths) == 1 else f"{names[0]} to {names[1]} ({len(paths)} files)"


def _frames(frames: Frames, paths: Sequence[Path]) -> Opened:
    about = [("Observed by radar", _named(paths)), ("Measured", frames.quantity)]
    return Opened(frames_content(frames), "Rain observed by radar", about)


def _forecast(
    made: Forecast | Products,
    paths: Sequence[Path],
    attributes: Mapping[str, str],
    frames: Frames | None = None,
) -> Opened:
    about = [("File", _named(paths)), *about_forecast(attributes)]
    forecast = made.forecast if isinstance(made, Products) else made
    context = None
    if frames is not None:
        context = frames[frames.times <= forecast.analysis_time][-_CONTEXT:]
    return Opened(forecast_content(made, context), "Rain forecast", about)


def _foreign(
    paths: Sequence[Path], refused: dict[str, UserError], reader: Reader, refusal: UserError
) -> Opened:
    """A forecast that another system wrote, or ours as ODIM_H5."""
    # a reader that was chosen has settings, such as the variable, that are needed here, too
    readers = [OdimHdf5(), CfNetcdf()]
    readers = [type(one)() if type(one) is not type(reader) else reader for one in readers]
    for one in readers:
        if _recognised(one, paths[0], refused):
            break
    else:
        if len(paths) > 1:
            raise UserError(
                f"{paths[0].name} to {paths[-1].name} are {len(paths)} files with a forecast among "
                f"them; a page shows one forecast, or observations: give one file. ({refusal})"
            )
        raise UserError(
            f"{refusal} Forecasts that can be shown are those of nowcast, and those of others as "
            "CF NetCDF or ODIM_H5."
        )
    unpacking = Unpacking(one, refused)
    parts: list[_Part] = []
    for path in paths:
        with unpacking.forecast(path) as predicted:
            parts.append(_Part(path, predicted, predicted.values()))
    return _put_together(parts)


def _recognised(reader: Reader, path: Path, refused: dict[str, UserError]) -> bool:
    """Whether a file, which may be packed, is of a reader's format."""

    class Recognising:
        def read(self, place: str | Path) -> str:
            return "yes" if reader.recognises(place) else ""

    return bool(Unpacking(Recognising(), refused).read(path))


def _odim_attributes(path: Path) -> Mapping[str, str]:
    """The texts in the group how of an ODIM_H5 file; none of a packed or another one."""
    try:
        with Hdf5File(path) as file:
            found = {} if file.find("how") is None else file.described("how")
    except UserError:
        return {}
    return {name: value for name, value in found.items() if isinstance(value, str)}


@dataclass(frozen=True)
class _Part:
    """A file of a forecast: what it says, and its rain rates (M, T, H, W)."""

    path: Path
    predicted: PredictedRain
    values: np.ndarray


def _put_together(parts: Sequence[_Part]) -> Opened:
    """The newest forecast that some files are parts of."""
    start = max(part.predicted.analysis_time for part in parts)
    parts = [part for part in parts if part.predicted.analysis_time == start]
    parts = sorted(parts, key=lambda part: part.predicted.valid_times[0])
    first = parts[0].predicted
    for part in parts[1:]:
        difference = first.grid.difference(part.predicted.grid)
        if difference or part.values.shape[0] != parts[0].values.shape[0]:
            raise UserError(
                f"{part.path} is of another forecast than {parts[0].path}: "
                f"{difference or 'another number of members'}; give the files of one."
            )
    values = np.concatenate([part.values for part in parts], axis=1)
    leads = np.concatenate([part.predicted.valid_times for part in parts]) - start
    observed = int(np.count_nonzero(leads <= np.timedelta64(0, "s")))
    mean = values.mean(axis=0, dtype=np.float64).astype(np.float32)
    if observed == len(leads):
        raise UserError(
            f"{parts[0].path} has no field after {start} UTC, which it was made from; give the "
            "files of later lead times, too."
        )
    members = values[:, observed:] if first.members is not None else None
    made: Forecast | Products = Forecast(
        mean[observed:], start, leads[observed:], first.grid, members=members
    )
    if members is not None:
        made = derive(made, None, thresholds=THRESHOLDS)
    about = [("File", _named([part.path for part in parts]))]
    about += about_forecast(_odim_attributes(parts[0].path))
    context = None
    if observed:  # some services add the analysis as a lead time of 0
        context = Frames(mean[observed - 1 : observed], [start], first.grid)
    return Opened(forecast_content(made, context), "Rain forecast", about)
