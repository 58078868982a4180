"""Which files a user means, and what they hold as Frames."""

import glob
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from nowcast.errors import UserError
from nowcast.frames import Frames
from nowcast.types.tolerance import DEFAULT, Tolerance

_STORES = (".zgroup", ".zattrs", "zarr.json")  # what makes a folder one data set


def expand_inputs(pattern: str | Path) -> list[Path]:
    """The files a user means by a file, a folder (the files in it) or a pattern with ``*``, ``**``, ``?`` or ``[...]``.

    The part of the path that exists as it is written is taken literally, whatever characters are in it.

    Raises:
        UserError: there is no such file.
    """
    try:
        return _expanded(os.fspath(pattern))
    except OSError as error:
        raise UserError(f"{os.fspath(pattern)!r} cannot be looked into: {error.strerror or error}.") from error


def literal_folder(pattern: str | Path) -> Path:
    """The folder a pattern begins with that exists as it is written; of one that does not exist, what was typed of it."""
    parts = Path(pattern).parts
    if os.path.isdir(pattern) or not glob.has_magic(os.fspath(pattern)):
        return Path(pattern)
    fixed = next((n for n in range(len(parts) - 1, 0, -1) if os.path.isdir(Path(*parts[:n]))), 0)
    plain = next((n for n, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    return Path(*parts[: max(fixed, plain)])


def _expanded(text: str) -> list[Path]:
    if _is_data_set(text):
        return [Path(text)]
    if os.path.isdir(text):
        found = [Path(text, name) for name in os.listdir(text) if not name.startswith(".")]
    else:
        parts = Path(text).parts
        literal = next((n for n in range(len(parts) - 1, 0, -1) if os.path.isdir(Path(*parts[:n]))), 0)
        folder = Path(*parts[:literal])
        found = [folder / name for name in glob.glob(os.path.join("", *parts[literal:]), root_dir=folder, recursive=True)]
    files = sorted(path for path in found if _is_data_set(path))
    if not files:
        what = "is a folder without files" if os.path.isdir(text) else "matches no file"
        raise UserError(f"{text!r} {what}; give a file, a folder with files or a pattern such as 'radar/**/*.h5'.")
    return files


def _is_data_set(path: str | Path) -> bool:
    """A file, or a folder that is one data set (zarr)."""
    return os.path.isfile(path) or any(os.path.isfile(os.path.join(path, mark)) for mark in _STORES)


def read_frames(
    paths: Iterable[str | Path], *, reader, last: int | None = None, until: np.datetime64 | None = None, tolerance: Tolerance = DEFAULT
) -> Frames:
    """Read radar files into Frames in time order, whatever the order of the files.

    Args:
        paths: the radar files, all of one grid.
        reader: has ``read(path) -> Frames``; see ``nowcast.data.readers``.
        last: keep only that many of the newest frames; no more than these are held in memory.
        until: leave out frames after this time, UTC.
        tolerance: how far the grids of the files, and a frame from ``until``, may be off.

    Raises:
        UserError: no files, one that cannot be read, another grid, two different frames of one time, or no frame up to ``until``.
    """
    if last is not None and last < 1:
        raise UserError(f"the last {last} frames were asked for; at least 1 is needed.")
    kept, like, first, count = {}, None, None, 0
    latest = None if until is None else until + tolerance.off_time(np.timedelta64(1, "D"))
    for count, path in enumerate(map(Path, paths), start=1):
        frames = reader.read(path)
        if like is None:
            like, first = frames[:0], path
        refuse_other_set(frames, path, like, first, tolerance)
        for time, values, discarded in zip(frames.times, frames.values, frames.discarded):
            if time in kept:
                refuse_other_values(time, kept[time][0], values, kept[time][1], path.name)
            elif latest is None or time <= latest:
                kept[time] = values, path.name, discarded
                if last is not None and len(kept) > last:
                    del kept[min(kept)]
    if not kept:
        found = f"{count} radar files hold no frame up to {until}; give files that do."
        raise UserError(found if count else "there are no radar files to read; give at least one.")
    times = sorted(kept)
    source = " to ".join(dict.fromkeys(kept[time][1] for time in (times[0], times[-1])))
    discarded = np.array([kept[time][2] for time in times])
    return Frames(np.stack([kept[time][0] for time in times]), np.array(times), like.grid, source, like.quantity, discarded)


def refuse_other_set(frames: Frames, path: Path, like: Frames, first: Path, tolerance: Tolerance = DEFAULT) -> None:
    """Raise a UserError that says the difference where frames are of another grid or quantity than those of the first file."""
    difference = like.grid.difference(frames.grid, tolerance.pixels)
    if difference:
        raise UserError(f"{path} has another grid than {first}: {difference}; take the files of one grid at a time.")
    if frames.quantity != like.quantity:
        raise UserError(f"{path} holds another quantity than {first}: {frames.quantity} against {like.quantity}; take the files of one quantity at a time.")


def refuse_other_values(time: np.datetime64, values: np.ndarray, again: np.ndarray, source: str, source_again: str) -> None:
    """Raise a UserError where two frames of one time differ."""
    if not np.array_equal(values, again, equal_nan=True):
        raise UserError(f"{source} and {source_again} both hold a frame of {time} UTC, with different values; leave one of them out.")
