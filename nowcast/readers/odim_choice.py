"""Which of the fields of an ODIM_H5 file are its rain: by their quantity, and where several have
it, by their times, or as the settings say.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from nowcast.readers.hdf5 import Hdf5File
from nowcast.readers.odim_attributes import OdimField, fields
from nowcast.readers.odim_placement import BY_NAME
from nowcast.readers.odim_times import interval_of, nominal_time
from nowcast.runtime.errors import UserError
from nowcast.types.frames import Frames

# in the order of preference: what each of ODIM's quantities is here
QUANTITIES = {
    "RATE": "rain_rate",
    "ACRR": "rain_depth",
    "DBZH": "reflectivity",
    "TH": "reflectivity",
    "DBZ": "reflectivity",
}
# what ODIM names otherwise is never rain, whatever a setting for many files says
_NO_RAIN = frozenset({
    *("ZDR", "UZDR", "RHOHV", "URHOHV", "LDR", "ULDR", "PHIDP", "UPHIDP", "PIA", "KDP", "UKDP"),
    *("VRAD", "VRADH", "UVRADH", "VRADV", "UVRADV", "VRADDH", "VRADDV", "WRAD", "WRADH", "UWRADH"),
    *("WRADV", "UWRADV", "SNRH", "SNRV", "SNRHC", "SNRVC", "CCORH", "CCORV", "CPAH", "CPAV"),
    *("SQIH", "SQIV", "POR", "HI", "HP", "HGHT", "HGHTB", "VIL", "QIND", "CLASS", "ICLASS", "BRDR"),
    *("UWND", "VWND", "RSHR", "ASHR", "CSHR", "ESHR", "OSHR", "HSHR", "VSHR", "TSHR"),
})  # fmt: skip
_LEVELS = ("product", "prodpar", "height")  # of what: these differ between levels of one scan


@dataclass(frozen=True)
class Chosen:
    """The rain of a file.

    Args:
        fields: one, or those of several times.
        kind: what they are, in the words of `Coding`.
        by_end: whether the ends of their intervals are their times, as their nominal one is shared.
        remarks: how they were chosen, if that is unusual.
    """

    fields: tuple[OdimField, ...]
    kind: str
    by_end: bool = False
    remarks: tuple[str, ...] = ()


def choose(
    file: Hdf5File, quantity: str | None, dataset: str | None, *, is_volume: bool, single: bool
) -> Chosen:
    """The rain of a file.

    Args:
        file: the open file.
        quantity: the one that is wanted; None: the first of `QUANTITIES` that is there.
        dataset: path of the dataset or field that counts; None: all of them.
        is_volume: whether it says that its fields are levels of a volume.
        single: whether fields of several times are too many.

    Raises:
        UserError: there is none, or several that are not told apart.
    """
    found: dict[str | None, list[OdimField]] = {}
    for field in _of_dataset(file, dataset):
        stated = field.text("what", "quantity")
        found.setdefault(stated and stated.upper(), []).append(field)
    if not found:
        wanted = quantity or ", ".join(QUANTITIES)
        raise UserError(f"{file.path} has no dataset1/data1; expected one with {wanted}.")
    for one in [quantity] if quantity else QUANTITIES:
        if one in found:
            return _of_several(found[one], one, is_volume=is_volume, single=single)
    unknown = _unknown(found)
    if quantity is None or len(unknown) != 1:
        raise _none_found(file, found, unknown, quantity)
    (spelled,) = unknown
    chosen = _of_several(found[spelled], quantity, is_volume=is_volume, single=single)
    if spelled is None:
        return chosen
    told = f"its quantity {spelled!r} was read as {quantity}, as reader.quantity says"
    return replace(chosen, remarks=(told, *chosen.remarks))


def joined(frames: list[Frames]) -> Frames:
    """The frames of a file's fields, in time order.

    Raises:
        UserError: their grids, or what was measured, differ.
    """
    first, *others = frames = sorted(frames, key=lambda one: one.times[0])
    if not others:
        return first
    if any(one.quantity != first.quantity or first.grid.difference(one.grid) for one in others):
        raise UserError(
            f"{first.source} has fields of several grids, or depths of several intervals; "
            f"{BY_NAME} set reader.dataset to the one to read, e.g. dataset1."
        )
    return Frames(
        np.concatenate([one.values for one in frames]),
        np.concatenate([one.times for one in frames]),
        first.grid,
        first.source,
        first.quantity,
        remarks=tuple(dict.fromkeys(remark for one in frames for remark in one.remarks)),
    )


def _of_dataset(file: Hdf5File, dataset: str | None) -> list[OdimField]:
    """The fields of a file, of a dataset of it, or the one with that name."""
    all_of_it = fields(file)
    if dataset is None:
        return all_of_it
    wanted = dataset.strip("/")
    within = [one for one in all_of_it if f"{one.array}/".startswith(f"{wanted}/")]
    if not within:
        there = ", ".join(one.name for one in all_of_it[:10]) or "none"
        raise UserError(
            f"{file.path} has no field {wanted!r}, as reader.dataset says; it has {there}."
        )
    return within


def _unknown(found: dict[str | None, list[OdimField]]) -> list[str | None]:
    """The quantities that may be rain, as a service spells it, where none is as ODIM spells it."""
    if QUANTITIES.keys() & found.keys():
        return []
    return [name for name in found if name not in _NO_RAIN]


def _none_found(
    file: Hdf5File,
    found: dict[str | None, list[OdimField]],
    unknown: list[str | None],
    quantity: str | None,
) -> UserError:
    """Why none of a file's fields is its rain."""
    (first, *others), *more = found.values()
    stated = ", ".join("missing" if name is None else repr(name) for name in found)
    advice = f"; {BY_NAME} set reader.quantity to what it is" if unknown else ""
    if len(unknown) > 1:
        advice += ", and reader.dataset to the one to read"
    return UserError(
        f"{file.path}: what/quantity of {first.name}{' and others' if others or more else ''} "
        f"is {stated}; expected {quantity or ', '.join(QUANTITIES)}{advice}."
    )


def _of_several(
    several: list[OdimField], quantity: str, *, is_volume: bool, single: bool
) -> Chosen:
    """Of the fields of one quantity, the rain."""
    first, *others = several
    kind = QUANTITIES[quantity]
    if not others:
        return Chosen((first,), kind)
    path, names = first.file.path, ", ".join(field.name for field in several[:5])
    advice = f"{BY_NAME} set reader.dataset to the one to read, e.g. {first.name}"
    if is_volume:
        raise UserError(
            f"{path} is a volume with {len(several)} levels of {quantity}; one map is needed, "
            f"give a composite or an image, or {advice}."
        )
    levels = {tuple(field.text("what", name) for name in _LEVELS) for field in several}
    intervals = [interval_of(field, required=False) for field in several]
    nominal = [nominal_time(*one) for one in zip(several, intervals)]
    # what one of them does not state is no difference
    stated = levels - {(None,) * len(_LEVELS)}, set(intervals) - {None}, set(nominal)
    if all(len(differing) <= 1 for differing in stated):
        remark = f"{first.name} was read, although {names} are all {quantity}"
        return Chosen((first,), kind, remarks=(remark,))
    by_end = not _all_differ(nominal)
    times = [one[1] for one in intervals if one is not None] if by_end else nominal
    by_time = len(times) == len(several) and _all_differ(times)
    if len(levels) > 1 or single or not by_time:
        raise UserError(
            f"{path} has {len(several)} fields of {quantity} ({names}), which differ in level or "
            f"time; {advice}."
        )
    remark = f"its {len(several)} fields of {quantity} are frames of several times"
    return Chosen(tuple(several), kind, by_end, (remark,))


def _all_differ(values: Sequence[np.datetime64]) -> bool:
    return len(set(values)) == len(values)
