"""Weather formats that are not read here, by their first bytes, with what converts them."""

import re
import struct

_GRID_OF_SWEEPS = (
    "make a grid of it with Py-ART (grid_from_radars), with wradlib (comp.togrid) or with xradar "
    "and wradlib, and give that, e.g. as CF NetCDF"
)
_SWEEPS = "sweeps of a radar in polar coordinates"
_BY_BEGINNING = (
    (f"NEXRAD level 2 ({_SWEEPS})", _GRID_OF_SWEEPS, b"AR2V00", b"ARCHIVE2."),
    (f"a Rainbow volume ({_SWEEPS})", _GRID_OF_SWEEPS, b"<volume "),
    (f"DORADE ({_SWEEPS})", _GRID_OF_SWEEPS, b"SSWB\0", b"VOLD\0", b"COMM\0\0\1\xf4"),
    (
        "MDV of NCAR",
        "convert it with LROSE (Mdv2NetCDF) or Py-ART (read_grid_mdv, write_grid), and give the "
        "NetCDF",
        struct.pack(">ii", 1016, 14142),  # the length and the number of its first structure
    ),
    (
        "an ASCII grid",
        "convert it with GDAL (gdal_translate -of GTiff FILE NEW.tif) and give it with "
        "reader=geotiff",
        b"ncols",
        b"NCOLS",
        b"DSAA",
    ),
)
_BUFR = (
    "a BUFR file",
    "decode it with ecCodes (bufr_dump -p FILE) or with the BUFR software of OPERA (bufr2hdf5), "
    "and give ODIM_H5, or the fields as CF NetCDF",
)
_TO_NETCDF = (
    "convert it to NetCDF with ecCodes (grib_to_netcdf -o NEW FILE) or CDO (cdo -f nc copy)"
)
_MRMS = 209  # discipline of NOAA's MRMS, which has a reader
# bulletins of the WMO's telecommunication system have a line with a code before the message
_HEADING = rb"(?:\x01?[\r\n]+\d{3,5} ?[\r\n]+)?[A-Z]{4}\d\d [A-Z]{4} \d{6}(?: [A-Z]{3})?\s{1,4}"
_LEVEL_3 = re.compile(rb"(?:\x01?[\r\n]+\d{3,5} ?[\r\n]+)?(?:SDUS|NXUS)\d\d [A-Z]{4} \d{6}")
_BULLETIN = re.compile(_HEADING + rb"(BUFR|GRIB)")
_IRIS_PRODUCT, _IRIS_CONFIGURATION = b"\x1b\0", b"\x1a\0"  # numbers of its first two structures


def weather_format(head: bytes) -> tuple[str, str] | None:
    """(what a file of weather is, how to convert it) by its first bytes; None where it is none that
    is known, or one that is read here.
    """
    for what, advice, *beginnings in _BY_BEGINNING:
        if head.startswith(tuple(beginnings)):
            return what, advice
    if head.startswith(b"BUFR"):
        return _BUFR
    if head.startswith(b"BM") and head[6:10] == bytes(4):  # reserved, after its size
        return "a BMP image", "give the data that the picture was made from"
    if head.startswith(b"GRIB"):
        return _other_grib(head)
    if bulletin := _BULLETIN.match(head):
        what = bulletin[1].decode("ascii")
        return f"a bulletin with {what}", f"cut off what stands before {what} in it"
    if _LEVEL_3.match(head):
        return f"NEXRAD level 3 ({_SWEEPS}, or a map of one)", _GRID_OF_SWEEPS
    if head.startswith(_IRIS_PRODUCT) and head[12:14] == _IRIS_CONFIGURATION:
        return f"IRIS (Sigmet) raw data or a product ({_SWEEPS})", _GRID_OF_SWEEPS
    if b"UF" in (head[:2], head[2:4], head[4:6]) and b"\0" in head[:16]:
        return f"Universal Format ({_SWEEPS})", _GRID_OF_SWEEPS
    return None


def _other_grib(head: bytes) -> tuple[str, str] | None:
    """What GRIB is it, if not MRMS."""
    edition = head[7] if len(head) > 7 else 0
    if edition == 1:
        return "a GRIB file of edition 1", _TO_NETCDF
    if edition == 2 and head[6] != _MRMS:
        return f"a GRIB2 file of discipline {head[6]}, not of MRMS ({_MRMS})", _TO_NETCDF
    return None
