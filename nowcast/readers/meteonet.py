"""Meteo-France's MeteoNet: many radar fields in one .npz file, their coordinates in another one."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from nowcast.readers.axes import straight_axis
from nowcast.readers.base import Reader
from nowcast.readers.decoding import Coding
from nowcast.readers.moments import require_ascending
from nowcast.readers.npy import member, member_names, zip_of_arrays
from nowcast.readers.pickled_times import pickled_times
from nowcast.runtime.errors import UserError
from nowcast.types.frames import Frames, Grid
from nowcast.types.tolerance import in_force

_MEMBERS = {"data", "dates", "miss_dates"}
_NAME = re.compile(
    r"(?P<what>rainfall|reflectivity_(?:old|new))_(?P<zone>[A-Z]+)"
    r"_(?P<year>\d{4})_(?P<month>\d\d)\.(?P<part>[123])\.npz",
    re.ASCII,
)
# of the parts of a month; MeteoNet's pages say both 1-9 and 1-10 for part 1
_DAYS = {"1": (1, 10), "2": (10, 20), "3": (21, 31)}
_STEP = np.timedelta64(300, "s")
_MAX_DATES_BYTES = 2**20
# dBZ as they are; 255 is missing, 0 is below the lowest value that is stored (8 dBZ)
_REFLECTIVITY = Coding("reflectivity", missing=(255,), undetect=0)
_RAIN = Coding("rain_depth", minutes=5, gain=0.01, missing=(-1,))


@dataclass(frozen=True)
class MeteoNet(Reader):
    """Reader for MeteoNet's rainfall and reflectivity files (rainfall_ZONE_YYYY_MM.PART.npz as
    Meteo-France names them).

    A whole file of 11 days is 3168 frames of 565x784 pixels: 5.6 GB as rain rates in memory.

    Args:
        coordinates: radar_coords_ZONE.npz with the pixels' longitudes and latitudes; None: the one
            beside the file.
        z_r_a: factor of the Z-R relation Z = a R^b that turns reflectivity into rain rates.
        z_r_b: its exponent; the defaults are those of Marshall and Palmer (1948).
    """

    coordinates: str | None = None
    z_r_a: float = 200.0
    z_r_b: float = 1.6
    format = "MeteoNet .npz (rainfall or reflectivity)"

    def __post_init__(self):
        self._reflectivity()

    def recognises(self, path: str | Path) -> bool:
        """Whether the file contains the three arrays of MeteoNet; never raises."""
        return member_names(path) == _MEMBERS

    def read(self, path: str | Path) -> Frames:
        """The file's frames [mm/h], NaN = missing; gaps between them stay gaps. A rain depth's time
        ends its 5 minutes.

        Raises:
            UserError: another format, name or product, damage, or no coordinates of the same size.
        """
        name = _NAME.fullmatch(Path(path).name)
        if not name:
            raise UserError(
                f"{path}: only its name says what a MeteoNet file contains; "
                "rainfall_ZONE_YYYY_MM.PART.npz or reflectivity_old_... is needed."
            )
        coding = _RAIN if name["what"] == "rainfall" else self._reflectivity()
        grid = _grid(self.coordinates or Path(path).with_name(f"radar_coords_{name['zone']}.npz"))
        with zip_of_arrays(path) as archive:
            times = _times(archive, path)
            _require_month(times, name, path)
            with member(archive, "data") as data:
                if data.shape != (len(times), *grid.shape) or data.dtype.kind != "i":
                    raise UserError(
                        f"{path} contains {data.dtype} of {'x'.join(map(str, data.shape))}, but "
                        f"whole numbers of {len(times)} dates x {grid.shape[0]}x{grid.shape[1]} "
                        "coordinates are needed."
                    )
                data.numbers()
                # frame by frame: the counts of a file of 11 days alone are 2.8 GB
                values = np.empty(data.shape, np.float32)
                for frame, counts in zip(values, data.frames(), strict=True):
                    frame[:] = coding.rain_rate(counts, path)
        return Frames(values, times, grid, str(path), coding.measured(path))

    def _reflectivity(self) -> Coding:
        return replace(_REFLECTIVITY, z_r_a=self.z_r_a, z_r_b=self.z_r_b)


def _times(archive, path: str | Path) -> np.ndarray:
    """Times of the frames, in order, at whole 5 minutes."""
    with member(archive, "dates") as dates:
        declared = "x".join(map(str, dates.shape))
        if dates.dtype.kind != "O" or len(dates.shape) != 1:
            raise UserError(
                f"{path}: its dates are {dates.dtype} of {declared}; one row of datetimes is "
                "needed."
            )
        times = pickled_times(dates.raw(_MAX_DATES_BYTES), path)
    if times.shape != dates.shape or not times.size:
        raise UserError(f"{path} has {times.size} dates, but declares {declared}; it is damaged.")
    require_ascending(times, path)
    late = (times - times.astype("datetime64[D]")) % _STEP
    between = np.minimum(late, _STEP - late) > in_force().off_time(_STEP)
    if between.any():
        raise UserError(
            f"{path} has the date {times[between][0]}, expected whole 5 minutes; it is damaged."
        )
    return times


def _require_month(times: np.ndarray, name: re.Match, path: str | Path) -> None:
    """Refuse times outside the part of the month that the file's name says."""
    is_month = 1 <= int(name["month"]) <= 12
    month = np.datetime64(f"{name['year']}-{name['month']}" if is_month else "NaT", "M")
    first, last = _DAYS[name["part"]]
    days = (times.astype("datetime64[D]") - month.astype("datetime64[D]")).astype(int) + 1
    if (times.astype("datetime64[M]") != month).any() or days.min() < first or days.max() > last:
        raise UserError(
            f"{path} has dates from {times[0]} to {times[-1]}, but is named for part "
            f"{name['part']} (days {first} to {last}) of {name['year']}-{name['month']}."
        )


def _grid(path: str | Path) -> Grid:
    """Cell centres [degrees] from a file with the latitude and longitude of each pixel, which must
    form rows and columns.
    """
    axes = []
    with zip_of_arrays(path) as archive:
        for name in ("lons", "lats"):
            with member(archive, name) as coordinates:
                values = coordinates.read()
            axes.append(straight_axis(values, name, path, of_columns=name == "lons"))
    return Grid("EPSG:4326", *axes)
