"""Times in file names, and in the names of the folders that files lie in."""

import os
import re
from datetime import datetime
from pathlib import Path

import numpy as np

from nowcast.runtime.errors import UserError

_DIGITS = {"Y": 4, "y": 2, "m": 2, "d": 2, "j": 3, "H": 2, "M": 2, "S": 2}
_ANYTHING = "*"
_TOKEN = re.compile(r"%(.?)|([^%])", re.DOTALL)


def name_pattern(pattern: str, setting: str) -> re.Pattern:
    """What finds a time such as "%Y%m%d%H%M" in a file name; digits right before or after belong to
    another number, but for a single one behind minutes or seconds, as no part of a time has one
    digit (CPC2335513304_00060: 13:30, and a 4 for how it was made).

    Args:
        pattern: text with %Y (or %y), %m and %d (or %j, the day of the year), %H, and where they
            are there %M and %S. A "/" in it stands between the names of folders and that of the
            file: "%Y%m%d/%H%M" for 20240115/0005.npy. A "*" stands for anything within a name,
            also digits beside the time.
        setting: where the pattern comes from, for messages.

    Raises:
        UserError: another code, one twice, or no complete time.
    """
    parts, codes = [], []
    for code, text in _TOKEN.findall(pattern):
        if text == _ANYTHING:
            parts.append(r"[^/]*?")
        elif text:
            parts.append(re.escape(text))
        elif code in _DIGITS and code not in codes:
            codes.append(code)
            parts.append(rf"(?P<{code}>\d{{{_DIGITS[code]}}})")
        else:
            codes = []
            break
    dates = [{"Y", "m", "d"}, {"y", "m", "d"}, {"Y", "j"}, {"y", "j"}]
    if not any(set(codes) - {"H", "M", "S"} == date for date in dates) or "H" not in codes:
        raise UserError(
            f"{setting} is {pattern!r}; a pattern of year, month, day and hour (minute, second) "
            "such as '%Y%m%d%H%M' or 'AQC%y%j%H%M', or with the folder '%Y%m%d/%H%M', is "
            "needed, each once."
        )
    before = "" if pattern.startswith(_ANYTHING) else r"(?<!\d)"
    after = r"(?!\d\d)" if pattern.endswith(("%M", "%S")) else r"(?!\d)"
    if pattern.endswith(_ANYTHING):
        after = ""
    return re.compile(f"{before}{''.join(parts)}{after}", re.ASCII)


def parts_looked_at(pattern: str) -> int:
    """How many of the last parts of a path a pattern looks at: the file's name, and a folder for
    each "/".
    """
    return 1 + pattern.count("/")


def end_of_path(path: str | Path, parts: int) -> str:
    """The last parts of a path, e.g. 20240115/0005.npy; one that is too short for it begins in the
    current folder.
    """
    end = Path(path).parts[-parts:]
    if len(end) < parts or ".." in end:
        end = Path(os.path.abspath(path)).parts[-parts:]
    return "/".join(end)


def time_in_name(path: str | Path, pattern: str, setting: str) -> np.datetime64:
    """The UTC time in the file's name.

    Args:
        path: the file; only its name is looked at, and as many folders as the pattern has "/".
        pattern: as for `name_pattern`.
        setting: where the pattern comes from, for messages.

    Raises:
        UserError: the name contains no such time, or several different ones.
    """
    found = set()
    for match in name_pattern(pattern, setting).finditer(
        end_of_path(path, parts_looked_at(pattern))
    ):
        codes = match.groupdict()
        try:
            found.add(
                datetime.strptime(" ".join(codes.values()), " ".join(f"%{code}" for code in codes))
            )
        except ValueError:
            continue
    if len(found) != 1:
        number = "several times" if found else "no time"
        raise UserError(
            f"{path}: its name contains {number} of the form {pattern!r}; rename it, or set "
            f"{setting} to the form it has."
        )
    return np.datetime64(found.pop(), "s")
