"""NetCDF files, classic (NetCDF-3) or in HDF5 (NetCDF-4), with rain that follows the CF
conventions.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import h5py
import numpy as np

from nowcast.readers.cf import rain
from nowcast.readers.cf.groups import ancestors, group_with_rain, refuse_many
from nowcast.readers.cf.reader import CfReader
from nowcast.readers.cf.source import Source, Variable
from nowcast.readers.content import damage_reported, require_file, stored_beginning
from nowcast.readers.hdf5 import Hdf5File
from nowcast.readers.netcdf_classic import VARIANTS, classic_source
from nowcast.runtime.errors import UserError

_NOT_A_COORDINATE = "_nc4_non_coord_"
_NOT_A_VARIABLE = "This is a netCDF dimension but not a netCDF variable"
_OTHER_FORMATS = (("/", "nowcast_archive_version"), ("what", "object"))
_RAINFIELDS = {"precipitation", "start_time", "valid_time"}
_MARKS = ("_NCProperties", "_nc3_strict")  # of NetCDF's library, at the top of a file
_MAX_VARIABLES = 1000


@dataclass(frozen=True)
class CfNetcdf(CfReader):
    """Reader for NetCDF files with rain rate, rain depth or reflectivity by standard name and
    units; its settings are those of `CfReader`.
    """

    format = "CF NetCDF (rain rate, rain depth or reflectivity)"

    def takes(self, source: Source) -> bool:
        """Whether it is no data set of BoM Rainfields, which says intervals in its own way."""
        return not is_rainfields(source)

    def opens(self, path: str | Path) -> bool:
        """Whether it is NetCDF by its first bytes, or HDF5 with the marks of NetCDF: its library's
        name, conventions, or dimensions; never raises.
        """
        if stored_beginning(path, 3) == b"CDF":
            return True
        try:
            with Hdf5File(path) as file:
                if any(file.attribute(*mark) is not None for mark in _OTHER_FORMATS):
                    return False
                names = ["/", *file.members("/")[:_MAX_VARIABLES]]
                described = [file.described(name) for name in names]
        except UserError:
            return False
        conventions = str(described[0].get("Conventions", "")).upper()
        is_marked = any(name in described[0] for name in _MARKS)
        has_dimensions = any(one.get("CLASS") == "DIMENSION_SCALE" for one in described[1:])
        return is_marked or conventions.startswith(("CF", "COARDS")) or has_dimensions

    @contextmanager
    def forecast(self, path: str | Path) -> Iterator[rain.PredictedRain]:
        """A forecast of rain as any system writes it, open for reading, see ``rain.forecast``.

        Raises:
            UserError: as ``read``, or it does not say what it was made from.
        """
        with self.opened(path) as (source, variable):
            yield rain.forecast(replace(source, told=self.told), variable, self.coding)

    @contextmanager
    def opened(self, path: str | Path) -> Iterator[tuple[Source, str | None]]:
        """(variables of the group of a NetCDF file that has the rain, open for reading; name of
        that with the rain, None if not set).

        Raises:
            UserError: no such file or group, another format, or damage; in the ``with`` block also
                what the libraries raise on damage.
        """
        require_file(path, "a NetCDF file")
        with open(path, "rb") as file:
            magic = file.read(4)
        if magic[:3] == b"CDF" and magic[3:] in map(bytes, zip(VARIANTS)):
            with damage_reported(path), classic_source(Path(path)) as source:
                _refuse_many_variables(len(source.variables), Path(path))
                yield source, self.variable
        elif magic[:3] == b"CDF":
            raise UserError(
                f"{path} is NetCDF of the variant CDF-{magic[3] if len(magic) > 3 else '?'}; "
                "CDF-1, CDF-2, CDF-5 and NetCDF-4 are accepted, e.g. made with `nccopy -k nc4`."
            )
        else:
            with Hdf5File(path) as file:
                if any(file.attribute(*mark) is not None for mark in _OTHER_FORMATS):
                    raise UserError(f"{path} is an HDF5 file, but no NetCDF; give a NetCDF file.")
                members = cache(partial(_members, file))
                groups = _groups(file)
                group, name = group_with_rain(file.path, groups, members, self.variable)
                yield _seen_in(file, group, members), name


def is_rainfields(source: Source) -> bool:
    """Whether the variables are those of BoM Rainfields, which has a reader of its own."""
    return source.variables.keys() >= _RAINFIELDS


def _groups(file: Hdf5File) -> Iterator[str]:
    """Paths of all groups, outer ones first; looked for one by one: the first often is enough."""
    waiting, count = [""], 0
    while waiting:
        group, count = waiting.pop(0), count + 1
        refuse_many(count, file.path)
        yield group
        for name in file.members(group):
            if isinstance(file.find(f"{group}/{name}"), h5py.Group):
                waiting.append(f"{group}/{name}".strip("/"))


def _seen_in(file: Hdf5File, group: str, members: Callable[[str], dict[str, Variable]]) -> Source:
    """The variables of a NetCDF-4 file's group, with those that are seen in it: of its outer
    groups, and along the axes of its own.
    """
    own, seen, attributes = members(group), {}, {}
    for name in own if group else ():
        for scale in file.scales(f"{group}/{_stored_name(file, group, name)}") or ():
            seen |= members(scale.strip("/").rpartition("/")[0])
    for outer in ancestors(group):
        seen |= members(outer)
        attributes |= file.described(outer or "/")
    return Source(file.path, seen, attributes=attributes, group=group, own=frozenset(own))


def _stored_name(file: Hdf5File, group: str, name: str) -> str:
    """A variable's name in the file: NetCDF renames one that is called like a dimension it does not
    lie along.
    """
    return name if file.find(f"{group}/{name}") is not None else f"{_NOT_A_COORDINATE}{name}"


def _members(file: Hdf5File, group: str) -> dict[str, Variable]:
    """The variables of a group itself."""
    variables, names = {}, file.members(group)
    _refuse_many_variables(len(names), file.path)
    for name in names:
        place = f"{group}/{name}".strip("/")
        node = file.find(place)
        if not isinstance(node, h5py.Dataset) or node.shape is None:
            continue
        attributes = file.described(place)
        # a dimension without a coordinate is stored as a dataset with this name
        if str(attributes.get("NAME", "")).startswith(_NOT_A_VARIABLE):
            continue
        short = name.removeprefix(_NOT_A_COORDINATE)
        dims = file.axes(place) or tuple(f"{short}_axis_{axis}" for axis in range(len(node.shape)))
        fill = node.fillvalue.item() if node.dtype.kind in "iuf" else None
        variables[short] = Variable(
            *(file.path, short, dims, node.shape, node.dtype, attributes),
            read=partial(_part, file, place),
            fill=fill,
        )
    return variables


def _refuse_many_variables(count: int, path: Path) -> None:
    if count > _MAX_VARIABLES:
        raise UserError(f"{path} contains {count} variables; up to {_MAX_VARIABLES} are accepted.")


def _part(file: Hdf5File, name: str, index: tuple, holes: bool) -> np.ndarray:
    return file.part(name, index, holes=holes)
