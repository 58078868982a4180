"""Rain in data sets of xarray that follow the CF conventions: read as files are, by the same code.

xarray has decoded what it opened: times are times, packed numbers are unpacked, and the attributes
that said how lie in ``encoding``. Here they get the form again that CF files have. Values are asked
for one time after the other, and nothing else is computed: of a data set that is opened lazily
(``chunks={}``, dask), what was selected before is all that is read.
"""

import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nowcast.readers.cf import rain
from nowcast.readers.cf.source import Source, Variable
from nowcast.readers.decoding import Coding
from nowcast.runtime.errors import UserError
from nowcast.types.arrays import as_times
from nowcast.types.frames import Frames, Grid
from nowcast.types.labelled import DISCARDED
from nowcast.types.units import RAIN_RATE, is_quantity

if TYPE_CHECKING:
    import xarray

_UNNAMED = "the data set"  # in messages, where it says nothing of its source
_REFERENCES = ("coordinates", "grid_mapping", "bounds")  # attributes that name other variables
_PACKING = ("scale_factor", "add_offset")
_LIMITS = ("valid_min", "valid_max", "valid_range", "flag_values")
_SECONDS_SINCE = {"units": "seconds since 1970-01-01", "calendar": "standard"}


def frames_from_xarray(
    data: "xarray.Dataset | xarray.DataArray",
    *,
    variable: str | None,
    minutes: float | None,
    z_r: tuple[float, float],
) -> Frames:
    """The rain fields of a data set; arguments and errors as of ``Frames.from_xarray``."""
    import xarray

    if isinstance(data, xarray.DataArray):
        variable = variable or str(data.name or "rain")
        data = data.to_dataset(name=variable)
    if not isinstance(data, xarray.Dataset):
        raise UserError(
            f"expected a Dataset or DataArray of xarray, got {type(data).__name__}; numbers alone "
            "become frames by Frames(values, times, grid)."
        )
    stated = data.attrs.get("source", data.encoding.get("source", ""))
    name = stated if isinstance(stated, str) else ""
    path = Path(name or _UNNAMED)
    variables = {str(key): _variable(data, key, path) for key in data.variables}
    source = Source(path, variables, attributes=dict(data.attrs))
    coding = Coding(minutes=minutes, z_r_a=z_r[0], z_r_b=z_r[1])
    try:
        frames = rain.frames(source, variable, coding)
    except UserError as error:
        raise UserError(_in_words_of_arguments(str(error))) from error
    return _with_what_nowcast_states(replace(frames, source=name), data)


def _in_words_of_arguments(message: str) -> str:
    """A refusal that advises settings of a reader of files, for who gives arguments instead."""
    text = re.sub(r"with reader=\w+ set ", "set ", message)
    text = re.sub(r" \(with reader=\w+\)", "", text)
    named = r"set reader\.(variable|minutes) to (it|one of them)"
    text = re.sub(named, r"pass the name of \2 as \1=", text)
    text = re.sub(r"set reader\.(variable|minutes)\b", r"pass \1=", text)
    text = re.sub(r"reader\.(variable|minutes)\b", r"\1=", text)
    others = re.findall(r"reader\.\w+", text)
    if not others:
        return text
    text = re.sub(r"reader\.(\w+)", r"\1", text)
    return f"{text} A data set of xarray says these in its attributes and coordinates, as CF does."


def _variable(data: "xarray.Dataset", name: str, path: Path) -> Variable:
    """A variable as a CF file has it."""
    variable = data.variables[name]
    attributes = {
        key: variable.encoding[key] for key in _REFERENCES if key in variable.encoding
    } | variable.attrs
    beside = [str(key) for key in data[name].coords if key not in variable.dims]
    words = str(attributes.get("coordinates", "")).split()
    attributes["coordinates"] = " ".join(dict.fromkeys(words + beside))
    kind, dtype = variable.dtype.kind, variable.dtype
    if kind == "M" or (kind == "O" and _is_calendar_time(variable)):
        attributes |= _SECONDS_SINCE
        dtype = np.dtype(np.int64)
    elif kind == "m":
        attributes["units"] = "seconds"
        dtype = np.dtype(np.float64)
    elif any(key in variable.encoding for key in (*_PACKING, "_Unsigned")):
        attributes = _unpacked_limits(attributes, variable, f"{path}: {name}")
    dims = tuple(map(str, variable.dims))
    read = partial(_read, variable, dtype)
    return Variable(path, str(name), dims, variable.shape, dtype, attributes, read)


def _read(variable: "xarray.Variable", dtype: np.dtype, index: tuple, holes: bool) -> np.ndarray:
    """Part of a variable; times as whole seconds since 1970, spans as seconds."""
    values = variable[index].values
    if values.dtype.kind == "m":
        return values / np.timedelta64(1, "s")
    if values.dtype == dtype:
        return values
    return as_times(values, "the times").astype(dtype).reshape(values.shape)


def _is_calendar_time(variable: "xarray.Variable") -> bool:
    """Whether objects are times of cftime, which xarray takes where NumPy's do not reach."""
    return variable.size > 0 and hasattr(variable[(0,) * variable.ndim].values.item(), "calendar")


def _unpacked_limits(attributes: dict, variable: "xarray.Variable", where: str) -> dict:
    """Attributes of values that xarray has unpacked, with their limits unpacked, too.

    That they were packed is still said, because a stored 0 may come out a little below 0.
    """
    factor, offset = (variable.encoding.get(key, usual) for key, usual in zip(_PACKING, (1, 0)))
    if not np.isfinite([factor, offset]).all() or factor == 0:
        raise UserError(
            f"{where} has scale_factor {factor} and add_offset {offset}; finite numbers are "
            "needed, a scale_factor not 0."
        )
    is_unsigned = str(variable.encoding.get("_Unsigned", "")).lower() == "true"
    unpacked = {}
    for key in _LIMITS:
        limit = np.asarray(attributes.get(key, 0.0))
        if limit.dtype.kind not in "iu":  # it is meant for the values themselves
            continue
        if is_unsigned:
            limit = limit.view(limit.dtype.str.replace("i", "u"))
        unpacked[key] = limit.astype(variable.dtype) * factor + offset
    return attributes | unpacked | {"scale_factor": 1.0, "add_offset": 0.0}


def _with_what_nowcast_states(frames: Frames, data: "xarray.Dataset") -> Frames:
    """Frames with what ``Frames.to_xarray`` and archives say beyond CF: how the projection was
    written, what was measured before it became a rate, and how many pixels were discarded.
    """
    quantity = data.attrs.get("quantity")
    if frames.quantity == RAIN_RATE and is_quantity(quantity):
        frames = replace(frames, quantity=quantity)
    if DISCARDED in data and data[DISCARDED].dims == ("time",):
        order = np.argsort(as_times(data["time"], "the times"), kind="stable")
        frames = replace(frames, discarded=data[DISCARDED].values[order])
    projection = data.attrs.get("projection")
    if "crs" in data.variables:
        projection = data["crs"].attrs.get("crs_input", projection)
    if not isinstance(projection, str) or not {"x", "y"} <= set(data.coords):
        return frames
    try:
        grid = Grid(projection, np.sort(data["x"].values), np.sort(data["y"].values)[::-1])
    except UserError:  # it is another system's word for something else
        return frames
    return frames if frames.grid.difference(grid) else replace(frames, grid=grid)
