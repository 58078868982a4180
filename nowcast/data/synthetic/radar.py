"""What a radar makes of rain: errors, clutter, rounding, and what it does not see."""

import numpy as np

from nowcast.data.synthetic.motion import filtered_noise, wavenumbers
from nowcast.data.synthetic.ranges import RadarRanges, chosen, log_uniform


def seen_by_radar(
    generator: np.random.Generator,
    rate: np.ndarray,
    ranges: RadarRanges,
    *,
    timestep: float,
    spacing: float,
    missing: float,
    context_length: int,
) -> np.ndarray:
    """Rain rates [mm/h] as they are stored, (T, H, W) float32, NaN = not observed.

    Args:
        generator: of all draws, whose order is part of what a seed means.
        rate: as it rains, (T, H, W); H and W equal.
        ranges: of all errors.
        timestep: minutes between frames.
        spacing: kilometres between pixels.
        missing: chance that something is missing.
        context_length: frames of which single ones may be missing.
    """
    length, side, _ = rate.shape
    change = np.zeros((1, side, side), np.float32)  # dB, the same in all frames
    if generator.random() < ranges.uneven:
        strength = generator.uniform(*ranges.uneven_by)
        scale = log_uniform(generator, *ranges.uneven_scale) / spacing
        change = change + strength * _smooth_field(generator, side, scale)
    x0, y0 = generator.uniform(*ranges.place, 2) * side
    rows, columns = np.mgrid[:side, :side]
    distance = np.hypot(columns - x0, rows - y0) * spacing
    bearing = np.arctan2(rows - y0, columns - x0)
    if generator.random() < ranges.hills:
        change = _behind_hills(generator, change, distance, bearing, ranges)
    # the errors of all frames are the same, those of noise are new in each
    factor = 10 ** (change / 10)
    if generator.random() < ranges.noise:
        strength = generator.uniform(0, ranges.noise_by)
        factor = factor * 10 ** (strength * _speckle(generator, length, side) / 10)
    seen = rate * factor.astype(np.float32)
    if generator.random() < ranges.clutter:
        _add_clutter(generator, seen, ranges)
    seen = _stored(generator, seen, ranges, timestep)
    if generator.random() < missing:
        kind = chosen(generator, ranges.missing_kinds)
        if kind == "range":
            end = generator.uniform(*ranges.end_of_range) * side * spacing
            seen[:, distance > end] = np.nan
        elif kind == "sector":
            middle = generator.uniform(-np.pi, np.pi)
            half = np.radians(generator.uniform(*ranges.sector))
            seen[:, _between(bearing, middle, half)] = np.nan
        else:
            # never the last context frame, from which the forecast starts
            seen[generator.integers(max(context_length - 1, 1))] = np.nan
    return seen


def _between(bearing: np.ndarray, middle: float, half: float) -> np.ndarray:
    """Whether bearings lie within half an angle of a middle one [radians]."""
    return np.abs(np.angle(np.exp(1j * (bearing - middle)))) < half


def _smooth_field(generator: np.random.Generator, side: int, scale: float) -> np.ndarray:
    """A field of variance about 1 that varies over ``scale`` pixels, (side, side)."""
    n = 2 * side
    amplitude = np.exp(-0.5 * (2 * np.pi * np.hypot(*wavenumbers(n)) * scale / 2) ** 2)
    field = filtered_noise(generator, (n, n), amplitude, np.float32)[:side, :side]
    return (field / max(field.std(), 1e-9)).astype(np.float32)


def _behind_hills(
    generator: np.random.Generator,
    change: np.ndarray,
    distance: np.ndarray,
    bearing: np.ndarray,
    ranges: RadarRanges,
) -> np.ndarray:
    """Decibels (1, H, W), less what is lost in the shadows of hills."""
    for _ in range(generator.integers(*ranges.hill_count)):
        middle = generator.uniform(-np.pi, np.pi)
        half = np.radians(generator.uniform(*ranges.hill_width))
        behind = distance > generator.uniform(0, ranges.hill_distance)
        loss = generator.uniform(*ranges.hill_loss)
        change = change - np.where(_between(bearing, middle, half) & behind, loss, 0)
    return change


def _speckle(generator: np.random.Generator, length: int, side: int) -> np.ndarray:
    """Noise of variance 1 that neighbouring pixels share, as beams overlap, (T, side, side)."""
    noise = generator.standard_normal((length, side + 1, side + 1), dtype=np.float32)
    return (noise[:, 1:, 1:] + noise[:, :-1, 1:] + noise[:, 1:, :-1] + noise[:, :-1, :-1]) / 2


def _add_clutter(generator: np.random.Generator, seen: np.ndarray, ranges: RadarRanges) -> None:
    """Single pixels with rates that do not move, in some of the frames."""
    length, side, _ = seen.shape
    count = int(generator.integers(*ranges.clutter_count))
    rows, columns = generator.integers(0, side, (2, count))
    # echoes of the ground come and go with the propagation of the beam
    level = 10 ** generator.uniform(*ranges.clutter_level, count)
    present = generator.random((length, count)) < generator.uniform(*ranges.clutter_present)
    clutter = (level * present).astype(np.float32)
    seen[:, rows, columns] = np.maximum(seen[:, rows, columns], clutter)


def _stored(
    generator: np.random.Generator, seen: np.ndarray, ranges: RadarRanges, timestep: float
) -> np.ndarray:
    """Rates with a smallest and a largest one, rounded to steps of mm/h or of decibels."""
    seen[seen < chosen(generator, ranges.smallest_rates)] = 0
    step = chosen(generator, ranges.steps(timestep))
    if step > 0:
        seen = np.round(seen / step) * step
    elif step < 0:
        decibel = np.round(10 * np.log10(np.maximum(seen, 1e-3)) / -step) * -step
        seen = np.where(seen > 0, 10 ** (decibel / 10), 0)
    return np.minimum(seen, ranges.heaviest).astype(np.float32)
