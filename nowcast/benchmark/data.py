"""What data cost on this machine: layouts of the archive, and how much faster loaders are than the
training they feed.

Axes: T frames, H rows, W columns.
"""

import itertools
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np
import torch

from nowcast.benchmark.measuring import (
    RECORDED,
    Host,
    Report,
    check_settings,
    device,
    grid,
    measure,
    measure_together,
    title,
    training_step,
)
from nowcast.benchmark.rain import moving_rain, write_radar_files
from nowcast.data.archive import Archive
from nowcast.data.packed_frames import layout
from nowcast.data.conversion import convert
from nowcast.data.memory import fits
from nowcast.data.sampling import loader
from nowcast.readers.auto import Auto
from nowcast.runtime.build import part
from nowcast.runtime.errors import UserError
from nowcast.runtime.precision import precision_of

CROPS = 12  # read in each layout
TILES = (256, 128, 64, 32)
CHUNKS_OF_SEVERAL_FRAMES = ((4, 64), (16, 32))  # frames, side
COMPRESSIONS = (
    {},
    {"compression": "lzf"},
    {"compression": "gzip", "compression_opts": 1, "shuffle": False},
    {"compression": "gzip", "compression_opts": 4, "shuffle": False},
    {"compression": "gzip", "compression_opts": 4, "shuffle": True},
)
COLUMNS = ("write", "read_frame", "read_crop", "read_candidate")
LAYOUTS = (
    "A crop is all that one training case reads: the same crop of every frame of its window; a "
    "candidate is that crop of one frame, of which "
    "several are read to choose a rainy one. Files lie in the page cache, HDF5 keeps no chunk. "
    "*: what `nowcast convert` writes. Rates are float32 "
    "in all of them: not every product's are multiples of one step, as 16-bit counts would need."
)
LOADERS = (
    "Loaders run whole epochs, after one that does not count, in turns with training steps; "
    "workers of a real training share the cores with it. From "
    "memory: the archive fits into data.memory_mb. From the file: data.memory_mb=0, as for "
    "archives that do not."
)


@dataclass(frozen=True)
class Data:
    """Layouts of an archive, the radar training's loader and Moving MNIST's.

    Args:
        archive: an archive made by ``nowcast convert``; None: synthetic rain.
        rows, columns: size of the synthetic rain [pixels of 1 km].
        frames: length of the synthetic rain, and the most frames that are written in each layout.
        radar, moving_mnist: the trainings to feed, as typed behind ``nowcast train``.
        workers: numbers of loader processes.
        seconds: of every loader and training step.
    """

    archive: str | None = None
    rows: int = 765
    columns: int = 700
    frames: int = 100
    radar: list[str] = field(default_factory=lambda: ["experiment=radar_quickstart"])
    moving_mnist: list[str] = field(default_factory=list)
    workers: list[int] = field(default_factory=lambda: [0, 1, 2])
    seconds: float = 2.0

    def __post_init__(self):
        check_settings(self)
        if not self.workers or not all(
            isinstance(count, int) and not isinstance(count, bool) and count >= 0
            for count in self.workers
        ):
            raise UserError(
                f"workers is {self.workers!r}; a list of whole numbers, 0 or more, is needed."
            )

    def run(self, host: Host) -> Report:
        """Measure layouts and loaders; the files of the layouts are made in a temporary folder.

        Raises:
            UserError: an archive that is none, or has no window for the training; a training that
                cannot be composed.
        """
        with tempfile.TemporaryDirectory() as folder:
            path = (
                Path(self.archive)
                if self.archive is not None
                else synthetic_archive(
                    Path(folder) / "rain.nc", self.frames, self.rows, self.columns
                )
            )
            radar = host.settings_of([*self.radar, f"data.archive={path}"])
            layouts = self._layouts(radar, path, Path(folder) / "layout.h5", host)
            loaders = []
            for settings in host.progress([radar, host.settings_of(self.moving_mnist)]):
                loaders += self._loaders(settings)
        source = "synthetic rain" if self.archive is None else str(self.archive)
        return Report(
            layouts + loaders,
            [_layout_table(layouts, source), _loader_table(loaders)],
            [LAYOUTS, LOADERS],
            facts={"source": source},
        )

    def _layouts(self, settings: dict, path: Path, temporary: Path, host: Host) -> list[dict]:
        """Four records of each layout: writing and reading."""
        data = part(settings, "data")
        with Archive(path) as archive:
            values = archive.read(0, min(self.frames, len(archive)))
        cases = data.part("train")
        places = [cases.place(0, index) for index in range(len(cases))]
        windows = [
            (slice(start, start + cases.shape[0]), rows, columns)
            for start, rows, columns in places
            if start + cases.shape[0] <= len(values)
        ][:CROPS]
        if not windows:
            raise UserError(
                f"frames is {self.frames}; the first so many frames of {path} hold no training "
                "case, give more."
            )
        records = []
        for stored in host.progress(list(layouts_of(*values.shape))):
            name = f"{describe(stored)}{' *' if stored == layout(*values.shape[1:]) else ''}"
            timings = dict(
                zip(COLUMNS, self._timings(values, stored, windows, temporary), strict=True)
            )
            for phase, milliseconds in timings.items():
                record = {
                    "case": "archive",
                    "implementation": name,
                    "precision": "float32",
                    "phase": phase,
                    "milliseconds": milliseconds,
                }
                records.append(record | {"bytes": temporary.stat().st_size, "frames": len(values)})
        return records

    def _timings(
        self, values: np.ndarray, stored: dict, windows: list[tuple], temporary: Path
    ) -> Iterator[float]:
        """Milliseconds to write a frame, to read one, to read a crop of a window, and that crop of
        one frame.
        """
        start = time.perf_counter()
        with h5py.File(
            temporary,
            "w",
            libver=("v110", "v110"),
            rdcc_nbytes=2 * (stored["chunks"] or (1,))[0] * values[0].nbytes,
        ) as file:
            dataset = file.create_dataset(
                "rates", values.shape, np.float32, fillvalue=np.nan, **stored
            )
            for place, frame in enumerate(values):
                dataset[place] = frame
        yield 1000 * (time.perf_counter() - start) / len(values)
        cpu = torch.device("cpu")
        with h5py.File(temporary, "r", rdcc_nbytes=0) as file:
            dataset = file["rates"]
            frames = np.linspace(0, len(values) - 1, min(CROPS, len(values))).astype(int)
            selections = [
                list(frames),
                windows,
                [(window.start, rows, columns) for window, rows, columns in windows],
            ]
            for selected in selections:
                yield measure(
                    lambda selected=selected: [dataset[place] for place in selected],
                    cpu,
                    seconds=self.seconds / 10,
                ) / len(selected)

    def _loaders(self, settings: dict) -> list[dict]:
        """What a training step consumes, then what loaders deliver; milliseconds are those of a
        batch. All take turns.
        """
        on = device()
        batch = next(iter(_loader(settings, workers=0)))
        precision = precision_of(settings["training"]["precision"], on.type)
        on_device = {name: values.to(on) for name, values in batch.items()}
        step = training_step(
            part(settings, "model").to(on), part(settings, "loss"), on_device, precision=precision
        )
        loaders = {
            (name, workers): _Epochs(_loader(changed, workers=workers))
            for (name, changed), workers in itertools.product(_sources(settings), self.workers)
        }
        found = measure_together({"step": step, **loaders}, on, seconds=self.seconds)
        consumed = 1000 * len(batch["context"]) / found["step"]
        case = settings["name"] if "archive" in settings["data"] else "moving_mnist"
        record = {
            "case": case,
            "implementation": "training step",
            "precision": RECORDED[precision],
            "phase": "train",
            "milliseconds": found["step"],
        }
        records = [record | {"sequences_per_second": consumed}]
        for (name, workers), epochs in loaders.items():
            milliseconds = found[name, workers] / len(epochs.batches)
            rate = 1000 * epochs.sequences / found[name, workers]
            record = {
                "case": case,
                "implementation": name,
                "precision": "float32",
                "phase": "load",
                "milliseconds": milliseconds,
            }
            records.append(
                record
                | {"workers": workers, "sequences_per_second": rate, "ratio": rate / consumed}
            )
        return records


class _Epochs:
    """An epoch of a loader at each call.

    Attributes:
        sequences: how many the last one had.
    """

    def __init__(self, batches):
        self.batches, self.sequences, self._next = batches, 0, itertools.count()

    def __call__(self) -> None:
        self.batches.sampler.set_epoch(next(self._next))
        self.sequences = sum(len(batch["context"]) for batch in self.batches)


def layouts_of(frames: int, rows: int, columns: int) -> Iterator[dict]:
    """Layouts to compare, as settings of h5py's ``create_dataset``; those of `nowcast convert` are
    among them.
    """
    sides = [
        (frames, side)
        for frames, side in (
            (1, max(rows, columns)),
            *((1, tile) for tile in TILES),
            *CHUNKS_OF_SEVERAL_FRAMES,
        )
    ]
    chunkings = [
        (min(count, frames), *(-(-side // -(-side // largest)) for side in (rows, columns)))
        for count, largest in sides
    ]
    found = [
        {"chunks": None},
        *(
            {"chunks": chunks} | filters
            for chunks, filters in itertools.product(chunkings, COMPRESSIONS)
        ),
    ]
    found.append(layout(rows, columns))
    yield from (stored for place, stored in enumerate(found) if stored not in found[:place])


def describe(stored: dict) -> str:
    """1x64x64 gzip 4, shuffled."""
    if stored["chunks"] is None:
        return "contiguous"
    filters = [
        str(stored[key])
        for key in ("compression", "compression_opts")
        if stored.get(key) is not None
    ]
    return " ".join(["x".join(map(str, stored["chunks"])), *filters]) + (
        ", shuffled" if stored.get("shuffle") else ""
    )


def _sources(settings: dict) -> list[tuple[str, dict]]:
    """Ways to have the data: (name, settings)."""
    data = settings["data"]
    if "archive" not in data:
        return [("generated", settings)]
    from_file = ("from the file", settings | {"data": data | {"memory_mb": 0}})
    with Archive(data["archive"]) as archive:
        return (
            [("from memory", settings), from_file]
            if fits(archive, data["memory_mb"])
            else [from_file]
        )


def _loader(settings: dict, *, workers: int):
    """The training's loader, as ``nowcast.training.loop`` makes it."""
    training, task = settings["training"], part(settings, "task")
    cases, transform = part(settings, "data").part("train"), part(settings, "transform")
    return loader(
        cases,
        transform,
        context_length=task.context_length,
        batch_size=training["batch_size"],
        workers=workers,
        seed=settings["seed"],
    )


def synthetic_archive(path: Path, frames: int, rows: int, columns: int) -> Path:
    """An archive of made-up rain, one frame every five minutes, converted from the radar files it
    came in.
    """
    times = np.datetime64("2026-01-01T00:00", "s") + 300 * np.arange(frames)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        convert(
            write_radar_files(moving_rain(frames, rows, columns), times, Path(folder)),
            path,
            reader=Auto(),
        )
    return path


def _layout_table(records: list[dict], source: str):
    found: dict[str, dict] = {}
    for record in records:
        found.setdefault(record["implementation"], {"bytes": record["bytes"] / record["frames"]})[
            record["phase"]
        ] = record["milliseconds"]
    rows = [
        [name, f"{row['bytes'] / 1000:,.1f}", *(f"{row[phase]:.2f}" for phase in COLUMNS)]
        for name, row in found.items()
    ]
    headings = [
        "chunks: frames x rows\nx columns",
        "size\n[kB]",
        "write\n[ms]",
        "read\n[ms]",
        "a crop\n[ms]",
        "candidate\n[ms]",
    ]
    return grid(
        title(
            f"layouts of an archive, {source}",
            "size, writing and reading of a whole frame; reading a crop, a candidate",
        ),
        headings,
        rows,
    )


def _loader_table(records: list[dict]):
    rows = []
    for record in records:
        workers, ratio = record.get("workers"), record.get("ratio")
        rows.append(
            [
                f"{record['case']}, {record['implementation']}",
                "" if workers is None else str(workers),
                f"{record['sequences_per_second']:,.0f}",
                "" if ratio is None else f"{ratio:.1f}",
            ]
        )
    return grid(
        title("sequences per second, and how many times what the training consumes"),
        ["", "workers", "sequences/s", "ratio"],
        rows,
    )
