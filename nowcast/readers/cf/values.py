"""Rain rates of stored values: packing, valid ranges, and marks for missing and dry, also those
that are not declared.
"""

import numpy as np

from nowcast.readers.cf.declared import named_marks
from nowcast.readers.cf.source import Source, Variable
from nowcast.readers.cf.valid_range import outside_range
from nowcast.readers.cf.words import DRY, MISSING, flags_of, meaning
from nowcast.readers.decoding import Coding, equals
from nowcast.readers.marks import detached_rate, mark_among
from nowcast.runtime.errors import UserError

_PACKING_NOISE = 1e-6  # mm/h; scale and offset can turn a stored 0 into as little below 0


def rain_rate(
    source: Source,
    field: Variable,
    stored: np.ndarray,
    coding: Coding,
    missing_beside: np.ndarray | bool = False,
) -> np.ndarray:
    """Rain rate [mm/h] of stored values, (H, W) float32; NaN = not observed.

    Args:
        source: the data set.
        field: its variable with the rain.
        stored: one map of it.
        coding: how its values stand for rain.
        missing_beside: where a mask beside it says that nothing was observed.
    """
    stored = stored.view(field.stored_dtype)
    values = field.unpacked(stored)
    missing, dry = _marked(source, field, stored, values)
    missing |= missing_beside
    missing |= outside_range(source, field, stored, values, missing | dry)
    values[missing | dry] = np.nan
    remedy = f"{source.told.setting('missing')} to the numbers that mean not observed"
    if source.told.missing is None:
        _refuse_undeclared(field, np.where(missing | dry, 0, stored), values, remedy)
    # reflectivities may well be below 0; rates and depths are so by rounding only
    if field.is_packed and coding.quantity != "reflectivity":
        rounded = values >= -_offset_rounding(field)
        values[(values < 0) & (rounded | (values * coding.gain > -_PACKING_NOISE))] = 0.0
    rates = coding.rain_rate(values, field.path, remedy=remedy)
    if source.told.missing is None:
        _refuse_detached(field, stored, rates, remedy)
    rates[dry & ~missing] = 0.0
    return rates


def _refuse_undeclared(
    field: Variable, stored: np.ndarray, values: np.ndarray, remedy: str
) -> None:
    """Refuse a field with many pixels of a number that is a mark wherever it is met, but that the
    file does not declare.

    Args:
        field: the variable.
        stored: (H, W), 0 where it is missing.
        values: what they stand for, NaN where it is missing.
        remedy: what to do, for messages.
    """
    found = mark_among(values, stored)
    if found is not None:
        mark, count = found
        raise UserError(
            f"{field.path}: {count} of {values.size} pixels of {field.name} are {mark:g}, which "
            f"looks like a mark for missing ones, but is not declared (_FillValue); {remedy}, or "
            "to [] if it is a value."
        )


def _refuse_detached(field: Variable, stored: np.ndarray, rates: np.ndarray, remedy: str) -> None:
    """Refuse a field whose highest rate is far above all others and that of many pixels."""
    detached = detached_rate(rates)
    if detached is not None:
        found, rate = detached
        raise UserError(
            f"{field.path}: {np.count_nonzero(found)} of {found.size} pixels of {field.name} are "
            f"{stored[found][0]:g} ({rate:g} mm/h), far above all others, which looks like a mark "
            f"for missing ones that is not declared; {remedy}, or to [] if it is a value."
        )


def _offset_rounding(field: Variable) -> float:
    """How far below 0 a stored 0 may come out where the offset is a number of 32 bits, in the
    field's unit.
    """
    offset = abs(field.number("add_offset", 0.0))
    return float(np.spacing(np.float32(offset))) if 0 < offset < 1e6 else 0.0


def _marked(
    source: Source, field: Variable, stored: np.ndarray, values: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(where a field is marked as missing, where as dry), (H, W) each."""
    missing, dry = np.isnan(stored), np.zeros(stored.shape, bool)
    for mark in (*source.missing_marks(field), *(source.told.missing or ())):
        missing |= equals(stored, mark)
    for named in named_marks(source, field):
        (dry if named.is_dry else missing)[named.found(stored, values)] = True
    for mark, word in _flags(source, field, stored, missing):
        (dry if word == DRY else missing)[equals(stored, mark)] = True
    return missing, dry


def _flags(
    source: Source, field: Variable, stored: np.ndarray, missing: np.ndarray
) -> list[tuple[int | float, str]]:
    """(stored number, DRY or MISSING) of the flags among a field's values.

    Raises:
        UserError: pixels that are not known to be missing have a flag whose word says neither, and
            no setting says which numbers mean missing.
    """
    found = []
    for mark, word in flags_of(field):
        said = meaning(word)
        if said in (DRY, MISSING):
            found.append((mark, said))
        elif source.told.missing is None and (equals(stored, mark) & ~missing).any():
            raise UserError(
                f"{field.path}: the flag {mark:g} of {field.name} means {word!r}, which is not "
                f"known as dry or as not observed; {source.told.setting('missing')} to [{mark:g}] "
                "if it was not observed, or to [] if it is a value."
            )
    return found
