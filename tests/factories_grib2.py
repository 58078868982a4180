"""MRMS GRIB2 files for tests, section by section as the WMO's manual lays them out."""

import io
import struct
from datetime import datetime
from pathlib import Path

import numpy as np
from PIL import Image


def _section(number: int, content: bytes) -> bytes:
    return struct.pack(">IB", len(content) + 5, number) + content


def _angle(degrees: float) -> int:
    """Millionths of a degree with a sign bit."""
    millionths = round(abs(degrees) * 1e6)
    return millionths | (1 << 31) if degrees < 0 else millionths


def grid_section(
    height: int,
    width: int,
    *,
    north=54.995,
    west=230.005,
    step=0.01,
    scanning=0,
    earth=2,
    template=0,
    points=None,
    basic_angle=0,
    subdivisions=0xFFFFFFFF,
    south=None,
) -> bytes:
    """Section 3: a regular grid of longitudes and latitudes."""
    south = north - step * (height - 1) if south is None else south
    first, last = (north, south) if scanning == 0 else (south, north)
    earth_shape = struct.pack(
        ">BBIBIBI", earth, 0xFF, 0xFFFFFFFF, 0xFF, 0xFFFFFFFF, 0xFF, 0xFFFFFFFF
    )
    content = (
        struct.pack(">BIBBH", 0, height * width if points is None else points, 0, 0, template)
        + earth_shape
    )
    content += struct.pack(
        ">IIIIIIBIIIIB",
        width,
        height,
        basic_angle,
        subdivisions,
        _angle(first),
        _angle(west),
        48,
        _angle(last),
        _angle(west + step * (width - 1)),
        _angle(step),
        _angle(step),
        scanning,
    )
    return _section(3, content)


def product_section(
    number: int, *, category=6, template=0, ahead=0, end: datetime | None = None
) -> bytes:
    """Section 4: what is in it; of template 4.8 with the end of its interval."""
    content = struct.pack(
        ">HHBBBBBHBBIBBIBBI",
        0,
        template,
        category,
        number,
        8,
        0,
        97,
        0,
        0,
        0,
        ahead,
        102,
        0,
        0,
        0xFF,
        0xFF,
        0xFFFFFFFF,
    )
    if template == 8:
        content += struct.pack(
            ">HBBBBBBIBBBIBI",
            end.year,
            end.month,
            end.day,
            end.hour,
            end.minute,
            end.second,
            1,
            0,
            1,
            2,
            1,
            1,
            0xFF,
            0,
        )
    return _section(4, content)


def data_sections(
    values: np.ndarray, *, packing=41, decimals=1, bitmap: np.ndarray | None = None
) -> bytes:
    """Sections 5 to 7: values to so many decimals, packed as PNG (16 bits) or simply."""
    kept = (
        np.asarray(values, np.float64) if bitmap is None else np.asarray(values, np.float64)[bitmap]
    )
    scaled = np.round(kept * 10**decimals).astype(np.int64)
    reference = int(scaled.min())
    numbers = (scaled - reference).astype(">u2")
    bits = 16 if numbers.any() else 0
    parameters = struct.pack(
        ">IHfhhBB",
        kept.size,
        packing,
        float(reference),
        0,
        struct.unpack(">h", struct.pack(">H", decimals))[0],
        bits,
        0,
    )
    if not bits:
        data = b""
    elif packing == 41:
        stream = io.BytesIO()
        Image.fromarray(
            numbers.reshape(kept.shape if kept.ndim == 2 else (1, -1)).astype(np.uint16)
        ).save(stream, "PNG")
        data = stream.getvalue()
    else:
        data = numbers.tobytes()
    mask = b"\xff" if bitmap is None else b"\x00" + np.packbits(bitmap.ravel()).tobytes()
    return _section(5, parameters) + _section(6, mask) + _section(7, data)


def write_mrms(
    path: Path,
    values,
    *,
    product=1,
    time=datetime(2024, 1, 15, 12, 0, 0),
    pack=bytes,
    discipline=209,
    edition=2,
    grid=None,
    about=None,
    sections=None,
    **data,
) -> Path:
    """A file of one field (H, W), by default PrecipRate of 2024-01-15 12:00 from 54.995 N, 230.005
    E on; ``sections`` replaces 3 to 7.
    """
    values = np.asarray(values)
    stored = values if not (grid or {}).get("scanning") else values[::-1]
    head = _section(
        1,
        struct.pack(
            ">HHBBBHBBBBBBB",
            161,
            0,
            255,
            1,
            3,
            time.year,
            time.month,
            time.day,
            time.hour,
            time.minute,
            time.second,
            0,
            7,
        )[:16],
    )
    rest = (
        grid_section(*values.shape, **(grid or {}))
        + product_section(product, **(about or {}))
        + data_sections(stored, **data)
    )
    body = head + (rest if sections is None else sections) + b"7777"
    path.write_bytes(
        pack(b"GRIB" + struct.pack(">HBBQ", 0, discipline, edition, 16 + len(body)) + body)
    )
    return path
