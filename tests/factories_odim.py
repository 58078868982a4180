"""ODIM_H5 files in any dialect, for tests: where attributes stand, what corners and scales mean,
how values are coded.
"""

from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np
import pyproj

from tests.factories import LAEA

PIXEL, LEFT, TOP = 2000.0, 10_000.0, -20_000.0  # metres: the outer upper left corner
RATES = np.array(  # mm/h, NaN = not observed, 0 = dry
    [[np.nan, 0.0, 0.5, 1.0, 2.5], [0.0, 7.5, 12.0, np.nan, 0.0], [30.0, np.nan, 0.0, 0.5, 60.0]],
    np.float32,
)
ROWS, COLUMNS = RATES.shape
X = LEFT + PIXEL * (np.arange(COLUMNS) + 0.5)
Y = TOP - PIXEL * (np.arange(ROWS) + 0.5)
TIME = np.datetime64("2018-08-24T18:00", "s")

WHAT_PLACES = (
    "dataset1/data1/data",
    "dataset1/data1/what",
    "dataset1/data1",
    "dataset1/what",
    "dataset1",
    "what",
    "/",
)
WHERE_PLACES = (
    "dataset1/data1/data",
    "dataset1/data1/where",
    "dataset1/data1",
    "dataset1/where",
    "dataset1",
    "where",
    "/",
)
CORNERS = {  # what a file states: corners in degrees, and whether UL_x and UL_y
    "all": (("LL", "UL", "UR", "LR"), False),
    "UL and LR": (("UL", "LR"), False),
    "LL and UR": (("LL", "UR"), False),
    "three": (("LL", "UR", "LR"), False),
    "those of the north": (("UL", "UR"), False),
    "those of the east": (("UR", "LR"), False),
    "UL": (("UL",), False),
    "LL": (("LL",), False),
    "UR": (("UR",), False),
    "LR": (("LR",), False),
    "UL_x": ((), True),
    "UL_x and all": (("LL", "UL", "UR", "LR"), True),
}
ONE_PLACE = ("UL", "LL", "UR", "LR", "UL_x")  # these alone prove nothing about scale or meaning
NUMBERS = {  # a number as an attribute
    "float": np.float64,
    "whole where it is": lambda number: np.int64(number) if number % 1 == 0 else np.float64(number),
    "text": lambda number: repr(float(number)),
    "bytes": lambda number: np.bytes_(repr(float(number))),
    "one in a row": lambda number: np.array([number]),
    "one by one": lambda number: np.array([[number]]),
}


@dataclass(frozen=True)
class Code:
    """How values are stored: number = (value - offset) / gain, and marks.

    Args:
        kind: dtype.
        stated: gain, offset, nodata and undetect as far as they are stated.
        missing: what is stored where nothing was observed.
        dry: what is stored where it is dry.
    """

    kind: str
    stated: dict
    missing: float
    dry: float

    def stored(self, rates: np.ndarray) -> np.ndarray:
        """The numbers of rates."""
        gain, offset = self.stated.get("gain", 1.0), self.stated.get("offset", 0.0)
        numbers = (np.nan_to_num(rates.astype(np.float64)) - offset) / gain
        if np.dtype(self.kind).kind in "iu":
            numbers = np.rint(numbers)
        numbers = np.where(np.isnan(rates), self.missing, np.where(rates == 0, self.dry, numbers))
        return numbers.astype(self.kind)


HALVES = {"gain": 0.5, "offset": -1.0}
CODES = {
    "floats with marks": Code(
        "f8", {"gain": 1.0, "offset": 0.0, "nodata": -9999000.0, "undetect": -8888000.0},
        -9999000.0, -8888000.0,
    ),
    "32-bit floats with marks": Code("f4", {"nodata": -8888000.1, "undetect": -32.1}, -8888000.1, -32.1),
    "floats without marks": Code("f4", {}, np.nan, 0.0),
    "floats with NaN": Code("f8", {"gain": 1.0, "offset": 0.0, "nodata": np.nan}, np.nan, 0.0),
    "floats with NaN and infinity": Code("f8", {"nodata": np.nan, "undetect": np.inf}, np.nan, np.inf),
    "8 bits": Code("u1", HALVES | {"nodata": 255.0, "undetect": 0.0}, 255, 0),
    "8 bits with nodata -1": Code("u1", HALVES | {"nodata": -1.0, "undetect": 0.0}, 255, 0),
    "signed 8 bits with nodata 255": Code("i1", HALVES | {"nodata": 255.0, "undetect": 0.0}, -1, 0),
    "16 bits": Code("u2", {"gain": 0.01, "offset": -0.01, "nodata": 65535.0, "undetect": 0.0}, 65535, 0),
    "16 bits with nodata -1": Code("u2", {"gain": 0.01, "nodata": -1.0}, 65535, 0),
    "32 bits": Code("u4", {"gain": 0.001, "offset": -0.001, "nodata": 4294967295.0, "undetect": 0.0}, 4294967295, 0),
    "signed 32 bits": Code("i4", {"gain": 0.1, "nodata": -1.0, "undetect": -2.0}, -1, -2),
    "undetect equal to nodata": Code("u1", {"gain": 0.5, "nodata": 255.0, "undetect": 255.0}, 255, 0),
}  # fmt: skip


@dataclass(frozen=True)
class Dialect:
    """How a file says what it says.

    Args:
        what: where the section what stands (quantity, codes, interval).
        where: where the section where stands.
        corners: which are stated, one of `CORNERS`.
        centres: whether they are the centres of the corner pixels.
        kilometres: whether scales (and UL_x, UL_y) are in kilometres.
        scales: whether they are stated.
        sizes: whether the numbers of pixels are stated.
        code: how values are stored, one of `CODES`.
        number: in which type numbers are stated, one of `NUMBERS`.
        nominal: where date and time stand.
        extra: more attributes by place.
    """

    what: str = "dataset1/data1/what"
    where: str = "where"
    corners: str = "all"
    centres: bool = False
    kilometres: bool = False
    scales: bool = True
    sizes: bool = True
    code: str = "8 bits"
    number: str = "float"
    nominal: str = "what"
    extra: dict = field(default_factory=dict)


def where_of(dialect: Dialect) -> dict:
    """The section where, in plain numbers."""
    unit = 1000.0 if dialect.kilometres else 1.0
    names, is_mapped = CORNERS[dialect.corners]
    stated = {"projdef": LAEA}
    if dialect.sizes:
        stated |= {"xsize": COLUMNS, "ysize": ROWS}
    if dialect.scales:
        stated |= {"xscale": PIXEL / unit, "yscale": PIXEL / unit}
    ends = {"L": X[0], "R": X[-1]}, {"U": Y[0], "L": Y[-1]}
    half = 0.0 if dialect.centres else PIXEL / 2
    outward = {"L": -half, "R": half}, {"U": half, "L": -half}
    for name in names:
        x = ends[0][name[1]] + outward[0][name[1]]
        y = ends[1][name[0]] + outward[1][name[0]]
        stated[f"{name}_lon"], stated[f"{name}_lat"] = pyproj.Proj(LAEA)(x, y, inverse=True)
    if is_mapped:
        stated |= {"UL_x": (X[0] - half) / unit, "UL_y": (Y[0] + half) / unit}
    return stated


def write_dialect(path: Path, dialect: Dialect) -> Path:
    """`RATES` of 18:00 in a dialect."""
    code = CODES[dialect.code]
    what = {
        "quantity": "RATE",
        "startdate": "20180824",
        "starttime": "175500",
        "enddate": "20180824",
        "endtime": "180000",
        **code.stated,
    }
    stated = [
        (dialect.what, what),
        (dialect.where, where_of(dialect)),
        (dialect.nominal, {"date": "20180824", "time": "180000"}),
        ("what", {"object": "COMP", "version": "H5rad 2.2"}),
        *dialect.extra.items(),
    ]
    as_number = NUMBERS[dialect.number]
    with h5py.File(path, "w") as file:
        file.create_dataset("dataset1/data1/data", data=code.stored(RATES))
        for place, attributes in stated:
            node = file[place] if place in file else file.require_group(place)
            for name, value in attributes.items():
                # -8888000.1 in 32 bits and the like are numbers, texts stay texts
                node.attrs[name] = value if isinstance(value, str) else as_number(value)
    return path


def write_map(path: Path, raw: np.ndarray, groups: dict[str, dict]) -> Path:
    """A file with the array dataset1/data1/data and these attributes of these groups."""
    with h5py.File(path, "w") as file:
        file.create_dataset("dataset1/data1/data", data=raw)
        for place, attributes in groups.items():
            node = file[place] if place in file else file.require_group(place)
            for name, value in attributes.items():
                node.attrs[name] = np.bytes_(value) if isinstance(value, str) else value
    return path


def corners_of(
    projdef: str,
    *,
    left: float,
    top: float,
    width: float,
    height: float,
    names: str = "LL UL UR LR",
) -> dict[str, float]:
    """Longitudes and latitudes of the corners of a rectangle in a projection."""
    to_map = pyproj.Proj(projdef)
    stated = {}
    for name in names.split():
        x = left if name[1] == "L" else left + width
        y = top if name[0] == "U" else top - height
        stated[f"{name}_lon"], stated[f"{name}_lat"] = to_map(x, y, inverse=True)
    return stated
