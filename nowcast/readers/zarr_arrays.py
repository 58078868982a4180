"""The arrays of a zarr store: what their fill values mean, which codecs are accepted, whether all
chunks are there.
"""

import base64
import itertools
import math
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from nowcast.readers.cf.source import Variable
from nowcast.readers.hdf5 import ranges_of
from nowcast.readers.limits import require_part
from nowcast.readers.zarr_files import StoreFiles
from nowcast.runtime.errors import UserError

_COMPRESSORS = ("blosc", "bz2", "gzip", "lz4", "lzma", "zlib", "zstd")
_CHECKSUMS = ("adler32", "crc32", "crc32c", "fletcher32", "jenkins_lookup3")
_FILTERS = ("bitround", "delta", "fixedscaleoffset", "quantize", "shuffle")
_NUMCODECS = (*_COMPRESSORS, *_CHECKSUMS, *_FILTERS)
_CODECS = {"bytes", "transpose", "sharding_indexed", *_NUMCODECS}
_CODECS |= {f"numcodecs.{name}" for name in _NUMCODECS}
_MAX_CHUNKS = 2**16  # of one map


class StoredArray:
    """An array of a store, with what its fill value means.

    Args:
        path: the store.
        name: the array's name.
        array: as zarr has it.
        files: of the store.
        fill_is_dry: the setting.
    """

    def __init__(self, path: Path, name: str, array, files: StoreFiles, fill_is_dry: bool):
        self.path, self.name, self.array, self.files = path, name, array, files
        self.attributes = dict(array.attrs)
        self.is_version_2 = array.metadata.zarr_format == 2
        fill = array.metadata.fill_value
        self.fill = fill.item() if isinstance(fill, np.generic) else fill
        is_map = array.dtype.kind in "iuf" and array.ndim >= 2
        if isinstance(self.attributes.get("_FillValue"), str):
            self.attributes["_FillValue"] = _decoded_fill(self.attributes["_FillValue"])
        is_dry = is_map and "_FillValue" not in self.attributes and self._fill_decodes_to_0()
        if self.is_version_2 and is_map and self.fill is not None and not is_dry:
            self.attributes.setdefault("_FillValue", self.fill)
        self.absent_is_dry = is_dry and fill_is_dry
        stated = self.is_version_2 and self.fill is not None  # version 3 has a fill value always
        self.is_doubtful = is_dry and stated and not fill_is_dry

    def as_variable(self) -> Variable:
        """The array as a variable of CF, not read yet."""
        array = self.array
        if self.is_version_2:
            named = self.attributes.pop("_ARRAY_DIMENSIONS", None)
        else:
            named = array.metadata.dimension_names
        dims = []
        for axis, dim in enumerate(named or [None] * array.ndim):
            dims.append(f"{self.name}_axis_{axis}" if dim is None else str(dim))
        if len(dims) != array.ndim:
            raise UserError(
                f"{self.path}: {self.name} has {array.ndim} axes, but names for {len(dims)}; the "
                "store contradicts itself."
            )
        fill = self.fill if array.dtype.kind in "iuf" else None
        described = (self.path, self.name, tuple(dims), array.shape, array.dtype, self.attributes)
        return Variable(*described, self.read, fill)

    def read(self, index: tuple, holes: bool) -> np.ndarray:
        """Part of the array as it is stored; an index or a slice for every axis.

        Raises:
            UserError: chunks are not there (unless their fill value may be read), cut short, too
                large, or packed by a codec that is not known.
        """
        self._refuse_unknown()
        if self.is_doubtful and not holes:
            raise UserError(
                f"{self.path}: {self.name} has the fill value 0 and no _FillValue, so 0 could be "
                "dry or missing; set reader.fill_is_dry=true if it is dry."
            )
        # before zarr reads anything: it would fill what is not there without a word
        for chunk in self._chunks(index):
            self._check(chunk, holes)
        return np.asarray(self.array[index])

    def _fill_decodes_to_0(self) -> bool:
        """Whether what is not stored would read as 0: the fill value does, or there is none."""
        factor, offset = (
            self.attributes.get(name, default)
            for name, default in (("scale_factor", 1.0), ("add_offset", 0.0))
        )
        try:
            return self.fill is None or float(self.fill) * float(factor) + float(offset) == 0.0
        except (TypeError, ValueError):
            return False

    @property
    def _codecs(self) -> list:
        metadata = self.array.metadata
        if self.is_version_2:
            return [*(metadata.filters or ()), metadata.compressor]
        return list(metadata.codecs)

    def _refuse_unknown(self) -> None:
        where = f"{self.path}: {self.name}"
        if self.array.dtype.kind not in "iuf":
            raise UserError(
                f"{where} is {self.array.dtype}; expected numbers (integers or floats)."
            )
        unknown = _unknown(self._codecs)
        if unknown:
            known = ", ".join(_COMPRESSORS)
            raise UserError(f"{where} has the codecs {', '.join(unknown)}; expected {known}.")

    def _chunks(self, index: tuple) -> Iterator[tuple[int, ...]]:
        """The chunks (or shards) that an index touches."""
        array = self.array
        sides, places = array.shards or array.chunks, ranges_of(index, array.shape)
        chunks = []
        for place, side in zip(places, sides):
            chunks.append(range(place.start // side, -(-place.stop // side)))
        values = max(math.prod(sides), math.prod(map(len, places)))
        number = math.prod(map(len, chunks))
        where = f"{self.path}: {self.name} in chunks of {'x'.join(map(str, sides))}"
        require_part(where, array.shape, values, (number, _MAX_CHUNKS))
        return itertools.product(*chunks)

    def _check(self, chunk: tuple[int, ...], holes: bool) -> None:
        """Refuse a chunk that is not there, or cut short."""
        metadata = self.array.metadata
        key = f"{self.array.path}/{metadata.encode_chunk_key(chunk)}"
        found = self.files.look(key)
        if found is None:
            if holes or self.absent_is_dry:
                return
            raise UserError(
                f"{self.path}: the chunk {key} is not there and would read as "
                f"{metadata.fill_value}; fetch the store again, or set reader.fill_is_dry=true if "
                "that means dry."
            )
        is_blosc = found.beginning and _name(self._codecs[-1]) == "blosc"
        if is_blosc and found.size != int.from_bytes(found.beginning[12:], "little"):
            raise UserError(
                f"{self.path}: the chunk {key} is cut short (blosc unpacks that without a word); "
                "fetch the store again."
            )


def _decoded_fill(text: str) -> float | str:
    """A fill value as xarray writes it into zarr 3 (base64 of a double), or as it stands."""
    try:
        return struct.unpack("<d", base64.standard_b64decode(text))[0]
    except (ValueError, struct.error):
        return text


def _unknown(codecs) -> list[str]:
    """Names of codecs that are not known to be harmless, also inside shards."""
    import zarr

    unknown = []
    for codec in codecs:
        if codec is not None and _name(codec) not in _CODECS:
            unknown.append(_name(codec))
        if isinstance(codec, zarr.codecs.ShardingCodec):
            unknown += _unknown([*codec.codecs, *codec.index_codecs])
    return unknown


def _name(codec) -> str:
    """What a codec is called in the metadata of either version."""
    import numcodecs

    if codec is None:
        return ""
    is_version_2 = isinstance(codec, numcodecs.abc.Codec)
    return codec.codec_id if is_version_2 else codec.to_dict()["name"]
