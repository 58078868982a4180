"""Blend nowcast's ensemble with a numerical weather forecast, by pysteps.

    python docs/examples/blending_with_pysteps.py          # needs the extra pysteps

Nowcasts are better for the first hours, numerical weather prediction (NWP) after them. Services
therefore blend both. Here the shipped model draws the members of an ensemble, and each becomes the
"external nowcast" of STEPS blending (Imhoff et al. 2023, Q. J. R. Meteorol. Soc. 149), which weighs
it scale by scale against the numerical forecast. Observed frames and numerical forecast are made
up: put your own in place of `observed_frames` and `numerical_forecast`.
"""

import tempfile

import numpy as np
import xarray
from pysteps import blending, motion
from pysteps.utils.transformation import dB_transform

from nowcast.forecasting.forecaster import Forecaster
from nowcast.types.frames import Frames, Grid

THRESHOLD = 0.1  # mm/h; below it is dry
DRY = -15.0  # dBR, what is dry on pysteps' logarithmic scale
STEP = np.timedelta64(5, "m")


def showers(grid: Grid, hours: float, *, east: float) -> np.ndarray:
    """Rain rates [mm/h] of showers that move to the north-east, (H, W).

    Args:
        grid: in metres.
        hours: since they were where they began.
        east: how far they lie to the east of that [m].
    """
    x, y = np.meshgrid(grid.x - grid.x[0], grid.y - grid.y[-1])
    rate = np.zeros(grid.shape)
    for start_x, start_y, peak, radius in ((20e3, 30e3, 12, 8e3), (55e3, 15e3, 6, 14e3)):
        distance = np.hypot(x - start_x - east - 36e3 * hours, y - start_y - 24e3 * hours)
        rate += peak * np.exp(-((distance / radius) ** 2))
    return np.where(rate < THRESHOLD, 0, rate).astype(np.float32)


def observed_frames(count: int, size: int) -> Frames:
    """What the radar saw: frames of 1 km pixels, every 5 minutes."""
    grid = Grid("EPSG:3035", 4e6 + 1e3 * np.arange(size), 3e6 - 1e3 * np.arange(size))
    times = np.datetime64("2026-07-01T12:00", "s") + np.arange(count) * STEP
    fields = [showers(grid, 5 * index / 60, east=0) for index in range(count)]
    return Frames(np.stack(fields), times, grid, "made up")


def numerical_forecast(frames: Frames, steps: int) -> np.ndarray:
    """What the weather model says for the grid of the radar, at the analysis time and after each
    step, (1 + steps, H, W) [mm/h]: the same showers, 6 km too far in the east.
    """
    minutes = 5 * (len(frames) - 1 + np.arange(steps + 1))
    return np.stack([showers(frames.grid, minute / 60, east=6e3) for minute in minutes])


def decibels(rates: np.ndarray) -> np.ndarray:
    """Rain rates [mm/h] on the scale that pysteps works on."""
    return dB_transform(rates, threshold=THRESHOLD, zerovalue=DRY)[0]


def blended(
    frames: Frames, forecaster: Forecaster, numerical: np.ndarray, members: int, seed: int = 1
) -> xarray.DataArray:
    """A blended ensemble.

    Args:
        frames: observed, at least as many as the model needs, and three.
        forecaster: of a model that draws members.
        numerical: (1 + T, H, W) [mm/h], see `numerical_forecast`.
        members: M, how many.
        seed: of what pysteps draws.

    Returns:
        Rain rates [mm/h] (M, T, H, W), with the coordinates of nowcast's own ensemble.
    """
    steps = len(numerical) - 1
    forecast = forecaster(frames, steps, members=members)
    nowcasts = forecast.to_xarray()["rainfall_rate_members"]
    # Where the nowcast has no value, because the rain there was never seen, the weather model has.
    filled = np.where(np.isnan(nowcasts), numerical[1:], nowcasts)
    observed = np.nan_to_num(frames.values[-3:])
    optical_flow = motion.get_method("lucaskanade")
    pairs = np.lib.stride_tricks.sliding_window_view(numerical, 2, axis=0)
    of_model = [optical_flow(decibels(pair)) for pair in np.moveaxis(pairs, -1, 1)]
    blend = blending.get_method("steps")
    fields = []
    with tempfile.TemporaryDirectory() as skill:  # where pysteps keeps the skill of the model
        for number, member in enumerate(filled):
            nowcast_fields = np.concatenate([observed[-1:], member])
            # The members carry the uncertainty already, so no noise is added (noise_method None).
            fields += list(
                blend(
                    precip=decibels(observed),
                    precip_models=decibels(numerical)[None],
                    velocity=optical_flow(decibels(observed)),
                    velocity_models=np.stack([of_model[0], *of_model])[None],
                    timesteps=steps,
                    timestep=5,
                    issuetime=frames.times[-1].item(),
                    n_ens_members=1,
                    precip_nowcast=decibels(nowcast_fields)[None],
                    nowcasting_method="external_nowcast",
                    noise_method=None,
                    vel_pert_method=None,
                    n_cascade_levels=5,
                    precip_thr=10 * np.log10(THRESHOLD),
                    kmperpixel=frames.grid.pixel_km,
                    outdir_path_skill=skill,
                    seed=seed + number,
                )
            )
    rates = dB_transform(np.stack(fields), threshold=10 * np.log10(THRESHOLD), inverse=True)[0]
    return nowcasts.copy(data=rates.astype(np.float32)).rename("rainfall_rate_members")


def main() -> None:
    """Blend four members over an hour, and write them with the names of CF."""
    forecaster = Forecaster.load("shipped")
    frames = observed_frames(forecaster.task.context_length + 2, size=128)
    ensemble = blended(frames, forecaster, numerical_forecast(frames, steps=12), members=4)
    ensemble.to_netcdf("blended.nc", engine="h5netcdf")
    mean = ensemble.mean(("realization", "y", "x")).values
    print(f"wrote blended.nc; mean rain rate by lead time [mm/h]: {np.round(mean, 3)}")


if __name__ == "__main__":
    main()
