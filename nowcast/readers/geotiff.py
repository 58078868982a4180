"""GeoTIFF: one band of rain or reflectivity on any projection.

Metadata that the file lacks come from the settings.
"""

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyproj

from nowcast.readers.base import Reader
from nowcast.readers.content import (
    beginning,
    damage_reported,
    head_of,
    kind_of_content,
    mend,
    require_file,
)
from nowcast.readers.decoding import Coding
from nowcast.readers.forecasts import (
    refuse,
    refuse_by_attributes,
    refuse_label,
    refuse_name,
    states_analysis,
)
from nowcast.readers.hdf5 import MAX_PIXELS
from nowcast.readers.names import name_pattern, parts_looked_at, time_in_name
from nowcast.runtime.environment import gdal
from nowcast.runtime.errors import UserError
from nowcast.runtime.unreadable import unreadable
from nowcast.types.frames import Frames, Grid

_MAGICS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_ITEM = re.compile(r'<Item name="([^"]{1,60})"([^>]{0,200})>([^<]{0,200})</Item>')
_QUANTITY_BY_UNIT = {
    "dbz": "reflectivity",
    "mm/h": "rain_rate",
    "mm h-1": "rain_rate",
    "mm/hr": "rain_rate",
    "mm": "rain_depth",
}
_ITSELF = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_PAM_ENABLED": "NO",
}  # no file beside it is looked at


@dataclass(frozen=True)
class GeoTiff(Reader):
    """Reader for GeoTIFF files with one field each; also for those of FMI, which say everything in
    their GDAL_METADATA.

    Args:
        values: what the numbers mean; what is None there is taken from the file.
        time: pattern of the time in the file's name, e.g. "%Y%m%d%H%M", with a folder
            "%Y%m%d/%H%M"; None: the file says its observation time, as FMI's do.
        band: which band to read, from 1; None: the file has only one.
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
        if Path(f"{path}.msk").exists():
            raise UserError(
                f"{path} has its mask in a second file, {Path(path).name}.msk, without which "
                "what was not observed looks dry; write it into the file itself (gdal_translate "
                "--config GDAL_TIFF_INTERNAL_MASK YES)."
            )
        with _opened(path) as file:
            software = file.tags().get("software", "")
            if software.startswith("nowcast "):
                refuse(
                    path, "the tag software", repr(software), "software that writes observations"
                )
            band = self._band(file, path)
            tags = _tags(file, band)
            refuse_by_attributes(path, tags, "the tag ")
            grid, items = _grid(file, path), _items(file)
            time = (
                _stated_time(items, path)
                if self.time is None
                else time_in_name(path, self.time, "reader.time")
            )
            _refuse_forecast(file, band, tags, time, path, named=self.time is not None)
            coding = self.values.completed(path, **_stated(file, band, items))
            quantity = coding.measured(path)
            raw, masked = _pixels(file, band, path, tuple(coding.missing or ()))
        rates = coding.rain_rate(raw, path)
        if masked is not None:
            rates[masked] = np.nan
        upwards = file.transform.e > 0
        return Frames(
            rates[None, ::-1] if upwards else rates[None], time, grid, str(path), quantity
        )

    def _band(self, file, path: str | Path) -> int:
        band = 1 if self.band is None and file.count == 1 else self.band
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
    with damage_reported(path), warnings.catch_warnings(), gdal(**_ITSELF) as rasterio:
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        try:
            with rasterio.open(Path(path).absolute(), driver="GTiff") as file:
                yield file
        except RasterioError as error:
            found = kind_of_content(head_of(path))
            if found is not None and "TIFF" not in found.what:
                raise UserError(
                    f"{path} is no GeoTIFF, but {found.what}; {found.advice}."
                ) from error
            raise unreadable(path, error) from error


def _pixels(
    file, band: int, path: str | Path, missing: tuple[float, ...]
) -> tuple[np.ndarray, np.ndarray | None]:
    """(numbers of a band as stored, (H, W); where the file's own mask hides them, None if it has
    none).

    Args:
        file, band, path: what is read.
        missing: numbers that mean "not observed"; a block that was never written reads as the
            file's nodata, and is an error where that is none of them.
    """
    from rasterio.enums import MaskFlags

    rows, columns = file.block_shapes[band - 1]
    if max(file.height * file.width, rows * columns) > MAX_PIXELS:
        raise UserError(
            f"{path} claims {file.height}x{file.width} pixels in blocks of {rows}x{columns}; "
            f"more than {MAX_PIXELS} are refused."
        )
    if file.nodata is None or not (
        np.isnan(file.nodata) or file.nodata in missing
    ):  # GDAL reads a block that is not there as nodata, and without such a number as 0: dry
        for row in range(-(-file.height // rows)):
            for column in range(-(-file.width // columns)):
                if file.get_tag_item(f"BLOCK_OFFSET_{column}_{row}", "TIFF", bidx=band) is None:
                    raise UserError(
                        f"{path} is incomplete, parts of it were lost or never written; "
                        f"{mend(path)}."
                    )
    masked = (
        file.read_masks(band) == 0
        if MaskFlags.per_dataset in file.mask_flag_enums[band - 1]
        else None
    )
    return file.read(band), masked


def _items(file) -> dict[str, tuple[str, str]]:
    """(text, attributes) of the items in the file's GDAL_METADATA, by their names in small letters."""
    return {
        name.lower(): (text.strip(), attributes)
        for name, attributes, text in _ITEM.findall(file.tags().get("GDAL_METADATA", "")[:100_000])
    }


def _tags(file, band: int) -> dict[str, str]:
    """What is written about the file and a band: tags, and the items of its GDAL_METADATA."""
    tags = {name: text for name, text in file.tags().items() if name != "GDAL_METADATA"}
    return tags | file.tags(band) | {name: text for name, (text, _) in _items(file).items()}


def _refuse_forecast(
    file, band: int, tags: dict[str, str], time: np.datetime64, path: str | Path, *, named: bool
) -> None:
    """Refuse a forecast by its reference time, by the description of its band, or by the name of a
    file that tells its time by it.
    """
    refuse_by_attributes(
        path, tags, "the tag ", times=np.array([time], "datetime64[s]"), words=False
    )
    if not states_analysis(tags):
        refuse_label(path, f"the description of band {band}", file.descriptions[band - 1] or "")
        if named:
            refuse_name(path)


def _stated_time(items: dict[str, tuple[str, str]], path: str | Path) -> np.datetime64:
    text, attributes = items.get("observation time", ("", ""))
    match = re.fullmatch(r"(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)", text, re.ASCII)
    try:
        year, month, day, hour, minute = match.groups()
        if "YYYYMMDDhhmm" in attributes:
            return np.datetime64(f"{year}-{month}-{day}T{hour}:{minute}", "s")
    except (AttributeError, ValueError):
        pass
    found = (
        f"its item 'observation time' is {text!r} ({attributes.strip() or 'no format'}), "
        "expected YYYYMMDDhhmm"
        if text
        else "it has no item 'observation time'"
    )
    raise UserError(
        f"{path} does not say when it was observed: {found}; set reader.time to the form its "
        "name has, e.g. '%Y%m%d%H%M'."
    )


def _stated(file, band: int, items: dict[str, tuple[str, str]]) -> dict:
    """What the file says about its values, in the words of `Coding`; None where it does not."""
    number = {}
    for name in ("gain", "offset", "nodata", "undetect"):
        try:
            number[name] = float(items[name][0])
        except (KeyError, ValueError):
            number[name] = None
    unit = re.search(r'unit="([^"]*)"', items.get("quantity", ("", ""))[1])
    unit = (unit[1] if unit else file.units[band - 1] or "").strip().lower()
    missing = tuple(mark for mark in (number["nodata"], file.nodata) if mark is not None)
    return {
        "quantity": _QUANTITY_BY_UNIT.get(unit),
        "gain": file.scales[band - 1] if number["gain"] is None else number["gain"],
        "offset": file.offsets[band - 1] if number["offset"] is None else number["offset"],
        "missing": missing or None,
        "undetect": number["undetect"],
    }


def _grid(file, path: str | Path) -> Grid:
    """Cell centres; rows stored from the south are turned."""
    place = file.transform
    if file.crs is None:
        raise UserError(f"{path} has no projection; a georeferenced TIFF is needed.")
    if place.b or place.d:
        raise UserError(
            f"{path}: its grid is rotated by {place.b:g} and {place.d:g} (of the geotransform), "
            "expected 0 and 0; warp it to rows from north to south."
        )
    if place.a <= 0 or not place.e:
        raise UserError(
            f"{path}: its pixels are {place.a:g} x {place.e:g} wide and high (of the "
            "geotransform), expected a width above 0 and a height that is not 0."
        )
    definition = file.crs.to_wkt()
    stated = pyproj.CRS.from_wkt(definition).to_json_dict().get("id")
    x = place.c + (np.arange(file.width) + 0.5) * place.a
    y = place.f + (np.arange(file.height) + 0.5) * place.e
    return Grid(
        f"{stated['authority']}:{stated['code']}" if stated else definition,
        x,
        y[::-1] if place.e > 0 else y,
    )
