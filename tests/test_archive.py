"""What goes into an archive comes out of it: every bit, in time order, and whatever is odd is refused."""

import multiprocessing
import os
import pickle
from pathlib import Path

import h5py
import numpy as np
import pyproj
import pytest
import xarray
from factories import MemoryReader, grid, one_file_each, shared_data, times, write_archive, write_odim

from nowcast.data import archive as archive_module
from nowcast.data.archive import Archive, convert, expand_inputs, info, is_archive, read_frames
from nowcast.data.readers.auto import Auto
from nowcast.errors import UserError
from nowcast.frames import Frames, Grid

NAN = np.nan
THREE = np.float32([[[0, 0.1, NAN], [1, 2, 3]], [[0, 0, NAN], [4, 5, 6]], [[7, 8, 9], [0.3, NAN, NAN]]])


def test_values_times_and_grid_come_back_as_they_went_in(tmp_path):
    with Archive(write_archive(tmp_path / "a.nc", THREE, (0, 5, 15))) as archive:
        np.testing.assert_array_equal(archive.read(0, 3), THREE)
        assert list(archive.times) == list(times(0, 5, 15))
        assert archive.shape == (3, 2, 3) and len(archive) == 3
        assert archive.grid.difference(grid(2, 3)) is None


def test_a_part_of_some_frames_is_that_part(tmp_path):
    archive = Archive(write_archive(tmp_path / "a.nc", THREE, (0, 5, 15)))
    np.testing.assert_array_equal(archive.read(1, 3, rows=slice(1, 2), columns=slice(0, 2)), [[[4, 5]], [[np.float32(0.3), NAN]]])
    frames = archive.frames(1, 2)
    np.testing.assert_array_equal(frames.values, THREE[1:2])
    assert list(frames.times) == list(times(5)) and frames.source.endswith("a.nc")


def test_xarray_reads_the_same_bits_with_missing_masked_and_utc_times(tmp_path):
    dataset = xarray.open_dataset(write_archive(tmp_path / "a.nc", THREE, (0, 5, 15)), engine="h5netcdf")
    np.testing.assert_array_equal(dataset.rainfall_rate.values, THREE)
    np.testing.assert_array_equal(dataset.time.values, times(0, 5, 15))
    assert dataset.rainfall_rate.dtype == np.float32
    assert dataset.rainfall_rate.attrs["units"] == "mm h-1" and dataset.rainfall_rate.attrs["standard_name"] == "rainfall_rate"
    assert list(dataset.y.values) == [-500, -1500] and dataset.y.attrs["standard_name"] == "projection_y_coordinate"
    assert pyproj.CRS.from_cf(dataset[dataset.rainfall_rate.attrs["grid_mapping"]].attrs) == pyproj.CRS(grid().crs)
    assert list(dataset.source.values) == ["0.h5", "1.h5", "2.h5"]
    assert np.isnan(dataset.rainfall_rate.encoding["_FillValue"])


def test_a_grid_in_degrees_has_longitudes_and_latitudes(tmp_path):
    degrees = Grid("EPSG:4326", [5.0, 5.1], [52.1, 52.0])
    convert(["0.h5"], tmp_path / "a.nc", reader=one_file_each(np.zeros((1, 2, 2)), [0], on=degrees))
    dataset = xarray.open_dataset(tmp_path / "a.nc", engine="h5netcdf")
    assert [dataset.x.attrs["units"], dataset.y.attrs["standard_name"]] == ["degrees_east", "latitude"]
    assert Archive(tmp_path / "a.nc").grid.crs == "EPSG:4326"


def test_metadata_are_checksummed_and_chunks_are_parts_of_one_frame(tmp_path):
    path = write_archive(tmp_path / "a.nc", np.zeros((2, 300, 200), np.float32), (0, 5))
    with h5py.File(path) as file:
        assert path.read_bytes()[8] >= 2  # superblock version; 0 and 1 have no checksum
        assert file["rainfall_rate"].chunks == (1, 60, 50)  # 5 x 4 tiles, none larger than 64 x 64
        assert file["rainfall_rate"].compression == "gzip" and file["rainfall_rate"].maxshape == (None, 300, 200)


def contents(path):
    with h5py.File(path) as file:
        return [file[name][()].tobytes() for name in ("time", "y", "x", "rainfall_rate")] + [file["source"].asstr()[()].tolist()]


def test_files_in_any_order_give_the_same_content_to_the_byte(tmp_path):
    values = np.random.default_rng(2).random((6, 2, 3)).astype(np.float32)
    reader = one_file_each(values, (0, 5, 10, 20, 25, 30))
    names = [f"{i}.h5" for i in range(6)]
    expected = None
    for number, order in enumerate([names, names[::-1], [names[i] for i in (3, 0, 5, 1, 4, 2)], [*names, "2.h5"]]):
        summary = convert(order, tmp_path / f"{number}.nc", reader=reader)
        expected = expected or contents(tmp_path / f"{number}.nc")
        assert contents(tmp_path / f"{number}.nc") == expected
        assert (summary.frames, summary.start, summary.end) == (6, times(0)[0], times(30)[0])
    assert summary.duplicates == 1 and str(summary).endswith("6 frames, 2020-06-01T00:00:00 to 2020-06-01T00:30:00 UTC, 1 that came twice left out")
    assert sorted(os.listdir(tmp_path)) == ["0.nc", "1.nc", "2.nc", "3.nc"]


def test_real_files_shuffled_give_the_frames_of_the_reader(tmp_path):
    paths = expand_inputs(shared_data() / "radar/knmi/20100826/*.h5")[:6]
    convert([paths[i] for i in (4, 1, 0, 5, 3, 2)], tmp_path / "a.nc", reader=Auto())
    archive = Archive(tmp_path / "a.nc")
    for index, path in enumerate(paths):
        frame = Auto().read(path)
        np.testing.assert_array_equal(archive.read(index, index + 1), frame.values)
        assert archive.times[index] == frame.times[0] and archive.grid.difference(frame.grid) is None


def test_progress_counts_the_files(tmp_path):
    seen = []
    convert(["0.h5", "1.h5"], tmp_path / "a.nc", reader=one_file_each(THREE[:2], (0, 5)), progress=lambda *numbers: seen.append(numbers))
    assert seen == [(1, 2), (2, 2)]


def two_files(first: Frames, second: Frames) -> MemoryReader:
    return MemoryReader({"a.h5": first, "b.h5": second})


def test_two_different_frames_of_one_time_are_refused_and_nothing_is_written(tmp_path):
    reader = two_files(Frames(THREE[:1], times(0), grid()), Frames(THREE[1:2], times(0), grid()))
    with pytest.raises(UserError, match="a.h5 and b.h5 both hold a frame of 2020-06-01T00:00:00 UTC, with different values"):
        convert(["a.h5", "b.h5"], tmp_path / "out.nc", reader=reader)
    with pytest.raises(UserError, match="a.h5 and b.h5 both hold a frame"):
        read_frames(["a.h5", "b.h5"], reader=reader)
    assert os.listdir(tmp_path) == []


CHANGED = {
    "2x2 cells against 2x3|2x3 cells against 2x2": grid(2, 2),
    "x from 500 to 2500 against 1500 to 3500": grid(left=1000.0),
    "projection .* against EPSG:3035": Grid("EPSG:3035", grid().x, grid().y),
}


@pytest.mark.parametrize("difference", CHANGED)
def test_a_change_of_grid_is_refused_with_the_difference_and_the_file(tmp_path, difference):
    other = CHANGED[difference]
    reader = two_files(Frames(THREE[:1], times(0), grid()), Frames(np.zeros((1, *other.shape)), times(5), other))
    for attempt in (lambda: convert(["a.h5", "b.h5"], tmp_path / "o.nc", reader=reader), lambda: read_frames(["a.h5", "b.h5"], reader=reader)):
        with pytest.raises(UserError, match=f"b.h5 has another grid than a.h5: ({difference})"):
            attempt()


def test_no_files_are_refused():
    with pytest.raises(UserError, match="there are no radar files to convert"):
        convert([], "a.nc", reader=Auto())
    with pytest.raises(UserError, match="there are no radar files to read"):
        read_frames([], reader=Auto())


def test_a_radar_file_is_never_overwritten_by_the_archive(tmp_path):
    path = write_odim(tmp_path / "a.h5", [[1.0]])
    before = path.read_bytes()
    with pytest.raises(UserError, match="a.h5 is one of the radar files; give the archive another path"):
        convert([path], tmp_path / "." / "a.h5", reader=Auto())
    assert path.read_bytes() == before


def test_a_failed_conversion_leaves_the_old_archive_as_it_was(tmp_path):
    path = write_archive(tmp_path / "a.nc", THREE, (0, 5, 15))
    (tmp_path / "bad.h5").write_text("nonsense")
    before = path.read_bytes()
    with pytest.raises(UserError, match="bad.h5 is not an HDF5 file"):
        convert([tmp_path / "bad.h5"], path, reader=Auto())
    assert path.read_bytes() == before and sorted(os.listdir(tmp_path)) == ["a.nc", "bad.h5"]


def test_a_full_disk_is_reported_by_the_name_of_the_archive(tmp_path, monkeypatch):
    def full(self, *_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(archive_module._Writer, "append", full)
    with pytest.raises(UserError, match="a.nc could not be written: .*No space left on device"):
        write_archive(tmp_path / "a.nc", THREE, (0, 5, 15))
    assert os.listdir(tmp_path) == []


def test_an_archive_is_recognised_by_its_content(tmp_path):
    (tmp_path / "text.nc").write_text("CDF")
    paths = [write_archive(tmp_path / "a.bin", THREE, (0, 5, 15)), write_odim(tmp_path / "b.h5", [[1.0]]), tmp_path / "text.nc", tmp_path / "none.nc"]
    assert [is_archive(path) for path in paths] == [True, False, False, False]


def test_other_files_and_other_versions_are_refused_by_name(tmp_path):
    with pytest.raises(UserError, match="b.h5 is no archive, but one of version 1 is needed; make it with `nowcast convert`"):
        Archive(write_odim(tmp_path / "b.h5", [[1.0]]))
    path = write_archive(tmp_path / "a.nc", THREE, (0, 5, 15))
    with h5py.File(path, "a") as file:
        file.attrs["nowcast_archive_version"] = 2
    with pytest.raises(UserError, match="a.nc is an archive of version 2, but one of version 1"):
        Archive(path)


def test_times_out_of_order_are_refused(tmp_path):
    path = write_archive(tmp_path / "a.nc", THREE, (0, 5, 15))
    with h5py.File(path, "a") as file:
        file["time"][2] = 0
    with pytest.raises(UserError, match="a.nc is damaged: .*ascending: False; convert the radar files again"):
        Archive(path)


def test_a_truncated_archive_and_a_damaged_frame_are_refused(tmp_path):
    path = write_archive(tmp_path / "a.nc", np.random.default_rng(0).random((3, 64, 64)).astype(np.float32), (0, 5, 10))
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
        with pytest.raises(UserError, match=f"frames {start} to {stop} were asked for, but .*a.nc holds frames 0 to 3"):
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
    with h5py.File(path, "a") as file:  # as archives were written before, but with all frames in one chunk
        attributes = dict(file["rainfall_rate"].attrs)
        del file["rainfall_rate"]
        values = file.create_dataset("rainfall_rate", data=THREE, chunks=(3, 2, 3), compression="gzip", compression_opts=4, shuffle=True)
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


def test_info_counts_missing_and_raining_pixels_and_names_the_gap(tmp_path):
    lines = info(write_archive(tmp_path / "a.nc", THREE, (0, 5, 15))).splitlines()
    text = "\n".join(lines)
    assert "frames   3" in lines and "period   2020-06-01T00:00:00 to 2020-06-01T00:15:00 UTC" in lines
    assert "cadence  5 min (1 of 2 steps)" in lines
    assert "gaps     1\n         2020-06-01T00:05:00 to 2020-06-01T00:15:00: 10 min" in text
    assert "missing  22.22 % of the pixels" in lines  # 4 of 18
    assert "raining  78.57 % of the observed pixels (>= 0.1 mm/h)" in lines  # 11 of 14
    assert "maximum  9.00 mm/h" in lines
    assert "grid     2 x 3 cells of 1000 x 1000 metre" in text


def test_info_of_one_frame_without_a_single_observation(tmp_path):
    lines = info(write_archive(tmp_path / "a.nc", np.full((1, 2, 3), NAN), [0])).splitlines()
    assert {"cadence  one frame only", "missing  100.00 % of the pixels", "raining  nothing was observed", "maximum  nothing was observed"} <= set(lines)


def test_info_lists_20_of_30_gaps_and_counts_the_rest(tmp_path):
    minutes = [15 * (i // 3) * 2 + 5 * (i % 3) for i in range(93)]  # three frames, then a pause
    text = info(write_archive(tmp_path / "a.nc", np.zeros((93, 1, 1)), minutes))
    assert "gaps     30\n" in text and text.count(": 20 min") == 20 and "and 10 more" in text


def test_info_reads_one_frame_at_a_time(tmp_path, monkeypatch):
    path, sizes, read = write_archive(tmp_path / "a.nc", THREE, (0, 5, 15)), [], Archive.read
    monkeypatch.setattr(Archive, "read", lambda self, start, stop: sizes.append(stop - start) or read(self, start, stop))
    info(path)
    assert sizes == [1, 1, 1]


@pytest.fixture
def tree(tmp_path):
    for name in ("b.h5", "a.h5", "night/c.h5", "night/deep/d.h5", "run [1], é=x/e.h5", "run [1], é=x/e[2].h5", "1/f.h5", ".hidden.h5"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    "pattern, expected",
    [
        ("a.h5", ["a.h5"]),
        ("*.h5", ["a.h5", "b.h5"]),
        (".", ["a.h5", "b.h5"]),
        ("night", ["night/c.h5"]),
        ("night/**/*.h5", ["night/c.h5", "night/deep/d.h5"]),
        ("[ab].h5", ["a.h5", "b.h5"]),
        ("run [1], é=x", ["run [1], é=x/e.h5", "run [1], é=x/e[2].h5"]),
        ("run [1], é=x/e.h5", ["run [1], é=x/e.h5"]),
        ("run [1], é=x/e[2].h5", ["run [1], é=x/e[2].h5"]),
        ("run [1], é=x/*].h5", ["run [1], é=x/e[2].h5"]),
        ("?/*.h5", ["1/f.h5"]),
    ],
)
def test_a_path_that_exists_is_taken_literally_and_anything_else_as_a_pattern(tree, monkeypatch, pattern, expected):
    assert [path.relative_to(tree).as_posix() for path in expand_inputs(tree / pattern)] == expected
    monkeypatch.chdir(tree)
    assert [path.as_posix() for path in expand_inputs(pattern)] == expected


@pytest.mark.parametrize("pattern", ["absent.h5", "*.tif", "absent/*.h5", ""])
def test_a_pattern_without_a_file_is_refused(tree, monkeypatch, pattern):
    monkeypatch.chdir(tree)
    with pytest.raises(UserError, match="matches no file; give a file, a folder with files or a pattern such as"):
        expand_inputs(pattern)


def test_files_are_read_into_time_order_and_a_repeated_one_counts_once():
    frames = read_frames(["2.h5", "0.h5", "1.h5", "0.h5"], reader=one_file_each(THREE, (0, 5, 15)))
    np.testing.assert_array_equal(frames.values, THREE)
    assert list(frames.times) == list(times(0, 5, 15)) and frames.source == "0.h5 to 2.h5"


def test_only_the_newest_frames_up_to_a_time_are_kept():
    reader = one_file_each(np.arange(5.0).reshape(5, 1, 1), (0, 5, 10, 15, 20))
    names = [f"{i}.h5" for i in (4, 0, 3, 1, 2)]
    assert read_frames(names, reader=reader, last=2).values.ravel().tolist() == [3, 4]
    assert read_frames(names, reader=reader, until=times(12)[0]).values.ravel().tolist() == [0, 1, 2]
    assert read_frames(names, reader=reader, last=2, until=times(10)[0]).values.ravel().tolist() == [1, 2]
    assert read_frames(names[:1], reader=reader, last=9).source == "4.h5"


def test_no_frame_up_to_a_time_and_no_frame_wanted_are_refused():
    reader = one_file_each(THREE, (0, 5, 15))
    with pytest.raises(UserError, match="2 radar files hold no frame up to 2020-05-31T23:00:00; give files that do"):
        read_frames(["1.h5", Path("2.h5")], reader=reader, until=times(-60)[0])
    with pytest.raises(UserError, match="the last 0 frames were asked for; at least 1 is needed"):
        read_frames(["1.h5"], reader=reader, last=0)


def test_a_flipped_digit_in_the_projection_is_refused_instead_of_moving_the_grid(tmp_path):
    path = write_archive(tmp_path / "a.nc", THREE, (0, 5, 15))
    content = path.read_bytes()
    assert content.count(b"+lat_0=55.0") == 1
    path.write_bytes(content.replace(b"+lat_0=55.0", b"+lat_0=55.4"))
    with pytest.raises(UserError, match="a.nc is damaged or cut short"):
        Archive(path)
