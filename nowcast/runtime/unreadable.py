"""Why a file cannot be read: it is in use, out of reach, something else, packed, or damaged.

"Damaged, fetch it again" is said only of what is damaged. Of a file that is locked, that may not
be read or whose disk fails it would be wrong, and following it would cost time, or what lies there.
"""

import errno
import os
import re
import stat
import time
from pathlib import Path

from nowcast.runtime.errors import Unavailable, UserError, first_line
from nowcast.runtime.file_kinds import HDF5, ZEROS, head_of, kind_of_content

_PIECE, _READ_THROUGH = 2**20, 2**28  # bytes of a file that are read to see whether they can be
_RECENT = 60.0  # seconds since the last change in which a file may still be being written
# Versions of the HDF5 format: the newest there is, and what only damage gives.
_NEWEST_SUPERBLOCK, _ABSURD_SUPERBLOCK = 3, 16
_MOST_CAUSES = 10  # of an exception that are looked at

_IN_USE = "is in use by another program ({}); wait until that is done with it, and try again"
_NO_LOCKS = (
    "could not be locked for reading ({}); "
    "where nothing writes to it, set HDF5_USE_FILE_LOCKING=FALSE"
)
_CODES = {
    "EACCES EPERM": "may not be read by this user ({}); change its permissions, or those of its "
    "folder",
    "EAGAIN EBUSY ETXTBSY EDEADLK": _IN_USE,
    "EIO EUCLEAN EBADMSG EMEDIUMTYPE ENOMEDIUM": "could not be read because its disk reports an "
    "error ({}); look after the disk, and try again",
    "ENOMEM": "could not be read because there was too little memory ({}); give it more, or split "
    "the file",
    "EMFILE": "could not be opened because this process has too many files open ({}); raise the "
    "limit (ulimit -n), and try again",
    "ENFILE": "could not be opened because too many files are open on this machine ({}); close "
    "some programs, and try again",
    "ENOLCK": _NO_LOCKS,
    "ENOENT": "is not there any more ({}); was it moved or deleted?",
    "ENOSPC EDQUOT": "could not be read because a disk is full ({}); free some space, and try "
    "again",
    "ESTALE ETIMEDOUT EHOSTDOWN EHOSTUNREACH ENETDOWN ENETUNREACH ENOTCONN ECONNRESET ECONNABORTED "
    "ECONNREFUSED EREMOTEIO ENOLINK ECOMM ESHUTDOWN EPIPE ENXIO ENODEV EPROTO": "cannot be "
    "reached: its file system, perhaps a network mount, does not answer as it should ({}); try "
    "again when it does",
}
_NUMBERS = vars(errno)  # some are of Linux alone
_OF_CODE = {
    _NUMBERS[name]: words
    for names, words in _CODES.items()
    for name in names.split()
    if name in _NUMBERS
}
# What comes of the content of a damaged file, e.g. of a place before its beginning.
_CONTENT = ("EINVAL", "EOVERFLOW", "EFBIG", "ERANGE", "EILSEQ", "ENODATA", "EFAULT", "ESPIPE")
_OF_CONTENT = {_NUMBERS[name] for name in _CONTENT}

# What HDF5, GDAL, zipfile and zarr say of files that are not damaged, and what that means.
_WORDS = (
    (
        r"already open for",
        Unavailable,
        "is being written by another program, or by one that was ended before it was done "
        "({words}); wait until it is complete. If nothing writes to it any more, fetch it again, "
        "or take the mark off a copy of it (h5clear -s COPY)",
    ),
    (
        r"can't open directory|required filter|filter plugin|plugin.*(load|open)"
        r"|filter.* (not available|not registered|isn't registered)",
        UserError,
        "is compressed with an HDF5 filter that is not installed here ({words}); "
        "pip install hdf5plugin",
    ),
    (
        r"missing codec (?:of code )?(?P<name>\S+?)\.?(?:\s|$)",
        UserError,
        "is compressed with {name}, which the GDAL here cannot unpack; "
        "write it anew (gdal_translate -co COMPRESS=DEFLATE)",
    ),
    (r"encrypted|password", UserError, "is encrypted ({words}); unpack it with its password first"),
    (
        r"compression method is not supported|compression type",
        UserError,
        "is packed in a way that is not known here, or damaged ({words}); "
        "pack it with deflate, or not at all",
    ),
    (
        r"unknown codec|codec not available",
        UserError,
        "is compressed with a codec that is not known here ({words}); "
        "write it with another one, e.g. zstd or blosc",
    ),
    (
        r"zarr_format",
        UserError,
        "is of a version of zarr that is not known here ({words}); 2 and 3 are read: update "
        "zarr, or write it as one of these",
    ),
)
_VERSION = r"superblock version|version number|unknown version|unsupported version"


def require_regular(path: str | Path, kind: str) -> int:
    """The size of a regular file.

    Args:
        path: the file.
        kind: what is needed, with its article, for messages.

    Raises:
        UserError: there is none, or something else of that name.
        Unavailable: it cannot be looked at.
    """
    needed = f"give the path of {kind}."
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        link = ""
        if os.path.islink(path):
            link = f" (it is a link to {os.readlink(path)}, which is not there)"
        raise UserError(f"{path} does not exist{link}; {needed}") from None
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
            reason = os.strerror(error.errno)
            raise UserError(f"{path} names no file ({reason}); {needed}") from error
        raise os_error(path, error) from error
    if not stat.S_ISREG(found.st_mode):
        nodes = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
        what = nodes.get(stat.S_IFMT(found.st_mode), "a device")
        raise UserError(f"{path} is not a regular file, but {what}; {needed}")
    return found.st_size


def os_error(path: str | Path, error: OSError) -> Unavailable:
    """What the operating system says of a file, with what to do."""
    code = _code(error)
    words = os.strerror(code) if code else first_line(error)
    meaning = _OF_CODE.get(code, "could not be read ({}); try again")
    return Unavailable(f"{path} {meaning.format(words)}.")


def _code(error: BaseException) -> int | None:
    """The system's code in an exception, or in the words of a library; None where there is none."""
    if isinstance(error, OSError) and error.errno:
        return error.errno
    stated = re.search(r"errno = (\d+)", str(error))
    if stated:
        return int(stated[1])
    return next((code for code in _OF_CODE if os.strerror(code) in str(error)), None)


def unreadable(path: str | Path, error: BaseException) -> UserError:
    """What an exception in reading a file means: a sentence that names the file and what to do."""
    if isinstance(error, MemoryError):
        reason = f"({first_line(error)}); it is very large, or damaged"
        return Unavailable(f"{path} needs more memory than there is {reason}.")
    causes = _with_causes(error)
    words = first_line(causes[-1] if "See previous exception" in str(error) else error)
    known = _in_words_of_a_library(path, " ".join(map(str, causes)), words)
    if known is not None:
        return known
    coded = [cause for cause in causes if _code(cause) not in (None, *_OF_CONTENT)]
    failure = coded[0] if coded else _failure_to_read(path)
    if failure is not None:
        return os_error(path, failure)
    found = kind_of_content(head_of(path))
    if found is not None and (found.is_never_data or found is ZEROS):
        return UserError(f"{path} is {found.what}; {found.advice}.")
    return UserError(f"{path} is damaged or cut short ({words}); {mend(path)}.")


def _failure_to_read(path: str | Path) -> OSError | None:
    """What the system says when the file is read from end to end: libraries do not pass it on."""
    try:
        if not os.path.isfile(path):
            return None
        with open(path, "rb") as file:
            for _ in range(_READ_THROUGH // _PIECE):
                if not file.read(_PIECE):
                    break
    except OSError as error:
        return error
    return None


def _with_causes(error: BaseException) -> list[BaseException]:
    """An exception and those that it was raised from."""
    found = [error]
    while found[-1].__cause__ is not None and len(found) < _MOST_CAUSES:
        found.append(found[-1].__cause__)
    return found


def _in_words_of_a_library(path: str | Path, text: str, words: str) -> UserError | None:
    """What libraries say of files that are not damaged; None where they say something else."""
    if "unable to lock file" in text:
        is_held = _code(OSError(text)) in (None, errno.EACCES, errno.EAGAIN)
        reason = _IN_USE.format("which has locked it") if is_held else _NO_LOCKS.format(words)
        return Unavailable(f"{path} {reason}.")
    if re.search(_VERSION, text, re.IGNORECASE):
        return _of_another_version(path, words)
    for pattern, kind, meaning in _WORDS:
        match = re.search(pattern, text, re.IGNORECASE)
        if match:
            return kind(f"{path} {meaning.format(words=words, **match.groupdict())}.")
    return None


def _of_another_version(path: str | Path, words: str) -> UserError | None:
    """A newer HDF5 than the library knows; None where only damage gives such a number."""
    head = head_of(path)
    version = head[8] if head.startswith(HDF5) and len(head) > 8 else _ABSURD_SUPERBLOCK
    if version >= _ABSURD_SUPERBLOCK:
        return None
    if version > _NEWEST_SUPERBLOCK:
        found = f"of version {version} of the HDF5 format, and {_NEWEST_SUPERBLOCK} is the newest"
        advice = "update h5py, or have it written as an older one"
        return UserError(f"{path} is {found} that is known here; {advice}.")
    if "superblock" in words:
        return None
    found = f"a part of a version of HDF5 that is not known here ({words})"
    advice = f"update h5py if it comes from a newer HDF5, else it is damaged; {mend(path)}"
    return UserError(f"{path} has {found}: {advice}.")


def mend(path: str | Path) -> str:
    """What to do about a file that is not whole; one that just changed may still be on its way."""
    advice = "fetch it again or leave it out"
    try:
        age = time.time() - os.stat(path).st_mtime
    except OSError:
        return advice
    if not -_RECENT < age < _RECENT:
        return advice
    return (
        f"it changed {max(0, age):.0f} s ago, so it may still be being written: wait until it is "
        f"complete; if it is, {advice}"
    )
