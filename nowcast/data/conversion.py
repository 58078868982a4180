"""Radar files into an archive: any number of them, in any order, in several goes.

Files are read by processes that can be killed. What they give is packed into parts beside the archive; a conversion that was
interrupted goes on from there. At the end, the archive's own frames and those of the parts are copied, packed as they are, into a new
archive in time order, which then takes the old one's place. A file that is known by its content is not read again.
"""

import contextlib
import csv
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from nowcast.data.archive import Archive, Origin, PackedFiles, PackedFrames, StoredFrame, is_archive, write_archive
from nowcast.data.containers import OpenedInputs, Unpacking, short_name
from nowcast.data.inputs import refuse_other_set, refuse_other_values
from nowcast.data.readers.content import damage_reported
from nowcast.data.reading import in_order, opened_inputs
from nowcast.data.regrid import Regular, Unchanged, clipped
from nowcast.errors import UserError, first_line
from nowcast.files import is_one_of, leftovers, locked, replacing
from nowcast.frames import Frames, Grid

_PART_FRAMES, _PART_SECONDS = 256, 20.0  # a part is closed after so many frames or seconds: more is never lost


@dataclass(frozen=True)
class Preparation:
    """What is done to the frames of every file before they go into the archive; recorded in it.

    Args:
        reader: settings of the reader, as data.
        clip: rates above it [mm/h] are set to it; None: they stay.
        regrid: another grid, or ``Unchanged()``.
    """

    reader: dict
    clip: float | None = None
    regrid: Unchanged | Regular = field(default_factory=Unchanged)

    def __post_init__(self):
        if self.clip is not None and not 0 < self.clip < float("inf"):
            raise UserError(f"clip is {self.clip!r}; the highest rate [mm/h] to keep, above 0, is needed, or null.")

    def __call__(self, frames: Frames) -> Frames:
        """Frames as they go into the archive."""
        return self.regrid(clipped(frames, self.clip))

    def as_data(self) -> dict:
        """The same as JSON can hold it; equal data, equal treatment."""
        regrid = {"_target_": f"{type(self.regrid).__module__}.{type(self.regrid).__qualname__}"} | vars(self.regrid)
        return json.loads(json.dumps({"reader": self.reader, "clip": self.clip, "regrid": regrid}))


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
    """

    path: Path
    frames: int
    added: int
    duplicates: int
    start: np.datetime64
    end: np.datetime64
    quarantine: tuple[tuple[Path, str], ...] = ()
    report: Path | None = None

    def __str__(self) -> str:
        earlier = f" ({self.added} of them new)" if self.added < self.frames else ""
        again = f", {self.duplicates} that came twice left out" if self.duplicates else ""
        return f"{self.path}: {self.frames} frames{earlier}, {self.start} to {self.end} UTC{again}"


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
    """Write radar files into one archive, in time order; an archive that exists gets the new frames.

    Args:
        paths: the radar files, all of one grid and one quantity, in any order; archives of files
            (tar, zip) and compressed files, too.
        output: the archive. It is replaced as a whole at the end, and untouched if anything fails.
        reader: has ``read(path) -> Frames``; see ``nowcast.data.readers``.
        prepare: clipping and regridding; None: neither.
        workers: processes that read; 0: everything in this process, which a hostile file can then crash or hang.
        strict: whether a file that cannot be read is an error; else it is listed in a report beside the archive.
        replace: whether to start a new archive where there is one.
        progress: called after each file with the number of files done and of all.

    Raises:
        UserError: no files, none that can be read (strict: one), another grid or quantity, two different frames of one time, an
            existing file that is no archive or was made with other settings, or a full disk.
    """
    output = Path(os.path.realpath(output))  # a link to an archive stays a link
    paths = sorted(dict.fromkeys(Path(path) for path in paths), key=lambda path: (path.name, str(path)))
    if not paths:
        raise UserError("there are no radar files to convert; give at least one.")
    if not isinstance(workers, int) or isinstance(workers, bool) or workers < 0:
        raise UserError(f"workers is {workers!r}; a whole number of processes, 0 or more, is needed.")
    if is_one_of(output, paths):
        raise UserError(f"{output} is one of the radar files; give the archive another path.")
    prepare = prepare or Preparation({"_target_": f"{type(reader).__module__}.{type(reader).__qualname__}"})
    with _alone(output):
        try:
            with contextlib.ExitStack() as stack:
                old = None if replace or not output.exists() else stack.enter_context(_opened(output, prepare))
                conversion = _Conversion(output, prepare, old, stack.enter_context(PackedFiles()))
                summary = conversion.run(opened_inputs(paths, separately=workers > 0, digests=True), reader, workers, strict, progress)
            shutil.rmtree(conversion.parts, ignore_errors=True)
            return summary
        except (OSError, RuntimeError) as error:
            raise UserError(f"{output} could not be written: {getattr(error, 'strerror', None) or first_line(error)}.") from error


def _opened(output: Path, prepare: Preparation) -> Archive:
    """The archive that gets new frames."""
    advice = "give another output, or replace=true to make a new one"
    if not is_archive(output):
        raise UserError(f"{output} exists and is no archive that frames could be added to; {advice}.")
    archive = Archive(output)
    if archive.settings is None:
        raise UserError(f"{output} was made by an older nowcast, which frames cannot be added to; {advice}.")
    wanted = prepare.as_data()
    other = [f"{name} {json.dumps(archive.settings.get(name))} against {json.dumps(wanted[name])}" for name in wanted if archive.settings.get(name) != wanted[name]]
    if other:
        raise UserError(f"{output} was made with other settings: {'; '.join(other)}; {advice}.")
    return archive


@contextlib.contextmanager
def _alone(output: Path) -> Iterator[None]:
    """A lock beside the archive, so that no other conversion writes it; leftovers of killed ones are removed under it."""
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

    def __init__(self, output: Path, prepare: Preparation, old: Archive | None, packed: PackedFiles):
        self.output, self.prepare, self.old, self.packed = output, prepare, old, packed
        self.parts = output.with_name(f".{output.name}.parts")
        self.like = self.first = self.part = None
        self.frames: dict[np.datetime64, StoredFrame] = {}
        self.known: set[int] = set()
        self.duplicates, self.started = 0, 0.0

    def run(self, inputs: OpenedInputs, reader, workers: int, strict: bool, progress) -> ArchiveSummary:
        """All of it."""
        paths, reader = inputs.paths, Unpacking(reader, inputs.refused)
        if self.old is not None:
            self._take_archive()
        kept = len(self.frames)
        digests = {path: _stored_digest(inputs.digests[path]) if path in inputs.digests else _digest(path) for path in paths}
        self._take_parts(set(digests.values()))
        quarantine = []
        try:
            self._read(paths, digests, reader, workers, strict, quarantine, progress)
            self._close_part()
        finally:
            self._drop_part()
        report = self._report(quarantine)
        if not self.frames:
            path, reason = quarantine[0]
            raise UserError(reason if len(quarantine) == 1 else f"none of the {len(quarantine)} files could be read (listed in {report}); the first: {reason}")
        times = sorted(self.frames)
        if len(times) > kept:
            if self.old is not None:
                self.old.require_unchanged()
            with replacing(self.output) as temporary:
                settings = self.prepare.as_data()
                write_archive([self.frames[moment] for moment in times], temporary, grid=self.like.grid, quantity=self.like.quantity, settings=settings)
        return ArchiveSummary(self.output, len(times), len(times) - kept, self.duplicates, times[0], times[-1], tuple(quarantine), report)

    def _take_archive(self) -> None:
        """The frames that are in the archive already."""
        for place, (moment, origin) in enumerate(zip(self.old.times, self.old.origins)):
            self.frames[moment] = StoredFrame(moment, origin, self.old._dataset, place)
            self.known.add(origin.digest)
        self._expect(self.old.grid, self.old.quantity, self.output)

    def _expect(self, grid: Grid, quantity: str, path: Path) -> None:
        """Every file from now on must be like this one."""
        self.like, self.first = Frames(np.empty((0, *grid.shape)), np.empty(0, "datetime64[s]"), grid, quantity=quantity), path

    def _take_parts(self, wanted: set[int]) -> None:
        """The frames of an interrupted conversion with the same settings, of the files that are asked for again."""
        mark = self.parts / "settings.json"
        settings = json.dumps(self.prepare.as_data(), sort_keys=True)
        if not (mark.is_file() and mark.read_text(encoding="utf-8") == settings):
            shutil.rmtree(self.parts, ignore_errors=True)
            return
        for path in sorted(self.parts.glob("part-*.h5")):
            try:
                frames, grid, quantity = self.packed.frames(path)
            except UserError:
                path.unlink()
                continue
            for frame in frames:
                if frame.origin.digest in wanted and frame.time not in self.frames:
                    if self.like is None:
                        self._expect(grid, quantity, Path(frame.origin.name))
                    refuse_other_set(Frames(np.empty((0, *grid.shape)), np.empty(0, "datetime64[s]"), grid, quantity=quantity), Path(frame.origin.name), self.like, self.first)
                    self.frames[frame.time] = frame
                    self.known.add(frame.origin.digest)

    def _read(self, paths, digests, reader, workers, strict, quarantine, progress) -> None:
        new, copies = [], {}
        for path in paths:
            if digests[path] in copies:
                copies[digests[path]].append(path)
            elif digests[path] not in self.known:
                new.append(path)
                copies[digests[path]] = []
        done = len(paths) - len(new)
        for path, result in in_order(new, reader, partial(_prepared, self.prepare), workers=workers):
            done += 1
            if isinstance(result, UserError):
                if strict:
                    raise result
                quarantine.extend((bad, str(result)) for bad in (path, *copies[digests[path]]))
            else:
                self._add(path, result, Origin(short_name(path), digests[path]))
                self.duplicates += len(copies[digests[path]]) * len(result)
            if progress is not None:
                progress(done, len(paths))

    def _add(self, path: Path, frames: Frames, origin: Origin) -> None:
        """The frames of one file; those that are there already must be equal."""
        if self.like is None:
            self._expect(frames.grid, frames.quantity, path)
        refuse_other_set(frames, path, self.like, self.first)
        for moment, values in zip(frames.times, frames.values):
            if moment in self.frames:
                there = self.frames[moment]
                with damage_reported(self.output):
                    before = there.dataset[there.place]
                refuse_other_values(moment, before, values, there.origin.name, origin.name)
                self.duplicates += 1
            else:
                self._pack(moment, values, origin)
        if self.part is not None and (len(self.part) >= _PART_FRAMES or time.monotonic() - self.started > _PART_SECONDS):
            self._close_part()

    def _pack(self, moment: np.datetime64, values: np.ndarray, origin: Origin) -> None:
        if self.part is None:
            self.parts.mkdir(parents=True, exist_ok=True)
            with replacing(self.parts / "settings.json") as temporary:
                temporary.write_text(json.dumps(self.prepare.as_data(), sort_keys=True), encoding="utf-8")
            self.part, self.started = PackedFrames(self.parts / "open.h5", self.like.grid, self.like.quantity), time.monotonic()
        self.frames[moment] = self.part.append(moment, values, origin)

    def _close_part(self) -> None:
        """Complete the part and take its frames from there; it survives whatever happens to this process."""
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
        """What was being packed when the conversion failed; and the folder, where nothing else is in it."""
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
        with replacing(path) as temporary, temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            table = csv.writer(file)
            table.writerow(["file", "reason"])
            table.writerows((str(bad), reason) for bad, reason in quarantine)
        return path


def is_own(path: Path, output: Path) -> bool:
    """Whether a file in a folder of radar files is the archive, or what belongs to it."""
    return path.name in (output.name, _report_path(output).name) and path.resolve().parent == output.resolve().parent and (is_archive(path) or path.suffix == ".csv")


def _report_path(output: Path) -> Path:
    return output.with_name(f"{output.name}.quarantine.csv")


def _prepared(prepare: Preparation, reader, path: Path) -> Frames:
    return prepare(reader.read(path))


def _digest(path: Path) -> int:
    """The first eight bytes of the SHA-256 of a file's content, of a folder's files, or, of what cannot be read, of its name."""
    digest = hashlib.sha256()
    store = path.is_dir()
    try:
        for part in sorted(part for part in path.rglob("*") if part.is_file()) if store else [path]:
            digest.update(os.fsencode(part.relative_to(path)) if store else b"")
            with part.open("rb") as file:
                while block := file.read(2**20):
                    digest.update(block)
    except OSError:
        digest = hashlib.sha256(os.fsencode(path))
    return _stored_digest(digest.hexdigest())


def _stored_digest(digest: str) -> int:
    """What is kept of a SHA-256 in hexadecimal."""
    return int.from_bytes(bytes.fromhex(digest)[:8], "little", signed=True)
