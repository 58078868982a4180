"""Whether a file says that its fields were predicted: the names and words by which every format
says so.

A forecast is never read as an observation. Formats spell it in many ways, so the spellings stand
here, once: a lead time above 0, a reference time before the field's own, a mark such as ODIM's
how/simulated, or a text such as "rain rate forecast". A lead time of 0 is an analysis, which is an
observation. Every refusal names the field and its value.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from nowcast.readers.moments import as_text, is_date, moment_of
from nowcast.runtime.errors import IsForecast

_UNIT = r"(in)?(s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?)?"
_PREDICTED = r"(forecast|fcst|fc|prediction|nowcast)"
_SPAN = (
    r"(lead(time)?|period|hours?|hr|minutes?|min|seconds?|sec|steps?|offset|timedelta|horizon"
    r"|length|range)"
)
_LEAD = re.compile(
    rf"(grib)?(leads?|leadtimes?|timeahead|{_PREDICTED}{_SPAN}|fhours?|fhr|fxx){_UNIT}"
)
# forecast_time may be a lead time or a moment: a lead time if it is a plain number
_LEAD_OR_MOMENT = re.compile(rf"{_LEAD.pattern}|{_PREDICTED}times?{_UNIT}")
_LEAD_IF_OF_TIME = ("step", "steps", "tau", "horizon", "timedelta")  # if their units say so
_REFERENCE = re.compile(
    r"(forecast|fcst|model|nowcast|grib)?"
    r"(ref|reference|analysis|init|initial|initiali[sz]ation|issued?|origin)(date)?time"
    r"|(forecast|fcst|model|nowcast)(run|cycle|base|start)(date)?(time)?"
)
_VALID = re.compile(r"(grib)?(forecast|fcst|nowcast|valid|validity)(date)?time")
_FLAGS = ("simulated", "forecast", "isforecast", "nowcast", "isnowcast", "predicted", "ispredicted")
_TEXT = re.compile(
    r"title|type|kind|category|stream|object|comment|task|description|summary|longname"
    r"|(tifftag)?(imagedescription|documentname)"
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
_BEFORE_RADAR = np.datetime64("1971-01-01", "s")  # before it lies where numbers count from

# groups of attributes, each with what stands before their names in messages, e.g. ``how/``
Described = Iterable[tuple[str, Mapping[str, object]]]


def refuse(path: str | Path, name: str, found, expected: str) -> None:
    """Refuse a forecast.

    Args:
        path: the file.
        name: the field of the file that says so.
        found: its value.
        expected: what an observation has there.

    Raises:
        IsForecast: always.
    """
    raise IsForecast(
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
    return bool(_LEAD_OR_MOMENT.fullmatch(plain)) or (of_time and plain in _LEAD_IF_OF_TIME)


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


def refuse_by_marks(
    path: str | Path, described: Described, times: np.ndarray | None = None
) -> bool:
    """Refuse a forecast by a mark that is true, a lead time above 0, or the times it states.

    Args:
        path: the file.
        described: attributes, tags or comments, in groups.
        times: times of the fields, (T,) datetime64; with them a reference time before the first is
            a forecast's, and so is a valid time after the last.

    Returns:
        Whether any group states outright that it is no forecast, see `states_analysis`.

    Raises:
        UserError: it is a forecast.
    """
    is_analysis = False
    for where, attributes in described:
        is_analysis |= states_analysis(attributes)
        for name, value in attributes.items():
            plain, shown = plain_name(name), f"{where}{name}"
            if plain in _FLAGS and _is_true(value):
                refuse(path, shown, repr(short_value(value)), "False")
            if _LEAD_OR_MOMENT.fullmatch(plain) and is_ahead(value):
                refuse(path, shown, repr(short_value(value)), "0")
            if times is None or not (_REFERENCE.fullmatch(plain) or _VALID.fullmatch(plain)):
                continue
            moment, first, last = moment_of(value), np.min(times), np.max(times)
            if moment is None:
                continue
            # observations that were put together keep the reference time of the first
            if _REFERENCE.fullmatch(plain) and _BEFORE_RADAR < moment < first:
                expected = f"none before the time of the field, {first} UTC"
                refuse(path, shown, f"{moment} UTC", expected)
            if _VALID.fullmatch(plain) and moment > last:
                refuse(
                    path, shown, f"{moment} UTC", f"none after the time of the field, {last} UTC"
                )
    return is_analysis


def refuse_by_texts(path: str | Path, described: Described) -> None:
    """Refuse a forecast that titles, products or descriptions say to be one.

    Raises:
        UserError: so it is.
    """
    for where, attributes in described:
        for name, value in attributes.items():
            is_text = isinstance(value, str) and _TEXT.fullmatch(plain_name(name))
            if is_text and says_forecast(value):
                shown = repr(short_value(value))
                refuse(path, f"{where}{name}", shown, "the name of an observed product")


def refuse_by_attributes(
    path: str | Path, where: str, attributes: Mapping, times: np.ndarray | None = None
) -> None:
    """Refuse a forecast that one group of attributes says to be one: by marks, or, where it states
    no analysis in numbers, by texts. Arguments as for `refuse_by_marks`.

    Raises:
        UserError: so it is.
    """
    if not refuse_by_marks(path, [(where, attributes)], times):
        refuse_by_texts(path, [(where, attributes)])


def states_analysis(attributes: Mapping[str, object]) -> bool:
    """Whether attributes say outright that a field is none of a forecast: a lead time of 0, or a
    mark that is false.
    """
    for name, value in attributes.items():
        plain = plain_name(name)
        if plain == "simulated" or _LEAD.fullmatch(plain):
            return not (_is_true(value) or is_ahead(value))
    return False


def is_ahead(value) -> bool:
    """Whether a lead time is above 0: a number, some numbers, or a text such as '+30 min' or
    'PT30M'; a date is none.
    """
    value = as_text(value)
    if isinstance(value, str):
        text = value.strip()
        is_none = is_date(text) or text.startswith("-")
        return not is_none and bool(re.search(r"[1-9]", text))
    try:
        numbers = np.ravel(np.asarray(value)).astype(np.float64)
    except (TypeError, ValueError):
        return False
    return bool((numbers[np.isfinite(numbers)] > 0).any())


def first_ahead(values: Iterable) -> str:
    """The first lead time above 0 as a short text, for messages."""
    numbers = np.ravel(np.asarray(values))
    return f"{numbers[numbers > 0][0]:g}" if (numbers > 0).any() else "0"


def _is_true(value) -> bool:
    value = as_text(value)
    if isinstance(value, str):
        text = value.strip().lower()
        return text in _TRUE or bool(re.fullmatch(r"\+?0*[1-9]\d*", text))
    try:
        return bool(np.any(np.asarray(value)))
    except (TypeError, ValueError):
        return False


def short_value(value):
    """A value as it is shown in a message."""
    value = as_text(value)
    if isinstance(value, str):
        return value if len(value) <= 80 else f"{value[:77]}..."
    values = np.ravel(np.asarray(value))
    return values[0].item() if values.size == 1 else values[:5].tolist()
