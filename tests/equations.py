"""What the tests of several networks write out again with NumPy, or ask of all of them."""

import numpy as np
import torch


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def convolve(maps, weight):
    """Zero-padded "same" cross-correlation of maps (C, H, W) with a weight (F, C, k, k) of odd side
    -> (F, H, W).
    """
    margin, (height, width) = weight.shape[-1] // 2, maps.shape[1:]
    padded = np.pad(maps, ((0, 0), (margin, margin), (margin, margin)))
    shifts = ((y, x) for y in range(weight.shape[-1]) for x in range(weight.shape[-1]))
    return sum(
        np.einsum("fc,chw->fhw", weight[:, :, y, x], padded[:, y : y + height, x : x + width])
        for y, x in shifts
    )


def assert_extends_frames_by_their_edge(model, size, *, multiple, context_length, forecast_length):
    """A forecast of frames of any size is that of the frames extended by their edge to a multiple,
    cut back; float64.
    """
    context = torch.rand(1, context_length, 1, *size, dtype=torch.float64)
    extended = np.pad(
        context.numpy(), ((0, 0),) * 3 + tuple((0, -side % multiple) for side in size), mode="edge"
    )
    forecast = model(context, forecast_length).point()
    assert forecast.shape == (1, forecast_length, 1, *size)
    expected = model(torch.from_numpy(extended), forecast_length).point()[..., : size[0], : size[1]]
    torch.testing.assert_close(forecast, expected, rtol=0, atol=1e-7)
