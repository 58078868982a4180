"""The wind that carries synthetic rain, on a coarse periodic grid."""

from dataclasses import dataclass, replace

import numpy as np

from nowcast.data.synthetic.ranges import MotionRanges, log_uniform

COARSE = 8  # pixels between the points of the motion, which varies over tens of kilometres


def wavenumbers(count: int, spacing: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Waves of periodic fields of count x count points, as ``rfft2`` orders them: down, (count, 1),
    and across, (count // 2 + 1,), in cycles per unit of the spacing.
    """
    return np.fft.fftfreq(count, spacing)[:, None], np.fft.rfftfreq(count, spacing)


def filtered_noise(
    generator: np.random.Generator, shape: tuple[int, ...], amplitude: np.ndarray, dtype=np.float64
) -> np.ndarray:
    """White noise (..., n, n) whose waves are multiplied by an amplitude."""
    noise = generator.standard_normal(shape, dtype=dtype)
    return np.fft.irfft2(np.fft.rfft2(noise) * amplitude, s=shape[-2:])


def turned(vector: np.ndarray, angle: float) -> np.ndarray:
    """A vector (2, ...) turned by an angle."""
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.stack([cosine * vector[0] - sine * vector[1], sine * vector[0] + cosine * vector[1]])


@dataclass(frozen=True)
class Motion:
    """A wind with shear and rotation about the middle and with eddies, which turns and quickens.

    Args:
        side: pixels of the periodic area in which the rain moves.
        wind: pixels a frame along x and y, (2,).
        variation: what is added to it, (2, points, points); a point every `COARSE` pixels.
        turning: radians a frame.
        quickening: factor of the speed from one frame to the next.
    """

    side: int
    wind: np.ndarray
    variation: np.ndarray
    turning: float
    quickening: float

    @classmethod
    def drawn(
        cls,
        generator: np.random.Generator,
        ranges: MotionRanges,
        side: int,
        *,
        timestep: float,
        spacing: float,
    ) -> "Motion":
        """Any motion within the ranges, for a timestep [minutes] and a grid spacing [km]."""
        pixels = timestep / 60 / spacing  # km/h -> pixels a frame
        points = side // COARSE
        towards = generator.uniform(0, 2 * np.pi)
        speed = min(float(generator.gamma(ranges.speed_shape, ranges.speed_scale)), ranges.fastest)
        wind = speed * np.array([np.cos(towards), np.sin(towards)]) * pixels
        deviation = ranges.gradient_share * speed + ranges.gradient
        around = _linear(generator.normal(0, deviation, (2, 2)) * pixels, points)
        scale = log_uniform(generator, *ranges.eddy_scale) / spacing / side
        k = np.hypot(*wavenumbers(points, 1 / points))
        amplitude = np.exp(-0.5 * (k * scale * 2) ** 2) * (k > 0)
        eddies = filtered_noise(generator, (2, points, points), amplitude)
        share, added = generator.uniform(0, ranges.eddy_share), generator.uniform(0, ranges.eddy)
        # scaled after drawing: noise of few waves has any strength
        eddies *= (share * speed + added) * pixels / max(eddies.std(), 1e-9)
        turning = np.radians(generator.normal(0, ranges.turning)) * timestep / 60
        quickening = 1 + generator.normal(0, ranges.quickening) * timestep / 60
        return cls(side, wind, around + eddies, turning, quickening)

    def of_next_layer(self, generator: np.random.Generator, ranges: MotionRanges) -> "Motion":
        """The motion at another height: its wind is another by some, the rest is the same."""
        turn = np.radians(generator.normal(0, ranges.layer_turn))
        factor = generator.uniform(*ranges.layer_speed)
        return replace(self, wind=factor * turned(self.wind, turn))

    def displacements(self, length: int) -> np.ndarray:
        """Where the pixels' rain was when the sequence began: (T, 2, points, points) pixels along x
        and y.
        """
        found = [np.zeros_like(self.variation)]
        # backwards in time, so that every pixel gets a value and none gets two
        for step in range(1, length):
            factor = self.quickening**step
            wind = self.wind[:, None, None] + self.variation
            back = -(factor * turned(wind, self.turning * step))
            found.append(back + _interpolate(found[-1], back[0] / COARSE, back[1] / COARSE))
        return np.stack(found)


def _linear(gradients: np.ndarray, points: int) -> np.ndarray:
    """Shear and rotation about the middle, (2, points, points), from gradients (2, 2) over half the
    area; they end before the periodic edge.
    """
    rows, columns = (np.mgrid[:points, :points] + 0.5) / points - 0.5
    # 1 in the middle, 0 at the edge
    hill = np.cos(np.pi * rows) * np.cos(np.pi * columns)
    return (
        np.stack([along_x * columns + along_y * rows for along_x, along_y in gradients]) * 2 * hill
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
    lower = (1 - a) * fields[..., bottom, left] + a * fields[..., bottom, right]
    return (1 - b) * upper + b * lower
