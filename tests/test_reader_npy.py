"""NumPy's files are read to what their header claims, never unpickled, and refused before memory is
taken.
"""

import io
import zipfile

import numpy as np
import pytest

from nowcast.readers.npy import NpyArray, member, member_names, zip_of_arrays
from nowcast.runtime.errors import UserError


def stream(array, **changes):
    content = io.BytesIO()
    np.lib.format.write_array(content, array, allow_pickle=True)
    content = content.getvalue()
    for old, new in changes.get("replaced", ()):
        assert old in content
        content = content.replace(old, new)
    return io.BytesIO(content)


@pytest.mark.parametrize("kind", [np.uint8, ">i2", np.int64, np.float16, ">f8"])
@pytest.mark.parametrize("order", "CF")
def test_numbers_of_any_type_and_order_come_as_numpy_reads_them(kind, order):
    array = np.asarray(np.arange(24).reshape(2, 3, 4), dtype=kind, order=order)
    np.testing.assert_array_equal(NpyArray(stream(array), "a.npy").read(), array)


def test_frames_come_one_by_one():
    array = np.arange(24).reshape(2, 3, 4)
    found = list(NpyArray(stream(array), "a.npy").frames())
    assert len(found) == 2 and (found[0] == array[0]).all() and (found[1] == array[1]).all()
    with pytest.raises(
        UserError, match="a.npy has 2 axes; 3 .time, row, column. in C order are needed"
    ):
        next(NpyArray(stream(array[0]), "a.npy").frames())


@pytest.mark.parametrize(
    "array, replaced, message",
    [
        (
            np.array([{}], dtype=object),
            (),
            "a.npy contains values of type object; plain numbers are needed",
        ),
        (np.array(["x"]), (), "a.npy contains values of type <U1; plain numbers are needed"),
        (np.array([1j]), (), "a.npy contains values of type complex128; plain numbers are needed"),
        (np.zeros((0, 3)), (), "a.npy claims 0x3 values; 1 to 268435456 in a frame"),
        (np.zeros((1, 3)), [(b"(1, 3)", b"(-1,3)")], "a.npy claims -1x3 values"),
        (
            np.zeros((1, 3)),
            [(b"(1, 3), }      ", b"(99999,99999)} ")],
            "a.npy claims 99999x99999 values",
        ),
        (
            np.zeros((1, 1, 3)),
            [(b"(1, 1, 3), }      ", b"(999999,999,999)} ")],
            "a.npy claims 999999x999x999 values; .* to 2147483648 in all are accepted",
        ),
        (
            np.zeros((1, 3)),
            [(b"(1, 3)", b"(1, 4)")],
            "a.npy is cut short: it contains 24 of 32 bytes",
        ),
        (np.zeros((1, 3)), [(b"(1, 3)", b"(1, 2)")], "a.npy contains more than the 16 bytes"),
        (
            np.zeros((1, 3)),
            [(b"NUMPY\x01", b"NUMPY\x02")],
            "a.npy is of NumPy format 2.0; 1.0 is needed",
        ),
        (np.zeros((1, 3)), [(b"NUMPY", b"NUMPX")], "a.npy is damaged or cut short"),
        (np.zeros((1, 3)), [(b"(1, 3), }", b"(1, 3     ")], "a.npy is damaged or cut short"),
        (np.zeros((1, 3)), [(b"(1, 3)", b"open()")], "a.npy is damaged or cut short"),
    ],
)
def test_a_header_that_claims_something_else_is_refused(array, replaced, message):
    with pytest.raises(UserError, match=message):
        NpyArray(stream(array, replaced=replaced), "a.npy").read()


def test_a_member_is_found_by_name_and_a_missing_one_is_told(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", rain=np.arange(6.0).reshape(2, 3), other=np.zeros(1))
    with zip_of_arrays(tmp_path / "a.npz") as archive, member(archive, "rain") as array:
        assert array.shape == (2, 3) and array.read().tolist() == [[0, 1, 2], [3, 4, 5]]
    assert member_names(tmp_path / "a.npz") == {"rain", "other"} and member_names(tmp_path) == set()
    with (
        pytest.raises(UserError, match="a.npz has no array 'snow'; it contains other, rain"),
        zip_of_arrays(tmp_path / "a.npz") as archive,
        member(archive, "snow"),
    ):
        pass


def test_a_damaged_or_encrypted_zip_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, rain=np.arange(1000.0))
    whole = bytearray(path.read_bytes())
    for place, value, message in (
        (100, whole[100] ^ 255, "a.npz"),
        (6, 1, "a.npz is encrypted .*; unpack it with its password first"),
    ):
        damaged = whole.copy()
        damaged[place] = value
        if place == 6:  # the flag of encryption, also in the directory
            damaged[damaged.index(b"PK\x01\x02") + 8] = value
        path.write_bytes(damaged)
        with (
            pytest.raises(UserError, match=message),
            zip_of_arrays(path) as archive,
            member(archive, "rain") as array,
        ):
            array.read()
    path.write_bytes(b"no radar data")
    with (
        pytest.raises(
            UserError, match="a.npz is not a .npz file, but a text that begins 'no radar data'"
        ),
        zip_of_arrays(path),
    ):
        pass
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("rain.npy", b"")
    damaged = bytearray(path.read_bytes())
    damaged[damaged.index(b"PK\x01\x02") + 10] = damaged[8] = 99  # a compression nobody knows
    path.write_bytes(damaged)
    with (
        pytest.raises(
            UserError, match="a.npz is packed in a way that is not known here, or damaged"
        ),
        zip_of_arrays(path) as archive,
        member(archive, "rain"),
    ):
        pass


def test_a_zip_bomb_is_refused_by_what_it_claims_and_raw_bytes_have_a_limit(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("rain.npy", stream(np.zeros((1, 3))).getvalue() + bytes(2**24))
    with zip_of_arrays(tmp_path / "a.npz") as archive:
        with (
            member(archive, "rain") as array,
            pytest.raises(UserError, match="rain contains more than the 24 bytes"),
        ):
            array.read()
        with (
            member(archive, "rain") as array,
            pytest.raises(UserError, match="rain is over 1000 bytes long"),
        ):
            array.raw(1000)
