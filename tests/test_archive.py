"""What goes into an archive comes out of it: every bit, in time order, and whatever is odd is
refused.
"""

import multiprocessing
import os
import pickle

import h5py
import numpy as np
import pyproj
import pytest
import xarray
from factories import LAEA, complaints, grid, one_file_each, times, write_archive, write_odim

from nowcast.data.archive import Archive, is_archive
from nowcast.data.conversion import convert
from nowcast.runtime.errors import UserError
from nowcast.types.frames import Grid

NAN = np.nan
THREE = np.float32(
    [[[0, 0.1, NAN], [1, 2, 3]], [[0, 0, NAN], [4, 5, 6]], [[7, 8, 9], [0.3, NAN, NAN]]]
)


def test_values_times_and_grid_come_back_as_they_went_in(tmp_path):
    with Archive(write_archive(tmp_path / "a.nc", THREE, (0, 5, 15))) as archive:
        np.testing.assert_array_equal(archive.read(0, 3), THREE)
        assert list(archive.times) == list(times(0, 5, 15))
        assert archive.shape == (3, 2, 3) and len(archive) == 3
        assert archive.grid.difference(grid(2, 3)) is None


def test_a_part_of_some_frames_is_that_part(tmp_path):
    archive = Archive(write_archive(tmp_path / "a.nc", THREE, (0, 5, 15)))
    np.testing.assert_array_equal(
        archive.read(1, 3, rows=slice(1, 2), columns=slice(0, 2)),
        [[[4, 5]], [[np.float32(0.3), NAN]]],
    )
    frames = archive.frames(1, 2)
    np.testing.assert_array_equal(frames.values, THREE[1:2])
    assert list(frames.times) == list(times(5)) and frames.source.endswith("a.nc")


def test_xarray_reads_the_same_bits_with_missing_masked_and_utc_times(tmp_path):
    dataset = xarray.open_dataset(
        write_archive(tmp_path / "a.nc", THREE, (0, 5, 15)), engine="h5netcdf"
    )
    np.testing.assert_array_equal(dataset.rainfall_rate.values, THREE)
    np.testing.assert_array_equal(dataset.time.values, times(0, 5, 15))
    assert dataset.rainfall_rate.dtype == np.float32
    assert (
        dataset.rainfall_rate.attrs["units"] == "mm h-1"
        and dataset.rainfall_rate.attrs["standard_name"] == "rainfall_rate"
    )
    assert (
        list(dataset.y.values) == [-500, -1500]
        and dataset.y.attrs["standard_name"] == "projection_y_coordinate"
    )
    assert pyproj.CRS.from_cf(
        dataset[dataset.rainfall_rate.attrs["grid_mapping"]].attrs
    ) == pyproj.CRS(grid().crs)
    assert list(dataset.source.values) == ["0.h5", "1.h5", "2.h5"]
    assert np.isnan(dataset.rainfall_rate.encoding["_FillValue"])


def test_a_grid_in_degrees_has_longitudes_and_latitudes(tmp_path):
    degrees = Grid("EPSG:4326", [5.0, 5.1], [52.1, 52.0])
    convert(["0.h5"], tmp_path / "a.nc", reader=one_file_each(np.zeros((1, 2, 2)), [0], on=degrees))
    dataset = xarray.open_dataset(tmp_path / "a.nc", engine="h5netcdf")
    assert [dataset.x.attrs["units"], dataset.y.attrs["standard_name"]] == [
        "degrees_east",
        "latitude",
    ]
    assert Archive(tmp_path / "a.nc").grid.crs == "EPSG:4326"


def test_metadata_are_checksummed_and_chunks_are_parts_of_one_frame(tmp_path):
    path = write_archive(tmp_path / "a.nc", np.zeros((2, 300, 200), np.float32), (0, 5))
    with h5py.File(path) as file:
        assert path.read_bytes()[8] >= 2  # superblock version; 0 and 1 have no checksum
        assert file["rainfall_rate"].chunks == (1, 60, 50)  # 5 x 4 tiles, none larger than 64 x 64
        assert file["rainfall_rate"].compression == "gzip" and file["rainfall_rate"].maxshape == (
            None,
            300,
            200,
        )


def test_an_archive_is_recognised_by_its_content(tmp_path):
    (tmp_path / "text.nc").write_text("CDF")
    paths = [
        write_archive(tmp_path / "a.bin", THREE, (0, 5, 15)),
        write_odim(tmp_path / "b.h5", [[1.0]]),
        tmp_path / "text.nc",
        tmp_path / "none.nc",
    ]
    assert [is_archive(path) for path in paths] == [True, False, False, False]


def test_other_files_and_other_versions_are_refused_by_name(tmp_path):
    with pytest.raises(
        UserError,
        match="b.h5 is no archive, but one of version 2 is needed; make it with `nowcast convert`",
    ):
        Archive(write_odim(tmp_path / "b.h5", [[1.0]]))
    path = write_archive(tmp_path / "a.nc", THREE, (0, 5, 15))
    with h5py.File(path, "a") as file:
        file.attrs["nowcast_archive_version"] = 3
    with pytest.raises(
        UserError,
        match="a.nc is an archive of version 3, made by a newer nowcast; this one reads up to "
        "version 2: update nowcast",
    ):
        Archive(path)


def test_times_out_of_order_are_refused(tmp_path):
    path = write_archive(tmp_path / "a.nc", THREE, (0, 5, 15))
    with h5py.File(path, "a") as file:
        file["time"][2] = 0
    with pytest.raises(
        UserError, match="a.nc is damaged: .*ascending: False; convert the radar files again"
    ):
        Archive(path)


def test_a_truncated_archive_and_a_damaged_frame_are_refused(tmp_path):
    path = write_archive(
        tmp_path / "a.nc",
        np.random.default_rng(0).random((3, 64, 64)).astype(np.float32),
        (0, 5, 10),
    )
    with h5py.File(path) as file:
        place = file["rainfall_rate"].id.get_chunk_info(1).byte_offset
    whole = path.read_bytes()
    path.write_bytes(whole[: place + 100] + b"\xff" * 50 + whole[place + 150 :])
    archive = Archive(path)
    assert archive.read(0, 1).shape == (1, 64, 64)
    with pytest.raises(UserError, match="a.nc is damaged or cut short"):
        archive.read(1, 2)
    (tmp_path / "cut.nc").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="cut.nc is damaged or cut short"):
        Archive(tmp_path / "cut.nc")


def test_frames_that_are_not_there_are_refused(tmp_path):
    archive = Archive(write_archive(tmp_path / "a.nc", THREE, (0, 5, 15)))
    for start, stop in ((0, 4), (-1, 2), (2, 2)):
        with pytest.raises(
            UserError,
            match=f"frames {start} to {stop} were asked for, but .*a.nc has frames 0 to 3",
        ):
            archive.read(start, stop)


def test_an_archive_replaced_while_in_use_is_refused_instead_of_mixed(tmp_path):
    path = write_archive(tmp_path / "a.nc", THREE, (0, 5, 15))
    archive = Archive(path)
    write_archive(path, THREE[::-1], (0, 5, 15))
    with pytest.raises(UserError, match="a.nc was replaced while it was in use; start again"):
        archive.read(0, 1)
    path.unlink()
    with pytest.raises(UserError, match="a.nc cannot be read: No such file"):
        archive.read(0, 1)


def test_an_archive_in_another_layout_is_read_too(tmp_path):
    path = write_archive(tmp_path / "a.nc", THREE, (0, 5, 15))
    with h5py.File(
        path, "a"
    ) as file:  # as archives were written before, but with all frames in one chunk
        attributes = dict(file["rainfall_rate"].attrs)
        del file["rainfall_rate"]
        values = file.create_dataset(
            "rainfall_rate",
            data=THREE,
            chunks=(3, 2, 3),
            compression="gzip",
            compression_opts=4,
            shuffle=True,
        )
        values.attrs.update({name: attributes[name] for name in ("units", "standard_name")})
    np.testing.assert_array_equal(Archive(path).read(1, 3, columns=slice(1, 3)), THREE[1:3, :, 1:3])


def test_a_pickled_archive_reads_the_same_and_carries_no_open_file(tmp_path):
    archive = Archive(write_archive(tmp_path / "a.nc", THREE, (0, 5, 15)))
    archive.read(0, 1)
    again = pickle.loads(pickle.dumps(archive))
    assert again._file is None and archive._file is not None
    np.testing.assert_array_equal(again.read(2, 3), THREE[2:])


def read_in_child(archive, queue):
    inherited = archive._file._file
    queue.put((archive.read(1, 2).tolist(), bool(inherited), archive._process == os.getpid()))


def test_a_forked_process_opens_the_file_anew_and_the_parent_reads_on(tmp_path):
    archive = Archive(write_archive(tmp_path / "a.nc", np.nan_to_num(THREE), (0, 5, 15)))
    archive.read(0, 1)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=read_in_child, args=(archive, queue))
    child.start()
    values, inherited_still_open, own = queue.get(timeout=60)
    child.join()
    assert (inherited_still_open, own) == (False, True)
    np.testing.assert_array_equal(values, np.nan_to_num(THREE[1:2]))
    np.testing.assert_array_equal(archive.read(2, 3), np.nan_to_num(THREE[2:]))


def test_a_flipped_digit_in_the_projection_is_refused_instead_of_moving_the_grid(tmp_path):
    path = write_archive(tmp_path / "a.nc", THREE, (0, 5, 15))
    content = path.read_bytes()
    assert content.count(b"+lat_0=55.0") == 1
    path.write_bytes(content.replace(b"+lat_0=55.0", b"+lat_0=55.4"))
    with pytest.raises(UserError, match="a.nc is damaged or cut short"):
        Archive(path)


@pytest.mark.parametrize(
    "crs",
    [
        "+proj=stere +lat_0=90 +lat_ts=60 +lon_0=10 +R=6370040 +units=m",
        LAEA,
        "EPSG:4326",
        "EPSG:3035",
        "EPSG:2154",
    ],
)
def test_the_cf_checker_finds_no_error_in_an_archive(tmp_path, crs):
    degrees = crs == "EPSG:4326"
    place = (
        Grid(crs, [5.0, 5.1], [52.1, 52.0])
        if degrees
        else Grid(crs, [500.0, 1500.0], [-500.0, -1500.0])
    )
    reader = one_file_each(np.zeros((2, 2, 2)), (0, 5), on=place)
    convert(["0.h5", "1.h5"], tmp_path / "a.nc", reader=reader)
    assert complaints(tmp_path / "a.nc") == {"high": [], "medium": []}


def test_a_grid_in_kilometres_says_so_and_reads_back(tmp_path):
    place = Grid(
        "+proj=stere +lat_0=90 +lat_ts=60 +a=6378.137 +b=6356.752 +units=km",
        [0.5, 1.5],
        [-3650.5, -3651.5],
    )
    convert(["0.h5"], tmp_path / "a.nc", reader=one_file_each(np.zeros((1, 2, 2)), [0], on=place))
    assert xarray.open_dataset(tmp_path / "a.nc", engine="h5netcdf").x.attrs["units"] == "km"
    assert Archive(tmp_path / "a.nc").grid.difference(place) is None
