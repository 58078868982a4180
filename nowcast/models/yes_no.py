"""Yes or no of a probability: from which one on an event is forecast.

Axes: B batch, T lead times, H rows, W columns.
"""

import torch
from torch import Tensor

BINS = 200
"""In which pixels are counted to find the best expected CSI; half a per cent each."""
LEAST = 0.05
"""Below it a probability is never a yes: the index that it could promise is below 0.05, too, and
on a dry day a yes would mark the likeliest of pixels that are all as good as dry.
"""


def where_forecast(
    probability: Tensor, known: Tensor, least: float | None = None, decides: Tensor | None = None
) -> Tensor:
    """Where an event is forecast, booleans.

    Args:
        probability: of the event, (..., H, W); each field decides for itself.
        known: of its shape, where there is a forecast.
        least: the probability from which on it is forecast; None: see ``best_probability``.
        decides: the pixels that decide; None: the known ones.
    """
    if least is not None:
        return known & (probability >= least)
    fields = probability.flatten(0, -3)
    decides = (known if decides is None else decides).flatten(0, -3)
    best = best_probability(fields, decides).unflatten(0, probability.shape[:-2])
    return known & (probability >= best[..., None, None])


def best_probability(probability: Tensor, decides: Tensor) -> Tensor:
    """The probability from which on forecasting an event promises the best CSI over a field, (B,).

    Of the pixels whose probability is at least t, sum p are expected to be hits, so that the
    expected critical success index is sum p (of those) / (their number + sum p (of the others)).
    It is best where t is that index over one more than it, so at most 0.5. Where no pixel is as
    probable as ``LEAST``, the event is forecast nowhere: 2.

    Args:
        probability: (B, H, W).
        decides: (B, H, W), the pixels that count.
    """
    number, total = _histogram(probability, decides)
    # of all pixels from each bin on
    chosen, hits = (sums.flip(1).cumsum(dim=1).flip(1) for sums in (number, total))
    index = hits / (chosen + hits[:, :1] - hits).clamp(min=1e-6)
    first = round(LEAST * BINS)
    best, place = index[:, first:].max(dim=1)
    return torch.where(best > 0, (first + place) / BINS, 2.0).to(probability.dtype)


def _histogram(probability: Tensor, decides: Tensor) -> tuple[Tensor, Tensor]:
    """How many of the deciding pixels have each probability, and the sum of theirs, (B, BINS)
    float64.
    """
    batch, device = probability.shape[0], probability.device
    place = torch.where(decides, (probability * BINS).long().clamp(max=BINS - 1), BINS)
    place = (place + torch.arange(batch, device=device)[:, None, None] * (BINS + 1)).flatten()
    weights = probability.nan_to_num().flatten().to(torch.float64)
    found = []
    for summed in (torch.ones_like(weights), weights):
        if torch.compiler.is_exporting():  # how long bincount's result is depends on its values
            counted = summed.new_zeros(batch * (BINS + 1)).scatter_add(0, place, summed)
        else:
            counted = torch.bincount(place, summed, minlength=batch * (BINS + 1))
        found.append(counted.view(batch, BINS + 1)[:, :BINS])
    return found[0], found[1]
