"""What an array says of itself: the names of its axes, its unit, its packing and its coordinates.

Arrays of xarray, netCDF4, h5py and zarr bring labels along. NumPy drops them without a word,
and rows become columns, or metres a second millimetres an hour; so they are read here before.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from nowcast.runtime.errors import UserError

MARKS = ("_FillValue", "missing_value")
PACKING = ("scale_factor", "add_offset")
_UNPACKED = {"scale_factor": 1.0, "add_offset": 0.0}
_AXES = {
    "time t valid_time times valid_times": "T",
    "lead_time leadtime lead_times forecast_period prediction_timedelta step": "T",
    "y lat latitude latitudes northing northings row rows yc rlat nlat": "H",
    "projection_y_coordinate south_north": "H",
    "x lon lng long longitude longitudes easting eastings column columns col cols": "W",
    "xc rlon nlon projection_x_coordinate west_east": "W",
    "realization member members ensemble ens ensemble_member": "M",
    "threshold thresholds": "K",
}
_AXIS_OF = {name: axis for names, axis in _AXES.items() for name in names.split()}
_USUAL = {"T": "time", "H": "y", "W": "x", "M": "realization", "K": "threshold"}

_NUMBER = r"(?:\d+(?:\.\d+)?(?:e[+-]?\d+)?)"
_MILLIMETRES = r"mm|millimet(?:er|re)s?"
_OF_WATER = r"kg ?/ ?\(?m2|kg m-2|l ?/ ?m2|l m-2"
_AMOUNT = (
    rf"(?P<mm>{_MILLIMETRES}|{_OF_WATER})|m|met(?:er|re)s?|cm|centimet(?:er|re)s?|in|inch(?:es)?"
)
_HOUR = r"h|hrs?|hours?"
_TIME = rf"(?P<h>{_HOUR})|s|secs?|seconds?|mins?|minutes?|d|days?"
_RATE = re.compile(
    rf"(?:(?P<factor>{_NUMBER}) ?)?(?:{_AMOUNT}) ?"
    rf"(?:/ ?\(?(?P<count>{_NUMBER})? ?(?:{_TIME})\)?|(?:{_TIME.replace('<h>', '<h2>')})-1)"
)
_DEPTH = re.compile(rf"(?:{_NUMBER} ?)?(?:{_AMOUNT})")
_ALSO_OTHER = {"dbz", "dbr", "db", "mm6 m-3", "mm6/m3", "k", "kelvin", "celsius", "degc", "%"}
_ALSO_OTHER |= {"percent", "kg s-1 m-2", "kg/m2s", "kg/(m2 s)", "kg/s/m2", "pa", "hpa"}


def attributes(values: Any) -> dict:
    """The attributes of an array that has any, by name; of a variable of netCDF4 without those that
    it acts on itself.
    """
    if hasattr(values, "ncattrs"):
        return _of_netcdf4(values)
    given = getattr(values, "attrs", None)
    if given is None or not hasattr(given, "keys"):
        return {}
    return {str(name): given[name] for name in list(given.keys())}


def _of_netcdf4(variable: Any) -> dict:
    given = {name: variable.getncattr(name) for name in variable.ncattrs()}
    done = set(PACKING) & given.keys() if getattr(variable, "scale", False) else set()
    factor, offset = given.get("scale_factor", 1.0), given.get("add_offset", 0.0)
    for name in set(MARKS) & given.keys():
        if getattr(variable, "mask", False):
            done.add(name)
        elif done:  # it unpacks its marks, too
            given[name] = np.multiply(given[name], factor) + offset
    return {name: value for name, value in given.items() if name not in done}


def refuse_packed(values: Any, name: str) -> None:
    """Raise a UserError where the attributes say that the values are still packed as integers."""
    given = attributes(values)
    packed = [word for word in PACKING if word in given and not _is(given[word], _UNPACKED[word])]
    if not packed:
        return
    if hasattr(values, "dims") and hasattr(values, "coords"):
        way = "open the file with mask_and_scale=True, or pass xarray.decode_cf(...)"
    elif hasattr(values, "ncattrs"):
        way = "call set_auto_maskandscale(True) on the variable first"
    else:
        way = "read them with nowcast's readers or xarray, or pass data * scale_factor + add_offset"
    raise UserError(f"{name} are still packed ({packed[0]} is {given[packed[0]]}); {way}.")


def _is(value: Any, number: float) -> bool:
    try:
        return bool(np.all(np.asarray(value, np.float64) == number))
    except (TypeError, ValueError):
        return False


def refuse_other_labels(
    values: Any, name: str, axes: str, rows_and_columns: Sequence[np.ndarray] | None = None
) -> None:
    """Refuse rain rates whose labels say that they are something else than what is expected.

    Args:
        values: an array of any library, or a list of arrays.
        name: what they are, for messages.
        axes: the axes that are expected, letters of T (time), H (rows), W (columns), M (members)
            and K (thresholds).
        rows_and_columns: (y, x) of the grid that they shall lie on; None: it is not known.

    Raises:
        UserError: axes in another order, a unit that is not mm/h, or rows or columns that run the
            other way round than those of the grid.
    """
    for array, own_axes in _labelled(values, axes):
        _refuse_other_order(array, name, own_axes)
        _refuse_other_unit(array, name, own_axes)
        if rows_and_columns is not None:
            for axis, places in zip("HW", rows_and_columns, strict=True):
                _refuse_reversed(array, name, own_axes, axis, places)


def _labelled(values: Any, axes: str) -> Iterator[tuple[Any, str]]:
    """The arrays in nested lists, each with the axes that it should have."""
    if not isinstance(values, (list, tuple)):
        yield values, axes
    elif len(axes) > 1:
        for value in values:
            yield from _labelled(value, axes[1:])


def _names(values: Any) -> tuple[str, ...]:
    """The names of an array's axes; empty where it has none."""
    names = getattr(values, "dims", None)
    if hasattr(values, "ncattrs"):
        names = values.dimensions
    elif names is not None and not isinstance(names, tuple):
        names = tuple(map(_name_in_hdf5, names))
    return tuple(str(name) for name in names) if names else ()


def _name_in_hdf5(dimension: Any) -> str:
    """The label of a dimension of h5py, or the name of the data set that is its scale."""
    label = getattr(dimension, "label", "")
    if not label and hasattr(dimension, "keys") and len(dimension):
        label = str(dimension[0].name).rpartition("/")[2]
    return label


def _refuse_other_order(values: Any, name: str, axes: str) -> None:
    names = _names(values)
    if len(names) != len(axes):
        return  # that is said by whoever needs another number of axes
    known = [_AXIS_OF.get(one.lower()) for one in names]
    if all(axis in (None, expected) for axis, expected in zip(known, axes, strict=True)):
        return
    order = _order(known, axes)
    found = f"{name}: its axes are ({', '.join(names)})"
    if order is None:
        usual = ", ".join(_USUAL[axis] for axis in axes)
        raise UserError(f"{found}, expected ({usual}): pass an array that has these.")
    wanted = [names[place] for place in order]
    if hasattr(values, "dims") and hasattr(values, "transpose"):
        way = f"data.transpose({', '.join(map(repr, wanted))})"
    else:
        way = f"numpy.transpose(data, ({', '.join(map(str, order))}))"
    raise UserError(f"{found}, expected ({', '.join(wanted)}): pass {way}.")


def _order(known: list[str | None], axes: str) -> list[int] | None:
    """Which of an array's axes each expected one is; None where one of them is another thing."""
    if any(axis is not None and (axis not in axes or known.count(axis) > 1) for axis in known):
        return None
    unknown = iter([place for place, axis in enumerate(known) if axis is None])
    return [known.index(axis) if axis in known else next(unknown) for axis in axes]


def _refuse_other_unit(values: Any, name: str, axes: str) -> None:
    stated = attributes(values).get("units")
    if isinstance(stated, (bytes, np.bytes_)):
        stated = stated.decode(errors="replace")
    if isinstance(stated, np.ndarray) and stated.size == 1:
        stated = str(stated.reshape(-1)[0])
    if "K" not in axes and isinstance(stated, str) and is_other_unit(stated):
        raise UserError(
            f"{name} have the unit {stated!r}, expected mm/h: convert them, and pass them with the "
            "attribute units='mm h-1' or without it."
        )


def is_other_unit(units: str) -> bool:
    """Whether a text is a unit of rain (or of something else that radars measure) that is known and
    is not mm/h.
    """
    text = " ".join(re.sub(r"\*\*|\^", "", units.lower()).replace(" per ", "/").split())
    text = re.sub(r"[·*]|\.(?=[a-z])", " ", text).replace("⁻¹", "-1").replace("⁻²", "-2")
    text = re.sub(r"\s*/\s*", "/", " ".join(text.split()))
    rate = _RATE.fullmatch(text)
    if rate:
        of_hour = rate["h"] or rate["h2"]
        whole = float(rate["factor"] or 1) == 1 and float(rate["count"] or 1) == 1
        return not (rate["mm"] and of_hour and whole)
    return text in _ALSO_OTHER or _DEPTH.fullmatch(text) is not None


def _refuse_reversed(values: Any, name: str, axes: str, axis: str, places: np.ndarray) -> None:
    """Refuse coordinates that are the grid's own in reversed order: row 0 would be south."""
    names = _names(values)
    coordinates = getattr(values, "coords", None)
    if coordinates is None or len(names) != len(axes) or places.size < 2:
        return
    label = names[axes.index(axis)]
    if label not in coordinates or coordinates[label].shape != places.shape:
        return
    given = np.asarray(coordinates[label].values)
    if given.dtype.kind not in "iuf":
        return
    near = 1e-3 * abs(places[1] - places[0])
    if np.allclose(given, places[::-1], rtol=0, atol=near):
        letter = {"H": "y", "W": "x"}[axis]
        raise UserError(
            f"{name}: their coordinate {label} runs from {given[0]:g} to {given[-1]:g}, but the "
            f"grid's {letter} from {places[0]:g} to {places[-1]:g} (row 0 is north, column 0 is "
            f"west): pass data.isel({label}=slice(None, None, -1))."
        )
