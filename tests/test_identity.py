"""A frame is known by its time and its values, a file by its content and, where that counts, its
name: nothing dry is lost.
"""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from factories import LAEA, MemoryReader, grid, times, write_knmi

from nowcast.data import parts
from nowcast.data.archive import Archive
from nowcast.data.checking import check
from nowcast.data.conversion import convert
from nowcast.data.inspection import info
from nowcast.data.preparation import Preparation
from nowcast.data.reading import TooSlow
from nowcast.data.tolerant import Tolerant
from nowcast.forecasting.incoming import Incoming
from nowcast.readers.array_grid import ArrayGrid
from nowcast.readers.arrays import Arrays
from nowcast.readers.base import Reader
from nowcast.readers.decoding import Coding
from nowcast.readers.geotiff import GeoTiff
from nowcast.readers.knmi_hdf5 import KnmiHdf5
from nowcast.readers.mch_gif import MchGif
from nowcast.readers.names import end_of_path, time_in_name
from nowcast.runtime.errors import UserError
from nowcast.types.frames import Frames

DRY = np.zeros((2, 3), np.float32)
START = np.datetime64("2024-01-15T22:00")  # some frames are of the next day
PLACE = ArrayGrid(LAEA, 500.0, -500.0, 1000.0, 1000.0)
RATES = Coding("rain_rate")
SAME = Preparation({"_target_": "nowcast.readers.arrays.Arrays"})
IN_NAME, IN_FOLDER, IN_FILE = "name", "folder", "file"


def reader_of(layout: str):
    if layout == IN_FILE:
        return Arrays(PLACE, "rain", RATES, time_in_file="time")
    return Arrays(
        PLACE, None, RATES, time_in_name="%Y%m%d%H%M" if layout == IN_NAME else "%Y%m%d/%H%M"
    )


def moment(minutes: int):
    return (START + np.timedelta64(minutes, "m")).item()


def write(folder: Path, layout: str, minutes: int, values: np.ndarray, mark: str = "") -> Path:
    """One frame as a file that says its time as the layout wants it."""
    when = moment(minutes)
    names = {
        IN_NAME: f"{when:%Y%m%d%H%M}{mark}.npy",
        IN_FOLDER: f"{when:%Y%m%d}/{when:%H%M}{mark}.npy",
        IN_FILE: f"{minutes}{mark}.npz",
    }
    path = folder / names[layout]
    path.parent.mkdir(parents=True, exist_ok=True)
    if layout == IN_FILE:
        np.savez(path, rain=values, time=np.array(np.datetime64(when, "s")))
    else:
        np.save(path, values)
    return path


class Stopping(Tolerant):
    """A reader that is interrupted after some files."""

    def __init__(self, reader, after: int):
        super().__init__(reader)
        self.__dict__["left"] = after

    def read(self, path):
        self.__dict__["left"] -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return self.reader.read(path)


def contents(path: Path) -> dict:
    with Archive(path) as archive:
        return {
            moment.item(): values
            for moment, values in zip(archive.times, archive.read(0, len(archive)), strict=True)
        }


@pytest.mark.parametrize("layout", [IN_NAME, IN_FOLDER, IN_FILE])
@pytest.mark.parametrize("seed", range(3))
def test_whatever_is_dry_twice_named_in_parts_or_interrupted_each_time_is_in_the_archive_once(
    tmp_path, monkeypatch, seed, layout
):
    rng = np.random.default_rng([seed, len(layout)])
    monkeypatch.setattr(parts, "MOST_FRAMES", int(rng.integers(1, 6)))
    shapes = [
        DRY,
        DRY,
        DRY,
        rng.random((2, 3)).astype(np.float32),
        np.full((2, 3), np.nan, np.float32),
    ]
    expected, files = {}, []
    for minutes in rng.choice(60, size=12, replace=False) * 5:
        values = shapes[rng.integers(len(shapes))]
        expected[moment(minutes)] = values
        for copy in range(
            rng.integers(1, 3)
        ):  # under its name in several folders, or under several names
            folder, mark = ("a", f"_radar{copy}") if rng.random() < 0.5 else (f"copy{copy}", "")
            files.append(write(tmp_path / folder, layout, int(minutes), values, mark))
    files = [files[i] for i in rng.permutation(len(files))]
    reader, added = reader_of(layout), 0
    cuts = np.sort(rng.integers(0, len(files) + 1, 2))
    for part in (files[: cuts[0]], files[: cuts[1]], files):
        if not part:
            continue
        try:
            stopping = Stopping(reader, int(rng.integers(0, 2 * len(part))))
            added += convert(part, tmp_path / "a.nc", reader=stopping, prepare=SAME).added
        except KeyboardInterrupt:
            added += convert(part, tmp_path / "a.nc", reader=reader, prepare=SAME).added
    found = contents(tmp_path / "a.nc")
    assert sorted(found) == sorted(expected) and added == len(expected)
    for when, values in expected.items():
        np.testing.assert_array_equal(found[when], values)
    again = convert(files, tmp_path / "a.nc", reader=reader, prepare=SAME)
    assert (again.frames, again.added, again.quarantine) == (len(expected), 0, ())


def write_tiff(path: Path, values: np.ndarray) -> Path:
    import rasterio
    from rasterio.transform import from_origin

    place = {
        "width": values.shape[1],
        "height": values.shape[0],
        "crs": "EPSG:3035",
        "transform": from_origin(4e6, 3e6, 1000, 1000),
    }
    with rasterio.open(path, "w", driver="GTiff", count=1, dtype="float32", **place) as file:
        file.write(values, 1)
        file.units = ("mm/h",)
    return path


def test_twenty_geotiffs_of_which_fifteen_are_dry_are_twenty_frames_and_that_of_the_next_day_is_one_more(
    tmp_path,
):
    wet = np.arange(6, dtype=np.float32).reshape(2, 3)
    files = [
        write_tiff(tmp_path / f"{moment(5 * i):%Y%m%d%H%M}.tif", DRY if i % 4 else wet + i)
        for i in range(20)
    ]
    reader = GeoTiff(RATES, time="%Y%m%d%H%M")
    summary = convert(files, tmp_path / "a.nc", reader=reader)
    assert (summary.frames, summary.added, summary.duplicates) == (20, 20, 0)
    assert "cadence     5 min (19 of 19 steps)" in check(
        tmp_path / "a.nc"
    ) and "made from   20 files" in info(tmp_path / "a.nc")
    files.append(write_tiff(tmp_path / "202401160500.tif", DRY))
    assert convert(files, tmp_path / "a.nc", reader=reader).added == 1
    files.append(write_tiff(tmp_path / "again_202401160500.tif", DRY))
    summary = convert(files, tmp_path / "a.nc", reader=reader)
    assert (summary.added, summary.duplicates) == (0, 1) and "1 that came twice left out" in str(
        summary
    )


def test_palette_images_without_a_comment_are_told_apart_by_their_names_and_those_with_one_are_not(
    tmp_path,
):
    from PIL import Image

    image = Image.fromarray(np.zeros((640, 710), np.uint8), "L").convert("P")
    for minute in (0, 5, 10):
        image.save(tmp_path / f"AQC2401500{minute:02d}F_00005.801.gif")
    files = sorted(tmp_path.glob("*.gif"))
    summary = convert(files, tmp_path / "a.nc", reader=MchGif())
    assert (summary.frames, summary.duplicates) == (3, 0)
    for minute in (0, 5):  # the time in the comment is that of the file, whatever it is called
        image.save(tmp_path / f"AQC2401501{minute:02d}.gif", comment=b"PRDT=AQC240150100 ACCUm=5")
    summary = convert(sorted(tmp_path.glob("*.gif")), tmp_path / "a.nc", reader=MchGif())
    assert (summary.frames, summary.added, summary.duplicates) == (4, 1, 1)


def test_a_file_that_says_its_time_itself_is_the_same_under_any_name_and_in_any_folder(tmp_path):
    for folder, name in (("a", "x.h5"), ("b", "x.h5"), ("b", "y.h5")):
        (tmp_path / folder).mkdir(exist_ok=True)
        write_knmi(tmp_path / folder / name, [[0]])
    summary = convert(sorted(tmp_path.glob("*/*.h5")), tmp_path / "a.nc", reader=KnmiHdf5())
    assert (summary.frames, summary.added, summary.duplicates) == (1, 1, 2)
    assert len({(tmp_path / "b" / name).read_bytes() for name in ("x.h5", "y.h5")}) == 1


def test_an_archive_that_lost_its_dry_frames_gets_them_when_its_files_are_converted_again(tmp_path):
    files = [write(tmp_path, IN_NAME, 5 * i, DRY if i else DRY + 1) for i in range(12)]
    convert(
        files[:2], tmp_path / "a.nc", reader=reader_of(IN_NAME)
    )  # all that was kept of files that are equal to the byte
    summary = convert(files, tmp_path / "a.nc", reader=reader_of(IN_NAME))
    assert (summary.frames, summary.added, summary.duplicates) == (12, 10, 0)


def test_a_frame_that_was_issued_again_with_other_values_is_refused_also_where_both_files_are_dry_elsewhere(
    tmp_path,
):
    files = [write(tmp_path, IN_NAME, 5 * i, DRY) for i in range(4)]
    convert(files, tmp_path / "a.nc", reader=reader_of(IN_NAME))
    before = (tmp_path / "a.nc").read_bytes()
    files.append(write(tmp_path, IN_NAME, 5, DRY + 1, "_corrected"))
    with pytest.raises(
        UserError,
        match="202401152205.npy and 202401152205_corrected.npy both have a frame of "
        "2024-01-15T22:05:00 UTC",
    ):
        convert(files, tmp_path / "a.nc", reader=reader_of(IN_NAME))
    np.save(files[1], DRY + 2)
    with pytest.raises(
        UserError, match="202401152205.npy and 202401152205.npy both have a frame of"
    ) as caught:
        convert(files[:4], tmp_path / "a.nc", reader=reader_of(IN_NAME))
    assert (
        f"the first is in the archive {tmp_path / 'a.nc'} already, which stays as it is: leave "
        f"{files[1]} out, or, to have its values, convert all the files into another output"
    ) in str(caught.value)
    assert (tmp_path / "a.nc").read_bytes() == before


def test_a_conversion_of_dry_files_that_is_killed_goes_on_with_every_one_of_them(tmp_path):
    files = [write(tmp_path / "in", IN_NAME, 5 * i, DRY) for i in range(40)]
    program = (
        "import sys, time\nfrom nowcast.data import conversion, parts\nfrom nowcast.readers.arrays "
        "import ArrayGrid, Arrays\n"
        "from nowcast.readers.decoding import Coding\nparts.MOST_FRAMES = 3\n"
        f"reader = Arrays(ArrayGrid({LAEA!r}, 500.0, -500.0, 1000.0, 1000.0), None, "
        "Coding('rain_rate'), time_in_name='%Y%m%d%H%M')\n"
        "conversion.convert(sys.argv[2:], sys.argv[1], reader=reader, progress=lambda *_: "
        "time.sleep(0.05))"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "a.nc"), *map(str, files)]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[1])
    deadline = time.monotonic() + 60
    while (
        not (tmp_path / ".a.nc.parts" / "part-000003.h5").exists() and time.monotonic() < deadline
    ):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL and not (tmp_path / "a.nc").exists()
    reader = MemoryReaderOf(reader_of(IN_NAME))
    summary = convert(files, tmp_path / "a.nc", reader=reader, prepare=SAME)
    assert (summary.frames, summary.duplicates) == (40, 0) and len(reader.was_read) <= 31


class MemoryReaderOf(Tolerant):
    """A reader that remembers what it read."""

    def __init__(self, reader):
        super().__init__(reader)
        self.__dict__["was_read"] = []

    def read(self, path):
        self.was_read.append(Path(path).name)
        return self.reader.read(path)


def test_files_that_are_known_are_not_read_again_and_those_of_equal_content_are_each_read_once(
    tmp_path,
):
    files = [write(tmp_path, IN_NAME, 5 * i, DRY) for i in range(9)]
    reader = MemoryReaderOf(reader_of(IN_NAME))
    convert(files[:6], tmp_path / "a.nc", reader=reader)
    convert(files, tmp_path / "a.nc", reader=reader)
    assert sorted(reader.was_read) == [path.name for path in files]


def test_a_file_whose_content_cannot_be_looked_at_is_never_taken_for_a_known_one(
    tmp_path, monkeypatch
):
    names = ["a.h5", "b.h5"]
    reader = MemoryReader(
        {name: Frames(DRY[None], times(5 * i), grid()) for i, name in enumerate(names)}
    )
    assert (
        convert(names, tmp_path / "a.nc", reader=reader).frames == 2
    )  # neither is there for whoever looks at bytes
    reader.frames_by_name["a.h5"] = Frames(DRY[None], times(10), grid())
    assert convert(names, tmp_path / "a.nc", reader=reader).added == 1


@pytest.mark.parametrize("kind", [IN_NAME, IN_FOLDER])
def test_a_watch_takes_every_dry_frame_that_is_equal_to_the_byte_and_the_newest_one_is_the_last(
    tmp_path, kind
):
    pattern = tmp_path / "*.npy" if kind == IN_NAME else tmp_path / "*" / "*.npy"
    incoming = Incoming(
        pattern,
        reader_of(kind).read,
        keep=np.timedelta64(2, "h"),
        switch_after=3,
        timestep=np.timedelta64(5, "m"),
    )
    for index in range(30):  # over midnight
        write(tmp_path, kind, 5 * index, DRY)
        now = np.datetime64(moment(5 * index + 1), "s")
        news = [incoming.look(now) for _ in range(2)]
        assert [when.item() for item in news for when in item.times] == [moment(5 * index)]
        assert max(incoming.frames).item() == moment(5 * index) and not any(
            item.rejected for item in news
        )
    assert len(incoming.frames) == 25


BAD = {
    "empty": b"",
    "text": b"rain?",
    "page": b"<!DOCTYPE html><html>404</html>",
    "cut": b"\x89HDF\r\n\x1a\n" + bytes(90),
}


@pytest.mark.parametrize("workers", [0, 2])
def test_each_file_in_quarantine_has_a_reason_of_its_own_that_names_it_also_copies_of_one_bad_file(
    tmp_path, workers
):
    good = write_knmi(tmp_path / "good.h5", [[0]])
    bad = []
    for kind, content in BAD.items():
        for copy in range(3):
            path = (
                tmp_path / f"folder{copy}" / f"{kind}.h5" if copy else tmp_path / f"a.h5-{kind}.h5"
            )
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
            bad.append(path)
    summary = convert([good, *bad], tmp_path / "a.nc", reader=KnmiHdf5(), workers=workers)
    with open(tmp_path / "a.nc.quarantine.csv", newline="") as file:
        rows = list(csv.reader(file))[1:]
    assert sorted(row[0] for row in rows) == sorted(map(str, bad)) and summary.frames == 1
    for path, reason in rows:
        assert reason.startswith(path) and not any(
            str(other) in reason for other in bad if str(other) not in path
        )


def test_copies_of_a_file_that_took_too_long_are_not_waited_for_and_a_reason_that_names_no_file_gets_the_name(
    tmp_path,
):
    class Slow(Reader):
        path_parts = 0
        was_read = []

        def recognises(self, path):
            return True

        def read(self, path):
            self.was_read.append(Path(path).name)
            raise (
                TooSlow(f"{path} took too long")
                if Path(path).name.startswith("slow")
                else UserError("the coordinates are missing")
            )

    names = ("other.h5", "slow1.h5", "slow2.h5", "slow3.h5")
    for name in names:
        (tmp_path / name).write_text(name[:4])
    with pytest.raises(UserError, match="none of the 4 files could be read"):
        convert([tmp_path / name for name in names], tmp_path / "a.nc", reader=Slow())
    with open(tmp_path / "a.nc.quarantine.csv", newline="") as file:
        reasons = [row[1] for row in list(csv.reader(file))[1:]]
    first = tmp_path / "slow1.h5"
    assert Slow.was_read == ["other.h5", "slow1.h5"] and reasons[:2] == [
        f"{tmp_path / 'other.h5'}: the coordinates are missing",
        f"{first} took too long",
    ]
    assert reasons[2:] == [
        f"{tmp_path / name} has the same content as {first}, of which this is known: {first} "
        "took too long"
        for name in names[2:]
    ]


def test_a_copy_is_read_where_the_first_of_its_kind_cannot_be(tmp_path):
    class Moody(KnmiHdf5):
        def read(self, path):
            if Path(path).parent.name == "a":
                raise UserError(f"{path} cannot be reached")
            return super().read(path)

    for folder in "abc":
        (tmp_path / folder).mkdir()
        write_knmi(tmp_path / folder / "x.h5", [[0]])
    summary = convert(sorted(tmp_path.glob("*/x.h5")), tmp_path / "a.nc", reader=Moody())
    assert (
        summary.frames,
        summary.duplicates,
        [path.parent.name for path, _ in summary.quarantine],
    ) == (1, 1, ["a"])


@pytest.mark.parametrize(
    "path, pattern, expected",
    [
        ("20240115/0005.npy", "%Y%m%d/%H%M", "2024-01-15T00:05"),
        ("in/2024/01/15/23_55.npy", "%Y/%m/%d/%H_%M", "2024-01-15T23:55"),
        ("in/day20240115/rain_07.npy", "day%Y%m%d/rain_%H", "2024-01-15T07:00"),
        ("in/202401152000.npy", "%Y%m%d%H%M", "2024-01-15T20:00"),
    ],
)
def test_a_pattern_with_slashes_takes_the_time_from_folders_too(path, pattern, expected):
    assert time_in_name(path, pattern, "reader.time") == np.datetime64(expected, "s")


def test_a_path_that_is_too_short_for_a_pattern_begins_in_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "20240115").mkdir()
    monkeypatch.chdir(tmp_path / "20240115")
    assert (
        end_of_path("0005.npy", 2) == "20240115/0005.npy" == end_of_path("../20240115/0005.npy", 2)
    )
    assert time_in_name("0005.npy", "%Y%m%d/%H%M", "reader.time") == np.datetime64(
        "2024-01-15T00:05", "s"
    )
    os.chdir("/")
    with pytest.raises(UserError, match="contains no time of the form '%Y%m%d/%H%M'"):
        time_in_name("0005.npy", "%Y%m%d/%H%M", "reader.time")
