"""The archive of one radar: a CF NetCDF-4/HDF5 file with every frame in time order, made from the
provider's files by ``nowcast.data.conversion``; read here.
"""

import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import h5py
import numpy as np

from nowcast.data.archive_writing import MARK, VERSION
from nowcast.data.cadence import newest_of_each_time, without_twins
from nowcast.data.origin import Origin
from nowcast.data.packed_frames import RATES, StoredFrame, discarded_pixels, read_grid
from nowcast.data.windows import utc_text
from nowcast.readers.content import damage_reported
from nowcast.readers.hdf5 import Hdf5File
from nowcast.runtime.errors import Unavailable, UserError
from nowcast.runtime.renamed import with_todays_names
from nowcast.types.frames import Frames
from nowcast.types.tolerance import DEFAULT, Tolerance
from nowcast.types.units import RAIN_RATE

# version 1 says neither what was measured nor how its files were read: it is read, but nothing is
# added to it
_READ = (1, VERSION)


def is_archive(path: str | Path) -> bool:
    """Whether the file is an archive made by `convert`.

    Raises:
        Unavailable: nobody can tell, because it is in use or out of reach.
    """
    try:
        with Hdf5File(path) as file:
            return file.attribute("/", MARK) is not None
    except Unavailable:
        raise
    except UserError:
        return False


class Archive:
    """An archive open for reading. The file is opened on first use, anew in every process.

    Args:
        path: a file made by `convert`.

    Attributes:
        times: UTC, (T,) datetime64[s], strictly ascending; gaps are allowed.
        grid: where the pixels are.
        quantity: what the radar files held, see ``nowcast.types.frames``.
        settings: how they were read, as data; None in an archive of version 1.
        discarded: pixels of each frame that became missing because they were negative or
            implausible, (T,).
        remarks: how unusual statements of the files were understood, a line each.

    Raises:
        UserError: another kind of file, another version, or a damaged one.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._file = self._values = self._process = None
        self._places: np.ndarray | None = None  # of the frames in the file; None: all of them
        # closed again: an open HDF5 handle does not survive a fork, nor pickling
        with Hdf5File(path) as file:
            version = _version(file)
            self.quantity = file.text("/", "quantity") if version > 1 else RAIN_RATE
            self.settings = _settings(file) if version > 1 else None
            self.grid = read_grid(file)
            self.times = file.dataset("time", axes=1)[()].astype("datetime64[s]")
            self.discarded = discarded_pixels(file, len(self.times))
            self.remarks = _remarks(file)
            shape = file.dataset(RATES, axes=3).shape
        # windows are found by searching in sorted times
        ascending = bool((np.diff(self.times) > np.timedelta64(0, "s")).all())
        whole = shape == self.shape and len(self.discarded) == len(self.times)
        if not (whole and ascending and len(self.times)):
            found = f"{shape} values, {len(self.times)} times, ascending: {ascending}"
            raise UserError(f"{path} is damaged: {found}; convert the radar files again.")
        self._identity = self._stamp()

    @property
    def shape(self) -> tuple[int, int, int]:
        """(T, H, W)."""
        return len(self.times), *self.grid.shape

    def __len__(self) -> int:
        return len(self.times)

    def __enter__(self) -> "Archive":
        return self

    def __exit__(self, *error) -> None:
        self.close()

    def __getstate__(self) -> dict:
        kept = {name: value for name, value in self.__dict__.items() if name != "origins"}
        return kept | {"_file": None, "_values": None, "_process": None}

    def close(self) -> None:
        """Close the file; the next read opens it again."""
        if self._file is not None:
            self._file.close()
        self._file = self._values = self._process = None

    def _stamp(self) -> tuple:
        try:
            status = os.stat(self.path)
        except OSError as error:
            raise UserError(f"{self.path} cannot be read: {error.strerror}.") from error
        return status.st_ino, status.st_size, status.st_mtime_ns

    def require_unchanged(self) -> None:
        """Raise a UserError if the file is not the one any more that was opened."""
        if self._stamp() != self._identity:
            raise UserError(f"{self.path} was replaced while it was in use; start again.")

    def _dataset(self) -> h5py.Dataset:
        """The rain rates, through a handle of this process: one inherited by a fork is closed, not
        used.
        """
        if self._process != os.getpid():
            self.close()
            self.require_unchanged()
            self._file = Hdf5File(self.path)
            self._values = self._file.dataset(RATES, axes=3)
            self._process = os.getpid()
        return self._values

    def read(
        self, start: int, stop: int, *, rows: slice = slice(None), columns: slice = slice(None)
    ) -> np.ndarray:
        """Rain rates [mm/h] of frames start to stop - 1, (T, h, w) float32, NaN = not observed;
        only these are read.

        Raises:
            UserError: no such frames, or the file is damaged there.
        """
        if not 0 <= start < stop <= len(self):
            raise UserError(
                f"frames {start} to {stop} were asked for, but {self.path} has frames 0 to "
                f"{len(self)}."
            )
        with damage_reported(self.path):
            dataset = self._dataset()
            if self._places is None:
                return dataset[start:stop, rows, columns]
            return dataset[self._places[start:stop], rows, columns]

    def use_one_of_each_time(self, step: np.timedelta64) -> "Archive":
        """Leave out frames that another one of the same regular time is nearer to (see
        ``nowcast.data.cadence.without_twins``); this archive.

        Args:
            step: between regular times.
        """
        kept = without_twins(self.times, step, self.tolerance)
        if len(kept) < len(self.times):
            # a cached list of all frames' origins would no longer match
            self.__dict__.pop("origins", None)
            self._places = kept if self._places is None else self._places[kept]
            self.times, self.discarded = self.times[kept], self.discarded[kept]
        return self

    def frames(self, start: int, stop: int) -> Frames:
        """The same, whole and with times and grid."""
        return Frames(
            self.read(start, stop),
            self.times[start:stop],
            self.grid,
            str(self.path),
            self.quantity,
            self.discarded[start:stop],
            self.remarks,
        )

    @property
    def tolerance(self) -> Tolerance:
        """How far frames were allowed to be off when they were converted; the usual tolerance in an
        archive of an older nowcast.
        """
        kept = (self.settings or {}).get("tolerance")
        if not isinstance(kept, dict):
            return DEFAULT
        # a newer nowcast may have noted fields that are not known here
        return Tolerance(**{name: kept[name] for name in kept.keys() & vars(DEFAULT).keys()})

    @cached_property
    def origins(self) -> list[Origin]:
        """Where each frame was read from; empty for an archive of version 1."""
        if self.settings is None:
            return []
        with damage_reported(self.path):
            self._dataset()
            found = []
            digests = self._file.dataset("source_digest", axes=1)[()]
            for characters, digest in zip(self._file.require("source")[()], digests):
                name = characters.tobytes().rstrip(b"\0").decode(errors="replace")
                found.append(Origin(name, int(digest)))
        return found if self._places is None else [found[place] for place in self._places]

    def stored_frames(self) -> list[StoredFrame]:
        """The frames as they lie in the file, for another one to be written from."""
        found = []
        for place, origin in enumerate(self.origins):
            count = int(self.discarded[place])
            found.append(StoredFrame(self.times[place], origin, self._dataset, place, count))
        return found


def _version(file: Hdf5File) -> int:
    """The version of an archive.

    Raises:
        UserError: it is none, or of a version that is not read here.
    """
    version = file.attribute("/", MARK)
    if version in _READ:
        return version
    if isinstance(version, (int, np.integer)) and version > VERSION:
        raise UserError(
            f"{file.path} is an archive of version {version}, made by a newer nowcast; this one "
            f"reads up to version {VERSION}: update nowcast."
        )
    found = "no archive" if version is None else f"an archive of version {version}"
    raise UserError(
        f"{file.path} is {found}, but one of version {VERSION} is needed; make it with `nowcast "
        "convert`."
    )


def _remarks(file: Hdf5File) -> tuple[str, ...]:
    """What was remarked when an archive was made; nothing where that cannot be read."""
    try:
        found = json.loads(str(file.attribute("/", "remarks") or "[]"))
    except ValueError:
        found = []
    return tuple(str(remark) for remark in found) if isinstance(found, list) else ()


def _settings(file: Hdf5File) -> dict:
    text = file.text("/", "settings")
    try:
        settings = with_todays_names(json.loads(text))
    except ValueError:
        settings = None
    if not isinstance(settings, dict):
        raise UserError(
            f"{file.path} is damaged: its settings are {text[:80]!r}; convert the radar files "
            "again."
        )
    return settings


@dataclass(frozen=True)
class NewestFrames:
    """Reads the newest frames of an archive, and radar files as they are: a reader for a
    ``nowcast.data.reading.ReadingProcess``.

    Args:
        reader: of radar files.
        count: how many frames.
        until: UTC time of the last one; None: the newest.
        tolerance: how far the frame of that time may lie off it.
    """

    reader: object
    count: int
    until: np.datetime64 | None = None
    tolerance: Tolerance = DEFAULT

    def read(self, path: str | Path) -> Frames:
        """The frames.

        Raises:
            UserError: a file that cannot be read, or an archive whose frames are all later.
        """
        if not is_archive(path):
            return self.reader.read(path)
        with Archive(path) as archive:
            stop = len(archive)
            if self.until is not None:
                latest = self.until + self.tolerance.off_time(np.timedelta64(1, "D"))
                stop = int(np.searchsorted(archive.times, latest, side="right"))
            if stop == 0:
                raise UserError(
                    f"{path} has no frame at the analysis time {utc_text(self.until)}; all "
                    "frames are later."
                )
            chosen = newest_of_each_time(archive.times[:stop], self.count, self.tolerance)
            frames = archive.frames(chosen[0], chosen[-1] + 1)
            return frames if len(chosen) == len(frames) else frames[chosen - chosen[0]]
