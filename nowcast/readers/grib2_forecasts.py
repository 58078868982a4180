"""How GRIB2 says that a field was predicted: a forecast time, or the types of its reference time,
its process and its data.
"""

import struct
from datetime import datetime
from pathlib import Path

from nowcast.readers.forecasts import refuse

_REFERENCES = {
    1: "the start of a forecast",
    2: "the verifying time of a forecast",
}  # code table 1.2
_DATA = {
    1: "forecast",
    3: "control forecast",
    4: "perturbed forecast",
    5: "control and perturbed forecasts",
    8: "event probability",
}  # 1.4
_PROCESSES = {  # code table 4.3
    2: "forecast", 3: "bias corrected forecast", 4: "ensemble forecast", 5: "probability forecast", 6: "forecast "
                                                                                                       "error",
    10: "probability-weighted forecast", 11: "bias corrected ensemble forecast", 13: "post-processed "
                                                                                     "forecast", 14: "nowcast",
    15: "hindcast",
}  # fmt: skip
_ENSEMBLES = (
    1,
    2,
    3,
    4,
    5,
    6,
    9,
    10,
    11,
    12,
    13,
    14,
)  # product definition templates 4.x of members, clusters and probabilities
_OVER_INTERVAL = 8  # product definition template 4.8
_START_OF_FORECAST, _VERIFYING_TIME = 1, 2


def refuse_forecast(identification: bytes, product: bytes, path: str | Path) -> None:
    """Refuse a forecast.

    The start of a forecast as reference time with no forecast time is that of an analysis.

    Args:
        identification: section 1 with its header.
        product: section 4 with its header.
        path: the file, for messages.

    Raises:
        UserError: any of the fields says so.
    """
    significance, data, process = identification[11], identification[20], product[11]
    (template,) = struct.unpack_from(">H", product, 7)
    if template in _ENSEMBLES:
        refuse(
            path, "its product definition template", f"4.{template} (of an ensemble)", "4.0 or 4.8"
        )
    if process in _PROCESSES:
        refuse(
            path,
            "its type of generating process",
            f"{process} ({_PROCESSES[process]})",
            "8 (observation) or 0 (analysis)",
        )
    if data in _DATA:
        refuse(
            path,
            "its type of processed data",
            f"{data} ({_DATA[data]})",
            "7 (radar observations) or 0 (analysis)",
        )
    (ahead,) = struct.unpack_from(">I", product, 18)
    if ahead >> 31 == 0 and ahead:
        refuse(path, "its forecast time", f"{ahead} in units of code {product[17]}", "0")
    if significance == _VERIFYING_TIME:
        refuse(
            path,
            "the significance of its reference time",
            f"{significance} ({_REFERENCES[significance]})",
            "3 (observation time) or 0 (analysis)",
        )
    if significance == _START_OF_FORECAST and template == _OVER_INTERVAL:
        made, end = _moment(identification, 12), _moment(product, 34)
        if made and end and end > made:
            refuse(
                path,
                "the significance of its reference time",
                f"1 (the start of a forecast, {made} UTC)",
                f"none before the end of its interval, {end} UTC",
            )


def _moment(section: bytes, place: int) -> datetime | None:
    """A UTC time; None where there is none."""
    try:
        return datetime(*struct.unpack_from(">HBBBBB", section, place))
    except (ValueError, struct.error):
        return None
