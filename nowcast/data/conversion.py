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
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from nowcast.data.archive import Archive, is_archive
from nowcast.data.archive_writing import write_archive
from nowcast.data.containers import OpenedInputs
from nowcast.data.inputs import FileSet, refuse_other_values
from nowcast.data.origin import UNREAD, Origin
from nowcast.data.packed_frames import PackedFiles, StoredFrame
from nowcast.data.parts import Parts
from nowcast.data.preparation import Preparation
from nowcast.data.reading import TooSlow, in_order, opened_inputs
from nowcast.data.tolerant import Tolerant
from nowcast.data.unpacking import Unpacking
from nowcast.readers.content import damage_reported
from nowcast.readers.hdf5 import Hdf5File
from nowcast.runtime.build import target_of
from nowcast.runtime.errors import UserError, first_line
from nowcast.runtime.files import is_one_of, leftovers, locked, replacing
from nowcast.types.frames import Frames


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
        remarks: how unusual statements of the files were understood.
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
    remarks: tuple[str, ...] = ()

    def __str__(self) -> str:
        text = f"{self.path}: {self.frames} frames"
        if self.added < self.frames:
            text += f" ({self.added} of them new)"
        text += f", {self.start} to {self.end} UTC"
        if self.duplicates:
            text += f", {self.duplicates} that came twice left out"
        if self.discarded:
            text += f", {self.discarded} pixels that cannot be rain made missing"
        return text


def convert(
    paths: Iterable[str | os.PathLike],
    output: str | os.PathLike,
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
    paths = sorted({Path(path) for path in paths}, key=lambda path: (path.name, str(path)))
    if not paths:
        raise UserError("there are no radar files to convert; give at least one.")
    if not isinstance(workers, int) or isinstance(workers, bool) or workers < 0:
        raise UserError(
            f"workers is {workers!r}; a whole number of processes, 0 or more, is needed."
        )
    if is_one_of(output, paths):
        raise UserError(f"{output} is one of the radar files; give the archive another path.")
    prepare = prepare or Preparation({"_target_": target_of(reader)})
    reader = Tolerant(reader, prepare.tolerance)
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(alone(output))
            old = None
            if output.exists() and not replace:
                old = stack.enter_context(_opened(output, prepare))
            packed = stack.enter_context(PackedFiles())
            parts = stack.enter_context(Parts(output, prepare.as_data(), packed))
            inputs = opened_inputs(paths, separately=workers > 0, digests=True)
            conversion = _Conversion(output, prepare, old, parts, reader.path_parts)
            summary = conversion.run(
                inputs, reader, workers=workers, strict=strict, progress=progress
            )
            parts.remove()
            return summary
    except (OSError, RuntimeError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or first_line(error)
        raise UserError(f"{output} could not be written: {reason}.") from error


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
    other = prepare.differences(archive)
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


@contextlib.contextmanager
def alone(output: Path) -> Iterator[None]:
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
    """One run of `convert`: what is known so far.

    Args:
        output: the archive to write.
        prepare: what is done to frames.
        old: the archive that is there; None: a new one is made.
        parts: where frames are packed.
        path_parts: how many of the last parts of a path decide what is read.
    """

    def __init__(
        self, output: Path, prepare: Preparation, old: Archive | None, parts: Parts, path_parts: int
    ):
        self.output, self.prepare, self.old, self.parts = output, prepare, old, parts
        self.path_parts = path_parts
        self.file_set: FileSet | None = (
            None  # what all files have in common; None: none was read yet
        )
        self.frames: dict[np.datetime64, StoredFrame] = {}
        self.kept: set[np.datetime64] = set()  # times of the frames that are in the archive
        self.known: set[Origin] = set()
        self.quarantine: list[tuple[Path, str]] = []
        self.remarks: set[str] = set()
        self.duplicates = 0

    def run(
        self,
        inputs: OpenedInputs,
        reader,
        *,
        workers: int,
        strict: bool,
        progress: Callable[[int, int], None] | None,
    ) -> ArchiveSummary:
        """All of it."""
        if self.old is not None:
            self._take_archive(self.old)
        origins = {}
        for path in inputs.paths:
            # a name counts for messages, even where the reader takes nothing from it
            origins[path] = Origin.of(path, max(1, self.path_parts), inputs.digests.get(path))
        self._take_parts({self._identity(origin) for origin in origins.values()})
        reader = Unpacking(reader, inputs.refused)
        read = partial(in_order, reader=reader, prepare=self.prepare)
        self._read(origins, read, workers=workers, strict=strict, progress=progress)
        self._take_closed_part()
        report = self._report(inputs.paths)
        if not self.frames:
            reason = self.quarantine[0][1]
            if len(self.quarantine) > 1:
                count = len(self.quarantine)
                reason = (
                    f"none of the {count} files could be read (listed in {report}); the first: "
                    f"{reason}"
                )
            raise UserError(reason)
        frames = [self.frames[moment] for moment in sorted(self.frames)]
        # nothing new: the file stays as it is, to the byte
        if len(frames) > len(self.kept):
            self._write(frames)
        return ArchiveSummary(
            self.output,
            frames=len(frames),
            added=len(frames) - len(self.kept),
            duplicates=self.duplicates,
            start=frames[0].time,
            end=frames[-1].time,
            quarantine=tuple(self.quarantine),
            report=report,
            discarded=sum(frame.discarded for frame in frames),
            remarks=tuple(sorted(self.remarks)),
        )

    def _write(self, frames: list[StoredFrame]) -> None:
        settings = self.prepare.as_data()
        if self.old is not None:
            self.old.require_unchanged()
            settings |= self.old.settings  # in the words it was made with
        grid, quantity = self.file_set.grid, self.file_set.quantity
        with replacing(self.output) as temporary:
            write_archive(
                frames,
                temporary,
                grid=grid,
                quantity=quantity,
                settings=settings,
                remarks=self.remarks,
            )

    def _identity(self, origin: Origin) -> Origin:
        """What a file is known by: its name only where the reader takes something from it."""
        return origin if self.path_parts else Origin("", origin.digest)

    def _take_archive(self, archive: Archive) -> None:
        """The frames that are in the archive already."""
        for frame in archive.stored_frames():
            self.frames[frame.time] = frame
            self.kept.add(frame.time)
            self.known.add(self._identity(frame.origin))
        self.file_set = self._file_set(archive, self.output)
        self.remarks |= set(archive.remarks)

    def _file_set(self, frames: Frames | Archive, path: Path) -> FileSet:
        return FileSet(frames.grid, frames.quantity, path, self.prepare.tolerance)

    def _take_parts(self, wanted: set[Origin]) -> None:
        """The frames of an interrupted conversion, of the files that are asked for again."""
        doubtful = set()  # files of which not every frame can be taken from here
        # a frame that several files have lies in the part of the first of them alone
        for frames, grid, quantity in self.parts.interrupted():
            for frame in frames:
                identity, path = self._identity(frame.origin), Path(frame.origin.name)
                if identity not in wanted:
                    continue
                there = self.frames.get(frame.time)
                if there is None:
                    if self.file_set is None:
                        self.file_set = FileSet(grid, quantity, path, self.prepare.tolerance)
                    self.file_set.refuse_other(grid, quantity, path)
                    self.frames[frame.time] = frame
                    self.known.add(identity)
                elif self._identity(there.origin) != identity:
                    doubtful.add(identity)
        self.known -= doubtful
        self.remarks |= set(self.parts.remarked())

    def _read(
        self,
        origins: dict[Path, Origin],
        read: Callable[..., Iterator[tuple[Path, object]]],
        *,
        workers: int,
        strict: bool,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        """The files that are not known; of copies the first, and the others where it fails."""
        copies = self._new(origins)
        done, failed = len(origins) - len(copies), []
        for path, result in read(copies, workers=workers):
            done += 1
            if not isinstance(result, UserError):
                self._add(path, result, origins[path])
                self.duplicates += len(copies[path]) * len(result)
            elif strict:
                raise result
            else:
                self._refuse(path, result)
                if isinstance(result, TooSlow):  # nobody waits for each of its copies
                    for copy in copies[path]:
                        known = f"has the same content as {path}, of which this is known: {result}"
                        self.quarantine.append((copy, f"{copy} {known}"))
                else:
                    failed += copies[path]
            if progress is not None:
                progress(done, len(origins))
        for path, result in read(failed, workers=min(workers, len(failed))):
            if isinstance(result, UserError):
                self._refuse(path, result)
            else:
                self._add(path, result, origins[path])

    def _refuse(self, path: Path, error: UserError) -> None:
        """Into quarantine, with a reason that names the file, as most do."""
        reason = str(error)
        self.quarantine.append((path, reason if str(path) in reason else f"{path}: {reason}"))

    def _new(self, origins: dict[Path, Origin]) -> dict[Path, list[Path]]:
        """Files to read, and the copies of each: of the same content (and name, if it counts)."""
        copies, first = {}, {}
        for path, origin in origins.items():
            identity = self._identity(origin)
            if origin.digest == UNREAD:  # whoever reads it finds out why
                copies[path] = []
            elif identity in first:
                copies[first[identity]].append(path)
            elif identity not in self.known:
                copies[path] = []
                first[identity] = path
        return copies

    def _add(self, path: Path, frames: Frames, origin: Origin) -> None:
        """The frames of one file; those that are there already must be equal."""
        if self.file_set is None:
            self.file_set = self._file_set(frames, path)
        self.file_set.refuse_other(frames.grid, frames.quantity, path)
        if not self.remarks.issuperset(frames.remarks):
            self.remarks |= set(frames.remarks)
            self.parts.remark(self.remarks)
        for moment, values, discarded in zip(frames.times, frames.values, frames.discarded):
            there = self.frames.get(moment)
            if there is None:
                part = self.parts.opened(self.file_set.grid, self.file_set.quantity)
                self.frames[moment] = part.append(moment, values, origin, discarded)
                continue
            with damage_reported(self.output):
                before = there.dataset[there.place]  # read back: frames are not kept in memory
            names, advice = (there.origin.name, origin.name), self._advice(moment, path)
            refuse_other_values(moment, before, values, *names, advice)
            self.duplicates += 1
        if self.parts.is_due:
            self._take_closed_part()

    def _take_closed_part(self) -> None:
        for frame in self.parts.close_part():
            self.frames[frame.time] = frame

    def _advice(self, moment: np.datetime64, path: Path) -> str:
        """What to do where a file has other values than a frame that came before it."""
        if moment not in self.kept:
            return f"leave one of them out (the second is {path})"
        return (
            f"the first is in the archive {self.output} already, which stays as it is: leave "
            f"{path} out, or, to have its values, convert all the files into another output, it "
            "in the place of the first"
        )

    def _report(self, paths: list[Path]) -> Path | None:
        """The files that could not be read, in their order, as a table beside the archive; an older
        one goes.
        """
        report = _report_path(self.output)
        if not self.quarantine:
            report.unlink(missing_ok=True)
            return None
        place = {path: number for number, path in enumerate(paths)}
        self.quarantine.sort(key=lambda item: place[item[0]])
        with (
            replacing(report) as temporary,
            temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
        ):
            table = csv.writer(file)
            table.writerow(["file", "reason"])
            table.writerows((str(path), reason) for path, reason in self.quarantine)
        return report


def is_own(path: Path, output: Path) -> bool:
    """Whether a file in a folder of radar files is the archive, or what belongs to it."""
    return (
        path.name in (output.name, _report_path(output).name)
        and path.resolve().parent == output.resolve().parent
        and (is_archive(path) or path.suffix == ".csv")
    )


def _report_path(output: Path) -> Path:
    return output.with_name(f"{output.name}.quarantine.csv")
