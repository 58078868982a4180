"""The bytes of a radar file, plain or compressed (gzip, bzip2, xz): read to a declared length and
never beyond."""

import bz2
import gzip
import lzma
import os
import re
import struct
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError
from typing import BinaryIO

from nowcast.errors import UserError, first_line

_OPENERS = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
_MAGIC = max(map(len, _OPENERS))  # bytes
TAR_BLOCK = 512  # bytes; a header is one, and the end is marked by two of zeros
_DAMAGE = (
    OSError,
    EOFError,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    RuntimeError,
    LookupError,
    ValueError,
    TypeError,
    ArithmeticError,
    MemoryError,
    SyntaxError,
    TokenError,
)
_PIECE = 2**20
_LIST = re.compile(r"(^|/)\[.*,.*\]$", re.DOTALL)  # a list, typed where one file is needed


def require_file(path: str | Path, kind: str) -> None:
    """Refuse what is no readable, non-empty regular file.

    Args:
        path: the file.
        kind: what is needed, with its article, for messages: "an HDF5 file".

    Raises:
        UserError: no such file, another kind of node, an empty one, or one this user may not read.
    """
    if not os.path.isfile(path):
        found = "is not a regular file" if os.path.exists(path) else "does not exist"
        several = " (a single one: lists are taken where several files are)" if _LIST.search(os.fspath(path)) and found == "does not exist" else ""
        raise UserError(f"{path} {found}; give the path of {kind}{several}.")
    if os.path.getsize(path) == 0:
        raise UserError(f"{path} is empty; {kind} is needed, fetch it again or leave it out.")
    if not os.access(path, os.R_OK):
        raise UserError(f"{path} may not be read by this user; change its permissions.")


@contextmanager
def unpacked(path: str | Path, kind: str) -> Iterator[BinaryIO]:
    """The file's content as a stream, decompressed on the way if it is gzip, bzip2 or xz (told by
    content, not by name).

    Raises:
        UserError: as `require_file`; also, in the ``with`` block, whatever the compression raises on damage.
    """
    require_file(path, kind)
    with damage_reported(path), open(path, "rb") as file:
        opener = _opener(file.read(_MAGIC))
        file.seek(0)
        if opener is None:
            yield file
        else:
            with opener(file) as stream:
                yield stream


def _opener(start: bytes):
    """What decompresses a file that begins so; None for a plain one."""
    return next((opener for magic, opener in _OPENERS.items() if start.startswith(magic)), None)


def is_compressed(path: str | Path) -> bool:
    """Whether the file as a whole is gzip, bzip2 or xz; never raises."""
    return _opener(stored_beginning(path, _MAGIC)) is not None


def stored_beginning(path: str | Path, size: int) -> bytes:
    """Up to ``size`` bytes of a regular file as they lie on the disk; empty if it cannot be read.
    Never raises."""
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
    try:
        tarfile.TarInfo.frombuf(start[:TAR_BLOCK], "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError):
        return None
    return "tar"


@contextmanager
def damage_reported(path: str | Path) -> Iterator[None]:
    """Turn what libraries raise on damaged files into a UserError that names the file."""
    try:
        yield
    except UserError:
        raise
    except _DAMAGE as error:
        raise UserError(f"{path} is damaged or cut short ({first_line(error)}); fetch it again or leave it out.") from error


def read_exactly(stream: BinaryIO, size: int, path: str | Path, *, last: bool = True) -> bytearray:
    """The next ``size`` bytes, in pieces, so that a file that claims much and holds little costs little.

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
            raise UserError(f"{path} is cut short: it holds {len(content)} of {size} bytes of data; fetch it again or leave it out.")
        content += piece
    if last and stream.read(1):
        raise UserError(f"{path} holds more than the {size} bytes of data that it declares; it is damaged or of another format.")
    return content


def beginning(path: str | Path, size: int) -> bytes:
    """Up to ``size`` bytes of the file's (decompressed) content; empty if it cannot be read. Never raises."""
    try:
        with unpacked(path, "a file") as stream:
            return stream.read(size)
    except UserError:
        return b""
