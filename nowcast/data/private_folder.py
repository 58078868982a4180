"""Folders that files are unpacked into: of this user alone, and removed whatever happens."""

import contextlib
import fcntl
import functools
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from nowcast.runtime.errors import UserError

_PREFIX = "nowcast-unpacked-"
# a folder that nobody has locked is only removed when it is older: its owner may be about to
_ABANDONED_SECONDS = 60.0


@contextlib.contextmanager
def private_folder() -> Iterator[Path]:
    """A folder that only this user can look into; it is locked while it is used, so that what
    killed processes left can be recognised.

    Raises:
        UserError: no folder can be made.
    """
    remove_abandoned()
    try:
        folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
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
        # the lock goes last, or another process could take the folder for abandoned
        shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)


def remove_folders_of(process: int) -> None:
    """Remove what a process that is over left unpacked."""
    for folder in _own_folders(f"{_PREFIX}{process}-"):
        shutil.rmtree(folder, ignore_errors=True)


@functools.cache
def remove_abandoned() -> None:
    """Remove, once in a process, folders of others that were killed together with those that would
    have removed them.
    """
    for folder in _own_folders(_PREFIX):
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


def _own_folders(start: str) -> list[str]:
    """Folders of this user whose names begin so; none where nobody can look."""
    found = []
    with contextlib.suppress(OSError), os.scandir(tempfile.gettempdir()) as entries:
        for entry in entries:
            is_one = entry.name.startswith(start) and entry.is_dir(follow_symlinks=False)
            if is_one and entry.stat(follow_symlinks=False).st_uid == os.getuid():
                found.append(entry.path)
    return found
