"""Coordinates of a grid's columns and rows out of arrays that hold one for each of them, or one for
each pixel.
"""

from pathlib import Path

import numpy as np

from nowcast.runtime.errors import UserError
from nowcast.types.tolerance import in_force


def straight_axis(
    coordinates: np.ndarray, name: str, path: str | Path, *, of_columns: bool
) -> np.ndarray:
    """One coordinate per column (or row), (W,) or (H,).

    Args:
        coordinates: (W,) or (H,), or (H, W) for each pixel.
        name: what they are called in the file, for messages.
        path: the file, for messages.
        of_columns: whether they are the columns' x, else the rows' y.

    Raises:
        UserError: other numbers of axes, not finite, or the pixels do not form columns (rows).
    """
    if coordinates.ndim not in (1, 2) or not coordinates.size:
        raise UserError(
            f"{path}: {name} has the shape {coordinates.shape}; expected one coordinate per "
            "column or row, or one per pixel."
        )
    if not np.isfinite(coordinates).all():
        raise UserError(
            f"{path}: {name} has {(~np.isfinite(coordinates)).sum()} coordinates that are not "
            f"finite; expected a number for each of {coordinates.size}."
        )
    if coordinates.ndim == 1:
        return coordinates
    axis, spread = (
        (coordinates[0], np.ptp(coordinates, axis=0))
        if of_columns
        else (coordinates[:, 0], np.ptp(coordinates, axis=1))
    )
    width, accepted = np.abs(np.diff(axis)).min(initial=np.inf), in_force().pixels
    if spread.max() > accepted * width:
        line = "columns" if of_columns else "rows"
        apart = (
            f"they differ by up to {spread.max():g} in one of them, {width:g} lie between "
            f"two and tolerance.pixels={accepted:g} is accepted"
        )
        raise UserError(
            f"{path}: {name} do not form {line}: {apart}; a grid that is regular in its "
            "projection is needed."
        )
    return axis


def along_columns(coordinates: np.ndarray) -> bool:
    """Whether coordinates for each pixel, (A, B), vary along their second axis more than along
    their first.
    """
    along_second, along_first = (
        float(np.abs(np.diff(coordinates, axis=axis)).max(initial=0.0)) for axis in (1, 0)
    )
    return along_second > along_first
