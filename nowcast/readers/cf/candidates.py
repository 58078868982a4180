"""Which variables of a data set could be rain although no standard name says so, for messages."""

import re

from nowcast.readers.cf import units
from nowcast.readers.cf.choice import has_rain, measured, rain_variable
from nowcast.readers.cf.grid import located
from nowcast.readers.cf.intervals import interval_of
from nowcast.readers.cf.source import Source, Variable
from nowcast.readers.cf.times import times_of
from nowcast.readers.cf.told import Lacking
from nowcast.runtime.errors import UserError, one_line

_MOST = 8  # that a message names
_LIKE_RAIN = re.compile(
    r"rain|precip|pcp|prcp|rr|rate|refl|dbz|radar|accum|depth|intens|cappi|_z\b|\bz[hev]?\b|acrr"
    r"|surface.?water|niederschlag|pluie|pioggia|lluvia|regn|neerslag|sri|vmi|qpe|\btp\b|\br\b"
)
_NO_RAIN = re.compile(r"lat|lon|bnds|bounds|quality|flag|mask|height|elev|index|mosaic|clutter")


def rain_field(source: Source, wanted: str | None) -> Variable:
    """The variable with the rain, see `rain_variable`.

    Raises:
        UserError: as `rain_variable`; where no standard name is one of rain, with those that could
            be rain and the settings that say what they lack.
    """
    if wanted is not None or has_rain(source):
        return rain_variable(source, wanted)
    known = ", ".join(list(source.variables)[:20]) or "none"
    found = one_line(
        f"{source.path} has no variable with a standard name of rain or reflectivity (such as "
        f"rainfall_rate); it has {known}"
    )
    fields = [one for one in source.variables.values() if _is_field(source, one)]
    likely = [one for one in fields if _is_likely(one)] or fields
    if not likely:
        raise UserError(f"{found}, none of them a map; give a data set with maps of rain.")
    shown = "; ".join(_described(source, one) for one in likely[:_MOST])
    more = f" and {len(likely) - _MOST} others" if len(likely) > _MOST else ""
    raise Lacking(
        f"{found}. These could be rain: {shown}{more}. If one is, "
        f"{source.told.setting('variable')} to it, and the settings that say what it lacks.",
        ("variable",),
    )


def _is_field(source: Source, variable: Variable) -> bool:
    """Whether it could be a map, by its shape alone."""
    is_own = source.own is None or variable.name in source.own
    sides = [side for side in variable.shape if side > 1]
    is_numbers = variable.dtype.kind in "iuf"
    return is_own and is_numbers and len(variable.shape) >= 2 and len(sides) >= 2


def _is_likely(variable: Variable) -> bool:
    if units.quantity(variable.text("units")) is not None:
        return True
    words = f"{variable.name} {variable.text('long_name')}".lower()
    return bool(_LIKE_RAIN.search(words)) and not _NO_RAIN.search(words)


def _described(source: Source, variable: Variable) -> str:
    """A variable with its shape, what it says of itself, and the settings that say what it does
    not.
    """
    sides = zip(variable.dims, variable.shape)
    text = f"{variable.name}({', '.join(f'{dim} {side}' for dim, side in sides)})"
    if variable.text("long_name"):
        text += f" {variable.text('long_name')[:60]!r}"
    stated = variable.text("units")
    text += f" in {stated[:40]!r}" if stated else " without units"
    lacks = _lacking(source, variable)
    text = one_line(text)
    return f"{text} (lacks {', '.join(f'reader.{one}' for one in lacks)})" if lacks else text


def _lacking(source: Source, variable: Variable) -> list[str]:
    """Names of the settings that must say what a variable does not."""
    looks = [
        lambda: measured(source, variable),
        lambda: located(source, variable),
        lambda: times_of(source, variable),
    ]
    if (units.quantity(variable.text("units")) or ("",))[0] == "rain_depth":
        looks.append(
            lambda: interval_of(source, variable, times_of(source, variable).minutes, None)
        )
    lacks: list[str] = []
    for look in looks:
        try:
            look()
        except Lacking as error:
            lacks += error.settings
        except UserError:  # it is said once the variable is chosen
            continue
    return list(dict.fromkeys(lacks))


def _interval(source: Source, variable: Variable) -> None:
    """Refuse a rain depth over an interval that nothing states."""
    interval_of(source, variable, times_of(source, variable).minutes, None)
