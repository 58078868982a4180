"""Radar files into an archive: any number of them, in any order, in several goes.

Files are read by processes that can be killed. What they give is packed into parts beside the
archive; a conversion that was interrupted goes on from there. At the end, the archive's own frames
and those of the parts are copied, packed as they are, into a new archive in time order, which then
takes the old one's place.

A frame is what it is by its time and its values; a file by its content and, where the reader takes
anything from it, its name: dry frames are often equal to the byte, and the name may be all that
distinguishes their times. A file that is known by both is not read again.
"""

import contextlib
import csv
import hashlib
import importlib
import json
import os
import shutil
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import MISSING, asdict, dataclass, field, fields
from functools import partial
from pathlib import Path

import numpy as np

from nowcast.data.archive import (
    UNREAD,
    Archive,
    Origin,
    PackedFiles,
    PackedFrames,
    StoredFrame,
    is_archive,
    write_archive,
)
from nowcast.data.containers import OpenedInputs, Unpacking, member_path, split_member
from nowcast.data.inputs import refuse_other_set, refuse_other_values
from nowcast.data.reading import TooSlow, in_order, opened_inputs
from nowcast.data.regrid import Regular, Unchanged, clipped
from nowcast.data.tolerant import Tolerant
from nowcast.readers.content import damage_reported
from nowcast.readers.hdf5 import Hdf5File
from nowcast.readers.names import end_of_path
from nowcast.runtime.errors import Unavailable, UserError, first_line
from nowcast.runtime.files import is_one_of, leftovers, locked, replacing
from nowcast.types.frames import Frames, Grid
from nowcast.types.places import projection_text, same_projection
from nowcast.types.tolerance import DEFAULT, Tolerance

_PART_FRAMES, _PART_SECONDS = (
    256,
    20.0,
)  # a part is closed after so many frames or seconds: more is never lost


@dataclass(frozen=True)
class Preparation:
    """What is done to the frames of every file before they go into the archive; recorded in it.

    Args:
        reader: settings of the reader, as data.
        clip: rates above it [mm/h] are set to it; None: they stay.
        regrid: another grid, or ``Unchanged()``.
        tolerance: how far values, coordinates, grids and times of the files may be off.
    """

    reader: dict
    clip: float | None = None
    regrid: Unchanged | Regular = field(default_factory=Unchanged)
    tolerance: Tolerance = DEFAULT

    def __post_init__(self):
        if self.clip is not None and not 0 < self.clip < float("inf"):
            raise UserError(
                f"clip is {self.clip!r}; the highest rate [mm/h] to keep, above 0, is needed, or "
                "null."
            )

    def __call__(self, frames: Frames) -> Frames:
        """Frames as they go into the archive."""
        return self.regrid(clipped(frames, self.clip))

    def as_data(self) -> dict:
        """The same as JSON can hold it; equal data, equal treatment."""
        regrid = {
            "_target_": f"{type(self.regrid).__module__}.{type(self.regrid).__qualname__}"
        } | vars(self.regrid)
        return json.loads(
            json.dumps(
                {
                    "reader": self.reader,
                    "clip": self.clip,
                    "regrid": regrid,
                    "tolerance": asdict(self.tolerance),
                }
            )
        )


@dataclass(frozen=True)
class ArchiveSummary:
    """What `convert` has written.

    Args:
        path: the archive.
        frames: number of frames in it.
        added: how many of them came with this conversion.
        duplicates: frames that came again and were left out.
        start: time of the first frame, UTC.
        end: time of the last frame, UTC.
        quarantine: (file, reason) of each that could not be read.
        report: where these are listed; None where there are none.
        discarded: pixels in the archive that became missing because the files have them negative or
            implausible.
    """

    path: Path
    frames: int
    added: int
    duplicates: int
    start: np.datetime64
    end: np.datetime64
    quarantine: tuple[tuple[Path, str], ...] = ()
    report: Path | None = None
    discarded: int = 0

    def __str__(self) -> str:
        earlier = f" ({self.added} of them new)" if self.added < self.frames else ""
        again = f", {self.duplicates} that came twice left out" if self.duplicates else ""
        bad = (
            f", {self.discarded} pixels that cannot be rain made missing" if self.discarded else ""
        )
        return (
            f"{self.path}: {self.frames} frames{earlier}, {self.start} to {self.end} "
            f"UTC{again}{bad}"
        )


def convert(
    paths: Iterable[str | Path],
    output: str | Path,
    *,
    reader,
    prepare: Preparation | None = None,
    workers: int = 0,
    strict: bool = False,
    replace: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> ArchiveSummary:
    """Write radar files into one archive, in time order; an archive that exists gets the new
    frames.

    Args:
        paths: the radar files, all of one grid and one quantity, in any order; archives of files
            (tar, zip) and compressed files, too.
        output: the archive. It is replaced as a whole at the end, and untouched if anything fails.
        reader: the reader of the files.
        prepare: clipping and regridding; None: neither.
        workers: processes that read; 0: everything in this process, which a hostile file can then
            crash or hang.
        strict: whether a file that cannot be read is an error; else it is listed in a report beside
            the archive.
        replace: whether to start a new archive where there is one.
        progress: called after each file with the number of files done and of all.

    Raises:
        UserError: no files, none that can be read (strict: one), another grid or quantity, two
            different frames of one time, an existing file that is no archive or was made with other
            settings, or a full disk.
    """
    output = Path(os.path.realpath(output))  # a link to an archive stays a link
    paths = sorted(
        dict.fromkeys(Path(path) for path in paths), key=lambda path: (path.name, str(path))
    )
    if not paths:
        raise UserError("there are no radar files to convert; give at least one.")
    if not isinstance(workers, int) or isinstance(workers, bool) or workers < 0:
        raise UserError(
            f"workers is {workers!r}; a whole number of processes, 0 or more, is needed."
        )
    if is_one_of(output, paths):
        raise UserError(f"{output} is one of the radar files; give the archive another path.")
    prepare = prepare or Preparation(
        {"_target_": f"{type(reader).__module__}.{type(reader).__qualname__}"}
    )
    reader = Tolerant(reader, prepare.tolerance)
    with _alone(output):
        try:
            with contextlib.ExitStack() as stack:
                old = (
                    None
                    if replace or not output.exists()
                    else stack.enter_context(_opened(output, prepare))
                )
                packed = stack.enter_context(PackedFiles())
                conversion = _Conversion(output, prepare, old, packed, reader.path_parts)
                inputs = opened_inputs(paths, separately=workers > 0, digests=True)
                summary = conversion.run(inputs, reader, workers, strict, progress)
            shutil.rmtree(conversion.parts, ignore_errors=True)
            return summary
        except (OSError, RuntimeError) as error:
            raise UserError(
                f"{output} could not be written: "
                f"{getattr(error, 'strerror', None) or first_line(error)}."
            ) from error


def _opened(output: Path, prepare: Preparation) -> Archive:
    """The archive that gets new frames."""
    if not is_archive(output):
        found = f"{output} exists and is no archive that frames could be added to"
        raise UserError(f"{found}; give another output{_what_it_is(output)}.")
    archive = Archive(output)
    lost = f"the {len(archive)} frames that are in it"
    anew = f"give another output (replace=true would start anew, without {lost})"
    if archive.settings is None:
        found = f"{output} was made by an older nowcast, which frames cannot be added to"
        raise UserError(f"{found}; {anew}.")
    wanted = prepare.as_data()
    kept = {
        "tolerance": wanted["tolerance"]
    } | archive.settings  # an older nowcast, which accepted nothing off, did not note it
    if isinstance(kept["tolerance"], dict):
        kept["tolerance"] = (
            asdict(DEFAULT) | kept["tolerance"]
        )  # nor those of its fields that are newer
    other = [
        sentence
        for name in wanted
        for sentence in _differences(name, kept.get(name), wanted[name], archive)
    ]
    if other:
        raise UserError(f"{output} was made with other settings: {'; '.join(other)}; {anew}.")
    return archive


def _what_it_is(output: Path) -> str:
    """Why a file is no archive, in brackets; nothing where that cannot be said."""
    try:
        Hdf5File(output).close()
    except UserError as error:
        return f" ({str(error).rstrip('.')})"
    return " (it is another HDF5 file)"


def _differences(name: str, kept, wanted, archive: Archive) -> Iterator[str]:
    """What settings differ in, in words.

    Projections differ where they do not put the archive's grid in the same place, whatever they are
    called. What an older nowcast did not note, as it had no such setting, was as by default now.
    """
    if _are_of_one_class(kept, wanted):
        kept = _defaults(wanted.get("_target_"), wanted.keys() - kept.keys()) | kept
    if _are_of_one_class(kept, wanted) and kept.keys() == wanted.keys():
        for key in wanted:
            yield from _differences(f"{name}.{key}", kept[key], wanted[key], archive)
    elif kept != wanted and not (
        name.endswith(".crs") and _in_the_same_place(kept, wanted, archive)
    ):
        yield f"{name} {json.dumps(kept):.300} against {json.dumps(wanted):.300}"


def _are_of_one_class(kept, wanted) -> bool:
    both = isinstance(kept, dict) and isinstance(wanted, dict)
    return both and kept.get("_target_") == wanted.get("_target_")


def _defaults(target: str | None, names: Collection[str]) -> dict:
    """Those settings of a reader's class that have a default, of the names given."""
    module, _, class_name = (target or "").rpartition(".")
    if not names or not module.startswith(("nowcast.readers.", "nowcast.data.")):
        return {}
    defined = getattr(importlib.import_module(module), class_name)
    with_default = [field_ for field_ in fields(defined) if field_.default is not MISSING]
    return {field_.name: field_.default for field_ in with_default if field_.name in names}


def _in_the_same_place(kept, wanted, archive: Archive) -> bool:
    if kept is None or wanted is None:
        return False
    try:
        return same_projection(
            projection_text(kept),
            projection_text(wanted),
            archive.grid.x,
            archive.grid.y,
            archive.tolerance.pixels,
        )
    except UserError:
        return False


@contextlib.contextmanager
def _alone(output: Path) -> Iterator[None]:
    """A lock beside the archive, so that no other conversion writes it; leftovers of killed ones
    are removed under it.
    """
    lock = output.with_name(f".{output.name}.lock")
    busy = f"another conversion is writing {output}; wait for it, or give another output."
    with locked(lock, busy=busy, unwritable=f"{output} cannot be written"):
        try:
            for path in leftovers(output):
                path.unlink(missing_ok=True)
            yield
        finally:
            lock.unlink(missing_ok=True)


class _Conversion:
    """One run of `convert`: what is known so far, and where it lies."""

    def __init__(
        self,
        output: Path,
        prepare: Preparation,
        old: Archive | None,
        packed: PackedFiles,
        path_parts: int,
    ):
        self.output, self.prepare, self.old, self.packed = output, prepare, old, packed
        self.path_parts = path_parts
        self.parts = output.with_name(f".{output.name}.parts")
        self.like = self.first = self.part = None
        self.frames: dict[np.datetime64, StoredFrame] = {}
        self.known: set[Origin] = set()
        self.duplicates, self.started = 0, 0.0

    def run(
        self, inputs: OpenedInputs, reader, workers: int, strict: bool, progress
    ) -> ArchiveSummary:
        """All of it."""
        paths, reader = inputs.paths, Unpacking(reader, inputs.refused)
        if self.old is not None:
            self._take_archive()
        kept = len(self.frames)
        origins = {path: self._origin(path, inputs.digests.get(path)) for path in paths}
        self._take_parts(set(map(self._identity, origins.values())))
        quarantine = []
        try:
            self._read(origins, reader, workers, strict, quarantine, progress)
            self._close_part()
        finally:
            self._drop_part()
        place = {path: number for number, path in enumerate(paths)}
        quarantine.sort(key=lambda item: place[item[0]])
        report = self._report(quarantine)
        if not self.frames:
            path, reason = quarantine[0]
            raise UserError(
                reason
                if len(quarantine) == 1
                else f"none of the {len(quarantine)} files could be read (listed in {report}); "
                f"the first: {reason}"
            )
        times = sorted(self.frames)
        if len(times) > kept:
            if self.old is not None:
                self.old.require_unchanged()
            with replacing(self.output) as temporary:
                settings = self.prepare.as_data() | (
                    {} if self.old is None else self.old.settings
                )  # in the words it was made with
                write_archive(
                    [self.frames[moment] for moment in times],
                    temporary,
                    grid=self.like.grid,
                    quantity=self.like.quantity,
                    settings=settings,
                )
        discarded = sum(frame.discarded for frame in self.frames.values())
        return ArchiveSummary(
            self.output,
            len(times),
            len(times) - kept,
            self.duplicates,
            times[0],
            times[-1],
            tuple(quarantine),
            report,
            discarded,
        )

    def _origin(self, path: Path, digest: str | None) -> Origin:
        """Name and content of a file; of a member of an archive of files, whose SHA-256 may be
        known already.
        """
        name = _name_that_counts(path, max(1, self.path_parts))
        return Origin(name, _digest(path) if digest is None else _stored_digest(digest))

    def _identity(self, origin: Origin) -> Origin:
        """What a file is known by: its name only where the reader takes something from it."""
        return origin if self.path_parts else Origin("", origin.digest)

    def _take_archive(self) -> None:
        """The frames that are in the archive already."""
        for place, (moment, origin) in enumerate(zip(self.old.times, self.old.origins)):
            self.frames[moment] = StoredFrame(
                moment, origin, self.old._dataset, place, int(self.old.discarded[place])
            )
            self.known.add(self._identity(origin))
        self._expect(self.old.grid, self.old.quantity, self.output)

    def _expect(self, grid: Grid, quantity: str, path: Path) -> None:
        """Every file from now on must be like this one."""
        self.like, self.first = (
            Frames(
                np.empty((0, *grid.shape)), np.empty(0, "datetime64[s]"), grid, quantity=quantity
            ),
            path,
        )

    def _take_parts(self, wanted: set[Origin]) -> None:
        """The frames of an interrupted conversion with the same settings, of the files that are
        asked for again.
        """
        mark = self.parts / "settings.json"
        settings = json.dumps(self.prepare.as_data(), sort_keys=True)
        if not (mark.is_file() and mark.read_text(encoding="utf-8") == settings):
            shutil.rmtree(self.parts, ignore_errors=True)
            return
        doubtful = set()  # files of which not every frame can be taken from here
        for path in sorted(self.parts.glob("part-*.h5")):
            try:
                frames, grid, quantity = self.packed.frames(path)
            except Unavailable:
                raise
            except UserError:
                path.unlink()
                continue
            for frame in frames:
                identity = self._identity(frame.origin)
                if identity not in wanted:
                    continue
                there = self.frames.get(frame.time)
                if there is None:
                    if self.like is None:
                        self._expect(grid, quantity, Path(frame.origin.name))
                    refuse_other_set(
                        Frames(
                            np.empty((0, *grid.shape)),
                            np.empty(0, "datetime64[s]"),
                            grid,
                            quantity=quantity,
                        ),
                        Path(frame.origin.name),
                        self.like,
                        self.first,
                        self.prepare.tolerance,
                    )
                    self.frames[frame.time] = frame
                    self.known.add(identity)
                elif self._identity(there.origin) != identity:
                    doubtful.add(identity)
        self.known -= doubtful

    def _read(
        self, origins: dict[Path, Origin], reader, workers, strict, quarantine, progress
    ) -> None:
        """The files that are not known; of copies the first, and the others where that one fails."""
        copies = self._new(origins)
        work = partial(_prepared, self.prepare)
        done, failed = len(origins) - len(copies), []
        for path, result in in_order(copies, reader, work, workers=workers):
            done += 1
            if isinstance(result, UserError):
                if strict:
                    raise result
                quarantine.append((path, _naming(path, result)))
                if isinstance(result, TooSlow):  # nobody waits for each of its copies
                    known = f"has the same content as {path}, of which this is known: {result}"
                    quarantine.extend((copy, f"{copy} {known}") for copy in copies[path])
                else:
                    failed += copies[path]
            else:
                self._add(path, result, origins[path])
                self.duplicates += len(copies[path]) * len(result)
            if progress is not None:
                progress(done, len(origins))
        for path, result in in_order(failed, reader, work, workers=min(workers, len(failed))):
            if isinstance(result, UserError):
                quarantine.append((path, _naming(path, result)))
            else:
                self._add(path, result, origins[path])

    def _new(self, origins: dict[Path, Origin]) -> dict[Path, list[Path]]:
        """Files to read, and the copies of each: with the same content (and name, where it counts)."""
        copies, first = {}, {}
        for path, origin in origins.items():
            identity = self._identity(origin)
            if origin.digest == UNREAD:
                copies[path] = []
            elif identity in first:
                copies[first[identity]].append(path)
            elif identity not in self.known:
                copies[path] = []
                first[identity] = path
        return copies

    def _add(self, path: Path, frames: Frames, origin: Origin) -> None:
        """The frames of one file; those that are there already must be equal."""
        if self.like is None:
            self._expect(frames.grid, frames.quantity, path)
        refuse_other_set(frames, path, self.like, self.first, self.prepare.tolerance)
        for moment, values, discarded in zip(frames.times, frames.values, frames.discarded):
            if moment in self.frames:
                there = self.frames[moment]
                with damage_reported(self.output):
                    before = there.dataset[there.place]
                names, advice = (there.origin.name, origin.name), self._advice(there, path)
                refuse_other_values(moment, before, values, *names, advice)
                self.duplicates += 1
            else:
                self._pack(moment, values, origin, discarded)
        if self.part is not None and (
            len(self.part) >= _PART_FRAMES or time.monotonic() - self.started > _PART_SECONDS
        ):
            self._close_part()

    def _advice(self, there: StoredFrame, path: Path) -> str:
        """What to do where a file has other values than a frame that came before it."""
        if self.old is None or there.stored != self.old._dataset:
            return f"leave one of them out (the second is {path})"
        return (
            f"the first is in the archive {self.output} already, which stays as it is: leave "
            f"{path} out, or, to have its values, convert all the files into another output, it "
            "in the place of the first"
        )

    def _pack(
        self, moment: np.datetime64, values: np.ndarray, origin: Origin, discarded: int
    ) -> None:
        if self.part is None:
            self.parts.mkdir(parents=True, exist_ok=True)
            with replacing(self.parts / "settings.json") as temporary:
                temporary.write_text(
                    json.dumps(self.prepare.as_data(), sort_keys=True), encoding="utf-8"
                )
            self.part, self.started = (
                PackedFrames(self.parts / "open.h5", self.like.grid, self.like.quantity),
                time.monotonic(),
            )
        self.frames[moment] = self.part.append(moment, values, origin, discarded)

    def _close_part(self) -> None:
        """Complete the part and take its frames from there; it survives whatever happens to this
        process.
        """
        if self.part is None:
            return
        part, self.part = self.part, None
        part.close()
        number = 1 + max((int(path.stem[5:]) for path in self.parts.glob("part-*.h5")), default=0)
        path = self.parts / f"part-{number:06d}.h5"
        with open(self.parts / "open.h5", "rb") as file:
            os.fsync(file.fileno())
        os.replace(self.parts / "open.h5", path)
        for frame in self.packed.frames(path)[0]:
            self.frames[frame.time] = frame

    def _drop_part(self) -> None:
        """What was being packed when the conversion failed; and the folder, where nothing else is
        in it.
        """
        if self.part is not None:
            part, self.part = self.part, None
            with contextlib.suppress(OSError, RuntimeError):
                part._file.close()
        (self.parts / "open.h5").unlink(missing_ok=True)
        if not any(self.parts.glob("part-*.h5")):
            shutil.rmtree(self.parts, ignore_errors=True)

    def _report(self, quarantine: list[tuple[Path, str]]) -> Path | None:
        """The files that could not be read, as a table beside the archive; an older one goes."""
        path = _report_path(self.output)
        if not quarantine:
            path.unlink(missing_ok=True)
            return None
        with (
            replacing(path) as temporary,
            temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
        ):
            table = csv.writer(file)
            table.writerow(["file", "reason"])
            table.writerows((str(bad), reason) for bad, reason in quarantine)
        return path


def is_own(path: Path, output: Path) -> bool:
    """Whether a file in a folder of radar files is the archive, or what belongs to it."""
    return (
        path.name in (output.name, _report_path(output).name)
        and path.resolve().parent == output.resolve().parent
        and (is_archive(path) or path.suffix == ".csv")
    )


def _report_path(output: Path) -> Path:
    return output.with_name(f"{output.name}.quarantine.csv")


def _prepared(prepare: Preparation, reader, path: Path) -> Frames:
    return prepare(reader.read(path))


def _naming(path: Path, error: UserError) -> str:
    """A reason that names the file it is of, as most do."""
    reason = str(error)
    return reason if str(path) in reason else f"{path}: {reason}"


def _name_that_counts(path: Path, parts: int) -> str:
    """The last parts of a file's path; of a member, also of its archive's where its own are few."""
    member = split_member(path)
    if member is None:
        return end_of_path(path, parts)
    container, name = member
    folders = max(0, parts - 1 - name.count("/"))
    return str(member_path(end_of_path(container, 1 + folders), name))


def _digest(path: Path) -> int:
    """The first eight bytes of the SHA-256 of a file, or a folder's files; `UNREAD` of what cannot
    be read.
    """
    digest = hashlib.sha256()
    store = path.is_dir()
    try:
        for part in sorted(part for part in path.rglob("*") if part.is_file()) if store else [path]:
            digest.update(os.fsencode(part.relative_to(path)) if store else b"")
            if not part.is_file():  # a pipe would be waited for
                return UNREAD
            with part.open("rb") as file:
                while block := file.read(2**20):
                    digest.update(block)
    except OSError:
        return UNREAD
    return _stored_digest(digest.hexdigest())


def _stored_digest(digest: str) -> int:
    """What is kept of a SHA-256 in hexadecimal."""
    return int.from_bytes(bytes.fromhex(digest)[:8], "little", signed=True)
