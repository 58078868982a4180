"""The bytes of a radar file, plain or compressed (gzip, bzip2, xz): read to a declared length and
never beyond.
"""

import bz2
import gzip
import lzma
import os
import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError
from typing import BinaryIO

from nowcast.runtime.errors import Unavailable, UserError
from nowcast.runtime.file_kinds import HEAD, head_of, is_tar, kind_of_content
from nowcast.runtime.unreadable import mend, os_error, require_regular, unreadable

_OPENERS = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
_MAGIC = max(map(len, _OPENERS))  # bytes
TAR_BLOCK = 512  # bytes; a header is one, and the end is marked by two of zeros
_DAMAGE = (  # what libraries raise on files that they cannot read
    *(OSError, EOFError, RuntimeError, LookupError, ValueError, TypeError, ArithmeticError),
    *(MemoryError, SyntaxError, TokenError, zlib.error, lzma.LZMAError, struct.error),
)
_PIECE = 2**20
_LIST = re.compile(r"(^|/)\[.*,.*\]$", re.DOTALL)  # a list, typed where one file is needed


def require_file(path: str | Path, kind: str) -> None:
    """Refuse what is no readable, non-empty regular file.

    Args:
        path: the file.
        kind: what is needed, with its article, for messages: "an HDF5 file".

    Raises:
        UserError: no such file, another kind of node, an empty one, or one that no reader reads,
            such as a web page.
        Unavailable: it is in use, out of reach, or this user may not read it.
    """
    if _LIST.search(os.fspath(path)) and not os.path.exists(path):
        raise UserError(
            f"{path} does not exist; give the path of {kind} (a single one: lists are taken "
            "where several files are)."
        )
    if require_regular(path, kind) == 0:
        raise UserError(f"{path} is empty; {kind} is needed ({mend(path)}).")
    if not os.access(path, os.R_OK):
        raise Unavailable(f"{path} may not be read by this user; change its permissions.")
    try:
        with open(path, "rb") as file:
            refuse_what_is_no_data(file.read(HEAD), path, kind)
    except OSError as error:
        raise os_error(path, error) from error


def refuse_what_is_no_data(head: bytes, path: str | Path, kind: str) -> None:
    """Refuse a file whose first bytes are those of no radar file, and say what it is."""
    found = kind_of_content(head)
    if found is not None and found.is_never_data and found.what not in kind:
        raise UserError(f"{path} is {found.what}, but {kind} is needed; {found.advice}.")


def refuse_other_kind(path: str | Path, kind: str) -> None:
    """Refuse a file that is known to be something else than ``kind`` (with its article).

    Raises:
        UserError: so it is, or as `require_file`.
    """
    require_file(path, kind)
    found = instead(path)
    if found:
        raise UserError(f"{path} is not {kind}{found}.")


def instead(path: str | Path) -> str:
    """What a file is instead, as the rest of "is not an HDF5 file"; "" where its first bytes do not
    say.
    """
    found = kind_of_content(head_of(path))
    return "" if found is None else f" but {found.what}; {found.advice}"


def incomplete(where: str, path: str | Path) -> UserError:
    """What to raise where parts of a field are not stored."""
    return UserError(
        f"{where} is incomplete, parts of it were lost or never written; {mend(path)}."
    )


@contextmanager
def unpacked(path: str | Path, kind: str) -> Iterator[BinaryIO]:
    """The file's content as a stream, decompressed on the way if it is gzip, bzip2 or xz (by
    content, not by name).

    Raises:
        UserError: as `require_file`; also, in the ``with`` block, whatever the compression raises
            on damage.
    """
    require_file(path, kind)
    with damage_reported(path), _stream(path) as (stream, packed):
        if packed:
            refuse_what_is_no_data(stream.read(HEAD), path, kind)
            stream.seek(0)
        yield stream


@contextmanager
def _stream(path: str | Path) -> Iterator[tuple[BinaryIO, bool]]:
    """A file's content, decompressed on the way, whatever it is; and whether it is packed."""
    with open(path, "rb") as file:
        opener = _opener(file.read(_MAGIC))
        file.seek(0)
        if opener is None:
            yield file, False
        else:
            with opener(file) as stream:
                yield stream, True


def _opener(start: bytes):
    """What decompresses a file that begins so; None for a plain one."""
    return next((opener for magic, opener in _OPENERS.items() if start.startswith(magic)), None)


def is_compressed(path: str | Path) -> bool:
    """Whether the file as a whole is gzip, bzip2 or xz; never raises."""
    return _opener(stored_beginning(path, _MAGIC)) is not None


def stored_beginning(path: str | Path, size: int) -> bytes:
    """Up to ``size`` bytes of a regular file as they lie on the disk; empty if it cannot be read.
    Never raises.
    """
    try:
        if not os.path.isfile(path):
            return b""
        with open(path, "rb") as file:
            return file.read(size)
    except (OSError, ValueError):
        return b""


def archive_kind(start: bytes) -> str | None:
    """Whether a file that begins so is an archive of files: "tar" or "zip"; else None.

    The first `TAR_BLOCK` bytes are needed.

    A tar of HDF5 files has an HDF5 signature where an HDF5 file with a user block has it, so this
    is asked first.
    """
    if start.startswith((b"PK\3\4", b"PK\5\6")):
        return "zip"
    return "tar" if is_tar(start) else None


@contextmanager
def damage_reported(path: str | Path) -> Iterator[None]:
    """Turn what libraries raise on damage and its like into a UserError, see `unreadable`."""
    try:
        yield
    except UserError:
        raise
    except _DAMAGE as error:
        raise unreadable(path, error) from error


def read_exactly(stream: BinaryIO, size: int, path: str | Path, *, last: bool = True) -> bytearray:
    """The next ``size`` bytes, in pieces, so that a file that claims much and has little costs
    little.

    Args:
        stream: where to read.
        size: how many bytes the file says there are.
        path: the file, for messages.
        last: nothing may follow; checksums at the end are then checked, too.

    Raises:
        UserError: there are fewer bytes, or more.
    """
    content = bytearray()
    while len(content) < size:
        piece = stream.read(min(_PIECE, size - len(content)))
        if not piece:
            raise UserError(
                f"{path} is cut short: it contains {len(content)} of {size} bytes of data; "
                f"{mend(path)}."
            )
        content += piece
    if last and stream.read(1):
        raise UserError(
            f"{path} contains more than the {size} bytes of data that it declares; it is damaged "
            "or of another format."
        )
    return content


def beginning(path: str | Path, size: int) -> bytes:
    """Up to ``size`` bytes of the file's (decompressed) content; empty if it cannot be read.

    Never raises.
    """
    if not os.path.isfile(path):  # a pipe would be waited for
        return b""
    try:
        with damage_reported(path), _stream(path) as (stream, _):
            return stream.read(size)
    except UserError:
        return b""
