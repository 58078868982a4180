"""Archives of files and compressed files give the frames that the files in them give; nothing in
them leads anywhere else."""

import bz2
import gzip
import hashlib
import io
import json
import lzma
import os
import re
import signal
import struct
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from nowcast.cli import main
from nowcast.data import private_folder
from nowcast.data.archive import Archive
from nowcast.data.containers import Listing, container_kind, open_containers
from nowcast.data.conversion import convert
from nowcast.data.inputs import expand_inputs
from nowcast.data.members import member_path, short_name
from nowcast.data.reading import ReadingProcess, opened_inputs
from nowcast.data.unpacking import Unpacking
from nowcast.evaluation.external import ForecastFiles
from nowcast.forecasting.incoming import Incoming
from nowcast.forecasting.prediction import newest_frames
from nowcast.readers.array_grid import ArrayGrid
from nowcast.readers.arrays import Arrays
from nowcast.readers.auto import Auto
from nowcast.readers.base import Reader
from nowcast.readers.cf_netcdf import CfNetcdf
from nowcast.readers.decoding import Coding
from nowcast.readers.geotiff import GeoTiff
from nowcast.readers.hdf5 import Hdf5File
from nowcast.runtime.errors import UserError
from nowcast.types.frames import Frames
from tests.factories import LAEA, grid, shared_data, times, write_archive, write_knmi, write_odim
from tests.factories_cf import write_cf
from tests.factories_grib2 import write_mrms
from tests.test_evaluation_external import RAIN, write
from tests.test_reader_fmi_pgm import write_pgm
from tests.test_reader_geotiff import write_tif

PACKERS = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}
ARRAYS = Arrays(
    ArrayGrid(LAEA, 500.0, -500.0, 1000.0, 1000.0),
    None,
    Coding("rain_rate"),
    time_in_name="%Y%m%d%H%M",
)


def write_npy(path, values):
    np.save(path, np.float64(values))
    return path


FILES = {  # kind: (the file of a value, reader)
    "knmi_202006010000.h5": (
        lambda path, value: write_knmi(path, [[value, 2], [3, 65535]]),
        Auto(),
    ),
    "odim_202006010000.h5": (lambda path, value: write_odim(path, [[float(value), 2.0]]), Auto()),
    "cf_202006010000.nc": (
        lambda path, value: write_cf(path, np.float32([[[value, 2], [3, 4]]])),
        CfNetcdf(),
    ),
    "tif_202006010000.tif": (
        lambda path, value: write_tif(path, np.uint8([[value, 2]])),
        GeoTiff(Coding("rain_rate", missing=()), time="%Y%m%d%H%M"),
    ),
    "mrms_202006010000.grib2": (
        lambda path, value: write_mrms(path, [[float(value), 2.0]]),
        Auto(),
    ),
    "pgm_202006010000.pgm": (lambda path, value: write_pgm(path, [[value, 2]]), Auto()),
    "npy_202006010000.npy": (lambda path, value: write_npy(path, [[value, 2]]), ARRAYS),
}


def write_tar(path, contents, *, packed="", change=None) -> Path:
    """A tar of (name, content) in this order; ``change`` changes the headers."""
    with tarfile.open(path, f"w:{packed}") as archive:
        for place, (name, content) in enumerate(contents):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime = len(content), 1_000_000_000 + place
            if change is not None:
                change(entry)
            archive.addfile(entry, io.BytesIO(content))
    return path


def write_zip(path, contents, *, method=zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in contents:
            archive.writestr(zipfile.ZipInfo(name), content, compress_type=method)
    return path


CONTAINERS = {
    "tar": write_tar,
    "tar.gz": lambda path, files: write_tar(path, files, packed="gz"),
    "tar.bz2": lambda path, files: write_tar(path, files, packed="bz2"),
    "tar.xz": lambda path, files: write_tar(path, files, packed="xz"),
    "zip": write_zip,
    "stored.zip": lambda path, files: write_zip(path, files, method=zipfile.ZIP_STORED),
    "lzma.zip": lambda path, files: write_zip(path, files, method=zipfile.ZIP_LZMA),
}


class Named(Reader):
    """A reader of text files "minute,value" that remembers the paths it was given."""

    def __init__(self):
        self.seen = []

    def recognises(self, path):
        return True

    def read(self, path):
        path = Path(path)
        self.seen.append(path)
        try:
            minute, value = path.read_text().split(",")
            return Frames([[[float(value)]]], times(int(minute)), grid(1, 1), str(path))
        except ValueError:
            raise UserError(f"{path} is no minute and value") from None


def text(minute, value=1.0) -> bytes:
    return f"{minute},{value}".encode()


def frames_of(paths, reader):
    """{minute: value} of all that can be read, and the messages of the rest."""
    inputs = open_containers(paths, Listing())
    unpacking, values, refusals = Unpacking(reader, inputs.refused), {}, []
    for path in inputs.paths:
        try:
            frames = unpacking.read(path)
        except UserError as error:
            refusals.append(str(error))
        else:
            values[
                int((frames.times[0] - np.datetime64("2020-06-01")) / np.timedelta64(60, "s"))
            ] = float(frames.values[0, 0, 0])
    return values, refusals


def left_behind() -> list[Path]:
    return list(Path(tempfile.gettempdir()).glob(f"nowcast-unpacked-{os.getpid()}-*"))


@pytest.mark.parametrize("name", FILES)
def test_a_compressed_file_of_every_format_and_a_member_of_every_archive_give_the_file_s_own_frames(
    tmp_path, name
):
    write, reader = FILES[name]
    plain = write(tmp_path / name, 1)
    own, unpacking = reader.read(plain), Unpacking(reader)
    packed = [tmp_path / f"{name}.{ending}" for ending in PACKERS]
    for path, pack in zip(packed, PACKERS.values()):
        path.write_bytes(pack(plain.read_bytes()))
    nameless = tmp_path / "202006010000"  # content says what it is; the time is still in the name
    nameless.write_bytes(gzip.compress(plain.read_bytes()))
    contents = [
        ("README", b"no radar file"),
        (f"day/{name}", plain.read_bytes()),
        (f"packed/{name}.gz", gzip.compress(plain.read_bytes())),
    ]
    members = []
    for ending, make in CONTAINERS.items():
        archive = make(tmp_path / f"of.{ending}", contents)
        members += open_containers([archive], Listing()).paths[1:]
    assert len(members) == 2 * len(CONTAINERS)
    for path in [plain, *packed, nameless, *members]:
        found = unpacking.read(path)
        np.testing.assert_array_equal(found.values, own.values)
        assert (
            list(found.times) == list(own.times)
            and found.grid.difference(own.grid) is None
            and found.quantity == own.quantity
        )
        assert found.source == own.source.replace(str(plain), str(path))
    assert left_behind() == []


@pytest.mark.parametrize("kind", CONTAINERS)
def test_an_archive_converts_to_what_its_files_convert_to_in_any_order_and_again_brings_nothing_new(
    tmp_path, kind
):
    generator = np.random.default_rng(len(kind))
    files = [(f"a{place}.txt", text(5 * place, place % 3)) for place in range(12)]
    for name, content in files:
        (tmp_path / name).write_bytes(content)
    shuffled = [files[place] for place in generator.permutation(12)]
    archive = CONTAINERS[kind](tmp_path / f"of.{kind}", [*shuffled, ("note.txt", b"hello")])
    plain = convert([tmp_path / name for name, _ in files], tmp_path / "plain.nc", reader=Named())
    packed = convert([archive], tmp_path / "packed.nc", reader=Named())
    assert (
        packed.frames,
        [(path.name, reason.count("no minute")) for path, reason in packed.quarantine],
    ) == (12, [(f"of.{kind}: note.txt", 1)])
    one, other = Archive(plain.path), Archive(packed.path)
    assert list(one.times) == list(other.times)
    np.testing.assert_array_equal(one.read(0, 12), other.read(0, 12))
    assert [origin.name for origin in other.origins] == [
        f"of.{kind}: {origin.name}" for origin in one.origins
    ]
    assert [origin.digest for origin in other.origins] == [origin.digest for origin in one.origins]
    assert convert([archive], tmp_path / "packed.nc", reader=Named()).added == 0
    assert (
        convert(
            [tmp_path / name for name, _ in files], tmp_path / "packed.nc", reader=Named()
        ).added
        == 0
    )


def test_processes_share_the_members_of_a_compressed_archive(tmp_path):
    files = [
        (
            f"{name}_{place}.h5",
            write_knmi(
                tmp_path / "f.h5",
                [[place, 2]],
                product_datetime_start=f"26-AUG-2010;00:{5 * place:02d}:00.000".encode(),
                product_datetime_end=f"26-AUG-2010;00:{5 * place + 5:02d}:00.000".encode(),
            ).read_bytes(),
        )
        for place, name in enumerate("hcfabdeg")
    ]
    archive = write_tar(tmp_path / "day.tgz", files, packed="gz")
    summary = convert([archive], tmp_path / "day.nc", reader=Auto(), workers=2)
    assert summary.frames == 8 and summary.quarantine == ()
    np.testing.assert_allclose(
        Archive(summary.path).read(0, 8)[:, 0, 0], 0.12 * np.arange(8), rtol=1e-6
    )


HOSTILE_NAMES = [
    "../../out.txt",
    "/etc/out.txt",
    "a/../../../out.txt",
    "~/out.txt",
    "a//b/./out.txt",
    "-rf",
    "a b,[c]=${d}.txt",
    "line\nbreak.txt",
    "é\udcff.txt",
    "a: b.txt",
    "..",
    "x" * 180,
]


def test_names_in_archives_are_text_and_lead_nowhere(tmp_path):
    outside = set(tmp_path.parent.rglob("*"))
    files = [(name, text(5 * place, place)) for place, name in enumerate(HOSTILE_NAMES)]
    for kind in ("tar", "tar.gz"):
        reader = Named()
        archive = CONTAINERS[kind](tmp_path / f"of.{kind}", files)
        values, refusals = frames_of([archive], reader)
        assert (
            values == {5 * place: place for place in range(len(HOSTILE_NAMES))} and refusals == []
        )
        for path in reader.seen:
            private, *parts = path.relative_to(tempfile.gettempdir()).parts
            assert private.startswith("nowcast-unpacked-") and ".." not in parts
        assert reader.seen[7].name == "line\nbreak.txt" and reader.seen[10].name == "unnamed"
    values, refusals = frames_of(
        [
            write_zip(
                tmp_path / "of.zip",
                [(name.replace("\udcff", ""), content) for name, content in files],
            )
        ],
        Named(),
    )
    assert len(values) == len(HOSTILE_NAMES) and refusals == []
    assert {
        path for path in tmp_path.parent.rglob("*") if path.parent != tmp_path and path != tmp_path
    } - outside == set() and left_behind() == []


DATED = Arrays(
    ArrayGrid(LAEA, 500.0, -500.0, 1000.0, 1000.0),
    None,
    Coding("rain_rate"),
    time_in_name="%Y%m%d/%H%M",
)
DAYS = ("20240115", "20240116")


def dated(folder, kind) -> list[Path]:
    """One dry frame at 00:00 of two days, their dates in names of folders: the two are equal to
    the byte."""
    content = write_npy(folder / "x.npy", [[0.0, 0.0]]).read_bytes()
    members = [(f"{day}/0000.npy", content) for day in DAYS]
    if kind in CONTAINERS:
        return [CONTAINERS[kind](folder / f"two.{kind}", members)]
    if kind == "deep.tar":
        members = [(f"a/../b/../../c/{name}", data) for name, data in members]
        return [write_tar(folder / kind, members)]
    if kind == "packed.tar":
        members = [(f"{name}.gz", gzip.compress(data)) for name, data in members]
        return [write_tar(folder / kind, members)]
    paths = []
    for day in DAYS:
        inside = folder / "d" / day
        inside.mkdir(parents=True)
        if kind == "day.tar":
            paths.append(write_tar(inside / kind, [("0000.npy", content)]))
        else:
            paths.append(inside / f"0000.npy.{kind}")
            paths[-1].write_bytes(PACKERS[kind](content))
    return paths


@pytest.mark.parametrize(
    "kind", ["tar", "tar.gz", "zip", "deep.tar", "packed.tar", "day.tar", "gz", "bz2", "xz"]
)
def test_times_in_the_names_of_folders_are_found_in_and_around_whatever_is_packed(
    tmp_path, monkeypatch, kind
):
    paths = dated(tmp_path, kind)
    expected = [np.datetime64(f"2024-01-{day}T00:00") for day in (15, 16)]
    summary = convert(paths, tmp_path / "a.nc", reader=DATED)
    assert (summary.frames, summary.duplicates, summary.quarantine) == (2, 0, ())
    assert list(Archive(summary.path).times) == expected
    assert convert(paths, tmp_path / "a.nc", reader=DATED).added == 0
    monkeypatch.chdir(paths[0].parent)  # the folders are not in what is typed
    member = open_containers([paths[0].name], Listing()).paths[0]
    assert Unpacking(DATED).read(member).times[0] == expected[0]
    assert left_behind() == []


@pytest.mark.parametrize("packed", ["", ".gz"])
def test_a_member_that_was_added_to_a_tar_again_keeps_the_folders_of_its_name(tmp_path, packed):
    content = write_npy(tmp_path / "x.npy", [[1.0, 0.0]]).read_bytes()
    content = gzip.compress(content) if packed else content
    archive = write_tar(tmp_path / "a.tar", 2 * [(f"20240115/0000.npy{packed}", content)])
    summary = convert([archive], tmp_path / "a.nc", reader=DATED)
    assert (summary.frames, summary.duplicates, summary.quarantine) == (1, 1, ())


def test_the_folders_of_what_is_unpacked_are_plain_names_and_messages_show_what_was_typed(tmp_path):
    inside = "/".join(["..", "y" * 400, *"abcdefghi", "..", "0000.txt"])
    archive = write_tar(tmp_path / "t.tar", [(inside, text(0)), ("q/0005.txt", b"?")])
    reader = Named()
    values, refusals = frames_of([archive], reader)
    assert values == {0: 1} and refusals == [f"{archive}: q/0005.txt is no minute and value"]
    assert reader.seen[0].parts[-8:] == (*"cdefghi", "0000.txt")
    assert reader.seen[1].parts[-3:] == (tmp_path.name, "q", "0005.txt")
    long = write_tar(tmp_path / "l.tar", [(f"{'z' * 300}/0000.txt", text(0))])
    assert frames_of([long], reader) == ({0: 1}, []) and reader.seen[-1].parent.name == "too-long"


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "zip", "gz"])
def test_a_damaged_file_that_was_packed_whole_is_not_said_to_be_still_being_written(tmp_path, kind):
    damaged = write_knmi(tmp_path / "a.h5", [[1, 2]]).read_bytes()[:-200]
    if kind == "gz":
        path = tmp_path / "b.h5.gz"
        path.write_bytes(gzip.compress(damaged))
    else:
        path = member_path(CONTAINERS[kind](tmp_path / f"b.{kind}", [("b.h5", damaged)]), "b.h5")
    with pytest.raises(UserError) as caught:
        Unpacking(Auto()).read(path)
    assert "fetch it again or leave it out" in str(caught.value)
    assert "being written" not in str(caught.value)


def test_members_of_one_name_are_each_a_file(tmp_path):
    files = [
        ("d/a.txt", text(0, 1)),
        ("d/a.txt", text(5, 2)),
        ("./d/a.txt", text(10, 3)),
        ("d/(2)/a.txt", text(15, 4)),
    ]
    with pytest.warns(UserWarning, match="Duplicate"):
        paths = [
            CONTAINERS[kind](tmp_path / f"of.{kind}", files) for kind in ("tar", "tar.xz", "zip")
        ]
    for path in paths:
        assert frames_of([path], Named()) == ({0: 1, 5: 2, 10: 3, 15: 4}, [])
    names = [short_name(path) for path in open_containers(paths[:1], Listing()).paths]
    assert names == [
        "of.tar: d/a.txt",
        "of.tar: d/(2)/a.txt",
        "of.tar: d/(3)/a.txt",
        "of.tar: d/(2)/(2)/a.txt",
    ]


def special(kind):
    def change(entry):
        if entry.name == "bad":
            entry.type, entry.linkname = kind, "good.txt"
            entry.size = 0

    return change


@pytest.mark.parametrize("packed", ["", "gz"])
@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (tarfile.SYMTYPE, "is a link .to good.txt., which is not followed"),
        (tarfile.LNKTYPE, "is a link .to good.txt."),
        (tarfile.CHRTYPE, "a device or a pipe"),
        (tarfile.BLKTYPE, "a device"),
        (tarfile.FIFOTYPE, "a pipe"),
    ],
)
def test_links_and_devices_are_refused_each_with_its_reason_and_the_rest_is_read(
    tmp_path, packed, kind, reason
):
    archive = write_tar(
        tmp_path / "a.tar",
        [("good.txt", text(0)), ("bad", b""), ("other.txt", text(5))],
        packed=packed,
        change=special(kind),
    )
    values, (refusal,) = frames_of([archive], Named())
    assert values == {0: 1, 5: 1} and refusal.startswith(f"{archive}: bad is ")
    assert re.search(reason, refusal)


def patched(path: Path, old: bytes, new: bytes) -> Path:
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))
    return path


def test_a_compressed_archive_is_read_no_further_than_a_member_that_claims_too_much(tmp_path):
    """Behind it everything would have to be unpacked to know what follows."""
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w"):
        entry = tarfile.TarInfo("large.h5")
        entry.size = 2**31 + 1
        whole.write(entry.tobuf())
    (tmp_path / "a.tgz").write_bytes(gzip.compress(whole.getvalue() + bytes(1024)))
    listed = json.loads(Listing().read(tmp_path / "a.tgz"))
    message = "was read as far as large.h5, which claims 2147483649 bytes (more than"
    assert listed["members"] == [] and message in listed["problem"]


def test_an_encrypted_a_damaged_and_a_strangely_packed_member_of_a_zip_are_refused_each_on_its_own(
    tmp_path,
):
    files = [("a.txt", text(0)), ("bad.txt", text(5, 12345)), ("c.txt", text(10))]
    made = {}
    damaged = write_zip(tmp_path / "damaged.zip", files, method=zipfile.ZIP_STORED)
    made["damaged or cut short .Bad CRC-32"] = patched(damaged, b"12345", b"12346")
    link = tmp_path / "link.zip"
    with zipfile.ZipFile(link, "w") as archive:
        for name, content in files:
            entry = zipfile.ZipInfo(name)
            entry.external_attr = (0o120777 if name == "bad.txt" else 0o100644) << 16
            archive.writestr(entry, content)
    made["is a link, which is not followed"] = link
    for ending, place, value, reason in (
        ("flag", 8, 1, "is encrypted; unpack the archive with its password"),
        ("method", 10, 93, "compressed by zip's method 93"),
    ):
        path = write_zip(tmp_path / f"{ending}.zip", files)
        content = bytearray(path.read_bytes())
        central = content.rfind(b"PK\1\2", 0, content.rfind(b"bad.txt"))
        content[central + place] = value
        path.write_bytes(content)
        made[reason] = path
    for reason, path in made.items():
        values, (refusal,) = frames_of([path], Named())
        assert (
            values == {0: 1, 10: 1}
            and refusal.startswith(f"{path}: bad.txt ")
            and re.search(reason, refusal)
        )


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "tar.bz2", "tar.xz", "zip"])
def test_an_archive_cut_anywhere_gives_the_files_before_the_cut_and_a_refusal(tmp_path, kind):
    generator = np.random.default_rng(7)
    files = [
        (f"{place}.txt", text(5 * place, place) + b" " * int(generator.integers(0, 900)))
        for place in range(6)
    ]
    whole = CONTAINERS[kind](tmp_path / f"whole.{kind}", files).read_bytes()
    some = 0
    for cut in sorted({*generator.integers(1, len(whole) - 1, 25).tolist(), 512, len(whole) // 2}):
        path = tmp_path / f"cut.{kind}"
        path.write_bytes(whole[:cut])
        values, refusals = frames_of([path], Named())
        assert all(value == minute / 5 for minute, value in values.items())
        if len(values) < 6:
            assert refusals and all(str(path) in refusal for refusal in refusals)
        some += 0 < len(values) < 6
    assert some >= (3 if kind == "tar" else 0)


def test_a_damaged_header_the_lack_of_an_end_and_what_comes_behind_it_are_told(tmp_path):
    files = [(f"{place}.txt", text(5 * place)) for place in range(4)]
    content = bytearray(write_tar(tmp_path / "a.tar", files).read_bytes())
    (tmp_path / "endless.tar").write_bytes(content[: 8 * 512])
    (tmp_path / "joined.tar").write_bytes(content + content)
    content[4 * 512 + 150] ^= 1  # the checksum of the third header
    (tmp_path / "damaged.tar").write_bytes(content)
    for name, count, reason in (
        ("endless", 4, "has no mark at its end"),
        ("joined", 4, "goes on behind its end"),
        ("damaged", 2, "what follows its last file is no file"),
    ):
        values, (refusal,) = frames_of([tmp_path / f"{name}.tar"], Named())
        assert (
            len(values) == count
            and refusal.startswith(f"{tmp_path}/{name}.tar")
            and reason in refusal
        )


def test_archives_in_archives_and_stores_are_refused_with_the_way(tmp_path):
    inner = write_tar(tmp_path / "inner.tar", [("a.txt", text(0))]).read_bytes()
    inner_zip = write_zip(tmp_path / "inner.zip", [("a.txt", text(0))]).read_bytes()
    files = [
        ("in/inner.tar", inner),
        ("inner.tar.gz", gzip.compress(inner)),
        ("inner.zip", inner_zip),
        ("z.zarr/.zgroup", b"{}"),
        ("z.zarr/rain/0.0", b"x"),
        ("z.zarr/rain/.zarray", b"{}"),
        ("good.txt", text(5)),
        (".hidden.txt", text(10)),
        ("__MACOSX/._good.txt", b"x"),
    ]
    for kind in ("tar", "tar.gz", "zip"):
        values, refusals = frames_of([CONTAINERS[kind](tmp_path / f"of.{kind}", files)], Named())
        assert values == {5: 1} and len(refusals) == 4
        assert [
            ("inside another archive; unpack the outer one first" in refusal)
            for refusal in refusals
        ] == [True] * 3 + [False]
        assert refusals[3].startswith(f"{tmp_path}/of.{kind}: z.zarr is a zarr store")
    (tmp_path / "a.7z").write_bytes(b"7z\xbc\xaf\x27\x1cxxxx")
    (tmp_path / "a.zst").write_bytes(b"\x28\xb5\x2f\xfdxxxx")
    assert frames_of([tmp_path / "a.7z", tmp_path / "a.zst"], Named())[1] == [
        f"{tmp_path}/a.7z is a 7z archive; unpack it (7z x FILE) and give what is in it.",
        f"{tmp_path}/a.zst is packed with zstd; unpack it (unzstd FILE) and give what is in it.",
    ]


def test_a_mask_in_a_second_file_is_told_also_inside_an_archive_and_beside_a_compressed_file(
    tmp_path,
):
    tif = write_tif(tmp_path / "a.tif", np.uint8([[1]])).read_bytes()
    archive = write_zip(tmp_path / "a.zip", [("a.tif", tif), ("a.tif.msk", b"x"), ("b.tif", tif)])
    refusals = frames_of([archive], GeoTiff(Coding("rain_rate", missing=())))[1]
    assert "a.tif has its mask in a second file, a.tif.msk" in refusals[0]
    (tmp_path / "a.tif.gz").write_bytes(gzip.compress(tif))
    (tmp_path / "a.tif.msk.gz").write_bytes(b"x")
    assert (
        "has its mask in a second file, a.tif.msk.gz"
        in frames_of([tmp_path / "a.tif.gz"], Named())[1][0]
    )


def test_bombs_end_at_the_limit_and_what_is_beside_them_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("nowcast.data.members.MOST_BYTES", 10**6)
    monkeypatch.setattr("nowcast.data.unpacking.MOST_BYTES", 10**6)
    zeros = bytes(3 * 10**6)
    (tmp_path / "bomb.gz").write_bytes(gzip.compress(zeros))
    (tmp_path / "bomb.xz").write_bytes(lzma.compress(zeros))
    values, refusals = frames_of([tmp_path / "bomb.gz", tmp_path / "bomb.xz"], Named())
    assert values == {} and all(
        "is over 1000000 bytes long when unpacked" in refusal for refusal in refusals
    )
    files = [("a.txt", text(0)), ("bomb.txt", zeros), ("c.txt", text(5))]
    for kind, beside in (("tar", {0: 1, 5: 1}), ("zip", {0: 1, 5: 1}), ("tar.gz", {0: 1})):
        values, (refusal,) = frames_of([CONTAINERS[kind](tmp_path / f"of.{kind}", files)], Named())
        assert values == beside and "bomb.txt" in refusal and "claims 3000000 bytes" in refusal
    packed = [("a.txt", text(0)), ("bomb.txt.gz", gzip.compress(zeros)), ("c.txt", text(5))]
    values, (refusal,) = frames_of(
        [write_tar(tmp_path / "packed.tgz", packed, packed="gz")], Named()
    )
    assert (
        values == {0: 1, 5: 1} and "bomb.txt.gz is over 1000000 bytes long when unpacked" in refusal
    )


def test_a_zip_that_claims_less_than_it_has_and_a_sparse_file_are_what_they_claim(tmp_path):
    archive = write_zip(tmp_path / "a.zip", [("a.txt", text(0)), ("b.txt", text(5) + b" " * 1000)])
    content = bytearray(archive.read_bytes())
    central = content.rfind(b"PK\1\2")
    content[central + 24 : central + 28] = struct.pack("<I", 3)
    archive.write_bytes(content)
    values, (refusal,) = frames_of([archive], Named())
    assert values == {0: 1} and "a.zip: b.txt" in refusal
    with open(tmp_path / "sparse.txt", "wb") as file:
        file.truncate(10**6)
        file.seek(10**6)
        file.write(b"1")
    if (
        subprocess.run(
            ["tar", "-S", "-cf", "sparse.tar", "sparse.txt"], cwd=tmp_path, check=False
        ).returncode
        == 0
    ):
        (path,) = open_containers([tmp_path / "sparse.tar"], Listing()).paths
        sizes = []

        class Size:
            def read(self, place):
                sizes.append((place.stat().st_size, place.read_bytes().count(b"\0")))
                return "read"

        Unpacking(Size()).read(path)
        assert sizes == [(10**6 + 1, 10**6)]


def test_very_many_members_are_refused_after_a_limit_and_a_negative_size_is_damage(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("nowcast.data.members.MOST_MEMBERS", 50)
    for kind in ("tar", "zip"):
        archive = CONTAINERS[kind](
            tmp_path / f"many.{kind}", [(f"{place}.txt", text(place)) for place in range(60)]
        )
        values, (refusal,) = frames_of([archive], Named())
        assert len(values) == 50 and "contains more than 50 files" in refusal
    content = bytearray(
        write_tar(tmp_path / "a.tar", [("a.txt", text(0)), ("b.txt", text(5))]).read_bytes()
    )
    header = content[1024:1536]
    header[124:136] = b"\xff" * 10 + struct.pack(">h", -1024)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    content[1024:1536] = header
    (tmp_path / "negative.tar").write_bytes(content)
    values, refusals = frames_of([tmp_path / "negative.tar"], Named())
    assert values == {0: 1} and len(refusals) == 1 and "negative.tar" in refusals[0]


def test_what_is_one_data_set_is_no_archive_of_files(tmp_path):
    np.savez(tmp_path / "a.npz", data=np.zeros((2, 2)))
    write_zip(tmp_path / "z.zip", [(".zgroup", b"{}"), ("rain/0.0", b"")])
    write_zip(
        tmp_path / "frames.zip", [("a.npy", write_npy(tmp_path / "x.npy", [[1]]).read_bytes())]
    )
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"x" * 2000))
    (tmp_path / "zeros").write_bytes(bytes(2048))
    knmi = write_knmi(tmp_path / "k.h5", [[1]])
    assert [
        container_kind(tmp_path / name)
        for name in ("a.npz", "z.zip", "frames.zip", "a.gz", "zeros", "none", ".")
    ] == [None, None, "zip", None, None, None, None]
    assert container_kind(knmi) is None


def test_a_tar_whose_first_member_is_hdf5_is_no_hdf5_file_and_both_members_are_read(tmp_path):
    first, second = (
        write_knmi(tmp_path / "a.h5", [[1]]).read_bytes(),
        write_knmi(
            tmp_path / "b.h5",
            [[2]],
            product_datetime_end=b"26-AUG-2010;00:10:00.000",
            product_datetime_start=b"26-AUG-2010;00:05:00.000",
        ).read_bytes(),
    )
    archive = write_tar(tmp_path / "two.tar", [("a.h5", first), ("b.h5", second)])
    assert archive.read_bytes()[512:516] == b"\x89HDF"
    with pytest.raises(
        UserError, match="two.tar is a tar archive, but an HDF5 file is needed; unpack it"
    ):
        Hdf5File(archive)
    assert not Auto().recognises(archive)
    assert convert([archive], tmp_path / "out.nc", reader=Auto()).frames == 2


def test_the_real_tar_shows_both_of_its_members(tmp_path):
    archive = shared_data() / "cases/C04_tar_first_member/composite_rv_20250923_0855.tar"
    if not archive.exists():
        pytest.skip("the cases (../shared/data/cases) are not here")
    inputs = open_containers([archive], Listing())
    assert [short_name(path) for path in inputs.paths] == [
        f"composite_rv_20250923_0855.tar: composite_rv_20250923_0855_{lead}-hd5"
        for lead in ("000", "050")
    ]
    first = Unpacking(Auto()).read(inputs.paths[0])
    assert np.isnan(first.values).sum() == 621995 and first.values[
        ~np.isnan(first.values)
    ].max() == pytest.approx(22.176, abs=1e-3)


def test_messages_and_digests_name_the_member_and_go_through_a_process(tmp_path):
    files = [
        ("d/a.h5", write_knmi(tmp_path / "x.h5", [[1]]).read_bytes()),
        ("d/b.h5", b"no HDF5"),
        ("d/c.h5", b"\x89HDF\r\n\x1a\n" + bytes(100)),
    ]
    archive = write_tar(tmp_path / "a.tar.gz", files, packed="gz")
    inputs = opened_inputs([archive], digests=True)
    with ReadingProcess(Unpacking(Auto(), inputs.refused)) as process:
        assert process.read(inputs.paths[0]).source == f"{archive}: d/a.h5"
        for path in inputs.paths[1:]:
            with pytest.raises(UserError) as caught:
                process.read(path)
            assert str(caught.value).startswith(f"{path} ") and "nowcast-unpacked" not in str(
                caught.value
            )
    assert [inputs.digests[path] for path in inputs.paths] == [
        hashlib.sha256(content).hexdigest() for _, content in files
    ]


def test_a_member_that_can_be_typed_is_a_file(tmp_path, monkeypatch):
    archive = write_tar(tmp_path / "a b.tar", [("d/a: x.txt", text(0)), ("b.txt", text(5))])
    monkeypatch.chdir(tmp_path)
    assert expand_inputs("a b.tar: d/a: x.txt") == [Path("a b.tar: d/a: x.txt")]
    assert expand_inputs(f"[{archive}: b.txt]") == [member_path(archive, "b.txt")]
    assert Unpacking(Named()).read("a b.tar: d/a: x.txt").values[0, 0, 0] == 1
    with pytest.raises(UserError, match="a b.tar: c.txt: the archive contains no such file"):
        Unpacking(Named()).read("a b.tar: c.txt")
    with pytest.raises(
        UserError, match="is a tar archive of files, but a single file is needed here; name one as"
    ):
        Unpacking(Named()).read("a b.tar")


def test_what_a_killed_reading_process_left_is_removed(tmp_path):
    (tmp_path / "slow_reader.py").write_text(
        "import time\nclass Slow:\n    def read(self, path):\n        open(path.parent / "
        "'reading', 'w').close()\n        time.sleep(60)\n"
    )
    sys.path.insert(0, str(tmp_path))
    try:
        from slow_reader import Slow

        archive = write_tar(tmp_path / "a.tar", [("a.txt", text(0))])
        with ReadingProcess(Unpacking(Slow()), seconds=2) as process:
            with pytest.raises(UserError, match="could not be read within 2 seconds"):
                process.read(member_path(archive, "a.txt"))
        assert [
            path for path in Path(tempfile.gettempdir()).glob("nowcast-unpacked-*/reading")
        ] == []
    finally:
        sys.path.remove(str(tmp_path))


def test_what_killed_programs_left_is_removed_when_nobody_uses_it_any_more(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    program = (
        "import sys, time\nfrom nowcast.data import private_folder\n"
        "with private_folder.private_folder() as folder:\n    (folder / 'a').touch(); print(folder, "
        "flush=True); time.sleep(60)\n"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )
    folder = Path(owner.stdout.readline().strip())
    os.utime(folder, (0, 0))
    archive = write_tar(tmp_path / "a.tar", [("a.txt", text(0))])
    try:
        private_folder.remove_abandoned.cache_clear()
        Unpacking(Named()).read(member_path(archive, "a.txt"))
        assert folder.is_dir()  # its owner lives
    finally:
        owner.send_signal(signal.SIGKILL)
        owner.wait()
        owner.stdout.close()
    private_folder.remove_abandoned.cache_clear()
    Unpacking(Named()).read(member_path(archive, "a.txt"))
    assert not folder.exists()


def test_no_room_to_unpack_is_not_called_damage(tmp_path, monkeypatch):
    archive = write_tar(tmp_path / "a.tar", [("a.txt", text(0))])
    monkeypatch.setattr(
        "nowcast.runtime.files.shutil.disk_usage",
        lambda path: type("Usage", (), {"total": 10, "free": 1}),
    )
    with pytest.raises(
        UserError,
        match="a.tar: a.txt cannot be unpacked into .*: No space left on device; set TMPDIR to a "
        "folder with room",
    ):
        Unpacking(Named()).read(member_path(archive, "a.txt"))


def test_archives_that_arrive_in_a_watch_give_frames_and_each_file_its_own_reason(tmp_path):
    now = np.datetime64("2020-06-01T01:00")
    look_into = lambda path: open_containers([path], Listing())  # noqa: E731
    watched = Incoming(
        tmp_path,
        Unpacking(Named()).read,
        keep=np.timedelta64(3600, "s"),
        switch_after=3,
        timestep=np.timedelta64(300, "s"),
        look_into=look_into,
    )
    write_tar(
        tmp_path / "a.tgz",
        [(f"{place}.txt", text(5 * place, place)) for place in range(4)] + [("bad.txt", b"?")],
        packed="gz",
    )
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(text(30, 6)))
    news = [watched.look(now) for _ in range(3)]
    assert [len(one.times) for one in news] == [0, 5, 0]
    assert [one.rejected for one in news] == [
        (),
        (("a.tgz: bad.txt", "a.tgz: bad.txt is no minute and value"),),
        (),
    ]
    assert [short_name(frames.source) for _, frames in sorted(watched.frames.items())] == [
        "a.tgz: 0.txt",
        "a.tgz: 1.txt",
        "a.tgz: 2.txt",
        "a.tgz: 3.txt",
        "b.txt.gz",
    ]
    watched.look(now + np.timedelta64(31, "s"))  # the bad one is tried again, the others are known
    assert len(watched.frames) == 5


def test_of_an_archive_with_a_history_only_the_newest_files_are_read_in_a_watch(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("nowcast.forecasting.incoming.MOST_FILES", 3)
    reader = Named()
    watched = Incoming(
        tmp_path,
        Unpacking(reader).read,
        keep=np.timedelta64(7200, "s"),
        switch_after=3,
        timestep=np.timedelta64(300, "s"),
        look_into=lambda path: open_containers([path], Listing()),
    )
    write_tar(tmp_path / "a.tar", [(f"{place}.txt", text(5 * place)) for place in range(10)])
    for _ in range(2):
        watched.look(np.datetime64("2020-06-01T01:00"))
    assert [path.name for path in reader.seen] == ["7.txt", "8.txt", "9.txt"]


def test_forecasts_in_an_archive_are_judged_as_the_files_are(tmp_path):
    observed = Archive(write_archive(tmp_path / "observed.nc", RAIN, range(0, 40, 5)))
    paths = [write(tmp_path, minute, RAIN[:3] * minute) for minute in (5, 10, 15)]
    archive = write_tar(
        tmp_path / "fc.tar.gz",
        [(path.name, path.read_bytes()) for path in reversed(paths)],
        packed="gz",
    )
    inputs = opened_inputs([archive])
    plain = ForecastFiles(paths, observed, CfNetcdf(), name="a", context_length=2)
    packed = ForecastFiles(
        inputs.paths, observed, Unpacking(CfNetcdf(), inputs.refused), name="a", context_length=2
    )
    assert packed.count == plain.count == 3
    for index in range(3):
        one, other = (source.batch([index], np.arange(3)) for source in (plain, packed))
        np.testing.assert_array_equal(one.forecasts["a"], other.forecasts["a"])


def test_a_listing_is_data(tmp_path):
    archive = write_tar(tmp_path / "a.tar", [("a.txt", text(0))])
    assert json.loads(Listing().read(archive)) == {
        "members": [["a.txt", 1_000_000_000.0, None]],
        "stores": [],
        "problem": None,
    }
    assert Listing().read(tmp_path / "none") == "null"
    empty = write_zip(tmp_path / "empty.zip", [])
    assert frames_of([empty], Named()) == ({}, [f"{empty} contains no file."])


def test_commands_take_packed_files_and_lists_and_name_what_could_not_be_read(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "deep").mkdir()
    first, second = (
        write_knmi(
            tmp_path / f"{minute}.h5",
            [[minute, 2]],
            product_datetime_start=f"26-AUG-2010;00:{minute - 5:02d}:00.000".encode(),
            product_datetime_end=f"26-AUG-2010;00:{minute:02d}:00.000".encode(),
        ).read_bytes()
        for minute in (5, 10)
    )
    write_tar(tmp_path / "a, b.tar.gz", [("5.h5", first), ("note.txt", b"no radar")], packed="gz")
    (tmp_path / "c.h5.xz").write_bytes(lzma.compress(second))
    main(["convert", "input=[a, b.tar.gz,'c.h5.xz', *.h5]", "output=out.nc", "workers=1"])
    said = capsys.readouterr()
    assert (
        "wrote out.nc: 2 frames" in said.out.replace(f"{tmp_path}/", "")
        and "2 that came twice left out" in said.out
    )
    assert (
        "1 of 5 files could not be read" in said.err
        and "a, b.tar.gz: note.txt is of no format" in said.err
    )
    main(["info", "[a, b.tar.gz,c.h5.xz]"])
    said = capsys.readouterr().out
    assert (
        "files       3, of which 2 can be read" in said
        and "period      2010-08-26T00:05:00 to 2010-08-26T00:10:00 UTC" in said
    )
    main(["info", "a, b.tar.gz: 5.h5"])
    assert "file        a, b.tar.gz: 5.h5\nformat      KNMI HDF5" in capsys.readouterr().out
    for command, message in (
        (
            ["watch", "input=[.,deep]", "output=deep"],
            "the forecasts in deep would be found as input 'deep'",
        ),
        (
            ["watch", "input=[.,none]", "output=/tmp/x"],
            "input is 'none', but there is no folder none",
        ),
        (
            ["check", "[out.nc,out.nc]"],
            "give the path of an HDF5 file .a single one: lists are taken where several files are",
        ),
        (["check", "a, b.tar.gz"], "is not an HDF5 file but a tar archive, packed with gzip"),
        (
            ["convert", "input=out.nc", "output=x.nc"],
            "is an archive that nowcast convert made, no radar file",
        ),
        (["convert", "input=[5.h5,no.h5]", "output=x.nc"], "'no.h5' matches no file"),
    ):
        with pytest.raises(SystemExit, match="2"):
            main(command)
        assert re.search(message, capsys.readouterr().err), message


def test_a_watch_looks_into_every_folder_of_a_list_also_while_one_is_empty_or_gone(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    watched = Incoming(
        f"[{tmp_path}/a, {tmp_path}/b/*.txt]",
        Named().read,
        keep=np.timedelta64(7200, "s"),
        switch_after=3,
        timestep=np.timedelta64(300, "s"),
    )
    now, found = np.datetime64("2020-06-01T01:00"), []
    for step in range(6):
        if step == 1:
            (tmp_path / "a/1.txt").write_bytes(text(5))
        if step == 3:
            (tmp_path / "a/1.txt").unlink()
            (tmp_path / "a").rmdir()
            (tmp_path / "b/2.txt").write_bytes(text(10))
        news = watched.look(now)
        found.append((len(news.times), len(news.rejected)))
    assert found == [(0, 0), (0, 0), (1, 0), (0, 1), (1, 0), (0, 0)]


def test_a_forecast_from_an_archive_with_a_file_that_is_no_radar_file_is_refused_with_the_way(
    tmp_path,
):
    files = [("a.h5", write_knmi(tmp_path / "a.h5", [[1]]).read_bytes()), ("README", b"text")]
    archive = write_tar(tmp_path / "a.tar", files)
    settings = {"context_length": 1, "reader": Auto(), "outputs": [tmp_path / "out.nc"]}
    with pytest.raises(UserError, match="a.tar: README is of no format.*convert leaves out files"):
        newest_frames(archive, **settings)
    frames = newest_frames(f"[{archive}: a.h5]", **settings)
    assert frames.source == "a.tar: a.h5"


def test_a_compressed_file_cut_anywhere_is_refused_by_its_own_name(tmp_path):
    whole = write_knmi(tmp_path / "a.h5", [[1, 2]]).read_bytes()
    generator = np.random.default_rng(3)
    for ending, pack in PACKERS.items():
        content = pack(whole)
        for cut in generator.integers(8, len(content) - 1, 12):
            path = tmp_path / f"a.h5.{ending}"
            path.write_bytes(content[:cut])
            with pytest.raises(UserError) as caught:
                Unpacking(Auto()).read(path)
            assert str(caught.value).startswith(f"{path} ") and "unpacked" not in str(caught.value)


@pytest.mark.parametrize("packed", ["", "gz"])
def test_members_are_found_in_any_order_also_in_an_archive_without_an_end(tmp_path, packed):
    files = [(f"{place}.txt", text(5 * place, place)) for place in range(6)]
    content = write_tar(tmp_path / "whole.tar", files).read_bytes()[: 12 * 512]
    archive = tmp_path / "endless.tar"
    archive.write_bytes(gzip.compress(content) if packed else content)
    unpacking = Unpacking(Named())
    for place in np.random.default_rng(1).integers(0, 6, 20):
        assert unpacking.read(member_path(archive, f"{place}.txt")).values[0, 0, 0] == place
