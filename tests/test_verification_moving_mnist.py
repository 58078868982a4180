import math

import numpy as np
import pytest
import torch

from nowcast.evaluation.statistics.moving_mnist import MovingMnistScores, ssim
from nowcast.runtime.errors import UserError
from tests.factories import scored_rows


def verified(forecast, observation):
    """{(score, lead): value} of arrays (B, T, H, W)."""
    statistic = MovingMnistScores()
    sums = statistic.of(np.asarray(forecast, np.float32), np.asarray(observation, np.float32))
    return {(row.score, row.lead): row.value for row in scored_rows(statistic, sums)}


def random_frames(seed, shape=(2, 3, 16, 12)):
    return np.random.default_rng(seed).random(shape).astype(np.float32)


def test_cross_entropy_of_one_half_is_log_2_nats_a_pixel_summed_over_pixels_and_leads():
    value = verified(np.full((3, 2, 2, 2), 0.5), np.eye(2)[None, None].repeat(3, 0).repeat(2, 1))
    assert value["cross_entropy", 1] == pytest.approx(4 * math.log(2))
    assert value["cross_entropy", None] == pytest.approx(8 * math.log(2))


def test_cross_entropy_of_grey_targets_has_a_floor_that_a_perfect_forecast_still_costs():
    grey = np.full((1, 1, 1, 1), 0.25)
    floor = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    value = verified(grey, grey)
    assert (
        value["cross_entropy", 1]
        == value["cross_entropy_floor", 1]
        == pytest.approx(floor, rel=1e-6)
    )


def test_a_certain_and_wrong_forecast_costs_16_nats_not_infinity():
    value = verified(
        np.array([1.0, 0.0]).reshape(1, 1, 1, 2), np.array([0.0, 1.0]).reshape(1, 1, 1, 2)
    )
    assert value["cross_entropy", 1] == pytest.approx(2 * 7 * math.log(10), rel=1e-6)
    assert value["cross_entropy_floor", 1] == pytest.approx(2e-7, rel=1e-6)


def test_errors_are_summed_over_pixels_averaged_over_sequences_and_leads_and_not_clipped():
    forecast, observation = np.zeros((2, 2, 1, 3)), np.zeros((2, 2, 1, 3))
    forecast[0, 0] = [2.0, -1.0, 0.5]  # squares 4 + 1 + 0.25
    value = verified(forecast, observation)
    assert (value["mse", 1], value["mse", 2], value["mse", None]) == (5.25 / 2, 0, 5.25 / 4)
    assert (value["mae", 1], value["mae", None]) == (3.5 / 2, 3.5 / 4)


def test_psnr_of_a_tenth_off_everywhere_is_20_db_and_is_averaged_over_frames():
    observation = np.full((1, 2, 2, 2), 0.5, np.float64)
    forecast = observation + np.array([0.1, 0.01]).reshape(1, 2, 1, 1)
    value = verified(forecast, observation)
    assert value["psnr", 1] == pytest.approx(20, abs=1e-4)
    assert value["psnr", None] == pytest.approx(30, abs=1e-3)


def test_psnr_and_ssim_see_the_clipped_forecast():
    observation = np.ones((1, 1, 8, 8))
    value = verified(np.full((1, 1, 8, 8), 1.7), observation)
    assert value["psnr", 1] == math.inf
    assert value["ssim", 1] == pytest.approx(1)


def test_ssim_is_that_of_a_slow_loop_over_windows():
    f, o = (
        random_frames(1, (1, 1, 9, 10)).astype(np.float64),
        random_frames(2, (1, 1, 9, 10)).astype(np.float64),
    )
    for data_range, result in zip((1, 2), ssim(f, o, data_ranges=(1, 2))):
        c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
        values = []
        for y in range(3):
            for x in range(4):
                a, b = f[0, 0, y : y + 7, x : x + 7].ravel(), o[0, 0, y : y + 7, x : x + 7].ravel()
                ((va, cov), (_, vb)) = np.cov(a, b)  # sample covariance
                ma, mb = a.mean(), b.mean()
                values.append(
                    (2 * ma * mb + c1) * (2 * cov + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2))
                )
        assert result.shape == (1, 1)
        assert result[0, 0] == pytest.approx(np.mean(values), rel=1e-9)


def test_ssim_of_a_frame_with_itself_is_one_and_with_a_flat_opposite_almost_none():
    assert ssim(random_frames(3), random_frames(3), data_ranges=(1,))[0] == pytest.approx(
        np.ones((2, 3))
    )
    black, white = np.zeros((1, 1, 7, 7)), np.ones((1, 1, 7, 7))
    assert ssim(black, white, data_ranges=(1, 2)) == [
        pytest.approx(np.array([[0.0001 / 1.0001]])),
        pytest.approx(np.array([[0.0004 / 1.0004]])),
    ]


@pytest.mark.parametrize("data_range", [1, 2])
def test_ssim_is_that_of_scikit_image(data_range):
    """The published tables were made with it: a window of 7x7, sample covariance, border left out."""
    metrics = pytest.importorskip("skimage.metrics")
    f, o = (random_frames(seed, (2, 3, 40, 33)).astype(np.float64) for seed in (4, 5))
    expected = [
        [metrics.structural_similarity(a, b, data_range=data_range) for a, b in zip(*case)]
        for case in zip(f, o)
    ]
    assert ssim(f, o, data_ranges=(data_range,))[0] == pytest.approx(np.array(expected), rel=1e-9)


def test_ssim_agrees_with_torchmetrics_where_its_population_covariance_is_scaled():
    functional = pytest.importorskip("torchmetrics.functional.image")
    f, o = (torch.from_numpy(random_frames(seed)).double() for seed in (4, 5))
    # torchmetrics divides by n, not n - 1, and pads by reflection: K2 scaled by (n - 1) / n cancels
    # the first,
    # its full similarity image cropped by three pixels the second.
    _, image = functional.structural_similarity_index_measure(
        f,
        o,
        gaussian_kernel=False,
        kernel_size=7,
        data_range=1.0,
        k2=0.03 * (48 / 49) ** 0.5,
        return_full_image=True,
        reduction="none",
    )
    expected = image[:, :, 3:-3, 3:-3].mean((2, 3)).numpy()
    assert ssim(f.numpy(), o.numpy(), data_ranges=(1,))[0] == pytest.approx(expected, rel=1e-6)


def test_psnr_agrees_with_torchmetrics():
    functional = pytest.importorskip("torchmetrics.functional.image")
    f, o = random_frames(6), random_frames(7)
    expected = functional.peak_signal_noise_ratio(
        torch.from_numpy(f), torch.from_numpy(o), data_range=(0, 1), reduction="none", dim=(2, 3)
    )
    assert verified(f, o)["psnr", None] == pytest.approx(float(expected.mean()), rel=1e-5)


def test_frames_smaller_than_the_ssim_window_have_no_ssim():
    value = verified(np.zeros((1, 1, 6, 9)), np.zeros((1, 1, 6, 9)))
    assert math.isnan(value["ssim", 1]) and value["mse", 1] == 0


def test_sums_added_in_pieces_are_the_sums_at_once():
    f, o = random_frames(8, (5, 2, 8, 8)), random_frames(9, (5, 2, 8, 8))
    once, first, second = (MovingMnistScores().sums(2) for _ in range(3))
    once.add(f, o)
    first.add(f[:2], o[:2])
    second.add(f[2:], o[2:])
    pooled = first + second
    assert pooled.sequences == 5
    found, expected = (scored_rows(MovingMnistScores(), one.totals()) for one in (pooled, once))
    assert [row.value for row in found] == pytest.approx([row.value for row in expected], rel=1e-12)


def test_a_forecast_that_is_not_a_number_makes_every_score_undefined_but_the_floor():
    value = verified(np.full((1, 1, 8, 8), np.nan), np.zeros((1, 1, 8, 8)))
    assert [score for (score, lead), v in value.items() if lead == 1 and not math.isnan(v)] == [
        "cross_entropy_floor"
    ]


def test_grey_values_up_to_255_are_refused():
    with pytest.raises(
        UserError,
        match=r"observed grey values run from 0 to 255; divide them so that they lie in \[0, 1\]",
    ):
        verified(np.zeros((1, 1, 2, 1)), np.array([0, 255.0]).reshape(1, 1, 2, 1))


def test_frames_of_another_shape_are_refused():
    with pytest.raises(
        UserError, match=r"shape \(batch, 2 frames, height, width\), got \(1, 3, 8, 8\)"
    ):
        MovingMnistScores().sums(2).add(
            np.zeros((1, 3, 8, 8), np.float32), np.zeros((1, 3, 8, 8), np.float32)
        )


def test_sums_over_another_number_of_frames_are_refused():
    with pytest.raises(UserError, match="sums over 2 leads cannot be added to sums over 3 leads"):
        MovingMnistScores().sums(2) + MovingMnistScores().sums(3)
