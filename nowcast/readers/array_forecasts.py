"""How a file of plain arrays says that its fields were predicted: attributes, the names of arrays
and axes, its own name.
"""

from collections.abc import Sequence

import numpy as np

from nowcast.readers.array_files import ArrayFile
from nowcast.readers.forecast_names import refuse_name
from nowcast.readers.forecasts import (
    first_ahead,
    is_lead_name,
    refuse,
    refuse_by_marks,
    refuse_by_texts,
    says_forecast,
)


def refuse_forecast(
    file: ArrayFile, name: str | None, axes: Sequence[str | None], times: np.ndarray
) -> None:
    """Refuse an array that anything in the file says to be predicted.

    Args:
        file: the open file.
        name: of the array.
        axes: names of its axes.
        times: of its frames as they are stated, (T,) datetime64[s].

    Raises:
        UserError: lead times above 0, a reference time before the times, a mark that is true, or a
            name that says so.
    """
    described = file.described(name)
    is_analysis = refuse_by_marks(file.path, described, times)
    leads = [one for one in file.beside(name) if is_lead_name(one) and one != name]
    for one in leads:
        values = file.read(one)
        if (values > 0).any():
            refuse(file.path, one, first_ahead(values), "0")
    for axis in axes:
        if axis is not None and is_lead_name(axis, of_time=True) and not leads:
            refuse(file.path, "the name of an axis", repr(axis), "time")
    # numbers say more than words: a lead time of 0 is an analysis, whatever its title
    if is_analysis or leads:
        return
    refuse_by_texts(file.path, described)
    if any(says_forecast(part) for part in (name or "").split("/")):
        refuse(file.path, "the name of the array", repr(name), "one of an observed field")
    refuse_name(file.path)
