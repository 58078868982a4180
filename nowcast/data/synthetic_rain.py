"""Synthetic rain: sequences made by the rules that rain seen by radar follows, unlimited and
licensed by nobody.

A case is one or two layers of rain. Each is a Gaussian field whose spectrum falls with a break, as
that of the logarithm of rain rates does; in the frame that moves with the rain every wave fades as
fast as rain of its size does, so that large patterns last and small ones are replaced (Venugopal et
al. 1999; Germann et al. 2006; the model of S-PROG and STEPS, Seed 2003). It is carried by a motion
with shear, rotation and eddies that turns and quickens slowly, grows or decays as a whole, and is
then seen by a radar: shadows of hills, noise, clutter, a smallest rate, steps of the stored values,
the end of the range, missing sectors and frames.

Every number is drawn anew for each case, see ``nowcast.data.synthetic.ranges``.
"""

from dataclasses import dataclass

import numpy as np

from nowcast.data.base import Cases, DataSet
from nowcast.data.sampling import sample_generator
from nowcast.data.synthetic.fields import Layer, carried_rain
from nowcast.data.synthetic.motion import Motion
from nowcast.data.synthetic.radar import seen_by_radar
from nowcast.data.synthetic.ranges import RainRanges, chosen, log_uniform
from nowcast.runtime.errors import UserError
from nowcast.types.task import Task

_STREAMS = {"train": 0, "validation": 1, "test": 2}  # of random numbers
# sides of the periodic area in which the rain lives, to those of the frames: it moves out, and does
# not come in again
_MARGIN = 2
_RANGES = RainRanges()
_LAYERS = {
    "wide": [_RANGES.stratiform],
    "showers": [_RANGES.convective],
    "both": [_RANGES.stratiform, _RANGES.convective],
    "storms": [_RANGES.severe],
}


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
            "renew": self.renew,
            "samples_per_epoch": self.samples_per_epoch,
            "validation_samples": self.validation_samples,
            "test_samples": self.test_samples,
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
        steps = self.timesteps
        if steps is not None and not (steps and all(0.5 <= step <= 60 for step in steps)):
            raise UserError(
                f"data.timesteps is {list(steps)}; cadences of 0.5 to 60 minutes are needed, or "
                "null for the task's."
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
        age = epoch % rain.renew
        key = epoch - age, index
        if key not in self._kept:
            # sequences of earlier epochs are never asked for again
            self._kept = {other: kept for other, kept in self._kept.items() if other[0] == key[0]}
            # float16 has three digits, as radars have
            self._kept[key] = self._made(*key).astype(np.float16)
        sequence = self._kept[key].astype(np.float32)
        if age:
            generator = sample_generator(rain.seed, epoch, rain.samples_per_epoch + index)
            sequence = np.rot90(sequence, int(generator.integers(4)), (1, 2))
            if generator.random() < 0.5:
                sequence = sequence[:, :, ::-1]
        return np.ascontiguousarray(sequence)

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
        if self._name == "train":
            epoch -= epoch % self._rain.renew
        return self._start(epoch, index)[1:]

    def size_of(self, index: int) -> tuple[int, int]:
        """(H, W) of the frames."""
        return self.shape[1:]

    def _start(self, epoch: int, index: int) -> tuple[np.random.Generator, float, float]:
        """What a case begins with: its generator, its timestep and its grid spacing."""
        if not 0 <= index < len(self):
            raise IndexError(f"the {self._name} part has cases 0 to {len(self) - 1}, not {index}")
        rain, stream = self._rain, _STREAMS[self._name]
        if self._name == "train":
            generator = sample_generator(rain.seed, epoch, index)
        else:
            seed = np.random.SeedSequence([rain.seed, 0, index, stream])
            generator = np.random.default_rng(seed)
        timestep = float(rain.task.timestep)
        if rain.timesteps is not None:
            drawn = float(generator.choice(np.asarray(rain.timesteps, float)))
            # scores are by lead time, so that test cases have one cadence
            timestep = timestep if self._name == "test" else drawn
        return generator, timestep, log_uniform(generator, *rain.spacings)


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
    side = shape[1]
    scale = {"timestep": timestep, "spacing": spacing}
    motion = Motion.drawn(generator, _RANGES.motion, side * _MARGIN, **scale)
    kind = chosen(generator, _RANGES.kinds)
    layers = []
    for ranges in _LAYERS[kind]:
        layers.append(Layer.drawn(generator, ranges))
    rate = 0.0
    for number, layer in enumerate(layers):
        # layers lie at different heights, where the wind differs
        own = motion.of_next_layer(generator, _RANGES.motion) if number else motion
        rate = rate + carried_rain(generator, layer, own, shape, **scale)
    return seen_by_radar(
        generator, rate, _RANGES.radar, missing=missing, context_length=context_length, **scale
    )
