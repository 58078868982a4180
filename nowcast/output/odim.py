"""Forecasts as ODIM_H5 composites (version 2.4), the exchange format of European weather radars:
one file a lead time.

Readers of composites expect one time in a file: of a file with a dataset for each lead time pysteps
returns only the last one by name (dataset9 of 24), others only the first. So each lead time becomes
a file that anything that reads an observed composite reads completely: dataset1 is the rain rate
(RATE), dataset2, of products, the rain since the analysis time (ACRR). Probabilities and quality
have no quantity in ODIM and are not written; where there is no forecast is `nodata`, dry is
`undetect`.

Rates are float32 as they are (gain 1, offset 0), so readers get identical values. The HDF5 is that
of version 1.8 (2008), which every reader understands; its headers are checksummed, and a chunk that
is lost reads as `nodata`, never as dry.
"""

import io
import re
import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyproj

import nowcast
from nowcast.forecasting.products import Products
from nowcast.output.base import forecast_and_products, spacing_of
from nowcast.output.chunks import FILTERS, packed, side_by_side
from nowcast.output.origin import file_attributes
from nowcast.readers.projection import project, projection_in_metres
from nowcast.runtime.errors import UserError
from nowcast.runtime.files import replacing
from nowcast.types.frames import Forecast, Grid

NODATA, UNDETECT = -9999000.0, 0.0
"""Stored values for "no forecast" (that of OPERA's own composites) and "dry"."""

_IDENTIFIER = "(WMO|RAD|PLC|NOD|ORG|CTY|CMT|WIGOS):[^,]+"
_SOURCE = re.compile(f"{_IDENTIFIER}(,{_IDENTIFIER})*")
_A_METRE_IN_DEGREES = 1e-5


def write_odim(
    forecast: Forecast | Products,
    path: str | Path,
    *,
    attributes: dict[str, str],
    source: str = "CMT:nowcast",
) -> list[Path]:
    """Write a forecast as ODIM_H5, one file for each lead time beside each other.

    ``path`` gives folder, beginning and suffix: forecast.h5 becomes forecast_005min.h5,
    forecast_010min.h5, ... (with lead times that are no whole minutes forecast_00090s.h5). All
    files are written before the first takes its name, so that a failure leaves none. Files of an
    earlier forecast with other lead times stay; how/analysis_time distinguishes forecasts.

    Args:
        forecast: rain rates [mm/h], NaN where there is no forecast, or products with such a
            forecast.
        path: names the files.
        attributes: for the group how, e.g. of ``nowcast.output.origin``.
        source: ODIM's what/source.

    Returns:
        The files that were written, by lead time.

    Raises:
        UserError: a projection that ODIM cannot contain, a source or an attribute that is none, or
            files that cannot be written.
    """
    is_text = isinstance(source, str) and source.isascii() and source.isprintable()
    if not (is_text and _SOURCE.fullmatch(source)):
        raise UserError(
            f"the ODIM source {source!r:.80} is none; comma-separated pairs of an identifier and "
            "a value are needed, e.g. 'NOD:nlhrw,CMT:nowcast'."
        )
    forecast, products = forecast_and_products(forecast)
    where = _where(forecast.grid, Path(path))
    how = {
        "software": "nowcast",
        "sw_version": nowcast.__version__,
        **file_attributes(forecast, attributes),
        "analysis_time": f"{forecast.analysis_time}Z",
    }
    lead_times, valid_times = forecast.lead_times.astype(np.int64), forecast.valid_times
    starts = [forecast.analysis_time, *valid_times[:-1]]
    paths = _paths(Path(path), lead_times)

    def content(lead: int) -> bytes:
        fields = [_Field("RATE", "SURF", starts[lead], forecast.values[lead])]
        if products:
            fields.append(_Field("ACRR", "RR", forecast.analysis_time, products.depth[lead]))
        described = how | {"lead_time_minutes": f"{lead_times[lead] / 60:g}"}
        return _composite(fields, valid_times[lead], where, described, source)

    with ExitStack() as files:  # which renames all of them at its end, or none
        for name, written in zip(paths, side_by_side(content, range(len(paths)))):
            files.enter_context(replacing(name)).write_bytes(written)
    return paths


class _Field(NamedTuple):
    """A field of a composite: ODIM's quantity and product, the start of its interval, and values
    (H, W) with NaN where there are none.
    """

    quantity: str
    product: str
    start: np.datetime64
    values: np.ndarray


def _paths(path: Path, lead_times: np.ndarray) -> list[Path]:
    """Names that sort by lead time [s]."""
    digits = len(str(lead_times[-1]))
    if (lead_times % 60).any():
        names = [f"{s:0{max(5, digits)}d}s" for s in lead_times]
    else:
        names = [f"{s // 60:0{max(3, digits - 1)}d}min" for s in lead_times]
    return [path.with_name(f"{path.stem}_{name}{path.suffix}") for name in names]


def _where(grid: Grid, path: Path) -> dict[str, str | int | float]:
    """ODIM's where: the projection in metres (degrees for longitudes and latitudes) and the outer
    corners of the image.

    Readers place a composite by projecting its corners with PROJ alone, so this must lead back to
    the grid.
    """
    dy, dx = spacing_of(grid, path, "ODIM_H5")
    left, right = grid.x[0] - dx / 2, grid.x[-1] + dx / 2
    top, bottom = grid.y[0] + dy / 2, grid.y[-1] - dy / 2
    corners = np.array([(left, bottom), (left, top), (right, top), (right, bottom)])
    crs = pyproj.CRS.from_user_input(grid.crs)
    projection = _proj_string(crs, grid.crs, path)
    to_degrees = pyproj.Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True)
    degrees = np.transpose(to_degrees.transform(*corners.T))
    projected = np.array([project(projection, *point, path=path) for point in degrees])
    unit, tolerance = 1.0, _A_METRE_IN_DEGREES
    if not crs.is_geographic:
        unit, tolerance = crs.axis_info[0].unit_conversion_factor, 1.0
    if round((projected[2, 0] - projected[0, 0]) / (right - left) / unit) == 1000:
        unit *= 1000  # an earth whose radius was given in kilometres
    if np.abs(projected - unit * corners).max() > tolerance:
        raise UserError(
            f"{path}: ODIM_H5 places a grid by a PROJ string and the longitudes and latitudes of "
            "its corners, which do not lead back to this "
            f"grid in {grid.crs!r:.200}; write it as NetCDF (.nc) or GeoTIFF (.tif)."
        )
    where = {
        "projdef": projection,
        "xsize": grid.shape[1],
        "ysize": grid.shape[0],
        "xscale": unit * dx,
        "yscale": unit * dy,
    }
    for corner, (longitude, latitude) in zip(("LL", "UL", "UR", "LR"), degrees):
        where |= {f"{corner}_lon": float(longitude), f"{corner}_lat": float(latitude)}
    return where


def _proj_string(crs: pyproj.CRS, given: str, path: Path) -> str:
    """The PROJ string, in metres, of a projection however it was given."""
    with warnings.catch_warnings():
        # That PROJ strings say less; the corners show whether they say enough.
        warnings.simplefilter("ignore", UserWarning)
        try:
            text = given if "+proj=" in given else crs.to_proj4()
        except pyproj.exceptions.CRSError:
            text = ""
    if not text:
        raise UserError(
            f"{path}: the projection {given!r:.200} has no PROJ string, which ODIM_H5 needs; "
            "write it as NetCDF (.nc) or GeoTIFF (.tif)."
        )
    words = [word for word in text.split() if word != "+nadgrids=@null"]
    return projection_in_metres(" ".join(words), path)


def _composite(
    fields: list[_Field], time: np.datetime64, where: dict, how: dict[str, str], source: str
) -> bytes:
    """A whole file with fields that end at a time."""
    import h5py

    date, clock = _date_and_time(time)
    what = {"object": "COMP", "version": "H5rad 2.4", "date": date, "time": clock, "source": source}
    file_in_memory = io.BytesIO()  # on a full disk HDF5 can crash, while writing bytes raises
    with h5py.File(file_in_memory, "w", libver=("v108", "v108")) as file:
        _set(file, {"Conventions": "ODIM_H5/V2_4"})
        for name, attributes in (("what", what), ("where", where), ("how", how)):
            _set(file.create_group(name), attributes)
        for number, field in enumerate(fields, start=1):
            group = file.create_group(f"dataset{number}")
            start_date, start_time = _date_and_time(field.start)
            interval = {
                "product": field.product,
                "prodname": "nowcast",
                "startdate": start_date,
                "starttime": start_time,
                "enddate": date,
                "endtime": clock,
            }
            _set(group.create_group("what"), interval)
            _write_field(group, field)
    return file_in_memory.getvalue()


def _write_field(group, field: _Field) -> None:
    """A field as data1 of a dataset's group, with how its numbers are to be read."""
    scaling = {
        "quantity": field.quantity,
        "gain": 1.0,
        "offset": 0.0,
        "nodata": NODATA,
        "undetect": UNDETECT,
    }
    _set(group.create_group("data1/what"), scaling)
    shape = field.values.shape
    missing = np.float32(NODATA)
    data = group.create_dataset(
        "data1/data", shape, "<f4", chunks=shape, fillvalue=missing, **FILTERS
    )
    stored = np.where(np.isnan(field.values), missing, field.values)
    data.id.write_direct_chunk((0, 0), packed(stored.astype("<f4", copy=False)))


def _date_and_time(time: np.datetime64) -> tuple[str, str]:
    """YYYYMMDD and HHMMSS."""
    text = re.sub("[-:]", "", str(time.astype("datetime64[s]")))
    return text[:8], text[9:]


def _set(group, attributes: dict[str, str | int | float]) -> None:
    """Attributes in ODIM's types: strings of fixed length that end with a zero byte, long integers,
    doubles.
    """
    import h5py

    for name, value in attributes.items():
        if not isinstance(value, str):
            kind = np.int64 if isinstance(value, int) else np.float64
            group.attrs.create(name, value, dtype=kind)
            continue
        content = value.encode() + b"\0"
        kind = h5py.h5t.C_S1.copy()
        kind.set_size(len(content))
        kind.set_strpad(h5py.h5t.STR_NULLTERM)
        kind.set_cset(h5py.h5t.CSET_ASCII if value.isascii() else h5py.h5t.CSET_UTF8)
        scalar = h5py.h5s.create(h5py.h5s.SCALAR)
        attribute = h5py.h5a.create(group.id, name.encode(), kind, scalar)
        attribute.write(np.array(content, dtype=f"S{len(content)}"), mtype=kind)
