"""Which group of a NetCDF file or a zarr store has the rain."""

from collections.abc import Callable, Iterable
from pathlib import Path

from nowcast.runtime.errors import UserError

MAX_GROUPS = 1000


class SeveralGroups(UserError):
    """Rain is there, but it must be said in which of the groups."""


def choose(
    path: Path,
    groups: Iterable[str],
    candidates: Callable[[str], dict[str, int]],
    variable: str | None,
) -> tuple[str, str | None]:
    """The group with the rain, and the name of its variable where one is set.

    The rain may lie in any group. One at the top counts before those below; of those below there
    must be a single one, unless the setting says which.

    Args:
        path: the file or folder, for messages.
        groups: paths of the groups such as ``radar/composite``; the first is "" for the top.
        candidates: of a group, its own variables that may be meant, with the rank of what they
            measure; with ``variable`` those of that name.
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
            found = ", ".join(known[1:20]) or "none"
            raise UserError(
                f"{path}: reader.variable is {variable!r}, but there is no group {group!r}; "
                f"expected one of the groups {found}."
            )
        return group, name
    found = {}
    for group in groups:
        own = candidates(group)
        if not group and own:
            return group, variable
        if own:
            found[group] = own
    if not found:
        return "", variable
    best = min(min(own.values()) for own in found.values())
    names = [
        f"{group}/{name}"
        for group, own in found.items()
        for name, rank in own.items()
        if rank == best
    ]
    places = {name.rpartition("/")[0] for name in names}
    if len(places) > 1:
        raise SeveralGroups(
            f"{path} has rain in several groups: {', '.join(names[:20])}; set reader.variable to "
            "one of these paths, with reader=cf_netcdf (NetCDF) or reader=zarr_composite (zarr)."
        )
    return places.pop(), variable


def ancestors(group: str) -> list[str]:
    """A group's outer groups from the top down, and itself: what they have is seen in it."""
    parts = [part for part in group.split("/") if part]
    return ["/".join(parts[:depth]) for depth in range(len(parts) + 1)]


def refuse_many(count: int, path: Path) -> None:
    """Refuse a file with an absurd number of groups."""
    if count > MAX_GROUPS:
        raise UserError(f"{path} has {count} groups or more; up to {MAX_GROUPS} are accepted.")
