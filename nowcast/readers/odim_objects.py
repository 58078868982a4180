"""What kind of object an ODIM_H5 file is: a map, or sweeps and profiles, of which maps are made."""

from nowcast.readers.hdf5 import Hdf5File
from nowcast.readers.odim_attributes import OdimField, fields
from nowcast.readers.odim_forecasts import refuse_object
from nowcast.runtime.errors import UserError

_MAPS = ("COMP", "IMAGE", "CVOL")
_SWEEPS = {  # in words: what is no map
    "PVOL": "a polar volume",
    "SCAN": "a polar scan",
    "RAY": "a single polar ray",
    "AZIM": "a part of a polar scan",
    "ELEV": "a vertical scan",
    "VP": "a vertical profile",
    "XSEC": "a vertical section",
    "PIC": "a picture",
}
_CONVERTERS = (
    "make a composite of it first, e.g. with BALTRAD's radarcomp, with wradlib.comp, or with "
    "grid_from_radars of Py-ART"
)


def require_map(file: Hdf5File, *, is_mapped: bool = False) -> str:
    """What kind of map a file is; one that does not say it is a composite if it has a projection.

    Args:
        file: the open file.
        is_mapped: whether somebody says what its projection is.

    Raises:
        UserError: none, or a forecast.
    """
    stated = OdimField(file, "").text("what", "object")
    is_mapped = is_mapped or any(field.text("where", "projdef") for field in fields(file))
    if stated is None and not is_mapped:
        raise UserError(
            f"{file.path} has no text what/object, and no where/projdef by which it would be a "
            f"map; expected {', '.join(_MAPS)}."
        )
    kind = (stated or "COMP").upper()
    refuse_object(file, kind)
    if kind not in _MAPS:
        found = f": it is {_SWEEPS[kind]}; {_CONVERTERS}" if kind in _SWEEPS else ""
        raise UserError(
            f"{file.path}: what/object is {stated!r}, expected {', '.join(_MAPS)}: maps, no sweeps"
            f"{found}."
        )
    return kind
