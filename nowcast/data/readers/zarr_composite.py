"""Composites stored as zarr (version 2 or 3), a folder or a zip file, with rain that follows the CF conventions.

Only what is in the folder itself is read: no remote store, no link that leads out of it, and no codec that could run code. A chunk
that is not there reads as the array's fill value, whether its writer left it out or a copy lost it; it is taken for missing where
that value means missing, and refused where it would become dry, unless the settings say that it is.
"""

import base64
import itertools
import math
import os
import struct
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np

from nowcast.data.readers import cf
from nowcast.data.readers.content import damage_reported
from nowcast.data.readers.decoding import Coding
from nowcast.data.readers.hdf5 import MAX_PIXELS
from nowcast.errors import UserError
from nowcast.frames import Frames

_GROUPS = ("zarr.json", ".zgroup", ".zmetadata")
_METADATA = (*_GROUPS, ".zarray", ".zattrs", "")
_COMPRESSORS = ("blosc", "bz2", "gzip", "lz4", "lzma", "zlib", "zstd")
_CHECKSUMS = ("adler32", "crc32", "crc32c", "fletcher32", "jenkins_lookup3")
_NUMCODECS = (*_COMPRESSORS, *_CHECKSUMS, "bitround", "delta", "fixedscaleoffset", "quantize", "shuffle")
_CODECS = {"bytes", "transpose", "sharding_indexed", *_NUMCODECS, *(f"numcodecs.{name}" for name in _NUMCODECS)}
_MAX_MEMBER = 2**31  # bytes of one file in a zip file, unpacked


@dataclass(frozen=True)
class ZarrComposite:
    """Reader for zarr folders (or zip files) whose rain rate, rain depth or reflectivity is told by standard name and units.

    Args:
        variable: the array with the rain; None: the one with a standard name of rain, rates before depths before reflectivities.
        minutes: interval of rain depths in stores whose times have no bounds; the times are then the ends of the intervals.
        z_r_a: factor of the Z-R relation Z = a R^b that turns reflectivities into rain rates.
        z_r_b: its exponent; the defaults are those of Marshall and Palmer (1948).
        fill_is_dry: an array's fill value of 0 means dry, and so do chunks that are not there; else both are refused.
    """

    variable: str | None = None
    minutes: float | None = None
    z_r_a: float = 200.0
    z_r_b: float = 1.6
    fill_is_dry: bool = False
    format: ClassVar[str] = "zarr (CF rain rate, rain depth or reflectivity)"

    def __post_init__(self):
        Coding(minutes=self.minutes, z_r_a=self.z_r_a, z_r_b=self.z_r_b)

    def recognises(self, path: str | Path) -> bool:
        """Whether the folder or zip file is zarr with rain that it names as CF says; never raises."""
        try:
            with _opened(Path(path), self.fill_is_dry) as source:
                return cf.has_rain(source, self.variable)
        except UserError:
            return False

    def read(self, path: str | Path) -> Frames:
        """All frames [mm/h]; a time is the end of its interval where the store has bounds, NaN is missing.

        Raises:
            UserError: something is missing, damaged, contradictory, not understood, or leads out of the folder.
        """
        with _opened(Path(path), self.fill_is_dry) as source:
            return cf.frames(source, variable=self.variable, minutes=self.minutes, z_r=(self.z_r_a, self.z_r_b))


@contextmanager
def _opened(path: Path, fill_is_dry: bool) -> Iterator[cf.Source]:
    """The arrays of a store's root, open for reading."""
    with damage_reported(path):
        present = _folder(path) if path.is_dir() else _zip(path)
        import zarr

        store = zarr.storage.LocalStore(path, read_only=True) if path.is_dir() else zarr.storage.ZipStore(path, mode="r")
        try:
            group = zarr.open_group(store, mode="r", use_consolidated=False)
            variables = {name: _variable(path, name, array, present, fill_is_dry) for name, array in group.arrays()}
            yield cf.Source(path, variables, default_fills=False)
        finally:
            store.close()


def _folder(path: Path) -> Callable[[str], bool]:
    """What tells whether the folder holds a file of that name; its metadata are looked at right away.

    Raises:
        UserError: it is no zarr group, or (then, too) a link leads out of it.
    """
    root = os.path.realpath(path)

    def present(key: str) -> bool:
        place = os.path.realpath(path / key)
        if os.path.commonpath((root, place)) != root:
            raise UserError(f"{path}: {key} is a link that leads out of the folder, which is not followed; the data must be in the folder itself.")
        return os.path.exists(place)

    if not any(map(present, _GROUPS)):
        raise UserError(f"{path} is a folder, but no zarr group (there is no zarr.json or .zgroup in it); give the folder of a zarr store.")
    for name, metadata in itertools.product(os.listdir(path), _METADATA):
        present(os.path.join(name, metadata))
    return present


def _zip(path: Path) -> Callable[[str], bool]:
    """What tells whether the zip file holds a file of that name.

    Raises:
        UserError: it is no zip file with a zarr group, or holds absurdly large files.
    """
    if not path.is_file() or not zipfile.is_zipfile(path):
        raise UserError(f"{path} is no local zarr folder or zip file; remote stores are not read, copy it here first.")
    with zipfile.ZipFile(path) as file:
        sizes = {member.filename: member.file_size for member in file.infolist()}
    if not sizes.keys() & set(_GROUPS):
        raise UserError(f"{path} is a zip file, but no zarr group (there is no zarr.json or .zgroup at its root); zip what is inside the zarr folder.")
    if max(sizes.values()) > _MAX_MEMBER:
        raise UserError(f"{path} claims a file of {max(sizes.values())} bytes; more than {_MAX_MEMBER} in one chunk are refused.")
    return sizes.__contains__


def _variable(path: Path, name: str, array, present: Callable[[str], bool], fill_is_dry: bool) -> cf.Variable:
    """An array as a CF variable."""
    metadata, attributes = array.metadata, dict(array.attrs)
    named = attributes.pop("_ARRAY_DIMENSIONS", None) if metadata.zarr_format == 2 else metadata.dimension_names
    dims = tuple(f"{name}_axis_{axis}" if dim is None else str(dim) for axis, dim in enumerate(named or [None] * array.ndim))
    if len(dims) != array.ndim:
        raise UserError(f"{path}: {name} has {array.ndim} axes, but names for {len(dims)}; the store contradicts itself.")
    fill, is_numeric = metadata.fill_value, array.dtype.kind in "iuf"
    if isinstance(attributes.get("_FillValue"), str):
        attributes["_FillValue"] = _decoded_fill(attributes["_FillValue"])
    dry = is_numeric and array.ndim >= 2 and "_FillValue" not in attributes and _is_dry(fill, attributes)
    if metadata.zarr_format == 2 and is_numeric and array.ndim >= 2 and fill is not None and not dry:
        attributes.setdefault("_FillValue", fill.item() if isinstance(fill, np.generic) else fill)
    doubtful = dry and fill is not None and metadata.zarr_format == 2 and not fill_is_dry
    read = partial(_read, path, array, present, dry and fill_is_dry, doubtful)
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
        return fill is None or float(fill) * float(attributes.get("scale_factor", 1.0)) + float(attributes.get("add_offset", 0.0)) == 0.0
    except (TypeError, ValueError):
        return False


def _read(path: Path, array, present: Callable[[str], bool], absent_is_dry: bool, doubtful: bool, index: tuple, holes: bool) -> np.ndarray:
    """Part of an array as it is stored; chunks that are not there are refused unless their fill value may be read."""
    metadata, name = array.metadata, array.basename
    codecs = [metadata.compressor, *(metadata.filters or ())] if metadata.zarr_format == 2 else metadata.codecs
    unknown = _unknown(codecs)
    if unknown or array.dtype.kind not in "iuf":
        raise UserError(f"{path}: {name} is {array.dtype} with the codecs {', '.join(unknown) or 'of numbers'}; numbers with {', '.join(_COMPRESSORS)} are accepted.")
    if doubtful and not holes:
        raise UserError(f"{path}: {name} has the fill value 0 and no _FillValue, so 0 could be dry or missing; set reader.fill_is_dry=true if it is dry.")
    chunks = array.shards or array.chunks
    places = [range(side)[i] if isinstance(i, slice) else range(i, i + 1) for i, side in zip(index, array.shape, strict=True)]
    if max(math.prod(chunks), math.prod(map(len, places))) > MAX_PIXELS:
        raise UserError(f"{path}: {name} claims {'x'.join(map(str, array.shape))} values in chunks of {'x'.join(map(str, chunks))}; more than {MAX_PIXELS} at once are refused.")
    for chunk in itertools.product(*(range(place.start // size, -(-place.stop // size)) for place, size in zip(places, chunks))):
        key = f"{array.path}/{metadata.encode_chunk_key(chunk)}"
        if not present(key) and not holes and not absent_is_dry:
            raise UserError(f"{path}: the chunk {key} is not there and would read as {metadata.fill_value}; fetch the store again, or set reader.fill_is_dry=true if that means dry.")
    return np.asarray(array[index])


def _unknown(codecs) -> list[str]:
    """Names of codecs that are not known to be harmless, also inside shards."""
    unknown = []
    for codec in codecs:
        if codec is not None:
            name = getattr(codec, "codec_id", None) or codec.to_dict()["name"]
            unknown += [] if name in _CODECS else [name]
            unknown += _unknown([*getattr(codec, "codecs", ()), *getattr(codec, "index_codecs", ())])
    return unknown
