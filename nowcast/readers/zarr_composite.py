"""Composites stored as zarr (version 2 or 3), a folder or a zip file, with rain that follows the CF
conventions.

Only what is in the folder itself is read: no remote store, no link that leads out of it, and no
codec that could run code. A chunk that is not there reads as the array's fill value, whether its
writer left it out or a copy lost it; it is taken for missing where that value means missing, and
refused where it would become dry, unless the settings say that it is.
"""

import base64
import itertools
import json
import math
import os
import struct
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np

from nowcast.readers import cf
from nowcast.readers.base import Reader
from nowcast.readers.cf_groups import SeveralGroups, ancestors, choose, refuse_many
from nowcast.readers.content import damage_reported, instead, require_file
from nowcast.readers.decoding import Coding
from nowcast.readers.hdf5 import MAX_PIXELS
from nowcast.runtime.errors import UserError
from nowcast.types.frames import Frames

_GROUPS = ("zarr.json", ".zgroup", ".zmetadata")
_METADATA = (*_GROUPS, ".zarray", ".zattrs", "")
_COMPRESSORS = ("blosc", "bz2", "gzip", "lz4", "lzma", "zlib", "zstd")
_CHECKSUMS = ("adler32", "crc32", "crc32c", "fletcher32", "jenkins_lookup3")
_NUMCODECS = (
    *_COMPRESSORS,
    *_CHECKSUMS,
    "bitround",
    "delta",
    "fixedscaleoffset",
    "quantize",
    "shuffle",
)
_CODECS = {
    "bytes",
    "transpose",
    "sharding_indexed",
    *_NUMCODECS,
    *(f"numcodecs.{name}" for name in _NUMCODECS),
}
_MAX_MEMBER = 2**31  # bytes of one file in a zip file, unpacked
_MAX_CHUNKS = 2**16  # of one map
_BLOSC_HEADER = 16  # bytes, the last four of them the length of the whole


@dataclass(frozen=True)
class ZarrComposite(Reader):
    """Reader for zarr folders (or zip files) whose rain rate, rain depth or reflectivity is told by
    standard name and units.

    Args:
        variable: the array with the rain, of one in a group its path; None: the one with a standard
            name of rain, rates before depths before reflectivities, in the outermost group that has
            one.
        minutes: interval of rain depths in stores whose times have no bounds; the times are then
            the ends of the intervals.
        z_r_a: factor of the Z-R relation Z = a R^b that turns reflectivities into rain rates.
        z_r_b: its exponent; the defaults are those of Marshall and Palmer (1948).
        fill_is_dry: an array's fill value of 0 means dry, and so do chunks that are not there; else
            both are refused.
    """

    variable: str | None = None
    minutes: float | None = None
    z_r_a: float = 200.0
    z_r_b: float = 1.6
    fill_is_dry: bool = False
    format = "zarr (CF rain rate, rain depth or reflectivity)"
    path_parts = 0  # nothing is taken from the name of a file

    def __post_init__(self):
        Coding(minutes=self.minutes, z_r_a=self.z_r_a, z_r_b=self.z_r_b)

    def recognises(self, path: str | Path) -> bool:
        """Whether the folder or zip file is zarr with rain that it names as CF says; never raises."""
        try:
            with _opened(Path(path), self) as (source, variable):
                return cf.has_rain(source, variable)
        except SeveralGroups:
            return True  # reading it says what to set
        except UserError:
            return False

    def read(self, path: str | Path) -> Frames:
        """All frames [mm/h]; a time is the end of its interval where the store has bounds, NaN is
        missing.

        Raises:
            UserError: something is missing, damaged, contradictory, not understood, or leads out of
                the folder.
        """
        with _opened(Path(path), self) as (source, variable):
            return cf.frames(
                source, variable=variable, minutes=self.minutes, z_r=(self.z_r_a, self.z_r_b)
            )


@contextmanager
def _opened(path: Path, reader: ZarrComposite) -> Iterator[tuple[cf.Source, str | None]]:
    """(arrays of the group of a store that has the rain, open for reading; name of that with the
    rain, None if not set).
    """
    with damage_reported(path):
        look, groups = _folder(path) if path.is_dir() else _zip(path)
        import zarr

        store = (
            zarr.storage.LocalStore(path, read_only=True)
            if path.is_dir()
            else zarr.storage.ZipStore(path, mode="r")
        )
        try:
            node = cache(
                lambda group: zarr.open_group(store, path=group, mode="r", use_consolidated=False)
            )
            members = cache(
                lambda group: {
                    name: _variable(path, name, array, look, reader.fill_is_dry)
                    for name, array in node(group).arrays()
                }
            )
            group, variable = choose(
                path,
                groups,
                lambda group: cf.ranks(cf.Source(path, members(group)), reader.variable),
                reader.variable,
            )
            seen, attributes = {}, {}
            for outer in ancestors(group):
                seen |= members(outer)
                attributes |= dict(node(outer).attrs)
            yield (
                cf.Source(
                    path,
                    seen,
                    default_fills=False,
                    attributes=attributes,
                    group=group,
                    own=frozenset(members(group)),
                ),
                variable,
            )
        finally:
            store.close()


def _folder(path: Path) -> tuple[Callable[[str], tuple[int, bytes] | None], list[str]]:
    """(what tells length and beginning of a file in the folder, None if it is not there; paths of
    its groups, the outermost first).

    The metadata are looked for right away.

    Raises:
        UserError: it is no zarr group, or (then, too) a link leads out of it.
    """
    root = os.path.realpath(path)

    def look(key: str) -> tuple[int, bytes] | None:
        place = os.path.realpath(path / key)
        if os.path.commonpath((root, place)) != root:
            raise UserError(
                f"{path}: {key} is a link that leads out of the folder, which is not followed; "
                "the data must be in the folder itself."
            )
        if not os.path.isfile(place):
            return None
        with open(place, "rb") as file:
            return os.path.getsize(place), file.read(_BLOSC_HEADER)

    if not any(map(look, _GROUPS)):
        raise UserError(
            f"{path} is a folder, but no zarr group (there is no zarr.json or .zgroup in it); "
            "give the folder of a zarr store."
        )
    groups, waiting = [], [""]
    while waiting:
        group = waiting.pop(0)
        groups.append(group)
        refuse_many(len(groups), path)
        for name in os.listdir(path / group):
            member = os.path.join(group, name)
            for metadata in _METADATA:
                look(os.path.join(member, metadata))
            if os.path.isdir(path / member) and _is_group(path / member):
                waiting.append(member)
    return look, groups


def _is_group(folder: Path) -> bool:
    """Whether a folder in a store has other arrays in it, and is no array itself."""
    if (folder / ".zarray").exists():
        return False
    if (folder / ".zgroup").exists():
        return True
    try:
        return _says_group((folder / "zarr.json").read_bytes())
    except OSError:
        return False


def _says_group(metadata: bytes) -> bool:
    """Whether metadata of zarr 3 are a group's."""
    try:
        return json.loads(metadata).get("node_type") == "group"
    except (ValueError, AttributeError):
        return False


def _zip(path: Path) -> tuple[Callable[[str], tuple[int, bytes] | None], list[str]]:
    """(what tells the length of a file in the zip file, None if it is not there; paths of its
    groups, the outermost first).

    A zip file has checksums: the beginning of a file in it is not looked at.

    Raises:
        UserError: it is no zip file with a zarr group, or holds absurdly large files.
    """
    if not path.is_file() or not zipfile.is_zipfile(path):
        if path.exists():
            require_file(path, "a zarr folder or zip file")
            raise UserError(f"{path} is not a zarr folder or zip file{instead(path)}.")
        raise UserError(
            f"{path} is no local zarr folder or zip file; remote stores are not read, copy it "
            "here first."
        )
    with zipfile.ZipFile(path) as file:
        sizes = {member.filename: member.file_size for member in file.infolist()}
    if not sizes.keys() & set(_GROUPS):
        raise UserError(
            f"{path} is a zip file, but no zarr group (there is no zarr.json or .zgroup at its "
            "root); zip what is inside the zarr folder."
        )
    if max(sizes.values()) > _MAX_MEMBER:
        raise UserError(
            f"{path} claims a file of {max(sizes.values())} bytes; more than {_MAX_MEMBER} in "
            "one chunk are refused."
        )
    groups = [""]
    with zipfile.ZipFile(path) as file:
        for name in sorted(sizes):
            group, _, last = name.rpartition("/")
            if group and (
                last == ".zgroup" or (last == "zarr.json" and _says_group(file.read(name)))
            ):
                groups.append(group)
                refuse_many(len(groups), path)
    return lambda key: (sizes[key], b"") if key in sizes else None, sorted(
        groups, key=lambda group: (group.count("/"), group)
    )


def _variable(path: Path, name: str, array, look: Callable, fill_is_dry: bool) -> cf.Variable:
    """An array as a CF variable."""
    metadata, attributes = array.metadata, dict(array.attrs)
    named = (
        attributes.pop("_ARRAY_DIMENSIONS", None)
        if metadata.zarr_format == 2
        else metadata.dimension_names
    )
    dims = tuple(
        f"{name}_axis_{axis}" if dim is None else str(dim)
        for axis, dim in enumerate(named or [None] * array.ndim)
    )
    if len(dims) != array.ndim:
        raise UserError(
            f"{path}: {name} has {array.ndim} axes, but names for {len(dims)}; the store "
            "contradicts itself."
        )
    fill, is_numeric = metadata.fill_value, array.dtype.kind in "iuf"
    if isinstance(attributes.get("_FillValue"), str):
        attributes["_FillValue"] = _decoded_fill(attributes["_FillValue"])
    dry = (
        is_numeric
        and array.ndim >= 2
        and "_FillValue" not in attributes
        and _is_dry(fill, attributes)
    )
    if (
        metadata.zarr_format == 2
        and is_numeric
        and array.ndim >= 2
        and fill is not None
        and not dry
    ):
        attributes.setdefault("_FillValue", fill.item() if isinstance(fill, np.generic) else fill)
    doubtful = dry and fill is not None and metadata.zarr_format == 2 and not fill_is_dry
    read = partial(_read, path, array, look, dry and fill_is_dry, doubtful)
    plain = fill.item() if isinstance(fill, np.generic) and is_numeric else None
    return cf.Variable(path, name, dims, array.shape, array.dtype, attributes, read, plain)


def _decoded_fill(text: str) -> float | str:
    """A fill value as xarray writes it into zarr 3 (base64 of a double), or as it stands."""
    try:
        return struct.unpack("<d", base64.standard_b64decode(text))[0]
    except (ValueError, struct.error):
        return text


def _is_dry(fill, attributes: dict) -> bool:
    """Whether what is not stored would read as 0: the fill value does, or there is none."""
    try:
        return (
            fill is None
            or float(fill) * float(attributes.get("scale_factor", 1.0))
            + float(attributes.get("add_offset", 0.0))
            == 0.0
        )
    except (TypeError, ValueError):
        return False


def _read(
    path: Path,
    array,
    look: Callable,
    absent_is_dry: bool,
    doubtful: bool,
    index: tuple,
    holes: bool,
) -> np.ndarray:
    """Part of an array as it is stored; chunks that are not there are refused unless their fill
    value may be read.
    """
    metadata, name = array.metadata, array.basename
    codecs = (
        [*(metadata.filters or ()), metadata.compressor]
        if metadata.zarr_format == 2
        else metadata.codecs
    )
    unknown = _unknown(codecs)
    if array.dtype.kind not in "iuf":
        raise UserError(f"{path}: {name} is {array.dtype}; expected numbers (integers or floats).")
    if unknown:
        raise UserError(
            f"{path}: {name} has the codecs {', '.join(unknown)}; expected "
            f"{', '.join(_COMPRESSORS)}."
        )
    if doubtful and not holes:
        raise UserError(
            f"{path}: {name} has the fill value 0 and no _FillValue, so 0 could be dry or "
            "missing; set reader.fill_is_dry=true if it is dry."
        )
    sides = array.shards or array.chunks
    places = [
        range(side)[i] if isinstance(i, slice) else range(i, i + 1)
        for i, side in zip(index, array.shape, strict=True)
    ]
    chunks = [
        range(place.start // size, -(-place.stop // size)) for place, size in zip(places, sides)
    ]
    if (
        max(math.prod(sides), math.prod(map(len, places))) > MAX_PIXELS
        or math.prod(map(len, chunks)) > _MAX_CHUNKS
    ):
        claimed = (
            f"{'x'.join(map(str, array.shape))} values in chunks of {'x'.join(map(str, sides))}"
        )
        raise UserError(
            f"{path}: {name} claims {claimed}; more than {MAX_PIXELS} values or {_MAX_CHUNKS} "
            "chunks at once are refused."
        )
    for chunk in itertools.product(*chunks):
        key = f"{array.path}/{metadata.encode_chunk_key(chunk)}"
        found = look(key)
        if found is None and not holes and not absent_is_dry:
            raise UserError(
                f"{path}: the chunk {key} is not there and would read as {metadata.fill_value}; "
                "fetch the store again, or set reader.fill_is_dry=true if that means dry."
            )
        if (
            found is not None
            and found[1]
            and _name(codecs[-1]) == "blosc"
            and found[0] != int.from_bytes(found[1][12:], "little")
        ):
            raise UserError(
                f"{path}: the chunk {key} is cut short (blosc unpacks that without a word); "
                "fetch the store again."
            )
    return np.asarray(array[index])


def _unknown(codecs) -> list[str]:
    """Names of codecs that are not known to be harmless, also inside shards."""
    unknown = []
    for codec in codecs:
        if codec is not None:
            unknown += [] if _name(codec) in _CODECS else [_name(codec)]
            unknown += _unknown(
                [*getattr(codec, "codecs", ()), *getattr(codec, "index_codecs", ())]
            )
    return unknown


def _name(codec) -> str:
    """What a codec is called in the metadata of either version."""
    return "" if codec is None else getattr(codec, "codec_id", None) or codec.to_dict()["name"]
