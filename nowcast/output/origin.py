"""Where a forecast comes from, as text attributes of its file."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime

import numpy as np

import nowcast
from nowcast.runtime.errors import UserError
from nowcast.types.frames import Forecast
from nowcast.types.functional import Functional

METHODS = ("nowcast", "extrapolation", "persistence")
"""How a forecast can have been made; the last two are fallbacks."""

GAPS = "missing_forecast"
"""Name of the attribute that says at which lead times there is no forecast."""

POINT = "nowcast_point"
"""Name of the attribute that says which number of the predicted distribution the rain rates are;
files of a single field, and of older versions, have none.
"""

# Bytes of one attribute: ODIM's strings of fixed length must stay below 64 kB with everything else
# in the header.
_LONGEST = 16_000
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,99}")
_MINUTE = np.timedelta64(60, "s")


def origin_attributes(
    *,
    model: str,
    analysis_time: np.datetime64,
    inputs: Iterable[tuple[str, np.datetime64]] = (),
    model_sha256: str | None = None,
    method: str = "nowcast",
    fallback_reason: str | None = None,
    institution: str | None = None,
    calibration: str | None = None,
    now: datetime | None = None,
) -> dict[str, str]:
    """What made a forecast, from which files, and how old these are at the moment of writing.

    Args:
        model: name of the run.
        analysis_time: UTC time of the newest frame that was used.
        inputs: name and UTC time of each input file.
        model_sha256: of the weights, see ``nowcast.runtime.files.sha256_of``; left out where there
            are none.
        method: one of ``METHODS``.
        fallback_reason: why it is not the model's own forecast; left out where it is.
        institution: who publishes it; left out where not given.
        calibration: how its probabilities are calibrated; left out where they are as predicted.
        now: the moment of writing, with its time zone; None: the present.

    Raises:
        UserError: an unknown method.
    """
    if method not in METHODS:
        raise UserError(
            f"the method {method!r} is unknown; a forecast is made by {', '.join(METHODS)}."
        )
    written = np.datetime64((now or datetime.now(UTC)).astimezone(UTC).replace(tzinfo=None), "s")

    def age(time: np.datetime64) -> float:
        return (written - np.datetime64(time, "s")) / _MINUTE

    files = "; ".join(
        f"{name} {np.datetime64(time, 's')}Z ({age_in_words(age(time))} old)"
        for name, time in inputs
    )
    optional = {
        "input_files": files or None,
        "model_sha256": model_sha256,
        "fallback_reason": fallback_reason,
        "institution": institution,
        "calibration": calibration,
    }
    return {
        "source": f"nowcast {nowcast.__version__}, run {model}",
        "model": model,
        "nowcast_version": nowcast.__version__,
        "method": method,
        "data_age_minutes": f"{age(analysis_time):.1f}",
        **{name: text for name, text in optional.items() if text is not None},
    }


def age_in_words(minutes: float) -> str:
    """An age, in the unit in which its number is small."""
    if minutes < 120:
        return f"{minutes:.1f} min"
    hours = minutes / 60
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.0f} days"


def file_attributes(forecast: Forecast, attributes: dict[str, str]) -> dict[str, str]:
    """Attributes of a forecast's file as every format can contain them, after those of its gaps and
    of which number of its distribution it is.

    What cannot be printed (control characters, halves of surrogate pairs) becomes a replacement
    character, white space a blank, and a text over 16 kB is cut.

    Raises:
        UserError: a name that is no letter followed by letters, digits and underscores.
    """
    own = {POINT: forecast.point} if forecast.point else {}
    attributes = _gaps(forecast) | own | attributes
    for name in attributes:
        if not (isinstance(name, str) and _NAME.fullmatch(name)):
            raise UserError(
                f"{name!r:.80} is no name of an attribute; up to 100 letters, digits and "
                "underscores that start with a letter are accepted."
            )
    return {name: _printable(str(text)) for name, text in attributes.items()}


def known_point(text: object) -> str:
    """Which number of its distribution a forecast is, as its file says; "" where it says nothing
    that this version knows.
    """
    try:
        return str(Functional.parse(text)) if isinstance(text, str) else ""
    except UserError:
        return ""


def _gaps(forecast: Forecast) -> dict[str, str]:
    """At which lead times no pixel has a forecast; nothing where each has one somewhere."""
    missing = forecast.is_missing
    if not missing.any():
        return {}
    if missing.all():
        return {GAPS: "no pixel has a forecast at any lead time"}
    leads = ", ".join(f"+{lead / _MINUTE:g}" for lead in forecast.lead_times[missing])
    count = f"{missing.sum()} of {missing.size} lead times"
    return {GAPS: f"no pixel has a forecast at {count}: {leads} min"}


def _printable(text: str) -> str:
    characters = []
    for char in text[: _LONGEST + 1]:
        if char.isspace() and not char.isprintable():
            char = " "
        characters.append(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}")
    clean = "".join(characters).encode()
    if len(clean) <= _LONGEST:
        return clean.decode()
    return clean[: _LONGEST - 3].decode(errors="ignore") + "..."
