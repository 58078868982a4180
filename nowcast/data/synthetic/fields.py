"""Rain that is carried by a motion while its patterns fade, the small ones first."""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from nowcast.data.synthetic.motion import COARSE, Motion, wavenumbers
from nowcast.data.synthetic.ranges import LayerRanges, log_uniform

_LOWEST = -10.0  # dB of the weakest rain, 0.1 mm/h
_HIGHEST = 25.0  # dB at which the small cells end, 316 mm/h
_LONGEST = 24 * 60  # minutes; what lasts longer does not change within a sequence
_STEADY_FRAME = 3  # in which growth leaves as much rain as was drawn: early, as context usually is


@dataclass(frozen=True)
class Layer:
    """What one kind of rain is like: numbers within `LayerRanges`, which says what they mean.

    Args:
        angle: of its bands, radians from the x axis.
        smooth_in_time: whether waves change smoothly (the correlation in time is (1 + t/l)
            exp(-t/l)) or by shocks (exp(-t/l)).
    """

    wet: float
    gain: float
    slopes: tuple[float, float]
    scales: tuple[float, float]
    lifetime: float
    lifetime_exponent: float
    stretch: float
    angle: float
    growth: float
    cell_scale: float
    cell_strength: float
    plateau: float
    smooth_in_time: bool

    @classmethod
    def drawn(cls, generator: np.random.Generator, ranges: LayerRanges) -> "Layer":
        """Any layer within the ranges."""

        def uniform(limits):
            return generator.uniform(*limits)

        def factor(limits):
            return log_uniform(generator, *limits)

        # the order of the draws is part of what a seed means
        return cls(
            wet=float(generator.beta(2, 2)) if ranges.wet is None else factor(ranges.wet),
            gain=uniform(ranges.gain),
            slopes=(uniform(ranges.large_slope), uniform(ranges.small_slope)),
            scales=(factor(ranges.outer_scale), factor(ranges.inner_scale)),
            lifetime=factor(ranges.lifetime),
            lifetime_exponent=uniform(ranges.lifetime_exponent),
            stretch=factor(ranges.stretch),
            angle=generator.uniform(0, np.pi),
            growth=generator.normal(0, ranges.growth),
            cell_scale=factor(ranges.cell_scale),
            cell_strength=factor(ranges.cell_strength),
            plateau=uniform(ranges.plateau),
            smooth_in_time=bool(generator.random() < ranges.smooth_in_time),
        )


def spectrum(layer: Layer, n: int, spacing: float) -> tuple[np.ndarray, np.ndarray]:
    """Amplitude (of a field of variance 1) and wavelength [km] of every wave of a periodic field of
    n x n pixels.
    """
    ky, kx = wavenumbers(n, spacing)
    along = np.cos(layer.angle) * kx + np.sin(layer.angle) * ky
    across = -np.sin(layer.angle) * kx + np.cos(layer.angle) * ky
    k = np.hypot(along * layer.stretch**0.5, across / layer.stretch**0.5)
    outer, inner = (1 / scale for scale in layer.scales)
    large, small = layer.slopes
    power = (outer**2 + k**2) ** (-large / 2) * (1 + (k / inner) ** 2) ** ((large - small) / 2)
    power[0, 0] = 0
    # rfft2 leaves out the second of each pair of conjugate waves
    twice = np.full(power.shape[1], 2.0)
    twice[[0, -1]] = 1
    amplitude = np.sqrt(power / (power * twice).sum()) * n
    return amplitude.astype(np.float32), 1 / np.maximum(np.hypot(kx, ky), 0.25 / (n * spacing))


class FadingWaves:
    """The waves of a Gaussian field in the frame that moves with the rain, each of which fades as
    fast as rain of its size does: lifetime (wavelength / 10 km)^exponent.

    Args:
        generator: of all draws.
        layer: its spectrum and lifetimes.
        n: side of the field [pixels].
        timestep: minutes of a step.
        spacing: kilometres of a pixel.
    """

    def __init__(
        self,
        generator: np.random.Generator,
        layer: Layer,
        n: int,
        *,
        timestep: float,
        spacing: float,
    ):
        self._generator, self._smooth = generator, layer.smooth_in_time
        amplitude, self.wavelength = spectrum(layer, n, spacing)
        # in the first and last column the way back to pixels takes one half of the numbers alone
        edge = np.ones(amplitude.shape[1], np.float32)
        edge[[0, -1]] = 2**0.5
        self._deviation = amplitude * edge * 0.5**0.5
        lifetime = layer.lifetime * (self.wavelength / 10) ** layer.lifetime_exponent
        rate = (timestep / np.minimum(lifetime, _LONGEST)).astype(np.float32)
        if self._smooth:
            rate = rate * 2  # of the two forms, at equal integral time scales
        self._fade = np.exp(-rate)
        self.now = self._noise()
        if self._smooth:
            self._velocity = self._noise()
            self._prepare_oscillator(rate)

    def _noise(self) -> np.ndarray:
        """Complex numbers with the variance of the field's waves."""
        shape = (*self._deviation.shape, 2)
        numbers = self._generator.standard_normal(shape, dtype=np.float32)
        return numbers.view(np.complex64)[..., 0] * self._deviation

    def _prepare_oscillator(self, rate: np.ndarray) -> None:
        """Exact steps of the stochastic oscillator at critical damping: what is kept of place and
        velocity, and the Cholesky factor of the noise that keeps their variances at 1.
        """
        fade = self._fade
        keep = self._keep = (fade * (1 + rate), fade * rate, -fade * rate, fade * (1 - rate))
        q11 = np.maximum(1 - keep[0] ** 2 - keep[1] ** 2, 0)
        q12 = -(keep[0] * keep[2] + keep[1] * keep[3])
        q22 = np.maximum(1 - keep[2] ** 2 - keep[3] ** 2, 0)
        l11 = np.sqrt(q11)
        l21 = q12 / np.maximum(l11, 1e-6)
        self._noise_factor = l11, l21, np.sqrt(np.maximum(q22 - l21**2, 0))

    def step(self) -> None:
        """On to the next frame."""
        if not self._smooth:
            self.now = self._fade * self.now + np.sqrt(1 - self._fade**2) * self._noise()
            return
        first, second = self._noise(), self._noise()
        keep, (l11, l21, l22) = self._keep, self._noise_factor
        now, velocity = self.now, self._velocity
        self.now = keep[0] * now + keep[1] * velocity + l11 * first
        self._velocity = keep[2] * now + keep[3] * velocity + l21 * first + l22 * second


def carried_rain(
    generator: np.random.Generator,
    layer: Layer,
    motion: Motion,
    shape: tuple[int, int, int],
    *,
    timestep: float,
    spacing: float,
) -> np.ndarray:
    """Rain rates [mm/h] of one layer, (T, H, W) float32, everywhere and without error.

    The field, from a quantile on, is the depth in the rain, a share of the area wet: with it the
    decibels rise to a plateau, on which the small waves are seen once more.
    """
    length, side, _ = shape
    n = motion.side
    waves = FadingWaves(generator, layer, n, timestep=timestep, spacing=spacing)
    # which part of each wave belongs to the large patterns: half at the wavelength of the cells
    wide = (1 / (1 + (layer.cell_scale / waves.wavelength) ** 4)).astype(np.float32)
    quantile = NormalDist().inv_cdf(min(max(1 - layer.wet, 1e-4), 1 - 1e-4))
    trend = layer.growth * timestep / 60 / layer.gain
    displacements = motion.displacements(length)
    rates = np.empty(shape, np.float32)
    for step in range(length):
        if step:
            waves.step()
        displacement = _enlarged(displacements[step], side)
        large, small = (
            _sampled(np.fft.irfft2(part, s=(n, n)).astype(np.float32) * n, displacement, side)
            for part in (waves.now * wide, waves.now * (1 - wide))
        )
        growth = trend * (step - _STEADY_FRAME)
        depth = np.maximum(layer.gain * (large + small - quantile + growth), 0)
        inside = 1 - np.exp(-depth / layer.plateau)
        decibel = _LOWEST + inside * (layer.plateau + layer.cell_strength * layer.gain * small)
        rates[step] = np.where(depth > 0, 10 ** (np.minimum(decibel, _HIGHEST) / 10), 0)
    return rates


def _cubic(t: np.ndarray) -> list[np.ndarray]:
    """Weights of the four neighbours of a place, a share t from the second to the third (Catmull
    and Rom).
    """
    t2, t3 = t * t, t * t * t
    return [
        0.5 * (-t3 + 2 * t2 - t),
        0.5 * (3 * t3 - 5 * t2 + 2),
        0.5 * (-3 * t3 + 4 * t2 + t),
        0.5 * (t3 - t2),
    ]


def _sampled(field: np.ndarray, displacement: np.ndarray, side: int) -> np.ndarray:
    """The middle of a periodic field, (n, n) -> (side, side), cubically, at places displaced by (2,
    side, side) pixels.
    """
    n = len(field)
    first = (n - side) // 2
    places = np.arange(first, first + side, dtype=np.float32)
    x, y = places + displacement[0], places[:, None] + displacement[1]
    left, top = np.floor(x), np.floor(y)
    horizontal, vertical = _cubic(x - left), _cubic(y - top)
    left, top = left.astype(np.int32) - 1, top.astype(np.int32) - 1
    columns = [(left + i) % n for i in range(4)]
    flat, total = field.ravel(), 0.0
    for j in range(4):
        row = (top + j) % n * n
        total = total + vertical[j] * sum(horizontal[i] * flat[row + columns[i]] for i in range(4))
    return total


def _enlarged(coarse: np.ndarray, side: int) -> np.ndarray:
    """The middle of displacements on coarse points, (2, p, p), at every pixel: (2, side, side)."""
    points = coarse.shape[-1]
    first = (points * COARSE - side) / 2
    places = (first + np.arange(side) + 0.5) / COARSE - 0.5
    low = np.floor(places).astype(int)
    share = (places - low).astype(np.float32)
    before, after = low % points, (low + 1) % points
    coarse = coarse.astype(np.float32)
    rows = coarse[:, before] * (1 - share)[:, None] + coarse[:, after] * share[:, None]
    return rows[:, :, before] * (1 - share) + rows[:, :, after] * share
