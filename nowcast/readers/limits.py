"""What no radar file exceeds: what claims more is refused before memory is taken for it."""

from nowcast.runtime.errors import UserError

MAX_PIXELS = 2**28  # of one field; the largest composites have 2**26
MAX_SIDE = 2**16  # columns or rows


def require_pixels(where: str, rows: int, columns: int) -> None:
    """Refuse a field without pixels, or with more than any radar's.

    Args:
        where: file and field, for messages.
        rows: how many.
        columns: how many.

    Raises:
        UserError: so it is.
    """
    if not 1 <= rows * columns <= MAX_PIXELS:
        raise UserError(
            f"{where} claims {rows}x{columns} pixels; expected 1 to {MAX_PIXELS} in a frame."
        )


def require_side(where: str, count: float) -> int:
    """How many columns or rows a file states at ``where``.

    Raises:
        UserError: none, or absurdly many.
    """
    if not 1 <= count <= MAX_SIDE:
        raise UserError(f"{where} is {count:g}; expected 1 to {MAX_SIDE} pixels.")
    return int(count)


def require_part(where: str, shape: tuple[int, ...], values: int, chunks: tuple[int, int]) -> None:
    """Refuse to read a part of an array that is too large at once.

    Args:
        where: file and array, for messages.
        shape: of the whole array, for messages.
        values: in the part.
        chunks: (how many chunks have them, the most that are accepted).

    Raises:
        UserError: so it is.
    """
    number, most = chunks
    if values > MAX_PIXELS or number > most:
        raise UserError(
            f"{where} claims {'x'.join(map(str, shape))} values in {number} chunks; more than "
            f"{MAX_PIXELS} values or {most} chunks at once are refused."
        )
