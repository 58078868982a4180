"""Nimrod files for tests, number by number as the Met Office's description lays them out."""

import struct
from datetime import datetime
from pathlib import Path

import numpy as np

NOT_STATED = -32767
ORIGIN = (49.0, -2.0, 400_000.0, -100_000.0, 0.9996012717)
CORNER = {"y": 1_549_500.0, "x": -404_500.0, "dy": 1000.0, "dx": 1000.0}


def write_nimrod(
    path: Path,
    values,
    *,
    kind: str = "i2",
    time: datetime = datetime(2018, 6, 16, 10, 5),
    unit: str = "mm/h*32",
    title: str = "Rainfall rate Composite",
    corner: dict | None = None,
    origin: tuple = ORIGIN,
    pack=bytes,
    size: int | None = None,
    more: bytes = b"",
    **numbers,
) -> Path:
    """A field of the United Kingdom's composite; ``numbers`` replaces those of the header, as in
    n15=3.
    """
    values = np.asarray(values)
    place = CORNER | (corner or {})
    types = {"f4": (0, 4), "i1": (1, 1), "i2": (1, 2), "i4": (1, 4), "u1": (2, 1)}
    moment = [time.year, time.month, time.day, time.hour, time.minute]
    whole = [*moment, 0, *moment, *types[kind], NOT_STATED, 0, *values.shape, 2, 213]
    whole += [0, 0, 8, 0, 0, -1, 0, 0, 0, NOT_STATED, 1, 0]
    real = [9999.0, 0.0, place["y"], place["dy"], place["x"], place["dx"], -1.0, 1.0, 0.0, 0.0, 0.0]
    real += [*origin, *[0.0] * (28 - 16)]
    texts = [
        text.encode().ljust(length) for text, length in ((unit, 8), ("RADAR", 24), (title, 24))
    ]
    header = [*whole, *real, *[0.0] * 45, *texts, *[0] * 51]
    for name, value in numbers.items():
        header[int(name[1:]) - 1] = value
    stored = values.astype(f">{kind}").tobytes()
    count = struct.pack(">I", len(stored) if size is None else size)
    record = struct.pack(">31h28f45f8s24s24s51h", *header)
    around = struct.pack(">I", 512)
    path.write_bytes(pack(around + record + around + count + stored + count + more))
    return path
