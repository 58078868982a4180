"""Guarantees on what comes from strangers: files, models and configurations that are damaged,
hostile or wrong.
"""

import contextlib
import io
import json
import os
import pickle
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import h5py
import numpy as np
import pyproj

from nowcast.data.archive import NewestFrames
from nowcast.data.archive_writing import write_archive
from nowcast.data.origin import Origin
from nowcast.data.packed_frames import PackedFiles, PackedFrames
from nowcast.data.reading import ReadingProcess
from nowcast.readers.auto import Auto
from nowcast.runtime.errors import UserError
from nowcast.types.frames import Frames
from tests.battery.stage import CRS, Outcome, Stage, frames, network, rain
from tests.factories_cf import write_cf
from tests.factories_nimrod import write_nimrod

_SECONDS = 5.0  # that a file may take


def archive(path: Path, values: np.ndarray, *, copies: int = 1) -> Path:
    """An archive of rain rates (T, H, W) every 5 minutes, all of them so many times in a row."""
    return write(path, frames(values), copies=copies)


def write(path: Path, source: Frames, *, copies: int = 1) -> Path:
    """An archive of frames every 5 minutes, all of them so many times in a row."""
    packed = path.with_name("packed")
    file = PackedFrames(packed, source.grid, source.quantity)
    for time_, field in zip(source.times, source.values):
        file.append(time_, field, Origin("battery", 1))
    file.close()
    with PackedFiles() as files:
        stored, grid, quantity = files.frames(packed)
        repeated = [stored[index % len(stored)] for index in range(copies * len(stored))]
        moments = source.times[0] + np.arange(len(repeated)) * np.timedelta64(300, "s")
        write_archive(
            [replace(frame, time=moment) for frame, moment in zip(repeated, moments)],
            path,
            grid=grid,
            quantity=quantity,
            settings={},
        )
    packed.unlink()
    return path


def odim(path: Path, values: np.ndarray, **storage) -> Path:
    """An ODIM_H5 composite of rain rates (H, W) [mm/h], -1 where not observed, with h5py's storage
    settings.
    """
    height, width = values.shape
    corners = {"UL": (0.0, 0.0), "LR": (1000.0 * width, -1000.0 * height)}
    lonlat = {corner: pyproj.Proj(CRS)(*point, inverse=True) for corner, point in corners.items()}
    moment = {"date": b"20200601", "time": b"001500"}
    interval = {
        "startdate": b"20200601",
        "starttime": b"001000",
        "enddate": b"20200601",
        "endtime": b"001500",
    }
    where = {
        "projdef": CRS.encode(),
        "xsize": width,
        "ysize": height,
        "xscale": 1000.0,
        "yscale": 1000.0,
    }
    with h5py.File(path, "w") as file:
        file.attrs["Conventions"] = b"ODIM_H5/V2_2"
        for name, attributes in {
            "what": {"object": b"COMP", **moment},
            "where": where
            | {
                f"{corner}_{name}": lonlat[corner][i]
                for corner in lonlat
                for i, name in enumerate(("lon", "lat"))
            },
            "dataset1/what": {"quantity": b"RATE", **interval},
            "dataset1/data1/what": {"gain": 1.0, "offset": 0.0, "nodata": -1.0, "undetect": -2.0},
        }.items():
            file.require_group(name).attrs.update(attributes)
        file.create_dataset("dataset1/data1/data", data=np.nan_to_num(values, nan=-1.0), **storage)
    return path


def mutated_files(stage: Stage) -> Outcome:
    """No damaged file crashes, hangs or bloats what reads it; no damage in an archive of ours is
    ever read as something else.
    """
    outcome, changed, lost = Outcome(), 0, 0
    values = rain(3, 40, 40)
    tiles = {"chunks": (20, 20)}
    originals = {
        "gzip": odim(stage.folder / "gzip.h5", values[0], compression="gzip", **tiles),
        "contiguous": odim(stage.folder / "contiguous.h5", values[0]),
        "fletcher32": odim(stage.folder / "fletcher32.h5", values[0], fletcher32=True, **tiles),
        "CF NetCDF-4": write_cf(stage.folder / "cf.nc", values),
        "CF NetCDF-3": write_cf(stage.folder / "classic.nc", values, kind="NETCDF3_CLASSIC"),
        "Nimrod": write_nimrod(stage.folder / "nimrod.dat", np.nan_to_num(32 * values[0], nan=-1)),
        "own": archive(stage.folder / "own.nc", values),
    }
    with ReadingProcess(NewestFrames(Auto(), 10), seconds=_SECONDS) as reader:
        for layout, original in originals.items():
            content, expected = original.read_bytes(), reader.read(original)
            path = original.with_name(f"mutated-{original.name}")
            for case in range(stage.number(150, 5000)):
                path.write_bytes(_mutated(content, stage.generator))
                began = time.monotonic()
                try:
                    found = reader.read(path)
                    same = _same(found, expected)
                    changed += not same
                    outcome.count(
                        same or layout != "own", f"{layout} {case}: read as something else"
                    )
                except UserError as error:
                    lost += "ended the process" in str(error) or "could not be read within" in str(
                        error
                    )
                    outcome.count("\n" not in str(error), f"{layout} {case}: {error}")
                if time.monotonic() - began > _SECONDS + 1:
                    outcome.failures.append(
                        f"{layout} {case}: took {time.monotonic() - began:.1f} s"
                    )
    outcome.note = f"{lost} reading processes lost, {changed} foreign files read with other values"
    return outcome


def _mutated(content: bytes, generator: np.random.Generator) -> bytes:
    """Bytes changed, lost, emptied, or put in."""
    bytes_ = bytearray(content)
    kind, place = generator.integers(6), int(generator.integers(len(content)))
    if kind < 3:
        for index in generator.integers(0, len(content), 1 + int(generator.integers(8))):
            bytes_[index] = int(generator.integers(256))
    elif kind == 3:
        del bytes_[place:]
    elif kind == 4:
        length = int(generator.integers(1, 512))
        bytes_[place : place + length] = bytes(len(bytes_[place : place + length]))
    else:
        bytes_[place:place] = generator.bytes(int(generator.integers(1, 64)))
    return bytes(bytes_)


def _same(one: Frames, other: Frames) -> bool:
    pairs = (
        (one.values, other.values),
        (one.times, other.times),
        (one.grid.x, other.grid.x),
        (one.grid.y, other.grid.y),
    )
    return one.grid.crs == other.grid.crs and all(
        a.shape == b.shape and np.array_equal(a, b, equal_nan=a.dtype.kind == "f") for a, b in pairs
    )


def hostile_hdf5(stage: Stage) -> Outcome:
    """No HDF5 file opens another file, claims what it does not hold, or is taken for what it is
    not.
    """
    outcome = Outcome()
    secret = stage.folder / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["data"] = np.full((40, 40), 42.0)
    raw = stage.folder / "secret.bin"
    raw.write_bytes(np.full((40, 40), 42.0).tobytes())
    values = rain(3, 40, 40)
    bases = {"odim": ("dataset1/data1/data", (40, 40)), "archive": ("rainfall_rate", (3, 40, 40))}

    def put(shape, **settings) -> Callable:
        return lambda group, name: group.create_dataset(name, shape, **({"dtype": "f4"} | settings))

    def virtual(group, name):
        layout = h5py.VirtualLayout((40, 40), "f8")
        layout[:] = h5py.VirtualSource(str(secret), "data", (40, 40))
        group.create_virtual_dataset(name, layout)

    def references(group, name):
        group.create_dataset(name, (4,), h5py.ref_dtype)

    attacks = {
        "external link": lambda group, name: group.__setitem__(
            name, h5py.ExternalLink(str(secret), "/data")
        ),
        "external storage": put((40, 40), dtype="f8", external=[(str(raw), 0, 12800)]),
        "virtual data set": virtual,
        "link in a circle": lambda group, name: group.__setitem__(
            name, h5py.SoftLink(f"{group.name.rstrip('/')}/{name}")
        ),
        "link to nothing": lambda group, name: group.__setitem__(name, h5py.SoftLink("/nowhere")),
        "80 GB declared": put((1, 100_000, 200_000), chunks=(1, 1000, 1000), compression="gzip"),
        "a huge chunk": put((1, 20_000, 20_000), chunks=(1, 20_000, 20_000), compression="gzip"),
        "very many chunks": put((2_000, 2_000), chunks=(1, 1), compression="gzip"),
        "never written": put((40, 40), chunks=(20, 20), compression="gzip"),
        "text": put((40, 40), dtype=h5py.string_dtype()),
        "records": put((40, 40), dtype=np.dtype([("a", "f4"), ("b", "f4")])),
        "references": references,
        "one axis": put((1600,)),
        "a group": lambda group, name: group.create_group(name),
    }
    with ReadingProcess(NewestFrames(Auto(), 10), seconds=_SECONDS) as reader:
        for base, (place, _) in bases.items():
            for attack, apply in attacks.items():
                path = stage.folder / f"{base} {attack}.h5"
                archive(path, values) if base == "archive" else odim(
                    path, values[0], chunks=(20, 20), compression="gzip"
                )
                with h5py.File(path, "r+") as file:
                    parent, _, name = place.rpartition("/")
                    group = file[parent or "/"]
                    del group[name]
                    apply(group, name)
                began = time.monotonic()
                outcome.refused(lambda path=path: reader.read(path), path.stem)
                if time.monotonic() - began > _SECONDS + 1:
                    outcome.failures.append(f"{path.stem}: took {time.monotonic() - began:.1f} s")
    return outcome


TARGETS = (  # what a hostile run may name as its model, transform, loss ...
    "os.system",
    "os.popen",
    "os.remove",
    "subprocess.run",
    "subprocess.Popen",
    "subprocess.check_output",
    "builtins.eval",
    "builtins.exec",
    "builtins.open",
    "builtins.__import__",
    "shutil.copyfile",
    "shutil.rmtree",
    "pathlib.Path.unlink",
    "importlib.import_module",
    "runpy.run_path",
    "torch.load",
    "torch.hub.load",
    "numpy.load",
    "pickle.loads",
    "ctypes.CDLL",
    "webbrowser.open",
    "hydra.utils.instantiate",
    "hydra.utils.call",
    "nowcast.runtime.files.replacing",
    "nowcast.cli.main",
    "nowcast.evaluation.score_files.write_csv",
    "nowcast.models.unet.torch.load",
    "nowcast.data.conversion.convert",
    "nowcast.training.settings.TrainingSettings",
)


class _Bomb:
    """What a pickle would do."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def hostile_models(stage: Stage) -> Outcome:
    """Opening a model or a run of a stranger runs no code: each is refused in one line within two
    seconds, and nothing happens.
    """
    from nowcast.cli import config as configuration
    from nowcast.forecasting.forecaster import Forecaster
    from nowcast.training import checkpoints

    outcome, marker = Outcome(), stage.folder / "HACKED"
    good = network()
    good.save(stage.folder / "good")
    settings = json.loads((stage.folder / "good" / "forecaster.json").read_text())
    yaml = configuration.text(
        configuration.compose("train", [f"output_dir={stage.folder / 'run'}", "experiment=smoke"])
    )

    def attacked(name: str, call: Callable[[], object]) -> None:
        began = time.monotonic()
        outcome.refused(call, name)
        if marker.exists() or time.monotonic() - began > 2:
            outcome.failures.append(
                f"{name}: {'it ran' if marker.exists() else 'took more than 2 s'}"
            )
            with contextlib.suppress(OSError):
                marker.rmdir()

    def folder(name: str, files: dict[str, bytes | str]) -> Path:
        place = stage.folder / name
        for file, content in files.items():
            (place / file).parent.mkdir(parents=True, exist_ok=True)
            (place / file).write_bytes(content if isinstance(content, bytes) else content.encode())
        return place

    weights = (stage.folder / "good" / "model.safetensors").read_bytes()
    for index, target in enumerate(TARGETS):
        node = {
            "_target_": target,
            "command": f"mkdir {marker}",
            "path": str(marker),
            "src": str(marker),
        }
        part = ("model", "transform", "task")[index % 3]
        place = folder(
            f"model-{index}",
            {"forecaster.json": json.dumps(settings | {part: node}), "model.safetensors": weights},
        )
        attacked(
            f"forecaster.json with {part} {target}", lambda place=place: Forecaster.load(place)
        )
        wanted = (
            "nowcast.training.losses.CrossEntropy",
            "nowcast.data.moving_mnist.MovingMnist",
            "nowcast.training.settings.TrainingSettings",
        )[index % 3]
        if wanted not in yaml:
            raise RuntimeError(f"the configuration of a run does not name {wanted} any more")
        place = folder(f"run-{index}", {"config.yaml": yaml.replace(wanted, target)})
        attacked(
            f"config.yaml with {target}", lambda place=place: command("train", f"resume={place}")
        )
    bomb = pickle.dumps(_Bomb(marker))
    place = folder(
        "pickled weights",
        {
            "forecaster.json": json.dumps(settings | {"weights_sha256": sha256(bomb).hexdigest()}),
            "model.safetensors": bomb,
        },
    )
    attacked("a pickle as weights", lambda: Forecaster.load(place))
    for name in (checkpoints.LAST, checkpoints.BEST):
        forged = json.dumps(
            {
                "checkpoints": [
                    {"file": name, "sha256": sha256(bomb).hexdigest(), "step": 1, "epoch": 0}
                ]
            }
        )
        run = folder(
            f"pickled {name}",
            {
                "config.yaml": yaml,
                f"checkpoints/{name}": bomb,
                f"checkpoints/{checkpoints.MANIFEST}": forged,
            },
        )
        attacked(
            f"a pickle as {name}", lambda path=run / "checkpoints" / name: checkpoints.load(path)
        )
        attacked(
            f"a pickle as {name}, resumed", lambda run=run: checkpoints.newest(run / "checkpoints")
        )
    tagged = f"!!python/object/apply:os.mkdir ['{marker}']\n"
    for name, text in {
        "a YAML tag": tagged,
        "a YAML tag inside": yaml.replace("seed: 1", f"seed: {tagged.strip()}", 1),
        "YAML nested without end": "[" * 400,
        "an environment variable": yaml.replace("name: smoke", "name: ${oc.env:HOME}/..", 1),
    }.items():
        place = folder(name, {"config.yaml": text})
        attacked(name, lambda place=place: command("train", f"resume={place}"))
    for name, text in {
        "JSON nested without end": "[" * 100_000,
        "a JSON list": "[1]",
        "another format": json.dumps(settings | {"format": 10**30}),
    }.items():
        place = folder(name, {"forecaster.json": text, "model.safetensors": weights})
        attacked(name, lambda place=place: Forecaster.load(place))
    attacked("a checkpoint that is a link to /dev/zero", lambda: _linked(stage.folder))
    outcome.note = "0 side effects" if not marker.exists() else "something ran"
    return outcome


def _linked(folder: Path) -> None:
    from nowcast.training import checkpoints

    place = folder / "linked" / checkpoints.LAST
    place.parent.mkdir()
    place.symlink_to("/dev/zero")
    checkpoints.load(place)


def wrong_settings(stage: Stage) -> Outcome:
    """Wrong settings fail at once: misspelt keys and values of another kind are refused before data
    is touched, and the key is named.
    """
    from omegaconf import OmegaConf

    from nowcast.cli import config as configuration

    outcome = Outcome()
    config = configuration.compose("train", ["experiment=smoke"])
    leaves = [
        key
        for part in ("training", "data", "model", "task")
        for key in _leaves(OmegaConf.to_container(config[part], resolve=False), part)
    ]
    numbers = [
        key
        for key in leaves
        if isinstance(OmegaConf.select(config, key), (int, float))
        and not isinstance(OmegaConf.select(config, key), bool)
    ]
    misspelt = [(f"{key}x=1", f"{key.rpartition('.')[2]}x") for key in leaves[:25]]
    of_another_kind = [
        (f"{key}={'two' if 'bias' in key else -1.5}", key.rpartition(".")[2]) for key in numbers
    ]
    chosen = (
        misspelt
        + of_another_kind
        + [
            (f"{key}=two", name)
            for key, (_, name) in zip(numbers, of_another_kind)
            if "bias" not in key
        ]
    )[:: stage.number(3, 1)][:50]
    for typed, name in chosen:
        began = time.monotonic()
        try:
            command("train", "experiment=smoke", f"output_dir={stage.folder / 'run'}", typed)
            outcome.count(False, f"{typed}: accepted")
        except UserError as error:
            took = time.monotonic() - began
            outcome.count(
                name in str(error) and took < 5 and not (stage.folder / "run").exists(),
                f"{typed}: {took:.1f} s, {error}",
            )
    return outcome


def _leaves(node, where: str) -> Iterator[str]:
    for key, value in node.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{where}.{key}")
        elif key != "_target_":
            yield f"{where}.{key}"


def command(*arguments: str) -> str:
    """What a nowcast command prints.

    Raises:
        UserError: with its one line, where it ends with exit code 2.
    """
    from nowcast.cli import main

    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main(list(arguments))
    except SystemExit as end:
        if end.code == 2:
            raise UserError(err.getvalue().strip()) from None
        raise RuntimeError(f"exit code {end.code}: {err.getvalue().strip()}") from None
    return out.getvalue()
