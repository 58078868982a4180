"""One field in every dialect of CF: whatever variables, coordinates and dimensions are called, in
whichever order and direction they are stored, however values are packed, wherever the projection
stands, the same rates, time and corners come out, of NetCDF and of zarr.
"""

from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import numpy as np
import pyproj
import pytest
import xarray

from nowcast.readers.auto import Auto
from nowcast.readers.cf_netcdf import CfNetcdf
from nowcast.readers.zarr_composite import ZarrComposite
from nowcast.runtime.errors import UserError
from tests.factories_cf import LAEA_MAPPING

NAN = np.nan
RATES = np.array([[NAN, 0.0, 0.5, 1.0, 2.5], [0.0, 7.5, 12.0, NAN, 0.0], [30.0, NAN, 0.0, 0.5, 60]])
X, Y = 10_500.0 + 1000 * np.arange(5), -20_500.0 - 1000 * np.arange(3)
LON, LAT = 5.05 + 0.1 * np.arange(5), 52.05 - 0.05 * np.arange(3)
TIME = np.datetime64("2020-06-01T12:05", "s")
LAEA = "+proj=laea +lat_0=55 +lon_0=10 +x_0=1950000 +y_0=-2100000 +a=6378137 +rf=298.257223563"
CRS = pyproj.CRS(LAEA)

UNITS = {  # (units, standard name, what 1 mm/h is in them), depths over 5 minutes
    "mm/h": ("mm/h", "rainfall_rate", 1.0),
    "kg m-2 s-1": ("kg m-2 s-1", "precipitation_flux", 1 / 3600),
    "kg/(m2*h)": ("kg/(m2*h)", "rainfall_flux", 1.0),
    "m s-1": ("m s-1", "lwe_precipitation_rate", 1 / 3.6e6),
    "mm": ("mm", "rainfall_amount", 1 / 12),
    "dBZ": ("dBZ", "equivalent_reflectivity_factor", None),
}
NAMES = ("standard names", "axis", "units", "names", "long names", "listed", "settings")
PLACES = ("mapping", "WKT", "PROJ", "global", "alone", "setting", "degrees", "pixels")
PACKINGS = ("floats", "16 bits", "bytes", "unsigned bytes of NetCDF-3")
ORDERS = ("time y x", "time x y", "y x time", "x y time", "y x")


@dataclass(frozen=True)
class Dialect:
    """How a file states the field.

    Args:
        unit: of `UNITS`.
        names: how its coordinates are known, of `NAMES`.
        place: where its projection stands, of `PLACES`; "degrees": it has longitudes and latitudes;
            "pixels": these for each pixel.
        packing: of `PACKINGS`.
        order: of its dimensions, of `ORDERS`.
        north: whether its first row is north.
        east: whether its first column is east.
        kilometres: whether its coordinates count kilometres.
    """

    unit: str = "mm/h"
    names: str = "standard names"
    place: str = "mapping"
    packing: str = "floats"
    order: str = "time y x"
    north: bool = True
    east: bool = False
    kilometres: bool = False
    settings: dict = field(default_factory=dict, compare=False)


def coordinate(kind: str, dialect: Dialect) -> tuple[str, np.ndarray, dict]:
    """(name, values, attributes) of the columns (kind x) or rows (y)."""
    degrees = dialect.place == "degrees"
    values = {"x": LON if degrees else X, "y": LAT if degrees else Y}[kind]
    if (kind == "x" and dialect.east) or (kind == "y" and not dialect.north):
        values = values[::-1]
    unit = "degrees" if degrees else "km" if dialect.kilometres else "m"
    values = values / 1000 if dialect.kilometres and not degrees else values
    standard = {"x": "longitude", "y": "latitude"} if degrees else {}
    standard_name = standard.get(kind, f"projection_{kind}_coordinate")
    own = {"x": "columns", "y": "rows"}[kind]
    plain = {"x": "lon" if degrees else "x", "y": "lat" if degrees else "y"}[kind]
    name, attributes = {
        "standard names": (own, {"standard_name": standard_name, "units": unit}),
        "axis": (own, {"axis": kind.upper(), "units": unit}),
        "units": (own, {"axis": kind.upper(), "unit": unit}),
        "names": (plain, {"units": unit}),
        "long names": (own, {"long_name": standard_name.capitalize(), "Units": unit}),
        "listed": (own, {"standard_name": standard_name, "units": unit}),
        "settings": (own, {"units": unit}),
    }[dialect.names]
    if degrees and dialect.names in ("axis", "units", "settings"):
        attributes = attributes | {"standard_name": standard_name}
    return name, values, attributes


def packed(values: np.ndarray, packing: str) -> tuple[np.ndarray, dict]:
    """(stored values, attributes that say how)."""
    if packing == "floats":
        return values.astype(np.float32), {"_FillValue": np.float32(-9e9)}
    highest = np.nanmax(values)
    if packing == "16 bits":
        factor, fill, dtype = highest / 30000, -32768, np.int16
    elif packing == "bytes":
        factor, fill, dtype = highest / 120, -1, np.int8
    else:
        factor, fill, dtype = highest / 240, -1, np.int8
    stored = np.where(np.isnan(values), fill % 256 if factor == highest / 240 else fill, 0)
    known = ~np.isnan(values)
    stored[known] = np.round(values[known] / factor)
    attributes = {"scale_factor": factor, "add_offset": 0.0, "_FillValue": dtype(fill)}
    if packing == "unsigned bytes of NetCDF-3":
        attributes["_Unsigned"] = "true"
        return stored.astype(np.uint8).view(np.int8), attributes
    return stored.astype(dtype), attributes


def values_in(unit: str) -> np.ndarray:
    factor = UNITS[unit][2]
    if factor is not None:
        return RATES * factor
    with np.errstate(divide="ignore"):
        return np.where(RATES == 0, -32.0, 10 * np.log10(200 * np.fmax(RATES, 1e-9) ** 1.6)) + (
            0 * RATES
        )


def dataset(dialect: Dialect) -> tuple[xarray.Dataset, dict]:
    """(a data set in that dialect, the settings that say what it does not)."""
    units, standard_name, _ = UNITS[dialect.unit]
    settings = dict(dialect.settings)
    values = values_in(dialect.unit)
    values = values[:: 1 if dialect.north else -1, :: -1 if dialect.east else 1]
    stored, attributes = packed(values, dialect.packing)
    (x, x_values, x_is), (y, y_values, y_is) = (coordinate(kind, dialect) for kind in "xy")
    attributes |= {"standard_name": standard_name, "units": units}
    dims = {"x": x, "y": y, "time": "time"}
    if dialect.names == "listed":
        dims |= {"x": "i", "y": "j"}
        attributes["coordinates"] = f"{y} {x}"
    if dialect.names == "settings":
        settings |= {"x": x, "y": y}
    order = [dims[one] for one in dialect.order.split()]
    sides = {dims["x"]: len(x_values), dims["y"]: len(y_values), "time": 1}
    plain = stored if order.index(dims["y"]) < order.index(dims["x"]) else stored.T
    variables, more = {}, {}
    if dialect.place == "pixels":
        grid = np.meshgrid(
            *(1000 * one if dialect.kilometres else one for one in (x_values, y_values))
        )
        for name, one in zip(("lon", "lat"), pyproj.Proj(CRS)(*grid, inverse=True)):
            variables[name] = ((dims["y"], dims["x"]), one, {"units": "degrees"})
    else:
        variables[x] = ((dims["x"],), x_values, x_is)
        variables[y] = ((dims["y"],), y_values, y_is)
    if dialect.place in ("mapping", "alone", "pixels"):
        variables["crs"] = ((), np.int32(0), LAEA_MAPPING)
    elif dialect.place == "WKT":
        variables["crs"] = ((), np.int32(0), {"spatial_ref": CRS.to_wkt()})
    elif dialect.place == "PROJ":
        variables["crs"] = ((), np.int32(0), {"proj4": LAEA})
    elif dialect.place == "global":
        more["proj_string"] = LAEA
    elif dialect.place == "setting":
        settings["crs"] = LAEA
    if "crs" in variables and dialect.place != "alone":
        attributes["grid_mapping"] = "crs"
    bounds = {"bounds": "time_bnds"} if dialect.unit == "mm" else {}
    on = ("time",) if "time" in order else ()
    seconds = np.int32(43500) if not on else np.int32([43500])
    variables["time"] = (on, seconds, {"units": "seconds since 2020-06-01", **bounds})
    if bounds:
        edges = np.int32([43200, 43500]).reshape((1,) * len(on) + (2,))
        variables["time_bnds"] = ((*on, "nv"), edges, {})
    variables["rain"] = (order, plain.reshape([sides[dim] for dim in order]), attributes)
    found = xarray.Dataset({name: xarray.Variable(*one) for name, one in variables.items()})
    return found.assign_attrs(more), settings


def write(path: Path, dialect: Dialect) -> dict:
    """A file or (suffix .zarr) a store of the data set; the settings that it needs."""
    found, settings = dataset(dialect)
    # every attribute as it stands: xarray would make of them what it thinks is right
    for variable in found.variables.values():
        fill = variable.attrs.pop("_FillValue", None)
        variable.encoding["_FillValue"] = fill
        variable.encoding["coordinates"] = None
        stated = variable.attrs.pop("coordinates", None)
        if stated:
            variable.encoding["coordinates"] = stated
    if path.suffix == ".zarr":
        found.to_zarr(path, zarr_format=2, consolidated=False)
    else:
        kind = "NETCDF3_64BIT" if path.suffix == ".nc3" else "NETCDF4"
        engine = "scipy" if path.suffix == ".nc3" else "h5netcdf"
        found.to_netcdf(path, format=kind, engine=engine)
    return settings


def read_the_same(path: Path, dialect: Dialect):
    """The field of a dialect, after it was found to be the same as in every other one."""
    settings = write(path, dialect)
    if settings:
        reader = (ZarrComposite if path.suffix == ".zarr" else CfNetcdf)(**settings)
    else:
        reader = Auto()
    frames = reader.read(path)
    shown = f"{dialect} {frames.remarks}"
    rough = 0.01 * np.nanmax(RATES) if "bytes" in dialect.packing else 1e-4 * np.nanmax(RATES)
    if dialect.unit == "dBZ":
        rough *= 3
    assert (np.isnan(frames.values[0]) == np.isnan(RATES)).all(), shown
    np.testing.assert_allclose(frames.values[0], RATES, atol=rough, rtol=0.02, err_msg=shown)
    assert frames.times.tolist() == [TIME.item()], shown
    x, y = (LON, LAT) if dialect.place == "degrees" else (X, Y)
    np.testing.assert_allclose(frames.grid.x, x, atol=0.01, err_msg=shown)
    np.testing.assert_allclose(frames.grid.y, y, atol=0.01, err_msg=shown)
    if dialect.place != "degrees":
        here = pyproj.Proj(pyproj.CRS(frames.grid.crs))(10.0, 55.0)
        np.testing.assert_allclose(here, (1950000, -2100000), atol=0.01, err_msg=shown)
    return frames


@pytest.mark.parametrize("names", NAMES)
@pytest.mark.parametrize("place", PLACES)
def test_every_combination_of_names_and_places_gives_the_same_field(tmp_path, names, place):
    random = np.random.default_rng([NAMES.index(names), PLACES.index(place)])
    suffixes = (".nc", ".nc3", ".zarr")
    if place == "pixels" and names in ("listed", "settings"):
        return  # there is nothing else to be listed or set
    for number, (north, east) in enumerate(product((True, False), repeat=2)):
        packings = [one for one in PACKINGS if one != "bytes"]
        dialect = Dialect(
            unit=str(random.choice([unit for unit in UNITS if unit != "dBZ"])),
            names=names,
            place=place,
            packing=str(random.choice(packings)),
            order=str(random.choice(ORDERS)),
            north=north,
            east=east,
            kilometres=bool(random.integers(2)),
        )
        frames = read_the_same(tmp_path / f"a{number}{suffixes[number % 3]}", dialect)
        if place in ("mapping", "WKT", "PROJ", "setting", "degrees"):
            assert frames.remarks == (), dialect


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("order", ORDERS)
def test_every_unit_gives_the_same_rates_in_every_order_of_axes_and_packing(tmp_path, unit, order):
    for number, packing in enumerate(PACKINGS):
        if unit == "dBZ" and packing != "floats":
            continue  # a step of half a dBZ is more than the test allows
        dialect = Dialect(unit=unit, order=order, packing=packing)
        read_the_same(tmp_path / f"a{number}.nc", dialect)


def test_zarr_takes_the_same_settings_and_says_its_own_name(tmp_path):
    path = tmp_path / "a.zarr"
    found, _ = dataset(Dialect(names="settings", place="setting"))
    for name in ("standard_name", "units"):
        del found["rain"].attrs[name]
    fill = found["rain"].attrs.pop("_FillValue")
    found["rain"].encoding["_FillValue"] = fill
    found.to_zarr(path, zarr_format=2, consolidated=False)
    with pytest.raises(
        UserError,
        match="These could be rain: rain.time 1, rows 3, columns 5. without units .lacks "
        "reader.units, reader.x, reader.y.. If one is, with reader=zarr_composite set reader.var",
    ):
        Auto().read(path)
    told = {"variable": "rain", "units": "mm/h", "crs": LAEA, "x": "columns", "y": "rows"}
    np.testing.assert_allclose(ZarrComposite(**told).read(path).values[0], RATES, rtol=1e-6)
