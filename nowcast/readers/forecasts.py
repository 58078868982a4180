"""Whether a file says that its fields were predicted: the names and words by which every format
says so.

A forecast is never read as an observation. Formats spell it in many ways, so the spellings stand
here, once: a lead time above 0, a reference time before the field's own, a mark such as ODIM's
how/simulated, or a text such as "rain rate forecast". A lead time of 0 is an analysis, which is an
observation. Every refusal names the field and its value.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from nowcast.runtime.errors import UserError

_UNIT = r"(in)?(s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?)?"
_PREDICTED = r"(forecast|fcst|fc|prediction|nowcast)"
_SPAN = r"(lead(time)?|period|hours?|hr|minutes?|min|seconds?|sec|steps?|offset|timedelta|horizon|length|range)"
_LEAD = re.compile(
    rf"(grib)?(leads?|leadtimes?|timeahead|{_PREDICTED}{_SPAN}|fhours?|fhr|fxx){_UNIT}"
)
_LEAD_OR_MOMENT = re.compile(rf"{_PREDICTED}times?{_UNIT}")  # a lead time if it is a plain number
_LEAD_IF_OF_TIME = (
    "step",
    "steps",
    "tau",
    "horizon",
    "timedelta",
)  # lead times if their units say so
_REFERENCE = re.compile(
    r"(forecast|fcst|model|nowcast|grib)?"
    r"(ref|reference|analysis|init|initial|initiali[sz]ation|issued?|origin)(date)?time"
    r"|(forecast|fcst|model|nowcast)(run|cycle|base|start)(date)?(time)?"
)
_VALID = re.compile(r"(grib)?(forecast|fcst|nowcast|valid|validity)(date)?time")
_FLAG = ("simulated", "forecast", "isforecast", "nowcast", "isnowcast", "predicted", "ispredicted")
_TEXT = re.compile(
    r"title|type|kind|category|stream|object|comment|task|description|summary|longname|(tifftag)?(imagedescription|documentname)"
    r"|(prod(uct)?|data|field|image|file|mars|grib|simulation)(group)?(id|name|type|title|data|datatype|description)?"
    r"|gribdatatype|typeofdata|typeofgeneratingprocess|generatingprocess"
)
_CODES = ("fc", "fcst", "nwcst", "ft", "pf")  # whole texts, as in MARS' type of data
_FORECAST = (
    r"(forecast(s|ed)?|nowcasts?|fcst|\w*vorhersagen?|prognosen?|prognos|neerslagverwachting|ennuste"
    r"|prévisions?|previsione|previsioni|previsão|pronósticos?)"
)
_RAIN_WORD = r"(rain\w*|precip\w*|reflectivit\w*|radar|accumulation\w*|rates?|fields?|intensit\w*)"
_OF_ITSELF = re.compile(  # a text that ends with the word, or begins with it and goes on with rain
    rf"\b{_FORECAST}$|^{_FORECAST} (of )?{_RAIN_WORD}\b"
    rf"|^(predicted|extrapolated) {_RAIN_WORD}\b|\b{_RAIN_WORD} (predictions?|predicted)$"
)
_MORE = re.compile(r" ?(\b(based|using|with|of|at|in|valid|made|issued|up)\b|[(,:;+0-9]).*$")
# "observations for nowcasts", "national forecast centre", "no forecast"
_NOT_OF_ITSELF = re.compile(
    r"\b(for|from|by|to|not|no|none|without|used|inputs?|observ\w*|measur\w*|analys[ei]s|verif\w*"
    r"|national|cent(er|re)|office|service|agency|challenge|institute|laboratory)\b"
)
_TRUE = ("true", "t", "yes", "y", "on")
_DATE = re.compile(
    r"(\d{4})-?(\d\d)-?(\d\d)[T _]?(\d\d):?(\d\d)(?::?(\d\d))?(?:\.\d*)?\s*(?:Z|UTC)?",
    re.ASCII | re.IGNORECASE,
)
_HOUR = re.compile(r"((?:19|20)\d\d)(\d\d)(\d\d)(\d\d)", re.ASCII)  # 2024011509
_BEFORE_RADAR = np.datetime64(
    "1971-01-01", "s"
)  # a reference time before is where numbers count from
_EPOCH = re.compile(r"(\d{9,10})(?:\.\d*)?(?:\s*sec)?(?:\s*UTC)?", re.ASCII | re.IGNORECASE)
_NAME_WORDS = (
    "forecast",
    "forecasts",
    "fcst",
    "nowcast",
    "nowcasts",
    "prediction",
    "predicted",
    "extrapolated",
)
_NAME_CONTEXT = (
    "input",
    "inputs",
    "obs",
    "observed",
    "observation",
    "observations",
    "target",
    "targets",
)
_NAME_CONTEXT += ("domain", "verification", "analysis", "for", "truth")
"""Words of a name beside which the others say what the file is for."""
_NAME_LEAD = re.compile(
    r"(?<![a-z0-9])(?:\+|lead(?:time)?[_-]?|(?:ft|fc|lt)[_-]?(?=\d\d))(\d{1,4})(?:s|min|mins|m|h|hr)?(?![a-z0-9])"
    r"|(?<=[a-z0-9])\+(\d{1,4})(?:s|min|mins|m|h|hr)(?![a-z0-9])"
)
_LABEL_LEAD = re.compile(
    r"(?:(?<![a-z0-9])t?\s*\+\s*|(?<![a-z])(?:lead(?:[ _-]?time)?|fcst|forecast)\w*[ "
    r"=:_-]*\+?)(\d{1,6})(?!\d)",
    re.IGNORECASE | re.ASCII,
)


def refuse(path: str | Path, name: str, found, expected: str) -> None:
    """Refuse a forecast.

    Args:
        path: the file.
        name: the field of the file that says so.
        found: its value.
        expected: what an observation has there.

    Raises:
        UserError: always.
    """
    raise UserError(
        f"{path} is a forecast, not an observation: {name} is {found}, expected {expected}; give "
        "observed fields, or leave it out."
    )


def plain_name(name: str) -> str:
    """A name without case, signs between words, or the groups before it: lead_time, leadTime and
    NC_GLOBAL#lead-time are the same.
    """
    return re.sub(r"[^a-z0-9]", "", re.split(r"[#/]|NETCDF_DIM_", name)[-1].lower())


def is_lead_name(name: str, *, of_time: bool = False) -> bool:
    """Whether a name is that of lead times; ``of_time``: its numbers are known to be seconds,
    minutes, hours or days.
    """
    plain = plain_name(name)
    return bool(_LEAD.fullmatch(plain) or _LEAD_OR_MOMENT.fullmatch(plain)) or (
        of_time and plain in _LEAD_IF_OF_TIME
    )


def is_reference_name(name: str) -> bool:
    """Whether a name is that of the moment a forecast was made from."""
    return bool(_REFERENCE.fullmatch(plain_name(name)))


def says_forecast(text: str) -> bool:
    """Whether a title, product or description says that it is of a forecast, and not of what
    forecasts are made from.
    """
    words = re.sub(r"[_\-/.\s]+", " ", text.lower()).strip()
    if words in _CODES:
        return True
    if _NOT_OF_ITSELF.search(words):
        return False
    return bool(_OF_ITSELF.search(words) or _OF_ITSELF.search(_MORE.sub("", words)))


def refuse_by_attributes(
    path: str | Path,
    attributes: Mapping[str, object],
    where: str = "",
    *,
    times: np.ndarray | None = None,
    words: bool = True,
) -> None:
    """Refuse a forecast that attributes, tags or comments say to be one.

    Args:
        path: the file.
        attributes: their values by name: text, numbers, or rows of numbers.
        where: what stands before the names in messages, e.g. ``how/``.
        times: times of the fields, (T,) datetime64; with them a reference time before the first is
            a forecast's.
        words: whether texts count, too; where the file states an analysis in numbers they do not.

    Raises:
        UserError: a mark is true, a lead time above 0, a reference time before the times, or a text
            says so.
    """
    for name, value in attributes.items():
        plain, shown = plain_name(name), f"{where}{name}"
        if plain in _FLAG and _is_true(value):
            refuse(path, shown, repr(_short(value)), "False")
        if (_LEAD.fullmatch(plain) or _LEAD_OR_MOMENT.fullmatch(plain)) and is_ahead(value):
            refuse(path, shown, repr(_short(value)), "0")
        if times is not None and _REFERENCE.fullmatch(plain):
            refuse_before(path, shown, moment_of(value), times)
        if times is not None and _VALID.fullmatch(plain):
            valid = moment_of(value)
            if valid is not None and valid > np.max(times):
                refuse(
                    path,
                    shown,
                    f"{valid} UTC",
                    f"none after the time of the field, {np.max(times)} UTC",
                )
    for name, value in (
        attributes.items() if words and not states_analysis(attributes) else ()
    ):  # numbers say more
        if isinstance(value, str) and _TEXT.fullmatch(plain_name(name)) and says_forecast(value):
            refuse(path, f"{where}{name}", repr(_short(value)), "the name of an observed product")


def states_analysis(attributes: Mapping[str, object]) -> bool:
    """Whether attributes say outright that a field is none of a forecast: a lead time of 0, or a
    mark that is false.
    """
    for name, value in attributes.items():
        plain = plain_name(name)
        if plain == "simulated" or _LEAD.fullmatch(plain):
            return not (_is_true(value) or is_ahead(value))
    return False


def refuse_before(
    path: str | Path, name: str, reference: np.datetime64 | None, times: np.ndarray
) -> None:
    """Refuse fields whose reference time lies before the first of them; None is no time and says
    nothing.

    Observations that were put together keep the reference time of the first, so a single one may
    lie before the others.
    """
    if reference is not None and _BEFORE_RADAR < reference < np.min(times):
        refuse(
            path,
            name,
            f"{reference} UTC",
            f"none before the time of the field, {np.min(times)} UTC",
        )


def refuse_name(path: str | Path) -> None:
    """Refuse a forecast whose name alone can say so: forecast_..., ..._lead030, ..._ft20,
    ...+30min.

    Raises:
        UserError: the file's own name (not its folders') has such a word or a lead time above 0.
    """
    name = Path(path).name.lower()
    leads = [(match[0], int(match[1] or match[2])) for match in _NAME_LEAD.finditer(name)]
    found = [text for text, lead in leads if lead]
    if not leads:  # a lead time of 0 is that of an analysis, whatever else the name says
        words = re.split(r"[^a-z]+", name)
        found = [
            word for word in words if word in _NAME_WORDS and not set(words) & set(_NAME_CONTEXT)
        ]
    if found:
        refuse(
            path,
            "its name",
            f"{Path(path).name!r} with {found[0]!r}",
            "none that says so (rename it if it was observed)",
        )


def refuse_label(path: str | Path, name: str, text: str) -> None:
    """Refuse a field whose label says forecast, or a lead time above 0 such as '+30 min', 'T+030'
    or 'lead 30'.
    """
    leads = [match[0].strip() for match in _LABEL_LEAD.finditer(text) if int(match[1])]
    if leads or says_forecast(text):
        refuse(path, name, repr(_short(text)), "the name of an observed field")


def is_ahead(value) -> bool:
    """Whether a lead time is above 0: a number, some numbers, or a text such as '+30 min' or
    'PT30M'; a date is none.
    """
    if isinstance(value, (bytes, np.bytes_)):
        value = value.decode(errors="replace")
    if isinstance(value, str):
        text = value.strip()
        if _DATE.fullmatch(text) or text.startswith("-"):
            return False
        return bool(re.search(r"[1-9]", text))
    try:
        numbers = np.ravel(np.asarray(value)).astype(np.float64)
    except (TypeError, ValueError):
        return False
    return bool((numbers[np.isfinite(numbers)] > 0).any())


def moment_of(value) -> np.datetime64 | None:
    """The UTC time in an attribute (ISO text, digits, or seconds since 1970); None if it is none."""
    if isinstance(value, (bytes, np.bytes_)):
        value = value.decode(errors="replace")
    text = str(value).strip()
    try:
        if match := _DATE.fullmatch(text):
            year, month, day, hour, minute, second = match.groups()
            return np.datetime64(f"{year}-{month}-{day}T{hour}:{minute}:{second or '00'}", "s")
        if match := _HOUR.fullmatch(text):
            year, month, day, hour = match.groups()
            return np.datetime64(f"{year}-{month}-{day}T{hour}:00", "s")
        if match := _EPOCH.fullmatch(text):
            return np.datetime64(int(match[1]), "s")
        if re.match(r"\d{4}-\d\d-\d\d[T ]", text):
            moment = datetime.fromisoformat(text)  # with the difference from UTC
            return np.datetime64(moment.astimezone(UTC).replace(tzinfo=None), "s")
    except ValueError:
        pass
    return None


def first_ahead(values: Iterable) -> str:
    """The first lead time above 0 as a short text, for messages."""
    numbers = np.ravel(np.asarray(values))
    return f"{numbers[numbers > 0][0]:g}" if (numbers > 0).any() else "0"


def _is_true(value) -> bool:
    if isinstance(value, (bytes, np.bytes_)):
        value = value.decode(errors="replace")
    if isinstance(value, str):
        text = value.strip().lower()
        return text in _TRUE or bool(re.fullmatch(r"\+?0*[1-9]\d*", text))
    try:
        return bool(np.any(np.asarray(value)))
    except (TypeError, ValueError):
        return False


def _short(value):
    """A value as it is shown in a message."""
    if isinstance(value, (bytes, np.bytes_)):
        value = value.decode(errors="replace")
    if isinstance(value, str):
        return value if len(value) <= 80 else f"{value[:77]}..."
    values = np.ravel(np.asarray(value))
    return values[0].item() if values.size == 1 else values[:5].tolist()
