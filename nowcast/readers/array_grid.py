"""Where the pixels of an array are, as the settings say it."""

from dataclasses import dataclass

import numpy as np

from nowcast.readers.array_files import ArrayFile
from nowcast.readers.array_places import axis, from_the_west, in_metres, require_size
from nowcast.readers.axes import along_columns
from nowcast.runtime.errors import UserError
from nowcast.types.frames import Grid


@dataclass(frozen=True)
class ArrayGrid:
    """Where the pixels of an array are.

    Args:
        crs: PROJ string, WKT or EPSG code of the projection.
        x: centre of the first column in the unit of the projection (metres; kilometres with
            +units=km or an earth in kilometres; degrees for longitudes), or the path of the dataset
            with those of all columns, whose own unit counts if it says one.
        y: centre of the first row as it is stored, or the path of a dataset.
        dx: distance between the centres of columns, > 0; None for a dataset.
        dy: distance between the centres of rows, > 0; None for a dataset.
        rows_from: north or south: where the first row as it is stored lies.
        reach: distance from the middle of the array, in the unit of the projection, beyond which
            nothing is observed whatever number is stored there, > 0; None: no such distance.
    """

    crs: str | int
    x: float | str
    y: float | str
    dx: float | None = None
    dy: float | None = None
    rows_from: str = "north"
    reach: float | None = None

    def __post_init__(self):
        if self.rows_from not in ("north", "south"):
            raise UserError(
                f"reader.grid.rows_from is {self.rows_from!r}; north or south is needed, where the "
                "first row of the array lies."
            )
        if self.reach is not None and not self.reach > 0:
            raise UserError(
                f"reader.grid.reach is {self.reach}; a distance above 0 is needed, or null."
            )
        for name, start, step in (("x", self.x, self.dx), ("y", self.y, self.dy)):
            is_wrong = step is not None if isinstance(start, str) else step is None or not step > 0
            if is_wrong:
                raise UserError(
                    f"reader.grid.d{name} is {step}; a positive number is needed, or null if "
                    f"reader.grid.{name} is the path of a dataset."
                )

    def known(self, file: ArrayFile) -> tuple[int | None, int | None, bool | None]:
        """(rows, columns, whether coordinates for each pixel are stored as columns x rows), as far
        as the file's coordinates say.
        """
        counts = {"x": None, "y": None}
        columns_first = None
        for name, place in (("x", self.x), ("y", self.y)):
            if not isinstance(place, str):
                continue
            coordinates = file.read(place)
            if coordinates.ndim == 1:
                counts[name] = coordinates.size
            elif coordinates.ndim == 2:
                columns_first = along_columns(coordinates) == (name == "y")
                shape = coordinates.shape
                counts["y"], counts["x"] = shape[::-1] if columns_first else shape
        return counts["y"], counts["x"], columns_first

    def locate(
        self, shape: tuple[int, int], file: ArrayFile, *, columns_first: bool = False
    ) -> tuple[Grid, np.ndarray | None]:
        """(the grid of a field of that shape, row 0 in the north; its columns from west to east,
        None: as they are stored).

        Args:
            shape: (rows, columns).
            file: the open file.
            columns_first: whether coordinates for each pixel are stored as columns x rows.

        Raises:
            UserError: coordinates in the file are of another number or order, or PROJ does not know
                the projection.
        """
        rows, columns = shape
        crs, unit = in_metres(self.crs)
        require_size(crs, {"dx": self.dx, "dy": self.dy}, unit)
        step = self.dy if self.rows_from == "south" else self.dy and -self.dy
        how = {"turned": columns_first, "unit": unit}
        x = axis(self.x, self.dx, columns, file, of_columns=True, **how)
        y = axis(self.y, step, rows, file, of_columns=False, **how)
        upwards = rows > 1 and y[1] > y[0]
        if rows > 1 and upwards != (self.rows_from == "south"):
            raise UserError(
                f"{file.path}: y runs from {y[0]:g} to {y[-1]:g}, but reader.grid.rows_from is "
                f"{self.rows_from}; set it to {'south' if upwards else 'north'}."
            )
        order = None
        if isinstance(self.x, str):
            x, order = from_the_west(x, crs)
        return Grid(crs, x, y[::-1] if upwards else y), order

    def beyond_reach(self, grid: Grid) -> np.ndarray | None:
        """The pixels of a located grid of which nothing is observed, (H, W); None: there are none
        known.
        """
        if self.reach is None:
            return None
        x, y = (axis - (axis[0] + axis[-1]) / 2 for axis in (grid.x, grid.y))
        return np.hypot(x, y[:, None]) > self.reach
