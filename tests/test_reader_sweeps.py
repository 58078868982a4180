"""Sweeps in NetCDF are refused by name, with the tools that make a map of them."""

import numpy as np
import pytest
import xarray

from nowcast.readers.auto import Auto
from nowcast.readers.cf_netcdf import CfNetcdf
from nowcast.runtime.errors import UserError
from tests.factories_cf import write_cf


def write_sweeps(path, *, attributes, form="NETCDF4"):
    reflectivity = xarray.DataArray(
        np.zeros((4, 5), np.float32),
        dims=("time", "range"),
        attrs={"standard_name": "equivalent_reflectivity_factor", "units": "dBZ"},
    )
    data = xarray.Dataset({"DBZ": reflectivity}, attrs=attributes)
    engine = "scipy" if form.startswith("NETCDF3") else "h5netcdf"
    data.to_netcdf(path, engine=engine)
    return path


@pytest.mark.parametrize("form", ["NETCDF4", "NETCDF3"])
@pytest.mark.parametrize(
    "attributes",
    [
        {"Conventions": "CF/Radial instrument_parameters"},
        {"Conventions": "CF-1.6 Cf/Radial-2.0"},
        {"DataType": "RadialSet"},
    ],
)
def test_sweeps_are_refused_with_the_tools_that_make_a_map_of_them(tmp_path, attributes, form):
    path = write_sweeps(tmp_path / "a.nc", attributes=attributes, form=form)
    for reader in (Auto(), CfNetcdf()):
        assert not reader.recognises(path)
        with pytest.raises(UserError, match="a.nc contains sweeps of a radar in polar coordinates"):
            reader.read(path)


def test_a_map_is_none(tmp_path):
    assert CfNetcdf().recognises(write_cf(tmp_path / "a.nc", [[[1.0]]]))
