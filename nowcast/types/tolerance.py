"""How far data may be off and still be taken: rounding of values, of times and of places, in one
place and with the reasons.

Providers round, pack and start late. What lies within these tolerances is taken as what it was
meant to be; what lies beyond them is refused by a sentence that names the field, both values and
the tolerance.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, fields

import numpy as np

from nowcast.runtime.errors import UserError

HIGHEST_RATE = 5000.0
"""mm/h, 82 dBZ: beyond clutter and hail. Only a mark for "no data" that was not declared is higher
(32767, 1e20, 9.97e36)."""
ROUNDING = 1e-6
"""Pixels: what projecting a point there and back costs in 64 bits is far less."""
NEGATIVE_ROUNDING = 1e-6
"""mm/h below 0: what arithmetic in 32 bits leaves of a dry pixel, however many there are."""
CAUSE = "gain, offset or the marks for missing and dry are wrong or not declared"
"""What is probably wrong where many rates cannot be."""
_PIXELS_FOR_ONE = 100  # a field of so many may have one odd pixel, where its share is less than one
# that a frame may be early or late; with half of it, no one could tell to which of two steps it
# belongs
_LARGEST_PART_OF_A_STEP = 0.25


@dataclass(frozen=True)
class Tolerance:
    """How far data may be off. ``Tolerance(0, 0, 0, 0, 0)`` accepts nothing that is not exact, but
    for the rounding of 64-bit numbers.

    Args:
        negative_rate: rates [mm/h] below 0 by no more than this are dry (0): packing and
            interpolation round so. 0.05 is half of the 0.1 mm/h from which rain counts, so that no
            pixel changes between dry and wet. Down to -0.000001 mm/h it is the rounding of floats,
            which is dry in any number of pixels.
        bad_share: share of a frame's pixels that may be further below 0, or above 5000 mm/h; these
            become missing and are counted. 0.001: faults of single pixels (BoM's 1 to 7 of
            262,144), while a mark or a factor that is not declared shows in far more. One pixel is
            accepted of a frame of 100 or more, unless this is 0.
        seconds: how far a frame may lie off the regular times of a series, but never more than a
            quarter of its step. 15: scans start some seconds late; at 15 m/s rain moves a quarter
            of a kilometre in that time.
        pixels: how far the pixels of two grids may lie apart, in pixels, to be the same grid, and
            how far a coordinate may lie off an even spacing. 0.1: corners in degrees with three
            decimals are so exact on 1 km; a shift by half a pixel is never accepted.
        corners: how far the corners of an image that a file states may lie off what its number and
            size of pixels give, in pixels. 0.5: corners that are meant as the centres of pixels are
            a whole pixel off in all.
        negative_share: share of a frame's observed pixels that may be a little below 0 (see
            ``negative_rate``) and are then dry. 0.01: rounding shows in few pixels, while a mark
            for missing ones, such as -0.01, that is not declared shows in many. One pixel is
            accepted as of ``bad_share``.

    Raises:
        UserError: a number that is negative or not finite, a share above 1, or half a pixel and
            more for two grids.
    """

    negative_rate: float = 0.05
    bad_share: float = 0.001
    seconds: float = 15.0
    pixels: float = 0.1
    corners: float = 0.5
    negative_share: float = 0.01

    def __post_init__(self):
        highest = {"bad_share": 1.0, "negative_share": 1.0, "pixels": 0.49, "corners": 1.0}
        for field in fields(self):
            value, limit = getattr(self, field.name), highest.get(field.name, 1e6)
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not number or not 0 <= value <= limit:
                raise UserError(
                    f"tolerance.{field.name} is {value!r}; expected a number from 0 to {limit:g}."
                )

    @property
    def off_corner(self) -> float:
        """How far corners may lie off, in pixels, with the rounding of projecting them."""
        return max(self.corners, ROUNDING)

    def off_time(self, step: np.timedelta64) -> np.timedelta64:
        """How far frames that follow each other by ``step`` may lie off their times,
        timedelta64[ms].
        """
        milliseconds = step / np.timedelta64(1, "ms")
        return np.timedelta64(
            int(min(1000 * self.seconds, _LARGEST_PART_OF_A_STEP * abs(milliseconds))), "ms"
        )

    def tidied(
        self, rates: np.ndarray, name: str, *, cause: str = CAUSE
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rain rates with those that are a little below 0 as 0, and a few bad ones as missing.

        Args:
            rates: [mm/h], (..., H, W), NaN = not observed; right ones come back as they are, to the
                last bit.
            name: what they are of, for messages.
            cause: what is probably wrong where there are more, for messages.

        Returns:
            (rates, pixels of each field that became missing, (...)).

        Raises:
            UserError: a field with more bad pixels than ``bad_share``, or more that are a little
                below 0 than ``negative_share``.
        """
        fields_shape = rates.shape[:-2]
        lowest, highest = (
            reduce(rates, axis=None, initial=start)
            for reduce, start in ((np.fmin.reduce, np.inf), (np.fmax.reduce, -np.inf))
        )
        if lowest >= 0 and highest <= HIGHEST_RATE:
            return rates, np.zeros(fields_shape, np.int64)
        with np.errstate(invalid="ignore"):
            rounded = (rates < 0) & (rates >= -NEGATIVE_ROUNDING)
            bad = ((rates < -self.negative_rate) & ~rounded) | (rates > HIGHEST_RATE)
            below = (rates < 0) & ~bad & ~rounded
        counts = _by_field(bad)
        pixels = int(np.prod(rates.shape[-2:]))
        most = int(np.max(counts, initial=0))
        if most > _accepted(self.bad_share, pixels):
            found = (
                f"rates that are negative or above {HIGHEST_RATE:g} mm/h (from {lowest:g} "
                f"to {highest:g})"
            )
            accepted = (
                f"tolerance.negative_rate={self.negative_rate:g} mm/h and "
                f"tolerance.bad_share={self.bad_share:g} of the pixels are accepted"
            )
            raise UserError(
                f"{name} has {found} in {most} of {pixels} pixels, but {accepted}; {cause}."
            )
        self._refuse_mark(rates, below, name, cause)
        rates = rates.copy()
        rates[bad] = np.nan
        rates[rounded | below] = 0.0
        return rates, counts

    def _refuse_mark(self, rates: np.ndarray, below: np.ndarray, name: str, cause: str) -> None:
        """Refuse fields of which so many pixels are a little below 0 that it is no rounding."""
        counts, observed = np.ravel(_by_field(below)), np.ravel(_by_field(~np.isnan(rates)))
        accepted = np.array([_accepted(self.negative_share, int(count)) for count in observed])
        wrong = np.flatnonzero(counts > accepted)
        if not wrong.size:
            return
        worst = wrong[counts[wrong].argmax()]
        values = rates.reshape(observed.size, -1)[worst][below.reshape(observed.size, -1)[worst]]
        low, high = values.min(), values.max()
        found = f"{low:g}" if low == high else f"{low:g} to {high:g}"
        raise UserError(
            f"{name}: {counts[worst]} of {observed[worst]} observed pixels are {found} mm/h: a "
            "mark "
            f"for missing pixels? {cause[:1].upper()}{cause[1:]}; expected at most "
            f"tolerance.negative_share={self.negative_share:g} of the pixels a little below 0. "
            "Declare the mark; where they are meant to be dry, set a higher "
            "tolerance.negative_share."
        )


def _by_field(pixels: np.ndarray) -> np.ndarray:
    """How many pixels are true in each field, (...) of (..., H, W); of a row, in all of it."""
    axes = (-2, -1) if pixels.ndim > 1 else None
    return np.asarray(np.count_nonzero(pixels, axis=axes))


def _accepted(share: float, pixels: int) -> float:
    """How many of the pixels of a field may be odd."""
    one = 1 if share > 0 and pixels >= _PIXELS_FOR_ONE else 0
    return max(share * pixels, one)


DEFAULT = Tolerance()
"""What holds where nothing else is said."""

_IN_FORCE: ContextVar[Tolerance] = ContextVar("tolerance", default=DEFAULT)
_DISCARDED: ContextVar[list[int] | None] = ContextVar("discarded", default=None)


@contextmanager
def applied(tolerance: Tolerance) -> Iterator[list[int]]:
    """Let a tolerance hold for all files that are read in the block; gives the pixels that became
    missing of each field read, in their order.
    """
    discarded: list[int] = []
    tokens = _IN_FORCE.set(tolerance), _DISCARDED.set(discarded)
    try:
        yield discarded
    finally:
        _IN_FORCE.reset(tokens[0])
        _DISCARDED.reset(tokens[1])


def in_force() -> Tolerance:
    """The tolerance that holds for the file that is being read."""
    return _IN_FORCE.get()


def discard(counts: np.ndarray) -> None:
    """Note how many pixels of each field became missing, for whoever reads the file."""
    noted = _DISCARDED.get()
    if noted is not None:
        noted.extend(np.ravel(counts).tolist())
