"""Motion of rain in torch: where things come from, and how it is found."""

import math

import pytest
import torch

from nowcast.models.lagrangian import motion as motion_module
from nowcast.models.lagrangian.carrying import departures, displaced, pixel_positions, sampled_at
from nowcast.models.lagrangian.maps import averaged, smooth
from nowcast.models.lagrangian.motion import motion_between


def blobs(shift_x=0.0, shift_y=0.0, *, size=(64, 80), seed=0):
    """A smooth field of a dozen Gaussian hills, shifted."""
    generator = torch.Generator().manual_seed(seed)
    rows, columns = (
        torch.arange(size[0], dtype=torch.float64)[:, None],
        torch.arange(size[1], dtype=torch.float64),
    )
    field = 0
    for _ in range(12):
        y, x, width = (
            torch.rand(1, generator=generator, dtype=torch.float64) * scale + low
            for scale, low in ((size[0], 0), (size[1], 0), (3, 3))
        )
        field = field + torch.exp(
            -((rows - y - shift_y) ** 2 + (columns - x - shift_x) ** 2) / (2 * width**2)
        )
    return field


def sequence(u, v, *, frames=4):
    return torch.stack([blobs(u * t, v * t) for t in range(frames)])[None]


def uniform(u, v, size):
    return torch.tensor([u, v]).view(1, 2, 1, 1).expand(1, 2, *size).float()


def test_a_field_is_linear_between_its_points_also_on_a_coarser_grid():
    field = torch.tensor([[0.0, 2.0], [4.0, 6.0]])[
        None, None
    ]  # two points a side, over four pixels: their centres lie at 0.5 and 2.5
    x, y = pixel_positions(4, 4, like=field)
    fine = sampled_at(field, x, y, (4, 4), beyond="border")
    assert fine[0, 0, 0].tolist() == [0.0, 0.5, 1.5, 2.0]
    assert fine[0, 0, :, 0].tolist() == [0.0, 1.0, 3.0, 4.0]
    assert displaced(field, uniform(1, 0, (2, 2)))[0, 0].tolist() == [[2.0, 0.0], [6.0, 0.0]]


def test_every_second_pixel_and_finer_pixels_lie_where_they_should():
    x, y = pixel_positions(5, 6, like=torch.empty(0), every=2, first=(1, 0))
    assert (x.flatten().tolist(), y.flatten().tolist()) == ([0, 2, 4], [1, 3])
    x, _ = pixel_positions(4, 4, like=torch.empty(0), per_pixel=2)
    assert x.flatten().tolist() == [-0.25, 0.25, 0.75, 1.25]


def test_departures_of_a_steady_wind_lie_upwind_step_by_step():
    back = list(departures(uniform(2, -1, (20, 20)), 3))
    for step, displacement in enumerate(back, start=1):
        torch.testing.assert_close(
            displacement[0, :, 10, 10], torch.tensor([-2.0 * step, 1.0 * step])
        )


def test_departures_in_a_rotation_stay_on_their_circle():
    size, angle = 65, math.radians(6)
    rows, columns = torch.meshgrid(
        torch.arange(size) - 32.0, torch.arange(size) - 32.0, indexing="ij"
    )
    motion = (
        2 * math.tan(angle / 2) * torch.stack([-rows, columns])[None]
    )  # the chord's direction is the motion in its middle
    back = list(departures(motion, 5))[-1][0, :, 32, 52]  # 20 pixels to the right of the middle
    turned = 20 * torch.tensor([math.cos(-5 * angle), math.sin(-5 * angle)])
    torch.testing.assert_close(torch.tensor([20.0, 0.0]) + back, turned, rtol=0, atol=0.15)


@pytest.mark.parametrize("motion", [(0.0, 0.0), (1.5, 0.0), (-2.3, 3.1), (6.0, -4.0)])
def test_the_motion_of_a_shifted_field_is_its_shift(motion):
    frames = sequence(*motion)
    found = motion_between(frames, torch.ones_like(frames), window=6.0)[0, :, 16:-16, 20:-20]
    torch.testing.assert_close(
        found.mean((1, 2)), torch.tensor(motion, dtype=torch.float64), rtol=0, atol=0.15
    )


@pytest.mark.parametrize("size", [(96, 128), (93, 131)])
def test_windows_summed_up_on_a_coarser_grid_find_the_same_motion(size, monkeypatch):
    rows, columns = torch.meshgrid(
        torch.arange(size[0]) - size[0] / 2, torch.arange(size[1]) - size[1] / 2, indexing="ij"
    )
    turning = 0.03 * torch.stack([-rows, columns])[None].double()  # pixels a frame
    frames = [blobs(size=size, seed=3)[None, None]]
    for _ in range(3):
        frames.append(displaced(frames[-1], next(departures(turning, 1)), beyond="border"))
    frames = torch.cat(frames, dim=1)
    coarse = motion_between(frames, torch.ones_like(frames), window=16.0)
    monkeypatch.setattr(motion_module, "_POINTS_PER_WINDOW", 1000)  # no grid is ever coarser
    fine = motion_between(frames, torch.ones_like(frames), window=16.0)
    assert fine.abs().max() > 0.5
    assert (coarse - fine).abs().max() < 0.003


def test_what_was_not_observed_has_no_say():
    frames, observed = sequence(1.5, -1.0), torch.ones(1, 4, 64, 80, dtype=torch.float64)
    observed[:, 2], observed[:, :, :8] = 0, 0
    hidden = torch.where(observed > 0, frames, 7.0)
    torch.testing.assert_close(
        motion_between(hidden, observed, window=6.0),
        motion_between(torch.where(observed > 0, frames, 0.0), observed, window=6.0),
    )
    assert motion_between(hidden, observed, window=6.0)[0, :, 30, 40].tolist() == pytest.approx(
        [1.5, -1.0], abs=0.15
    )


@pytest.mark.parametrize("window", [6.0, 24.0])
@pytest.mark.parametrize("size", [(1, 1), (3, 50), (17, 16)])
def test_without_rain_and_on_small_grids_the_motion_is_0_and_finite(size, window):
    frames = torch.zeros(2, 3, *size)
    assert motion_between(frames, torch.ones_like(frames), window=window, levels=1).abs().max() == 0
    moving = torch.rand(2, 3, *size)
    found = motion_between(moving, torch.ones_like(moving), window=window, levels=1)
    assert found.shape == (2, 2, *size) and found.isfinite().all()


def test_means_over_squares_count_only_pixels_with_weight():
    field, weight = averaged(
        torch.tensor([[2.0, 9.0, 5.0]])[None, None], torch.tensor([[1.0, 0.0, 1.0]])[None, None], 2
    )
    assert (field.tolist(), weight.tolist()) == ([[[[2.0, 5.0]]]], [[[[0.5, 1.0]]]])


def test_a_gaussian_mean_keeps_the_sum_and_has_its_width():
    field = torch.zeros(1, 1, 41, 41, dtype=torch.float64)
    field[..., 20, 20] = 1
    blurred = smooth(field, 2.5)[0, 0]
    assert blurred.sum() == pytest.approx(1)
    assert (blurred.sum(0) * (torch.arange(41) - 20) ** 2).sum() == pytest.approx(2.5**2, rel=0.05)


@pytest.mark.parametrize(
    ("size", "width"),
    [((40, 56), 0.7), ((33, 47), 2.5), ((31, 130), 12.0), ((1, 9), 24.0), ((65, 3), 48.0)],
)
def test_a_gaussian_mean_is_the_convolution_along_rows_and_columns_with_zeros_beyond(size, width):
    fields = torch.rand(
        2, 3, *size, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    radius = max(1, min(round(3 * width), 2 * max(size)))
    kernel = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, dtype=torch.float64) / width) ** 2)
    kernel = (kernel / kernel.sum())[None, None, None]
    rows = torch.nn.functional.conv2d(fields.flatten(0, 1)[:, None], kernel.mT, padding=(radius, 0))
    expected = torch.nn.functional.conv2d(rows, kernel, padding=(0, radius)).reshape(fields.shape)
    torch.testing.assert_close(smooth(fields, width), expected)


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize(
    ("rows", "beyond"), [(64, "zeros"), (63, "border"), (4, "zeros"), (0, "zeros")]
)
def test_cores_that_share_the_rows_of_one_field_find_the_same(threads, rows, beyond, set_threads):
    fields = torch.rand(2, 3, 20, 30, generator=torch.Generator().manual_seed(0))
    x, y = pixel_positions(rows, 90, like=fields, per_pixel=3)
    set_threads(threads)
    alone = torch.cat(
        [sampled_at(field[None], x, y + 0.3 * x, (20, 30), beyond=beyond) for field in fields]
    )
    torch.testing.assert_close(
        alone, sampled_at(fields, x, y + 0.3 * x, (20, 30), beyond=beyond), rtol=0, atol=0
    )
