"""Forecasts that the name of a file, or the label of a field, says to be such."""

import re
from pathlib import Path

from nowcast.readers.forecasts import refuse, says_forecast, short_value

_NAME_WORD = re.compile(r"forecasts?|fcst|nowcasts?|prediction|predicted|extrapolated")
# beside these words of a name the others say what the file is for
_NAME_CONTEXT = re.compile(
    r"inputs?|obs|observed|observations?|targets?|domain|verification|analysis|for|truth"
)
_NAME_LEAD = re.compile(
    r"(?<![a-z0-9])(?:\+|lead(?:time)?[_-]?|(?:ft|fc|lt)[_-]?(?=\d\d))(\d{1,4})"
    r"(?:s|min|mins|m|h|hr)?(?![a-z0-9])"
    r"|(?<=[a-z0-9])\+(\d{1,4})(?:s|min|mins|m|h|hr)(?![a-z0-9])"
)
_LABEL_LEAD = re.compile(
    r"(?:(?<![a-z0-9])t?\s*\+\s*|(?<![a-z])(?:lead(?:[ _-]?time)?|fcst|forecast)\w*[ =:_-]*\+?)"
    r"(\d{1,6})(?!\d)",
    re.IGNORECASE | re.ASCII,
)


def refuse_name(path: str | Path) -> None:
    """Refuse a forecast whose name alone can say so: forecast_..., ..._lead030, ..._ft20,
    ...+30min.

    Raises:
        UserError: the file's own name (not its folders') has such a word or a lead time above 0.
    """
    name = Path(path).name.lower()
    leads = list(_NAME_LEAD.finditer(name))
    found = [match[0] for match in leads if int(match[1] or match[2])]
    words = re.split(r"[^a-z]+", name)
    # a lead time of 0 is that of an analysis, whatever else the name says
    if not leads and not any(map(_NAME_CONTEXT.fullmatch, words)):
        found = [word for word in words if _NAME_WORD.fullmatch(word)]
    if found:
        shown = f"{Path(path).name!r} with {found[0]!r}"
        refuse(path, "its name", shown, "none that says so (rename it if it was observed)")


def refuse_label(path: str | Path, name: str, text: str) -> None:
    """Refuse a field whose label says forecast, or a lead time above 0 such as '+30 min', 'T+030'
    or 'lead 30'.
    """
    if any(int(lead) for lead in _LABEL_LEAD.findall(text)) or says_forecast(text):
        refuse(path, name, repr(short_value(text)), "the name of an observed field")
