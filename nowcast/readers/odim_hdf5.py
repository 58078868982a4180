"""ODIM_H5 (2.0 to 2.4), the exchange format of European weather radars: composites, images, and
volumes of a single level, as services write them.

What is stated counts wherever it stands, the nearest first (``odim_attributes``). Without a gain
and an offset the numbers are the values; without nodata nothing is missing (but NaN), without
undetect only what decodes to no rain is dry. The grid is that of any consistent statements
(``odim_grid``).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from nowcast.readers.base import Reader
from nowcast.readers.cf.rain import PredictedRain
from nowcast.readers.decoding import Coding, stored_mark
from nowcast.readers.hdf5 import Hdf5File
from nowcast.readers.marks import refuse_undeclared
from nowcast.readers.odim_attributes import OdimField
from nowcast.readers.odim_choice import QUANTITIES, Chosen, choose, joined
from nowcast.readers.odim_forecasts import refuse_forecast, refuse_later_interval, refuse_reference
from nowcast.readers.odim_grid import Located, locate
from nowcast.readers.odim_objects import require_map
from nowcast.readers.odim_placement import BY_NAME, Placement
from nowcast.readers.odim_times import (
    Interval,
    interval_of,
    minutes_of,
    nominal_time,
    predicted_times,
)
from nowcast.runtime.errors import UserError
from nowcast.types.frames import Frames


@dataclass(frozen=True)
class OdimHdf5(Reader):
    """Reader for ODIM_H5 files with a composite (COMP), an image (IMAGE) or one level of a
    Cartesian volume (CVOL).

    Args:
        quantity: RATE [mm/h], ACRR [mm over an interval], DBZH, TH or DBZ [dBZ]; None: the first of
            these that the file has. It also says what a file has that states none, or spells it
            otherwise.
        dataset: which dataset or field to read where several have the quantity, e.g. dataset2 or
            dataset1/data2; None: those of several times are frames.
        minutes: interval of ACRR; None: from its start to its end, as the file states them.
        nominal: start: accumulations of observed rain begin at their nominal time, as only
            forecasts do otherwise; None: they end there, or contain it.
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
    dataset: str | None = None
    z_r_a: float = 200.0
    z_r_b: float = 1.6
    minutes: float | None = None
    nominal: str | None = None
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
        if self.quantity is not None and self.quantity not in QUANTITIES:
            raise UserError(
                f"reader.quantity is {self.quantity!r}; accepted are {', '.join(QUANTITIES)}, or "
                "null for the first that a file has."
            )
        if self.nominal not in (None, "start"):
            raise UserError(
                f"reader.nominal is {self.nominal!r}; accepted are start, where accumulations "
                "begin at their nominal time, or null."
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
        """Whether ``Conventions`` say ODIM_H5, or there is a ``what/object``, a ``what/version`` of
        H5rad, or a ``dataset1/data1`` with a ``projdef``; never raises.
        """
        try:
            with Hdf5File(path) as file:
                conventions = str(file.attribute("/", "Conventions"))
                if conventions.startswith("ODIM_H5"):
                    return True
                version = str(file.attribute("what", "version"))
                if version.startswith("H5rad") or file.attribute("what", "object") is not None:
                    return True
                first = "dataset1/data1"
                is_there = file.find(first) is not None
                return is_there and OdimField(file, first).stated("where", "projdef") is not None
        except UserError:
            return False

    def read(self, path: str | Path) -> Frames:
        """One frame [mm/h], or those of several times: 0 where nothing was detected, NaN where
        there is no data; the time is the nominal one.

        An accumulation's time is the end of its interval, and so is that of several fields with
        one nominal time.

        Raises:
            UserError: something is missing, damaged or contradictory, or none of the accepted
                quantities is there.
        """
        with Hdf5File(path) as file:
            is_volume = require_map(file, is_mapped=self.crs is not None) == "CVOL"
            chosen = self._choose(file, is_volume=is_volume)
            frames = joined([self._observation(field, chosen) for field in chosen.fields])
            return replace(frames, remarks=(*frames.remarks, *chosen.remarks))

    @contextmanager
    def forecast(self, path: str | Path) -> Iterator[PredictedRain]:
        """One lead time of a forecast, as nowcast and some services write it.

        What it was made from is how/analysis_time, as nowcast writes it, else the nominal time, as
        the German and other services have it; it is valid at the end of its interval.

        Raises:
            UserError: as ``read``; or no field that ends after what it was made from.
        """
        with Hdf5File(path) as file:
            chosen = self._choose(file, single=True)
            (field,), quantity = chosen.fields, chosen.kind
            located = self._located(field)
            start, valid = predicted_times(field)
            interval = interval_of(field, required=self._needs_interval(quantity))
            coding = self._coding(field, quantity, interval)

            def values() -> np.ndarray:
                return self._frames(field, coding, valid, located).values[None]

            yield PredictedRain(start, np.array([valid]), None, located[0], values)

    def _choose(self, file: Hdf5File, *, is_volume: bool = False, single: bool = False) -> Chosen:
        """The fields to read."""
        wanted = self.quantity, self.dataset
        return choose(file, *wanted, is_volume=is_volume, single=single)

    def _observation(self, field: OdimField, chosen: Chosen) -> Frames:
        """One of the file's observed fields."""
        refuse_forecast(field.file, field)
        located = self._located(field)
        time, interval = self._observed(field, chosen.kind, by_end=chosen.by_end)
        coding = self._coding(field, chosen.kind, interval)
        return self._frames(field, coding, time, located)

    def _observed(
        self, field: OdimField, quantity: str, *, by_end: bool
    ) -> tuple[np.datetime64, Interval | None]:
        """(time, interval) of an observed field, an interval where it has one."""
        file, is_sum = field.file, quantity == "rain_depth"
        interval = interval_of(field, required=self._needs_interval(quantity))
        time = nominal_time(field, interval)
        if interval is not None:
            begins = self.nominal == "start"
            refuse_later_interval(file, field.name, time, interval, summed=is_sum, begins=begins)
        refuse_reference(file, field, time)
        is_of_end = interval is not None and (is_sum or by_end)
        return (interval[1] if is_of_end else time), interval

    def _needs_interval(self, quantity: str) -> bool:
        return quantity == "rain_depth" and self.minutes is None

    def _coding(self, field: OdimField, quantity: str, interval: Interval | None) -> Coding:
        """How the field's numbers stand for rain."""
        minutes = self.minutes if quantity == "rain_depth" else None
        if self._needs_interval(quantity):
            minutes = minutes_of(field, interval)
        kind = field.file.dataset(field.array).dtype
        nodata, undetect = (stored_mark(field.value(name), kind) for name in ("nodata", "undetect"))
        told = replace(self._as_told(), quantity=quantity, minutes=minutes)
        stated = {name: field.value(name) for name in ("gain", "offset")}
        # without nodata nothing is missing, which Coding needs to know of whole numbers
        missing = () if nodata is None else (nodata,)
        return told.completed(field.file.path, missing=missing, undetect=undetect, **stated)

    def _frames(
        self, field: OdimField, coding: Coding, time: np.datetime64, located: Located
    ) -> Frames:
        """The field, once it is known what its numbers mean, when and where it is."""
        grid, remarks = located
        pixels = field.file.pixels(field.array)
        path, remedy = field.file.path, f"{BY_NAME} set reader.missing"
        if self.missing is None:
            refuse_undeclared(coding, pixels, f"{path}: {field.name}", remedy)
        remedy += " to the numbers that mean not observed"
        frames = coding.single_frame(pixels, time, grid, path, field.name, remedy=remedy)
        return replace(frames, remarks=remarks)

    def _located(self, field: OdimField) -> Located:
        shape = field.file.dataset(field.array, axes=2).shape
        return locate(field, shape, self._placement())
