"""GeoTIFF: one band of rain or reflectivity on any projection.

Metadata that the file lacks come from the settings.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nowcast.readers.base import Reader
from nowcast.readers.content import beginning, damage_reported, require_file
from nowcast.readers.decoding import Coding
from nowcast.readers.forecasts import refuse, refuse_by_attributes
from nowcast.readers.geotiff_band import Band, alpha_bands
from nowcast.readers.marks import refuse_undeclared
from nowcast.readers.names import name_pattern, parts_looked_at, time_in_name
from nowcast.runtime.environment import gdal
from nowcast.runtime.errors import UserError
from nowcast.runtime.file_kinds import head_of, kind_of_content
from nowcast.runtime.unreadable import unreadable
from nowcast.types.frames import Frames

_MAGICS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# no file beside it is looked at
_ALONE = {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR", "GDAL_PAM_ENABLED": "NO"}


@dataclass(frozen=True)
class GeoTiff(Reader):
    """Reader for GeoTIFF files with one field each; also for those of FMI, which say everything in
    their GDAL_METADATA.

    Args:
        values: what the numbers mean; what is None there is taken from the file.
        time: pattern of the time in the file's name, e.g. "%Y%m%d%H%M", with a folder
            "%Y%m%d/%H%M"; None: the file says its observation time, as FMI's do.
        band: which band to read, from 1; None: the file has only one, but for
            alpha, where 0 is missing.
    """

    values: Coding = field(default_factory=Coding)
    time: str | None = None
    band: int | None = None
    format = "GeoTIFF"

    def __post_init__(self):
        if self.time is not None:
            name_pattern(self.time, "reader.time")

    @property
    def path_parts(self) -> int:
        """How many of the last parts of a path decide, with the content, what is read."""
        return 0 if self.time is None else parts_looked_at(self.time)

    def recognises(self, path: str | Path) -> bool:
        """Whether the file is a TIFF with a projection; never raises."""
        if not beginning(path, 4).startswith(_MAGICS):
            return False
        try:
            with _opened(path) as file:
                return file.crs is not None
        except UserError:
            return False

    def read(self, path: str | Path) -> Frames:
        """One frame [mm/h]; its time is the one in the file's name, or the observation time it
        states.

        Raises:
            UserError: another format, damage, a rotated grid, or something that neither the file
                nor the settings say.
        """
        # no file beside this one is looked at, see _ALONE, so GDAL would not find the mask
        if Path(f"{path}.msk").exists():
            raise UserError(
                f"{path} has its mask in a second file, {Path(path).name}.msk, without which what "
                "was not observed looks dry; write it into the file itself (gdal_translate "
                "--config GDAL_TIFF_INTERNAL_MASK YES)."
            )
        with _opened(path) as file:
            software = file.tags().get("software", "")
            if software.startswith("nowcast "):
                expected = "software that writes observations"
                refuse(path, "the tag software", repr(software), expected)
            band = Band(file, self._band_number(file, path), path)
            refuse_by_attributes(path, "the tag ", band.tags())
            grid, upwards = band.grid()
            if self.time is None:
                time = band.stated_time()
            else:
                time = time_in_name(path, self.time, "reader.time")
            band.refuse_forecast(time, by_name=self.time is not None)
            coding = self.values.completed(path, **band.stated_coding(self.values.quantity))
            quantity = coding.measured(path)
            raw, masked = band.pixels(coding.missing or ())
        if self.values.missing is None:
            refuse_undeclared(coding, raw, path, "set reader.values.missing", masked)
        rates = coding.rain_rate(raw, path)
        if masked is not None:
            rates[masked] = np.nan
        values = rates[None, ::-1] if upwards else rates[None]
        return Frames(values, time, grid, str(path), quantity)

    def _band_number(self, file, path: str | Path) -> int:
        alpha = alpha_bands(file)
        others = [number for number in range(1, file.count + 1) if number not in alpha]
        band = others[0] if self.band is None and len(others) == 1 else self.band
        if band in alpha:
            raise UserError(
                f"{path}: band {band} is alpha, which says where there are values; set reader.band "
                f"to one with values ({', '.join(map(str, others[:10]))})."
            )
        if band is None or not 1 <= band <= file.count:
            raise UserError(
                f"{path} has {file.count} band(s); set reader.band to the one to read, 1 to "
                f"{file.count} (it is {self.band})."
            )
        if np.dtype(file.dtypes[band - 1]).kind not in "iuf":
            raise UserError(
                f"{path} has values of type {file.dtypes[band - 1]}; plain numbers are needed."
            )
        return band


@contextmanager
def _opened(path: str | Path) -> Iterator:
    """The file, open in rasterio.

    Raises:
        UserError: no GeoTIFF, or, in the ``with`` block, whatever rasterio raises on damage.
    """
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    require_file(path, "a GeoTIFF file")
    with damage_reported(path), warnings.catch_warnings(), gdal(**_ALONE) as rasterio:
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        try:
            # absolute, as GDAL takes a name such as "GTIFF_DIR:1:..." for a command
            with rasterio.open(Path(path).absolute(), driver="GTiff") as file:
                yield file
        except RasterioError as error:
            found = kind_of_content(head_of(path))
            if found is not None and "TIFF" not in found.what:
                raise UserError(
                    f"{path} is no GeoTIFF, but {found.what}; {found.advice}."
                ) from error
            raise unreadable(path, error) from error
