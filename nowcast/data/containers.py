"""Archives of files (tar, zip) and compressed files, wherever radar files are taken.

A member of an archive has a path of its own, ``archive.tar: folder/name``: it stands for the
member in lists, messages and provenance, and can be typed. Members are listed and read by the
process that reads files, which can be killed. One at a time is unpacked into a private folder that
goes with it, under the end of the path that it would have beside its archive (readers find times in
names and folders): no name in an archive ever becomes a path outside that folder, and links and
devices are not followed.

A tar that is compressed can only be read from front to back, so members keep the archive's order.
"""

import contextlib
import fcntl
import functools
import hashlib
import json
import os
import shutil
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

from nowcast.readers.content import (
    TAR_BLOCK,
    archive_kind,
    beginning,
    damage_reported,
    is_compressed,
    require_file,
    stored_beginning,
    unpacked,
)
from nowcast.runtime.errors import UserError, first_line
from nowcast.runtime.files import require_space
from nowcast.runtime.unreadable import HEAD, kind_of_content

_BETWEEN = ": "  # the path of an archive and the name of a member
_MOST_BYTES = 2**31  # of a file that is unpacked; the largest map takes half of it
_MOST_MEMBERS = 200_000  # two years of five-minute files
_LONGEST_NAME, _LONGEST_LAST_NAME = 1000, 200  # bytes
_LONGEST_PART = 255  # bytes of a folder's name, as file systems have them
_KEPT_PARTS = 8  # of a path, for readers: %Y/%m/%d/%H/%M and more
_MOST_NAMES = 2**24  # bytes of all names of an archive
_PIECE = 2**20  # bytes
_FOLDER = "nowcast-unpacked-"
# a folder that nobody has locked is only removed when it is older: its owner may be about to
_ABANDONED_SECONDS = 60.0
_STORE_MARKS = (".zgroup", ".zattrs", ".zarray", "zarr.json")  # what makes a folder a zarr store
_COMPRESSED_SUFFIXES = (".gz", ".gzip", ".bz2", ".bzip2", ".xz")
_MASK = ".msk"  # GDAL's second file for what was not observed
_ENCRYPTED = 0x41  # flags of a zip's member
_MOST_AFTER_END = 2**20  # bytes after the end of a tar that are looked at: padding is shorter


@dataclass(frozen=True)
class Member:
    """One file in an archive.

    Args:
        name: without what could lead elsewhere (``..``, a leading slash), different from those of
            all other members.
        size: bytes when unpacked, as the archive says.
        changed: seconds since 1970, as the archive says.
        refusal: why it is not read; None: nothing is known against it.
        open: gives its content as a stream.
        own_name: as ``name``, but perhaps equal to that of another member; "": as ``name``.
    """

    name: str
    size: int
    changed: float
    refusal: str | None
    open: Callable[[], BinaryIO]
    own_name: str = ""


def member_path(container: str | Path, name: str) -> Path:
    """The path that stands for a member of an archive."""
    return Path(f"{container}{_BETWEEN}{name}")


def split_member(path: str | Path) -> tuple[Path, str] | None:
    """(archive, name of the member) that a path stands for; None for a path of another kind."""
    text = os.fspath(path)
    place = text.rfind(_BETWEEN)
    while place > 0:
        if os.path.isfile(text[:place]) and not os.path.exists(text):
            return Path(text[:place]), text[place + len(_BETWEEN) :]
        place = text.rfind(_BETWEEN, 0, place)
    return None


def short_name(path: str | Path) -> str:
    """The name of a file without its folder; of a member, with the name of its archive."""
    place = split_member(path)
    return Path(path).name if place is None else f"{place[0].name}{_BETWEEN}{place[1]}"


def stored_size(path: str | Path) -> int:
    """Bytes on the disk that are read to have a file, or (all of the archive) a member; 0 for
    none.
    """
    place = split_member(path)
    try:
        status = os.stat(path if place is None else place[0])
    except (OSError, ValueError):
        return 0
    on_disk = 512 * status.st_blocks  # a file with holes claims more than it contains
    return min(status.st_size, on_disk)


def container_kind(path: str | Path) -> str | None:
    """What an archive of files is: "tar" (also a compressed one) or "zip"; else None. Never raises.

    A zip file that is one data set (.npz, zarr) is no archive of files.
    """
    kind = archive_kind(
        beginning(path, TAR_BLOCK) if is_compressed(path) else stored_beginning(path, TAR_BLOCK)
    )
    if kind == "zip":
        return None if is_compressed(path) or _is_zipped_data_set(path) else "zip"
    return kind


def _may_be_container(path: Path) -> bool:
    """As `container_kind`, but without unpacking anything."""
    return is_compressed(path) or archive_kind(stored_beginning(path, TAR_BLOCK)) is not None


def _is_zipped_data_set(path: str | Path) -> bool:
    """Whether a zip file is NumPy's .npz, or a zarr store."""
    try:
        with zipfile.ZipFile(path) as file:
            names = file.namelist()
    except (OSError, ValueError, RuntimeError, NotImplementedError, zipfile.BadZipFile):
        return False  # whoever opens it next says why
    arrays = bool(names) and all(name.endswith(".npy") for name in names)
    return set(_STORE_MARKS) & set(names) != set() or (
        arrays and Path(path).suffix.lower() != ".zip"
    )


def _clean(name: str) -> str:
    """A member's name as a relative path that stays where it is put, of characters that a path may
    have.
    """
    name = (
        name.replace("\0", "")
        .encode("utf-8", "surrogateescape" if _is_escaped(name) else "replace")
        .decode("utf-8", "surrogateescape")
    )
    parts = [part for part in name.split("/") if part not in ("", ".", "..")]
    return "/".join(parts) or "unnamed"


def _kept_parts(path: str | Path, member: str | None = None) -> list[str]:
    """The last folders and the name of a file, or of a member beside its archive.

    Each is a name that stays in the folder it is put into, and that a file system can have.
    """
    whole = os.path.abspath(path)
    if member is not None:
        whole = f"{os.path.dirname(whole)}/{member}"
    parts = _clean(whole).split("/")[-_KEPT_PARTS:]
    return [part if len(os.fsencode(part)) <= _LONGEST_PART else "too-long" for part in parts]


def _is_escaped(name: str) -> bool:
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return False
    return True


def _is_hidden(name: str) -> bool:
    """What a folder would not show, either, and what macOS adds to archives."""
    parts = name.split("/")
    return (parts[-1].startswith(".") and parts[-1] not in _STORE_MARKS) or parts[0] == "__MACOSX"


def _named_apart(members: Iterable[Member]) -> Iterator[Member]:
    """Members with clean names, no two of which are equal: of a name that comes again, each is a
    file of its own.
    """
    seen, length = set(), 0
    for count, member in enumerate(members, start=1):
        length += len(member.name)
        if count > _MOST_MEMBERS or length > _MOST_NAMES:
            raise UserError(
                f"contains more than {_MOST_MEMBERS} files, or names of more than {_MOST_NAMES} "
                "characters; unpack it"
            )
        name = _clean(member.name)
        if _is_hidden(name):
            continue
        refusal = member.refusal
        if member.size > _MOST_BYTES:
            refusal = f"claims {member.size} bytes; more than {_MOST_BYTES} are not unpacked"
        if (
            len(os.fsencode(name)) > _LONGEST_NAME
            or len(os.fsencode(name.rpartition("/")[2])) > _LONGEST_LAST_NAME
        ):
            name, refusal = name[:80], f"has a name of {len(os.fsencode(name))} bytes; rename it"
        own_name, (folder, slash, last) = name, name.rpartition("/")
        again = 1
        while name in seen:
            again += 1
            name = f"{folder}{slash}({again})/{last}"
        seen.add(name)
        yield replace(member, name=name, refusal=refusal, own_name=own_name)


class _LastBlock:
    """A stream for tarfile that remembers what it read last, which tells the end of an archive
    from damage.
    """

    def __init__(self, stream: BinaryIO):
        self._stream, self.last = stream, b""
        self.tell, self.seek = stream.tell, stream.seek

    def read(self, size: int = -1) -> bytes:
        """As the stream's own."""
        content = self._stream.read(size)
        if size == TAR_BLOCK:
            self.last = content
        return content


def _tar_members(stream: BinaryIO, *, forward_only: bool) -> Iterator[Member]:
    """The files of a tar in its order; each can only be opened before the next is asked for.

    Raises:
        UserError: the archive is damaged, or does not end as it should.
    """
    source = _LastBlock(stream)
    try:
        archive = tarfile.TarFile(fileobj=source, mode="r", errorlevel=0)
    except tarfile.TarError as error:
        raise UserError(
            f"is a damaged tar archive ({first_line(error)}); fetch it again"
        ) from error
    while True:
        try:
            entry = archive.next()
        except tarfile.TarError as error:
            raise UserError(
                f"is damaged or cut short ({first_line(error)}); fetch it again"
            ) from error
        archive.members.clear()  # it would remember all of them
        if entry is None:
            break
        if entry.isdir():
            continue
        if entry.size < 0:  # tarfile would go back, and round in a circle
            raise UserError(
                f"is damaged: {_clean(entry.name)[:80]} claims {entry.size} bytes; fetch it again"
            )
        if forward_only and entry.size > _MOST_BYTES:
            name = _clean(entry.name)[:80]
            raise UserError(
                f"was read as far as {name}, which claims {entry.size} bytes (more than "
                f"{_MOST_BYTES} are not unpacked); unpack it"
            )
        # a sparse file's holes are filled by tarfile, and counted in its size
        yield Member(
            entry.name,
            entry.size,
            float(entry.mtime),
            _tar_refusal(entry),
            _opener_of(archive, entry),
        )
    _check_end(source)


def _opener_of(archive: tarfile.TarFile, entry: tarfile.TarInfo) -> Callable[[], BinaryIO]:
    return lambda: archive.extractfile(entry)


def _tar_refusal(entry: tarfile.TarInfo) -> str | None:
    if entry.islnk() or entry.issym():
        return (
            f"is a link (to {_clean(entry.linkname)[:200]}), which is not followed inside an "
            "archive; unpack the archive"
        )
    if not entry.isreg():
        return "is no regular file, but a device or a pipe"
    return None


def _check_end(source: _LastBlock) -> None:
    """Refuse what makes tarfile stop without a word: a damaged header, no end, another archive
    behind the end.
    """
    if not source.last:
        raise UserError("has no mark at its end, so files may be lacking; fetch it again")
    if source.last.strip(b"\0"):
        raise UserError("is damaged: what follows its last file is no file; fetch it again")
    if source.read(_MOST_AFTER_END).strip(b"\0"):
        raise UserError(
            "goes on behind its end, as joined archives do; unpack it (tar --ignore-zeros)"
        )


def _zip_members(archive: zipfile.ZipFile) -> Iterator[Member]:
    """The files of a zip in the order of its directory."""
    for entry in archive.infolist():
        if entry.is_dir():
            continue
        refusal = None
        if entry.flag_bits & _ENCRYPTED:
            refusal = "is encrypted; unpack the archive with its password"
        elif entry.external_attr >> 28 == 0xA:  # the mode of a symbolic link, as Unix writes it
            refusal = "is a link, which is not followed inside an archive; unpack the archive"
        elif entry.compress_type not in (
            zipfile.ZIP_STORED,
            zipfile.ZIP_DEFLATED,
            zipfile.ZIP_BZIP2,
            zipfile.ZIP_LZMA,
        ):
            refusal = (
                f"is compressed by zip's method {entry.compress_type}, which is not known "
                "here; unpack the archive"
            )
        try:
            changed = time.mktime((*entry.date_time, 0, 0, -1))
        except (ValueError, OverflowError):
            changed = 0.0
        yield Member(
            entry.filename.replace("\\", "/"),
            entry.file_size,
            changed,
            refusal,
            _zip_opener(archive, entry),
        )


def _zip_opener(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Callable[[], BinaryIO]:
    return lambda: archive.open(entry)


@contextlib.contextmanager
def _opened(path: Path, kind: str) -> Iterator[Iterator[Member]]:
    """The members of an archive, in its order.

    Raises:
        UserError: no such file; in the ``with`` block also damage, without the name of the archive.
    """
    with contextlib.ExitStack() as stack:
        if kind == "zip":
            require_file(path, "a zip archive")
            try:
                archive = stack.enter_context(zipfile.ZipFile(path))
            except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError) as error:
                raise UserError(
                    f"is a zip archive that is damaged or cut short ({first_line(error)}); fetch "
                    "it again"
                ) from error
            members = _zip_members(archive)
        else:
            stream = stack.enter_context(unpacked(path, "a tar archive"))
            members = _tar_members(stream, forward_only=is_compressed(path))
        yield _named_apart(members)


@dataclass(frozen=True)
class Listing:
    """Reads an archive as the list of its members, in a ``nowcast.data.reading.ReadingProcess``,
    too.

    Args:
        digests: whether all of it is read, for the SHA-256 of each member.
    """

    digests: bool = False

    def read(self, path: str | Path) -> str:
        """JSON: null for what is no archive; else names, times of change and digests of the
        members, and what is wrong with it.
        """
        kind = container_kind(path)
        if kind is None:
            return "null"
        found, problem = [], None
        try:
            with damage_reported(path), _opened(Path(path), kind) as members:
                for member in members:
                    found.append([member.name, member.changed, None])
                    if self.digests and member.refusal is None:
                        found[-1][-1] = _digest(member, alone=kind == "zip")
        except UserError as error:
            problem = str(error) if str(path) in str(error) else f"{path} {error}."
        except tarfile.TarError as error:
            problem = f"{path} is damaged or cut short ({first_line(error)}); fetch it again."
        found, stores = _without_stores(found)
        return json.dumps({"members": found, "stores": stores, "problem": problem})


def _digest(member: Member, *, alone: bool) -> str | None:
    """SHA-256 of a member's content, in hexadecimal; None where only this member is damaged, not
    what follows it.
    """
    digest = hashlib.sha256()
    try:
        with member.open() as stream:
            while block := stream.read(_PIECE):
                digest.update(block)
    except Exception:
        if alone:
            return None  # whoever reads it is told why
        raise
    return digest.hexdigest()


def _without_stores(members: list[list]) -> tuple[list[list], list[str]]:
    """The members without those of zarr stores, and the folders of the stores: a store is one data
    set of many files.
    """
    roots = {
        folder
        for folder, _, last in (member[0].rpartition("/") for member in members)
        if last in _STORE_MARKS
    }
    if not roots:
        return members, []

    def outermost(name: str) -> str | None:
        parts = name.split("/")
        return next(
            (
                folder
                for folder in ("/".join(parts[:n]) for n in range(len(parts)))
                if folder in roots
            ),
            None,
        )

    kept = [member for member in members if outermost(member[0]) is None]
    return kept, sorted({outermost(root) or root for root in roots})


@dataclass(frozen=True)
class OpenedInputs:
    """What is read, file by file, once archives are looked into.

    Args:
        paths: files, and members of archives; an archive stands for itself where something is
            wrong with it.
        refused: why some of these paths cannot be read, which is known already.
        digests: SHA-256 of the members, in hexadecimal, where they were asked for.
        changed: times of change of the members, seconds since 1970.
        containers: the archives among the paths that were given.
    """

    paths: list[Path]
    refused: dict[str, UserError] = field(default_factory=dict)
    digests: dict[Path, str] = field(default_factory=dict)
    changed: dict[Path, float] = field(default_factory=dict)
    containers: tuple[Path, ...] = ()


def open_containers(paths: Iterable[str | Path], listing) -> OpenedInputs:
    """Look into the archives among files.

    Args:
        paths: files.
        listing: a `Listing`, or a process with one.
    """
    found, digests, changed, refused, containers = [], {}, {}, {}, []
    for path in map(Path, paths):
        contents = None
        if _may_be_container(path):
            try:
                contents = json.loads(listing.read(path))
            except UserError as error:
                refused[str(path)] = error
        if contents is None:
            found.append(path)
            continue
        containers.append(path)
        names = {name for name, *_ in contents["members"]}
        for name, moment, digest in contents["members"]:
            member = member_path(path, name)
            found.append(member)
            changed[member] = moment
            if digest is not None:
                digests[member] = digest
            if f"{name}{_MASK}" in names:
                refused[str(member)] = UserError(_with_mask(str(member), f"{name}{_MASK}"))
        for name in contents["stores"]:
            store = member_path(path, name or "(all of it)")
            reason = (
                "is a zarr store, a folder of many files, which is not read inside an "
                "archive; unpack the archive."
            )
            refused[str(store)] = UserError(f"{store} {reason}")
            found.append(store)
        empty = (
            f"{path} contains no file."
            if not contents["members"] and not contents["stores"]
            else None
        )
        if contents["problem"] or empty:
            refused[str(path)] = UserError(contents["problem"] or empty)
            found.append(path)
    return OpenedInputs(found, refused, digests, changed, tuple(containers))


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
                names += [(f"{top}/", f"{member[0]}{_BETWEEN}"), (str(place), shown)]
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
        self._members = self._stack.enter_context(_opened(container, kind))
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
            f"'{shown}{_BETWEEN}FILE', or unpack it."
        )


def _with_mask(shown: str, mask: str) -> str:
    return (
        f"{shown} has its mask in a second file, {mask}, without which what was not observed "
        "looks dry; unpack both and write it into the file itself (gdal_translate --config "
        "GDAL_TIFF_INTERNAL_MASK YES)."
    )


@contextlib.contextmanager
def _decompressed(path: Path, shown: str) -> Iterator[Path]:
    """A compressed file, unpacked."""
    name = Path(shown.rpartition(_BETWEEN)[2]).name
    stem, suffix = os.path.splitext(name)
    plain = stem if suffix.lower() in _COMPRESSED_SUFFIXES and stem else name
    mask = next(
        (
            other
            for other in (f"{plain}{_MASK}", f"{plain}{_MASK}{suffix}")
            if path.with_name(other).exists()
        ),
        None,
    )
    if mask is not None:
        raise UserError(_with_mask(shown, mask))
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
    with _private_folder() as folder:
        place = folder.joinpath(*parts)
        size = 0
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            if expected is not None:
                require_space(place, expected)
            with open(place, "wb") as file:
                while piece := stream.read(_PIECE):
                    size += len(piece)
                    if size > _MOST_BYTES:
                        raise UserError(
                            f"{shown} is over {_MOST_BYTES} bytes long when unpacked; more are "
                            "not unpacked here, unpack it first."
                        )
                    _write(file, piece, shown, folder)
        except UserError:
            raise
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


def _write(file: BinaryIO, piece: bytes, shown: str, folder: Path) -> None:
    try:
        file.write(piece)
    except OSError as error:
        raise UserError(
            f"{shown} cannot be unpacked into {folder.parent}: {error.strerror or error}; set "
            "TMPDIR to a folder with room."
        ) from error


@contextlib.contextmanager
def _private_folder() -> Iterator[Path]:
    """A folder that only this user can look into; it is locked while it is used, so that what
    killed processes left can be told.
    """
    _remove_abandoned()
    try:
        folder = Path(tempfile.mkdtemp(prefix=f"{_FOLDER}{os.getpid()}-"))
    except OSError as error:
        raise UserError(
            f"no folder to unpack files into can be made ({error.strerror or error}); set TMPDIR "
            "to one with room."
        ) from error
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some file systems know no locks
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)


def remove_folders_of(process: int) -> None:
    """Remove what a process that is over left unpacked."""
    for folder in _folders(f"{_FOLDER}{process}-"):
        shutil.rmtree(folder, ignore_errors=True)


@functools.cache
def _remove_abandoned() -> None:
    """Remove, once in a process, folders of others that were killed together with those that would
    have removed them.
    """
    for folder in _folders(_FOLDER):
        try:
            if time.time() - os.stat(folder).st_mtime < _ABANDONED_SECONDS:
                continue
            handle = os.open(folder, os.O_RDONLY)
        except OSError:
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            pass  # in use
        finally:
            os.close(handle)


def _folders(start: str) -> list[str]:
    try:
        with os.scandir(tempfile.gettempdir()) as entries:
            own = [
                entry
                for entry in entries
                if entry.name.startswith(start) and entry.is_dir(follow_symlinks=False)
            ]
            return [
                entry.path
                for entry in own
                if entry.stat(follow_symlinks=False).st_uid == os.getuid()
            ]
    except OSError:
        return []
