"""The file a frame was read from, by name and content: by which copies are recognised."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from nowcast.data.members import member_path, split_member
from nowcast.readers.names import end_of_path

UNREAD = 0  # digest of a file that could not be read for it, never taken for a known one
_PIECE = 2**20  # bytes


@dataclass(frozen=True)
class Origin:
    """The file a frame was read from: what its frames depend on.

    Two dry frames may have the same content, and not the same name.

    Args:
        name: of the file; with those of its folders that the reader takes the time from, no others.
        digest: the first eight bytes of the SHA-256 of its content, as a signed number; `UNREAD`
            where it could not be taken.
    """

    name: str
    digest: int

    @classmethod
    def of(cls, path: Path, path_parts: int, digest: str | None = None) -> "Origin":
        """That of a file.

        Args:
            path: the file, or a member of an archive of files.
            path_parts: how many of the last parts of its path count.
            digest: its SHA-256 in hexadecimal, where that is known.
        """
        digest = _sha256_of(path) if digest is None else digest
        kept = bytes.fromhex(digest or "")[:8]
        return cls(_end_of(path, path_parts), int.from_bytes(kept, "little", signed=True))


def _end_of(path: Path, parts: int) -> str:
    """The last parts of a file's path; of a member, also of its archive's where its own are few."""
    member = split_member(path)
    if member is None:
        return end_of_path(path, parts)
    container, name = member
    folders = max(0, parts - 1 - name.count("/"))
    return str(member_path(end_of_path(container, 1 + folders), name))


def _sha256_of(path: Path) -> str:
    """The SHA-256 of a file, or of a folder's files with their names; "" of what cannot be read."""
    digest, folder = hashlib.sha256(), path.is_dir()
    try:
        files = sorted(file for file in path.rglob("*") if file.is_file()) if folder else [path]
        for file in files:
            if folder:
                digest.update(os.fsencode(file.relative_to(path)))
            if not file.is_file():  # a pipe would be waited for
                return ""
            with file.open("rb") as stream:
                while block := stream.read(_PIECE):
                    digest.update(block)
    except OSError:
        return ""
    return digest.hexdigest()
