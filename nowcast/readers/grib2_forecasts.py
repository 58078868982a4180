"""How GRIB2 says that a field was predicted: a forecast time, or the types of its reference time,
its process and its data.
"""

import struct
from datetime import datetime
from pathlib import Path

import numpy as np

from nowcast.readers.forecasts import refuse

_DATA = {  # code table 1.4
    1: "forecast",
    3: "control forecast",
    4: "perturbed forecast",
    5: "control and perturbed forecasts",
    8: "event probability",
}
_PROCESSES = {  # code table 4.3
    2: "forecast",
    3: "bias corrected forecast",
    4: "ensemble forecast",
    5: "probability forecast",
    6: "forecast error",
    10: "probability-weighted forecast",
    11: "bias corrected ensemble forecast",
    13: "post-processed forecast",
    14: "nowcast",
    15: "hindcast",
}
# product definition templates 4.x of members, clusters and probabilities
_ENSEMBLES = {*range(1, 7), *range(9, 15)}
_OVER_INTERVAL = 8  # product definition template 4.8
_START_OF_FORECAST, _VERIFYING_TIME = 1, 2  # code table 1.2


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
        found = f"4.{template} (of an ensemble)"
        refuse(path, "its product definition template", found, "4.0 or 4.8")
    if process in _PROCESSES:
        found = f"{process} ({_PROCESSES[process]})"
        refuse(path, "its type of generating process", found, "8 (observation) or 0 (analysis)")
    if data in _DATA:
        found = f"{data} ({_DATA[data]})"
        refuse(path, "its type of processed data", found, "7 (radar observations) or 0 (analysis)")
    (ahead,) = struct.unpack_from(">I", product, 18)
    if ahead >> 31 == 0 and ahead:
        refuse(path, "its forecast time", f"{ahead} in units of code {product[17]}", "0")
    name = "the significance of its reference time"
    if significance == _VERIFYING_TIME:
        found = f"{significance} (the verifying time of a forecast)"
        refuse(path, name, found, "3 (observation time) or 0 (analysis)")
    if significance == _START_OF_FORECAST and template == _OVER_INTERVAL:
        made, end = moment_in(identification, 12), moment_in(product, 34)
        if made is not None and end is not None and end > made:
            found = f"{significance} (the start of a forecast, {made} UTC)"
            refuse(path, name, found, f"none before the end of its interval, {end} UTC")


def moment_in(section: bytes, place: int) -> np.datetime64 | None:
    """The UTC time at that byte of a section; None where there is none."""
    try:
        return np.datetime64(datetime(*struct.unpack_from(">HBBBBB", section, place)), "s")
    except (ValueError, struct.error):
        return None
