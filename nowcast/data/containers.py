"""Archives of files (tar, zip) wherever radar files are taken: which files are archives, and what
is in them.

Members are listed and read by the process that reads files, which can be killed. A tar that is
compressed can only be read from front to back, so members keep the archive's order.
"""

import hashlib
import json
import os
import tarfile
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from nowcast.data.members import STORE_MARKS, Member, member_path, opened_archive, split_member
from nowcast.readers.content import (
    TAR_BLOCK,
    archive_kind,
    beginning,
    damage_reported,
    is_compressed,
    stored_beginning,
)
from nowcast.runtime.errors import UserError, first_line

_PIECE = 2**20  # bytes
_MASK = ".msk"  # GDAL's second file for what was not observed


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
    if is_compressed(path):
        return "tar" if archive_kind(beginning(path, TAR_BLOCK)) == "tar" else None
    kind = archive_kind(stored_beginning(path, TAR_BLOCK))
    return None if kind == "zip" and _is_zipped_data_set(path) else kind


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
    # a .zip of .npy files is a collection of files, a .npz of them is one data set
    arrays = bool(names) and all(name.endswith(".npy") for name in names)
    is_npz = arrays and Path(path).suffix.lower() != ".zip"
    return is_npz or not set(STORE_MARKS).isdisjoint(names)


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
            with damage_reported(path), opened_archive(Path(path), kind) as members:
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
            return None  # whoever reads it finds out why
        raise
    return digest.hexdigest()


def _folders_above(name: str) -> list[str]:
    """The folders that a member is in; "" is the archive itself."""
    parts = name.split("/") if name else []
    return ["/".join(parts[:count]) for count in range(len(parts))]


def _without_stores(members: list[list]) -> tuple[list[list], list[str]]:
    """The members without those of zarr stores, and the folders of the stores: a store is one data
    set of many files.
    """
    roots = set()
    for name, *_ in members:
        folder, _, last = name.rpartition("/")
        if last in STORE_MARKS:
            roots.add(folder)
    kept = [member for member in members if roots.isdisjoint(_folders_above(member[0]))]
    return kept, sorted(root for root in roots if roots.isdisjoint(_folders_above(root)))


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
    found = OpenedInputs([], {}, {}, {}, ())
    containers = []
    for path in map(Path, paths):
        contents = None
        if _may_be_container(path):
            try:
                contents = json.loads(listing.read(path))
            except UserError as error:
                found.refused[str(path)] = error
        if contents is None:
            found.paths.append(path)
        else:
            containers.append(path)
            _add_contents(found, path, contents)
    return replace(found, containers=tuple(containers))


def _add_contents(found: OpenedInputs, path: Path, contents: dict) -> None:
    """What is in an archive, as `Listing` says."""
    members, problem = contents["members"], contents["problem"]
    # to find second files with masks, which GDAL would read beside the first
    names = {name for name, *_ in members}
    for name, changed, digest in members:
        member = member_path(path, name)
        found.paths.append(member)
        found.changed[member] = changed
        if digest is not None:
            found.digests[member] = digest
        if f"{name}{_MASK}" in names:
            found.refused[str(member)] = mask_apart(str(member), f"{name}{_MASK}")
    for name in contents["stores"]:
        store = member_path(path, name or "(all of it)")
        found.paths.append(store)
        found.refused[str(store)] = UserError(
            f"{store} is a zarr store, a folder of many files, which is not read inside an "
            "archive; unpack the archive."
        )
    if not members and not contents["stores"]:
        problem = problem or f"{path} contains no file."
    if problem:
        found.refused[str(path)] = UserError(problem)
        found.paths.append(path)


def mask_apart(shown: str, mask: str) -> UserError:
    """What is wrong with a file whose mask is in a second file."""
    return UserError(
        f"{shown} has its mask in a second file, {mask}, without which what was not observed "
        "looks dry; unpack both and write it into the file itself (gdal_translate --config "
        "GDAL_TIFF_INTERNAL_MASK YES)."
    )
