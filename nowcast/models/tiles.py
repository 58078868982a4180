"""Frames cut into square tiles and put together again: for networks whose fully connected layers
fix the size they see.

Axes: B batch, T time, C channels, H rows, W columns; s is the side of a tile, N = B (H / s) (W / s)
the number of tiles.
"""

from torch import Tensor


def cut(frames: Tensor, side: int) -> Tensor:
    """(B, T, C, H, W) -> (N, T, C, s, s), H and W multiples of s; the tiles of a frame row by row,
    then the next sequence.
    """
    rows, columns = frames.shape[-2] // side, frames.shape[-1] // side
    tiles = frames.unflatten(4, (columns, side)).unflatten(
        3, (rows, side)
    )  # B T C rows s columns s
    return tiles.permute(0, 3, 5, 1, 2, 4, 6).flatten(0, 2)


def put_together(tiles: Tensor, height: int, width: int) -> Tensor:
    """(N, T, C, s, s) -> (B, T, C, height, width); undoes ``cut``."""
    side = tiles.shape[-1]
    frames = tiles.unflatten(0, (-1, height // side, width // side))  # B rows columns T C s s
    return frames.permute(0, 3, 4, 1, 5, 2, 6).flatten(5, 6).flatten(3, 4)
