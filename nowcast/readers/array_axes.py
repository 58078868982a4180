"""Which axis of an array is time, which its rows and which its columns: by a setting, by names in
the file, or by lengths alone.

An array of frames says nothing of the order of its axes: (96, 96, 20) may be 96 frames of 96x20 or
20 frames of 96x96. Whatever is known (names of axes, how many times, rows and columns there are)
leaves some orders; if time could be more than one axis, the array is refused, and the setting that
says it is named. Rows come before columns unless something says otherwise, as in any image.
"""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from nowcast.runtime.errors import UserError

TIME, ROWS, COLUMNS, SINGLE = "T", "H", "W", "1"
_MEANT = {TIME: "times", ROWS: "rows", COLUMNS: "columns"}
_NAMES = {
    TIME: ("t", "time", "times", "date", "dates", "datetime", "timestamp", "timestamps", "valid_time", "frame", "frames"),
    ROWS: ("h", "y", "yc", "row", "rows", "lat", "lats", "latitude", "height", "nrows", "ny", "nlat", "south_north", "north_south",
           "projection_y_coordinate", "grid_latitude"),
    COLUMNS: ("w", "x", "xc", "col", "cols", "column", "columns", "lon", "lons", "longitude", "width", "ncols", "nx", "nlon",
              "west_east", "east_west", "projection_x_coordinate", "grid_longitude"),
    SINGLE: ("1", "c", "channel", "channels", "band", "bands", "level", "levels", "z", "single"),
}  # fmt: skip
_ROLES = {name: role for role, names in _NAMES.items() for name in names}
_MOST_AXES = 6


class Order(NamedTuple):
    """The axes of an array: of time (None: it has a single frame), of rows, and of columns."""

    time: int | None
    rows: int
    columns: int


@dataclass(frozen=True)
class Known:
    """What is known besides the array's shape; None: it is not.

    Args:
        times: how many times there are.
        rows: how many rows, from coordinates; likewise columns.
        columns: see rows.
        columns_first: whether coordinates with one number for each pixel are stored as columns x
            rows; where there are as many rows as columns, the field is taken to be stored like
            them.
        places: what in the file says times, rows and columns, for messages.
    """

    times: int | None = None
    rows: int | None = None
    columns: int | None = None
    columns_first: bool | None = None
    places: tuple[object, object, object] = (None, None, None)

    def __str__(self) -> str:
        counts = zip(
            (self.times, self.rows, self.columns), ("times", "rows", "columns"), self.places
        )
        return (
            ", ".join(
                f"{count} {name} ({place})" for count, name, place in counts if count is not None
            )
            or "no length"
        )


def role(name: str) -> str | None:
    """What an axis of that name is; None if the name says nothing."""
    return _ROLES.get(name.strip().lower())


def parsed(setting) -> tuple[str, ...] | None:
    """The roles that a setting such as "HWT", "T1HW", "y, x, time" or [time, y, x] gives to the
    axes.

    Raises:
        UserError: a name that is not understood, one twice, or no rows or columns.
    """
    if setting is None:
        return None
    if isinstance(setting, str):
        letters = setting.strip().strip("()[]").upper()
        names = (
            list(letters)
            if re.fullmatch(r"[THWYXC1]+", letters)
            else [name for name in re.split(r"[\s,]+", letters) if name]
        )
    else:
        names = (
            [str(name) for name in setting] if isinstance(setting, Sequence) else [repr(setting)]
        )
    roles = tuple(role(name) or "?" for name in names)
    counts = {one: roles.count(one) for one in (TIME, ROWS, COLUMNS, "?")}
    if counts["?"] or counts[TIME] > 1 or counts[ROWS] != 1 or counts[COLUMNS] != 1:
        raise UserError(
            f"reader.axes is {setting!r}; expected H (or y), W (or x), at most one T (or time), "
            "and 1 for axes of length 1, in the "
            f"order of the array, e.g. THW, HWT or [y, x, time]."
        )
    return roles


def resolve(
    shape: tuple[int, ...],
    *,
    setting: tuple[str, ...] | None,
    names: Sequence[str | None],
    known: Known,
    what: str,
) -> Order:
    """The axes of time, rows and columns.

    Args:
        shape: of the array.
        setting: their roles as the settings say them; None: they do not.
        names: their names in the file, None for each that has none.
        known: lengths that they must have.
        what: file and array, for messages.

    Raises:
        UserError: no order fits, the setting contradicts names or lengths, or time could be more
            than one axis.
    """
    sides = "x".join(map(str, shape))
    stated = [None if name is None else role(name) for name in names]
    if not 2 <= len(shape) <= _MOST_AXES:
        raise UserError(
            f"{what} has {len(shape)} axes ({sides}); expected rows x columns, with times in any "
            "place, e.g. times x rows x columns."
        )
    if setting is not None:
        return _as_set(shape, setting, stated, known, f"{what} is {sides}")
    orders = _fitting(shape, stated, known)
    if not orders:
        called = (
            f" and its axes are called {', '.join(name or '?' for name in names)}"
            if any(names)
            else ""
        )
        raise UserError(
            f"{what} is {sides}{called}; expected axes of rows and columns, with times in any "
            f"place, and of {known}."
        )
    if len({order.time for order in orders}) > 1:
        ways = ", ".join(sorted({_spelt(order, len(shape)) for order in orders}))
        raise UserError(
            f"{what} is {sides}, and nothing says which of its axes is time (known: {known}); "
            f"set reader.axes to their order, one of {ways}."
        )
    return min(orders, key=lambda order: (order.rows > order.columns, order))


def _as_set(
    shape: tuple[int, ...],
    setting: tuple[str, ...],
    stated: list[str | None],
    known: Known,
    what: str,
) -> Order:
    """The order that is set, if nothing speaks against it."""
    spelt = "".join(setting)
    if len(setting) != len(shape):
        raise UserError(
            f"{what}, {len(shape)} axes, but reader.axes is {spelt}; expected {len(setting)} axes."
        )
    for axis, (one, length, name) in enumerate(zip(setting, shape, stated, strict=True)):
        if one == SINGLE and length != 1:
            raise UserError(
                f"{what}, but reader.axes is {spelt}; expected the length 1 of axis {axis}, "
                f"which is {length}."
            )
        if name is not None and name != one:
            raise UserError(
                f"{what}, but reader.axes is {spelt}, while the file calls axis {axis} "
                f"{_MEANT.get(name, name)}; expected them to agree."
            )
    order = _order(setting)
    for axis, count, name, place in zip(
        order, (known.times, known.rows, known.columns), ("times", "rows", "columns"), known.places
    ):
        length = 1 if axis is None else shape[axis]
        if count is not None and count != length:
            raise UserError(
                f"{what}, so reader.axes={spelt} makes {length} {name}; expected {count} {name}, "
                f"as {place} has."
            )
    return order


def _fitting(shape: tuple[int, ...], stated: list[str | None], known: Known) -> list[Order]:
    """All orders that names and lengths leave; rows or columns have length 1 only where there is no
    other way.
    """
    options = []
    for length, name in zip(shape, stated, strict=True):
        free = [TIME, ROWS, COLUMNS] + ([SINGLE] if length == 1 else [])
        options.append([name] if name in free else free if name is None else [])
    found: dict[int, list[Order]] = {}
    for roles in itertools.product(*options):
        if roles.count(ROWS) == 1 and roles.count(COLUMNS) == 1 and roles.count(TIME) <= 1:
            order = _order(roles)
            if order.time is not None and shape[order.time] == 1:
                order = order._replace(time=None)  # the same as none
            if _fits(order, shape, known):
                thin = sum(shape[axis] == 1 and stated[axis] is None for axis in order[1:])
                found.setdefault(thin, []).append(order)
    return sorted(set(found[min(found)]), key=str) if found else []


def _fits(order: Order, shape: tuple[int, ...], known: Known) -> bool:
    lengths = (
        1 if order.time is None else shape[order.time],
        shape[order.rows],
        shape[order.columns],
    )
    agree = all(
        count in (None, length)
        for count, length in zip((known.times, known.rows, known.columns), lengths)
    )
    square = known.rows is not None and known.rows == known.columns
    return agree and (not square or known.columns_first in (None, order.columns < order.rows))


def _order(roles: Sequence[str]) -> Order:
    return Order(
        roles.index(TIME) if TIME in roles else None, roles.index(ROWS), roles.index(COLUMNS)
    )


def _spelt(order: Order, axes: int) -> str:
    """An order as the setting spells it."""
    letters = [SINGLE] * axes
    letters[order.rows], letters[order.columns] = ROWS, COLUMNS
    if order.time is not None:
        letters[order.time] = TIME
    return "".join(letters)
