"""Small radar files, archives and the place of the real data, for tests."""

import json
import re
from pathlib import Path

import h5py
import numpy as np
import pyproj
import pytest

from nowcast.data.conversion import convert
from nowcast.evaluation.statistics.base import Statistic
from nowcast.evaluation.statistics.scores import ScoreRow
from nowcast.evaluation.statistics.sums import ScoreKey, Values, row_of, with_overall
from nowcast.readers.base import Reader
from nowcast.types.frames import Frames, Grid

LAEA = "+proj=laea +lat_0=55.0 +lon_0=10.0 +x_0=1950000.0 +y_0=-2100000.0 +units=m +ellps=WGS84"
KNMI = "+proj=stere +lat_0=90 +lon_0=0.0 +lat_ts=60.0 +a=6378.137 +b=6356.752 +x_0=0 +y_0=0"


def shared_data() -> Path:
    """The folder with real radar data; the test is skipped where there is none."""
    folder = Path(__file__).resolve().parents[1] / ".." / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("real radar data (../shared/data) is not here")
    return folder.resolve()


def times(*minutes: int) -> np.ndarray:
    """UTC times so many minutes after 2020-06-01T00:00."""
    return np.datetime64("2020-06-01T00:00", "s") + np.array(
        minutes, dtype=np.int64
    ) * np.timedelta64(60, "s")


def grid(height: int = 2, width: int = 3, *, left: float = 0.0) -> Grid:
    """A grid of 1 km cells whose first centre is at (left + 500 m, -500 m)."""
    return Grid(LAEA, left + 500.0 + 1000.0 * np.arange(width), -500.0 - 1000.0 * np.arange(height))


class MemoryReader(Reader):
    """A reader whose files are Frames in memory, by file name; it remembers what was read."""

    def __init__(self, frames_by_name: dict[str, Frames]):
        self.frames_by_name, self.was_read = frames_by_name, []

    def recognises(self, path) -> bool:
        return Path(path).name in self.frames_by_name

    def read(self, path) -> Frames:
        self.was_read.append(Path(path).name)
        return self.frames_by_name[Path(path).name]


def one_file_each(values: np.ndarray, minutes, *, on: Grid | None = None) -> MemoryReader:
    """A reader of files 0.h5, 1.h5, ... with one frame each."""
    values = np.asarray(values, dtype=np.float32)
    place = on or grid(*values.shape[1:])
    moments = times(*minutes)
    return MemoryReader(
        {
            f"{i}.h5": Frames(values[i : i + 1], moments[i : i + 1], place)
            for i in range(len(values))
        }
    )


def write_archive(path: Path, values: np.ndarray, minutes) -> Path:
    """An archive with these frames."""
    reader = one_file_each(values, minutes)
    convert(list(reader.frames_by_name), path, reader=reader, replace=True)
    return path


def knmi_corners(height: int, width: int) -> list[float]:
    """Longitude and latitude of the lower left, upper left, upper right and lower right corner."""
    points = [(0, -3650 - height), (0, -3650), (width, -3650), (width, -3650 - height)]
    return [degrees for point in points for degrees in pyproj.Proj(KNMI)(*point, inverse=True)]


def write_attributes(file: h5py.File, groups: dict[str, dict], changes: dict) -> None:
    """Groups with their attributes, changed or (None) left out."""
    for name, attributes in groups.items():
        group = file.require_group(name)
        for key, value in attributes.items():
            if changes.get(key, value) is not None:
                group.attrs[key] = changes.get(key, value)


def write_knmi(path: Path, counts, **changes) -> Path:
    """A KNMI HDF5 file of 2010-08-26 00:00 to 00:05; changes are attributes by name, None leaves
    one out.
    """
    counts = np.asarray(counts, dtype=np.uint16)
    groups = {
        "overview": {
            "product_datetime_start": b"26-AUG-2010;00:00:00.000",
            "product_datetime_end": b"26-AUG-2010;00:05:00.000",
        },
        "geographic": {
            "geo_product_corners": np.float32(knmi_corners(*counts.shape)),
            "geo_number_rows": np.int32([counts.shape[0]]),
            "geo_number_columns": np.int32([counts.shape[1]]),
            "geo_row_offset": np.float32([3650.0]),
            "geo_column_offset": np.float32([0.0]),
            "geo_pixel_size_x": np.float32([1.0]),
            "geo_pixel_size_y": np.float32([-1.0]),
            "geo_dim_pixel": b"KM,KM",
            "geo_pixel_def": b"LU",
        },
        "geographic/map_projection": {"projection_proj4_params": KNMI.encode()},
        "image1": {"image_geo_parameter": b"ACCUMULATED_PRECIPITATION_[MM]"},
        "image1/calibration": {
            "calibration_formulas": b"GEO=0.01*PV+0.0",
            "calibration_missing_data": np.int32([65535]),
            "calibration_out_of_image": np.int32([65534]),
        },
    }
    with h5py.File(path, "w") as file:
        write_attributes(file, groups, changes)
        file.create_dataset("image1/image_data", data=counts, compression="gzip")
    return path


def write_odim(
    path: Path,
    raw,
    *,
    quantity: str = "RATE",
    place: str = "dataset1/data1/what",
    scaling: dict | None = None,
    **changes,
) -> Path:
    """An ODIM_H5 composite of 2018-08-24 18:00 with 1 km pixels; ``scaling`` (gain, offset, nodata,
    undetect) goes to ``place``.

    Changes are attributes of /what, /where and /dataset1/what by name; None leaves one out.
    """
    raw = np.asarray(raw)
    height, width = raw.shape
    to_lonlat = pyproj.Proj(LAEA)
    corners = {"UL": (0.0, 0.0), "LR": (1000.0 * width, -1000.0 * height)}
    lonlat = {corner: to_lonlat(*point, inverse=True) for corner, point in corners.items()}
    groups = {
        "what": {"object": b"COMP", "date": b"20180824", "time": b"180000"},
        "where": {
            "projdef": LAEA.encode(),
            "xsize": width,
            "ysize": height,
            "xscale": 1000.0,
            "yscale": 1000.0,
        }
        | {
            f"{corner}_{name}": lonlat[corner][i]
            for corner in lonlat
            for i, name in enumerate(("lon", "lat"))
        },
        "dataset1/what": {
            "quantity": quantity.encode(),
            "startdate": b"20180824",
            "starttime": b"174500",
            "enddate": b"20180824",
            "endtime": b"180000",
        },
    }
    with h5py.File(path, "w") as file:
        file.attrs["Conventions"] = b"ODIM_H5/V2_2"
        write_attributes(file, groups, changes)
        file.create_dataset("dataset1/data1/data", data=raw, compression="gzip")
        file.require_group(place).attrs.update(scaling or {})
    return path


def rows_of(
    score: str, by_lead, *, threshold: float | None = None, window: int | None = None
) -> list[ScoreRow]:
    """Rows of one score: one per lead, then the one over all leads."""
    by_key = {ScoreKey(score, threshold, window): np.asarray(by_lead, np.float64)}
    return _rows(with_overall(by_key))


def scored_rows(statistic: Statistic, totals: dict[str, np.ndarray]) -> list[ScoreRow]:
    """Rows of all scores of some sums: by lead, then over all leads."""
    leads = next(iter(totals.values())).shape[-1]
    return _rows(statistic.scored(totals, leads))


def _rows(values: Values) -> list[ScoreRow]:
    rows = []
    for key, by_lead in values.items():
        leads = [*range(1, by_lead.size), None]
        rows += [row_of(key, lead, float(value)) for lead, value in zip(leads, by_lead)]
    return rows


def complaints(path) -> dict[str, list[str]]:
    """What the CF checker has to say, by how grave it is; its remarks on the calendar left out."""
    runner = pytest.importorskip("compliance_checker.runner")
    runner.CheckSuite.load_all_available_checkers()
    newest = max(
        (name for name in runner.CheckSuite.checkers if re.fullmatch(r"cf:1\.\d+", name)),
        key=lambda name: int(name[5:]),
    )
    report = path.with_suffix(".json")
    runner.ComplianceChecker.run_checker(
        str(path), [newest], 0, "strict", output_filename=str(report), output_format="json"
    )
    found = json.loads(report.read_text())[newest]
    assert int(newest[5:]) >= 11 and found["possible_points"] > 50
    return {
        grave: [
            text
            for check in found[f"{grave}_priorities"]
            for text in check["msgs"]
            if "calendar" not in text
        ]
        for grave in ("high", "medium")
    }
