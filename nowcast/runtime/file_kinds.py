"""What a file is by its first bytes: of a format that is read, of another, packed, a message."""

import os
import re
import zlib
from pathlib import Path
from typing import NamedTuple

from nowcast.runtime.radar_kinds import weather_format

HEAD = 512  # bytes that show what a file is: tar has its mark at 257
HDF5 = b"\x89HDF\r\n\x1a\n"
_ZIP, _GZIP = b"PK\x03\x04", b"\x1f\x8b"


class Kind(NamedTuple):
    """What a file is.

    Args:
        what: in words, with the article.
        advice: what to do where something else was needed.
        is_never_data: no radar file is of this kind, so that no reader need look at it.
        is_converted: another program makes of it what is read here.
    """

    what: str
    advice: str
    is_never_data: bool = False
    is_converted: bool = False


def _packed(what: str, command: str, *, may_be_data: bool = False) -> Kind:
    advice = f"unpack it ({command}) and give what is in it"
    return Kind(what, advice, is_never_data=not may_be_data)


def _of_a_format(what: str) -> Kind:
    return Kind(what, "give it to the reader of that format")


def _picture(what: str) -> Kind:
    return Kind(what, "give the data that the picture was made from")


def _text(what: str) -> Kind:
    return Kind(what, "look into it, and give the file that was meant")


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
_LFS = Kind(
    "a Git LFS pointer, which only names the file",
    "fetch the file itself with 'git lfs pull'",
    is_never_data=True,
)
_ENCRYPTED = Kind("encrypted", "decrypt it first", is_never_data=True)
ZEROS = Kind(
    "zeros where it should begin, as of space that is set aside",
    "wait until it is complete, or fetch it again",
)
_ENCRYPTED_ZIP = Kind(
    "an encrypted zip archive", "unpack it with its password, and give what is in it"
)
_BY_BEGINNING = (
    (_LFS, b"version https://git-lfs.github.com/spec"),
    (_ENCRYPTED, b"Salted__", b"-----BEGIN PGP MESSAGE", b"age-encryption.org/", b"$ANSIBLE_VAULT"),
    (_packed("a 7z archive", "7z x FILE"), b"7z\xbc\xaf\x27\x1c"),
    (_packed("a RAR archive", "unrar x FILE"), b"Rar!\x1a\x07"),
    (_packed("packed with xz", "unxz FILE", may_be_data=True), b"\xfd7zXZ\0"),
    (_packed("packed with zstd", "unzstd FILE"), b"\x28\xb5\x2f\xfd"),
    (_packed("packed with lz4", "lz4 -d FILE"), b"\x04\x22\x4d\x18"),
    (_packed("packed with lzip", "lzip -d FILE"), b"LZIP"),
    (_packed("packed with compress (.Z)", "uncompress FILE"), b"\x1f\x9d"),
    (_packed("packed with snappy", "snzip -d FILE"), b"\xff\x06\0\0sNaPpY"),
    (_packed("packed with gzip", "gunzip FILE", may_be_data=True), _GZIP),
    (_packed("packed with bzip2", "bunzip2 FILE", may_be_data=True), b"BZh"),
    (Kind("an empty zip archive", "fetch it again or leave it out"), b"PK\x05\x06"),
    (_packed("a zip archive", "unzip FILE", may_be_data=True), _ZIP),
    (Kind("an HDF4 file", "convert it to HDF5 (h4toh5)"), b"\x0e\x03\x13\x01"),
    (_of_a_format("an HDF5 file"), HDF5),
    (_of_a_format("a NetCDF-3 file"), b"CDF\x01", b"CDF\x02"),
    (_of_a_format("a NetCDF file of the variant CDF-5"), b"CDF\x05"),
    (_of_a_format("a GRIB file"), b"GRIB"),
    (_of_a_format("a TIFF image"), b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    (_of_a_format("a GIF image"), b"GIF8"),
    (_of_a_format("a PGM image"), b"P5\n"),
    (_picture("a PNG image"), b"\x89PNG\r\n\x1a\n"),
    (_picture("a JPEG image"), b"\xff\xd8\xff"),
    (_picture("a JPEG 2000 image"), b"\0\0\0\x0cjP  "),
    (Kind("a PDF document", "give the data themselves"), b"%PDF"),
    (_of_a_format("a NumPy .npy file"), b"\x93NUMPY"),
    (Kind("a Parquet table", "give the data as fields on a grid"), b"PAR1"),
    (Kind("a MATLAB 5 file", "save it as version 7.3, which is HDF5"), b"MATLAB 5.0"),
)
_HTML = (b"<!doctype html", b"<html", b"<head", b"<body", b"<script", b"<title")
_XML_ERROR = re.compile(rb"<(\w+:)?(error|fault|exception)", re.IGNORECASE)


def kind_of_content(head: bytes) -> Kind | None:
    """What a file is by its first bytes, `HEAD` of them or all; None where they do not show it."""
    if found := weather_format(head):
        return Kind(*found, is_converted=True)
    for kind, *beginnings in _BY_BEGINNING:
        if head.startswith(tuple(beginnings)):
            if head.startswith(_ZIP) and head[6:7] and head[6] & 1:
                return _ENCRYPTED_ZIP
            return _with_what_is_in_it(kind, head) if head.startswith(_GZIP) else kind
    if is_tar(head):
        return _packed("a tar archive", "tar -xf FILE")
    if b"/annex/objects/" in head and len(head) < HEAD:
        return _ANNEX
    words = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if words.lower().startswith(_HTML):
        return _WEB_PAGE
    if words.startswith(b"<"):
        return _kind_of_xml(words)
    if len(head) >= 8 and not any(head):
        return ZEROS
    if not words or not _is_text(head):
        return None
    if words.startswith((b"{", b"[")):
        return _text("a JSON text")
    return _text(f"a text that begins {words[:40].decode(errors='replace').splitlines()[0]!r}")


def _kind_of_xml(words: bytes) -> Kind:
    if b"<html" in words.lower():
        return _WEB_PAGE
    if words.startswith(b"<?xml") and _XML_ERROR.search(words):
        return _SERVER_ERROR
    return _text("an XML text")


def _with_what_is_in_it(packed: Kind, head: bytes) -> Kind:
    """What is packed with gzip, where its first bytes show it."""
    try:
        inside = kind_of_content(zlib.decompressobj(wbits=31).decompress(head, HEAD))
    except zlib.error:
        return packed
    if inside is None:
        return packed
    is_told = inside.is_never_data or inside.is_converted
    advice = inside.advice if is_told else packed.advice
    return Kind(f"{inside.what}, packed with gzip", advice)


def is_tar(head: bytes) -> bool:
    """By its mark, or, as old archives have none, by the checksum of its first header."""
    if head[257:262] == b"ustar":
        return True
    if len(head) < HEAD or not head[0]:
        return False
    stated = re.fullmatch(rb" *([0-7]{1,7})[ \0]*", head[148:156])
    # The checksum itself counts as eight blanks.
    return stated is not None and int(stated[1], 8) == sum(head[:148] + b" " * 8 + head[156:HEAD])


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # else a character is cut in two by the end of the head
            return False
        text = head[: error.start].decode()
    return bool(text) and all(one.isprintable() or one in "\t\n\r\f" for one in text)


def head_of(path: str | Path) -> bytes:
    """The first bytes of a regular file; none of what cannot be read."""
    try:
        if not os.path.isfile(path):
            return b""
        with open(path, "rb") as file:
            return file.read(HEAD)
    except OSError:
        return b""
