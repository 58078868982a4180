"""Events in blocks of pixels: the largest rain rate of each block, as the tables of deep-learning
papers count them ("CSI, pool 4").

K thresholds, P widths, T leads.
"""

from collections.abc import Mapping

import numpy as np

from nowcast.evaluation.statistics.by_functional import Forecast, event_fields
from nowcast.evaluation.statistics.events import contingency, event_scores
from nowcast.evaluation.statistics.sums import AddedSums, Values, fields_of

LARGEST_POOL = 1000  # pixels


class PoolSums(AddedSums):
    """Counts of events over blocks of p by p pixels, side by side as in ``max_pool2d(p,
    stride=p)``.

    A block has an event where its largest rate reaches the threshold. Missing pixels are out of
    both fields, a block without any other pixel is out of the counts, and so are incomplete blocks
    at the lower and right edges.

    Args:
        thresholds: K rain rates [mm/h].
        pools: P widths [pixels].
        forecast_length: T.

    Attributes:
        hits, misses, false_alarms: blocks, (K, P, T).
        blocks: blocks that count, (P, T).
    """

    def __init__(self, thresholds: tuple[float, ...], pools: tuple[int, ...], forecast_length: int):
        self.thresholds, self.pools = thresholds, pools
        counts = np.zeros((3, len(thresholds), len(pools), forecast_length))
        self.hits, self.misses, self.false_alarms = counts
        self.blocks = np.zeros((len(pools), forecast_length))

    def add(self, forecast: Forecast, observation: np.ndarray) -> None:
        """Add a batch, see ``SumsTogether.add``."""
        for which, field in event_fields(forecast, self.thresholds):
            is_first = which.start in (None, 0)  # whose blocks are those of all
            for lead, *fields in fields_of(field, observation):
                self._add_fields(np.stack(fields), lead, which, counts_blocks=is_first)

    def _add_fields(
        self, both: np.ndarray, lead: int, which: slice, *, counts_blocks: bool
    ) -> None:
        """Add a forecast and an observation, (2, H, W), at some of the thresholds."""
        both[:, np.isnan(both).any(0)] = -1.0  # below every threshold, and not dry
        done = {}
        for number, pool in enumerate(self.pools):
            # the largest of the largest is the largest
            start = max((width for width in done if pool % width == 0), default=1)
            f, o = done[pool] = largest(done.get(start, both), pool // start)
            if counts_blocks:
                self.blocks[number, lead] += np.count_nonzero(f >= 0)
            counts = contingency(f.reshape(-1), o.reshape(-1), self.thresholds[which])
            for total, count in zip((self.hits, self.misses, self.false_alarms), counts):
                total[which, number, lead] += count

    def values(self, totals: Mapping[str, np.ndarray]) -> Values:
        """All event scores and counts by threshold and width."""
        found = {}
        for k, threshold in enumerate(self.thresholds):
            for number, pool in enumerate(self.pools):
                counts = (
                    totals[name][..., k, number, :] for name in ("hits", "misses", "false_alarms")
                )
                found |= event_scores(*counts, totals["blocks"][..., number, :], threshold, pool)
        return found


def largest(fields: np.ndarray, pool: int) -> np.ndarray:
    """The largest values of blocks, (..., H, W) -> (..., H // pool, W // pool)."""
    if pool == 1:
        return fields
    height, width = (side // pool for side in fields.shape[-2:])
    rows = (
        fields[..., : height * pool, : width * pool]
        .reshape(*fields.shape[:-2], height, pool, width * pool)
        .max(-2)
    )
    found = rows[..., 0::pool].copy()
    for offset in range(1, pool):
        np.maximum(found, rows[..., offset::pool], out=found)
    return found
