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
from nowcast.output.chunks import FILTERS, packed, side_by_side
from nowcast.output.provenance import checked_attributes, gaps
from nowcast.readers.projection import project, projection_in_metres
from nowcast.runtime.errors import UserError
from nowcast.runtime.files import replacing
from nowcast.types.frames import Forecast, Grid

NODATA, UNDETECT = -9999000.0, 0.0
"""Stored values for "no forecast" (that of OPERA's own composites) and "dry"."""

_SOURCE = re.compile(
    r"(WMO|RAD|PLC|NOD|ORG|CTY|CMT|WIGOS):[^,]+(,(WMO|RAD|PLC|NOD|ORG|CTY|CMT|WIGOS):[^,]+)*"
)
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
    earlier forecast with other lead times stay; how/analysis_time tells forecasts apart.

    Args:
        forecast: rain rates [mm/h], NaN where there is no forecast, or products with such a
            forecast.
        path: names the files.
        attributes: for the group how, e.g. of ``nowcast.output.provenance``.
        source: ODIM's what/source.

    Returns:
        The files that were written, by lead time.

    Raises:
        UserError: a projection that ODIM cannot hold, a source or an attribute that is none, or
            files that cannot be written.
    """
    if not (
        isinstance(source, str)
        and source.isascii()
        and source.isprintable()
        and _SOURCE.fullmatch(source)
    ):
        raise UserError(
            f"the ODIM source {source!r:.80} is none; comma-separated pairs of an identifier and "
            "a value are needed, e.g. 'NOD:nlhrw,CMT:nowcast'."
        )
    products = forecast if isinstance(forecast, Products) else None
    forecast = products.forecast if products else forecast
    where = _where(forecast.grid, Path(path))
    how = {
        "software": "nowcast",
        "sw_version": nowcast.__version__,
        **checked_attributes(gaps(forecast) | attributes),
        "analysis_time": f"{forecast.analysis_time}Z",
    }
    lead_times, valid_times = forecast.lead_times.astype(np.int64), forecast.valid_times
    starts = [forecast.analysis_time, *valid_times[:-1]]
    paths = _paths(Path(path), lead_times)

    def content(lead: int) -> bytes:
        fields = [_Field("RATE", "SURF", starts[lead], forecast.values[lead])]
        if products:
            fields.append(_Field("ACRR", "RR", forecast.analysis_time, products.depth[lead]))
        return _composite(
            fields,
            valid_times[lead],
            where,
            how | {"lead_time_minutes": f"{lead_times[lead] / 60:g}"},
            source,
        )

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
    names = (
        [f"{s:0{max(5, digits)}d}s" for s in lead_times]
        if (lead_times % 60).any()
        else [f"{s // 60:0{max(3, digits - 1)}d}min" for s in lead_times]
    )
    return [path.with_name(f"{path.stem}_{name}{path.suffix}") for name in names]


def _where(grid: Grid, path: Path) -> dict[str, str | int | float]:
    """ODIM's where: the projection in metres (degrees for longitudes and latitudes) and the outer
    corners of the image.

    Readers place a composite by projecting its corners with PROJ alone, so this must lead back to
    the grid.
    """
    dy, dx = grid.spacing
    if not (dx > 0 and dy > 0):
        raise UserError(
            f"{path}: a grid of {grid.shape[0]} x {grid.shape[1]} cells has no cell size, which "
            "ODIM_H5 needs; 2 x 2 cells or more can be written."
        )
    left, right, top, bottom = (
        grid.x[0] - dx / 2,
        grid.x[-1] + dx / 2,
        grid.y[0] + dy / 2,
        grid.y[-1] - dy / 2,
    )
    corners = np.array([(left, bottom), (left, top), (right, top), (right, bottom)])
    crs = pyproj.CRS.from_user_input(grid.crs)
    projection = _proj_string(crs, grid.crs, path)
    degrees = np.transpose(
        pyproj.Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True).transform(*corners.T)
    )
    projected = np.array([project(projection, *point, path=path) for point in degrees])
    unit = 1.0 if crs.is_geographic else crs.axis_info[0].unit_conversion_factor
    if round((projected[2, 0] - projected[0, 0]) / (right - left) / unit) == 1000:
        unit *= 1000  # an earth whose radius was given in kilometres
    if np.abs(projected - unit * corners).max() > (
        _A_METRE_IN_DEGREES if crs.is_geographic else 1.0
    ):
        raise UserError(
            f"{path}: ODIM_H5 places a grid by a PROJ string and the longitudes and latitudes of "
            "its corners, which do not lead back to this "
            f"grid in {grid.crs!r:.200}; write it as NetCDF (.nc) or GeoTIFF (.tif)."
        )
    named = {
        f"{name}_{part}": float(value)
        for name, pair in zip(("LL", "UL", "UR", "LR"), degrees)
        for part, value in zip(("lon", "lat"), pair)
    }
    return {
        "projdef": projection,
        "xsize": grid.shape[1],
        "ysize": grid.shape[0],
        "xscale": unit * dx,
        "yscale": unit * dy,
        **named,
    }


def _proj_string(crs: pyproj.CRS, given: str, path: Path) -> str:
    """The PROJ string, in metres, of a projection however it was given."""
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", UserWarning
        )  # that PROJ strings say less; the corners show whether they say enough
        try:
            text = given if "+proj=" in given else crs.to_proj4()
        except pyproj.exceptions.CRSError:
            text = ""
    if not text:
        raise UserError(
            f"{path}: the projection {given!r:.200} has no PROJ string, which ODIM_H5 needs; "
            "write it as NetCDF (.nc) or GeoTIFF (.tif)."
        )
    return projection_in_metres(
        " ".join(token for token in text.split() if token != "+nadgrids=@null"), path
    )


def _composite(
    fields: list[_Field], time: np.datetime64, where: dict, how: dict[str, str], source: str
) -> bytes:
    """A whole file with fields that end at a time."""
    import h5py

    file_in_memory = io.BytesIO()  # on a full disk HDF5 can crash, while writing bytes raises
    with h5py.File(file_in_memory, "w", libver=("v108", "v108")) as file:
        date, clock = _date_and_time(time)
        _set(file, {"Conventions": "ODIM_H5/V2_4"})
        _set(
            file.create_group("what"),
            {
                "object": "COMP",
                "version": "H5rad 2.4",
                "date": date,
                "time": clock,
                "source": source,
            },
        )
        _set(file.create_group("where"), where)
        _set(file.create_group("how"), how)
        for number, field in enumerate(fields, start=1):
            start_date, start_time = _date_and_time(field.start)
            interval = {
                "startdate": start_date,
                "starttime": start_time,
                "enddate": date,
                "endtime": clock,
            }
            _set(
                file.create_group(f"dataset{number}/what"),
                {"product": field.product, "prodname": "nowcast", **interval},
            )
            scaling = {
                "quantity": field.quantity,
                "gain": 1.0,
                "offset": 0.0,
                "nodata": NODATA,
                "undetect": UNDETECT,
            }
            _set(file.create_group(f"dataset{number}/data1/what"), scaling)
            shape = field.values.shape
            data = file.create_dataset(
                f"dataset{number}/data1/data",
                shape,
                "<f4",
                chunks=shape,
                fillvalue=np.float32(NODATA),
                **FILTERS,
            )
            stored = np.where(np.isnan(field.values), np.float32(NODATA), field.values)
            data.id.write_direct_chunk((0, 0), packed(stored.astype("<f4", copy=False)))
    return file_in_memory.getvalue()


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
        if isinstance(value, str):
            content = value.encode()
            kind = h5py.h5t.C_S1.copy()
            kind.set_size(len(content) + 1)
            kind.set_strpad(h5py.h5t.STR_NULLTERM)
            kind.set_cset(h5py.h5t.CSET_ASCII if value.isascii() else h5py.h5t.CSET_UTF8)
            attribute = h5py.h5a.create(
                group.id, name.encode(), kind, h5py.h5s.create(h5py.h5s.SCALAR)
            )
            attribute.write(np.array(content + b"\0", dtype=f"S{len(content) + 1}"), mtype=kind)
        else:
            group.attrs.create(
                name, value, dtype=np.int64 if isinstance(value, int) else np.float64
            )
