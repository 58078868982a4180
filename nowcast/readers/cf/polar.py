"""Scans of radars, which lie on rays and are no map: refused by what they are."""

from nowcast.readers.cf.source import Source, Variable
from nowcast.runtime.errors import UserError

_MARKS = {"azimuth", "elevation", "range", "sweep_number", "fixed_angle", "sweep_start_ray_index"}
_ENOUGH = 3  # of these names: a map may have one of them
_POLAR_DIMS = {"range", "azimuth", "gates", "gate", "ray", "rays", "bins", "radials", "n_points"}


def refuse_polar(source: Source, field: Variable) -> None:
    """Refuse the rays of a radar (CfRadial and the like).

    Raises:
        UserError: so it is.
    """
    conventions = source.attributes.get("Conventions", "")
    is_named = "radial" in str(conventions).lower()
    marks = _MARKS & {name.lower() for name in source.variables}
    dims = _POLAR_DIMS & {dim.lower() for dim in field.dims}
    if is_named or len(marks) >= _ENOUGH or (dims and marks):
        shown = "CfRadial" if is_named or "sweep_number" in marks else "a polar scan"
        raise UserError(
            f"{source.path} is {shown}: {field.name}({', '.join(field.dims)}) lies on the rays of "
            "a radar, but a map is needed; put it on a grid first (e.g. with Py-ART's "
            "grid_from_radars or wradlib), or give the service's composite."
        )
