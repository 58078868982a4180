"""The files inside an archive (tar, zip): their paths, and how each is opened.

A member has a path of its own, ``archive.tar: folder/name``: it stands for the member in lists,
messages and provenance, and can be typed. No name in an archive ever becomes a path elsewhere, and
links and devices are not followed.
"""

import contextlib
import os
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import BinaryIO

from nowcast.readers.content import TAR_BLOCK, is_compressed, require_file, unpacked
from nowcast.runtime.errors import UserError, first_line

BETWEEN = ": "  # the path of an archive and the name of a member
STORE_MARKS = (".zgroup", ".zattrs", ".zarray", "zarr.json")  # what makes a folder a zarr store
MOST_BYTES = 2**31  # of a file that is unpacked; the largest map takes half of it
MOST_MEMBERS = 200_000  # two years of five-minute files
_LONGEST_NAME, _LONGEST_LAST_NAME = 1000, 200  # bytes
_MOST_NAMES = 2**24  # bytes of all names of an archive
_ENCRYPTED = 0x41  # flags of a zip's member
_UNIX_LINK = 0xA  # the mode of a symbolic link, as Unix writes it into a zip
_ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
_MOST_AFTER_END = 2**20  # bytes after the end of a tar that are looked at: padding is shorter


def member_path(container: str | Path, name: str) -> Path:
    """The path that stands for a member of an archive."""
    return Path(f"{container}{BETWEEN}{name}")


def split_member(path: str | Path) -> tuple[Path, str] | None:
    """(archive, name of the member) that a path stands for; None for a path of another kind."""
    text = os.fspath(path)
    place = text.rfind(BETWEEN)
    while place > 0:
        if os.path.isfile(text[:place]) and not os.path.exists(text):
            return Path(text[:place]), text[place + len(BETWEEN) :]
        place = text.rfind(BETWEEN, 0, place)
    return None


def short_name(path: str | Path) -> str:
    """The name of a file without its folder; of a member, with the name of its archive."""
    place = split_member(path)
    return Path(path).name if place is None else f"{place[0].name}{BETWEEN}{place[1]}"


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


@contextlib.contextmanager
def opened_archive(path: Path, kind: str) -> Iterator[Iterator[Member]]:
    """The members of an archive, in its order; those of a tar can only be opened before the next is
    asked for.

    Args:
        path: the archive.
        kind: "tar", also a compressed one, or "zip".

    Raises:
        UserError: no such file; in the ``with`` block also damage, without the name of the archive.
    """
    if kind == "zip":
        require_file(path, "a zip archive")
        try:
            archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError) as error:
            found = f"is a zip archive that is damaged or cut short ({first_line(error)})"
            raise UserError(f"{found}; fetch it again") from error
        with archive:
            yield _with_distinct_names(_zip_members(archive))
    else:
        with unpacked(path, "a tar archive") as stream:
            yield _with_distinct_names(_tar_members(stream, forward_only=is_compressed(path)))


def clean_name(name: str) -> str:
    """A member's name as a relative path that stays where it is put, of characters that a path may
    have.
    """
    name = name.replace("\0", "")
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        name = name.encode(errors="replace").decode()
    parts = [part for part in name.split("/") if part not in ("", ".", "..")]
    return "/".join(parts) or "unnamed"


def _is_hidden(name: str) -> bool:
    """What a folder would not show, either, and what macOS adds to archives."""
    parts = name.split("/")
    return (parts[-1].startswith(".") and parts[-1] not in STORE_MARKS) or parts[0] == "__MACOSX"


def _with_distinct_names(members: Iterable[Member]) -> Iterator[Member]:
    """Members with clean names, no two of which are equal: of a name that comes again, each is a
    file of its own.
    """
    seen, length = set(), 0
    for count, member in enumerate(members, start=1):
        length += len(member.name)
        if count > MOST_MEMBERS or length > _MOST_NAMES:
            raise UserError(
                f"contains more than {MOST_MEMBERS} files, or names of more than {_MOST_NAMES} "
                "characters; unpack it"
            )
        name = clean_name(member.name)
        if _is_hidden(name):
            continue
        refusal = member.refusal
        if member.size > MOST_BYTES:
            refusal = f"claims {member.size} bytes; more than {MOST_BYTES} are not unpacked"
        folder, slash, last = name.rpartition("/")
        size = len(os.fsencode(name))
        if size > _LONGEST_NAME or len(os.fsencode(last)) > _LONGEST_LAST_NAME:
            name, refusal = name[:80], f"has a name of {size} bytes; rename it"
            folder, slash, last = name.rpartition("/")
        own_name, again = name, 1
        while name in seen:
            again += 1
            name = f"{folder}{slash}({again})/{last}"
        seen.add(name)
        yield replace(member, name=name, refusal=refusal, own_name=own_name)


class _LastBlock:
    """A stream for tarfile that remembers what it read last, which distinguishes the end of an
    archive from damage.
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
            name = clean_name(entry.name)[:80]
            raise UserError(f"is damaged: {name} claims {entry.size} bytes; fetch it again")
        if forward_only and entry.size > MOST_BYTES:
            name = clean_name(entry.name)[:80]
            raise UserError(
                f"was read as far as {name}, which claims {entry.size} bytes (more than "
                f"{MOST_BYTES} are not unpacked); unpack it"
            )
        # a sparse file's holes are filled by tarfile, and counted in its size
        content = partial(archive.extractfile, entry)
        yield Member(entry.name, entry.size, float(entry.mtime), _tar_refusal(entry), content)
    _check_end(source)


def _tar_refusal(entry: tarfile.TarInfo) -> str | None:
    if entry.islnk() or entry.issym():
        return (
            f"is a link (to {clean_name(entry.linkname)[:200]}), which is not followed inside an "
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
        try:
            changed = time.mktime((*entry.date_time, 0, 0, -1))
        except (ValueError, OverflowError):
            changed = 0.0
        name, content = entry.filename.replace("\\", "/"), partial(archive.open, entry)
        yield Member(name, entry.file_size, changed, _zip_refusal(entry), content)


def _zip_refusal(entry: zipfile.ZipInfo) -> str | None:
    if entry.flag_bits & _ENCRYPTED:
        return "is encrypted; unpack the archive with its password"
    if entry.external_attr >> 28 == _UNIX_LINK:
        return "is a link, which is not followed inside an archive; unpack the archive"
    if entry.compress_type not in _ZIP_METHODS:
        return (
            f"is compressed by zip's method {entry.compress_type}, which is not known here; "
            "unpack the archive"
        )
    return None
