"""How a data set that follows CF, or nearly, says that its fields were predicted: coordinates,
dimensions, members, attributes.
"""

import numpy as np

from nowcast.readers.cf import units
from nowcast.readers.cf.choice import MEMBER_NAMES
from nowcast.readers.cf.source import Source, Variable
from nowcast.readers.cf.times import TIME_NAMES, Times, decoded
from nowcast.readers.forecasts import (
    first_ahead,
    is_lead_name,
    is_reference_name,
    refuse,
    refuse_by_marks,
    refuse_by_texts,
    says_forecast,
)
from nowcast.runtime.errors import UserError


def refuse_predicted(source: Source, field: Variable) -> bool:
    """Refuse a field with a lead time above 0 or with members of an ensemble.

    Args:
        source: the data set.
        field: its variable with the rain.

    Returns:
        Whether it says outright that it is an analysis: a lead time of 0, or that nothing is
        simulated.

    Raises:
        UserError: a coordinate, a dimension or an attribute says that it was predicted.
    """
    is_analysis = refuse_by_marks(source.path, _described(source, field))
    for variable in _others(source, field):
        if _is_lead(source, field, variable):
            _refuse_ahead(source, variable)
            is_analysis = True
    for axis, dim in enumerate(field.dims):
        if dim not in source.variables and is_lead_name(dim) and not _leads_along(source, dim):
            found = f"{field.shape[axis]} long without values"
            refuse(source.path, f"the dimension {dim}", found, "a coordinate that is 0")
    _refuse_members(source, field)
    return is_analysis


def refuse_by_times(source: Source, field: Variable, times: Times, *, is_analysis: bool) -> None:
    """Refuse a field whose reference time lies before it, or one that words alone say to be
    predicted.

    A stated analysis may be observations that were put together, which keep the reference time of
    the first: theirs may lie before the others, and before the end of their interval.

    Args:
        source: the data set.
        field: its variable with the rain.
        times: of the fields.
        is_analysis: what ``refuse_predicted`` returned.

    Raises:
        UserError: so it is.
    """
    for variable in _others(source, field):
        if not _is_reference(source, variable):
            continue
        try:
            reference = decoded(source, variable)
        except UserError:  # one that is missing says nothing
            continue
        limit = times.starts if is_analysis else times.ends
        if reference.shape != limit.shape:
            limit = limit.min() if is_analysis else limit.max()
        early = reference < limit
        if early.any():
            expected = f"none before the time of the field, {np.max(times.ends)} UTC"
            refuse(source.path, variable.name, f"{reference[early].min()} UTC", expected)
        is_analysis = True
    refuse_by_marks(source.path, _described(source, field), times.ends)
    if not is_analysis:
        refuse_by_words(source, field)


def refuse_by_words(source: Source, field: Variable) -> None:
    """Refuse a field that titles, descriptions or names say to be predicted.

    Raises:
        UserError: so it is.
    """
    refuse_by_texts(source.path, _described(source, field))
    for name in (field.name, *source.group.split("/")):
        if says_forecast(name):
            where = "the name of the variable or its group"
            refuse(source.path, where, repr(name), "one of an observed field")


def _others(source: Source, field: Variable) -> list[Variable]:
    return [variable for variable in source.variables.values() if variable is not field]


def _described(source: Source, field: Variable) -> list[tuple[str, dict]]:
    """(what stands before their names in messages, attributes) of the data set, the field, and its
    times.
    """
    described = [("the global attribute ", source.attributes), (f"{field.name}:", field.attributes)]
    for variable in source.variables.values():
        if variable.text("standard_name") == "time" or variable.name.lower() in TIME_NAMES:
            attributes = dict(variable.attributes)
            attributes.pop("standard_name", None)
            described.append((f"{variable.name}:", attributes))
    return described


def _is_lead(source: Source, field: Variable, variable: Variable) -> bool:
    """Whether a variable has lead times of the field: by its standard name, or by its own name if
    it belongs to the field.
    """
    if variable.text("standard_name") == "forecast_period":
        return True
    listed = variable.name in field.text("coordinates").split()
    belongs = listed or set(variable.dims) <= set(field.dims)
    if variable.counts_time or not belongs:
        return False
    stated, of_time = variable.text("units"), False
    if listed or variable.dims:  # a single step or tau that is not listed may be of anything
        alone = listed or not _times_along(source, variable.dims[0])
        of_time = units.is_duration(stated) or (not stated and alone)
    return is_lead_name(variable.name, of_time=of_time)


def _times_along(source: Source, dim: str) -> bool:
    return any(dim in one.dims and one.counts_time for one in source.variables.values())


def _leads_along(source: Source, dim: str) -> bool:
    """Whether lead times stand along a dimension in a coordinate of another name."""
    along = [one for one in source.variables.values() if one.dims == (dim,)]
    return any(
        one.text("standard_name") == "forecast_period" or is_lead_name(one.name) for one in along
    )


def _refuse_ahead(source: Source, variable: Variable) -> None:
    if variable.dtype.kind not in "iuf":
        found = f"{variable.dtype}, which is not read"
        refuse(source.path, variable.name, found, "numbers that are 0")
    values = source.present_values(variable)
    if (values > 0).any():
        found = f"{first_ahead(values)} {variable.text('units')}".strip()
        refuse(source.path, variable.name, found, "0")


def _is_reference(source: Source, variable: Variable) -> bool:
    """Whether a variable has the times that forecasts were made from."""
    if not variable.counts_time:
        return False
    standard_name = variable.text("standard_name")
    if standard_name in ("forecast_reference_time", "time"):
        return standard_name != "time"
    # beside ARM's time_offset, base_time is only where a file's times count from
    is_base = variable.name.lower() == "base_time" and "time_offset" not in source.variables
    return is_base or is_reference_name(variable.name)


def _refuse_members(source: Source, field: Variable) -> None:
    """Refuse one of several members, or several of them; member 0 of its own is a single field."""
    listed = field.text("coordinates").split()
    for variable in _others(source, field):
        is_realization = variable.text("standard_name") == "realization"
        is_listed = variable.name in listed and variable.name.lower() in MEMBER_NAMES
        if not (is_realization or is_listed) or variable.dtype.kind not in "iuf":
            continue
        is_alone = not variable.dims or (len(variable.dims) == 1 and variable.dims[0] in field.dims)
        values = source.present_values(variable) if is_alone else np.empty(0)
        if values.size == 1 and values[0] > 0:
            found = f"{values[0]:g}, a member of an ensemble"
            refuse(source.path, variable.name, found, "a single field, or 0")
    for axis, dim in enumerate(field.dims):
        along = [
            one.text("standard_name") for one in source.variables.values() if one.dims == (dim,)
        ]
        is_of_members = dim.lower() in MEMBER_NAMES or "realization" in along
        if field.shape[axis] > 1 and is_of_members:
            found = f"{field.shape[axis]} members of an ensemble"
            refuse(source.path, f"the dimension {dim}", found, "a single field")
