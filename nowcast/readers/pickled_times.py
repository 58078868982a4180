"""Times out of NumPy's pickled arrays of `datetime`, by reading the pickle as text: nothing in it
is executed.

Whoever unpickles a file runs the program in it. Here its instructions are only listed
(`pickletools`), and from the list of elements on they must be exactly those that NumPy writes for a
row of plain datetimes; anything else is refused.
"""

import pickletools
import struct
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import numpy as np

from nowcast.runtime.errors import UserError

_BOOKKEEPING = {"PROTO", "FRAME", "PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"}
_TEXT, _GET = {"SHORT_BINUNICODE", "BINUNICODE"}, {"BINGET", "LONG_BINGET"}
_ELEMENTS, _BETWEEN = "EMPTY_LIST", {"MARK", "APPENDS", "APPEND"}
_AN_ARRAY = {"numpy ndarray", "numpy dtype"}
_AN_ARRAY |= {f"numpy.{core}.multiarray _reconstruct" for core in ("core", "_core")}
_END = ["TUPLE", "BUILD", "STOP"]
# as datetime packs itself: year, month, day, hour, minute, second, microseconds
_PACKED = struct.Struct(">HBBBBB3s")

Instruction = tuple[str, object]


def pickled_times(content: bytes, path: str | Path) -> np.ndarray:
    """UTC times of a pickled array of datetimes, (N,) datetime64[s].

    Args:
        content: the pickle.
        path: the file, for messages.

    Raises:
        UserError: anything but a row of datetimes without time zone in whole seconds.
    """
    try:
        listed = list(_instructions(content))
    except (ValueError, LookupError, OverflowError, TypeError) as error:
        raise UserError(
            f"{path}: its dates are damaged; fetch it again or leave it out."
        ) from error
    names = [name for name, _ in listed]
    start = names.index(_ELEMENTS) if _ELEMENTS in names else 0
    others = {argument for name, argument in listed[:start] if name == "GLOBAL"} - _AN_ARRAY
    if not start or others or names[-3:] != _END:
        raise UserError(
            f"{path}: its dates are no row of datetimes as NumPy writes it; nothing else is read "
            "from a pickle."
        )
    calls = [item for item in listed[start + 1 : -3] if item[0] not in _BETWEEN]
    times = [_moment(calls[i : i + 4], path) for i in range(0, len(calls), 4)]
    return np.array(times, dtype="datetime64[s]")


def _instructions(content: bytes) -> Iterator[Instruction]:
    """Instructions with their arguments, less texts and bookkeeping; what is fetched from the memo
    stands as what was put there.
    """
    memo, texts, last = {}, [], None
    for opcode, argument, _ in pickletools.genops(content):
        if opcode.name in _BOOKKEEPING:
            if opcode.name not in ("PROTO", "FRAME"):
                memo[len(memo) if opcode.name == "MEMOIZE" else argument] = last
            continue
        last = memo[argument] if opcode.name in _GET else (opcode.name, argument)
        if last[0] == "STACK_GLOBAL":
            last = ("GLOBAL", " ".join(texts[-2:]))
        if last[0] in _TEXT:
            texts.append(last[1])
        else:
            yield last


def _moment(call: list[Instruction], path: str | Path) -> datetime:
    """The time of one call, datetime(packed bytes)."""
    try:
        target, (kind, packed), *execution = call
        is_call = execution == [("TUPLE1", None), ("REDUCE", None)]
        if target != ("GLOBAL", "datetime datetime") or kind != "SHORT_BINBYTES" or not is_call:
            raise ValueError
        *moment, microseconds = _PACKED.unpack(packed)
        if any(microseconds):
            raise ValueError
        return datetime(*moment)
    except (ValueError, struct.error):
        raise UserError(
            f"{path}: its dates are something else than plain times in whole seconds; they are "
            "not read."
        ) from None
