"""One band of a GeoTIFF file, and what the file says about it."""

import re
from pathlib import Path

import numpy as np
import pyproj

from nowcast.readers.cf import units as cf_units
from nowcast.readers.content import incomplete
from nowcast.readers.forecast_names import refuse_label, refuse_name
from nowcast.readers.forecasts import refuse_by_marks
from nowcast.readers.limits import require_pixels
from nowcast.readers.moments import moment_of_digits
from nowcast.runtime.errors import UserError
from nowcast.types.frames import Grid

_ITEM = re.compile(r'<Item name="([^"]{1,60})"([^>]{0,200})>([^<]{0,200})</Item>')


def alpha_bands(file) -> list[int]:
    """Numbers of the bands that say where a file has values, and contain none."""
    from rasterio.enums import ColorInterp

    return [at for at, one in enumerate(file.colorinterp, start=1) if one == ColorInterp.alpha]


class Band:
    """One band of a file that is open in rasterio, and what the file says about it.

    Args:
        file: the file.
        number: of the band, from 1.
        path: the file's, for messages.
    """

    def __init__(self, file, number: int, path: str | Path):
        self._file, self._number, self._path = file, number, path
        metadata = file.tags().get("GDAL_METADATA", "")[:100_000]
        # (text, attributes) of the items of FMI's metadata, by their names in small letters
        self._items: dict[str, tuple[str, str]] = {}
        for name, attributes, text in _ITEM.findall(metadata):
            self._items[name.lower()] = text.strip(), attributes

    def tags(self) -> dict[str, str]:
        """What is written about the file and the band: tags, and the items of its metadata."""
        tags = self._file.tags() | self._file.tags(self._number)
        tags.pop("GDAL_METADATA", None)
        return tags | {name: text for name, (text, _) in self._items.items()}

    def refuse_forecast(self, time: np.datetime64, *, by_name: bool) -> None:
        """Refuse a forecast by its reference time, by the description of its band, or by the name
        of a file whose time is read from it.
        """
        times = np.array([time], "datetime64[s]")
        if refuse_by_marks(self._path, [("the tag ", self.tags())], times):
            return
        description = self._file.descriptions[self._number - 1] or ""
        refuse_label(self._path, f"the description of band {self._number}", description)
        if by_name:
            refuse_name(self._path)

    def stated_time(self) -> np.datetime64:
        """When the file says that it was observed, as FMI's do.

        Raises:
            UserError: it does not.
        """
        text, attributes = self._items.get("observation time", ("", ""))
        is_complete = len(text) == 12 and "YYYYMMDDhhmm" in attributes
        moment = moment_of_digits(text) if is_complete else None
        if moment is not None:
            return moment
        found = "it has no item 'observation time'"
        if text:
            stated = attributes.strip() or "no format"
            found = f"its item 'observation time' is {text!r} ({stated}), expected YYYYMMDDhhmm"
        raise UserError(
            f"{self._path} does not say when it was observed: {found}; set reader.time to the form "
            "its name has, e.g. '%Y%m%d%H%M'."
        )

    def stated_coding(self, told: str | None) -> dict:
        """What the file says about its values, in the words of `Coding`; None where it does not.

        Args:
            told: what the settings say that they are.
        """
        file, index = self._file, self._number - 1
        marks = [mark for mark in (self._item("nodata"), file.nodata) if mark is not None]
        gain, offset = self._item("gain"), self._item("offset")
        gain = file.scales[index] if gain is None else gain
        offset = file.offsets[index] if offset is None else offset
        quantity, factor = cf_units.quantity(self._unit()) or (None, 1.0)
        if told not in (None, quantity):  # the settings know better than the unit
            factor = 1.0
        return {
            "quantity": quantity,
            "gain": gain * factor,
            "offset": offset * factor,
            "missing": tuple(marks) or None,
            "undetect": self._item("undetect"),
        }

    def _unit(self) -> str:
        """The unit of the values: of FMI's metadata, of the band, or a tag ``units``; "" if none is
        stated.
        """
        stated = re.search(r'unit="([^"]*)"', self._items.get("quantity", ("", ""))[1])
        if stated:
            return stated[1]
        file = self._file
        tags = file.tags() | file.tags(self._number)
        return (file.units[self._number - 1] or tags.get("units", ""))[:100]

    def _item(self, name: str) -> float | None:
        try:
            return float(self._items[name][0])
        except (KeyError, ValueError):
            return None

    def pixels(self, missing: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray | None]:
        """(numbers as stored, (H, W); where the file's own mask hides them, None if it has none).

        Args:
            missing: numbers that mean "not observed"; a block that was never written reads as the
                file's nodata, and is an error where that is none of them.
        """
        from rasterio.enums import MaskFlags

        file, number = self._file, self._number
        rows, columns = file.block_shapes[number - 1]
        require_pixels(str(self._path), file.height, file.width)
        require_pixels(f"{self._path}: a block of it", rows, columns)
        # GDAL reads a block that is not there as nodata, and without such a number as 0: dry
        is_missing = file.nodata is not None and (np.isnan(file.nodata) or file.nodata in missing)
        if not is_missing:
            self._require_blocks(-(-file.height // rows), -(-file.width // columns))
        has_mask = MaskFlags.per_dataset in file.mask_flag_enums[number - 1]
        masked = file.read_masks(number) == 0 if has_mask else None
        # GDAL makes no mask of an alpha band of floats
        for alpha in alpha_bands(file):
            opaque = file.read(alpha) > 0
            masked = ~opaque if masked is None else masked | ~opaque
        return file.read(number), masked

    def _require_blocks(self, down: int, across: int) -> None:
        for row, column in np.ndindex(down, across):
            name = f"BLOCK_OFFSET_{column}_{row}"
            if self._file.get_tag_item(name, "TIFF", bidx=self._number) is None:
                raise incomplete(str(self._path), self._path)

    def grid(self) -> tuple[Grid, bool]:
        """(cell centres, row 0 north; whether the rows are stored from the south)."""
        file, place = self._file, self._file.transform
        if file.crs is None:
            raise UserError(f"{self._path} has no projection; a georeferenced TIFF is needed.")
        if place.b or place.d:
            raise UserError(
                f"{self._path}: its grid is rotated by {place.b:g} and {place.d:g} (of the "
                "geotransform), expected 0 and 0; warp it to rows from north to south."
            )
        if place.a <= 0 or not place.e:
            raise UserError(
                f"{self._path}: its pixels are {place.a:g} x {place.e:g} wide and high (of the "
                "geotransform), expected a width above 0 and a height that is not 0."
            )
        definition = file.crs.to_wkt()
        stated = pyproj.CRS.from_wkt(definition).to_json_dict().get("id")
        crs = f"{stated['authority']}:{stated['code']}" if stated else definition
        x = place.c + (np.arange(file.width) + 0.5) * place.a
        y = place.f + (np.arange(file.height) + 0.5) * place.e
        upwards = place.e > 0
        return Grid(crs, x, y[::-1] if upwards else y), upwards
