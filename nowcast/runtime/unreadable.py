"""Why a file cannot be read: it is in use, out of reach, something else, packed, or damaged.

"Damaged, fetch it again" is said only of what is damaged. Of a file that is locked, that may not
be read or whose disk fails it would be wrong, and following it would cost time, or what lies there.
"""

import errno
import os
import re
import stat
import tarfile
import time
import zlib
from pathlib import Path
from typing import NamedTuple

from nowcast.runtime.errors import Unavailable, UserError, first_line

HEAD = 512  # bytes that tell what a file is: tar has its mark at 257
_PIECE, _READ_THROUGH = 2**20, 2**28  # bytes of a file that are read to see whether they can be
_RECENT = 60.0  # seconds since the last change in which a file may still be being written
_HDF5 = b"\x89HDF\r\n\x1a\n"
_NEWEST_SUPERBLOCK, _ABSURD_SUPERBLOCK = (
    3,
    16,
)  # versions of the HDF5 format: the newest there is, and what only damage gives


class Kind(NamedTuple):
    """What a file is.

    Args:
        what: in words, with the article.
        advice: what to do where something else was needed.
        is_never_data: no radar file is of this kind, so that no reader need look at it.
    """

    what: str
    advice: str
    is_never_data: bool = False


def _packed(what: str, command: str) -> Kind:
    return Kind(what, f"unpack it ({command}) and give what is in it", is_never_data=True)


_ENCRYPTED = Kind("encrypted", "decrypt it first", is_never_data=True)
_LFS = Kind(
    "a Git LFS pointer, which only names the file",
    "fetch the file itself with 'git lfs pull'",
    is_never_data=True,
)
_ANNEX = Kind(
    "a git-annex pointer, which only names the file",
    "fetch the file itself with 'git annex get'",
    is_never_data=True,
)
_WEB_PAGE = Kind(
    "a web page (HTML), as servers send it instead of a file that they do not have or do not give",
    "read it in a browser, and mend the address or the login that it was fetched with",
    is_never_data=True,
)
_SERVER_ERROR = Kind(
    "an error message of a server (XML)",
    "read it, and mend the address or the login that it was fetched with",
    is_never_data=True,
)
_ZEROS = Kind(
    "zeros where it should begin, as of space that is set aside",
    "wait until it is complete, or fetch it again",
)
_LOOK = "look into it, and give the file that was meant"
_OF_ITS_FORMAT = "give it to the reader of that format"
_STARTS = (
    (b"version https://git-lfs.github.com/spec", _LFS),
    (b"Salted__", _ENCRYPTED),
    (b"-----BEGIN PGP MESSAGE", _ENCRYPTED),
    (b"age-encryption.org/", _ENCRYPTED),
    (b"$ANSIBLE_VAULT", _ENCRYPTED),
    (b"7z\xbc\xaf\x27\x1c", _packed("a 7z archive", "7z x FILE")),
    (b"Rar!\x1a\x07", _packed("a RAR archive", "unrar x FILE")),
    (b"\xfd7zXZ\0", _packed("packed with xz", "unxz FILE")._replace(is_never_data=False)),
    (b"\x28\xb5\x2f\xfd", _packed("packed with zstd", "unzstd FILE")),
    (b"\x04\x22\x4d\x18", _packed("packed with lz4", "lz4 -d FILE")),
    (b"LZIP", _packed("packed with lzip", "lzip -d FILE")),
    (b"\x1f\x9d", _packed("packed with compress (.Z)", "uncompress FILE")),
    (b"\xff\x06\0\0sNaPpY", _packed("packed with snappy", "snzip -d FILE")),
    (b"\x1f\x8b", _packed("packed with gzip", "gunzip FILE")._replace(is_never_data=False)),
    (b"BZh", _packed("packed with bzip2", "bunzip2 FILE")._replace(is_never_data=False)),
    (b"PK\x05\x06", Kind("an empty zip archive", "fetch it again or leave it out")),
    (b"PK\x03\x04", _packed("a zip archive", "unzip FILE")._replace(is_never_data=False)),
    (b"\x0e\x03\x13\x01", Kind("an HDF4 file", "convert it to HDF5 (h4toh5)")),
    (_HDF5, Kind("an HDF5 file", _OF_ITS_FORMAT)),
    (b"CDF\x01", Kind("a NetCDF-3 file", _OF_ITS_FORMAT)),
    (b"CDF\x02", Kind("a NetCDF-3 file", _OF_ITS_FORMAT)),
    (b"CDF\x05", Kind("a NetCDF file of the variant CDF-5", "convert it (nccopy -k nc4 FILE NEW)")),
    (b"GRIB", Kind("a GRIB file", _OF_ITS_FORMAT)),
    (b"BUFR", Kind("a BUFR file", "give the same data in a format that is read here")),
    (b"II*\0", Kind("a TIFF image", _OF_ITS_FORMAT)),
    (b"MM\0*", Kind("a TIFF image", _OF_ITS_FORMAT)),
    (b"II+\0", Kind("a TIFF image", _OF_ITS_FORMAT)),
    (b"MM\0+", Kind("a TIFF image", _OF_ITS_FORMAT)),
    (b"GIF8", Kind("a GIF image", _OF_ITS_FORMAT)),
    (b"P5\n", Kind("a PGM image", _OF_ITS_FORMAT)),
    (b"\x89PNG\r\n\x1a\n", Kind("a PNG image", "give the data that the picture was made from")),
    (b"\xff\xd8\xff", Kind("a JPEG image", "give the data that the picture was made from")),
    (b"\0\0\0\x0cjP  ", Kind("a JPEG 2000 image", "give the data that the picture was made from")),
    (b"%PDF", Kind("a PDF document", "give the data themselves")),
    (b"\x93NUMPY", Kind("a NumPy .npy file", _OF_ITS_FORMAT)),
    (b"PAR1", Kind("a Parquet table", "give the data as fields on a grid")),
    (b"MATLAB 5.0", Kind("a MATLAB 5 file", "save it as version 7.3, which is HDF5")),
)
_HTML = (b"<!doctype html", b"<html", b"<head", b"<body", b"<script", b"<title")


def kind_of_content(head: bytes) -> Kind | None:
    """What a file is by its first bytes, `HEAD` of them or all; None where they do not tell."""
    found = next((kind for start, kind in _STARTS if head.startswith(start)), None)
    if found is not None:
        if head.startswith(b"PK\x03\x04") and len(head) > 6 and head[6] & 1:
            return Kind(
                "an encrypted zip archive", "unpack it with its password, and give what is in it"
            )
        return _with_what_is_in_it(found, head) if head.startswith(b"\x1f\x8b") else found
    if is_tar(head):
        return _packed("a tar archive", "tar -xf FILE")
    if b"/annex/objects/" in head and len(head) < HEAD:
        return _ANNEX
    words = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if words.lower().startswith(_HTML):
        return _WEB_PAGE
    if words.startswith(b"<"):
        is_error = words.startswith(b"<?xml") and re.search(
            rb"<(\w+:)?(error|fault|exception)", words, re.IGNORECASE
        )
        is_page = b"<html" in words.lower()
        return _WEB_PAGE if is_page else _SERVER_ERROR if is_error else Kind("an XML text", _LOOK)
    if len(head) >= 8 and not any(head):
        return _ZEROS
    if not _is_text(head):
        return None
    if words.startswith((b"{", b"[")):
        return Kind("a JSON text", _LOOK)
    return (
        Kind(f"a text that begins {words[:40].decode(errors='replace').splitlines()[0]!r}", _LOOK)
        if words
        else None
    )


def _with_what_is_in_it(packed: Kind, head: bytes) -> Kind:
    """What is packed with gzip, where its first bytes tell."""
    try:
        inside = kind_of_content(zlib.decompressobj(wbits=31).decompress(head, HEAD))
    except zlib.error:
        return packed
    if inside is None:
        return packed
    advice = inside.advice if inside.is_never_data else packed.advice
    return Kind(f"{inside.what}, packed with gzip", advice)


def is_tar(head: bytes) -> bool:
    """Whether a file that begins so is a tar: by its mark, or, as old archives have none, by the
    checksum of its first header.
    """
    if head[257:262] == b"ustar":
        return True
    try:
        tarfile.TarInfo.frombuf(head[:HEAD], "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError):
        return False
    return True


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # else a character is cut in two by the end of the head
            return False
        text = head[: error.start].decode()
    return bool(text) and all(
        character.isprintable() or character in "\t\n\r\f" for character in text
    )


def head_of(path: str | Path) -> bytes:
    """The first bytes of a regular file; none of what cannot be read."""
    try:
        if not os.path.isfile(path):
            return b""
        with open(path, "rb") as file:
            return file.read(HEAD)
    except OSError:
        return b""


def require_regular(path: str | Path, kind: str) -> int:
    """The size of a regular file.

    Args:
        path: the file.
        kind: what is needed, with its article, for messages.

    Raises:
        UserError: there is none, or something else of that name.
        Unavailable: it cannot be looked at.
    """
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        link = (
            f" (it is a link to {os.readlink(path)}, which is not there)"
            if os.path.islink(path)
            else ""
        )
        raise UserError(f"{path} does not exist{link}; give the path of {kind}.") from None
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
            reason = os.strerror(error.errno)
            raise UserError(f"{path} names no file ({reason}); give the path of {kind}.") from error
        raise os_error(path, error) from error
    if not stat.S_ISREG(found.st_mode):
        nodes = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"))
        what = next((name for test, name in nodes if test(found.st_mode)), "a device")
        raise UserError(f"{path} is not a regular file, but {what}; give the path of {kind}.")
    return found.st_size


_IN_USE = "is in use by another program ({}); wait until that is done with it, and try again"
_AWAY = (
    "cannot be reached: its file system, perhaps a network mount, does not answer as it should "
    "({}); "
    "try again when it does"
)
_FORBIDDEN = "may not be read by this user ({}); change its permissions, or those of its folder"
_BROKEN_DISK = (
    "could not be read because its disk reports an error ({}); look after the disk, and try again"
)
_FULL_DISK = "could not be read because a disk is full ({}); free some space, and try again"
_NO_MEMORY = (
    "could not be read because there was too little memory ({}); give it more, or split the file"
)
_PROCESS_FILES = (
    "could not be opened because this process has too many files open ({}); "
    "raise the limit (ulimit -n), and try again"
)
_MACHINE_FILES = (
    "could not be opened because too many files are open on this machine ({}); "
    "close some programs, and try again"
)
_NO_LOCKS = (
    "could not be locked for reading ({}); "
    "where nothing writes to it, set HDF5_USE_FILE_LOCKING=FALSE"
)
_NETWORK = (
    "ESTALE ETIMEDOUT EHOSTDOWN EHOSTUNREACH ENETDOWN ENETUNREACH ENOTCONN ECONNRESET ECONNABORTED "
    "ECONNREFUSED EREMOTEIO ENOLINK ECOMM ESHUTDOWN EPIPE ENXIO ENODEV EPROTO"
)
_CODES = (
    ("EACCES EPERM", _FORBIDDEN),
    ("EAGAIN EBUSY ETXTBSY EDEADLK", _IN_USE),
    ("EIO EUCLEAN EBADMSG EMEDIUMTYPE ENOMEDIUM", _BROKEN_DISK),
    ("ENOMEM", _NO_MEMORY),
    ("EMFILE", _PROCESS_FILES),
    ("ENFILE", _MACHINE_FILES),
    ("ENOLCK", _NO_LOCKS),
    ("ENOENT", "is not there any more ({}); was it moved or deleted?"),
    ("ENOSPC EDQUOT", _FULL_DISK),
    (_NETWORK, _AWAY),
)
_OF_CODE = {
    getattr(errno, name): words
    for names, words in _CODES
    for name in names.split()
    if hasattr(errno, name)  # some are of Linux alone
}
_OF_CONTENT = {
    errno.EINVAL,
    errno.EOVERFLOW,
    errno.EFBIG,
    errno.ERANGE,
    errno.EILSEQ,
    errno.ENODATA,
    errno.EFAULT,
    errno.ESPIPE,
}
"""What comes of the content of a damaged file, e.g. of a place before its beginning."""


def os_error(path: str | Path, error: OSError) -> Unavailable:
    """What the operating system says of a file, with what to do."""
    code = _code(error)
    words = os.strerror(code) if code else first_line(error)
    return Unavailable(
        f"{path} {_OF_CODE.get(code, 'could not be read ({}); try again').format(words)}."
    )


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
        words = first_line(error)
        advice = "it is very large, or damaged"
        return Unavailable(f"{path} needs more memory than there is ({words}); {advice}.")
    chain = _chain(error)
    text = " ".join(map(str, chain))
    words = first_line(chain[-1] if "See previous exception" in str(error) else error)
    known = _in_words_of_a_library(path, text, words)
    if known is not None:
        return known
    coded = next((one for one in chain if _code(one) not in (None, *_OF_CONTENT)), None)
    coded = coded or _failure_to_read(path)
    if coded is not None:
        return os_error(path, coded)
    found = kind_of_content(head_of(path))
    if found is not None and (found.is_never_data or found is _ZEROS):
        return UserError(f"{path} is {found.what}; {found.advice}.")
    return UserError(f"{path} is damaged or cut short ({words}); {mend(path)}.")


def _failure_to_read(path: str | Path) -> OSError | None:
    """What the system says when the file is read from end to end: libraries do not pass it on."""
    try:
        if not os.path.isfile(path):
            return None
        with open(path, "rb") as file:
            left = _READ_THROUGH
            while left > 0 and file.read(_PIECE):
                left -= _PIECE
    except OSError as error:
        return error
    return None


def _chain(error: BaseException) -> list[BaseException]:
    """An exception and those that it was raised from."""
    found = []
    while error is not None and len(found) < 10:
        found.append(error)
        error = error.__cause__
    return found


_WORDS = (
    (
        r"already open for",
        Unavailable,
        "is being written by another program, or by one that was ended before it was done "
        "({words}); "
        "wait until it is complete. If nothing writes to it any more, fetch it again, or take the "
        "mark off a copy of it (h5clear -s COPY)",
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
        "zarr, or "
        "write it as one of these",
    ),
)
"""What HDF5, GDAL, zipfile and zarr say of files that are not damaged, and what that means."""
_VERSION = r"superblock version|version number|unknown version|unsupported version"


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
    version = head[8] if head.startswith(_HDF5) and len(head) > 8 else None
    if version is None or version >= _ABSURD_SUPERBLOCK:
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
    try:
        age = time.time() - os.stat(path).st_mtime
    except OSError:
        age = None
    if age is None or not -_RECENT < age < _RECENT:
        return "fetch it again or leave it out"
    return (
        f"it changed {max(0, age):.0f} s ago, so it may still be being written: wait until it is "
        "complete; if it is, fetch it again or leave it out"
    )
