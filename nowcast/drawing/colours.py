"""What the colours of rain mean, in pictures, in the report and on the page."""

import numpy as np

from nowcast.types.arrays import as_numbers

RAIN_CLASSES = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)
"""Lower bounds of the colour classes [mm/h]; a rain rate on a bound is in the class above it."""

# From light to dark; neighbours stay 12 CIELAB units apart for every kind of colour blindness.
RAIN_COLOURS = np.array(
    [
        [255, 255, 255],
        [198, 230, 245],
        [143, 200, 235],
        [84, 163, 219],
        [35, 122, 196],
        [80, 50, 160],
        [165, 20, 95],
        [110, 0, 25],
        [30, 0, 5],
    ],
    np.uint8,
)
"""RGB of dry (below the first bound) and of the classes, (9, 3)."""
MISSING_COLOUR = np.array([190, 190, 190], np.uint8)
"""RGB of pixels that were not observed: no class is grey."""
GREY_MISSING_COLOUR = np.array([230, 120, 20], np.uint8)
"""The same in grey pictures."""


def rain_classes(values: np.ndarray) -> np.ndarray:
    """Colour class of rain rates.

    Args:
        values: rain rates [mm/h] of any shape.

    Returns:
        uint8 of the same shape: 0 dry, 1 to 8 the classes, 9 not observed (NaN).
    """
    values = as_numbers(values, "rain rates")
    classes = np.searchsorted(np.float32(RAIN_CLASSES), values, side="right")
    return np.where(np.isnan(values), len(RAIN_COLOURS), classes).astype(np.uint8)


def rain_colours(values: np.ndarray) -> np.ndarray:
    """Rain rates [mm/h], any shape -> RGB uint8, one axis more."""
    return np.vstack([RAIN_COLOURS, MISSING_COLOUR])[rain_classes(values)]


def grey_colours(values: np.ndarray) -> np.ndarray:
    """Grey values in [0, 1] (clipped), any shape -> RGB uint8, one axis more."""
    values = as_numbers(values, "grey values")
    grey = np.round(np.nan_to_num(values).clip(0, 1) * 255).astype(np.uint8)
    return np.where(np.isnan(values)[..., None], GREY_MISSING_COLOUR, grey[..., None])
