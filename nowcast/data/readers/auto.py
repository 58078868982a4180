"""The reader that looks into a file and leaves it to the reader of its format."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from nowcast.data.readers.hdf5 import Hdf5File
from nowcast.data.readers.knmi_hdf5 import KnmiHdf5
from nowcast.data.readers.odim_hdf5 import OdimHdf5
from nowcast.errors import UserError
from nowcast.frames import Frames

_READERS = (KnmiHdf5(), OdimHdf5())


@dataclass(frozen=True)
class Auto:
    """Reader for every format known here, told apart by content; each is read with its default settings."""

    format: ClassVar[str] = " or ".join(reader.format for reader in _READERS)

    def recognises(self, path: str | Path) -> bool:
        """Whether any reader recognises the file; never raises."""
        return any(reader.recognises(path) for reader in _READERS)

    def read(self, path: str | Path) -> Frames:
        """The file's frames, by the first reader that recognises it.

        Raises:
            UserError: no reader recognises the file, or the one that does cannot read it.
        """
        for reader in _READERS:
            if reader.recognises(path):
                return reader.read(path)
        Hdf5File(path).close()
        raise UserError(f"{path} is an HDF5 file, but of no format known here; accepted are {self.format}.")
