"""KNMI's own HDF5 format: rain depths over an interval, or reflectivities, on a grid given in
kilometres.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nowcast.readers.base import Reader
from nowcast.readers.decoding import Coding
from nowcast.readers.forecasts import refuse, refuse_by_attributes
from nowcast.readers.hdf5 import Hdf5File
from nowcast.readers.intervals import minutes_between
from nowcast.readers.limits import require_side
from nowcast.readers.projection import project, projection_in_metres
from nowcast.runtime.errors import UserError
from nowcast.types.frames import Frames, Grid
from nowcast.types.tolerance import in_force

_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_TIME = re.compile(r"(\d\d)-([A-Z]{3})-(\d{4});(\d\d:\d\d:\d\d)(\.\d+)?", re.ASCII)
_NUMBER = r"[+-]?\s*(?:\d+\.?\d*|\.\d+)(?:E[+-]?\d+)?"
_FORMULA = re.compile(rf"GEO\s*=\s*({_NUMBER})\s*\*\s*PV\s*(?:\+?\s*({_NUMBER}))?", re.ASCII)
_IMAGE = re.compile(r"image\d{1,4}", re.ASCII)
# such as RAD_NL25_RAC_FM, KNMI's nowcasts
_FORECAST_PRODUCT = re.compile(r"_(FM|FC|FCST|FORECAST)\d*(_|$)", re.ASCII)
_QUANTITIES = {  # by image_geo_parameter
    "ACCUMULATED_PRECIPITATION_[MM]": "rain_depth",
    "REFLECTIVITY_[DBZ]": "reflectivity",
}
_OTHER_PARAMETERS = {"HEIGHT": "an echo top", "PROBABILITY": "a probability, such as that of hail"}
_CALIBRATION = "image1/calibration"
_NO_ECHO = 0  # the lowest count of a reflectivity, whatever the file calls it


@dataclass(frozen=True)
class KnmiHdf5(Reader):
    """Reader for KNMI HDF5 files with accumulated precipitation (RAD_NL25_RAP, RAC, ...) or
    reflectivity (RAD_NL25_PCP).

    Args:
        missing: counts that mean "not observed", e.g. [255]; None: as the file says.
        z_r_a: factor of the Z-R relation Z = a R^b, used for reflectivities.
        z_r_b: its exponent.
    """

    missing: tuple[float, ...] | None = None
    z_r_a: float = 200.0
    z_r_b: float = 1.6
    format = "KNMI HDF5 (accumulated precipitation or reflectivity)"
    path_parts = 0  # nothing is taken from the name of a file

    def __post_init__(self):
        Coding(missing=self.missing, z_r_a=self.z_r_a, z_r_b=self.z_r_b)

    def recognises(self, path: str | Path) -> bool:
        """Whether the file has KNMI's groups ``overview`` and ``geographic``; never raises."""
        try:
            with Hdf5File(path) as file:
                return file.find("overview") is not None and file.find("geographic") is not None
        except UserError:
            return False

    def read(self, path: str | Path) -> Frames:
        """One frame [mm/h]; its time is the end of the interval, NaN is missing or outside the
        radars' range.

        Raises:
            UserError: something is missing, damaged, or neither accumulated precipitation in mm nor
                reflectivity.
        """
        with Hdf5File(path) as file:
            _refuse_polar(file)
            end = _time(file, "overview", "product_datetime_end")
            _refuse_forecast(file, end)
            quantity, minutes = _quantity(file), None
            if quantity == "rain_depth":
                start = _time(file, "overview", "product_datetime_start")
                minutes = minutes_between(start, end, f"{path}: its interval")
            grid = _grid(file)
            coding = self._coding(file, quantity, minutes)
            counts = file.pixels("image1/image_data")
        if counts.dtype.kind not in "iu":
            raise UserError(
                f"{path}: image1/image_data is {counts.dtype}; whole numbers are needed."
            )
        return coding.single_frame(counts, end, grid, path)

    def _coding(self, file: Hdf5File, quantity: str, minutes: float | None) -> Coding:
        """How the counts stand for rain."""
        missing = _missing(file, quantity) if self.missing is None else self.missing
        undetect = _NO_ECHO if quantity == "reflectivity" else None
        gain, offset = _formula(file)
        coding = Coding(quantity, minutes, None, None, missing, undetect, self.z_r_a, self.z_r_b)
        return coding.completed(file.path, gain=gain, offset=offset)


def _refuse_forecast(file: Hdf5File, end: np.datetime64) -> None:
    """Refuse images that are valid after the end of the product's interval, and products that say
    that they are forecasts.
    """
    images = [name for name in file.members("") if _IMAGE.fullmatch(name)]
    for name in images:
        if file.attribute(name, "image_datetime_valid") is not None:
            valid = _time(file, name, "image_datetime_valid")
            if valid > end:
                expected = f"none after overview/product_datetime_end, {end} UTC"
                refuse(file.path, f"{name}/image_datetime_valid", f"{valid} UTC", expected)
    # KNMI's nowcasts have one image of the same quantity for each lead time
    parameters = [file.attribute(name, "image_geo_parameter") for name in images]
    if len(images) > 1 and None not in parameters and len(set(parameters)) == 1:
        raise UserError(
            f"{file.path} contains {len(images)} images of {parameters[0]}, as forecasts have "
            "them; expected one, as observations have it."
        )
    products = [("overview", "product_group_name")]
    products += [(name, "image_product_name") for name in images]
    for group, attribute in products:
        product = str(file.attribute(group, attribute) or "")
        if _FORECAST_PRODUCT.search(product):
            expected = "an observed product such as RAD_NL25_RAC"
            refuse(file.path, f"{group}/{attribute}", repr(product), expected)
    # each group for itself: the product may be called a forecast where an image is an analysis
    times = np.array([end], "datetime64[s]")
    for name in ("overview", *images):
        if file.find(name) is not None:
            refuse_by_attributes(file.path, f"{name}/", file.described(name), times)


def _time(file: Hdf5File, group: str, name: str) -> np.datetime64:
    text = file.text(group, name)
    match = _TIME.fullmatch(text.upper())
    try:
        day, month, year, clock, _ = match.groups()
        return np.datetime64(f"{year}-{_MONTHS.index(month) + 1:02d}-{day}T{clock}", "s")
    except (AttributeError, ValueError):
        raise UserError(
            f"{file.path}: {group}/{name} is {text!r}; a time such as 26-AUG-2010;00:05:00.000 is "
            "needed."
        ) from None


def _refuse_polar(file: Hdf5File) -> None:
    if file.find("image1") is None and file.find("scan1") is not None:
        raise UserError(
            f"{file.path} contains the scans of a radar (a polar volume); expected an image on a "
            "grid. Make one of it with wradlib or Py-ART."
        )


def _quantity(file: Hdf5File) -> str:
    """What the image is, as `Coding` calls it."""
    stated = file.text("image1", "image_geo_parameter")
    parameter = re.sub(r"[\s_]+", "_", stated.upper())
    if parameter not in _QUANTITIES:
        what = next((w for name, w in _OTHER_PARAMETERS.items() if parameter.startswith(name)), "")
        raise UserError(
            f"{file.path}: image1/image_geo_parameter is {stated!r}{what and f' ({what})'}, "
            f"expected {' or '.join(_QUANTITIES)}; nothing else can be read."
        )
    return _QUANTITIES[parameter]


def _formula(file: Hdf5File) -> tuple[float, float]:
    """(gain, offset) of the counts."""
    formula = file.text(_CALIBRATION, "calibration_formulas")
    match = _FORMULA.fullmatch(formula.upper().strip())
    if not match:
        raise UserError(
            f"{file.path}: {_CALIBRATION}/calibration_formulas is {formula!r}; a formula such as "
            "GEO=0.01*PV+0.0 is needed."
        )
    gain, offset = (float((number or "0").replace(" ", "")) for number in match.groups())
    return gain, offset


def _missing(file: Hdf5File, quantity: str) -> tuple[float, ...]:
    """Counts that mean "not observed".

    Reflectivities have 0 where there was no echo, which the files call missing_data; what no radar
    sees is then out_of_image.
    """
    missing = [file.number(_CALIBRATION, "calibration_missing_data")]
    outside = []
    if file.attribute(_CALIBRATION, "calibration_out_of_image") is not None:
        outside.append(file.number(_CALIBRATION, "calibration_out_of_image"))
    if quantity == "reflectivity" and missing == [_NO_ECHO]:
        if outside in ([], missing):
            raise UserError(
                f"{file.path}: {_CALIBRATION}/calibration_missing_data is {_NO_ECHO}, which is no "
                "echo in KNMI's reflectivities, and no calibration_out_of_image tells what was not "
                "observed; set reader.missing, e.g. to [255]."
            )
        return tuple(outside)
    return (*missing, *outside)


def _grid(file: Hdf5File) -> Grid:
    """Cell centres [m]; offsets count pixels, and pixel sizes and the earth are in kilometres in
    the file.
    """
    for name, expected in (("geo_dim_pixel", "KM,KM"), ("geo_pixel_def", "LU")):
        stated = file.text("geographic", name)
        if stated.upper() != expected:
            raise UserError(f"{file.path}: geographic/{name} is {stated!r}, expected {expected!r}.")
    definition = file.text("geographic/map_projection", "projection_proj4_params")
    projection = projection_in_metres(definition, file.path)
    axes = []
    for axis, side in (("x", "column"), ("y", "row")):
        stated = file.number("geographic", f"geo_number_{side}s")
        count = require_side(f"{file.path}: geographic/geo_number_{side}s", stated)
        places = file.number("geographic", f"geo_{side}_offset") + np.arange(count) + 0.5
        # kilometres; that of y is negative, as rows run southwards
        axes.append(places * file.number("geographic", f"geo_pixel_size_{axis}") * 1000)
    grid = Grid(projection, *axes)
    _check_corners(file, grid)
    return grid


def _check_corners(file: Hdf5File, grid: Grid) -> None:
    """Compare the grid with the longitudes and latitudes of the outer corners, where the file
    states them.
    """
    corners = file.numbers("geographic", "geo_product_corners")
    if corners is None:
        return
    if corners.size != 8:
        raise UserError(
            f"{file.path}: geo_product_corners contains {corners.size} numbers; 8 are needed."
        )
    # the eight numbers are corners from the lower left one on, clockwise
    dy, dx = (abs(file.number("geographic", f"geo_pixel_size_{axis}")) * 1000 for axis in "yx")
    upper_left = grid.x[0] - dx / 2, grid.y[0] + dy / 2
    lower_right = grid.x[-1] + dx / 2, grid.y[-1] - dy / 2
    off = in_force().off_corner
    for place, (x, y) in ((2, upper_left), (6, lower_right)):
        stated_x, stated_y = project(grid.crs, *corners[place : place + 2], path=file.path)
        if abs(stated_x - x) > off * dx or abs(stated_y - y) > off * dy:
            raise UserError(
                f"{file.path}: geo_product_corners has a corner at x {stated_x:.0f}, y "
                f"{stated_y:.0f} m, but offsets and pixel sizes give x {x:.0f}, y {y:.0f} m; the "
                "file contradicts itself."
            )
