"""Scores of grey video in [0, 1], as the Moving MNIST tables print them.

B sequences, T leads. Sums are taken over sequences and divided once by their number.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nowcast.evaluation.statistics.base import SummedStatistic
from nowcast.evaluation.statistics.scores import ratio
from nowcast.evaluation.statistics.sums import (
    AddedSums,
    ScoreKey,
    Values,
    check_shapes,
    without_masks,
)
from nowcast.runtime.errors import UserError
from nowcast.types.arrays import as_numbers

_SCORES = ("cross_entropy", "cross_entropy_floor", "mse", "mae", "ssim", "ssim_range2", "psnr")
_PROBABILITY = (1e-7, 1 - 1e-7)  # the logarithms stay finite, as in Shi et al. 2015
_SSIM_WINDOW = 7


@dataclass(frozen=True)
class MovingMnistScores(SummedStatistic):
    """The scores of Moving MNIST; they have no settings."""

    quantity: ClassVar[str] = "grey_level"

    def sums(self, forecast_length: int) -> "MovingMnistSums":
        """Empty sums for forecasts of ``forecast_length`` frames."""
        return MovingMnistSums(forecast_length)


class MovingMnistSums(AddedSums):
    """Sums over sequences.

    Args:
        forecast_length: T.

    Attributes:
        by_frame: each score summed over the sequences, (scores, T).
        sequences: how many, ().
    """

    def __init__(self, forecast_length: int):
        self.by_frame, self.sequences = np.zeros((len(_SCORES), forecast_length)), np.zeros(())

    def add(self, forecast: np.ndarray, observation: np.ndarray) -> None:
        """Add a batch.

        Args:
            forecast: grey values, (B, T, H, W) float32; nominally in [0, 1], clipped for SSIM, PSNR
                and cross-entropy, not for MSE and MAE.
            observation: grey values in [0, 1], same shape.

        Raises:
            UserError: shapes that do not agree, or observations outside [0, 1].
        """
        forecast, observation = without_masks(forecast, observation)
        check_shapes(forecast, observation, self.by_frame.shape[1], axis="frames")
        if observation.size and not (observation.min() >= 0 and observation.max() <= 1):
            raise UserError(
                f"observed grey values run from {observation.min():g} to {observation.max():g}; "
                "divide them so that they lie in [0, 1]."
            )
        of_batch = np.zeros_like(self.by_frame)
        for pair in zip(forecast, observation):
            of_batch += _scores_of(*pair)
        self.by_frame += of_batch
        self.sequences += len(forecast)

    def values(self, totals: Mapping[str, np.ndarray]) -> Values:
        """All scores by frame."""
        values = ratio(totals["by_frame"], totals["sequences"][..., None, None])
        return {ScoreKey(score): values[..., number, :] for number, score in enumerate(_SCORES)}


def _scores_of(forecast: np.ndarray, observation: np.ndarray) -> np.ndarray:
    """All scores of one sequence, (T, H, W) -> (scores, T); one at a time, its arrays stay in the
    processor's cache.
    """
    f, o = forecast[None].astype(np.float64), observation[None].astype(np.float64)
    clipped = f.clip(0, 1)
    with np.errstate(divide="ignore"):  # a frame without any error is infinitely good
        psnr = -10 * np.log10(((clipped - o) ** 2).mean((2, 3)))
    scores = (
        _cross_entropy(f, o),
        _cross_entropy(o, o),
        ((f - o) ** 2).sum((2, 3)),
        np.abs(f - o).sum((2, 3)),
        *ssim(clipped, o, data_ranges=(1, 2)),
        psnr,
    )
    return np.concatenate(scores)


def _cross_entropy(forecast: np.ndarray, observation: np.ndarray) -> np.ndarray:
    """Cross-entropy [nats] of frames, summed over pixels, (B, T, H, W) -> (B, T)."""
    p = forecast.clip(*_PROBABILITY)
    return -(observation * np.log(p) + (1 - observation) * np.log1p(-p)).sum((2, 3))


def ssim(
    forecast: np.ndarray, observation: np.ndarray, *, data_ranges: tuple[float, ...]
) -> list[np.ndarray]:
    """Structural similarity of frames, (B, T, H, W) -> (B, T) for each data range; NaN for frames
    smaller than 7 x 7.

    A uniform 7 x 7 window, K1 = 0.01, K2 = 0.03, sample (n - 1) covariances, mean over the pixels
    whose window lies inside the frame: what scikit-image's ``structural_similarity`` computes by
    default (Wang et al. 2004).
    """
    if min(forecast.shape[2:]) < _SSIM_WINDOW:
        return [np.full(forecast.shape[:2], np.nan) for _ in data_ranges]
    f, o = (as_numbers(frames, "frames", np.float64) for frames in (forecast, observation))
    f_mean, o_mean = _box_mean(f), _box_mean(o)
    squares, product = _box_mean(f * f + o * o), _box_mean(f * o)
    sample = _SSIM_WINDOW**2 / (_SSIM_WINDOW**2 - 1)
    mean_squares, mean_product = f_mean**2 + o_mean**2, f_mean * o_mean
    variances, covariance = sample * (squares - mean_squares), sample * (product - mean_product)
    result = []
    for data_range in data_ranges:
        c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
        similarity = (
            (2 * mean_product + c1)
            * (2 * covariance + c2)
            / ((mean_squares + c1) * (variances + c2))
        )
        result.append(similarity.mean((2, 3)))
    return result


def _box_mean(frames: np.ndarray) -> np.ndarray:
    """Means over all 7 x 7 windows that lie inside, (B, T, H, W) -> (B, T, H - 6, W - 6)."""
    n = _SSIM_WINDOW
    rows = sum(frames[:, :, i : frames.shape[2] - n + 1 + i] for i in range(n))
    return sum(rows[..., i : rows.shape[3] - n + 1 + i] for i in range(n)) / n**2
