"""ODIM_H5 (2.0 to 2.4), the exchange format of European weather radars: composites, images, and
volumes of a single level.

Gain, offset and marks may stand beside the data, in the dataset, or at the top of the file; the
nearest counts. Without a gain and an offset the numbers are the values; without nodata nothing is
missing, without undetect only what decodes to no rain is dry.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyproj

from nowcast.readers.axes import require_extent
from nowcast.readers.base import Reader
from nowcast.readers.cf.rain import PredictedRain
from nowcast.readers.decoding import Coding, minutes_between
from nowcast.readers.hdf5 import Hdf5File
from nowcast.readers.limits import require_side
from nowcast.readers.moments import moment_of, moment_of_digits
from nowcast.readers.odim_forecasts import (
    refuse_forecast,
    refuse_later_interval,
    refuse_object,
    refuse_reference,
)
from nowcast.readers.projection import project, projection_in_metres
from nowcast.runtime.errors import UserError
from nowcast.types.frames import Frames, Grid

_OBJECTS = ("COMP", "IMAGE", "CVOL")
# in the order of preference: what each of ODIM's quantities is here
_QUANTITIES = {
    "RATE": "rain_rate",
    "ACRR": "rain_depth",
    "DBZH": "reflectivity",
    "TH": "reflectivity",
}


@dataclass(frozen=True)
class OdimHdf5(Reader):
    """Reader for ODIM_H5 files with a composite (COMP), an image (IMAGE) or one level of a
    Cartesian volume (CVOL).

    Args:
        quantity: RATE [mm/h], ACRR [mm over an interval], DBZH or TH [dBZ]; None: the first of
            these that the file has.
        z_r_a: factor of the Z-R relation Z = a R^b that turns DBZH and TH into rain rates.
        z_r_b: its exponent; the defaults are those of Marshall and Palmer (1948).
    """

    quantity: str | None = None
    z_r_a: float = 200.0
    z_r_b: float = 1.6
    format = "ODIM_H5 (COMP, IMAGE or CVOL with RATE, ACRR, DBZH or TH)"
    path_parts = 0  # nothing is taken from the name of a file

    def __post_init__(self):
        if self.quantity is not None and self.quantity not in _QUANTITIES:
            raise UserError(
                f"reader.quantity is {self.quantity!r}; accepted are {', '.join(_QUANTITIES)}, or "
                "null for the first that a file has."
            )
        Coding(z_r_a=self.z_r_a, z_r_b=self.z_r_b)

    def recognises(self, path: str | Path) -> bool:
        """Whether ``Conventions`` say ODIM_H5, or there is a ``what/object``; never raises."""
        try:
            with Hdf5File(path) as file:
                conventions = str(file.attribute("/", "Conventions"))
                has_object = file.attribute("what", "object") is not None
                return conventions.startswith("ODIM_H5") or has_object
        except UserError:
            return False

    def read(self, path: str | Path) -> Frames:
        """One frame [mm/h]: 0 where nothing was detected, NaN where there is no data; the time is
        the nominal one.

        An accumulation's time is the end of its interval.

        Raises:
            UserError: something is missing, damaged or contradictory, or none of the accepted
                quantities is there.
        """
        with Hdf5File(path) as file:
            kind = file.text("what", "object")
            refuse_object(file, kind)
            if kind not in _OBJECTS:
                raise UserError(
                    f"{path}: what/object is {kind!r}, expected {', '.join(_OBJECTS)}: maps, no "
                    "sweeps."
                )
            field, quantity = self._choose(file, single=kind == "CVOL")
            refuse_forecast(file, field)
            grid = _grid(file, field)
            coding, time = self._coding(file, field, _QUANTITIES[quantity])
            return coding.single_frame(file.pixels(f"{field}/data"), time, grid, path, field)

    @contextmanager
    def forecast(self, path: str | Path) -> Iterator[PredictedRain]:
        """One lead time of a forecast, as nowcast and some services write it.

        What it was made from is how/analysis_time, as nowcast writes it, else the nominal time, as
        the German and other services have it; it is valid at the end of its interval.

        Raises:
            UserError: as ``read``; or no field that ends after what it was made from.
        """
        with Hdf5File(path) as file:
            field, quantity = self._choose(file, single=False)
            grid = _grid(file, field)
            start, valid = _predicted_times(file, field)
            coding = self._completed(file, field, _QUANTITIES[quantity], _interval(file, field))

            def values() -> np.ndarray:
                raw = file.pixels(f"{field}/data")
                return coding.single_frame(raw, valid, grid, path, field).values[None]

            yield PredictedRain(start, np.array([valid]), None, grid, values)

    def _choose(self, file: Hdf5File, *, single: bool) -> tuple[str, str]:
        """(path of the first field with the wanted quantity, of a volume the only one; that
        quantity).
        """
        found: dict[str, list[str]] = {}
        for dataset in _numbered(file, "", "dataset"):
            for field in _numbered(file, dataset, "data"):
                found.setdefault(str(_inherited(file, field, "quantity")), []).append(field)
        for quantity in [self.quantity] if self.quantity else _QUANTITIES:
            if single and len(found.get(quantity, ())) > 1:
                raise UserError(
                    f"{file.path} is a volume with {len(found[quantity])} levels of {quantity}; "
                    "one map is needed, give a composite or an image."
                )
            if quantity in found:
                return found[quantity][0], quantity
        wanted = self.quantity or ", ".join(_QUANTITIES)
        if not found:
            raise UserError(f"{file.path} has no dataset1/data1; expected one with {wanted}.")
        (first, *others), *more = found.values()
        stated = ", ".join("missing" if name == "None" else repr(name) for name in found)
        raise UserError(
            f"{file.path}: what/quantity of {first}{' and others' if others or more else ''} is "
            f"{stated}; expected {wanted}."
        )

    def _coding(self, file: Hdf5File, field: str, quantity: str) -> tuple[Coding, np.datetime64]:
        """(how the field's numbers stand for rain, its time)."""
        time = _time(file.path, "what", file.text("what", "date"), file.text("what", "time"))
        is_sum = quantity == "rain_depth"
        interval = _interval(file, field, required=is_sum)
        if interval is not None:
            refuse_later_interval(file, field, time, interval, summed=is_sum)
        refuse_reference(file, field, time)
        if is_sum:
            time = interval[1]
        return self._completed(file, field, quantity, interval), time

    def _completed(
        self,
        file: Hdf5File,
        field: str,
        quantity: str,
        interval: tuple[np.datetime64, np.datetime64] | None,
    ) -> Coding:
        """How the field's numbers stand for rain; the interval is that of a sum."""
        minutes = None
        if quantity == "rain_depth":
            minutes = minutes_between(*interval, f"{file.path}: the interval of {field}")
        coding = Coding(quantity, minutes, z_r_a=self.z_r_a, z_r_b=self.z_r_b)
        nodata = _number(file, field, "nodata")
        stated = {name: _number(file, field, name) for name in ("gain", "offset", "undetect")}
        missing = () if nodata is None else (nodata,)
        # without nodata nothing is missing, which Coding needs to know of whole numbers
        return coding.completed(file.path, missing=missing, **stated)


def _numbered(file: Hdf5File, group: str, prefix: str) -> list[str]:
    """Paths of a group's members prefix1, prefix2, ... in the order of their numbers."""
    numbers = []
    for name in file.members(group):
        match = re.fullmatch(rf"{prefix}(\d{{1,4}})", name, re.ASCII)
        if match:
            numbers.append(int(match[1]))
    return [f"{group}/{prefix}{number}".lstrip("/") for number in sorted(numbers)]


def _inherited(file: Hdf5File, field: str, attribute: str):
    """An attribute of the field's own `what`, else of its dataset's or the file's, else None."""
    for place in (f"{field}/what", f"{field.rpartition('/')[0]}/what", "what"):
        value = file.attribute(place, attribute)
        if value is not None:
            return value
    return None


def _predicted_times(file: Hdf5File, field: str) -> tuple[np.datetime64, np.datetime64]:
    """(what a forecast was made from, what it is valid for)."""
    nominal = _time(file.path, "what", file.text("what", "date"), file.text("what", "time"))
    interval = _interval(file, field, required=False)
    valid = nominal if interval is None else interval[1]
    stated = file.attribute("how", "analysis_time")
    start = nominal if stated is None else moment_of(stated)
    if start is None or not start <= valid:
        raise UserError(
            f"{file.path} is made from {start} and valid for {valid} UTC; expected a forecast, "
            "whose field ends after what/date and what/time, or after how/analysis_time."
        )
    return start, valid


def _interval(
    file: Hdf5File, field: str, *, required: bool = True
) -> tuple[np.datetime64, np.datetime64] | None:
    """(start, end) of a field; None where it has none and needs none."""
    stated = []
    for end in ("start", "end"):
        stated.append([_inherited(file, field, f"{end}{part}") for part in ("date", "time")])
    if not required and any(None in moment for moment in stated):
        return None
    return tuple(
        _time(file.path, f"{field}, {end}", *moment)
        for end, moment in zip(("start", "end"), stated)
    )


def _number(file: Hdf5File, field: str, attribute: str) -> int | float | None:
    """A number; a whole one stays whole: a mark in 64 bits may be beyond floats."""
    value = _inherited(file, field, attribute)
    if value is None or isinstance(value, np.integer):
        return None if value is None else int(value)
    try:
        return float(value)
    except ValueError:
        raise UserError(
            f"{file.path}: {attribute} of {field} is {value!r}; a number is needed."
        ) from None


def _time(path: Path, where: str, date, time) -> np.datetime64:
    moment = moment_of_digits(f"{date}{time}") if len(str(date)) == 8 else None
    if moment is None:
        raise UserError(
            f"{path}: date and time of {where} are {date!r} and {time!r}; expected YYYYMMDD and "
            "HHMMSS."
        )
    return moment


def _grid(file: Hdf5File, field: str) -> Grid:
    """Cell centres [m] from two outer corners of the image, checked against size and number of
    pixels.
    """
    own = f"{field.partition('/')[0]}/where"
    where = own if file.attribute(own, "projdef") is not None else "where"
    projection = projection_in_metres(file.text(where, "projdef"), file.path)

    def corner(name: str) -> tuple[float, float]:
        longitude, latitude = (file.number(where, f"{name}_{axis}") for axis in ("lon", "lat"))
        return project(projection, longitude, latitude, path=file.path)

    if file.attribute(where, "UL_lon") is None and file.attribute(where, "LL_lon") is not None:
        (left, bottom), (right, top) = corner("LL"), corner("UR")
    else:
        (left, top), (right, bottom) = corner("UL"), corner("LR")
    if right < left and pyproj.CRS.from_user_input(projection).is_geographic:
        right += 360.0  # over the date line
    centres = []
    for axis, extent in (("x", right - left), ("y", top - bottom)):
        stated = file.number(where, f"{axis}size")
        count = require_side(f"{file.path}: {where}/{axis}size", stated)
        step = file.number(where, f"{axis}scale")
        corners, size = (f"the corners in {where}", extent), (f"{where}/{axis}scale", step)
        require_extent(file.path, corners, axis, (f"{axis}size", count), size)
        centres.append((np.arange(count) + 0.5) * step)
    return Grid(projection, left + centres[0], top - centres[1])
