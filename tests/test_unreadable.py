"""A file that is in use, out of reach, something else or packed in an unknown way is told from a
damaged one, with the right thing to do.
"""

import builtins
import errno
import gzip
import io
import json
import lzma
import os
import re
import subprocess
import sys
import tarfile
import threading
import time
import zipfile

import h5py
import numpy as np
import pytest
from factories import grid, times, write_archive, write_knmi, write_odim

from nowcast.cli import config as configuration
from nowcast.cli import main
from nowcast.data.archive import Archive, is_archive
from nowcast.data.conversion import convert
from nowcast.data.reading import ReadingProcess
from nowcast.evaluation.results import Results
from nowcast.forecasting.forecaster import Forecaster
from nowcast.forecasting.incoming import Incoming
from nowcast.readers import hdf5_chunks
from nowcast.readers.array_grid import ArrayGrid
from nowcast.readers.arrays import Arrays
from nowcast.readers.auto import Auto, readers
from nowcast.readers.content import damage_reported
from nowcast.readers.decoding import Coding
from nowcast.readers.geotiff import GeoTiff
from nowcast.readers.knmi_hdf5 import KnmiHdf5
from nowcast.readers.odim_hdf5 import OdimHdf5
from nowcast.readers.zarr_composite import ZarrComposite
from nowcast.runtime.errors import Unavailable, UserError
from nowcast.runtime.files import locked
from nowcast.runtime.unreadable import kind_of_content
from nowcast.training import checkpoints
from nowcast.types.frames import Frames
from tests.factories_results import results

MISLEADING = (
    "damaged|fetch it again|replace=true .o|convert the radar files again|evaluate "
    "again|start anew without"
)
SETTINGS = {
    "task": {
        "_target_": "nowcast.types.task.Task",
        "context_length": 3,
        "forecast_length": 2,
        "timestep": 5,
    },
    "transform": {"_target_": "nowcast.types.transform.LogRainRate", "knee": 0.5, "ceiling": 150.0},
    "model": {"_target_": "nowcast.models.convlstm_stack.ConvLSTMStack", "hidden_channels": [4]},
}
OLD = 1_000_000_000  # a time of change, in seconds since 1970, long before any test


def old(path):
    os.utime(path, (OLD, OLD))
    return path


def refusal(read, path) -> UserError:
    with pytest.raises(UserError) as refused:
        read(path)
    return refused.value


def zip_of(**members: bytes) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        for name, data in members.items():
            file.writestr(name, data)
    return content.getvalue()


def tar_of(mode: str, *, kind: int = tarfile.PAX_FORMAT) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode=mode, format=kind) as file:
        member = tarfile.TarInfo("radar.h5")
        member.size = 3000
        file.addfile(member, io.BytesIO(b"\x89HDF" + bytes(2996)))
    return content.getvalue()


def old_tar() -> bytes:
    """A tar of the seventies: the same, without the mark."""
    content = bytearray(tar_of("w:", kind=tarfile.USTAR_FORMAT))
    content[257:265] = bytes(8)
    content[148:156] = b" " * 8
    content[148:156] = b"%06o\0 " % sum(content[:512])
    return bytes(content)


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"
PAGE = (
    b'\xef\xbb\xbf\n <!DOCTYPE html PUBLIC "-//W3C//DTD">\n<html><head><title>404 Not Found</title>'
)
DENIED = b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code></Error>'
KINDS = {
    "tar": (tar_of("w:"), "a tar archive.*tar -xf"),
    "tar in the GNU format": (tar_of("w:", kind=tarfile.GNU_FORMAT), "a tar archive.*tar -xf"),
    "tar without a mark": (old_tar(), "a tar archive.*tar -xf"),
    "tar.gz": (tar_of("w:gz"), "a tar archive, packed with gzip.*tar -xf|a tar archive.*tar -xf"),
    "tar.xz": (tar_of("w:xz"), "packed with xz.*unxz|is a tar archive.*tar -xf"),
    "zip": (zip_of(**{"radar.h5": b"\x89HDF"}), "a zip (archive|file)"),
    "7z": (b"7z\xbc\xaf\x27\x1c" + bytes(90), "a 7z archive.*7z x"),
    "rar": (b"Rar!\x1a\x07\x01\0" + bytes(90), "a RAR archive.*unrar"),
    "xz": (lzma.compress(bytes(5000)), "packed with xz.*unxz"),
    "zstd": (b"\x28\xb5\x2f\xfd" + bytes(range(90)), "packed with zstd.*unzstd"),
    "lz4": (b"\x04\x22\x4d\x18" + bytes(range(90)), "packed with lz4"),
    "compress": (b"\x1f\x9d\x90" + bytes(range(90)), "packed with compress"),
    "page": (PAGE, "a web page .HTML.*(address|login)"),
    "page in lower case": (b"<html><body>Log in</body></html>", "a web page .HTML"),
    "packed page": (gzip.compress(PAGE), "a web page .HTML"),
    "answer of a store": (DENIED, "an error message of a server .XML"),
    "git-lfs": (LFS, "a Git LFS pointer.*git lfs pull"),
    "git-annex": (b"/annex/objects/SHA256E-s3--ba7816.h5\n", "a git-annex pointer.*git annex get"),
    "openssl": (b"Salted__" + bytes(range(90)), "encrypted.*decrypt it"),
    "pgp": (b"-----BEGIN PGP MESSAGE-----\n\nhQEMA\n", "encrypted.*decrypt it"),
    "json": (b'{"message": "Too many requests"}', "a JSON text"),
    "text": (b"429 Too Many Requests\n", "a text that begins '429 Too Many Requests'"),
    "pdf": (b"%PDF-1.7\n%\xe2\xe3" + bytes(90), "a PDF document"),
    "png": (b"\x89PNG\r\n\x1a\n" + bytes(90), "a PNG image"),
    "hdf4": (b"\x0e\x03\x13\x01" + bytes(90), "an HDF4 file.*h4toh5"),
    "bufr": (b"BUFR\0\1\0\3" + bytes(range(90)), "a BUFR file.*ecCodes"),
    "bulletin": (
        b"\r\n123\r\nPAEE01 EGRR 151200\r\r\nBUFR\0\1\0\3" + bytes(90),
        "a bulletin with BUFR.*cut off what stands before BUFR",
    ),
    "grib1": (b"GRIB\0\1\0\1" + bytes(range(90)), "a GRIB file of edition 1.*grib_to_netcdf"),
    "nexrad 2": (b"AR2V0006.123\0\0" + bytes(range(90)), "NEXRAD level 2 .sweeps .*Py-ART"),
    "packed nexrad 2": (
        gzip.compress(b"AR2V0006.123\0\0" + bytes(range(90))),
        "NEXRAD level 2 .sweeps of a radar in polar coordinates.*Py-ART",
    ),
    "nexrad 3": (b"SDUS53 KDVN 151200\r\r\nN0QDVN\r\r\n\0\x5e", "NEXRAD level 3.*wradlib"),
    "iris": (
        b"\x1b\0\x08\0" + bytes(8) + b"\x1a\0" + bytes(range(90)),
        "IRIS .Sigmet. raw data.*xradar",
    ),
    "uf": (b"\0\0\x20\0UF\x10\0\0\x2d" + bytes(90), "Universal Format .sweeps.*Py-ART"),
    "rainbow": (b'<volume version="5.22.6" datetime="x">\n' + b"a" * 90, "a Rainbow volume"),
    "dorade": (b"SSWB\0\0\0\xc4" + bytes(90), "DORADE .sweeps"),
    "mdv": (b"\0\0\x03\xf8\0\0\x37\x3e" + bytes(90), "MDV of NCAR.*Mdv2NetCDF"),
    "ascii grid": (b"ncols 900\nnrows 900\nxllcorner 0\n", "an ASCII grid.*gdal_translate"),
    "bmp": (b"BM\x36\0\x0c\0" + bytes(90), "a BMP image.*give the data"),
    "zeros": (bytes(4096), "zeros where it should begin.*wait until it is complete"),
}
ALL = [*(type(reader).__name__ for reader in readers()), "Auto", "Arrays"]


def reader_called(name: str):
    if name == "Arrays":
        return Arrays(
            ArrayGrid("EPSG:3035", 0.0, 0.0, 1000.0, 1000.0),
            "rain",
            Coding("rain_rate"),
            time_in_file="time",
        )
    return next((reader for reader in readers() if type(reader).__name__ == name), Auto())


@pytest.mark.parametrize("name", ALL)
def test_what_is_no_radar_file_is_called_by_its_name_by_every_reader_and_not_damaged(
    tmp_path, name
):
    reader = reader_called(name)
    for kind, (content, message) in KINDS.items():
        path = tmp_path / "radar_202401150000.h5"
        path.write_bytes(content)
        error = str(refusal(reader.read, path))
        if name == "MeteoNet" or (
            name == "Arrays" and kind == "zip"
        ):  # needs another name first; looks for an array in it
            continue
        assert "damaged or cut short" not in error and "radar_202401150000.h5" in error, (
            kind,
            error,
        )
        assert re.search(message, error), (kind, error)


def test_every_kind_is_told_by_its_first_bytes_and_no_real_format_is_one_that_no_reader_reads():
    for kind, (content, message) in KINDS.items():
        found = kind_of_content(content[:512])
        assert found is not None and re.search(message.split(".*")[0], found.what), kind
    for start in (
        b"\x89HDF\r\n\x1a\n",
        b"CDF\x01",
        b"GRIB\0\0\0\2",
        b"II*\0",
        b"GIF89a",
        b"P5\n# obstime 2",
        b"\x93NUMPY",
        b"PK\x03\x04",
        b"\x1f\x8b",
        b"BZh9",
    ):
        found = kind_of_content(start + bytes(range(1, 200)))
        assert found is None or not found.is_never_data, start
    assert kind_of_content(b"") is None and kind_of_content(bytes(range(256))) is None


CODES = {
    "EACCES": "may not be read by this user .Permission denied.*permissions",
    "EPERM": "may not be read by this user .*permissions",
    "EIO": "could not be read because its disk reports an error .Input/output error.*look after "
    "the disk",
    "ESTALE": "cannot be reached.*network mount.*Stale file handle",
    "ETIMEDOUT": "cannot be reached.*network mount",
    "EHOSTDOWN": "cannot be reached.*network mount",
    "ENOTCONN": "cannot be reached.*network mount",
    "EMFILE": "could not be opened because this process has too many files open.*ulimit -n",
    "ENFILE": "could not be opened because too many files are open on this machine",
    "ENOMEM": "could not be read because there was too little memory",
    "EAGAIN": "is in use by another program.*try again",
    "EBUSY": "is in use by another program.*try again",
    "ENOENT": "is not there any more|does not exist",
    "EKEYREJECTED": "could not be read .*; try again",
}


@pytest.mark.parametrize("name", ALL)
def test_what_the_system_says_of_a_file_is_passed_on_by_every_reader_and_is_no_damage(
    tmp_path, monkeypatch, name
):
    path, real = write_odim(tmp_path / "radar_202401150000.h5", [[1.0]]), builtins.open
    failing = OSError(0, "")

    def opened(file, *arguments, **settings):
        if isinstance(file, (str, os.PathLike)) and os.fspath(file) == str(path):
            raise OSError(failing.errno, os.strerror(failing.errno), str(path))
        return real(file, *arguments, **settings)

    if name == "MeteoNet":
        return
    for code, message in CODES.items():
        failing.errno = getattr(errno, code)
        with monkeypatch.context() as context:
            context.setattr(builtins, "open", opened)
            context.setattr(io, "open", opened)
            error = refusal(reader_called(name).read, path)
        assert isinstance(error, Unavailable) and re.search(
            f"radar_202401150000.h5 ({message})", str(error)
        ), (code, error)
        assert not re.search(MISLEADING, str(error))


@pytest.mark.parametrize(
    "raised, message",
    [
        (
            OSError(
                "Can't synchronously read data (can't open directory (/usr/local/lib/plugin). "
                "Please verify its existence)"
            ),
            "HDF5 filter that is not installed here.*pip install hdf5plugin",
        ),
        (
            OSError("Unable to open file (unable to lock file, errno = 11, error message = 'x')"),
            "in use by another program",
        ),
        (
            OSError("Unable to open file (unable to lock file, errno = 13, error message = 'x')"),
            "in use by another program",
        ),
        (
            OSError(
                "Unable to open file (unable to lock file, errno = 37, error message = 'No locks "
                "available')"
            ),
            "could not be locked.*HDF5_USE_FILE_LOCKING=FALSE",
        ),
        (
            OSError("Unable to open file (unable to lock file, errno = 38, error message = 'x')"),
            "could not be locked.*HDF5_USE_FILE_LOCKING=FALSE",
        ),
        (
            OSError(
                "Unable to open file (file is already open for write (may use <h5clear file>))"
            ),
            "is being written by another program.*h5clear",
        ),
        (
            OSError(
                "Can't read data (file read failed: time = x, errno = 5, error message = "
                "'Input/output error')"
            ),
            "its disk reports an error",
        ),
        (
            OSError(
                "Can't read data (file read failed: time = x, errno = 116, error message = "
                "'Stale file handle')"
            ),
            "network mount",
        ),
        (
            RuntimeError("File 'x.npy' is encrypted, password required for extraction"),
            "is encrypted.*password",
        ),
        (
            NotImplementedError("That compression method is not supported"),
            "packed in a way that is not known here.*deflate",
        ),
        (ValueError("codec not available: 'zfpy'"), "a codec that is not known here .*zfpy"),
        (
            ValueError("Invalid zarr_format. Expected one of 2 or 3. Got 4."),
            "a version of zarr that is not known here.*update zarr",
        ),
        (
            RuntimeError("a.tif: Cannot open TIFF file due to missing codec JXL."),
            "compressed with JXL, which the GDAL here cannot unpack",
        ),
        (
            RuntimeError("a.tif: Cannot open TIFF file due to missing codec of code 12345."),
            "compressed with 12345, which the GDAL",
        ),
        (MemoryError("Unable to allocate 9. GiB"), "needs more memory than there is"),
        (OSError(errno.EIO, "Input/output error"), "its disk reports an error"),
    ],
)
def test_what_libraries_say_of_files_that_are_whole_is_no_damage(tmp_path, raised, message):
    path = tmp_path / "a.h5"
    path.write_bytes(bytes(range(256)))
    with pytest.raises(UserError, match=f"a.h5 .*{message}") as refused, damage_reported(path):
        raise raised
    assert "damaged or cut short" not in str(
        refused.value
    ) and "fetch it again or leave it out" not in str(refused.value)


@pytest.mark.parametrize(
    "raised",
    [
        OSError("truncated file: eof = 5000"),
        OSError(errno.EINVAL, "Invalid argument"),
        EOFError("ended"),
        KeyError("x"),
        OSError("inflate() failed"),
    ],
)
def test_damage_is_still_called_so_and_a_file_that_changed_a_moment_ago_may_be_on_its_way(
    tmp_path, raised
):
    path = tmp_path / "a.h5"
    path.write_bytes(bytes(range(256)))
    old(path)
    with (
        pytest.raises(
            UserError, match="a.h5 is damaged or cut short .*; fetch it again or leave it out"
        ),
        damage_reported(path),
    ):
        raise raised
    os.utime(path)
    with (
        pytest.raises(
            UserError,
            match="it changed . s ago, so it may still be being written: wait until it is complete",
        ),
        damage_reported(path),
    ):
        raise raised


HOLDING = (
    "import h5py, sys, time\nfile = h5py.File(sys.argv[1], 'a')\nprint('held', "
    "flush=True)\ntime.sleep(600)"
)


@pytest.fixture
def hold():
    """Opens HDF5 files for writing in other processes, which lock them."""
    running = []

    def start(path):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDING, str(path)], stdout=subprocess.PIPE
        )
        running.append(process)
        assert process.stdout.readline() == b"held\n"
        return process

    yield start
    for process in running:
        process.kill()
        process.wait()


def test_a_file_and_an_archive_that_another_program_writes_are_in_use_and_nothing_is_lost(
    tmp_path, hold
):
    write_knmi(tmp_path / "a.h5", [[1]])
    next_ones = {
        f"product_datetime_{which}": f"26-AUG-2010;00:{minute}:00.000".encode()
        for which, minute in (("start", "05"), ("end", "10"))
    }
    write_knmi(tmp_path / "b.h5", [[2]], **next_ones)
    convert([tmp_path / "a.h5"], tmp_path / "a.nc", reader=KnmiHdf5())
    first, second = hold(tmp_path / "a.h5"), hold(tmp_path / "a.nc")
    for read in (KnmiHdf5().read, Auto().read):
        assert isinstance(
            error := refusal(read, tmp_path / "a.h5"), Unavailable
        ) and "a.h5 is in use by another program" in str(error)
    for use in (
        Archive,
        is_archive,
        lambda path: convert([tmp_path / "b.h5"], path, reader=KnmiHdf5()),
    ):
        error = refusal(use, tmp_path / "a.nc")
        assert (
            "a.nc is in use by another program" in str(error)
            and "replace" not in str(error)
            and isinstance(error, Unavailable)
        )
    with ReadingProcess(KnmiHdf5()) as process:
        assert isinstance(refusal(process.read, tmp_path / "a.h5"), Unavailable)
    second.kill()
    second.wait()
    with pytest.raises(
        Unavailable,
        match="a.nc is being written by another program, or by one that was ended before it was "
        "done",
    ):
        Archive(tmp_path / "a.nc")
    summary = convert([tmp_path / "a.h5", tmp_path / "b.h5"], tmp_path / "c.nc", reader=KnmiHdf5())
    assert summary.frames == 1 and [
        ("in use by another program" in reason) for _, reason in summary.quarantine
    ] == [True]
    first.kill()
    first.wait()
    assert (
        convert([tmp_path / "a.h5", tmp_path / "b.h5"], tmp_path / "c.nc", reader=KnmiHdf5()).added
        == 1
    )


def test_a_watch_takes_a_file_that_was_in_use_for_long_as_soon_as_it_can(tmp_path):
    free = threading.Event()

    def read(path):
        if not free.is_set():
            raise Unavailable(f"{path} is in use by another program")
        return Frames([[[1.0]]], times(0), grid(1, 1), str(path))

    incoming = Incoming(
        tmp_path, read, keep=np.timedelta64(2, "h"), switch_after=3, timestep=np.timedelta64(5, "m")
    )
    (tmp_path / "a").write_text("rain")
    rejected, now = [], times(30)[0]
    for minute in range(20):
        rejected += incoming.look(now + np.timedelta64(minute, "m")).rejected
    assert rejected == [("a", "a is in use by another program")] and not incoming.frames
    free.set()
    for minute in range(20, 24):
        incoming.look(now + np.timedelta64(minute, "m"))
    assert list(incoming.frames) == list(times(0))


def with_filter(path, code: int, *, is_applied: bool = True):
    """An ODIM file whose pixels claim a filter that no library has; nobody could have written it
    with that, so the pipeline is made by hand.
    """
    write_odim(path, np.ones((40, 50)))
    with h5py.File(path, "a") as file:
        values = file["dataset1/data1/data"][()]
        del file["dataset1/data1/data"]
        settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        settings.set_chunk((20, 25))
        settings.set_filter(code, h5py.h5z.FLAG_OPTIONAL, ())
        place, kind = h5py.h5s.create_simple(values.shape), h5py.h5t.NATIVE_DOUBLE
        dataset = h5py.h5d.create(file["dataset1/data1"].id, b"data", kind, place, settings)
        for row in (0, 20):
            for column in (0, 25):
                chunk = np.ascontiguousarray(values[row : row + 20, column : column + 25]).tobytes()
                dataset.write_direct_chunk((row, column), chunk, 0 if is_applied else 1)
    return path


@pytest.mark.parametrize(
    "code, name",
    [
        (32001, "blosc"),
        (32015, "zstd"),
        (32004, "lz4"),
        (32008, "bitshuffle"),
        (307, "bzip2"),
        (32026, "blosc2"),
        (32013, "zfp"),
        (40000, ""),
    ],
)
def test_a_file_packed_with_a_filter_that_is_not_installed_says_which_and_how_to_get_it(
    tmp_path, monkeypatch, code, name
):
    monkeypatch.setattr(hdf5_chunks, "_has_plugins", lambda: False)
    if h5py.h5z.filter_avail(code):  # netCDF4 brings some along, for the process that loaded it
        pytest.skip("that filter is installed here")
    path = with_filter(tmp_path / "a.h5", code)
    for read in (
        OdimHdf5().read,
        Auto().read,
        Arrays(
            ArrayGrid("EPSG:3035", 0.0, 0.0, 1000.0, 1000.0),
            "dataset1/data1/data",
            Coding("rain_rate"),
            time_in_name="a%Y%m%d%H",
        ).read,
    ):
        assert (
            f"a.h5 is compressed with the HDF5 filter {name}" in (error := str(refusal(read, path)))
            and f"({code}), which is not installed here; pip install hdf5plugin" in error
        )
    assert (
        OdimHdf5().read(with_filter(tmp_path / "b.h5", code, is_applied=False)).values.max() == 1
    )  # a filter that was left out is not missed


def test_files_of_hdf5plugin_are_read_where_it_is_installed_without_being_asked_for(tmp_path):
    pytest.importorskip("hdf5plugin")
    write_odim(tmp_path / "a.h5", np.ones((40, 50)))
    program = (
        "import sys, h5py, hdf5plugin\nwith h5py.File(sys.argv[1], 'a') as file:\n    values = "
        "file['dataset1/data1/data'][()]\n"
        "    del file['dataset1/data1/data']\n    file.create_dataset('dataset1/data1/data', "
        "data=values, chunks=(20, 25), **hdf5plugin.Zstd())"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "a.h5")], check=True)
    assert OdimHdf5().read(tmp_path / "a.h5").values.max() == 1


@pytest.mark.parametrize(
    "version, message",
    [
        (
            4,
            "a.h5 is of version 4 of the HDF5 format, and 3 is the newest that is known here; "
            "update h5py",
        ),
        (200, "a.h5 is damaged or cut short"),
    ],
)
def test_a_newer_hdf5_is_told_from_nonsense(tmp_path, version, message):
    path = write_odim(tmp_path / "a.h5", [[1.0]])
    content = bytearray(path.read_bytes())
    content[8] = version
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        OdimHdf5().read(path)


def test_what_is_no_file_at_all_is_called_what_it_is_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.h5")
    os.symlink(tmp_path / "far", tmp_path / "link.h5")
    os.mkdir(tmp_path / "folder.h5")
    for name, message in (
        ("pipe.h5", "is not a regular file, but a pipe"),
        ("link.h5", "does not exist .it is a link to .*far"),
        ("folder.h5", "is not a regular file, but a folder"),
    ):
        with pytest.raises(UserError, match=f"{name} {message}"):
            KnmiHdf5().read(tmp_path / name)
    (tmp_path / "file").touch()
    assert not is_archive(tmp_path / "file" / "x.nc") and not is_archive(tmp_path / ("x" * 300))
    with pytest.raises(UserError, match="x names no file .File name too long"):
        KnmiHdf5().read(tmp_path / ("x" * 300))
    with pytest.raises(UserError, match="/dev/null is not a regular file, but a device"):
        Auto().read("/dev/null")
    write_knmi(tmp_path / "good.h5", [[1]])
    began = time.monotonic()
    paths = [tmp_path / name for name in ("pipe.h5", "link.h5", "good.h5")]
    assert (
        convert(paths, tmp_path / "a.nc", reader=KnmiHdf5()).frames == 1
        and time.monotonic() - began < 20
    )


@pytest.mark.parametrize(
    "codec", [{"id": "zfpy", "mode": 4}, {"id": "imagecodecs_jpegxl"}, {"id": "pcodec"}]
)
def test_a_zarr_store_with_a_codec_that_is_not_there_is_not_damaged(tmp_path, codec):
    import zarr

    store = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2)
    store.create_array("rain", shape=(8, 8), chunks=(4, 4), dtype="f4")[:] = 1
    place = tmp_path / "a.zarr" / "rain" / ".zarray"
    place.write_text(json.dumps(json.loads(place.read_text()) | {"compressor": codec}))
    error = str(refusal(ZarrComposite().read, tmp_path / "a.zarr"))
    assert codec["id"] in error and "damaged" not in error and "fetch" not in error


def test_an_existing_file_that_is_no_archive_is_never_to_be_replaced(tmp_path):
    files = [write_knmi(tmp_path / "a.h5", [[1]])]
    cases = {
        "notes.nc": b"my notes",
        "cut.nc": write_archive(tmp_path / "whole.nc", np.ones((3, 2, 3)), (0, 5, 10)).read_bytes()[
            :2000
        ],
        "lfs.nc": LFS,
    }
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
        error = str(refusal(lambda path: convert(files, path, reader=KnmiHdf5()), tmp_path / name))
        assert (
            f"{name} exists and is no archive that frames could be added to; give another output"
            in error
            and "replace" not in error
        )
        assert (tmp_path / name).read_bytes() == content


def test_a_lock_on_a_file_system_that_knows_none_is_not_another_program(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("nowcast.runtime.files.fcntl.flock", refuse)
    with (
        pytest.raises(
            UserError, match="cannot write: .*lock cannot be locked there .No locks available"
        ),
        locked(tmp_path / "lock", busy="busy", unwritable="cannot write"),
    ):
        pass


def test_parts_of_an_interrupted_conversion_that_cannot_be_read_now_are_kept(
    tmp_path, monkeypatch, hold
):
    from nowcast.data import parts

    monkeypatch.setattr(parts, "MOST_FRAMES", 1)
    stamps = [f"26-AUG-2010;00:{5 * n:02d}:00.000".encode() for n in range(5)]
    files = [
        write_knmi(
            tmp_path / f"{n}.h5",
            [[n]],
            product_datetime_start=stamps[n],
            product_datetime_end=stamps[n + 1],
        )
        for n in range(4)
    ]

    def stop(done, _):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(files, tmp_path / "a.nc", reader=KnmiHdf5(), progress=stop)
    part = tmp_path / ".a.nc.parts" / "part-000001.h5"
    content, process = part.read_bytes(), hold(part)
    with pytest.raises(Unavailable, match="part-000001.h5 is in use"):
        convert(files, tmp_path / "a.nc", reader=KnmiHdf5())
    assert part.is_file()
    process.kill()
    process.wait()
    part.write_bytes(content)
    assert convert(files, tmp_path / "a.nc", reader=KnmiHdf5()).frames == 4


RUN_FILES = {
    "forecaster.json": Forecaster.load,
    "model.safetensors": Forecaster.load,
    "config.yaml": configuration.load,
    "last.ckpt": checkpoints.newest,
    "manifest.json": checkpoints.newest,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A folder that contains what a run leaves, all in one place."""
    folder = tmp_path_factory.mktemp("run")
    forecaster = Forecaster.from_settings(SETTINGS)
    forecaster.save(folder)
    (folder / "config.yaml").write_text("task: {}\n")
    progress = {
        "epoch_progress": {"current": {"processed": 1}},
        "epoch_loop.batch_progress": {"current": {"processed": 3, "completed": 3}},
    }
    state = {
        "state_dict": forecaster.model.state_dict(),
        "global_step": 3,
        "epoch": 1,
        "loops": {"fit_loop": progress},
    }
    checkpoints.save(state, folder / "last.ckpt")
    return folder


@pytest.mark.parametrize("name", RUN_FILES)
def test_a_file_of_a_run_that_cannot_be_read_now_is_not_called_damaged_and_nothing_is_to_be_made_anew(
    run, monkeypatch, name
):
    real, failing = builtins.open, OSError(0, "")

    def opened(file, *arguments, **settings):
        if isinstance(file, (str, os.PathLike)) and os.path.basename(file) == name:
            raise OSError(failing.errno, os.strerror(failing.errno), str(file))
        return real(file, *arguments, **settings)

    for code in ("EACCES", "EIO", "ESTALE", "EMFILE", "EBUSY"):
        failing.errno = getattr(errno, code)
        with monkeypatch.context() as context:
            context.setattr(builtins, "open", opened)
            context.setattr(io, "open", opened)
            error = refusal(RUN_FILES[name], run)
        assert (
            isinstance(error, Unavailable)
            and name in str(error)
            and os.strerror(failing.errno) in str(error)
        ), (code, error)
        assert not re.search(MISLEADING + "|train again|damage", str(error)), error
    RUN_FILES[name](run)


@pytest.mark.parametrize("name", ["forecaster.json", "model.safetensors", "last.ckpt"])
@pytest.mark.parametrize(
    "content, message", [(LFS, "a Git LFS pointer.*git lfs pull"), (PAGE, "a web page .HTML.")]
)
def test_a_file_of_a_run_that_is_a_pointer_or_a_page_says_so(run, tmp_path, name, content, message):
    for path in run.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=f"{name}.*{message}"):
        RUN_FILES[name](tmp_path)


def test_an_evaluation_that_another_program_writes_is_not_damaged(tmp_path, hold):
    results().save(tmp_path)
    process = hold(tmp_path / "evaluation.h5")
    error = refusal(Results.load, tmp_path)
    assert (
        isinstance(error, Unavailable)
        and "evaluation.h5 is in use by another program" in str(error)
        and "evaluate again" not in str(error)
    )
    process.kill()


def test_what_the_system_refuses_is_one_line_of_every_command(monkeypatch, capsys):
    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied", "runs/mine")

    monkeypatch.setattr("nowcast.cli.radar.plain_or_shown", refuse)
    with pytest.raises(SystemExit) as end:
        main(["convert", "input=a", "output=b.nc"])
    advice = "check the path and its permissions"
    said = f"nowcast convert: error: runs/mine: Permission denied; {advice}.\n"
    assert end.value.code == 2 and capsys.readouterr().err == said


def test_a_disk_that_fails_within_a_file_is_not_damage_also_where_the_library_does_not_say_so(
    tmp_path, monkeypatch
):
    path, real = tmp_path / "a.tif", builtins.open
    path.write_bytes(b"II*\0\x08\0\0\0" + bytes(range(256)) * 40)

    class Broken(io.FileIO):
        def read(self, size=-1):
            if self.tell() >= 512:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return super().read(min(size, 512))

    def opened(file, *arguments, **settings):
        return Broken(file) if str(file) == str(path) else real(file, *arguments, **settings)

    monkeypatch.setattr(builtins, "open", opened)
    with pytest.raises(
        Unavailable, match="a.tif could not be read because its disk reports an error"
    ):
        GeoTiff().read(path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("FmiPgm", "is not a PGM file but a JSON text"),
        ("MchGif", "is not a GIF file but a JSON text"),
        ("Radolan", "is not a RADOLAN file but a JSON text"),
        ("KnmiHdf5", "is not an HDF5 file but a JSON text"),
        ("ZarrComposite", "is not a zarr folder or zip file but a JSON text"),
        ("GeoTiff", "is no GeoTIFF, but a JSON text"),
        ("MrmsGrib2", "is no GRIB2 file but a JSON text"),
        ("Auto", "is of no format that is known here .it is a JSON text"),
    ],
)
def test_a_reader_says_what_it_needed_and_what_came(tmp_path, name, message):
    (tmp_path / "a").write_text('{"error": 429}')
    with pytest.raises(UserError, match=message):
        reader_called(name).read(tmp_path / "a")
