"""Numbers that look like marks for missing pixels, although nothing declares them."""

from pathlib import Path

import numpy as np

from nowcast.readers.decoding import Coding, equals
from nowcast.runtime.errors import UserError
from nowcast.types.tolerance import in_force

_USUAL_MARKS = (  # numbers that stand for missing pixels where many have them
    *(99.0, 999.0, 9999.0, 99999.0, 99.9, 999.9, 9999.9, 99.99, 999.99, 255.0),
    *(32767.0, 32768.0, 3276.7, 327.67, 65535.0, 6553.5, 655.35),
)
_HIGH, _TIMES = 100.0, 2.0  # mm/h; a mark is as high, and as many times the next lower rate


def detached_rate(rates: np.ndarray) -> tuple[np.ndarray, float] | None:
    """(where many pixels have one and the same highest rate, far above the next lower one; that
    rate [mm/h]), as a mark for missing ones makes it, whatever number it is; None: there is none.

    Extreme rain has rates of all sizes below its highest; a sensor's limit has them just below it.

    Args:
        rates: one field [mm/h], NaN where it is missing.
    """
    highest = float(np.fmax.reduce(rates, axis=None))
    if not highest >= _HIGH:
        return None
    found = rates == highest
    accepted = max(1.0, in_force().bad_share * rates.size)
    lower = rates[rates < highest]
    is_far = not lower.size or highest >= _TIMES * float(lower.max())
    return (found, highest) if is_far and np.count_nonzero(found) > accepted else None


def undeclared_mark(values: np.ndarray, *, ends_of_type: bool = False) -> tuple[float, int] | None:
    """A number that many pixels have and that usually means missing, and how many; None: none.

    Only the highest and the lowest are looked at, and a few pixels are none (``bad_share`` of
    ``nowcast.types.tolerance``).

    Args:
        values: one field, NaN where it is missing.
        ends_of_type: whether it is the highest or lowest number of a type of whole numbers that
            counts as such a mark, but for 0.
    """
    accepted = max(1.0, in_force().bad_share * values.size)
    for end in (np.fmax.reduce(values, axis=None), np.fmin.reduce(values, axis=None)):
        if ends_of_type:
            limits = np.iinfo(values.dtype)
            is_mark = end != 0 and end in (limits.min, limits.max)
        else:
            is_mark = bool(np.isclose(abs(float(end)), _USUAL_MARKS, rtol=1e-6, atol=0).any())
        count = int(np.count_nonzero(values == end)) if is_mark else 0
        if count > accepted:
            return float(end), count
    return None


def mark_among(values: np.ndarray, stored: np.ndarray) -> tuple[float, int] | None:
    """What `undeclared_mark` finds among the values of a field, or, where whole numbers are stored,
    at the ends of their type.

    Args:
        values: (H, W), NaN where it is missing.
        stored: what they were made from, 0 where it is missing.
    """
    found = undeclared_mark(values)
    if found is None and stored.dtype.kind in "iu":
        found = undeclared_mark(stored, ends_of_type=True)
    return found


def refuse_undeclared(
    coding: Coding, raw: np.ndarray, path: str | Path, remedy: str, hidden: np.ndarray | None = None
) -> None:
    """Refuse a field with many pixels of a number that is a mark wherever it is met, but that
    nothing declares.

    Args:
        coding: how its numbers stand for rain.
        raw: its numbers as they are stored, (H, W).
        path: the file, for messages.
        remedy: how to say which numbers mean missing, for messages.
        hidden: where a mask beside it says that nothing was observed.

    Raises:
        UserError: so it is.
    """
    known = np.isnan(raw) if raw.dtype.kind == "f" else np.zeros(raw.shape, bool)
    for mark in (coding.undetect, *(coding.missing or ())):
        known |= equals(raw, mark)
    if hidden is not None:
        known |= hidden
    stored = np.where(known, raw.dtype.type(0), raw)
    with np.errstate(over="ignore", invalid="ignore"):
        # in 32 bits, so that a large field is not copied into more
        values = stored.astype(np.float32) * np.float32(1.0 if coding.gain is None else coding.gain)
        values += np.float32(coding.offset or 0.0)
    values[known] = np.nan
    found = mark_among(values, stored)
    if found is not None:
        mark, count = found
        raise UserError(
            f"{path}: {count} of {raw.size} pixels are {mark:g}, which looks like a mark for "
            f"missing ones, but nothing declares it; {remedy} to the numbers that mean not "
            "observed, or to [] if it is a value."
        )
