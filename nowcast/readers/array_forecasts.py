"""How a file of plain arrays says that its fields were predicted: attributes, the names of arrays
and axes, its own name.
"""

from collections.abc import Sequence

import numpy as np

from nowcast.readers.array_sources import Source
from nowcast.readers.forecasts import (
    first_ahead,
    is_lead_name,
    refuse,
    refuse_by_marks,
    refuse_by_texts,
    refuse_name,
    says_forecast,
)


def refuse_forecast(
    source: Source, name: str | None, axes: Sequence[str | None], times: np.ndarray
) -> None:
    """Refuse an array that anything in the file says to be predicted.

    Args:
        source: the open file.
        name: of the array.
        axes: names of its axes.
        times: of its frames as they are stated, (T,) datetime64[s].

    Raises:
        UserError: lead times above 0, a reference time before the times, a mark that is true, or a
            name that says so.
    """
    described = list(source.described(name))
    is_analysis = refuse_by_marks(source.path, described, times)
    leads = [one for one in source.beside(name) if is_lead_name(one) and one != name]
    for one in leads:
        values = source.read(one)
        if (values > 0).any():
            refuse(source.path, one, first_ahead(values), "0")
    for axis in axes:
        if axis is not None and is_lead_name(axis, of_time=True) and not leads:
            refuse(source.path, "the name of an axis", repr(axis), "time")
    if is_analysis or leads:
        return
    refuse_by_texts(source.path, described)
    for part in (name or "").split("/"):
        if says_forecast(part):
            refuse(source.path, "the name of the array", repr(name), "one of an observed field")
    refuse_name(source.path)
