"""Rain fields that know what they are: values, times, unit and grid travel together and are checked here.

Values are rain rates in mm/h, NaN where nothing was measured. Row 0 is north, column 0 is west. Times are UTC
and, where a file holds an accumulation, mean the end of its interval.
"""

import math
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import pyproj

from nowcast.errors import UserError, first_line
from nowcast.units import RAIN_RATE

_EARTH_RADIUS = 6371.0  # km, of the sphere on which degrees become kilometres


@dataclass(frozen=True, eq=False)
class Grid:
    """A regular grid in a map projection.

    Args:
        crs: PROJ string, WKT or EPSG code of the projection.
        x: cell centres, (W,), ascending, in the unit of the projection (metres; degrees for longitudes).
        y: cell centres, (H,), descending: row 0 is north.
    """

    crs: str
    x: np.ndarray
    y: np.ndarray

    def __post_init__(self):
        try:
            crs = pyproj.CRS.from_user_input(self.crs)
        except pyproj.exceptions.CRSError as error:
            raise UserError(f"the projection {self.crs!r} is not one PROJ knows ({first_line(error)}).") from None
        if not (crs.is_projected or crs.is_geographic) or crs.geodetic_crs is None:
            raise UserError(f"{self.crs!r} is no map ({crs.type_name}); a projection or longitudes and latitudes are needed.")
        for name, sign in (("x", 1), ("y", -1)):
            values = np.asarray(getattr(self, name), dtype=np.float64)
            object.__setattr__(self, name, values)
            if values.ndim != 1 or values.size < 1 or not np.isfinite(values).all():
                raise UserError(f"grid coordinate {name} has shape {values.shape}; it must be one finite row of cell centres.")
            steps = sign * np.diff(values)
            if steps.size and not (steps.min() > 0 and np.allclose(steps, steps.mean(), rtol=1e-3)):
                order = "ascending" if sign > 0 else "descending (row 0 is north)"
                raise UserError(f"grid coordinate {name} must be evenly spaced and {order}; its steps run from {steps.min() * sign:g} to {steps.max() * sign:g}.")

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W)."""
        return self.y.size, self.x.size

    @property
    def spacing(self) -> tuple[float, float]:
        """Distance between cell centres (dy, dx), positive; NaN along an axis with one cell."""
        return tuple(float(abs(c[-1] - c[0]) / (c.size - 1)) if c.size > 1 else float("nan") for c in (self.y, self.x))

    @property
    def kilometres(self) -> tuple[float, float]:
        """Distance between cell centres (dy, dx) in km, as the projection measures it; NaN along an axis with one cell."""
        axis = pyproj.CRS.from_user_input(self.crs).axis_info[0]
        dy, dx = self.spacing
        if not axis.unit_name.endswith(("degree", "grad", "radian")):
            return dy * axis.unit_conversion_factor / 1000, dx * axis.unit_conversion_factor / 1000
        middle = (self.y[0] + self.y[-1]) / 2 * axis.unit_conversion_factor
        arc = _EARTH_RADIUS * axis.unit_conversion_factor
        return dy * arc, dx * arc * max(math.cos(middle), 0.0)

    @cached_property
    def pixel_km(self) -> float:
        """The side of a square as large as a cell [km]; 1 where a grid of one cell tells nothing."""
        sides = [side for side in self.kilometres if side > 0]
        return math.prod(sides) ** (1 / len(sides)) if sides else 1.0

    def difference(self, other: "Grid") -> str | None:
        """What differs between two grids, in words; None when they are the same grid."""
        if self.shape != other.shape:
            return "{}x{} cells against {}x{}".format(*self.shape, *other.shape)
        if pyproj.CRS.from_user_input(self.crs) != pyproj.CRS.from_user_input(other.crs):
            return f"projection {self.crs} against {other.crs}"
        for name in ("x", "y"):
            mine, theirs = getattr(self, name), getattr(other, name)
            tolerance = max(1e-3 * abs(mine[-1] - mine[0]) / max(mine.size - 1, 1), 1e-6 * np.abs(mine).max() if mine.size == 1 else 0.0)
            if np.abs(mine - theirs).max() > tolerance:
                return f"{name} from {mine[0]:g} to {mine[-1]:g} against {theirs[0]:g} to {theirs[-1]:g}"
        return None

    def describe(self) -> str:
        """One line: size, spacing, projection."""
        unit = pyproj.CRS.from_user_input(self.crs).axis_info[0].unit_name
        dy, dx = self.spacing
        return f"{self.shape[0]} x {self.shape[1]} cells of {dy:g} x {dx:g} {unit}, {self.crs}"


def checked_values(values, axes: str) -> np.ndarray:
    """Rain rates as float32 with the given axes, all of them >= 0 or NaN (not observed)."""
    values = np.asarray(values, dtype=np.float32)
    if values.ndim != len(axes):
        raise UserError(f"rain rates of shape {values.shape} came, but the axes {' '.join(axes)} are needed.")
    with np.errstate(invalid="ignore"):
        wrong = (values < 0) | np.isinf(values)
    if wrong.any():
        raise UserError(f"{wrong.sum()} rain rates are negative or infinite (e.g. {values[wrong][0]:g}); mark pixels that were not observed with NaN.")
    return values


@dataclass(frozen=True, eq=False)
class Frames:
    """Observed rain fields.

    Args:
        values: rain rate [mm/h], (T, H, W) float32, NaN = not observed.
        times: UTC, (T,) datetime64[s], strictly ascending; gaps are allowed.
        grid: where the pixels are.
        source: what the frames were read from (for messages and output metadata).
        quantity: what was measured, before it became a rain rate, in the words of ``nowcast.units``; fields of different
            quantities (a rate and an hour's depth, two Z-R relations) are never mixed in one set.
    """

    values: np.ndarray
    times: np.ndarray
    grid: Grid
    source: str = field(default="")
    quantity: str = RAIN_RATE

    def __post_init__(self):
        object.__setattr__(self, "values", checked_values(self.values, "THW"))
        object.__setattr__(self, "times", np.atleast_1d(np.asarray(self.times, dtype="datetime64[s]")))
        if self.values.shape[1:] != self.grid.shape:
            raise UserError(f"the frames have {self.values.shape[1:]} pixels, but the grid has {self.grid.shape}.")
        if self.times.shape != self.values.shape[:1]:
            raise UserError(f"{len(self.values)} frames came with {self.times.size} times.")
        if np.isnat(self.times).any() or (np.diff(self.times) <= np.timedelta64(0, "s")).any():
            raise UserError("frame times must be strictly ascending, each one once.")

    def __len__(self) -> int:
        return len(self.times)

    def __getitem__(self, selection: slice) -> "Frames":
        return replace(self, values=self.values[selection], times=self.times[selection])


@dataclass(frozen=True, eq=False)
class Forecast:
    """Predicted rain fields.

    Args:
        values: rain rate [mm/h], (T, H, W) float32, NaN where no forecast can be made.
        analysis_time: UTC time of the last context frame, datetime64[s].
        lead_times: (T,) timedelta64[s], strictly ascending, > 0.
        grid: where the pixels are.
        probability: that a pixel's rain rate reaches each of the K thresholds that the model was asked for, (K, T, H, W) float32, NaN where no
            forecast can be made; None where it was not asked, or tells none.
        thresholds: these K rain rates [mm/h].
        members: an ensemble's rain rates [mm/h], (M, T, H, W) float32, NaN where a member has no forecast; None where none were drawn.
    """

    values: np.ndarray
    analysis_time: np.datetime64
    lead_times: np.ndarray
    grid: Grid
    probability: np.ndarray | None = None
    thresholds: tuple[float, ...] = ()
    members: np.ndarray | None = None

    def __post_init__(self):
        object.__setattr__(self, "values", checked_values(self.values, "THW"))
        object.__setattr__(self, "analysis_time", np.datetime64(self.analysis_time, "s"))
        object.__setattr__(self, "lead_times", np.atleast_1d(np.asarray(self.lead_times, dtype="timedelta64[s]")))
        if self.values.shape != (self.lead_times.size, *self.grid.shape):
            raise UserError(f"forecast values of shape {self.values.shape} do not match {self.lead_times.size} lead times on a {self.grid.shape} grid.")
        if (np.diff(self.lead_times, prepend=np.timedelta64(0, "s")) <= np.timedelta64(0, "s")).any():
            raise UserError("lead times must be positive and strictly ascending.")
        wanted = ", ".join(map(str, self.values.shape))
        if self.probability is not None and self.probability.shape != (len(self.thresholds), *self.values.shape):
            raise UserError(f"probabilities of shape {self.probability.shape} of {len(self.thresholds)} thresholds do not match a forecast of shape {self.values.shape}; (thresholds, {wanted}) is needed.")

        if self.members is not None:
            object.__setattr__(self, "members", checked_values(self.members, "MTHW"))
            if self.members.shape[1:] != self.values.shape or not len(self.members):
                raise UserError(f"members of shape {self.members.shape} came with a forecast of shape {self.values.shape}; (members, {wanted}) is needed.")

    @property
    def valid_times(self) -> np.ndarray:
        """UTC times the fields are valid for, (T,) datetime64[s]."""
        return self.analysis_time + self.lead_times
