"""Arrays as other libraries pass them (masked, xarray, pandas, dask, torch, netCDF4 variables) into
plain NumPy: what is masked becomes NaN.

``np.asarray`` drops a mask without a word, and what lies under it (9.97e36, -9999, 0) would pass
for rain. So every array that comes from outside is taken in by one of the functions here and by
nothing else.
"""

import sys
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from nowcast.runtime.errors import UserError, first_line
from nowcast.types.labels import MARKS, attributes, refuse_packed

_REAL_CALENDARS = ("", "standard", "gregorian", "proleptic_gregorian")
_SECONDS = {  # from the year 1900 to 2262; spans up to a hundred years
    "datetime64": (-2_208_988_800, 9_214_646_400),
    "timedelta64": (-3_155_760_000, 3_155_760_000),
}
_DAY = 86_400
_PARTS = {"ms": 10**3, "us": 10**6, "ns": 10**9}
_PLAIN = (int, float, np.integer, np.floating, np.bool_)


def as_numbers(values: Any, name: str, dtype: DTypeLike = np.float32) -> np.ndarray:
    """Values as a plain array of floats, NaN where they are masked or missing.

    Args:
        values: a number, an array of NumPy (masked or not), torch, xarray, dask or pandas, a
            netCDF4 variable, or nested lists of these.
        name: what they are, for messages.
        dtype: the float type that is wanted; an array that has it already and no mask is returned
            as it is, not copied.

    Raises:
        UserError: values that are no real numbers (texts, times, complex numbers, records), rows of
            different lengths, or an xarray object whose values are still packed.
    """
    array, masked = without_mask(values, name)
    if array.dtype.kind not in "biuf":
        raise UserError(f"{name} are of type {array.dtype}; expected real numbers.")
    with np.errstate(over="ignore", invalid="ignore"):  # what lies under a mask may be anything
        plain = array.astype(dtype, copy=False)
    if masked is not None:
        plain = np.where(masked, np.asarray(np.nan, dtype), plain)
    return plain


def without_mask(values: Any, name: str) -> tuple[np.ndarray, np.ndarray | None]:
    """(the values in their own type, where they are masked or None where nothing is), of whatever
    ``as_numbers`` accepts.

    Raises:
        UserError: as ``as_numbers``.
    """
    try:
        array = np.asanyarray(_unwrapped(values, name))
        if array.dtype.kind == "O":
            array = _of_objects(array, name)
    except (TypeError, ValueError, RuntimeError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"{name} cannot be made an array of numbers ({first_line(error)}); expected "
            "numbers in rows of one length."
        ) from None
    masked = np.ma.getmask(array)
    if masked.dtype.names is not None:
        raise UserError(
            f"{name} are records with the fields {', '.join(masked.dtype.names)}; expected "
            "plain numbers, so pass one of the fields."
        )
    return np.asarray(np.ma.getdata(array)), masked if masked.any() else None


def unmasked(values: Any, name: str) -> np.ndarray:
    """Values as a plain array in their own type; where something is masked, as floats with NaN
    there.

    Raises:
        UserError: as ``as_numbers``.
    """
    array, masked = without_mask(values, name)
    if masked is None:
        return array
    dtype = array.dtype if array.dtype.kind == "f" else np.float64
    return as_numbers(np.ma.masked_array(array, masked), name, dtype)


def as_times(values: Any, name: str) -> np.ndarray:
    """UTC times, rounded to the second, (T,) datetime64[s]; a single time becomes (1,).

    Args:
        values: times of NumPy, Python, pandas, xarray or cftime, ISO texts, or whole seconds since
            1970; times with a zone are brought to UTC.
        name: what they are, for messages.

    Raises:
        UserError: a time that is masked or missing, or that is none.
    """
    return np.atleast_1d(_rounded(_stated(values, name, "time"), "datetime64", name))


def as_spans(values: Any, name: str) -> np.ndarray:
    """Spans of time, rounded to the second, (T,) timedelta64[s], of spans of NumPy, Python or
    pandas, or whole seconds.

    Raises:
        UserError: one that is masked or missing, or that is none.
    """
    return np.atleast_1d(_rounded(_stated(values, name, "span of time"), "timedelta64", name))


def _unwrapped(values: Any, name: str) -> Any:
    """What an object of another library contains, as something whose mask NumPy sees."""
    if isinstance(values, (list, tuple)):
        if _is_plain(values):
            return values
        return np.ma.stack([_as_masked(value, name) for value in values])
    # a library that was not loaded has made no array
    xarray, torch = sys.modules.get("xarray"), sys.modules.get("torch")
    dask, pandas = sys.modules.get("dask.array"), sys.modules.get("pandas")
    if xarray is not None and isinstance(values, (xarray.DataArray, xarray.Variable)):
        return _of_xarray(values, name)
    if torch is not None and isinstance(values, torch.Tensor):
        return _of_torch(values)
    if dask is not None and isinstance(values, dask.Array):
        return values.compute()
    if pandas is not None and isinstance(values, (pandas.Series, pandas.DataFrame, pandas.Index)):
        return values.to_numpy()
    if hasattr(values, "ncattrs") or (hasattr(values, "attrs") and hasattr(values, "shape")):
        return _of_file(values, name)
    return values


def _is_plain(values: Any) -> bool:
    """Whether nested lists contain nothing but plain numbers, which NumPy may take as they are."""
    return all(
        _is_plain(value) if isinstance(value, (list, tuple)) else isinstance(value, _PLAIN)
        for value in values
    )


def _as_masked(value: Any, name: str) -> np.ma.MaskedArray:
    array, masked = without_mask(value, name)
    return np.ma.masked_array(array, np.zeros(array.shape, bool) if masked is None else masked)


def _of_objects(array: np.ndarray, name: str) -> np.ndarray:
    """An array of Python objects as numbers; None, NaT and pandas' NA are missing."""
    missing = [
        value is None or value is np.ma.masked or type(value).__name__ in ("NAType", "NaTType")
        for value in array.ravel()
    ]
    masked = np.reshape(missing, array.shape) | np.ma.getmaskarray(array)
    kept = [
        0 if is_missing else value
        for is_missing, value in zip(masked.ravel(), np.ma.getdata(array).ravel())
    ]
    if array.ndim == 0 and not masked.any():
        raise TypeError(f"{type(kept[0]).__name__} is no array")
    if not all(isinstance(value, _PLAIN) for value in kept):
        stacked = np.ma.stack([_as_masked(value, name) for value in kept])
        return stacked.reshape(*array.shape, *stacked.shape[1:])
    return np.ma.masked_array(np.reshape(np.array(kept), array.shape), masked)


def _of_xarray(values: Any, name: str) -> Any:
    """The data of an xarray object; those that xarray was told not to decode still have their marks
    and packing in the attributes.
    """
    refuse_packed(values, name)
    return _marked(_unwrapped(values.data, name), attributes(values))


def _of_file(values: Any, name: str) -> Any:
    """The data of an array in a file (of h5py, zarr or netCDF4), whose attributes NumPy drops."""
    refuse_packed(values, name)
    return _marked(np.asanyarray(values[...]), attributes(values))


def _marked(data: Any, given: dict) -> Any:
    """Data with the marks for missing values that attributes name masked."""
    marks = [mark for word in MARKS if word in given for mark in np.ravel(given[word])]
    marks = [mark for mark in marks if np.asarray(mark).dtype.kind in "iuf"]
    if not marks:
        return data
    data = np.asanyarray(data)
    hidden = np.isin(np.ma.getdata(data), np.array(marks).astype(data.dtype))
    return np.ma.masked_array(data, hidden | np.ma.getmaskarray(data))


def _of_torch(tensor: Any) -> np.ndarray:
    """A tensor on any device and of any type; one with a mask of torch's own gets NaN there."""
    import torch

    if hasattr(torch, "masked") and isinstance(tensor, torch.masked.MaskedTensor):
        return np.ma.masked_array(_of_torch(tensor.get_data()), ~_of_torch(tensor.get_mask()))
    tensor = tensor.detach().cpu()
    if tensor.is_sparse:
        tensor = tensor.to_dense()
    if tensor.dtype == torch.bfloat16:  # NumPy has no such type
        tensor = tensor.float()
    return tensor.resolve_conj().resolve_neg().numpy()


def _stated(values: Any, name: str, kind: str) -> np.ndarray:
    """Times or spans in an array, none of them masked."""
    pandas, xarray = sys.modules.get("pandas"), sys.modules.get("xarray")
    if xarray is not None and isinstance(values, (xarray.DataArray, xarray.Variable)):
        values = values.data
    if pandas is not None and isinstance(values, (pandas.Series, pandas.Index)):
        values = values.to_numpy()  # of times with a zone: an array of objects that know theirs
    if isinstance(values, (list, tuple)):
        if any(np.ma.is_masked(value) for value in values):
            raise UserError(
                f"{name} contain a {kind} that is masked; every {kind} must be known, so leave"
                " out what belongs to it."
            )
        values = [value.item() if _is_single(value) else value for value in values]
    array = np.asanyarray(values)
    if np.ma.getmaskarray(array).any():
        count = int(np.ma.getmaskarray(array).sum())
        raise UserError(
            f"{count} of {array.size} {name} are masked; every {kind} must be known, so leave "
            "out what belongs to them."
        )
    return np.asarray(np.ma.getdata(array))


def _is_single(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.ndim == 0 and not np.ma.isMaskedArray(value)


def _rounded(array: np.ndarray, kind: str, name: str) -> np.ndarray:
    """Times or spans in whole seconds; NumPy alone would cut fractions off, and 04:59.9999 become
    04:59.
    """
    try:
        array = _as_kind(array, kind, name)
    except UserError:
        raise
    except (TypeError, ValueError, OverflowError, AttributeError) as error:
        raise UserError(
            f"{name} are no times that are understood ({first_line(error)}); expected {kind} "
            "of NumPy, or ISO text such as 2020-01-01T00:05."
        ) from None
    seconds = array.astype(f"{kind}[s]")
    with np.errstate(invalid="ignore"):
        rest = array - seconds
    half = np.timedelta64(500, "ms")
    return np.where(~np.isnat(array) & (rest >= half), seconds + np.timedelta64(1, "s"), seconds)


def _as_kind(array: np.ndarray, kind: str, name: str) -> np.ndarray:
    """Times or spans as datetime64 or timedelta64, in the unit that they have."""
    if array.dtype.kind == "O" and array.size and all(map(_is_whole, array.ravel())):
        array = array.astype(np.int64)
    if array.dtype.kind in "OUS":
        unit = "us" if array.size else "s"
        moments = [_moment(value) for value in array.ravel()]
        array = np.array(moments, dtype=f"{kind}[{unit}]").reshape(array.shape)
    if array.dtype.kind in "iu":
        _refuse_other_than_seconds(array, kind, name)
        array = array.astype(np.int64).astype(f"{kind}[s]")
    if array.dtype.kind != np.dtype(kind).kind:
        raise TypeError(f"they are of type {array.dtype}")
    return array


def _is_whole(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _refuse_other_than_seconds(array: np.ndarray, kind: str, name: str) -> None:
    """Refuse whole numbers that are no seconds, as those in years that no radar knew: they count
    milliseconds or nanoseconds.
    """
    first, last = _SECONDS[kind]
    if not array.size or (int(array.min()) >= first and int(array.max()) <= last):
        return
    size = max(abs(int(array.min())), abs(int(array.max())))
    likely = last if kind == "datetime64" else _DAY
    unit = next((one for one, parts in _PARTS.items() if size <= likely * parts), "ns")
    count = f"{name} contain whole numbers up to {size}, which are too large for seconds"
    if kind == "datetime64":
        count += " since 1970 (years beyond 2262 or before 1900)"
    raise UserError(
        f"{count}; convert them to {kind} with the unit that they have, e.g. "
        f"numpy.array(values).astype('{kind}[{unit}]')."
    )


def _moment(value: Any) -> Any:
    """A time or span of Python, of pandas or of cftime, or a text, as something NumPy knows; times
    with a zone in UTC.
    """
    if _is_whole(value):
        raise TypeError(f"{value!r} is a whole number among others")
    if isinstance(value, bytes):
        value = value.decode()
    if isinstance(value, str):
        text = value.strip()
        value = np.datetime64("NaT") if text == "NaT" else datetime.fromisoformat(text)
    if getattr(value, "calendar", None) is not None:  # a time of cftime
        if value.calendar not in _REAL_CALENDARS:
            raise ValueError(f"the calendar {value.calendar} is not that of radar times")
        return np.datetime64(value.isoformat(), "us")
    offset = value.utcoffset() if isinstance(value, datetime) else None
    return value if offset is None else (value - offset).replace(tzinfo=None)
