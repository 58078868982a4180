"""Chunks of HDF5 datasets: which are there, how they are compressed, how long they stay decoded."""

import itertools
import math
from functools import cache
from pathlib import Path

import h5py

from nowcast.runtime.errors import UserError

_CACHE = 2**28  # bytes, of decoded chunks that have values of many frames, which are read singly
_FILTERS = {  # as the HDF Group registers them; others are called as the file calls them
    307: "bzip2",
    32000: "lzf",
    32001: "blosc",
    32004: "lz4",
    32008: "bitshuffle",
    32013: "zfp",
    32015: "zstd",
    32017: "sz",
    32018: "fcidecomp",
    32019: "jpeg",
    32024: "sz3",
    32026: "blosc2",
    32028: "sperr",
}
_LOST = (OSError, RuntimeError, ValueError, MemoryError)  # what HDF5 raises on a chunk


def keeping_decoded(file: h5py.File, dataset: h5py.Dataset) -> h5py.Dataset:
    """The dataset, opened so that the chunks of its frame that was read last stay decoded where
    they have values of other frames, too, and are not too large for it.
    """
    shape, chunks = dataset.shape, dataset.chunks
    if len(shape) < 3 or not _have_many_frames(chunks):
        return dataset
    number = math.prod(-(-side // chunk) for side, chunk in zip(shape[1:], chunks[1:]))
    size = 2 * number * math.prod(chunks) * dataset.dtype.itemsize
    access = h5py.h5p.create(h5py.h5p.DATASET_ACCESS)
    slots = max(521, 100 * min(number, 2**14) + 1)
    access.set_chunk_cache(slots, min(_CACHE, max(2**20, size)), 0.75)
    name = dataset.name.encode()
    del dataset  # HDF5 would go on with the cache of what is open already
    return h5py.Dataset(h5py.h5d.open(file.id, name, access))


def corners(dataset: h5py.Dataset, places: list[range]) -> list[range]:
    """Where the chunks begin, along each axis, that have the values at these places."""
    return [
        range(place.start // chunk * chunk, place.stop, chunk)
        for place, chunk in zip(places, dataset.chunks)
    ]


def is_complete(dataset: h5py.Dataset, places: list[range], stored: set[tuple[int, ...]]) -> bool:
    """Whether every value at these places along the axes is stored.

    Args:
        dataset: the dataset.
        places: along each axis.
        stored: corners of chunks that are known to be there. Each other one is looked up as reading
            will do it, and added where it is needed again.
    """
    if dataset.chunks is None:
        return dataset.id.get_storage_size() >= dataset.size * dataset.dtype.itemsize
    needed = corners(dataset, places)
    if math.prod(map(len, needed)) > dataset.id.get_num_chunks():
        return False
    try:
        # ends at the first that is not there: no shape makes this long
        for corner in itertools.product(*needed):
            if corner not in stored:
                dataset.id.read_direct_chunk(corner)
                if _have_many_frames(dataset.chunks):
                    stored.add(corner)
    except _LOST:
        return False
    return True


def require_filters(dataset: h5py.Dataset, path: Path) -> None:
    """Refuse values whose filter is not installed (those of hdf5plugin are used), by its name."""
    if dataset.chunks is None:
        return
    settings = dataset.id.get_create_plist()
    for place in range(settings.get_nfilters()):
        code, _, _, label = settings.get_filter(place)
        if h5py.h5z.filter_avail(code) or not _is_applied(dataset, place):
            continue
        if _has_plugins() and h5py.h5z.filter_avail(code):
            continue
        name = _FILTERS.get(code) or label.decode(errors="replace") or "unknown"
        raise UserError(
            f"{path} is compressed with the HDF5 filter {name} ({code}), which is not installed "
            "here; pip install hdf5plugin, or have it written with gzip."
        )


@cache
def _has_plugins() -> bool:
    """Whether there is a package with more filters; HDF5 knows them once it is loaded."""
    try:
        import hdf5plugin  # noqa: F401
    except Exception:  # one that cannot be loaded is as good as none
        return False
    return True


def _is_applied(dataset: h5py.Dataset, place: int) -> bool:
    """Whether a filter was used for the first chunk: a writer may leave out one that is no help."""
    try:
        number = dataset.id.get_num_chunks()
        return number > 0 and not dataset.id.get_chunk_info(0).filter_mask >> place & 1
    except _LOST:
        return True


def _have_many_frames(chunks: tuple[int, ...] | None) -> bool:
    """Whether a chunk that was read for one frame will be read for others, too."""
    return bool(chunks) and chunks[0] > 1
