"""Writing files so that a reader never sees half of one."""

import errno
import fcntl
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeGuard

from nowcast.runtime.errors import UserError

SHIPPED = "shipped"
"""In place of a run's folder: the model that comes with nowcast.

A folder of that name is ./shipped, or a ``Path``.
"""

_THAT_COME_ALONG = {SHIPPED: Path(SHIPPED), "zero_shot": Path(SHIPPED) / "zero_shot"}

_SPARE = 2**20  # bytes that are left free on a disk
_RANDOM = 8  # characters that tempfile puts into a name


def run_folder(run: str | Path) -> Path:
    """The folder of a run, or of a model that comes with nowcast, see ``comes_along``."""
    if comes_along(run):
        return Path(__file__).parents[1] / _THAT_COME_ALONG[run]
    return Path(run)


def comes_along(run: object) -> TypeGuard[str]:
    """Whether a word names a model that comes with nowcast: "shipped", or "zero_shot", the weights
    that it began with, which have seen no radar.
    """
    return isinstance(run, str) and run in _THAT_COME_ALONG


def typed_run(folder: Path) -> str:
    """What to type for the folder of a run."""
    for word in _THAT_COME_ALONG:
        if folder.resolve() == run_folder(word).resolve():
            return word
    return str(folder)


def is_one_of(path: Path, others: Iterable[Path]) -> bool:
    """Whether a path to be written is the same file as one of others, by whatever name."""
    return path.exists() and any(other.exists() and other.samefile(path) for other in others)


def sha256_of(path: str | Path) -> str:
    """The sha256 of a file, e.g. of a run's model.safetensors, in hexadecimal.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(
            f"{path} cannot be read to take its checksum: {error.strerror or error}."
        ) from error


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary path beside ``path``: flushed and renamed onto it at the end, removed if the
    block raises.

    After it the file is on the disk, under its name: file and folder are flushed, so that neither a
    killed process nor a power cut leaves half.

    Raises:
        UserError: the folder cannot be made or written to, or the disk is full.
    """
    path = Path(path)
    if path.is_dir():
        raise UserError(f"{path} is a folder; give the path of a file to write.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            prefix=_start(path.name), suffix=path.suffix, dir=path.parent
        )
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}.") from error
    os.close(handle)
    temporary = Path(name)
    umask = os.umask(0)
    os.umask(umask)
    try:
        yield temporary
        _flush(temporary)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
        _flush(path.parent)
    except OSError as error:
        raise UserError(f"{path} could not be written: {error.strerror or error}.") from error
    finally:
        temporary.unlink(missing_ok=True)


def require_writable(folder: str | Path) -> None:
    """Find out that a folder can be made and written to before the work whose results go there.

    Raises:
        UserError: it cannot.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"{folder} cannot be written to: {error.strerror or error}.") from error


def require_space(path: str | Path, size: int) -> None:
    """Raise the operating system's error of a full disk where a file cannot grow by so many bytes:
    HDF5 itself can crash on a full disk.

    Raises:
        OSError: there is less room.
    """
    room = shutil.disk_usage(Path(path).parent)
    if room.total and room.free < size + _SPARE:  # some file systems do not tell
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _start(name: str) -> str:
    """What the names of temporary files begin with; a file's name holds 255 bytes at the most."""
    return f".{os.fsencode(name)[:100].decode(errors='ignore')}."


def leftovers(path: Path) -> list[Path]:
    """What `replacing` left beside a path when its process was killed."""
    start, end = re.escape(_start(path.name)), re.escape(path.suffix)
    name = re.compile(f"{start}.{{{_RANDOM}}}{end}", re.DOTALL)
    others = path.parent.iterdir() if path.parent.is_dir() else []
    return [other for other in others if name.fullmatch(other.name)]


def _flush(path: Path) -> None:
    """Wait until a file, or what a folder says of its files, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(lock: Path, *, busy: str, unwritable: str) -> Iterator[None]:
    """A file that only one process at a time holds; its folder is made where there is none.

    Args:
        lock: the file.
        busy: message where another process holds it.
        unwritable: beginning of the message where it cannot be made.

    Raises:
        UserError: with one of the messages.
    """
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        file = lock.open("w", encoding="utf-8")
    except OSError as error:
        raise UserError(f"{unwritable}: {error.strerror or error}.") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.path.samestat(os.fstat(file.fileno()), os.stat(lock)):
                # whoever held it has removed it meanwhile, and another process may have made it
                # anew
                raise OSError
        except OSError as error:
            if error.errno in (None, errno.EAGAIN, errno.EACCES):
                raise UserError(busy) from None
            found = f"{lock} cannot be locked there ({error.strerror})"
            raise UserError(
                f"{unwritable}: {found}; take a folder on another file system."
            ) from error
        yield
