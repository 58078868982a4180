"""The reader that looks into a file and leaves it to the reader of its format."""

import importlib
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from nowcast.readers.base import Reader
from nowcast.readers.cf.reader import CfReader
from nowcast.readers.content import require_file
from nowcast.readers.hdf5 import Hdf5File
from nowcast.readers.hdf5_members import is_hdf5
from nowcast.readers.npy import array_names
from nowcast.runtime.errors import UserError, first_line
from nowcast.runtime.file_kinds import head_of, kind_of_content
from nowcast.runtime.plugins import classes_of
from nowcast.types.frames import Frames

_BUILT_IN = (  # loaded when the first file is looked at: some need libraries that start slowly
    "knmi_hdf5.KnmiHdf5",
    "odim_hdf5.OdimHdf5",
    "mch_gif.MchGif",
    "fmi_pgm.FmiPgm",
    "geotiff.GeoTiff",
    "radolan.Radolan",
    "nimrod.Nimrod",
    "meteonet.MeteoNet",
    "bom_rainfields.BomRainfields",
    "cf_netcdf.CfNetcdf",
    "zarr_composite.ZarrComposite",
    "mrms_grib2.MrmsGrib2",
)
_ARRAYS = "reader=arrays"
_ARCHIVE_MARK = "nowcast_archive_version"


def other_readers() -> tuple[type[Reader], ...]:
    """Classes of readers that plug-ins bring along."""
    return tuple(classes_of(Reader))


@cache
def readers() -> tuple[Reader, ...]:
    """A reader of every format that is recognised by its content, with its default settings."""
    found = []
    for name in _BUILT_IN:
        module, _, class_name = name.partition(".")
        found.append(getattr(importlib.import_module(f"nowcast.readers.{module}"), class_name)())
    for reader in other_readers():
        if not inspect.isabstract(reader) and _needs_no_settings(reader):
            found.append(_Guarded(reader))
    return tuple(found)


def _needs_no_settings(reader: type[Reader]) -> bool:
    """Whether a reader can be made as it comes; one that must be given settings is chosen by its
    name alone.
    """
    for setting in inspect.signature(reader).parameters.values():
        given = setting.kind not in (setting.VAR_POSITIONAL, setting.VAR_KEYWORD)
        if given and setting.default is setting.empty:
            return False
    return True


class _Guarded(Reader):
    """A reader of a plug-in, whose faults are called its own and not the file's."""

    def __init__(self, reader: type[Reader]):
        self._name = f"the reader {reader.__module__}.{reader.__qualname__} of a plug-in"
        with self._named():
            self._reader = reader()
            self.format = reader.format
            self.path_parts = reader.path_parts

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except UserError:
            raise
        except Exception as error:  # whatever somebody's code raises
            raise UserError(f"{self._name} failed: {first_line(error)}") from error

    def recognises(self, path: str | Path) -> bool:
        """As the reader's own."""
        with self._named():
            return self._reader.recognises(path)

    def read(self, path: str | Path) -> Frames:
        """As the reader's own."""
        with self._named():
            return self._reader.read(path)


@cache
def accepted() -> str:
    """Which formats are known, as the end of a message."""
    formats = "; ".join(reader.format for reader in readers())
    return f"accepted are {formats}; or {_ARRAYS}, with settings that say where everything is."


@dataclass(frozen=True)
class Auto(Reader):
    """Reader for every format known here: the content of a file says which; default settings."""

    format = "any format that is recognised by its content"

    def recognises(self, path: str | Path) -> bool:
        """Whether any reader recognises the file; never raises."""
        return any(reader.recognises(path) for reader in readers())

    def choose(self, path: str | Path) -> Reader:
        """The one reader that recognises the file.

        Raises:
            UserError: none does, or more than one.
        """
        found = [reader for reader in readers() if reader.recognises(path)]
        if len(found) == 1:
            return found[0]
        if found:
            formats = " and like ".join(reader.format for reader in found)
            raise UserError(f"{path} looks like {formats}; say which one with reader=NAME.")
        for reader in readers():
            if isinstance(reader, CfReader) and reader.opens(path):
                return reader  # reading it says what is missing, and which setting says that
        what = "" if Path(path).is_dir() else _what_it_is(path)
        raise UserError(f"{path} is of no format that is known here{what}; {accepted()}")

    def read(self, path: str | Path) -> Frames:
        """The file's frames, by the one reader that recognises it.

        Raises:
            UserError: as `choose`, or that reader cannot read it.
        """
        return self.choose(path).read(path)


def _what_it_is(path: str | Path) -> str:
    """What a file that no reader recognises is instead, as words to add.

    Raises:
        UserError: that is the reason: it is missing, empty, in use, damaged, or no data at all.
    """
    require_file(path, "a radar file")
    if is_hdf5(path):
        with Hdf5File(path) as file:  # reports damage
            if file.attribute("/", _ARCHIVE_MARK) is not None:
                raise UserError(
                    f"{path} is an archive that nowcast convert made, no radar file; predict, "
                    "evaluate, train and check take it as it is."
                )
    arrays = array_names(path)
    if arrays:
        raise UserError(
            f"{path} is a NumPy archive with the arrays {', '.join(arrays)}; say which of them is "
            f"rain, and where everything else is: {_ARRAYS} reader.dataset=NAME ..."
        )
    found = kind_of_content(head_of(path))
    return ", or damaged" if found is None else f" (it is {found.what}; {found.advice})"
