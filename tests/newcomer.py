"""What somebody who reads the documentation has in a folder, small: radar files, archives, digits."""

from pathlib import Path

import h5py
import numpy as np

from nowcast.data.examples import write_civil_protection_files
from tests.factories import write_archive, write_knmi
from tests.factories_cf import write_cf

EVENTS = ("knmi2010", "mch2015", "mch2017", "fmi2016")
_SHAPE = (24, 30)


def fill(folder: Path) -> None:
    """Write the files that the pages' commands name."""
    random = np.random.default_rng(0)
    _write_radar_files(folder / "radar", random)
    _write_digits(folder / "data", random)
    _write_radklim(folder / "pycomlink" / "pycomlink" / "io" / "example_data", random)
    for number, name in enumerate(EVENTS):
        rain = random.integers(0, 60, (20, *_SHAPE)) / 10
        minutes = 5 * np.arange(20) + 1440 * number
        write_archive(folder / "archives" / f"{name}.nc", rain, minutes.tolist())
    _write_held_out(folder / "held_out", random)
    _write_taasrad19(folder / "taasrad19", random)
    bare = {"standard_name": None, "units": None}
    rain = random.integers(0, 60, (1, *_SHAPE)).astype(np.float32)
    write_cf(folder / "composite.nc", rain, name="RATE", field=bare)
    # what `python -m nowcast.data.examples sri` writes, smaller
    write_civil_protection_files(folder / "sri", frames=144, shape=(64, 48), seed=4)
    (folder / "incoming").mkdir()


def _write_radar_files(folder: Path, random: np.random.Generator) -> None:
    """A morning of KNMI's files, one every 5 minutes."""
    folder.mkdir()
    for index in range(92):
        end = np.datetime64("2010-08-26T00:00") + 5 * index
        clock = [f"26-AUG-2010;{str(time)[11:16]}:00.000" for time in (end - 5, end)]
        write_knmi(
            folder / f"{index:03}.h5",
            random.integers(0, 60, _SHAPE),
            product_datetime_start=clock[0].replace("26", "25", index == 0),
            product_datetime_end=clock[1],
        )


def _write_digits(folder: Path, random: np.random.Generator) -> None:
    """MNIST's digits, and the benchmark's test file."""
    (folder / "mnist").mkdir(parents=True)
    digits = random.integers(0, 256, (20, 28, 28), dtype=np.uint8)
    header = np.array([2051, 20, 28, 28], ">i4").tobytes()
    (folder / "mnist" / "train-images-idx3-ubyte").write_bytes(header + digits.tobytes())
    sequences = random.integers(0, 256, (20, 2, 64, 64), dtype=np.uint8)
    np.save(folder / "mnist_test_seq.npy", sequences)


def _write_radklim(folder: Path, random: np.random.Generator) -> None:
    """The file that the package pycomlink carries: three runs of 20 frames on three days."""
    folder.mkdir(parents=True)
    shape = (60, *_SHAPE)
    amounts = np.where(random.random(shape) < 0.02, -9999, random.integers(0, 60, shape))
    hours = [24.0 * day + np.arange(20) / 12 for day in (6, 7, 9)]
    with h5py.File(folder / "example_areal_reference_data.nc", "w") as file:
        file["rainfall_amount"] = amounts.astype(np.int16)
        file["time"] = np.concatenate(hours)
        file["time"].attrs["units"] = "hours since 2018-05-10T00:00:00"


def _write_held_out(folder: Path, random: np.random.Generator) -> None:
    """Two events of services that nothing is learnt from."""
    folder.mkdir()
    for name in ("mch2020", "fmi2021"):
        rain = random.integers(0, 60, (20, *_SHAPE)) / 10
        write_archive(folder / f"{name}.nc", rain, range(0, 100, 5))


def _write_taasrad19(folder: Path, random: np.random.Generator) -> None:
    """The thumbnails of TAASRAD19: three runs of 40 frames, one in each part of the split."""
    folder.mkdir()
    days = np.array(["2016-06-01", "2016-11-01", "2017-02-01"], "datetime64[s]").astype(np.int64)
    times = (days[:, None] + 300 * np.arange(40)).ravel()
    code = random.integers(0, 256, (120, 64, 64), dtype=np.uint8)
    np.savez(folder / "train.npz", code=code, time=times, sequence=np.repeat([0, 1, 2], 40))
