"""Which files a user means, and what they hold as Frames."""

import glob
import itertools
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np

from nowcast.data.cadence import newest_of_each_time
from nowcast.data.members import short_name, split_member
from nowcast.runtime.errors import UserError
from nowcast.types.frames import Frames, Grid
from nowcast.types.tolerance import DEFAULT, Tolerance

_FORBIDDEN = "{} may not be looked into by this user; change its permissions."
_SHOWN_FOLDERS = 5  # of those in a folder, in a message
_STORES = (".zgroup", ".zattrs", "zarr.json")  # what makes a folder one data set


Inputs = str | PathLike | Sequence[str | PathLike]
"""What a user types for files: a file, a folder, a pattern, or a list of these, also as text in
brackets."""


def expand_inputs(inputs: Inputs) -> list[Path]:
    """The files a user means by a file, a folder (the files in it), a pattern with ``*``, ``**``,
    ``?`` or ``[...]``, or a list of these.

    The part of the path that exists as it is written is taken literally, whatever characters are
    in it. Each file is named once.
    A member of an archive of files, ``archive.tar: name``, is a file, too.

    Raises:
        UserError: there is no such file, for one of the list.
    """
    found = []
    for pattern in separate_inputs(inputs):
        try:
            found += _expanded(pattern)
        except PermissionError as error:
            raise UserError(_FORBIDDEN.format(error.filename or pattern)) from error
        except OSError as error:
            raise UserError(
                f"{pattern!r} cannot be looked into: {error.strerror or error}; try again."
            ) from error
    return list(dict.fromkeys(found))


def separate_inputs(inputs: Inputs) -> list[str]:
    """The files, folders and patterns of a list, one by one; a single one is a list of one.

    As text, a list stands in brackets, its items apart by commas: ``[a.h5, radar/*.h5]``. An item
    in quotes is taken as it stands.
    A comma belongs to a name where a file with it is there, and none of the name before it.

    Raises:
        UserError: a list without items, or quotes that are not closed.
    """
    if not isinstance(inputs, (str, os.PathLike)):
        items = [os.fspath(item) for item in inputs]
        if not items:
            raise UserError("the list of files is empty; give at least one.")
        return items
    text = os.fspath(inputs)
    pieces = None if os.path.exists(text) else _pieces(text)
    if pieces is None:
        return [text]
    if len(pieces) == 1 and not pieces[0].quoted and any(map(_is_data_set, glob.glob(text))):
        return [text]  # [ab] is a pattern, too
    items = _joined(pieces)
    if not items:
        raise UserError(f"{text!r} is a list without files; give at least one.")
    return [os.path.expanduser(item) for item in items]


@dataclass(frozen=True)
class _Piece:
    """What stands between two commas of a list."""

    text: str
    quoted: bool


def _pieces(text: str) -> list[_Piece] | None:
    """What is between the commas of a list in brackets that are neither in quotes nor in brackets
    of their own; None for a text that is not in brackets as a whole.
    """
    inside = text.strip()
    if not (inside.startswith("[") and inside.endswith("]")):
        return None
    inside = inside[1:-1]
    pieces, place = [], 0
    while place <= len(inside):
        start = place + len(inside[place:]) - len(inside[place:].lstrip())
        quote = inside[start : start + 1]
        if quote and quote in "'\"":
            end = inside.find(quote, start + 1)
            rest = inside[end + 1 :].lstrip()
            if end >= 0 and rest.startswith("]"):
                return None
            if end < 0 or (rest and not rest.startswith(",")):
                raise UserError(
                    f"{text!r} is a list with a quote ({quote}) that is not closed "
                    "before the next comma; quote whole names."
                )
            pieces.append(_Piece(inside[start + 1 : end], quoted=True))
            place = len(inside) - len(rest) + 1
            continue
        end, depth = place, 0
        while end < len(inside) and (inside[end] != "," or depth > 0):
            depth += {"[": 1, "]": -1}.get(inside[end], 0)
            if depth < 0:  # the first bracket ends here, before the last one
                return None
            end += 1
        pieces.append(_Piece(inside[place:end], quoted=False))
        place = end + 1
    return pieces


def _joined(pieces: list[_Piece]) -> list[str]:
    """The items of a list: a name with commas, which its pieces are not, is put together again
    where it is there.
    """
    items = []
    while pieces:
        item, count = pieces[0].text, 1
        if not pieces[0].quoted:
            item = item.strip()
            plain = list(itertools.takewhile(lambda piece: not piece.quoted, pieces))
            while not _is_there(item) and count < len(plain):
                count += 1
                item = ",".join(piece.text for piece in plain[:count]).strip()
            if count > 1 and not os.path.exists(os.path.expanduser(item)):
                item, count = pieces[0].text.strip(), 1
        if item:
            items.append(item)
        pieces = pieces[count:]
    return items


def _is_there(item: str) -> bool:
    item = os.path.expanduser(item)
    return os.path.exists(item) or bool(glob.has_magic(item) and glob.glob(item, recursive=True))


def _existing_folder(parts: tuple[str, ...], most: int) -> int:
    """How many of the first parts of a path, at most so many, are a folder as they are written."""
    return next((n for n in range(most, 0, -1) if os.path.isdir(Path(*parts[:n]))), 0)


def literal_folder(pattern: str | Path) -> Path:
    """The folder a pattern begins with that exists as it is written; of one that does not exist,
    what was typed of it.
    """
    parts = Path(pattern).parts
    if os.path.isdir(pattern) or not glob.has_magic(os.fspath(pattern)):
        return Path(pattern)
    fixed = _existing_folder(parts, len(parts) - 1)
    plain = next((n for n, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    return Path(*parts[: max(fixed, plain)])


def _expanded(text: str) -> list[Path]:
    if _is_data_set(text) or split_member(text) is not None:
        return [Path(text)]
    if os.path.isdir(text):
        found = [Path(text, name) for name in os.listdir(text) if not name.startswith(".")]
    else:
        parts = Path(text).parts
        literal = _existing_folder(parts, len(parts) - 1)
        folder, pattern = Path(*parts[:literal]), os.path.join("", *parts[literal:])
        names = glob.glob(pattern, root_dir=folder, recursive=True)
        found = [folder / name for name in names]
    files = sorted(path for path in found if _is_data_set(path))
    if not files:
        closed = _closed_folder(text)
        if closed is not None:
            raise UserError(_FORBIDDEN.format(closed))
        what = "matches no file"
        if os.path.isdir(text):
            what = "is a folder without files"
            folders = sorted(path.name for path in found if path.is_dir())
            if folders:
                more = ["..."] if len(folders) > _SHOWN_FOLDERS else []
                shown = ", ".join([*folders[:_SHOWN_FOLDERS], *more])
                raise UserError(
                    f"{text!r} has no files, but folders ({shown}); for all files in them type "
                    f"{os.path.join(text, '**', '*')!r}."
                )
        raise UserError(
            f"{text!r} {what}; give a file, a folder with files or a pattern such as "
            "'radar/**/*.h5', or a list of these: '[a.h5,b.h5]'."
        )
    return files


def _closed_folder(text: str) -> str | None:
    """A folder that hides what a path or pattern means, as this user may not look into it."""
    parts = Path(text).parts
    literal = _existing_folder(parts, len(parts))
    folder = Path(*parts[:literal])
    # of one that only leads on, the names in it need not be seen
    outer = [Path(*parts[:n]) for n in range(1, literal)]
    closed = [one for one in outer if not os.access(one, os.X_OK)]
    looked_into = [folder]
    for end in range(literal + 1, len(parts)):
        inside = glob.iglob(os.path.join(*parts[literal:end]), root_dir=folder, recursive=True)
        looked_into += [folder / name for name in inside if os.path.isdir(folder / name)]
    by_name = literal < len(parts) and not glob.has_magic(parts[-1])
    needed = os.X_OK if by_name else os.R_OK | os.X_OK
    closed += [one for one in looked_into if not os.access(one, needed)]
    return str(closed[0]) if closed else None


def _is_data_set(path: str | Path) -> bool:
    """A file, or a folder that is one data set (zarr)."""
    return os.path.isfile(path) or any(os.path.isfile(os.path.join(path, mark)) for mark in _STORES)


def read_frames(
    paths: Iterable[str | Path],
    *,
    reader,
    last: int | None = None,
    until: np.datetime64 | None = None,
    tolerance: Tolerance = DEFAULT,
) -> Frames:
    """Read radar files into Frames in time order, whatever the order of the files.

    Args:
        paths: the radar files, all of one grid.
        reader: the reader of the files.
        last: keep only that many of the newest frames, and of several that are meant for one time
            the nearest to it; little more than twice as many are held in memory.
        until: leave out frames after this time, UTC.
        tolerance: how far the grids of the files, and a frame from ``until``, may be off.

    Raises:
        UserError: no files, one that cannot be read, another grid, two different frames of one
            time, or no frame up to ``until``.
    """
    if last is not None and last < 1:
        raise UserError(f"the last {last} frames were asked for; at least 1 is needed.")
    kept: dict[np.datetime64, tuple[np.ndarray, str, int]] = {}
    file_set, count, remarks = None, 0, {}
    latest = None if until is None else until + tolerance.off_time(np.timedelta64(1, "D"))
    for path in map(Path, paths):
        count += 1
        frames = reader.read(path)
        if file_set is None:
            file_set = FileSet(frames.grid, frames.quantity, path, tolerance)
        file_set.refuse_other(frames.grid, frames.quantity, path)
        remarks |= dict.fromkeys(frames.remarks)
        name = short_name(path)
        for time, values, discarded in zip(frames.times, frames.values, frames.discarded):
            if time in kept:
                refuse_other_values(time, kept[time][0], values, kept[time][1], name)
            elif latest is None or time <= latest:
                kept[time] = values, name, discarded
                # twice as many may be meant for the newest times, in pairs
                if last is not None and len(kept) > 2 * last + 1:
                    del kept[min(kept)]
    if not kept:
        found = f"{count} radar files have no frame up to {until}; give files that do."
        raise UserError(found if count else "there are no radar files to read; give at least one.")
    times = np.array(sorted(kept))
    if last is not None:
        times = times[newest_of_each_time(times, last, tolerance)]
    values, names, discarded = zip(*(kept[time] for time in times))
    source = " to ".join(dict.fromkeys((names[0], names[-1])))
    values, discarded = np.stack(values), np.array(discarded)
    return Frames(
        values, times, file_set.grid, source, file_set.quantity, discarded, tuple(remarks)
    )


@dataclass(frozen=True)
class FileSet:
    """What the files of one set have in common.

    Args:
        grid: where their pixels are.
        quantity: what was measured, see ``nowcast.types.frames``.
        first: the file these are known from.
        tolerance: how far other grids may be off.
    """

    grid: Grid
    quantity: str
    first: Path
    tolerance: Tolerance = DEFAULT

    def refuse_other(self, grid: Grid, quantity: str, path: Path) -> None:
        """Raise a UserError that says the difference where a file is of another set."""
        difference = grid.difference(self.grid, self.tolerance.pixels)
        if difference:
            raise UserError(
                f"{path} has another grid than {self.first}: {difference}; take the files of one "
                "grid at a time."
            )
        if quantity != self.quantity:
            raise UserError(
                f"{path} has another quantity than {self.first}: {quantity} against "
                f"{self.quantity}; take the files of one quantity at a time."
            )


def refuse_other_values(
    time: np.datetime64,
    values: np.ndarray,
    again: np.ndarray,
    source: str,
    source_again: str,
    advice: str = "leave one of them out",
) -> None:
    """Raise a UserError, with the advice, where two frames of one time differ."""
    if not np.array_equal(values, again, equal_nan=True):
        raise UserError(
            f"{source} and {source_again} both have a frame of {time} UTC, with different values; "
            f"{advice}."
        )
