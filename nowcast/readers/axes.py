"""Coordinates of a grid's columns and rows: out of arrays with one for each of them or one for each
pixel, and the check of corners against the number and size of pixels.
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
    by_line, line = (coordinates.T, "columns") if of_columns else (coordinates, "rows")
    axis, spread = by_line[:, 0], np.ptp(by_line, axis=1).max()
    width, accepted = np.abs(np.diff(axis)).min(initial=np.inf), in_force().pixels
    if spread > accepted * width:
        raise UserError(
            f"{path}: {name} do not form {line}: they differ by up to {spread:g} in one of them, "
            f"{width:g} lie between two and tolerance.pixels={accepted:g} is accepted; a grid that "
            "is regular in its projection is needed."
        )
    return axis


def along_columns(coordinates: np.ndarray) -> bool:
    """Whether coordinates for each pixel, (A, B), vary along their second axis more than along
    their first.
    """
    along_first, along_second = (
        np.abs(np.diff(coordinates, axis=axis)).max(initial=0.0) for axis in (0, 1)
    )
    return bool(along_second > along_first)


def require_extent(
    path: str | Path,
    corners: tuple[str, float],
    axis: str,
    count: tuple[str, int],
    size: tuple[str, float],
) -> None:
    """Compare the outer corners of an image with the number and size of its pixels.

    Args:
        path: the file, for messages.
        corners: what the file calls the corners, and how far they lie apart along the axis.
        axis: x or y.
        count: what it calls the number of pixels along it, and that number.
        size: what it calls their size, and that size.

    Raises:
        UserError: a size that is not above 0, or corners that lie elsewhere.
    """
    (corner_name, extent), (count_name, pixels), (size_name, step) = corners, count, size
    off = in_force().off_corner
    if not step > 0:
        raise UserError(f"{path}: {size_name} is {step:g}; expected a size of pixels above 0.")
    # so that a corner that is no number is refused, too
    if not abs(extent - pixels * step) <= off * step:
        raise UserError(
            f"{path}: {corner_name} are {extent:.0f} apart in {axis}, expected {pixels * step:.0f} "
            f"for {count_name} {pixels} and {size_name} {step:g}, give or take {off:g} pixels; "
            "corners must be the outer ones of the image."
        )
