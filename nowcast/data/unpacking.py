"""A reader of files that also reads compressed files, and members of archives.

One file at a time is unpacked into a private folder, under the end of the path that it would have
beside its archive: readers find times in names and folders.
"""

import contextlib
import os
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from nowcast.data.containers import container_kind, mask_apart
from nowcast.data.members import (
    BETWEEN,
    MOST_BYTES,
    Member,
    clean_name,
    opened_archive,
    split_member,
)
from nowcast.data.private_folder import private_folder
from nowcast.readers.content import damage_reported, is_compressed, stored_beginning, unpacked
from nowcast.runtime.errors import UserError, first_line
from nowcast.runtime.file_kinds import HEAD, kind_of_content
from nowcast.runtime.files import require_space

_KEPT_PARTS = 8  # of a path, for readers: %Y/%m/%d/%H/%M and more
_LONGEST_PART = 255  # bytes of a folder's name, as file systems have them
_PIECE = 2**20  # bytes
_COMPRESSED_SUFFIXES = (".gz", ".gzip", ".bz2", ".bzip2", ".xz")


class Unpacking:
    """A reader of files that also reads compressed files, and members of archives by their paths.

    Args:
        reader: has ``read(path)``, which gives Frames or text, and perhaps ``forecast(path)``.
        refused: what is raised for paths that are known to be unreadable.
    """

    def __init__(self, reader, refused: dict[str, UserError] | None = None):
        self.reader, self._refused = reader, refused or {}
        self._at: _Position | None = None

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_at": None}

    def read(self, path: str | Path):
        """As the reader's own; messages and sources name the path that was given.

        Raises:
            UserError: as the reader's own, or the file cannot be unpacked.
        """
        with self._plain(path) as (place, named):
            found = self.reader.read(place)
            if isinstance(found, str):
                return named(found)
            # a copy would check all values once more
            object.__setattr__(found, "source", named(found.source))
            return found

    @contextlib.contextmanager
    def forecast(self, path: str | Path):
        """As the reader's own: a forecast, open for reading."""
        with self._plain(path) as (place, _), self.reader.forecast(place) as forecast:
            yield forecast

    @contextlib.contextmanager
    def _plain(self, path: str | Path) -> Iterator[tuple[Path, Callable[[str], str]]]:
        """(the file, unpacked where it is packed; what puts the given path for its own into a
        text).
        """
        shown, names = os.fspath(path), []

        def named(text: str) -> str:
            for own, given in reversed(names):
                text = text.replace(own, given)
            return text

        if shown in self._refused:
            raise self._refused[shown]
        with contextlib.ExitStack() as stack:
            place = Path(path)
            member = split_member(path)
            if member is not None:
                place, top = stack.enter_context(self._member(*member, shown))
                names += [(f"{top}/", f"{member[0]}{BETWEEN}"), (str(place), shown)]
            if is_compressed(place) and container_kind(place) is None:
                inner = stack.enter_context(_decompressed(place, shown))
                names += [(f"{inner.parent}/", f"{Path(shown).parent}/"), (str(inner), shown)]
                place = inner
            _refuse_archive(place, shown, inside=member is not None)
            try:
                yield place, named
            except UserError as error:
                text = named(str(error))
                if text == str(error):
                    raise
                raise type(error)(text) from error

    @contextlib.contextmanager
    def _member(self, container: Path, name: str, shown: str) -> Iterator[tuple[Path, Path]]:
        """(a member of an archive as a file, the folder that stands for the archive)."""
        with contextlib.ExitStack() as stack:
            with damage_reported(shown):
                member = self._find(container, name, shown)
                if member.refusal is not None:
                    raise UserError(f"{shown} {member.refusal}.")
                parts = _kept_parts(container, member.own_name)
                try:
                    with member.open() as stream:
                        place = stack.enter_context(
                            _as_file(stream, parts, shown, expected=member.size)
                        )
                except (zipfile.BadZipFile, tarfile.TarError) as error:
                    raise UserError(
                        f"{shown} is damaged or cut short ({first_line(error)}); fetch the "
                        "archive again."
                    ) from error
            yield place, place.parents[min(member.own_name.count("/"), len(parts) - 1)]

    def _find(self, container: Path, name: str, shown: str) -> Member:
        """The member of that name: searched for from where the last one was found, and once from
        the beginning.
        """
        # members are mostly asked for in their order, which a compressed tar needs
        for _ in range(2):
            if self._at is None or not self._at.is_in(container):
                self._leave()
                self._at = _Position(container)
            from_the_beginning, member = self._at.from_the_beginning, None
            try:
                member = self._at.go_to(name)
            except UserError as error:
                if from_the_beginning:  # else it may lie before what is damaged
                    self._leave()
                    raise UserError(f"{container} {error}.") from error
            except BaseException:
                self._leave()
                raise
            if member is not None:
                return member
            self._leave()
            if from_the_beginning:
                break
        raise UserError(f"{shown}: the archive contains no such file; it may have been replaced.")

    def _leave(self) -> None:
        if self._at is not None:
            self._at.close()
            self._at = None


class _Position:
    """An archive that is open, at one of its members."""

    def __init__(self, container: Path):
        kind = container_kind(container)
        if kind is None:
            raise UserError(f"{container} is no archive of files (any more).")
        self._container, self._stamp = container, _stamp(container)
        self._stack = contextlib.ExitStack()
        self._members = self._stack.enter_context(opened_archive(container, kind))
        self._known: dict[str, Member] = {}
        # whether members that were passed can still be opened
        self._keeps = kind == "zip" or not is_compressed(container)
        self.from_the_beginning = True

    def is_in(self, container: Path) -> bool:
        """Whether it is this archive, unchanged."""
        return container == self._container and _stamp(container) == self._stamp

    def go_to(self, name: str) -> Member | None:
        """The next member of that name (any, where going back costs nothing); None if there is
        none up to the end.
        """
        if name in self._known:
            return self._known[name]
        for member in self._members:
            if self._keeps:
                self._known[member.name] = member
            if member.name == name:
                self.from_the_beginning = self._keeps
                return member
        return None

    def close(self) -> None:
        """Close the archive."""
        with contextlib.suppress(OSError, EOFError, ValueError, UserError):
            self._stack.close()


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _refuse_archive(place: Path, shown: str, *, inside: bool) -> None:
    """Raise a UserError for an archive where a single file is needed, and for what is packed in a
    way that is not known here.
    """
    kind = container_kind(place)
    found = kind_of_content(stored_beginning(place, HEAD))
    if kind is None and found is not None and found.is_never_data:
        raise UserError(f"{shown} is {found.what}; {found.advice}.")
    if kind is not None and inside:
        raise UserError(
            f"{shown} is a {kind} archive inside another archive; unpack the outer one first."
        )
    if kind is not None:
        raise UserError(
            f"{shown} is a {kind} archive of files, but a single file is needed here; name one as "
            f"'{shown}{BETWEEN}FILE', or unpack it."
        )


def _kept_parts(path: str | Path, member: str | None = None) -> list[str]:
    """The last folders and the name of a file, or of a member beside its archive.

    Each is a name that stays in the folder it is put into, and that a file system can have.
    """
    whole = os.path.abspath(path)
    if member is not None:
        whole = f"{os.path.dirname(whole)}/{member}"
    parts = clean_name(whole).split("/")[-_KEPT_PARTS:]
    return [part if len(os.fsencode(part)) <= _LONGEST_PART else "too-long" for part in parts]


@contextlib.contextmanager
def _decompressed(path: Path, shown: str) -> Iterator[Path]:
    """A compressed file, unpacked."""
    name = Path(shown.rpartition(BETWEEN)[2]).name
    stem, suffix = os.path.splitext(name)
    plain = stem if suffix.lower() in _COMPRESSED_SUFFIXES and stem else name
    for mask in (f"{plain}.msk", f"{plain}.msk{suffix}"):
        if path.with_name(mask).exists():
            raise mask_apart(shown, mask)
    with contextlib.ExitStack() as stack:
        with damage_reported(shown), unpacked(path, "a file") as stream:
            parts = [*_kept_parts(path)[:-1], plain]
            place = stack.enter_context(_as_file(stream, parts, shown))
        yield place


@contextlib.contextmanager
def _as_file(
    stream: BinaryIO, parts: list[str], shown: str, *, expected: int | None = None
) -> Iterator[Path]:
    """The content of a stream as a file in a private folder, both removed at the end.

    Args:
        stream: the content.
        parts: folders and name of the file there, each of them a plain name.
        shown: what messages call it.
        expected: its length [bytes], where that is known.

    Raises:
        UserError: it is too large, shorter than expected, or there is no room for it.
    """
    with private_folder() as folder:
        place = folder.joinpath(*parts)
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            if expected is not None:
                require_space(place, expected)
            size = _copy(stream, place, shown)
        except OSError as error:
            if error.errno is None:  # of a decompressor
                raise
            raise UserError(
                f"{shown} cannot be unpacked into {folder.parent}: {error.strerror or error}; set "
                "TMPDIR to a folder with room."
            ) from error
        if expected is not None and size != expected:
            raise UserError(
                f"{shown} is cut short: {size} of {expected} bytes are there; fetch the archive "
                "again."
            )
        with contextlib.suppress(OSError):
            os.utime(place, (0, 0))  # it is whole: nobody is still writing it, new as the copy is
        yield place


def _copy(stream: BinaryIO, place: Path, shown: str) -> int:
    """Write a file; its length [bytes]."""
    size = 0
    with open(place, "wb") as file:
        while piece := stream.read(_PIECE):
            size += len(piece)
            if size > MOST_BYTES:
                raise UserError(
                    f"{shown} is over {MOST_BYTES} bytes long when unpacked; more are not unpacked "
                    "here, unpack it first."
                )
            file.write(piece)
    return size
