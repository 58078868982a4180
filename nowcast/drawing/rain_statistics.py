"""Statistics of several sets of rain in one picture, for ``nowcast benchmark what=synthetic``."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nowcast.drawing.figures import line_style, new_figure, save


def rain_statistics(
    records: list[dict],
    path: str | Path,
    *,
    wavelengths: np.ndarray,
    rates: Sequence[float],
    sizes: Sequence[str],
) -> None:
    """Statistics of several sets of rain in one picture, the first set drawn thick.

    Args:
        records: of ``nowcast benchmark what=synthetic``: "case", "exceedance" by rate, "power" by
            wavelength, "correlation" by size and lead; None where there is no number.
        path: the picture.
        wavelengths: of the power [pixels].
        rates: of the exceedance [mm/h].
        sizes: names of the sizes.
    """
    figure = new_figure(13, 7.6, layout="constrained")
    axes = figure.subplots(2, 3).ravel()
    for index, record in enumerate(records):
        style = {name: line_style(index)[name] for name in ("color", "linestyle")}
        style |= {"linewidth": 1.3 if index else 2.6, "label": record["case"]}
        exceedance = np.array(record["exceedance"], float)  # None becomes NaN
        exceedance[exceedance == 0] = np.nan
        axes[0].loglog(rates, exceedance, **style)
        axes[1].loglog(wavelengths, np.array(record["power"], float), **style)
        for panel, correlations in zip(axes[2:], record["correlation"]):
            leads = np.arange(1, len(correlations) + 1)
            panel.plot(leads, np.array(correlations, float), **style)
    axes[0].set(title="share of the area at or above a rate", xlabel="mm/h")
    axes[1].set(title="power of 10 log10 of the rate [dB²]", xlabel="wavelength [pixels]")
    for panel, size in zip(axes[2:], sizes):
        title = f"correlation along the motion, {size}"
        panel.set(title=title, xlabel="frames ahead", ylim=(-0.05, 1.02))
    for panel in axes:
        panel.grid(alpha=0.3)
    axes[0].legend(fontsize=8)
    save(figure, path)
