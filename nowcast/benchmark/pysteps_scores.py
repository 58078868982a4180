"""Verification as pysteps does it, by its own functions: what `nowcast benchmark what=evaluation`
measures itself against.

T leads, M members, H rows, W columns; all values as (score, threshold, lead), lead from 1.
"""

import contextlib
import io
from collections.abc import Callable, Sequence
from types import SimpleNamespace

import numpy as np

from nowcast.runtime.errors import MissingDependency

EVENT_SCORES = {"CSI": "csi", "POD": "pod", "FAR": "far", "HSS": "hss", "BIAS": "frequency_bias"}
"""pysteps' name -> nowcast's, of the scores of events that both compute."""
ERROR_SCORES = {"MAE": "mae", "MSE": "mse", "corr_p": "correlation"}
"""The same of the errors and correlations."""

Values = dict[tuple, float]


def load_pysteps() -> SimpleNamespace:
    """The verification modules of pysteps.

    Raises:
        MissingDependency: pysteps is not installed.
    """
    try:
        with contextlib.redirect_stdout(
            io.StringIO()
        ):  # pysteps announces its configuration file on import
            from pysteps.utils import spectral
            from pysteps.verification import (
                detcatscores,
                detcontscores,
                ensscores,
                probscores,
                salscores,
                spatialscores,
            )
    except ImportError as error:
        raise MissingDependency(
            f"the comparison needs pysteps ({error}); install it with: pip install "
            "'nowcast[flow]' (it is built by a C compiler)."
        ) from error
    return SimpleNamespace(
        categories=detcatscores,
        errors=detcontscores,
        ensembles=ensscores,
        probabilities=probscores,
        sal=salscores,
        neighbourhoods=spatialscores,
        spectra=spectral,
    )


def _just_below(threshold: float) -> np.float32:
    """Pysteps counts > threshold: from the next smaller float32 on, that is the same event."""
    return np.nextafter(np.float32(threshold), np.float32(0))


def pixels(
    pysteps: SimpleNamespace,
    forecast: np.ndarray,
    observation: np.ndarray,
    thresholds: Sequence[float],
) -> Values:
    """Scores of events, errors and correlation, of (T, H, W)."""
    values = {}
    for lead, (f, o) in enumerate(zip(forecast, observation), start=1):
        for threshold in thresholds:
            table = pysteps.categories.det_cat_fct_init(_just_below(threshold))
            pysteps.categories.det_cat_fct_accum(table, f, o)
            found = pysteps.categories.det_cat_fct_compute(table, list(EVENT_SCORES))
            values |= {
                (EVENT_SCORES[name], threshold, lead): float(value) for name, value in found.items()
            }
        errors = pysteps.errors.det_cont_fct_init()
        pysteps.errors.det_cont_fct_accum(errors, f, o)
        found = pysteps.errors.det_cont_fct_compute(errors, list(ERROR_SCORES))
        values |= {(ERROR_SCORES[name], None, lead): float(value) for name, value in found.items()}
    return values


def fractions(
    pysteps: SimpleNamespace,
    forecast: np.ndarray,
    observation: np.ndarray,
    thresholds: Sequence[float],
    windows: Sequence[int],
) -> Values:
    """Fractions skill scores, of (T, H, W); the score's name holds the window."""
    fss = pysteps.neighbourhoods.fss
    return {
        (f"fss {window}", threshold, lead): float(fss(f, o, threshold, window))
        for lead, (f, o) in enumerate(zip(forecast, observation), start=1)
        for threshold in thresholds
        for window in windows
    }


def spectra(
    pysteps: SimpleNamespace,
    decibels: Callable[[np.ndarray], np.ndarray],
    forecast: np.ndarray,
    observation: np.ndarray,
) -> Values:
    """Spectra of both fields, of (T, H, W); they are by ring, not by band of wavelengths, so that
    no value is given.
    """
    for field in (*forecast, *observation):
        pysteps.spectra.rapsd(decibels(field), fft_method=np.fft)
    return {}


def structure(pysteps: SimpleNamespace, forecast: np.ndarray, observation: np.ndarray) -> Values:
    """SAL, of (T, H, W), of which the amplitude has the same definition.

    Raises:
        MissingDependency: scikit-image, which pysteps finds objects with, is not installed.
    """
    values = {}
    for lead, (f, o) in enumerate(zip(forecast, observation), start=1):
        try:
            _, amplitude, _ = pysteps.sal.sal(np.nan_to_num(f), np.nan_to_num(o))
        except Exception as error:
            if "scikit-image" not in str(error) and "skimage" not in str(error):
                raise
            raise MissingDependency(
                f"pysteps' SAL needs scikit-image ({error}); install it with: pip install "
                "scikit-image"
            ) from error
        values["sal_amplitude", None, lead] = float(amplitude)
    return values


def ensembles(
    pysteps: SimpleNamespace,
    members: np.ndarray,
    observation: np.ndarray,
    thresholds: Sequence[float],
) -> Values:
    """CRPS, ranks, reliability, ROC, spread and skill, of (M, T, H, W) and (T, H, W); the CRPS has
    the same definition.
    """
    count, values = len(members), {}
    for k, o in enumerate(observation):
        x = members[:, k]
        crps = pysteps.probabilities.CRPS_init()
        pysteps.probabilities.CRPS_accum(
            crps, x.reshape(count, -1).astype(np.float64), o.reshape(-1).astype(np.float64)
        )
        values["crps", None, k + 1] = float(pysteps.probabilities.CRPS_compute(crps))
        ranks = pysteps.ensembles.rankhist_init(count)
        pysteps.ensembles.rankhist_accum(ranks, x, o)
        pysteps.ensembles.rankhist_compute(ranks)
        for threshold in thresholds:
            probability = (x >= threshold).mean(0)
            reliability = pysteps.probabilities.reldiag_init(_just_below(threshold))
            pysteps.probabilities.reldiag_accum(reliability, probability, o)
            pysteps.probabilities.reldiag_compute(reliability)
            roc = pysteps.probabilities.ROC_curve_init(_just_below(threshold))
            pysteps.probabilities.ROC_curve_accum(roc, probability, o)
            pysteps.probabilities.ROC_curve_compute(roc, compute_area=True)
        pysteps.ensembles.ensemble_skill(x, o, "RMSE")
        pysteps.ensembles.ensemble_spread(x, "RMSE")
    return values
