"""Which group of a NetCDF file or a zarr store has the rain."""

from collections.abc import Callable, Iterable
from pathlib import Path

from nowcast.readers.cf.choice import ranks
from nowcast.readers.cf.source import Source, Variable
from nowcast.runtime.errors import UserError

_MAX_GROUPS = 1000


class SeveralGroups(UserError):
    """Rain is there, but a setting must say in which of the groups."""


def group_with_rain(
    path: Path,
    groups: Iterable[str],
    members: Callable[[str], dict[str, Variable]],
    variable: str | None,
) -> tuple[str, str | None]:
    """The group with the rain, and the name of its variable where one is set.

    The rain may lie in any group. One at the top counts before those below; of those below there
    must be a single one, unless the setting says which.

    Args:
        path: the file or folder, for messages.
        groups: paths of the groups such as ``radar/composite``; the first is "" for the top.
        members: the variables of a group itself, by name.
        variable: name of the variable, or its path such as ``radar/composite/rain``; None: any.

    Returns:
        (group, name of the variable without the group; None: any).

    Raises:
        UserError: the path has no such group.
        SeveralGroups: several groups have rain.
    """
    if variable is not None and "/" in variable:
        group, _, name = variable.strip("/").rpartition("/")
        known = list(groups)
        if group not in known:
            raise UserError(
                f"{path}: reader.variable is {variable!r}, but there is no group {group!r}; "
                f"expected one of the groups {', '.join(known[1:20]) or 'none'}."
            )
        return group, name
    found: dict[int, list[str]] = {}
    for group in groups:
        ranked = ranks(Source(path, members(group)), variable)
        if ranked and not group:
            return group, variable
        for name, rank in ranked.items():
            found.setdefault(rank, []).append(f"{group}/{name}")
    best = found[min(found)] if found else []
    places = {name.rpartition("/")[0] for name in best} or {""}
    if len(places) > 1:
        raise SeveralGroups(
            f"{path} has rain in several groups: {', '.join(best[:20])}; set reader.variable to "
            "one of these paths, with reader=cf_netcdf (NetCDF) or reader=zarr_composite (zarr)."
        )
    return places.pop(), variable


def ancestors(group: str) -> list[str]:
    """A group's outer groups from the top down, and itself: what they have is seen in it."""
    parts = [part for part in group.split("/") if part]
    return ["/".join(parts[:depth]) for depth in range(len(parts) + 1)]


def refuse_many(count: int, path: Path) -> None:
    """Refuse a file with an absurd number of groups."""
    if count > _MAX_GROUPS:
        raise UserError(f"{path} has {count} groups or more; up to {_MAX_GROUPS} are accepted.")
