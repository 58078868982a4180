"""A coordinate system as a short text."""

import warnings

import numpy as np
import pyproj

_NO_DATUM = ("undefined", "unknown")


def short_text(crs: pyproj.CRS, x: np.ndarray, y: np.ndarray) -> str:
    """A coordinate system as a short text that means the same: a code, or a PROJ string that puts
    the corners of the grid x (W,), y (H,) at the same place; else its WKT.
    """
    code = crs.to_json_dict().get("id")
    if code and pyproj.CRS(f"{code['authority']}:{code['code']}") == crs:
        return f"{code['authority']}:{code['code']}"
    if not crs.is_projected or crs.datum is None or crs.datum.name.lower() not in _NO_DATUM:
        return crs.to_wkt()
    earth = ("+ellps=", "+a=", "+b=", "+R=", "+rf=", "+type=")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a datum that is lost: there is none
        words = [word for word in crs.to_proj4().split() if not word.startswith(earth)]
    # by its axes in full digits: PROJ's own text rounds them, or gives a name instead
    ellipsoid = crs.ellipsoid
    words += [f"+a={ellipsoid.semi_major_metre!r}", f"+b={ellipsoid.semi_minor_metre!r}"]
    short = " ".join(words)
    corners = np.array([(east, north) for east in (x[0], x[-1]) for north in (y[0], y[-1])]).T
    try:
        places = [pyproj.Proj(one)(*corners, inverse=True) for one in (short, crs)]
    except pyproj.exceptions.ProjError:
        return crs.to_wkt()
    return short if np.allclose(*places, rtol=0, atol=1e-9) else crs.to_wkt()
