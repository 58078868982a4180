"""ODIM_H5 (2.0 to 2.4), the exchange format of European weather radars: composites, images, and
volumes of a single level.

Gain, offset and marks may stand beside the data, in the dataset, or at the top of the file; the
nearest counts. Without a gain and an offset the numbers are the values; without nodata nothing is
missing, without undetect only what decodes to no rain is dry.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pyproj

from nowcast.readers.base import Reader
from nowcast.readers.decoding import equals, interval_minutes, plausible, rate_or_refusal
from nowcast.readers.hdf5 import Hdf5File
from nowcast.readers.odim_forecasts import (
    refuse_forecast,
    refuse_later_interval,
    refuse_object,
    refuse_reference,
)
from nowcast.readers.projection import project, projection_in_metres
from nowcast.runtime.errors import UserError
from nowcast.types.frames import Frames, Grid
from nowcast.types.tolerance import in_force
from nowcast.types.units import (
    RAIN_RATE,
    rain_depth_quantity,
    rain_rate_from_depth,
    reflectivity_quantity,
)

_OBJECTS = ("COMP", "IMAGE", "CVOL")
_QUANTITIES = ("RATE", "ACRR", "DBZH", "TH")


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
                f"reader.quantity is {self.quantity!r}; accepted are {', '.join(_QUANTITIES)}, "
                "or null for the first that a file has."
            )
        for name in ("z_r_a", "z_r_b"):
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or not 0 < value < float("inf"):
                raise UserError(
                    f"reader.{name} is {value!r}; a positive number is needed, e.g. "
                    f"{getattr(type(self), name)}."
                )

    def recognises(self, path: str | Path) -> bool:
        """Whether the file's content is ODIM_H5; never raises."""
        try:
            with Hdf5File(path) as file:
                return (
                    str(file.attribute("/", "Conventions")).startswith("ODIM_H5")
                    or file.attribute("what", "object") is not None
                )
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
            values, time, measured = self._rain_rate(file, field, quantity)
        if values.shape != grid.shape:
            raise UserError(
                f"{path}: {field}/data has {values.shape} pixels, but where says {grid.shape}."
            )
        values = plausible(
            values, f"{path}: {field}", cause="its nodata or undetect is wrong or missing"
        )
        return Frames(values[None], time, grid, str(path), measured)

    def _choose(self, file: Hdf5File, *, single: bool) -> tuple[str, str]:
        """(path of the first field with the wanted quantity, of a volume the only one; that
        quantity).
        """
        fields = [
            field
            for dataset in _numbered(file, "", "dataset")
            for field in _numbered(file, dataset, "data")
        ]
        found = {}
        for field in fields:
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
        if not fields:
            raise UserError(f"{file.path} has no dataset1/data1; expected one with {wanted}.")
        stated = ", ".join("missing" if name == "None" else repr(name) for name in found)
        raise UserError(
            f"{file.path}: what/quantity of "
            f"{fields[0]}{' and others' if len(fields) > 1 else ''} is {stated}; expected "
            f"{wanted}."
        )

    def _rain_rate(
        self, file: Hdf5File, field: str, quantity: str
    ) -> tuple[np.ndarray, np.datetime64, str]:
        """(rain rate [mm/h], (H, W) float64; its time; what was measured)."""
        values, dry = _decoded(file, field)
        measured = RAIN_RATE
        time = _time(file.path, "what", file.text("what", "date"), file.text("what", "time"))
        interval = _interval(file, field, required=quantity == "ACRR")
        if interval is not None:
            refuse_later_interval(file, field, time, interval, summed=quantity == "ACRR")
        refuse_reference(file, field, time)
        if quantity == "ACRR":
            start, end = interval
            if end <= start:
                raise UserError(
                    f"{file.path}: the interval of {field} runs from {start} to {end}; ACRR "
                    "needs one that ends after it starts."
                )
            minutes = interval_minutes((end - start) / np.timedelta64(60, "s"))
            values, time, measured = (
                rain_rate_from_depth(values, minutes),
                end,
                rain_depth_quantity(minutes),
            )
        elif quantity in ("DBZH", "TH"):
            values = rate_or_refusal(values, self.z_r_a, self.z_r_b)
            measured = reflectivity_quantity(self.z_r_a, self.z_r_b)
        values[dry] = 0.0
        return values, time, measured


def _numbered(file: Hdf5File, group: str, prefix: str) -> list[str]:
    """Paths of a group's members prefix1, prefix2, ... in the order of their numbers."""
    matches = (
        re.fullmatch(rf"{prefix}(\d{{1,4}})", name, re.ASCII) for name in file.members(group)
    )
    numbers = [int(match[1]) for match in matches if match]
    return [f"{group}/{prefix}{number}".lstrip("/") for number in sorted(numbers)]


def _inherited(file: Hdf5File, field: str, attribute: str):
    """An attribute of the field's own `what`, else of its dataset's, else of the file's, else None."""
    places = (f"{field}/what", f"{field.rpartition('/')[0]}/what", "what")
    return next(
        (value for place in places if (value := file.attribute(place, attribute)) is not None), None
    )


def _interval(
    file: Hdf5File, field: str, *, required: bool
) -> tuple[np.datetime64, np.datetime64] | None:
    """(start, end) of a field; None where it has none and needs none."""
    stated = [
        (_inherited(file, field, f"{which}date"), _inherited(file, field, f"{which}time"))
        for which in ("start", "end")
    ]
    if not required and any(None in moment for moment in stated):
        return None
    start, end = (
        _time(file.path, f"{field}, {which}", date, clock)
        for which, (date, clock) in zip(("start", "end"), stated)
    )
    return start, end


def _number(file: Hdf5File, field: str, attribute: str) -> int | float | None:
    """A number; a whole one stays whole, as a mark in 64 bits may be larger than what a float tells
    apart.
    """
    value = _inherited(file, field, attribute)
    try:
        return (
            None if value is None else int(value) if isinstance(value, np.integer) else float(value)
        )
    except ValueError:
        raise UserError(
            f"{file.path}: {attribute} of {field} is {value!r}; a number is needed."
        ) from None


def _decoded(file: Hdf5File, field: str) -> tuple[np.ndarray, np.ndarray]:
    """(physical values, (H, W) float64, NaN = no data; whether nothing was detected, (H, W))."""
    gain, offset, nodata, undetect = (
        _number(file, field, name) for name in ("gain", "offset", "nodata", "undetect")
    )
    raw = file.pixels(f"{field}/data")
    missing, dry = equals(raw, nodata), equals(raw, undetect)
    with np.errstate(
        invalid="ignore", over="ignore"
    ):  # numbers of a damaged file; what is not finite is refused later
        values = raw.astype(np.float64) * (1.0 if gain is None else gain) + (
            0.0 if offset is None else offset
        )  # not in 8 bits, where 128 * 2 is 0
    values[missing] = np.nan
    return values, dry & ~missing


def _time(path: Path, where: str, date, time) -> np.datetime64:
    try:
        if not re.fullmatch(
            r"\d{8} (\d\d){2,3}", f"{date} {time}", re.ASCII
        ):  # strptime takes 1815 for 18:01:05
            raise ValueError
        return np.datetime64(datetime.strptime(f"{date}{time}".ljust(14, "0"), "%Y%m%d%H%M%S"), "s")
    except ValueError:
        raise UserError(
            f"{path}: date and time of {where} are {date!r} and {time!r}; expected YYYYMMDD and "
            "HHMMSS."
        ) from None


def _grid(file: Hdf5File, field: str) -> Grid:
    """Cell centres [m] from two outer corners of the image, checked against pixel size and number."""
    own = f"{field.partition('/')[0]}/where"
    where = own if file.attribute(own, "projdef") is not None else "where"
    projection = projection_in_metres(file.text(where, "projdef"), file.path)

    def corner(name: str) -> tuple[float, float]:
        return project(
            projection,
            file.number(where, f"{name}_lon"),
            file.number(where, f"{name}_lat"),
            path=file.path,
        )

    if file.attribute(where, "UL_lon") is None and file.attribute(where, "LL_lon") is not None:
        (left, bottom), (right, top) = corner("LL"), corner("UR")
    else:
        (left, top), (right, bottom) = corner("UL"), corner("LR")
    if right < left and pyproj.CRS.from_user_input(projection).is_geographic:
        right += 360.0  # over the date line
    (columns, dx), (rows, dy) = (
        (int(file.number(where, f"{a}size")), file.number(where, f"{a}scale")) for a in "xy"
    )
    off = in_force().off_corner
    for axis, count, step, apart in (
        ("x", columns, dx, right - left),
        ("y", rows, dy, top - bottom),
    ):
        if not 1 <= count <= 2**16:
            raise UserError(
                f"{file.path}: {where}/{axis}size is {count}; expected 1 to 65536 pixels."
            )
        if not step > 0:
            raise UserError(
                f"{file.path}: {where}/{axis}scale is {step:g}; expected a size of pixels above 0."
            )
        if abs(apart - count * step) > off * step:
            raise UserError(
                f"{file.path}: the corners in {where} are {apart:.0f} apart in {axis}, expected "
                f"{count * step:.0f} for {axis}size {count} and {axis}scale "
                f"{step:g}, give or take {off:g} pixels; corners must be the outer ones of the "
                "image."
            )
    return Grid(
        projection, left + (np.arange(columns) + 0.5) * dx, top - (np.arange(rows) + 0.5) * dy
    )
