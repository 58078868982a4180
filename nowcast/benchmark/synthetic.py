"""Whether synthetic rain is like rain: its rates, its spectrum and how long its patterns last,
beside those of radar archives.

Nothing is fitted: the table and the picture say how far the two lie apart.
"""

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from nowcast.benchmark.measuring import Host, Report, check_settings, grid, number
from nowcast.data.archive import Archive
from nowcast.data.inputs import expand_inputs
from nowcast.data.synthetic_rain import SyntheticRain
from nowcast.data.windows import window_starts
from nowcast.evaluation.statistics.spectrum import CENTRES, bands_of, decibels, power_by_band
from nowcast.models.lagrangian.carrying import departures, displaced
from nowcast.models.lagrangian.maps import smooth
from nowcast.models.lagrangian.motion import motion_between
from nowcast.runtime.errors import UserError
from nowcast.types.task import Task

SYNTHETIC = "synthetic rain"
RATES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)
"""Rain rates [mm/h] whose exceedance is counted."""
WIDTHS = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Standard deviations [pixels] of the Gaussian means between which patterns of one size lie."""
_CONTEXT = 4
_WET = 0.05  # share of a window, and observed completely: others say nothing of patterns
MEANING = (
    "Windows of equal size in pixels. Correlations are of the logarithm of the rain, by size of "
    "its patterns, with the same pattern carried along the motion "
    "of the four frames before; medians over windows. Of the archives the wettest of several "
    "windows are taken, of synthetic rain the first ones that are wet."
)


@dataclass(frozen=True)
class Likeness:
    """Statistics of synthetic rain beside those of archives.

    Args:
        archives: a folder or pattern of archives of nowcast convert; null for synthetic rain alone.
        windows: of each.
        side: of a window in pixels.
        leads: frames after the last of the first four.
        seed: of the windows and of the rain.
    """

    archives: str | None = None
    windows: int = 24
    side: int = 128
    leads: int = 12
    seed: int = 1

    def __post_init__(self):
        check_settings(self)

    def run(self, host: Host) -> Report:
        """Measure all of them."""
        sources = {SYNTHETIC: self._synthetic} | {
            path.stem: functools.partial(self._archived, path)
            for path in (expand_inputs(self.archives) if self.archives else [])
        }
        records = []
        for name, windows in host.progress(list(sources.items())):
            found = [statistics_of(window) for window in windows()]
            if not found:
                raise UserError(
                    f"{name} has no window of {self.side} pixels a side that was observed "
                    f"completely and is wet in {_WET:.0%} of it; give a smaller what.side."
                )
            records.append(
                {
                    "case": name,
                    "implementation": "nowcast",
                    "precision": "float32",
                    "phase": "statistics",
                    "milliseconds": None,
                    "windows": len(found),
                }
                | _summary(found)
            )
        return Report(
            records, [self._table(records)], [MEANING], draw=functools.partial(_draw, records)
        )

    def _synthetic(self):
        task = Task(_CONTEXT, self.leads, 5)
        cases = SyntheticRain(
            task,
            self.seed,
            size=self.side,
            spacings=[1.0, 1.0],
            samples_per_epoch=20 * self.windows,
            missing=0.0,
        ).part("train")
        wet = (
            case
            for case in (cases.case(0, index) for index in range(len(cases)))
            if np.mean(case[_CONTEXT - 1] >= RATES[0]) >= _WET
        )
        return [case for case, _ in zip(wet, range(self.windows))]

    def _archived(self, path: Path):
        generator = np.random.default_rng(self.seed)
        with Archive(path) as archive:
            steps = np.diff(archive.times) / np.timedelta64(1, "m")
            starts = window_starts(
                archive.times,
                Task(_CONTEXT, self.leads, float(np.median(steps)) if steps.size else 5.0),
            )
            if not len(starts) or min(archive.grid.shape) < self.side:
                raise UserError(
                    f"{path} holds no {_CONTEXT + self.leads} frames in a row of at least "
                    f"{self.side} pixels a side; give smaller what.leads or what.side."
                )
            found = []
            for start in generator.choice(starts, self.windows):
                frames = archive.read(int(start), int(start) + _CONTEXT + self.leads)
                corners = [
                    [int(generator.integers(side - self.side + 1)) for side in archive.grid.shape]
                    for _ in range(40)
                ]
                windows = [
                    frames[:, row : row + self.side, column : column + self.side]
                    for row, column in corners
                ]
                complete = [window for window in windows if not np.isnan(window).any()]
                best = max(
                    complete,
                    key=lambda window: np.mean(window[_CONTEXT - 1] >= RATES[0]),
                    default=None,
                )
                if best is not None and np.mean(best[_CONTEXT - 1] >= RATES[0]) >= _WET:
                    found.append(best)
        return found

    def _table(self, records: list[dict]):
        leads = [lead for lead in (1, 3, 6, 12) if lead <= self.leads]
        headings = ["rain", "wet", ">= 1", ">= 5", *(f"+{lead}" for lead in leads)]
        rows = []
        for record in records:
            correlations = [record["correlation"][WIDTHS.index(4.0)][lead - 1] for lead in leads]
            shares = [record["exceedance"][RATES.index(rate)] for rate in (0.1, 1.0, 5.0)]
            rows.append(
                [
                    f"{record['case']} ({record['windows']})",
                    *(number(share, "{:.3f}") for share in shares),
                    *(number(value, "{:.2f}") for value in correlations),
                ]
            )
        return grid(
            "How alike synthetic rain and rain are: shares of the area with 0.1, 1 and 5 "
            "mm/h;\ncorrelation of patterns of 4 to 8 pixels after so many frames",
            headings,
            rows,
        )


def statistics_of(window: np.ndarray) -> dict[str, np.ndarray]:
    """Exceedance of ``RATES``, power by wavelength and correlation along the motion by (size, lead)
    of a complete window [mm/h], (4 + L, H, W).
    """
    last = window[_CONTEXT - 1]
    power = power_by_band(decibels(last, np.zeros(last.shape, bool)), bands_of(last.shape))
    return {
        "exceedance": np.array([np.mean(last >= rate) for rate in RATES]),
        "power": np.where(bands_of(last.shape)[1] > 0, power, np.nan),
        "correlation": _correlation(window),
    }


def _correlation(window: np.ndarray) -> np.ndarray:
    logarithm = torch.log1p(
        torch.from_numpy(np.ascontiguousarray(window, np.float32)).clamp(max=50) / RATES[0]
    )
    motion = motion_between(
        logarithm[None, :_CONTEXT],
        torch.ones(1, _CONTEXT, *window.shape[1:]),
        window=14.0,
        levels=4,
    )
    ones = torch.ones_like(logarithm[:1, None])
    means = [
        logarithm[:, None],
        *(smooth(logarithm[:, None], width) / smooth(ones, width) for width in WIDTHS),
    ]
    scales = torch.stack([a - b for a, b in zip(means[1:-1], means[2:])], dim=1)[
        :, :, 0
    ]  # (T, sizes, H, W)
    found = np.full((scales.shape[1], len(window) - _CONTEXT), np.nan)
    for lead, back in enumerate(departures(motion, found.shape[1])):
        carried = displaced(
            torch.cat([scales[_CONTEXT - 1], torch.ones(1, *window.shape[1:])])[None], back
        )[0]
        known = carried[-1] > 0.99
        if known.sum() >= 1000:
            for size in range(len(found)):
                pair = torch.stack([carried[size][known], scales[_CONTEXT + lead, size][known]])
                found[size, lead] = (
                    torch.corrcoef(pair)[0, 1] if (pair.std(dim=1) > 0).all() else np.nan
                )
    return found


def _summary(found: list[dict[str, np.ndarray]]) -> dict:
    def plain(values: np.ndarray):
        return plain_list(values.tolist())

    def plain_list(values):
        return (
            [plain_list(value) for value in values]
            if isinstance(values, list)
            else None
            if np.isnan(values)
            else round(values, 5)
        )

    with np.errstate(all="ignore"):
        power = np.exp(np.mean([np.log(np.maximum(one["power"], 1e-9)) for one in found], axis=0))
    correlation = np.array([one["correlation"] for one in found])
    counted = np.isfinite(correlation).any(axis=0)
    median = np.full(counted.shape, np.nan)
    median[counted] = np.nanmedian(correlation[:, counted], axis=0)
    return {
        "exceedance": plain(np.mean([one["exceedance"] for one in found], axis=0)),
        "power": plain(power),
        "correlation": plain(median),
    }


def _draw(records: list[dict], path: Path) -> None:
    from nowcast.drawing import curves

    curves.rain_statistics(
        records,
        path,
        wavelengths=CENTRES,
        rates=RATES,
        sizes=[f"{low:g}-{high:g} pixels" for low, high in zip(WIDTHS, WIDTHS[1:])],
    )
