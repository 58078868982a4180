"""How a data set that follows CF, or nearly, says that its fields were predicted: coordinates,
dimensions, members, attributes.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from nowcast.readers import cf_units
from nowcast.readers.forecasts import (
    first_ahead,
    is_lead_name,
    is_reference_name,
    refuse,
    refuse_by_attributes,
    says_forecast,
    states_analysis,
)
from nowcast.runtime.errors import UserError

if TYPE_CHECKING:
    from nowcast.readers.cf import Source, Variable

MEMBERS = (
    "realization",
    "member",
    "members",
    "ens_number",
    "ensemble",
    "number",
    "ensemble_member",
    "ens",
    "ens_mem",
)
_ARM_OFFSET = (
    "time_offset"  # beside it, base_time is where a file's times count from, as ARM writes it
)


def refuse_predicted(
    source: "Source", field: "Variable", numbers: Callable[["Variable"], np.ndarray]
) -> bool:
    """Refuse a field with a lead time above 0 or with members of an ensemble.

    Args:
        source: the data set.
        field: its variable with the rain.
        numbers: the valid values of a small variable, in one row.

    Returns:
        Whether it says outright that it is an analysis: a lead time of 0, or that nothing is
        simulated.

    Raises:
        UserError: a coordinate, a dimension or an attribute says that it was predicted.
    """
    described = _described(source, field)
    for where, attributes in described:
        refuse_by_attributes(source.path, attributes, where, words=False)
    analysis = any(states_analysis(attributes) for _, attributes in described)
    for variable in source.variables.values():
        if variable is not field and _is_lead(source, field, variable):
            _refuse_ahead(variable, numbers)
            analysis = True
    for axis, dim in enumerate(field.dims):
        if dim not in source.variables and is_lead_name(dim) and not _leads_along(source, dim):
            refuse(
                source.path,
                f"the dimension {dim}",
                f"{field.shape[axis]} long without values",
                "a coordinate that is 0",
            )
    _refuse_members(source, field, numbers)
    return analysis


def refuse_by_times(
    source: "Source",
    field: "Variable",
    times: tuple[np.ndarray, np.ndarray],
    moments: Callable[["Variable"], np.ndarray],
    *,
    analysis: bool,
) -> None:
    """Refuse a field whose reference time lies before it, or one that words alone say to be
    predicted.

    A stated analysis may be observations that were put together, which keep the reference time of
    the first: theirs may lie before the others, and before the end of their interval.

    Args:
        source: the data set.
        field: its variable with the rain.
        times: (ends, starts) of the fields, (T,) each.
        moments: the UTC times in a variable.
        analysis: what ``refuse_predicted`` said.

    Raises:
        UserError: so it is.
    """
    ends, starts = times
    for variable in source.variables.values():
        if variable is field or not _is_reference(source, variable):
            continue
        try:
            made = moments(variable)
        except UserError:  # one that is missing says nothing
            continue
        needed = starts if analysis else ends
        if made.shape != needed.shape:
            needed = needed.min() if analysis else needed.max()
        early = made < needed
        if early.any():
            first = made[early].min()
            refuse(
                source.path,
                variable.name,
                f"{first} UTC",
                f"none before the time of the field, {np.max(ends)} UTC",
            )
        analysis = True
    for where, attributes in _described(source, field):
        refuse_by_attributes(source.path, attributes, where, times=ends, words=False)
    if not analysis:
        refuse_by_words(source, field)


def refuse_by_words(source: "Source", field: "Variable") -> None:
    """Refuse a field that titles, descriptions or names say to be predicted.

    Raises:
        UserError: so it is.
    """
    for where, attributes in _described(source, field):
        refuse_by_attributes(source.path, attributes, where)
    for name in (field.name, *source.group.split("/")):
        if says_forecast(name):
            refuse(
                source.path,
                "the name of the variable or its group",
                repr(name),
                "one of an observed field",
            )


def _described(source: "Source", field: "Variable") -> list[tuple[str, dict]]:
    """(what stands before their names in messages, attributes) of the data set, the field, and its
    times.
    """
    described = [("the global attribute ", source.attributes), (f"{field.name}:", field.attributes)]
    for variable in source.variables.values():
        if variable.text("standard_name") == "time" or variable.name.lower() in (
            "time",
            "valid_time",
        ):
            described.append(
                (
                    f"{variable.name}:",
                    {
                        name: value
                        for name, value in variable.attributes.items()
                        if name != "standard_name"
                    },
                )
            )
    return described


def _is_lead(source: "Source", field: "Variable", variable: "Variable") -> bool:
    """Whether a variable has lead times of the field: by its standard name, or by its own name if
    it belongs to the field.
    """
    if variable.text("standard_name") == "forecast_period":
        return True
    units = variable.text("units")
    if " since " in units.lower():
        return False
    listed = variable.name in field.text("coordinates").split()
    if not (listed or set(variable.dims) <= set(field.dims)):
        return False
    if listed or variable.dims:
        of_time = cf_units.is_duration(units) or (
            not units and (listed or not _times_along(source, variable.dims[0]))
        )
    else:
        of_time = False  # a single step or tau that nothing connects with the field is of anything
    return is_lead_name(variable.name, of_time=of_time)


def _times_along(source: "Source", dim: str) -> bool:
    return any(
        dim in one.dims and " since " in one.text("units").lower()
        for one in source.variables.values()
    )


def _leads_along(source: "Source", dim: str) -> bool:
    """Whether lead times stand along a dimension in a coordinate of another name."""
    return any(
        one.dims == (dim,)
        and (one.text("standard_name") == "forecast_period" or is_lead_name(one.name))
        for one in source.variables.values()
    )


def _refuse_ahead(variable: "Variable", numbers: Callable[["Variable"], np.ndarray]) -> None:
    if variable.dtype.kind not in "iuf":
        refuse(
            variable.path,
            variable.name,
            f"{variable.dtype}, which is not read",
            "numbers that are 0",
        )
    values = numbers(variable)
    if (values > 0).any():
        refuse(
            variable.path,
            variable.name,
            f"{first_ahead(values)} {variable.text('units')}".strip(),
            "0",
        )


def _is_reference(source: "Source", variable: "Variable") -> bool:
    """Whether a variable has the times that forecasts were made from."""
    if " since " not in variable.text("units").lower():
        return False
    if variable.text("standard_name") in ("forecast_reference_time", "time"):
        return variable.text("standard_name") != "time"
    return is_reference_name(variable.name) or (
        variable.name.lower() == "base_time" and _ARM_OFFSET not in source.variables
    )


def _refuse_members(
    source: "Source", field: "Variable", numbers: Callable[["Variable"], np.ndarray]
) -> None:
    """Refuse one of several members, or several of them; the member 0 of its own is a single field."""
    listed = field.text("coordinates").split()
    for variable in source.variables.values():
        named = variable.text("standard_name") == "realization" or variable.name.lower() in MEMBERS
        belongs = variable.name in listed or variable.text("standard_name") == "realization"
        if (
            variable is not field
            and named
            and belongs
            and len(variable.dims) <= 1
            and variable.dtype.kind in "iuf"
        ):
            values = numbers(variable)
            if (
                values.size == 1
                and values[0] > 0
                and (not variable.dims or variable.dims[0] in field.dims)
            ):
                refuse(
                    source.path,
                    variable.name,
                    f"{values[0]:g}, a member of an ensemble",
                    "a single field, or 0",
                )
    for axis, dim in enumerate(field.dims):
        along = [
            one
            for one in source.variables.values()
            if one.dims == (dim,) and one.text("standard_name") == "realization"
        ]
        if field.shape[axis] > 1 and (dim.lower() in MEMBERS or along):
            refuse(
                source.path,
                f"the dimension {dim}",
                f"{field.shape[axis]} members of an ensemble",
                "a single field",
            )
