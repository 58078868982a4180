"""Synthetic rain: sequences made by the rules that rain seen by radar follows, unlimited and
licensed by nobody.

A case is one or two layers of rain. Each is a Gaussian field whose spectrum falls with a break, as
that of the logarithm of rain rates does; in the frame that moves with the rain every wave fades as
fast as rain of its size does, lifetime = a (wavelength / 10 km)^b, so that large patterns last and
small ones are replaced (Venugopal et al. 1999; Germann et al. 2006; the model of S-PROG and STEPS,
Seed 2003). The field, from a quantile on, is the depth in the rain, a share of the area wet: with
it the decibels rise to a plateau, on which the small waves are seen once more, so that heavy rain
is small and short-lived. It is carried by a motion with shear, rotation and eddies that turns and
quickens slowly, grows or decays as a whole, and is then seen by a radar: shadows of hills, noise,
clutter, a smallest rate, steps of the stored values, the end of the range, missing sectors and
frames.

Every number is drawn anew for each case from ranges about published values, wide enough that
weather of other places lies inside.
"""

from dataclasses import dataclass

import numpy as np

from nowcast.data.base import Cases, DataSet
from nowcast.data.sampling import sample_generator
from nowcast.runtime.errors import UserError
from nowcast.types.task import Task

_STREAMS = {"train": 0, "validation": 1, "test": 2}
# sides of the periodic area in which the rain lives, to those of the frames: it moves out, and does
# not come in again
_MARGIN = 2
_COARSE = 8  # pixels between the points on which motion is held
_DRIEST = -10.0  # dB of the weakest rain, 0.1 mm/h
_HEAVIEST = 150.0  # mm/h


@dataclass(frozen=True)
class SyntheticRain(DataSet):
    """Sequences of synthetic rain, each a pure function of (seed, part, epoch, index).

    Args:
        task: context and forecast length; its timestep where ``timesteps`` is null.
        seed: of all draws.
        size: side of the frames in pixels, at least 32.
        spacings: smallest and largest grid spacing [km]; each case has its own.
        timesteps: cadences [minutes] of which each case has one, but for those of the test; null
            for that of the task.
        samples_per_epoch: training cases in an epoch.
        renew: epochs for which a training sequence is kept in memory, turned and mirrored anew in
            each; 1 makes all of them new in every epoch.
        validation_samples, test_samples: cases of the other parts, always the same.
        missing: share of cases with something missing: out of range, sectors, whole frames.

    Raises:
        UserError: a setting out of its range.
    """

    task: Task
    seed: int
    size: int = 128
    spacings: list[float] = (0.75, 1.4)
    timesteps: list[float] | None = None
    samples_per_epoch: int = 2000
    renew: int = 1
    validation_samples: int = 64
    test_samples: int = 64
    missing: float = 0.4

    def __post_init__(self):
        counts = {
            name: getattr(self, name)
            for name in ("renew", "samples_per_epoch", "validation_samples", "test_samples")
        }
        if self.task.quantity != "rain_rate":
            raise UserError(
                f"synthetic rain is rain rates, but the task forecasts {self.task.quantity}; set "
                "task=radar, or take other data."
            )
        if self.size < 32 or min(counts.values()) < 1 or not 0 <= self.missing <= 1:
            raise UserError(
                f"data.size is {self.size}, data.missing {self.missing}, numbers of cases "
                f"{counts}; at least 32, 0 to 1, and at least 1 are needed."
            )
        if len(self.spacings) != 2 or not 0.1 <= self.spacings[0] <= self.spacings[1] <= 10:
            raise UserError(
                f"data.spacings is {list(self.spacings)}; the smallest and the largest grid "
                "spacing, within 0.1 to 10 km, are needed."
            )
        if self.timesteps is not None and (
            not self.timesteps or not all(0.5 <= step <= 60 for step in self.timesteps)
        ):
            raise UserError(
                f"data.timesteps is {list(self.timesteps)}; cadences of 0.5 to 60 minutes are "
                "needed, or null for the task's."
            )

    def part(self, name: str) -> "SyntheticCases":
        """The cases of "train", "validation" or "test".

        Raises:
            UserError: an unknown part.
        """
        if name not in _STREAMS:
            raise UserError(f"synthetic rain has the parts {', '.join(_STREAMS)}, not {name!r}.")
        return SyntheticCases(self, name)


class SyntheticCases(Cases):
    """The cases of one part of `SyntheticRain`."""

    def __init__(self, rain: SyntheticRain, name: str):
        self._rain, self._name = rain, name
        self._kept: dict[tuple[int, int], np.ndarray] = {}
        self.shape = (rain.task.window_length, rain.size, rain.size)

    def __len__(self) -> int:
        lengths = {
            "train": self._rain.samples_per_epoch,
            "validation": self._rain.validation_samples,
            "test": self._rain.test_samples,
        }
        return lengths[self._name]

    def case(self, epoch: int, index: int) -> np.ndarray:
        """Rain rates [mm/h] of context and target, (T, size, size) float32, NaN = not observed."""
        rain = self._rain
        if self._name != "train" or rain.renew == 1:
            return self._made(epoch, index)
        age, key = epoch % rain.renew, (epoch - epoch % rain.renew, index)
        if key not in self._kept:
            self._kept = {other: kept for other, kept in self._kept.items() if other[0] == key[0]}
            self._kept[key] = self._made(*key).astype(np.float16)
        sequence = self._kept[key].astype(np.float32)
        generator = sample_generator(rain.seed, epoch, rain.samples_per_epoch + index)
        turned = np.rot90(sequence, int(generator.integers(4)), (1, 2)) if age else sequence
        return np.ascontiguousarray(
            turned[:, :, ::-1] if age and generator.random() < 0.5 else turned
        )

    def size_of(self, index: int) -> tuple[int, int]:
        """(H, W) of the frames."""
        return self.shape[1:]

    def _made(self, epoch: int, index: int) -> np.ndarray:
        generator, timestep, spacing = self._start(epoch, index)
        return rain_sequence(
            generator,
            self.shape,
            timestep=timestep,
            spacing=spacing,
            missing=self._rain.missing,
            context_length=self._rain.task.context_length,
        )

    def scale(self, epoch: int, index: int) -> tuple[float, float]:
        """(timestep [minutes], grid spacing [km]) of a case."""
        return self._start(
            epoch - epoch % self._rain.renew if self._name == "train" else epoch, index
        )[1:]

    def _start(self, epoch: int, index: int) -> tuple[np.random.Generator, float, float]:
        if not 0 <= index < len(self):
            raise IndexError(f"the {self._name} part has cases 0 to {len(self) - 1}, not {index}")
        rain, stream = self._rain, _STREAMS[self._name]
        generator = (
            sample_generator(rain.seed, epoch, index)
            if stream == 0
            else np.random.default_rng(np.random.SeedSequence([rain.seed, 0, index, stream]))
        )
        timestep = float(
            rain.task.timestep
            if rain.timesteps is None
            else generator.choice(np.asarray(rain.timesteps, float))
        )
        if self._name == "test":  # scores are told by lead time
            timestep = float(rain.task.timestep)
        return generator, timestep, _between(generator, *rain.spacings)


def rain_sequence(
    generator: np.random.Generator,
    shape: tuple[int, int, int],
    *,
    timestep: float,
    spacing: float,
    missing: float = 0.4,
    context_length: int = 4,
) -> np.ndarray:
    """One sequence of synthetic rain.

    Args:
        generator: of all draws.
        shape: (T, H, W); H and W equal.
        timestep: minutes between frames.
        spacing: kilometres between pixels.
        missing: the chance that something is missing.
        context_length: frames of which single ones may be missing.

    Returns:
        Rain rates [mm/h], (T, H, W) float32, NaN = not observed.
    """
    length, side, _ = shape
    motion = _Motion(generator, side * _MARGIN, timestep=timestep, spacing=spacing)
    kind = generator.choice(["layer", "cells", "both"], p=[0.5, 0.15, 0.35])
    layers = ([_wide_rain(generator)] if kind != "cells" else []) + (
        [_showers(generator)] if kind != "layer" else []
    )
    rate = 0.0
    for layer in layers:
        own = motion if layer is layers[0] else motion.varied(generator)
        rate = rate + _carried(generator, layer, own, shape, timestep, spacing)
    return _seen_by_radar(generator, rate, timestep, spacing, missing, context_length)


@dataclass(frozen=True)
class _Layer:
    """What one kind of rain is like.

    Args:
        wet: share of the area with rain.
        gain: decibels to one standard deviation of the field.
        slopes: exponents of the power spectrum at large and at small scales.
        breaks: outer scale, above which the spectrum is flat, and the scale at which the slope
            changes [km].
        lifetime: minutes that 10 km last, and the exponent with which that grows with the scale.
        stretch, angle: of its bands.
        growth: decibels an hour.
        plateau: decibels above the weakest rain that rain approaches well inside its edges.
        cells: wavelength [km] below which the field is seen within the rain, too, and how many
            times stronger there; heavy rain is small and short-lived.
        smooth_in_time: whether waves change smoothly (the correlation in time is (1 + t/l)
            exp(-t/l)) or by shocks (exp(-t/l)).
    """

    wet: float
    gain: float
    slopes: tuple[float, float]
    breaks: tuple[float, float]
    lifetime: tuple[float, float]
    stretch: float
    angle: float
    growth: float
    plateau: float
    cells: tuple[float, float]
    smooth_in_time: bool


def _between(generator: np.random.Generator, low: float, high: float) -> float:
    """A number of a range, its logarithm uniform."""
    return float(np.exp(generator.uniform(np.log(low), np.log(high))))


def _wide_rain(generator: np.random.Generator) -> _Layer:
    """Stratiform and frontal rain."""
    return _Layer(
        wet=float(generator.beta(2, 2)),
        gain=generator.uniform(5, 12),
        slopes=(generator.uniform(2.8, 3.8), generator.uniform(4.0, 5.6)),
        breaks=(_between(generator, 120, 600), _between(generator, 6, 30)),
        lifetime=(_between(generator, 8, 40), generator.uniform(0.8, 1.4)),
        stretch=_between(generator, 1, 3),
        angle=generator.uniform(0, np.pi),
        growth=generator.normal(0, 2.0),
        cells=(_between(generator, 15, 50), _between(generator, 0.6, 2.0)),
        plateau=generator.uniform(10, 22),
        smooth_in_time=bool(generator.random() < 0.95),
    )


def _showers(generator: np.random.Generator) -> _Layer:
    """Convective cells."""
    return _Layer(
        wet=_between(generator, 0.04, 0.3),
        gain=generator.uniform(8, 14),
        slopes=(generator.uniform(2.2, 3.4), generator.uniform(4.4, 5.8)),
        breaks=(_between(generator, 40, 250), _between(generator, 8, 25)),
        lifetime=(_between(generator, 7, 28), generator.uniform(0.7, 1.3)),
        stretch=_between(generator, 1, 2),
        angle=generator.uniform(0, np.pi),
        growth=generator.normal(0, 4.0),
        cells=(_between(generator, 10, 40), _between(generator, 0.6, 1.6)),
        plateau=generator.uniform(14, 28),
        smooth_in_time=bool(generator.random() < 0.95),
    )


class _Motion:
    """Motion on a coarse periodic grid: a wind, shear and rotation about the middle, eddies; it
    turns and quickens slowly.
    """

    def __init__(
        self, generator: np.random.Generator, side: int, *, timestep: float, spacing: float
    ):
        self.side, pixels = side, timestep / 60 / spacing  # km/h -> pixels a frame
        points = side // _COARSE
        rows, columns = (np.mgrid[:points, :points] + 0.5) / points - 0.5
        towards = generator.uniform(0, 2 * np.pi)
        speed = min(float(generator.gamma(2.6, 15)), 110.0)
        self.wind = speed * np.array([np.cos(towards), np.sin(towards)]) * pixels
        hill = np.cos(np.pi * rows) * np.cos(
            np.pi * columns
        )  # the gradients live in the middle and end before the periodic edge
        gradients = generator.normal(0, 0.12 * speed + 3, (2, 2)) * pixels
        around = (
            np.stack(
                [
                    gradients[0, 0] * columns + gradients[0, 1] * rows,
                    gradients[1, 0] * columns + gradients[1, 1] * rows,
                ]
            )
            * 2
            * hill
        )
        scale = _between(generator, 60, 250) / spacing / side
        k = np.hypot(
            *np.meshgrid(
                np.fft.fftfreq(points, 1 / points),
                np.fft.rfftfreq(points, 1 / points),
                indexing="ij",
            )
        )
        amplitude = np.exp(-0.5 * (k * scale * 2) ** 2) * (k > 0)
        eddies = np.fft.irfft2(
            np.fft.rfft2(generator.standard_normal((2, points, points))) * amplitude,
            s=(points, points),
        )
        eddies *= (
            (generator.uniform(0, 0.2) * speed + generator.uniform(0, 3))
            * pixels
            / max(eddies.std(), 1e-9)
        )
        self.turning = np.radians(generator.normal(0, 12)) * timestep / 60
        self.quickening = 1 + generator.normal(0, 0.15) * timestep / 60
        self.field = around + eddies

    def varied(self, generator: np.random.Generator) -> "_Motion":
        """The motion of another layer: its wind is another by some, the rest is the same."""
        other = object.__new__(_Motion)
        other.__dict__.update(self.__dict__)
        turn, factor = np.radians(generator.normal(0, 8)), generator.uniform(0.8, 1.2)
        other.wind = factor * _turned(self.wind, turn)
        return other

    def displacements(self, length: int) -> np.ndarray:
        """Where the pixels' rain was when the sequence began: (T, 2, points, points) pixels along x
        and y.
        """
        found = [np.zeros_like(self.field)]
        for step in range(1, length):
            factor = self.quickening**step
            velocity = factor * _turned(self.wind[:, None, None] + self.field, self.turning * step)
            back = -velocity
            found.append(back + _interpolate(found[-1], back[0] / _COARSE, back[1] / _COARSE))
        return np.stack(found)


def _turned(vector: np.ndarray, angle: float) -> np.ndarray:
    """A vector (2, ...) turned."""
    return np.stack(
        [
            np.cos(angle) * vector[0] - np.sin(angle) * vector[1],
            np.sin(angle) * vector[0] + np.cos(angle) * vector[1],
        ]
    )


def _interpolate(fields: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Periodic fields (C, h, w), linearly, at places that lie (x, y) away from their points."""
    height, width = fields.shape[-2:]
    rows, columns = np.mgrid[:height, :width]
    x, y = columns + x, rows + y
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    a, b = x - left, y - top
    left, right, top, bottom = left % width, (left + 1) % width, top % height, (top + 1) % height
    upper = (1 - a) * fields[..., top, left] + a * fields[..., top, right]
    return (1 - b) * upper + b * (
        (1 - a) * fields[..., bottom, left] + a * fields[..., bottom, right]
    )


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
    """The middle of displacements on the coarse points, (2, p, p), at every pixel: (2, side, side)."""
    points = coarse.shape[-1]
    first = (points * _COARSE - side) / 2
    places = (first + np.arange(side) + 0.5) / _COARSE - 0.5
    low = np.floor(places).astype(int)
    share = (places - low).astype(np.float32)
    coarse = coarse.astype(np.float32)
    rows = (
        coarse[:, low % points] * (1 - share)[:, None]
        + coarse[:, (low + 1) % points] * share[:, None]
    )
    return rows[:, :, low % points] * (1 - share) + rows[:, :, (low + 1) % points] * share


def _waves(layer: _Layer, n: int, spacing: float) -> tuple[np.ndarray, np.ndarray]:
    """Amplitude (of a field of variance 1) and wavelength [km] of every wave of a periodic field of
    n x n pixels.
    """
    ky, kx = np.meshgrid(np.fft.fftfreq(n, spacing), np.fft.rfftfreq(n, spacing), indexing="ij")
    along, across = (
        np.cos(layer.angle) * kx + np.sin(layer.angle) * ky,
        -np.sin(layer.angle) * kx + np.cos(layer.angle) * ky,
    )
    k = np.hypot(along * layer.stretch**0.5, across / layer.stretch**0.5)
    outer, inner = (1 / scale for scale in layer.breaks)
    power = (outer**2 + k**2) ** (-layer.slopes[0] / 2) * (1 + (k / inner) ** 2) ** (
        (layer.slopes[0] - layer.slopes[1]) / 2
    )
    power[0, 0] = 0
    twice = np.full(power.shape[1], 2.0)
    twice[[0, -1]] = 1
    amplitude = np.sqrt(power / (power * twice).sum()) * n
    return amplitude.astype(np.float32), 1 / np.maximum(np.hypot(kx, ky), 0.25 / (n * spacing))


def _carried(
    generator: np.random.Generator,
    layer: _Layer,
    motion: _Motion,
    shape: tuple[int, int, int],
    timestep: float,
    spacing: float,
) -> np.ndarray:
    """Rain rates [mm/h] of one layer, (T, H, W), everywhere and without error."""
    length, side, _ = shape
    n = motion.side
    amplitude, wavelength = _waves(layer, n, spacing)
    lifetime = np.minimum(layer.lifetime[0] * (wavelength / 10) ** layer.lifetime[1], 24 * 60)
    wide = (1 / (1 + (layer.cells[0] / wavelength) ** 4)).astype(np.float32)
    rate = (timestep / lifetime).astype(np.float32) * (
        2 if layer.smooth_in_time else 1
    )  # of the two forms, at equal integral time scales
    fade = np.exp(-rate)

    edge = np.ones(amplitude.shape[1], np.float32)
    edge[[0, -1]] = (
        2**0.5
    )  # of these columns the way back to pixels takes one half of the numbers alone

    def noise() -> np.ndarray:
        parts = generator.standard_normal((*amplitude.shape, 2), dtype=np.float32).view(
            np.complex64
        )[..., 0]
        return parts * (amplitude * edge * 0.5**0.5)

    x = noise()
    if layer.smooth_in_time:  # exact steps of the stochastic oscillator at critical damping
        v = noise()
        keep = (fade * (1 + rate), fade * rate, -fade * rate, fade * (1 - rate))
        q11 = np.maximum(1 - keep[0] ** 2 - keep[1] ** 2, 0)
        q12, q22 = (
            -(keep[0] * keep[2] + keep[1] * keep[3]),
            np.maximum(1 - keep[2] ** 2 - keep[3] ** 2, 0),
        )
        l11 = np.sqrt(q11)
        l21 = q12 / np.maximum(l11, 1e-6)
        l22 = np.sqrt(np.maximum(q22 - l21**2, 0))
    quantile = _normal_quantile(1 - layer.wet)
    displacements = motion.displacements(length)
    trend = layer.growth * timestep / 60 / layer.gain
    rates = np.empty(shape, np.float32)
    for step in range(length):
        if step:
            if layer.smooth_in_time:
                first, second = noise(), noise()
                x, v = (
                    keep[0] * x + keep[1] * v + l11 * first,
                    keep[2] * x + keep[3] * v + l21 * first + l22 * second,
                )
            else:
                x = fade * x + np.sqrt(1 - fade**2) * noise()
        displacement = _enlarged(displacements[step], side)
        large, small = (
            _sampled(np.fft.irfft2(part, s=(n, n)).astype(np.float32) * n, displacement, side)
            for part in (x * wide, x * (1 - wide))
        )
        depth = np.maximum(layer.gain * (large + small - quantile + trend * (step - 3)), 0)
        inside = 1 - np.exp(-depth / layer.plateau)
        decibel = _DRIEST + inside * (layer.plateau + layer.cells[1] * layer.gain * small)
        rates[step] = np.where(depth > 0, 10 ** (np.minimum(decibel, 25) / 10), 0)
    return rates


def _normal_quantile(probability: float) -> float:
    """Of the standard normal distribution."""
    from statistics import NormalDist

    return NormalDist().inv_cdf(min(max(probability, 1e-4), 1 - 1e-4))


def _smooth_field(generator: np.random.Generator, side: int, scale: float) -> np.ndarray:
    """A field of variance about 1 that varies over ``scale`` pixels, (side, side)."""
    n = 2 * side
    k = np.hypot(*np.meshgrid(np.fft.fftfreq(n), np.fft.rfftfreq(n), indexing="ij"))
    field = np.fft.irfft2(
        np.fft.rfft2(generator.standard_normal((n, n), dtype=np.float32))
        * np.exp(-0.5 * (2 * np.pi * k * scale / 2) ** 2),
        s=(n, n),
    )[:side, :side]
    return (field / max(field.std(), 1e-9)).astype(np.float32)


def _seen_by_radar(
    generator: np.random.Generator,
    rate: np.ndarray,
    timestep: float,
    spacing: float,
    missing: float,
    context_length: int,
) -> np.ndarray:
    """What a radar makes of rain rates [mm/h], (T, H, W)."""
    length, side, _ = rate.shape
    change = np.zeros((1, side, side), np.float32)  # dB, the same in all frames
    if generator.random() < 0.5:
        change = change + generator.uniform(0.3, 2.5) * _smooth_field(
            generator, side, _between(generator, 10, 40) / spacing
        )
    x0, y0 = generator.uniform(-0.7, 1.7, 2) * side
    rows, columns = np.mgrid[:side, :side]
    distance, bearing = (
        np.hypot(columns - x0, rows - y0) * spacing,
        np.arctan2(rows - y0, columns - x0),
    )
    if generator.random() < 0.25:  # hills in the way
        for _ in range(generator.integers(1, 4)):
            middle, half = generator.uniform(-np.pi, np.pi), np.radians(generator.uniform(0.5, 4))
            behind = (np.abs(np.angle(np.exp(1j * (bearing - middle)))) < half) & (
                distance > generator.uniform(0, 100)
            )
            change = change - np.where(behind, generator.uniform(2, 15), 0)
    noise = generator.uniform(0, 1.0) if generator.random() < 0.3 else 0.0
    factor = 10 ** (change / 10)
    if noise:
        speckle = generator.standard_normal((length, side + 1, side + 1), dtype=np.float32)
        speckle = (
            speckle[:, 1:, 1:] + speckle[:, :-1, 1:] + speckle[:, 1:, :-1] + speckle[:, :-1, :-1]
        ) / 2
        factor = factor * 10 ** (noise * speckle / 10)
    seen = rate * factor.astype(np.float32)
    if generator.random() < 0.1:  # clutter
        count = int(generator.integers(1, 30))
        places = generator.integers(0, side, (2, count))
        level = (
            10 ** generator.uniform(-0.5, 1.5, count)
            * (generator.random((length, count)) < generator.uniform(0.2, 1))
        ).astype(np.float32)
        seen[:, places[0], places[1]] = np.maximum(seen[:, places[0], places[1]], level)
    smallest = generator.choice([0.0, 0.05, 0.1, 0.12, 0.2], p=[0.2, 0.2, 0.4, 0.15, 0.05])
    seen[seen < smallest] = 0
    step = generator.choice(
        [0.0, 0.6 / timestep, 3 / timestep, -0.5, -1.0], p=[0.3, 0.2, 0.2, 0.2, 0.1]
    )  # mm/h, or dB
    if step > 0:
        seen = np.round(seen / step) * step
    elif step < 0:
        seen = np.where(
            seen > 0,
            10 ** (np.round(10 * np.log10(np.maximum(seen, 1e-3)) / -step) * -step / 10),
            0,
        )
    seen = np.minimum(seen, _HEAVIEST).astype(np.float32)
    if generator.random() < missing:
        kind = generator.choice(["range", "sector", "frame"], p=[0.7, 0.15, 0.15])
        if kind == "range":
            seen[:, distance > generator.uniform(0.4, 1.5) * side * spacing] = np.nan
        elif kind == "sector":
            seen[
                :,
                np.abs(np.angle(np.exp(1j * (bearing - generator.uniform(-np.pi, np.pi)))))
                < np.radians(generator.uniform(1, 25)),
            ] = np.nan
        else:
            seen[generator.integers(max(context_length - 1, 1))] = np.nan
    return seen
