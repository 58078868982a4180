"""Which format a path stands for."""

import numpy as np
import pytest
from factories_fields import forecast, observed

from nowcast.output.netcdf import read_forecast
from nowcast.output.writers import ALL, WRITERS, writer_for
from nowcast.runtime.errors import UserError

FIELD = np.array([[[0.0, 2.5], [np.nan, 1.0]]], np.float32)


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("a.nc", "a.nc"),
        ("a.h5", "a_005min.h5"),
        ("a.HDF", "a_005min.HDF"),
        ("a.tif", "a.tif"),
        ("a.TIFF", "a.TIFF"),
    ],
)
def test_a_suffix_chooses_the_format_and_the_same_rates_come_back(tmp_path, name, written):
    paths = writer_for(tmp_path / name).write(
        forecast(FIELD), tmp_path / name, attributes={"model": "run 7"}
    )
    assert [path.name for path in paths] == [written]
    if name.endswith("nc"):
        values = read_forecast(paths[0]).values
    elif name.startswith("a.h") or name.startswith("a.H"):
        values = observed(paths[0]).values
    else:
        with pytest.importorskip("rasterio").open(paths[0]) as file:
            values = file.read(masked=True).filled(np.nan)
    np.testing.assert_array_equal(values, FIELD)


def test_every_suffix_has_one_writer_and_stands_in_this_test():
    assert sorted(WRITERS) == sorted(suffix for writer in ALL for suffix in writer.suffixes)
    assert sorted(WRITERS) == [".h5", ".hdf", ".nc", ".tif", ".tiff"]


@pytest.mark.parametrize("name", ["a", "a.grib", "a.nc.gz", ".nc"])
def test_other_suffixes_are_refused_with_those_that_are_accepted(name):
    with pytest.raises(
        UserError,
        match=r"a forecast can be written as \.nc \(NetCDF\), \.h5 or \.hdf \(ODIM_H5\), \.tif "
        r"or \.tiff \(GeoTIFF\)",
    ):
        writer_for(name)


@pytest.mark.parametrize("name", ["a.h5", "a.hdf", "a.TIF", "a.tiff"])
def test_members_are_refused_where_the_format_has_no_place_for_them(name):
    assert writer_for(name) and writer_for("a.nc", members=3)
    with pytest.raises(
        UserError, match=r"members=3 cannot be written as \.\w+; give output=FILE\.nc, or members=0"
    ):
        writer_for(name, members=3)
