"""Variables beside a field that say where it was not observed."""

import re
from dataclasses import dataclass

import numpy as np

from nowcast.readers.cf.source import Source, Variable
from nowcast.readers.cf.words import MISSING, flags_of, meaning
from nowcast.readers.decoding import equals

_NOT_OBSERVED = ("is_nodata", "is_blocked")  # what MET Norway and fimex call maps of 0 and 1
_LIKE_A_MASK = re.compile(r"mask|no_?data|status|observed|coverage")


@dataclass(frozen=True)
class Mask:
    """A variable beside a field, and its numbers that mean "not observed".

    Args:
        variable: the variable.
        flags: (bits to look at, None: the whole number; what they are where it was not observed).
        remark: how it is understood.
    """

    variable: Variable
    flags: tuple[tuple[int | None, int | float], ...]
    remark: str

    def missing(self, field: Variable, index: list[int | slice]) -> np.ndarray:
        """Where it says that a map of the field was not observed, (H, W) as it is stored."""
        dims = self.variable.dims
        part = tuple(index[field.dims.index(dim)] if dim in field.dims else 0 for dim in dims)
        stored = np.asarray(self.variable.read(part, False)).view(self.variable.stored_dtype)
        found = np.zeros(stored.shape, bool)
        for bits, number in self.flags:
            seen = stored if bits is None else stored & np.asarray(bits).astype(stored.dtype)
            found |= equals(seen, number)
        return found


def masks_beside(source: Source, field: Variable) -> list[Mask]:
    """What says where a field was not observed: variables of 0 and 1 of a known name, and those
    among its ancillary variables whose flag_meanings have words for it.

    Raises:
        UserError: flags without words, or words without flags.
    """
    found = []
    for one in source.find(list(_NOT_OBSERVED)):
        if _fits(one, field):
            remark = f"where {one.name} is 1 nothing was observed"
            found.append(Mask(one, ((None, 1),), remark))
    known = [mask.variable for mask in found]
    for one in source.find(field.text("ancillary_variables")):
        if _fits(one, field) and one not in known and one.text("flag_meanings"):
            mask = _by_words(one)
            if mask.flags:
                found.append(mask)
    return found


def unused_masks(source: Source, field: Variable, masks: list[Mask]) -> tuple[str, ...]:
    """Remarks on variables that look like masks of a field, but do not say what they mean."""
    used = [mask.variable for mask in masks]
    named = source.find(field.text("ancillary_variables"))
    remarks = []
    for one in source.variables.values():
        if one in used or one is field:
            continue
        if one in named and one.text("flag_meanings") and not _fits(one, field):
            remarks.append(f"the flags of {one.name} do not lie along {field.name}: not used")
        elif _LIKE_A_MASK.search(one.name.lower()) and _is_unexplained(source, one, field):
            remarks.append(
                f"{one.name} beside {field.name} looks like a mask, but nothing says what it "
                "means: it is not used"
            )
    return tuple(remarks)


def _is_unexplained(source: Source, one: Variable, field: Variable) -> bool:
    is_own = source.own is None or one.name in source.own
    says = one.text("flag_meanings") or one.text("units")
    return is_own and _lies_along(one, field) and not says


def _by_words(variable: Variable) -> Mask:
    flags, words = [], []
    numbers = "flag_values" if "flag_values" in variable.attributes else "flag_masks"
    bits = variable.numbers("flag_masks") if variable.dtype.kind in "iu" else []
    for place, (number, word) in enumerate(flags_of(variable, numbers)):
        if meaning(word) == MISSING:
            flags.append((bits[place] if place < len(bits) else None, number))
            words.append(word)
    remark = f"where {variable.name} is {' or '.join(words)} nothing was observed"
    return Mask(variable, tuple(flags), remark)


def _lies_along(one: Variable, field: Variable) -> bool:
    """Whether it has axes of the field in their order, and beside them only those of length 1."""
    own = tuple(dim for dim, side in zip(one.dims, one.shape) if dim in field.dims or side != 1)
    along = tuple(dim for dim in field.dims if dim in own)
    return one is not field and len(along) >= 2 and along == own


def _fits(one: Variable, field: Variable) -> bool:
    return _lies_along(one, field) and one.dtype.kind in "iu"
