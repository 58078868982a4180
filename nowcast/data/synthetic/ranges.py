"""The numbers that synthetic rain is drawn from: ranges about published values, wide enough that
weather of other places lies inside.
"""

from dataclasses import dataclass

import numpy as np

Range = tuple[float, float]
Chances = tuple[tuple[float | str, float], ...]
"""Values, each with the chance of it."""


def log_uniform(generator: np.random.Generator, low: float, high: float) -> float:
    """A number of a range, its logarithm uniform: for what is known to a factor."""
    return float(np.exp(generator.uniform(np.log(low), np.log(high))))


def chosen(generator: np.random.Generator, chances: Chances):
    """One of the values."""
    values, shares = zip(*chances, strict=True)
    return generator.choice(list(values), p=list(shares))


@dataclass(frozen=True)
class LayerRanges:
    """What one kind of rain may be like.

    The spectrum of the logarithm of rain rates falls as a power of the wavenumber, flatter at large
    scales than at small ones, and patterns last the longer the larger they are (Venugopal et al.
    1999; Germann et al. 2006; Seed 2003).

    Args:
        wet: share of the area with rain, its logarithm uniform; None: anything from none to all of
            it, half of it the most likely.
        gain: decibels to one standard deviation of the field, which sets how rates vary.
        large_slope: exponent of the power spectrum between the outer and the inner scale.
        small_slope: exponent below the inner scale.
        outer_scale: wavelength above which the spectrum is flat [km].
        inner_scale: wavelength at which the slope changes [km].
        lifetime: minutes that patterns of 10 km last.
        lifetime_exponent: with which lifetimes grow with the scale.
        stretch: of bands, length to width.
        growth: standard deviation of growth or decay as a whole [dB/h].
        cell_scale: wavelength below which the field is seen within the rain, too [km]: heavy rain
            is small and short-lived.
        cell_strength: how many times stronger it is seen there.
        plateau: decibels above the weakest rain that rain approaches well inside its edges.
        smooth_in_time: chance that waves change smoothly, not by shocks.
    """

    wet: Range | None
    gain: Range
    large_slope: Range
    small_slope: Range
    outer_scale: Range
    inner_scale: Range
    lifetime: Range
    lifetime_exponent: Range
    stretch: Range
    growth: float
    cell_scale: Range
    cell_strength: Range
    plateau: Range
    smooth_in_time: float = 0.95


STRATIFORM = LayerRanges(
    wet=None,
    gain=(5, 12),
    large_slope=(2.8, 3.8),
    small_slope=(4.0, 5.6),
    outer_scale=(120, 600),
    inner_scale=(6, 30),
    lifetime=(8, 40),
    lifetime_exponent=(0.8, 1.4),
    stretch=(1, 3),
    growth=2.0,
    cell_scale=(15, 50),
    cell_strength=(0.6, 2.0),
    plateau=(10, 22),
)
"""Wide rain of fronts."""

CONVECTIVE = LayerRanges(
    wet=(0.04, 0.3),
    gain=(8, 14),
    large_slope=(2.2, 3.4),
    small_slope=(4.4, 5.8),
    outer_scale=(40, 250),
    inner_scale=(8, 25),
    lifetime=(7, 28),
    lifetime_exponent=(0.7, 1.3),
    stretch=(1, 2),
    growth=4.0,
    cell_scale=(10, 40),
    cell_strength=(0.6, 1.6),
    plateau=(14, 28),
)
"""Showers: smaller, heavier, shorter-lived than wide rain."""


SEVERE = LayerRanges(
    wet=(0.05, 0.4),
    gain=(12, 20),
    large_slope=(2.2, 3.4),
    small_slope=(4.2, 5.8),
    outer_scale=(40, 250),
    inner_scale=(10, 30),
    lifetime=(10, 60),
    lifetime_exponent=(0.6, 1.2),
    stretch=(1, 3),
    growth=6.0,
    cell_scale=(10, 40),
    cell_strength=(0.3, 1.4),
    plateau=(22, 34),
)
"""Thunderstorms: as heavy as showers and more, and longer-lived, in calm air and in strong wind."""


@dataclass(frozen=True)
class MotionRanges:
    """How rain may move.

    Args:
        speed_shape: of the gamma distribution of wind speeds, which has few calms and a long tail.
        speed_scale: of that distribution [km/h]; the mean is the product of both.
        fastest: wind speed that is not exceeded [km/h]; frames far apart would else share no rain.
        gradient_share: standard deviation of shear and rotation, from the middle to the edge, as a
            share of the wind speed.
        gradient: what is added to that [km/h], so that calm air shears, too.
        eddy_scale: size of the eddies [km]; those of the size of the frames are shear.
        eddy_share: strength of the eddies, up to this share of the wind speed.
        eddy: what is added to that, up to [km/h].
        turning: standard deviation of the turning of the motion [degrees an hour].
        quickening: standard deviation of the change of its speed [share an hour].
        layer_turn: standard deviation of the angle from the wind of one layer to that of the next
            [degrees]: layers lie at different heights.
        layer_speed: wind speed of the next layer, as a share of that of the first.
    """

    speed_shape: float = 2.6
    speed_scale: float = 15
    fastest: float = 110.0
    gradient_share: float = 0.12
    gradient: float = 3
    eddy_scale: Range = (60, 250)
    eddy_share: float = 0.2
    eddy: float = 3
    turning: float = 12
    quickening: float = 0.15
    layer_turn: float = 8
    layer_speed: Range = (0.8, 1.2)


@dataclass(frozen=True)
class RadarRanges:
    """What a radar may make of rain: networks differ in all of it, and a model has to see through
    it.

    Args:
        uneven: chance that calibration differs from place to place.
        uneven_by: standard deviation of that [dB].
        uneven_scale: distance over which it varies [km].
        place: where the radar is, as a share of the sides; also outside the frames, as in a
            composite.
        hills: chance that hills are in the way.
        hill_count: how many, from and below.
        hill_width: half the angle of the shadow of one [degrees].
        hill_distance: it begins within so many kilometres.
        hill_loss: what is lost behind it [dB].
        noise: chance of noise from pixel to pixel.
        noise_by: up to its standard deviation [dB].
        clutter: chance of clutter.
        clutter_count: pixels of it, from and below.
        clutter_level: its decimal logarithm [mm/h].
        clutter_present: share of the frames in which a pixel of it is seen.
        smallest_rates: [mm/h], below which rates are stored as dry, and how often.
        heaviest: rate that is not exceeded [mm/h]: beyond it is clutter and hail.
        missing_kinds: how often it is the end of the range, a sector, or a whole frame that is
            missing, where something is.
        end_of_range: its distance, as a share of the sides.
        sector: half the angle of a missing sector [degrees].
    """

    uneven: float = 0.5
    uneven_by: Range = (0.3, 2.5)
    uneven_scale: Range = (10, 40)
    place: Range = (-0.7, 1.7)
    hills: float = 0.25
    hill_count: tuple[int, int] = (1, 4)
    hill_width: Range = (0.5, 4)
    hill_distance: float = 100
    hill_loss: Range = (2, 15)
    noise: float = 0.3
    noise_by: float = 1.0
    clutter: float = 0.1
    clutter_count: tuple[int, int] = (1, 30)
    clutter_level: Range = (-0.5, 1.5)
    clutter_present: Range = (0.2, 1)
    smallest_rates: Chances = ((0.0, 0.2), (0.05, 0.2), (0.1, 0.4), (0.12, 0.15), (0.2, 0.05))
    heaviest: float = 150.0
    missing_kinds: Chances = (("range", 0.7), ("sector", 0.15), ("frame", 0.15))
    end_of_range: Range = (0.4, 1.5)
    sector: Range = (1, 25)

    def steps(self, timestep: float) -> Chances:
        """Steps of stored values, [mm/h] above 0 and [dB] below it, 0 for none, and how often.

        Radars store depths, in steps of 0.01 or 0.05 mm a timestep [minutes], or decibels.
        """
        return (0.0, 0.3), (0.6 / timestep, 0.2), (3 / timestep, 0.2), (-0.5, 0.2), (-1.0, 0.1)


@dataclass(frozen=True)
class RainRanges:
    """All of a sequence.

    Args:
        kinds: how often there is wide rain, showers, both, or thunderstorms.
        stratiform: of wide rain.
        convective: of showers.
        severe: of thunderstorms.
        motion: of the wind.
        radar: of what is seen.
    """

    kinds: Chances = (("wide", 0.4), ("showers", 0.1), ("both", 0.3), ("storms", 0.2))
    stratiform: LayerRanges = STRATIFORM
    convective: LayerRanges = CONVECTIVE
    severe: LayerRanges = SEVERE
    motion: MotionRanges = MotionRanges()
    radar: RadarRanges = RadarRanges()
