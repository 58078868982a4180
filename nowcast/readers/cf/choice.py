"""Which variable of a data set has the rain, and what it measures."""

from nowcast.readers.cf import units
from nowcast.readers.cf.source import Source, Variable
from nowcast.readers.cf.told import Lacking
from nowcast.runtime.errors import UserError

_STANDARD_NAMES = {
    "rainfall_rate": "rain_rate",
    "lwe_precipitation_rate": "rain_rate",
    "precipitation_flux": "rain_rate",
    "rainfall_flux": "rain_rate",
    "rainfall_amount": "rain_depth",
    "precipitation_amount": "rain_depth",
    "thickness_of_rainfall_amount": "rain_depth",
    "lwe_thickness_of_precipitation_amount": "rain_depth",
    "equivalent_reflectivity_factor": "reflectivity",
    "radar_equivalent_reflectivity_factor_h": "reflectivity",
}
_PREFERENCE = ("rain_rate", "rain_depth", "reflectivity")
# what systems call the dimension of an ensemble's members
MEMBER_NAMES = (
    *("realization", "member", "members", "ensemble", "ensemble_member"),
    *("number", "ens", "ens_mem", "ens_number"),
)


def has_rain(source: Source, variable: str | None = None) -> bool:
    """Whether there is a field of rain or reflectivity, or the variable of that name."""
    return bool(ranks(source, variable))


def ranks(source: Source, variable: str | None) -> dict[str, int]:
    """The variables with rain, or the one of that name, and the rank of what they measure: a rate
    before a depth before a reflectivity.
    """
    if variable is not None:
        return {variable: 0} if variable in source.variables else {}
    found = {}
    for name, one in source.variables.items():
        quantity = _STANDARD_NAMES.get(one.text("standard_name"))
        is_own = source.own is None or name in source.own
        if quantity is not None and len(one.shape) >= 2 and is_own:
            found[name] = _PREFERENCE.index(quantity)
    return found


def rain_variable(source: Source, wanted: str | None) -> Variable:
    """The variable with the rain.

    Raises:
        UserError: there is none of the wanted name, or (None) not a single one that measures rain.
    """
    found = ranks(source, wanted)
    if not found:
        # times and coordinates cannot be meant
        fields = [name for name, one in source.variables.items() if len(one.shape) >= 2]
        known = ", ".join((fields or list(source.variables))[:20]) or "none"
        named = "of rain" if wanted is None else repr(wanted)
        raise UserError(
            f"{source.path} has no variable {named}; it has {known}; set reader.variable to one "
            "of them."
        )
    first = min(found.values())
    best = source.find([name for name, rank in found.items() if rank == first])
    if len(best) > 1:  # a single forecast, with its ensemble beside it
        best = [one for one in best if member_axis(source, one) is None] or best
    if len(best) > 1:
        raise UserError(
            f"{source.path} has several variables of {_PREFERENCE[first].replace('_', ' ')}: "
            f"{', '.join(one.name for one in best)}; set reader.variable to one of them (with "
            f"reader={source.told.reader})."
        )
    return best[0]


def member_axis(source: Source, field: Variable) -> int | None:
    """The field's axis of ensemble members; None where it has none."""
    for axis, dim in enumerate(field.dims):
        named = source.find([dim, *field.text("coordinates").split()])
        along = [one.text("standard_name") for one in named if one.dims == (dim,)]
        if dim.lower() in MEMBER_NAMES or "realization" in along:
            return axis
    return None


def measured(source: Source, field: Variable) -> tuple[str, float]:
    """(rain_rate, rain_depth or reflectivity; what to multiply with to have mm/h, mm or dBZ), by
    the units that are set, else by its own, which must fit its standard name.

    Raises:
        UserError: units of anything else, or of another quantity than the standard name is.
    """
    if source.told.units is not None:
        return units.quantity(source.told.units)
    stated, name = field.text("units"), field.text("standard_name")
    found = units.quantity(stated)
    if found is None:
        raise Lacking(
            f"{field.path}: {field.name} has the units {stated!r}; a rate such as 'mm h-1' or "
            "'kg m-2 s-1', a depth such as 'mm', or 'dBZ' is needed; "
            f"{source.told.setting('units')} to what it counts.",
            ("units",),
        )
    named = _STANDARD_NAMES.get(name, found[0])
    if named != found[0]:
        raise UserError(
            f"{field.path}: {field.name} is {name}, a {named.replace('_', ' ')}, but its units "
            f"{stated!r} are of a {found[0].replace('_', ' ')}; mend one of them, or "
            f"{source.told.setting('units')} to the right ones."
        )
    return found
