"""Rain fields that know what they are: values, times, unit and grid travel together and are checked
here.

Values are rain rates in mm/h, NaN where nothing was measured. Row 0 is north, column 0 is west.
Times are UTC and, where a file holds an accumulation, mean the end of its interval.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nowcast.runtime.errors import UserError
from nowcast.types import labelled, places, summaries
from nowcast.types.arrays import as_numbers, as_spans, as_times, without_mask
from nowcast.types.labels import refuse_other_labels
from nowcast.types.tolerance import DEFAULT, HIGHEST_RATE, NEGATIVE_ROUNDING, in_force
from nowcast.types.units import RAIN_RATE

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

_PROBABILITY_ROUNDING = 0.01  # networks may end a little outside 0 to 1
_EARTH_RADIUS = 6371.0  # km, of the sphere on which degrees become kilometres


@dataclass(frozen=True, eq=False)
class Grid:
    """A regular grid in a map projection.

    Args:
        crs: the projection: PROJ string, WKT, EPSG code (text or number), or an object that
            describes one (of pyproj, rasterio, cartopy, GDAL, or a dictionary of PROJ's
            parameters). It is kept as text, in which every file and process understands it.
        x: cell centres, (W,), ascending, in the unit of the projection (metres; degrees for
            longitudes).
        y: cell centres, (H,), descending: row 0 is north.

    Raises:
        UserError: a projection that PROJ does not know or that is no map; coordinates that are
            missing, masked, unordered or uneven by more than a tenth of a cell
            (``nowcast.types.tolerance``).
    """

    crs: str
    x: np.ndarray
    y: np.ndarray

    def __post_init__(self) -> None:
        object.__setattr__(self, "crs", places.projection_text(self.crs))
        crs = places.projection(self.crs)
        if not (crs.is_projected or crs.is_geographic) or crs.geodetic_crs is None:
            raise UserError(
                f"{self.crs!r} is no map ({crs.type_name}); expected a projection, or longitudes "
                "and latitudes."
            )
        object.__setattr__(self, "x", _checked_coordinate("x", self.x, 1))
        object.__setattr__(self, "y", _checked_coordinate("y", self.y, -1))

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W)."""
        return self.y.size, self.x.size

    @property
    def spacing(self) -> tuple[float, float]:
        """Distance between cell centres (dy, dx), positive; NaN along an axis with one cell."""
        return _step(self.y), _step(self.x)

    @property
    def kilometres(self) -> tuple[float, float]:
        """Distance between cell centres (dy, dx) in km, as the projection measures it; NaN along an
        axis with one cell.
        """
        axis = places.projection(self.crs).axis_info[0]
        dy, dx = self.spacing
        if not axis.unit_name.endswith(("degree", "grad", "radian")):
            return dy * axis.unit_conversion_factor / 1000, dx * axis.unit_conversion_factor / 1000
        middle = (self.y[0] + self.y[-1]) / 2 * axis.unit_conversion_factor
        arc = _EARTH_RADIUS * axis.unit_conversion_factor
        return dy * arc, dx * arc * max(math.cos(middle), 0.0)

    @cached_property
    def pixel_km(self) -> float:
        """The side of a square as large as a cell [km]; 1 where a grid has a single cell."""
        sides = [side for side in self.kilometres if side > 0]
        return math.prod(sides) ** (1 / len(sides)) if sides else 1.0

    def difference(self, other: "Grid", pixels: float = DEFAULT.pixels) -> str | None:
        """What differs between two grids, in words; None when their pixels lie in the same places,
        whatever the projections are called.

        Args:
            other: the grid to compare with.
            pixels: how far pixels may lie apart, in pixels.
        """
        if self.shape != other.shape:
            return "{}x{} cells against {}x{}".format(*self.shape, *other.shape)
        return places.difference((self.crs, self.x, self.y), (other.crs, other.x, other.y), pixels)

    def __repr__(self) -> str:
        return f"<Grid: {self.describe()}>"

    def describe(self) -> str:
        """One line: size, spacing, projection."""
        unit = places.projection(self.crs).axis_info[0].unit_name
        dy, dx = self.spacing
        return f"{self.shape[0]} x {self.shape[1]} cells of {dy:g} x {dx:g} {unit}, {self.crs}"


def _step(centres: np.ndarray) -> float:
    return float(abs(centres[-1] - centres[0]) / (centres.size - 1)) if centres.size > 1 else np.nan


def _checked_coordinate(name: str, given: Any, sign: int) -> np.ndarray:
    """Cell centres, float64, even; ``sign`` is 1 where they shall ascend, -1 where descend."""
    values = as_numbers(given, f"the grid coordinates {name}", np.float64)
    unknown = np.count_nonzero(~np.isfinite(values))
    if values.ndim != 1 or values.size < 1 or unknown:
        lacking = f" with {unknown} that are missing or infinite" if unknown else ""
        raise UserError(
            f"grid coordinate {name} has shape {values.shape}{lacking}; it must be one "
            "finite row of cell centres."
        )
    ascending = sign * values
    even = _evened(ascending)
    if even is None:
        steps = np.diff(ascending)
        order = "ascending" if sign > 0 else "descending (row 0 is north)"
        raise UserError(
            f"grid coordinate {name} must be evenly spaced and {order}; its steps run "
            f"from {steps.min() * sign:g} to {steps.max() * sign:g}."
        )
    return values if even is ascending else sign * even


def _evened(ascending: np.ndarray) -> np.ndarray | None:
    """The coordinates themselves where they rise evenly; those that a provider has rounded as they
    were meant to rise; None where they do not.
    """
    steps = np.diff(ascending)
    if not steps.size:
        return ascending
    if not steps.min() > 0:
        return None
    if np.allclose(steps, steps.mean(), rtol=1e-3):
        return ascending
    numbers = np.arange(ascending.size)
    closest_line = np.polyval(np.polyfit(numbers, ascending, 1), numbers)
    off = np.abs(ascending - closest_line).max()
    return closest_line if off <= in_force().pixels * steps.mean() else None


def checked_values(values: Any, axes: str, grid: Grid | None = None) -> np.ndarray:
    """Rain rates as float32 with the given axes, all of them from 0 to 5000 mm/h or NaN (not
    observed, or masked).

    What is below 0 by no more than 0.000001 mm/h is the rounding of floats, and becomes 0 in a
    copy.

    Args:
        values: an array of any library; labels that it has must fit.
        axes: the axes that are needed, e.g. "THW".
        grid: that the values lie on; None: it is not known.

    Raises:
        UserError: another number of axes, rates that no rain can have, as marks for missing pixels
            are, or labels (names of axes, unit, coordinates) that say that the values are something
            else.
    """
    refuse_other_labels(values, "rain rates", axes, None if grid is None else (grid.y, grid.x))
    values = as_numbers(values, "rain rates")
    if values.ndim != len(axes):
        raise UserError(
            f"expected rain rates with the axes {' '.join(axes)}, got the shape {values.shape}."
        )
    lowest = np.fmin.reduce(values, axis=None, initial=0.0)
    highest = np.fmax.reduce(values, axis=None, initial=0.0)
    if np.isinf(lowest) or np.isinf(highest):
        raise UserError(
            f"{np.isinf(values).sum()} rain rates are infinite; mark pixels that were not observed "
            "with NaN or a mask."
        )
    if lowest < -NEGATIVE_ROUNDING:
        wrong = values < -NEGATIVE_ROUNDING
        raise UserError(
            f"{wrong.sum()} rain rates are negative (e.g. {values[wrong][0]:g} mm/h); where they "
            "are rounding of dry pixels, set them to 0 (numpy.maximum(values, 0)); where they are "
            "a mark, mark pixels that were not observed with NaN or a mask."
        )
    if lowest < 0:
        values = np.where(values < 0, np.float32(0), values)
    if highest > HIGHEST_RATE:
        wrong = values > HIGHEST_RATE
        raise UserError(
            f"{wrong.sum()} rain rates are above {HIGHEST_RATE:g} mm/h (e.g. "
            f"{values[wrong][0]:g}), which no rain reaches; mark pixels that were not observed "
            "with NaN or a mask, and give rates in mm/h."
        )
    return values


@dataclass(frozen=True, eq=False)
class Frames:
    """Observed rain fields.

    Args:
        values: rain rate [mm/h], (T, H, W) float32, NaN = not observed; arrays of other libraries
            are taken in, and what is masked in them becomes NaN (``nowcast.types.arrays``). Rates
            below 0 or above 5000 mm/h are refused: they are marks, not rain (but -0.000001 to 0,
            the rounding of floats, becomes 0). So are labels that do not fit
            (``nowcast.types.labels``).
        times: UTC, (T,) datetime64[s], strictly ascending; gaps are allowed. Fractions of a second
            are rounded.
        grid: where the pixels are.
        source: what the frames were read from (for messages and output metadata).
        quantity: what was measured, before it became a rain rate, in the words of
            ``nowcast.types.units``; fields of different quantities (a rate and an hour's depth, two
            Z-R relations) are never mixed in one set.
        discarded: pixels of each frame that the file had, but that became missing because they were
            negative or implausible, (T,); None: none.
        remarks: how a reader understood what a file states in an unusual way, a line each.
    """

    values: np.ndarray
    times: np.ndarray
    grid: Grid
    source: str = field(default="")
    quantity: str = RAIN_RATE
    discarded: np.ndarray | None = None
    remarks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", checked_values(self.values, "THW", self.grid))
        object.__setattr__(self, "times", as_times(self.times, "frame times"))
        if self.values.shape[1:] != self.grid.shape:
            raise UserError(
                f"the frames have {self.values.shape[1:]} pixels, but the grid has "
                f"{self.grid.shape}."
            )
        if self.times.shape != self.values.shape[:1]:
            raise UserError(
                f"expected a time for each of {len(self.values)} frames, got {self.times.size}."
            )
        if np.isnat(self.times).any() or (np.diff(self.times) <= np.timedelta64(0, "s")).any():
            raise UserError("frame times must be strictly ascending, each one once.")
        object.__setattr__(self, "discarded", _checked_discarded(self.discarded, len(self.times)))

    def __len__(self) -> int:
        return len(self.times)

    def __repr__(self) -> str:
        return summaries.of_frames(self)

    def to_xarray(self) -> "xarray.Dataset":
        """The frames as an ``xarray.Dataset`` with CF's names: ``rainfall_rate(time, y, x)``
        [mm/h]; nothing is copied.

        Frames are in memory. To look into a long archive without reading it, open it with xarray
        itself (``xarray.open_dataset(path, chunks={})``), select, and make frames of the selection.
        """
        return labelled.frames_to_xarray(self)

    @classmethod
    def from_xarray(
        cls,
        data: Any,
        *,
        variable: str | None = None,
        minutes: float | None = None,
        z_r_a: float = 200.0,
        z_r_b: float = 1.6,
    ) -> "Frames":
        """Frames of an ``xarray.Dataset`` or ``DataArray`` that says what it is as CF does.

        Understood is what nowcast understands of CF files: rates (mm/h, m s-1, kg m-2 s-1 ...),
        depths and reflectivities by their units; times; x and y, or longitudes and latitudes, in
        any order; a grid mapping; packed and decoded values. What ``to_xarray`` gave comes back
        exactly. Only the rain of the times in ``data`` is computed, one field after the other: of
        a data set that was opened lazily, select first.

        Args:
            data: the data set, or the variable with the rain and its coordinates.
            variable: name of the variable with the rain; None: the one whose standard name says so.
            minutes: interval of rain depths, where no time bounds say it.
            z_r_a: factor of Z = a R^b, for reflectivities.
            z_r_b: its exponent.

        Raises:
            UserError: something is missing, contradictory or not understood, or a forecast.
        """
        from nowcast.readers.labelled import frames_from_xarray

        return frames_from_xarray(data, variable=variable, minutes=minutes, z_r=(z_r_a, z_r_b))

    def plot(self, path: str | Path | None = None) -> "Figure":
        """A picture of the rain on a map: all frames, or ten of them at even steps.

        Args:
            path: a PNG file to write it to; None: none.

        Returns:
            A figure of matplotlib, which notebooks show.

        Raises:
            UserError: there is no frame, or the path is not that of a PNG file.
        """
        from nowcast.drawing.maps import frames_figure

        return frames_figure(self, path)

    def __getitem__(self, selection: slice | np.ndarray) -> "Frames":
        return replace(
            self,
            values=self.values[selection],
            times=self.times[selection],
            discarded=np.asarray(self.discarded)[selection],
        )


@dataclass(frozen=True, eq=False)
class Forecast:
    """Predicted rain fields.

    Args:
        values: rain rate [mm/h], (T, H, W) float32, NaN where no forecast can be made.
        analysis_time: UTC time of the last context frame, datetime64[s].
        lead_times: (T,) timedelta64[s], strictly ascending, > 0.
        grid: where the pixels are.
        probability: that a pixel's rain rate reaches each of the K thresholds that the model was
            asked for, (K, T, H, W) float32, NaN where no forecast can be made; None where it was
            not asked, or tells none. Masks become NaN, as in all arrays here.
        thresholds: these K rain rates [mm/h].
        members: an ensemble's rain rates [mm/h], (M, T, H, W) float32, NaN where a member has no
            forecast; None where none were drawn.
    """

    values: np.ndarray
    analysis_time: np.datetime64
    lead_times: np.ndarray
    grid: Grid
    probability: np.ndarray | None = None
    thresholds: tuple[float, ...] = ()
    members: np.ndarray | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", checked_values(self.values, "THW", self.grid))
        analysis_time = as_times(self.analysis_time, "the analysis time")
        if analysis_time.size != 1 or np.isnat(analysis_time).any():
            found = "is missing" if analysis_time.size == 1 else f"is {analysis_time.size} times"
            raise UserError(
                f"the analysis time {found}; expected a single one, that of the last context frame."
            )
        object.__setattr__(self, "analysis_time", analysis_time.reshape(-1)[0])
        object.__setattr__(self, "lead_times", as_spans(self.lead_times, "lead times"))
        if self.values.shape != (self.lead_times.size, *self.grid.shape):
            raise UserError(
                f"forecast values of shape {self.values.shape} do not match "
                f"{self.lead_times.size} lead times on a {self.grid.shape} grid."
            )
        zero = np.timedelta64(0, "s")
        if (np.diff(self.lead_times, prepend=zero) <= zero).any():
            raise UserError("lead times must be positive and strictly ascending.")
        wanted = ", ".join(map(str, self.values.shape))
        if self.probability is not None:
            object.__setattr__(self, "probability", _checked_probability(self.probability))
            if self.probability.shape != (len(self.thresholds), *self.values.shape):
                raise UserError(
                    f"probabilities of shape {self.probability.shape} of {len(self.thresholds)} "
                    f"thresholds do not match a forecast of shape {self.values.shape}; expected "
                    f"(thresholds, {wanted})."
                )
        if self.members is not None:
            object.__setattr__(self, "members", checked_values(self.members, "MTHW", self.grid))
            if self.members.shape[1:] != self.values.shape or not len(self.members):
                raise UserError(
                    f"expected members of shape (members, {wanted}), as the forecast, got "
                    f"{self.members.shape}."
                )

    def __repr__(self) -> str:
        return summaries.of_forecast(self)

    def to_xarray(self) -> "xarray.Dataset":
        """The forecast as an ``xarray.Dataset`` with the names of its NetCDF file; nothing is
        copied.
        """
        return labelled.forecast_to_xarray(self)

    def save(self, path: str | Path, *, attributes: Mapping[str, str] | None = None) -> list[Path]:
        """Write the forecast in the format of the path's suffix.

        That is .nc (NetCDF), .h5 or .hdf (ODIM_H5), .tif or .tiff (GeoTIFF).

        Args:
            path: the file to write; ODIM_H5 has a file for each lead time, named after it. Each
                appears complete or not at all.
            attributes: texts about the forecast for the file, such as a title.

        Returns:
            The files that were written.

        Raises:
            UserError: an unknown suffix, a format that has no place for the members or the
                probabilities, or a path that cannot be written.
        """
        from nowcast.forecasting.products import derive
        from nowcast.output.writers import writer_for

        writer = writer_for(path, members=0 if self.members is None else len(self.members))
        texts = dict(attributes or {})
        if self.probability is None:
            return writer.write(self, path, attributes=texts)
        if not writer.probabilities:
            raise UserError(
                f"{path}: {writer.name} has no place for probabilities; write a .nc file, or "
                "forecast without thresholds."
            )
        products = derive(self, None, thresholds=self.thresholds)
        return writer.write(products, path, attributes=texts)

    def plot(self, path: str | Path | None = None) -> "Figure":
        """A picture of the rain at some lead times, on a map.

        Args:
            path: a PNG file to write it to; None: none.

        Returns:
            A figure of matplotlib, which notebooks show.
        """
        from nowcast.drawing.maps import forecast_figure

        return forecast_figure(self, path)

    @property
    def is_missing(self) -> np.ndarray:
        """Whether no pixel of a lead time has a forecast, (T,) bool."""
        return np.isnan(self.values).all(axis=(1, 2))

    @property
    def valid_times(self) -> np.ndarray:
        """UTC times the fields are valid for, (T,) datetime64[s]."""
        return self.analysis_time + self.lead_times


def _checked_discarded(discarded: Any, frames: int) -> np.ndarray:
    """Numbers of pixels that became missing, one for each frame, int64.

    Raises:
        UserError: another length, masks, or what is no whole number of at least 0.
    """
    if discarded is None:
        return np.zeros(frames, np.int64)
    counts, masked = without_mask(discarded, "the numbers of discarded pixels")
    if counts.shape != (frames,):
        raise UserError(
            f"discarded has the shape {counts.shape}, expected ({frames},): the number of pixels "
            f"that became missing, for each of {frames} frames."
        )
    if masked is not None or (counts.size and counts.dtype.kind not in "iu"):
        found = "masked numbers" if masked is not None else f"values of type {counts.dtype}"
        raise UserError(
            f"discarded contains {found}, expected whole numbers: how many pixels of each frame "
            "became missing."
        )
    if (counts < 0).any():
        raise UserError(
            f"discarded contains {counts.min()}, expected whole numbers of at least 0: how many "
            "pixels of each frame became missing."
        )
    return counts.astype(np.int64)


def _checked_probability(probability: Any) -> np.ndarray:
    """Probabilities as float32, NaN where they are missing or masked.

    Raises:
        UserError: numbers that are far from 0 to 1, as percentages and marks for missing pixels
            are.
    """
    refuse_other_labels(probability, "probabilities", "KTHW")
    probability = as_numbers(probability, "probabilities")
    lowest = np.fmin.reduce(probability, axis=None, initial=0.0)
    highest = np.fmax.reduce(probability, axis=None, initial=1.0)
    if lowest < -_PROBABILITY_ROUNDING or highest > 1 + _PROBABILITY_ROUNDING:
        raise UserError(
            f"probabilities run from {lowest:g} to {highest:g}; expected 0 to 1, and NaN or a "
            "mask where there is none."
        )
    return probability
