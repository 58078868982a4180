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
_WORDS = {TIME: "times", ROWS: "rows", COLUMNS: "columns"}
_NAMES = {
    TIME: "t time times date dates datetime timestamp timestamps valid_time frame frames",
    ROWS: "h y yc row rows lat lats latitude height nrows ny nlat south_north north_south "
    "projection_y_coordinate grid_latitude",
    COLUMNS: "w x xc col cols column columns lon lons longitude width ncols nx nlon west_east "
    "east_west projection_x_coordinate grid_longitude",
    SINGLE: "1 c channel channels band bands level levels z single",
}
_ROLES = {name: role for role, names in _NAMES.items() for name in names.split()}
_MOST_AXES = 6


class Order(NamedTuple):
    """The axes of an array: of time (None: it has a single frame), of rows, and of columns."""

    time: int | None
    rows: int
    columns: int

    @classmethod
    def of(cls, roles: Sequence[str]) -> "Order":
        """The order that the roles of all axes give."""
        time = roles.index(TIME) if TIME in roles else None
        return cls(time, roles.index(ROWS), roles.index(COLUMNS))

    def lengths(self, shape: tuple[int, ...]) -> tuple[int, int, int]:
        """How many times, rows and columns an array of that shape has."""
        return 1 if self.time is None else shape[self.time], shape[self.rows], shape[self.columns]

    def spelt(self, axes: int) -> str:
        """The order of an array of so many axes, as the setting spells it."""
        letters = [SINGLE] * axes
        for letter, axis in zip(_WORDS, self):
            if axis is not None:
                letters[axis] = letter
        return "".join(letters)


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

    @property
    def counts(self) -> tuple[int | None, int | None, int | None]:
        """How many times, rows and columns there are."""
        return self.times, self.rows, self.columns

    def allows(self, order: Order, shape: tuple[int, ...]) -> bool:
        """Whether the lengths of an array's axes are as known in that order."""
        agree = all(
            count in (None, length) for count, length in zip(self.counts, order.lengths(shape))
        )
        is_square = self.rows is not None and self.rows == self.columns
        turned = order.columns < order.rows
        return agree and (not is_square or self.columns_first in (None, turned))

    def __str__(self) -> str:
        found = [
            f"{count} {word} ({place})"
            for count, word, place in zip(self.counts, _WORDS.values(), self.places)
            if count is not None
        ]
        return ", ".join(found) or "no length"


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
    names = setting if isinstance(setting, Sequence) else [repr(setting)]
    if isinstance(setting, str):
        letters = setting.strip().strip("()[]").upper()
        are_letters = re.fullmatch(r"[THWYXC1]+", letters)
        names = letters if are_letters else re.split(r"[\s,]+", letters.strip(" ,"))
    roles = tuple(role(str(name)) or "?" for name in names)
    times, rows, columns, unknown = (roles.count(one) for one in (TIME, ROWS, COLUMNS, "?"))
    if unknown or times > 1 or rows != 1 or columns != 1:
        raise UserError(
            f"reader.axes is {setting!r}; expected H (or y), W (or x), at most one T (or time), "
            "and 1 for axes of length 1, in the order of the array, e.g. THW, HWT or [y, x, time]."
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
        called = f" and its axes are called {', '.join(name or '?' for name in names)}"
        raise UserError(
            f"{what} is {sides}{called if any(names) else ''}; expected axes of rows and columns, "
            f"with times in any place, and of {known}."
        )
    if len({order.time for order in orders}) > 1:
        ways = sorted({order.spelt(len(shape)) for order in orders})
        raise UserError(
            f"{what} is {sides}, and nothing says which of its axes is time (known: {known}); set "
            f"reader.axes to their order, one of {', '.join(ways)}."
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
                f"{what}, but reader.axes is {spelt}; expected the length 1 of axis {axis}, which "
                f"is {length}."
            )
        if name is not None and name != one:
            raise UserError(
                f"{what}, but reader.axes is {spelt}, while the file calls axis {axis} "
                f"{_WORDS.get(name, name)}; expected them to agree."
            )
    order = Order.of(setting)
    for length, count, word, place in zip(
        order.lengths(shape), known.counts, _WORDS.values(), known.places
    ):
        if count is not None and count != length:
            raise UserError(
                f"{what}, so reader.axes={spelt} makes {length} {word}; expected {count} {word}, "
                f"as {place} has."
            )
    return order


def _fitting(shape: tuple[int, ...], stated: list[str | None], known: Known) -> list[Order]:
    """All orders that names and lengths leave; rows or columns have length 1 only where there is no
    other way.
    """
    options = []
    for length, name in zip(shape, stated, strict=True):
        free = [*_WORDS, SINGLE] if length == 1 else [*_WORDS]
        options.append([role for role in free if name in (None, role)])
    found: dict[int, set[Order]] = {}
    for roles in itertools.product(*options):
        if roles.count(ROWS) == 1 and roles.count(COLUMNS) == 1 and roles.count(TIME) <= 1:
            order = Order.of(roles)
            if order.lengths(shape)[0] == 1:
                order = order._replace(time=None)  # a single time is the same as none
            if known.allows(order, shape):
                thin = sum(shape[axis] == 1 and stated[axis] is None for axis in order[1:])
                found.setdefault(thin, set()).add(order)
    return sorted(found[min(found)], key=str) if found else []
