"""The valid range of a variable: what lies outside it is missing."""

import numpy as np

from nowcast.readers.cf.source import Source, Variable
from nowcast.runtime.errors import UserError

_STORED, _UNPACKED, _UNCLEAR = "stored", "unpacked", "unclear"


def outside_range(
    source: Source, field: Variable, stored: np.ndarray, values: np.ndarray, known: np.ndarray
) -> np.ndarray:
    """Where values lie outside the valid range, (H, W).

    Of a limit that is unclear only what it hides either way counts where a setting says which
    numbers mean missing.

    Args:
        source: the data set.
        field: its variable with the rain.
        stored: one map of it.
        values: what the stored numbers stand for.
        known: where it is known to be missing or dry.

    Raises:
        UserError: not one number for an end, or limits whose meaning makes a difference and is not
            stated: of stored or of unpacked numbers, or whether 0 below them is dry.
    """
    outside = np.zeros(stored.shape, bool)
    for end in ("valid_min", "valid_max"):
        limit, attribute = _limit(field, end)
        if limit is None:
            continue
        of_stored, of_values = (_beyond(end, one, limit) for one in (stored, values))
        counts = _counts(field, attribute)
        is_told = source.told.missing is not None
        if counts == _UNCLEAR:
            if not is_told:
                _refuse_unclear(source, field, attribute, of_stored & ~known, of_values & ~known)
            outside |= of_stored & of_values
            continue
        found = of_stored if counts == _STORED else of_values
        if end == "valid_min" and limit > 0 and (counts == _UNPACKED or not field.is_packed):
            zeros = found & ~known & (values == 0)
            if not is_told:
                _refuse_zeros(source, field, f"{attribute} ({limit:g})", zeros)
            found = found & ~zeros
        outside |= found
    return outside


def _limit(field: Variable, end: str) -> tuple[int | float | None, str]:
    """(an end of the valid range, None if it is not stated; the attribute that states it)."""
    both, limits = field.numbers("valid_range"), field.numbers(end)
    for attribute, found, count in ((end, limits, 1), ("valid_range", both, 2)):
        if len(found) not in (0, count):
            raise UserError(
                f"{field.path}: {field.name} has {len(found)} numbers in {attribute}; expected "
                f"{count}."
            )
    if limits:
        return limits[0], end
    return (both[0 if end == "valid_min" else 1] if both else None), "valid_range"


def _counts(field: Variable, attribute: str) -> str:
    """Whether a limit is of stored or unpacked numbers: as the NetCDF guide says, its type decides;
    whole numbers of another type than the stored ones are unclear: libraries write any for 200.
    """
    if not field.is_packed or field.stored_dtype.kind not in "iu":
        return _STORED
    kind = np.asarray(field.attributes[attribute]).dtype
    if kind.kind not in "iu":
        return _UNPACKED
    return _STORED if kind in (field.dtype, field.stored_dtype) else _UNCLEAR


def _beyond(end: str, numbers: np.ndarray, limit: int | float) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return numbers < limit if end == "valid_min" else numbers > limit


def _refuse_unclear(
    source: Source, field: Variable, attribute: str, of_stored: np.ndarray, of_values: np.ndarray
) -> None:
    """Refuse a limit of unclear type that hides pixels as one of stored numbers, which the guide
    takes it for, but not the same as one of unpacked numbers.
    """
    if of_stored.any() and (of_stored != of_values).any():
        raise UserError(
            f"{field.path}: {attribute} of {field.name} would hide "
            f"{np.count_nonzero(of_stored)} pixels as stored numbers, but "
            f"{np.count_nonzero(of_values)} as unpacked ones, and its type "
            f"({np.asarray(field.attributes[attribute]).dtype}) does not say which it counts; "
            f"{source.told.setting('missing')} to the stored numbers that mean not observed, or to "
            "[] if there are none; then only what lies outside it as both is missing."
        )


def _refuse_zeros(source: Source, field: Variable, limit: str, zeros: np.ndarray) -> None:
    if zeros.any():
        raise UserError(
            f"{field.path}: {limit} of {field.name} excludes the 0 of {np.count_nonzero(zeros)} "
            f"pixels, which may be dry or not observed; {source.told.setting('missing')} to [0] if "
            "it means not observed, or to [] if it is dry."
        )
