"""Events: counting them, and the scores of the counts.

P pixels or blocks of pixels, K thresholds, T leads.
"""

import numpy as np

from nowcast.evaluation.statistics import scores
from nowcast.evaluation.statistics.sums import ScoreKey, Values


def contingency(
    forecast: np.ndarray, observation: np.ndarray, thresholds: tuple[float, ...]
) -> np.ndarray:
    """Hits, misses and false alarms, (3, K), of rain rates (P,) without NaN; pixels that are masked
    in either are left out.

    The thresholds are rounded to float32 like the rain rates, or a rate of exactly 0.7 mm/h would
    miss the threshold 0.7.
    """
    if np.ma.isMaskedArray(forecast) or np.ma.isMaskedArray(observation):
        known = ~(np.ma.getmaskarray(forecast) | np.ma.getmaskarray(observation))
        forecast, observation = np.ma.getdata(forecast)[known], np.ma.getdata(observation)[known]
    counts = np.zeros((3, len(thresholds)), np.int64)
    f, o = np.empty((2, forecast.size), bool)
    for k, threshold in enumerate(np.asarray(thresholds, np.float32)):
        np.greater_equal(forecast, threshold, out=f)
        np.greater_equal(observation, threshold, out=o)
        forecasts, observations = np.count_nonzero(f), np.count_nonzero(o)
        if not forecasts and not observations:
            break  # nor do they reach a higher one
        np.logical_and(f, o, out=f)
        hits = np.count_nonzero(f)
        counts[:, k] = hits, observations - hits, forecasts - hits
    return counts


def event_scores(hits, misses, false_alarms, pixels, threshold: float, window: int = 1) -> Values:
    """All scores of events, and the four counts, of hits, misses, false alarms and all pixels,
    (..., T) each.
    """
    h, m, f, r = hits, misses, false_alarms, pixels - hits - misses - false_alarms
    found = {
        "csi": scores.csi(h, m, f),
        "pod": scores.pod(h, m),
        "far": scores.far(h, f),
        "success_ratio": scores.success_ratio(h, f),
        "hss": scores.hss(h, m, f, r),
        "ets": scores.ets(h, m, f, r),
        "peirce": scores.peirce(h, m, f, r),
        "sedi": scores.sedi(h, m, f, r),
        "f1": scores.f1(h, m, f),
        "accuracy": scores.accuracy(h, m, f, r),
        "frequency_bias": scores.frequency_bias(h, m, f),
        "hits": h,
        "misses": m,
        "false_alarms": f,
        "correct_negatives": r,
    }
    return {ScoreKey(score, threshold, window): value for score, value in found.items()}
