"""Scores against pysteps' own functions, on fields as large and as incomplete as a radar's.

Not compared, because defined otherwise: where pixels are missing, HSS (pysteps counts them as
correct negatives), FSS and SAL (it takes them as dry); structure and location of SAL (objects by
its storm detection); ranks (ties are drawn), reliability and ROC (probabilities in ten bins).
"""

import numpy as np
import pytest

from nowcast.data.examples import moving_rain
from nowcast.evaluation.statistics.ensemble import EnsembleSums
from nowcast.evaluation.statistics.neighbourhood import FractionSums
from nowcast.evaluation.statistics.pixels import PixelSums
from nowcast.evaluation.statistics.structure import StructureSums

pytest.importorskip("pysteps")
THRESHOLDS = (0.1, 0.5, 1, 2, 5, 10)
LENGTH = 3
EVENTS = {"CSI": "csi", "POD": "pod", "FAR": "far", "HSS": "hss", "BIAS": "frequency_bias"}
ERRORS = {"MAE": "mae", "MSE": "mse", "corr_p": "correlation"}
TOLERANCE = 1e-5  # relative: pysteps adds float32 fields in float32, nowcast in float64


@pytest.fixture(params=[False, True], ids=["all observed", "79 % observed"])
def gaps(request):
    return request.param


def fields(gaps=False, rows=60, columns=50):
    """Persistence of moving rain, and what came: (T, H, W) each."""
    frames = moving_rain(rows, columns)
    values = np.stack([next(frames) for _ in range(LENGTH + 1)])
    if gaps:
        y, x = ((2 * np.arange(n) + 1) / n - 1 for n in (rows, columns))
        values[:, np.hypot(y[:, None], x) > 1] = np.nan
    return np.repeat(values[:1], LENGTH, 0), values[1:]


def scored(sums, forecast, observation):
    """(score, threshold) -> values by lead."""
    sums.add(forecast[None], observation[None])
    return {
        (key.score, key.threshold): by_lead for key, by_lead in sums.values(sums.totals()).items()
    }


def just_below(threshold):
    """Pysteps counts > threshold: from the next smaller float32 on, that is the same event."""
    return np.nextafter(np.float32(threshold), np.float32(0))


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_scores_of_events(gaps, threshold):
    from pysteps.verification import detcatscores

    forecast, observation = fields(gaps)
    ours = scored(PixelSums(THRESHOLDS, LENGTH), forecast, observation)
    for lead in range(LENGTH):
        table = detcatscores.det_cat_fct_init(just_below(threshold))
        detcatscores.det_cat_fct_accum(table, forecast[lead], observation[lead])
        for theirs, value in detcatscores.det_cat_fct_compute(table, list(EVENTS)).items():
            if theirs != "HSS" or not gaps:
                found = ours[EVENTS[theirs], threshold][lead]
                np.testing.assert_allclose(found, value, rtol=TOLERANCE, err_msg=theirs)


def test_errors_and_correlation(gaps):
    from pysteps.verification import detcontscores

    forecast, observation = fields(gaps)
    ours = scored(PixelSums(THRESHOLDS, LENGTH), forecast, observation)
    for lead in range(LENGTH):
        errors = detcontscores.det_cont_fct_init()
        detcontscores.det_cont_fct_accum(errors, forecast[lead], observation[lead])
        for theirs, value in detcontscores.det_cont_fct_compute(errors, list(ERRORS)).items():
            found = ours[ERRORS[theirs], None][lead]
            np.testing.assert_allclose(found, value, rtol=TOLERANCE, err_msg=theirs)


@pytest.mark.parametrize("window", [4, 16])
def test_fractions_skill_score(window):
    from pysteps.verification.spatialscores import fss

    forecast, observation = fields()
    ours = scored(FractionSums(THRESHOLDS, (window,), LENGTH), forecast, observation)
    for threshold in THRESHOLDS:
        expected = [fss(*pair, threshold, window) for pair in zip(forecast, observation)]
        found = ours["fss", threshold]
        np.testing.assert_allclose(found, expected, rtol=TOLERANCE, err_msg=str(threshold))


def test_crps_of_an_ensemble(gaps):
    from pysteps.verification import probscores

    forecast, observation = fields(gaps)
    factors = np.random.default_rng(0).uniform(0.5, 1.5, 3).astype(np.float32)
    members = factors[:, None, None, None] * forecast
    ours = scored(EnsembleSums(THRESHOLDS, 3, LENGTH), members, observation)
    for lead in range(LENGTH):
        crps = probscores.CRPS_init()
        drawn = members[:, lead].reshape(3, -1).astype(np.float64)
        probscores.CRPS_accum(crps, drawn, observation[lead].reshape(-1).astype(np.float64))
        expected = probscores.CRPS_compute(crps)
        np.testing.assert_allclose(ours["crps", None][lead], expected, rtol=TOLERANCE)


def test_amplitude_of_sal():
    pytest.importorskip("skimage")
    from pysteps.verification.salscores import sal

    forecast, observation = fields(rows=40, columns=40)
    ours = scored(StructureSums(LENGTH), forecast, observation)
    expected = [sal(*pair)[1] for pair in zip(forecast, observation)]
    np.testing.assert_allclose(ours["sal_amplitude", None], expected, rtol=TOLERANCE)
