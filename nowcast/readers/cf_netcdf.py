"""NetCDF files, classic (NetCDF-3) or in HDF5 (NetCDF-4), with rain that follows the CF
conventions.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import h5py
import numpy as np

from nowcast.readers import cf
from nowcast.readers.base import Reader
from nowcast.readers.cf_groups import SeveralGroups, ancestors, choose, refuse_many
from nowcast.readers.content import damage_reported, require_file
from nowcast.readers.decoding import Coding
from nowcast.readers.hdf5 import Hdf5File
from nowcast.runtime.errors import UserError
from nowcast.runtime.library_private import classic_attributes
from nowcast.types.frames import Frames

_CLASSIC = (b"CDF\x01", b"CDF\x02")
_NOT_A_COORDINATE = "_nc4_non_coord_"
_NOT_A_VARIABLE = "This is a netCDF dimension but not a netCDF variable"
_OTHER_FORMATS = (("/", "nowcast_archive_version"), ("what", "object"))
_RAINFIELDS = {"precipitation", "start_time", "valid_time"}
_MAX_VARIABLES = 1000


@dataclass(frozen=True)
class CfNetcdf(Reader):
    """Reader for NetCDF files whose rain rate, rain depth or reflectivity is told by standard name
    and units.

    Args:
        variable: the variable with the rain, of one in a group its path; None: the one with a
            standard name of rain, rates before depths before reflectivities, in the outermost group
            that has one.
        minutes: interval of rain depths in files whose times have no bounds; the times are then the
            ends of the intervals.
        z_r_a: factor of the Z-R relation Z = a R^b that turns reflectivities into rain rates.
        z_r_b: its exponent; the defaults are those of Marshall and Palmer (1948).
    """

    variable: str | None = None
    minutes: float | None = None
    z_r_a: float = 200.0
    z_r_b: float = 1.6
    format = "CF NetCDF (rain rate, rain depth or reflectivity)"
    path_parts = 0  # nothing is taken from the name of a file

    def __post_init__(self):
        Coding(minutes=self.minutes, z_r_a=self.z_r_a, z_r_b=self.z_r_b)

    def recognises(self, path: str | Path) -> bool:
        """Whether the file is NetCDF with rain that it names as CF says; never raises."""
        try:
            with opened(path, self.variable) as (source, variable):
                return cf.has_rain(source, variable) and not is_rainfields(source)
        except SeveralGroups:
            return True  # reading it says what to set
        except UserError:
            return False

    def read(self, path: str | Path) -> Frames:
        """All frames [mm/h]; a time is the end of its interval where the file has bounds, NaN is
        missing.

        Raises:
            UserError: something is missing, damaged, contradictory or not understood; nothing is
                assumed in its place.
        """
        with opened(path, self.variable) as (source, variable):
            return cf.frames(
                source, variable=variable, minutes=self.minutes, z_r=(self.z_r_a, self.z_r_b)
            )

    @contextmanager
    def forecast(self, path: str | Path) -> Iterator[cf.PredictedRain]:
        """A forecast of rain as any system writes it, open for reading, see ``cf.forecast``.

        Raises:
            UserError: as ``read``, or it does not say what it was made from.
        """
        with opened(path, self.variable) as (source, variable):
            yield cf.forecast(
                source, variable=variable, minutes=self.minutes, z_r=(self.z_r_a, self.z_r_b)
            )


def is_rainfields(source: cf.Source) -> bool:
    """Whether the variables are those of BoM Rainfields, which has a reader of its own: it says
    intervals in its own way.
    """
    return source.variables.keys() >= _RAINFIELDS


@contextmanager
def opened(path: str | Path, variable: str | None = None) -> Iterator[tuple[cf.Source, str | None]]:
    """(variables of the group of a NetCDF file that has the rain, open for reading; name of that
    with the rain, None if not set).

    Args:
        path: the file.
        variable: name or path of the variable with the rain; None: any.

    Raises:
        UserError: no such file or group, another format, or damage; in the ``with`` block also what
            the libraries raise on damage.
    """
    require_file(path, "a NetCDF file")
    with open(path, "rb") as file:
        magic = file.read(4)
    if magic in _CLASSIC:
        with damage_reported(path):
            yield _classic(Path(path)), variable
    elif magic[:3] == b"CDF":
        raise UserError(
            f"{path} is NetCDF of the variant CDF-{magic[3] if len(magic) > 3 else '?'}; CDF-1, "
            "CDF-2 and NetCDF-4 are accepted, e.g. made with `nccopy -k nc4`."
        )
    else:
        with Hdf5File(path) as file:
            if any(file.attribute(*mark) is not None for mark in _OTHER_FORMATS):
                raise UserError(f"{path} is an HDF5 file, but no NetCDF; give a NetCDF file.")
            members = cache(partial(_members, file))
            group, name = choose(
                file.path,
                _groups(file),
                lambda group: cf.ranks(cf.Source(file.path, members(group)), variable),
                variable,
            )
            yield _hdf5(file, group, members), name


def _groups(file: Hdf5File) -> Iterator[str]:
    """Paths of all groups, outer ones first; looked for one by one, as the first often is enough."""
    waiting, count = [""], 0
    while waiting:
        group, count = waiting.pop(0), count + 1
        refuse_many(count, file.path)
        yield group
        waiting += [
            f"{group}/{name}".strip("/")
            for name in file.members(group)
            if isinstance(file.find(f"{group}/{name}"), h5py.Group)
        ]


def _hdf5(
    file: Hdf5File, group: str, members: Callable[[str], dict[str, cf.Variable]]
) -> cf.Source:
    """The variables of a NetCDF-4 file's group, with those that are seen in it: of its outer
    groups, and along the axes of its own.
    """
    own, along, attributes = members(group), {}, {}
    for name in own if group else ():
        for scale in file.scales(f"{group}/{_stored_name(file, group, name)}") or ():
            along |= members(scale.strip("/").rpartition("/")[0])
    for outer in ancestors(group):
        along |= members(outer)
        attributes |= file.described(outer or "/")
    return cf.Source(file.path, along, attributes=attributes, group=group, own=frozenset(own))


def _stored_name(file: Hdf5File, group: str, name: str) -> str:
    """A variable's name in the file: NetCDF renames one that is called like a dimension it does not
    lie along.
    """
    return name if file.find(f"{group}/{name}") is not None else f"{_NOT_A_COORDINATE}{name}"


def _members(file: Hdf5File, group: str) -> dict[str, cf.Variable]:
    """The variables of a group itself."""
    variables, names = {}, file.members(group)
    _refuse_many(names, file.path)
    for name in names:
        place = f"{group}/{name}".strip("/")
        node = file.find(place)
        if not hasattr(node, "dtype") or node.shape is None:
            continue
        attributes = file.described(place)
        if str(attributes.get("NAME", "")).startswith(_NOT_A_VARIABLE):
            continue
        short = name.removeprefix(_NOT_A_COORDINATE)
        dims = file.axes(place) or tuple(f"{short}_axis_{axis}" for axis in range(len(node.shape)))
        fill = node.fillvalue.item() if node.dtype.kind in "iuf" else None
        read = partial(_part, file, place)
        variables[short] = cf.Variable(
            file.path, short, dims, node.shape, node.dtype, attributes, read, fill
        )
    return variables


def _refuse_many(names, path: Path) -> None:
    if len(names) > _MAX_VARIABLES:
        raise UserError(
            f"{path} holds {len(names)} variables; up to {_MAX_VARIABLES} are accepted."
        )


def _part(file: Hdf5File, name: str, index: tuple, holes: bool) -> np.ndarray:
    return file.part(name, index, holes=holes)


def _classic(path: Path) -> cf.Source:
    """The variables of a NetCDF-3 file; all of it is read."""
    from scipy.io import netcdf_file

    with netcdf_file(path, "r", mmap=False, maskandscale=False) as file:
        variables = {}
        _refuse_many(file.variables, path)
        for name, stored in file.variables.items():
            attributes = {key: _plain(value) for key, value in classic_attributes(stored).items()}
            read = partial(_of, stored.data)
            variables[name] = cf.Variable(
                path,
                name,
                tuple(stored.dimensions),
                stored.data.shape,
                stored.data.dtype,
                attributes,
                read,
            )
        attributes = {key: _plain(value) for key, value in classic_attributes(file).items()}
    return cf.Source(path, variables, attributes=attributes)


def _of(data: np.ndarray, index: tuple, holes: bool) -> np.ndarray:
    return data[index]


def _plain(value) -> str | float | np.ndarray:
    """An attribute of a NetCDF-3 file as text, number or row of numbers."""
    if isinstance(value, bytes):
        return value.decode(errors="replace").rstrip("\0")
    values = np.ravel(value)
    return values[0] if values.size == 1 else values
