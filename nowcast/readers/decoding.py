"""From stored numbers to rain rates [mm/h]: one place for gain, offset, marks for missing and dry,
and what was measured.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from nowcast.runtime.errors import UserError
from nowcast.types.arrays import without_mask
from nowcast.types.frames import Frames, Grid
from nowcast.types.tolerance import CAUSE, discard, in_force
from nowcast.types.units import (
    RAIN_RATE,
    rain_depth_quantity,
    rain_rate_from_depth,
    rain_rate_from_reflectivity,
    reflectivity_quantity,
)

_QUANTITIES = ("rain_rate", "rain_depth", "reflectivity")
_LOWEST_DBZ = -90.0  # -99 is a mark; what is stored for "no echo" is -32 or -64, or none at all
_ROWS = 512  # decoded at a time: no copy of a large field in 64 bits is made


@dataclass(frozen=True)
class Coding:
    """How stored numbers stand for rain: value = gain * number + offset, apart from marks. None:
    not stated.

    Args:
        quantity: rain_rate [mm/h], rain_depth [mm over ``minutes``] or reflectivity [dBZ].
        minutes: interval of a rain depth.
        gain: 1 if not stated.
        offset: 0 if not stated.
        missing: stored numbers that mean "not observed"; NaN always does.
        undetect: stored number that means "nothing detected": dry.
        z_r_a: factor of the Z-R relation Z = a R^b that turns reflectivity into rain rates.
        z_r_b: its exponent; the defaults are those of Marshall and Palmer (1948).
    """

    quantity: str | None = None
    minutes: float | None = None
    gain: float | None = None
    offset: float | None = None
    missing: tuple[float, ...] | None = None
    undetect: float | None = None
    z_r_a: float = 200.0
    z_r_b: float = 1.6

    def __post_init__(self):
        if self.missing is not None:
            object.__setattr__(self, "missing", tuple(self.missing))
        if self.quantity is not None and self.quantity not in _QUANTITIES:
            raise UserError(
                f"quantity is {self.quantity!r}; accepted are {', '.join(_QUANTITIES)}."
            )
        for name in ("minutes", "z_r_a", "z_r_b"):
            value = getattr(self, name)
            is_positive = isinstance(value, (int, float)) and 0 < value < float("inf")
            if value is not None and not is_positive:
                raise UserError(f"{name} is {value!r}; a positive number is needed.")
        if self.gain == 0:
            raise UserError(
                "gain is 0, which makes every value the same; another number is needed."
            )

    def completed(self, path: str | Path, **stated) -> "Coding":
        """With what the file states (None: it does not) where the settings say nothing.

        Raises:
            UserError: the file states what cannot be.
        """
        lacking = {name: value for name, value in stated.items() if getattr(self, name) is None}
        try:
            return replace(self, **lacking)
        except UserError as error:
            raise UserError(f"{path}: {error}") from None

    def measured(self, path: str | Path, where: str = "reader.values") -> str:
        """What was measured, in the words of ``nowcast.types.units``.

        Raises:
            UserError: neither the file nor the settings at ``where`` say it.
        """
        if self.quantity is None:
            *others, last = _QUANTITIES
            raise UserError(
                f"{path} does not say what its values are; set {where}.quantity to "
                f"{', '.join(others)} or {last}."
            )
        if self.quantity == "reflectivity":
            return reflectivity_quantity(self.z_r_a, self.z_r_b)
        if self.quantity == "rain_rate":
            return RAIN_RATE
        if self.minutes is None:
            raise UserError(
                f"{path} does not say how long its rain depths were collected; set {where}.minutes."
            )
        return rain_depth_quantity(self.minutes)

    def rain_rate(self, raw: np.ndarray, path: str | Path, *, remedy: str = "") -> np.ndarray:
        """Rain rate [mm/h] of stored numbers, (..., W) float32; NaN = not observed, or masked.

        Args:
            raw: the numbers.
            path: the file, for messages.
            remedy: what to do about marks that were not declared, for messages.

        Raises:
            UserError: it is not stated which whole number means missing; more rates below 0 or
                implausibly high than ``nowcast.types.tolerance`` accepts, as marks that were not
                declared give.
        """
        raw, masked = without_mask(raw, "stored numbers")
        if self.missing is None and raw.dtype.kind != "f":
            raise UserError(
                f"{path} does not say which number means missing; set reader.values.missing, "
                "e.g. to [255], or to [] if there is none."
            )
        decode = (
            self._by_table(raw.dtype)
            if raw.dtype.kind in "iu" and raw.dtype.itemsize <= 2
            else self._decoded
        )
        rates = np.empty(raw.shape, np.float32)
        rows, decoded = raw.reshape(-1, raw.shape[-1]), rates.reshape(-1, raw.shape[-1])
        for start in range(0, len(rows), _ROWS):
            decoded[start : start + _ROWS] = decode(rows[start : start + _ROWS])
        if masked is not None:
            rates[masked] = np.nan
        return plausible(rates, path, remedy=remedy)

    def single_frame(
        self,
        raw: np.ndarray,
        time: np.datetime64,
        grid: Grid,
        path: str | Path,
        where: str = "",
        *,
        remedy: str = "",
    ) -> Frames:
        """Stored numbers (H, W) of a file's only frame as Frames [mm/h].

        Args:
            raw: the numbers, row 0 north.
            time: UTC; of a rain depth, the end of its interval.
            grid: where they are.
            path: the file.
            where: the field in the file, for messages.
            remedy: what to do about marks that were not declared, for messages.

        Raises:
            UserError: as `rain_rate`, or they are not as many as the grid has pixels.
        """
        name = f"{path}: {where}" if where else str(path)
        if raw.shape != grid.shape:
            raise UserError(
                f"{name}: its values form {raw.shape}, but its grid {grid.shape}; it contradicts "
                "itself."
            )
        rates = self.rain_rate(raw, name, remedy=remedy)
        return Frames(rates[None], time, grid, str(path), self.measured(path))

    def _by_table(self, kind: np.dtype) -> Callable[[np.ndarray], np.ndarray]:
        """`_decoded` for whole numbers of at most 16 bits, of which there are so few that each is
        decoded once.
        """
        unsigned = np.dtype(kind.str.replace("i", "u"))
        table = self._decoded(np.arange(2 ** (8 * kind.itemsize)).astype(unsigned).view(kind))
        return lambda raw: table[raw.view(unsigned)]

    def _decoded(self, raw: np.ndarray) -> np.ndarray:
        """Rain rate of every number, plausible or not, float32."""
        with np.errstate(over="ignore", invalid="ignore"):
            values = raw.astype(np.float64) * (1.0 if self.gain is None else self.gain) + (
                self.offset or 0.0
            )
            if self.quantity == "reflectivity":
                values = rate_or_refusal(values, self.z_r_a, self.z_r_b)
            elif self.quantity == "rain_depth":
                values = rain_rate_from_depth(values, self.minutes)
            # marks last, and missing after dry: what both could be was not observed
            values[equals(raw, self.undetect)] = 0.0
            for mark in self.missing or ():
                values[equals(raw, mark)] = np.nan
            return values.astype(np.float32)


def rate_or_refusal(reflectivity: np.ndarray, a: float, b: float) -> np.ndarray:
    """Rain rate [mm/h] of reflectivities [dBZ]; -inf for finite ones that none can be, as an
    undeclared mark such as -9999 would pass for dry.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        return np.where(
            np.isfinite(reflectivity) & (reflectivity < _LOWEST_DBZ),
            -np.inf,
            rain_rate_from_reflectivity(reflectivity, a, b),
        )


def plausible(rates: np.ndarray, path: str | Path, *, remedy: str = "") -> np.ndarray:
    """The rain rates [mm/h], (..., H, W), with rounding below 0 as 0 and a few bad pixels as
    missing, as the tolerance in force says; ``remedy``: what to do about more, for messages.

    Raises:
        UserError: more are below 0 or implausibly high than that, as marks that were not declared
            give.
    """
    cause = f"{CAUSE}; {remedy}" if remedy else CAUSE
    rates, discarded = in_force().tidied(rates, str(path), cause=cause)
    discard(discarded)
    return rates


def stored_mark(mark: float | None, kind: np.dtype) -> float | None:
    """A mark as whole numbers of this type contain it: -1 in unsigned ones is their highest number,
    and 255 in signed ones of 8 bits is -1, as both are the same bits.
    """
    if mark is None or kind.kind not in "iu" or not np.isfinite(mark) or mark != int(mark):
        return mark
    limits, numbers = np.iinfo(kind), 2 ** (8 * kind.itemsize)
    if limits.min <= mark <= limits.max or not -(numbers // 2) <= mark < numbers:
        return mark
    return int(mark) % numbers if kind.kind == "u" else int(mark) - numbers


def equals(raw: np.ndarray, mark: float | None) -> np.ndarray:
    """Where the raw values are the mark; a float mark is compared in their own precision."""
    if mark is None:
        return np.zeros(raw.shape, dtype=bool)
    return raw == (np.asarray(mark).astype(raw.dtype) if raw.dtype.kind == "f" else mark)
