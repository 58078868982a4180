"""What a format that forecasts can be written in is."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from nowcast.forecasting.products import Products
from nowcast.runtime.errors import UserError
from nowcast.types.frames import Forecast, Grid


class WriteForecast(Protocol):
    """A function that writes a forecast in one format."""

    def __call__(
        self, forecast: Forecast | Products, path: str | Path, *, attributes: dict[str, str]
    ) -> list[Path]:
        """Write a forecast.

        Args:
            forecast: rain rates [mm/h], (T, H, W) with NaN where there is no forecast, or products
                with such a forecast; what the format has no place for is left out.
            path: the file to write, or what the files are named after.
            attributes: texts about the forecast, e.g. of ``nowcast.output.origin``.

        Returns:
            The files that were written. Each appears complete or not at all.

        Raises:
            UserError: something that the format cannot contain, or a path that cannot be written.
        """


@dataclass(frozen=True)
class Writer:
    """A format that forecasts can be written in.

    Args:
        name: of the format, for messages.
        suffixes: of its files, in small letters with the dot.
        write: makes the files.
        members: whether it has a place for the members of an ensemble.
        probabilities: whether it has a place for the probabilities and the quality of products.
    """

    name: str
    suffixes: tuple[str, ...]
    write: WriteForecast
    members: bool = False
    probabilities: bool = False


def forecast_and_products(given: Forecast | Products) -> tuple[Forecast, Products | None]:
    """The forecast, and the products that it came in, if any."""
    return (given.forecast, given) if isinstance(given, Products) else (given, None)


def spacing_of(grid: Grid, path: str | Path, name: str) -> tuple[float, float]:
    """Distance between cell centres (dy, dx), for formats that place a grid by its cells.

    Raises:
        UserError: a grid with a single row or column, which has none.
    """
    dy, dx = grid.spacing
    if not (dx > 0 and dy > 0):
        raise UserError(
            f"{path}: a grid of {grid.shape[0]} x {grid.shape[1]} cells has no cell size, which "
            f"{name} needs; 2 x 2 cells or more can be written."
        )
    return dy, dx
