"""ODIM_H5 (2.0 to 2.4), the exchange format of European weather radars: composites, images, and
volumes of a single level, as services write them.

What is stated counts wherever it stands, the nearest first (``odim_attributes``). Without a gain
and an offset the numbers are the values; without nodata nothing is missing (but NaN), without
undetect only what decodes to no rain is dry. The grid is that of any consistent statements
(``odim_grid``).
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from nowcast.readers.base import Reader
from nowcast.readers.decoding import Coding, minutes_between, stored_mark
from nowcast.readers.hdf5 import Hdf5File
from nowcast.readers.odim_attributes import OdimField, fields
from nowcast.readers.odim_forecasts import (
    refuse_forecast,
    refuse_later_interval,
    refuse_object,
    refuse_reference,
)
from nowcast.readers.odim_grid import locate
from nowcast.readers.odim_placement import BY_NAME, Placement
from nowcast.runtime.errors import UserError
from nowcast.types.frames import Frames

_MAPS = ("COMP", "IMAGE", "CVOL")
_SWEEPS = {  # what is no map, and what makes one of it
    "PVOL": "a polar volume",
    "SCAN": "a polar scan",
    "RAY": "a single polar ray",
    "AZIM": "a part of a polar scan",
    "ELEV": "a vertical scan",
    "VP": "a vertical profile",
    "XSEC": "a vertical section",
    "PIC": "a picture",
}
_CONVERTERS = (
    "make a composite of it first, e.g. with BALTRAD's radarcomp, with wradlib.comp, or with "
    "grid_from_radars of Py-ART"
)
# in the order of preference: what each of ODIM's quantities is here
_QUANTITIES = {
    "RATE": "rain_rate",
    "ACRR": "rain_depth",
    "DBZH": "reflectivity",
    "TH": "reflectivity",
    "DBZ": "reflectivity",
}


@dataclass(frozen=True)
class OdimHdf5(Reader):
    """Reader for ODIM_H5 files with a composite (COMP), an image (IMAGE) or one level of a
    Cartesian volume (CVOL).

    Args:
        quantity: RATE [mm/h], ACRR [mm over an interval], DBZH, TH or DBZ [dBZ]; None: the first of
            these that the file has. It also says what a file has that states none.
        minutes: interval of ACRR; None: from its start to its end, as the file states them.
        missing: numbers that mean "not observed"; None: nodata, as the file states it.
        grid: which statements about the grid count: corners (the outer ones), centres (corners that
            are centres of pixels), scales, or given; None: all of them, which must agree.
        crs: projection, as PROJ string or EPSG code; None: the file's.
        x: where the grid is given, the centre of the first column.
        y: where the grid is given, the centre of the first row.
        dx: where the grid is given, the distance between columns; None: the file's.
        dy: where the grid is given, the distance between rows; None: the file's.
        z_r_a: factor of the Z-R relation Z = a R^b that turns DBZH, TH and DBZ into rain rates.
        z_r_b: its exponent; the defaults are those of Marshall and Palmer (1948).
    """

    quantity: str | None = None
    z_r_a: float = 200.0
    z_r_b: float = 1.6
    minutes: float | None = None
    missing: tuple[float, ...] | None = None
    grid: str | None = None
    crs: str | int | None = None
    x: float | None = None
    y: float | None = None
    dx: float | None = None
    dy: float | None = None
    format = "ODIM_H5 (COMP, IMAGE or CVOL with RATE, ACRR, DBZH, TH or DBZ)"
    path_parts = 0  # nothing is taken from the name of a file

    def __post_init__(self):
        if self.quantity is not None and self.quantity not in _QUANTITIES:
            raise UserError(
                f"reader.quantity is {self.quantity!r}; accepted are {', '.join(_QUANTITIES)}, or "
                "null for the first that a file has."
            )
        object.__setattr__(self, "missing", self._as_told().missing)  # a tuple, as it is hashed
        self._placement()

    def _as_told(self) -> Coding:
        """How numbers stand for rain, as far as the settings say it."""
        return Coding(
            minutes=self.minutes, missing=self.missing, z_r_a=self.z_r_a, z_r_b=self.z_r_b
        )

    def _placement(self) -> Placement:
        return Placement(self.grid, self.crs, self.x, self.y, self.dx, self.dy)

    def recognises(self, path: str | Path) -> bool:
        """Whether the file's content is ODIM_H5; never raises."""
        try:
            with Hdf5File(path) as file:
                conventions = str(file.attribute("/", "Conventions"))
                if conventions.startswith("ODIM_H5"):
                    return True
                version = str(file.attribute("what", "version"))
                has_object = file.attribute("what", "object") is not None
                return has_object or version.startswith("H5rad")
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
            is_volume = _require_map(file) == "CVOL"
            field, quantity = self._choose(file, single=is_volume)
            refuse_forecast(file, field)
            shape = file.dataset(field.array, axes=2).shape
            grid, remarks = locate(field, shape, self._placement())
            coding, time = self._coding(field, _QUANTITIES[quantity])
            pixels = file.pixels(field.array)
            remedy = f"{BY_NAME} set reader.missing to the numbers that mean not observed"
            frames = coding.single_frame(pixels, time, grid, path, field.name, remedy=remedy)
            return replace(frames, remarks=remarks)

    def _choose(self, file: Hdf5File, *, single: bool) -> tuple[OdimField, str]:
        """(the first field with the wanted quantity, of a volume the only one; that quantity)."""
        found: dict[str | None, list[OdimField]] = {}
        for field in fields(file):
            stated = field.text("what", "quantity")
            found.setdefault(stated and stated.upper(), []).append(field)
        if self.quantity and list(found) == [None]:
            found = {self.quantity: found[None]}
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
        stated = ", ".join("missing" if name is None else repr(name) for name in found)
        advice = f"; {BY_NAME} set reader.quantity to what it is" if None in found else ""
        raise UserError(
            f"{file.path}: what/quantity of {first.name}{' and others' if others or more else ''} "
            f"is {stated}; expected {wanted}{advice}."
        )

    def _coding(self, field: OdimField, quantity: str) -> tuple[Coding, np.datetime64]:
        """(how the field's numbers stand for rain, its time)."""
        file, is_sum = field.file, quantity == "rain_depth"
        needs_interval = is_sum and self.minutes is None
        interval = _interval(field, required=needs_interval)
        time = _time(field, interval)
        if interval is not None:
            refuse_later_interval(file, field.name, time, interval, summed=is_sum)
        refuse_reference(file, field, time)
        minutes = self.minutes if is_sum else None
        if needs_interval:
            minutes = _minutes(field, *interval)
        if is_sum and interval is not None:
            time = interval[1]
        kind = file.dataset(field.array).dtype
        nodata, undetect = (stored_mark(field.value(name), kind) for name in ("nodata", "undetect"))
        told = replace(self._as_told(), quantity=quantity, minutes=minutes)
        stated = {name: field.value(name) for name in ("gain", "offset")}
        # without nodata nothing is missing, which Coding needs to know of whole numbers
        missing = () if nodata is None else (nodata,)
        return told.completed(file.path, missing=missing, undetect=undetect, **stated), time


def _require_map(file: Hdf5File) -> str:
    """What kind of map a file is.

    Raises:
        UserError: none, or a forecast.
    """
    whole = OdimField(file, "")
    stated = whole.text("what", "object")
    if stated is None and whole.text("where", "projdef") is None:
        raise UserError(
            f"{file.path} has no text what/object, and no where/projdef by which it would be a "
            f"map; expected {', '.join(_MAPS)}."
        )
    kind = (stated or "COMP").upper()
    refuse_object(file, kind)
    if kind not in _MAPS:
        found = f": it is {_SWEEPS[kind]}; {_CONVERTERS}" if kind in _SWEEPS else ""
        raise UserError(
            f"{file.path}: what/object is {stated!r}, expected {', '.join(_MAPS)}: maps, no sweeps"
            f"{found}."
        )
    return kind


def _interval(field: OdimField, *, required: bool) -> tuple[np.datetime64, np.datetime64] | None:
    """(start, end) of a field; None where it has none and needs none."""
    stated = [field.has_moment(prefix) for prefix in ("start", "end")]
    if not required and not all(stated):
        return None
    if not any(stated):
        raise UserError(
            f"{field.file.path} does not say over which interval its rain was collected "
            f"(startdate, starttime, enddate and endtime of what); {BY_NAME} set reader.minutes."
        )
    start, end = (field.moment(f"{field.name}, {prefix}", prefix) for prefix in ("start", "end"))
    return start, end


def _minutes(field: OdimField, start: np.datetime64, end: np.datetime64) -> float:
    """The length of the interval of an accumulation."""
    what = f"{field.file.path}: the interval of {field.name}"
    if start == end:  # some services repeat the nominal time
        raise UserError(
            f"{what} runs from {start} to {end}; a rain depth needs one that ends after it starts: "
            f"{BY_NAME} set reader.minutes to its length."
        )
    return minutes_between(start, end, what)


def _time(field: OdimField, interval: tuple[np.datetime64, np.datetime64] | None) -> np.datetime64:
    """The nominal time; that of the end where a file states nothing else."""
    stated = [field.stated("what", part) for part in ("date", "time")]
    if stated == [None, None] and interval is not None:
        return interval[1]
    return field.moment("what")
