"""Classic NetCDF of all three variants: what its header says and where its values lie, as the NetCDF
library writes them.
"""

import struct

import numpy as np
import pytest

from nowcast.readers.netcdf_classic import classic_source
from nowcast.runtime.errors import UserError

VARIANTS = ["NETCDF3_CLASSIC", "NETCDF3_64BIT_OFFSET", "NETCDF3_64BIT_DATA"]
TYPES = {"NETCDF3_64BIT_DATA": "i1 i2 i4 i8 u1 u2 u4 u8 f4 f8"}


def written(path, kind, *, records=3, types=None):
    """A file of each type with records and without, and what is in it by name."""
    netcdf, expected = pytest.importorskip("netCDF4"), {}
    random = np.random.default_rng(0)
    with netcdf.Dataset(path, "w", format=kind) as file:
        file.setncatts({"title": "three words here", "number": 2.5, "row": np.int32([1, 2, 3])})
        file.createDimension("time", None)
        file.createDimension("y", 3)
        file.createDimension("x", 5)
        for dtype in (types or TYPES.get(kind, "i1 i2 i4 f4 f8")).split():
            for name, dims, shape in (
                (f"{dtype}_series", ("time", "y", "x"), (records, 3, 5)),
                (f"{dtype}_map", ("y", "x"), (3, 5)),
                (f"{dtype}_one", (), ()),
            ):
                values = random.integers(0, 100, shape).astype(dtype)
                variable = file.createVariable(name, dtype, dims)
                variable.units = f"of {name}"
                variable[...] = values
                expected[name] = values
    return expected


@pytest.mark.parametrize("kind", VARIANTS)
@pytest.mark.parametrize("types", [None, "i1", "i2"])  # one alone has records that are not padded
def test_every_variable_is_as_the_library_wrote_it_whole_and_in_parts(tmp_path, kind, types):
    path = tmp_path / "a.nc"
    expected = written(path, kind, types=types)
    with classic_source(path) as source:
        assert source.attributes["title"] == "three words here"
        assert source.attributes["number"] == 2.5
        assert source.attributes["row"].tolist() == [1, 2, 3]
        assert source.variables.keys() == expected.keys()
        for name, values in expected.items():
            found = source.variables[name]
            assert (found.shape, found.dtype) == (values.shape, values.dtype)
            assert found.text("units") == f"of {name}"
            whole = (slice(None),) * values.ndim
            np.testing.assert_array_equal(found.read(whole, True), values)
            if values.ndim:
                index = (1, *whole[1:-1], slice(1, 3))
                np.testing.assert_array_equal(found.read(index, True), values[index])
                index = (slice(1, 2), *whole[1:-1], 4)
                np.testing.assert_array_equal(found.read(index, True), values[index])


def test_the_number_of_records_follows_from_the_length_where_a_writer_had_not_ended(tmp_path):
    path = tmp_path / "a.nc"
    expected = written(path, "NETCDF3_CLASSIC")
    content = bytearray(path.read_bytes())
    content[4:8] = b"\xff" * 4
    path.write_bytes(content)
    with classic_source(path) as source:
        found = source.variables["f4_series"]
        assert found.shape == (3, 3, 5)
        index = (slice(None),) * 3
        np.testing.assert_array_equal(found.read(index, True), expected["f4_series"])


def test_values_behind_the_end_of_the_file_are_refused(tmp_path):
    path = tmp_path / "a.nc"
    written(path, "NETCDF3_CLASSIC")
    path.write_bytes(path.read_bytes()[:-100])
    with (
        classic_source(path) as source,
        pytest.raises(UserError, match="f8_series is damaged or cut short: it ends at byte "),
    ):
        source.variables["f8_series"].read((2, slice(None), slice(None)), True)


NAME = struct.pack(">I", 1) + b"a\0\0\0"


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (struct.pack(">3I", 0, 10, 2**30), "has a list of the kind 10 with 1073741824 elements"),
        (struct.pack(">3I", 0, 99, 1), "has a list of the kind 99 with 1 elements"),
        (struct.pack(">4I", 0, 10, 1, 2**31), "has a name of 2147483648 bytes"),
        (struct.pack(">4I", 0, 10, 1, 4) + b"a\nb\0", r"has the name 'a.nb.x00'"),
        (struct.pack(">5I", 0, 0, 0, 12, 1) + NAME + struct.pack(">2I", 99, 1), "has a type 99"),
        (
            struct.pack(">5I", 0, 0, 0, 12, 1) + NAME + struct.pack(">2I", 6, 2**31),
            "has an attribute a of 2147483648 values",
        ),
        (
            struct.pack(">7I", 0, 0, 0, 0, 0, 11, 1) + NAME + struct.pack(">I", 1000),
            "has a variable a of 1000 dimensions",
        ),
        (
            struct.pack(">7I", 0, 0, 0, 0, 0, 11, 1) + NAME + struct.pack(">2I", 1, 7),
            "names dimensions of a that are not there",
        ),
        (struct.pack(">2I", 0, 10), "claims 4 bytes behind byte 12"),
    ],
)
def test_a_header_that_claims_what_cannot_be_is_refused(tmp_path, header, message):
    path = tmp_path / "a.nc"
    path.write_bytes(b"CDF\x01" + header)
    with pytest.raises(UserError, match=message), classic_source(path):
        pass
