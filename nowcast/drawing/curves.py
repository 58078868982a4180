"""Numbers as curves, PNG files: scores by lead time, losses by epoch."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nowcast.drawing.figures import line_style, new_figure, save
from nowcast.evaluation.statistics.scores import ScoreRow, about, added_scores
from nowcast.evaluation.statistics.sums import key_of
from nowcast.evaluation.titles import score_title, thresholds_shown, unit_of
from nowcast.runtime.errors import UserError

_MOST_COLUMNS = 3
_MODELS_PER_LINE = 4  # of the legend
_OF_EVENTS = ("csi", "far", "frequency_bias")
_OF_FIELDS = ("cross_entropy", "mae", "mse", "correlation", "ssim", "ssim_range2", "psnr")
_DIRECTIONS = {
    "higher": "↑ better",
    "lower": "↓ better",
    "near 1": "1 is best",
    "near 0": "0 is best",
    "": "",
}
_LARGE_RANGE = 20  # largest over smallest loss from which the axis is logarithmic


def score_curves(
    rows_by_model: dict[str, list[ScoreRow]], path: str | Path, *, lead_minutes: float | None
) -> None:
    """Draw the main scores by lead time, one small panel each, as a PNG file.

    Args:
        rows_by_model: the rows of every model, made with the same settings.
        path: the file to write.
        lead_minutes: minutes of one step, None to count frames.

    Raises:
        UserError: there is no score by lead time in the rows.
    """
    panels = _panels([row for rows in rows_by_model.values() for row in rows])
    if not panels:
        raise UserError(
            "there is no score by lead time to draw; give the rows of at least one verified model."
        )
    columns = min(len(panels), _MOST_COLUMNS)
    lines = math.ceil(len(panels) / columns)
    height = 2.2 * lines + 0.6 + 0.2 * (len(rows_by_model) // _MODELS_PER_LINE)
    figure = new_figure(3.4 * columns, height, layout="constrained")
    all_axes = figure.subplots(lines, columns, sharex=True, squeeze=False).ravel()
    for axes, (score, threshold) in zip(all_axes, panels):
        _draw_score(axes, rows_by_model, score, threshold, lead_minutes)
    for axes in all_axes[len(panels) - columns : len(panels)]:  # the last of every column
        axes.xaxis.set_tick_params(labelbottom=True)
        axes.set_xlabel("frame" if lead_minutes is None else "lead time [min]")
    for axes in all_axes[len(panels) :]:
        axes.set_visible(False)
    drawn = {line.get_label(): line for line in all_axes[0].get_lines()}
    models = {label: line for label, line in drawn.items() if not label.startswith("_")}
    look = {"loc": "outside upper center", "frameon": False, "fontsize": 9}
    figure.legend(models.values(), models.keys(), ncols=_MODELS_PER_LINE, **look)
    save(figure, path)


def _panels(rows: list[ScoreRow]) -> list[tuple[str, float | None]]:
    """Which scores are drawn: three event scores for each of three thresholds, then the others."""
    present = {(row.score, row.threshold) for row in rows if row.lead is not None}
    events = [(score, threshold) for threshold in thresholds_shown(rows) for score in _OF_EVENTS]
    others = [(score, None) for score in _OF_FIELDS]
    added = sorted(panel for panel in present if panel[0] in added_scores())
    return [*(panel for panel in events + others if panel in present), *added]


def _draw_score(
    axes,
    rows_by_model: dict[str, list[ScoreRow]],
    score: str,
    threshold: float | None,
    lead_minutes: float | None,
) -> None:
    points = {
        model: _points(rows, score, threshold, lead_minutes or 1)
        for model, rows in rows_by_model.items()
    }
    for index, (model, (leads, *numbers)) in enumerate(points.items()):
        value, low, high = np.where(np.isfinite(numbers), numbers, np.nan)
        style = line_style(index)
        axes.plot(leads, value, **style, markersize=3.5, linewidth=1.3, label=model)
        axes.fill_between(leads, low, high, color=style["color"], alpha=0.15, linewidth=0)
    if score == "frequency_bias":
        axes.axhline(1, color="#999999", linewidth=0.8, zorder=0)
    if score == "cross_entropy":
        rows = next(iter(rows_by_model.values()))
        _draw_floor(axes, _points(rows, "cross_entropy_floor", None, lead_minutes or 1))
    _set_limits(axes, np.concatenate([found[[1, 3]] for found in points.values()], axis=1), score)
    title = score_title(score, threshold, unit=unit_of(lead_minutes))
    unit = about(score).unit_for(rain=lead_minutes is not None)
    axes.set_title(f"{title} [{unit}]" if unit else title, fontsize=9, loc="left")
    axes.set_title(_DIRECTIONS[about(score).better], fontsize=7.5, loc="right", color="#555555")
    axes.tick_params(labelsize=8)
    axes.grid(color="#e5e5e5", linewidth=0.6)


def _points(rows: list[ScoreRow], score: str, threshold: float | None, step: float) -> np.ndarray:
    """A score by lead, pixel by pixel: lead, value and the ends of its interval, (4, T)."""
    found = [
        (row.lead * step, row.value, row.low, row.high)
        for row in rows
        if (row.score, row.threshold) == (score, threshold)
        and row.lead is not None
        and key_of(row).is_of_pixels
    ]
    return np.array(sorted(found, key=lambda point: point[0])).reshape(-1, 4).T


def _set_limits(axes, values: np.ndarray, score: str) -> None:
    """The value axis from 0 (correlations may lie lower, PSNR starts anywhere) to a little above
    the largest value.
    """
    shown = [0, *values[np.isfinite(values)]]
    if len(shown) == 1:
        place = {"transform": axes.transAxes, "ha": "center", "va": "center"}
        axes.text(0.5, 0.5, "undefined: no event", **place, fontsize=8, color="#777777")
    if score == "frequency_bias":
        shown.append(1.0)
    if score != "psnr":
        axes.set_ylim(min(shown) * 1.1, (max(shown) or 1) * 1.06)


def _draw_floor(axes, points: np.ndarray) -> None:
    """What a perfect forecast costs, as a dotted line."""
    leads, value = points[:2]
    if not leads.size:
        return
    style = {"color": "#999999", "linestyle": (0, (1, 1)), "linewidth": 1.3}
    axes.plot(leads, value, **style, label="_floor")
    text = {"textcoords": "offset points", "ha": "right", "fontsize": 7.5, "color": "#777777"}
    axes.annotate("perfect forecast", (leads[-1], value[-1]), xytext=(0, 4), **text)


def training_curve(
    epochs: Sequence[int],
    train_loss: Sequence[float],
    validation_loss: Sequence[float],
    path: str | Path,
    *,
    validation_csi: Sequence[float] = (),
) -> None:
    """Draw the losses by epoch, and the CSI of the validation where that chose the weights, and
    mark the epoch whose weights were kept, as a PNG file; NaN leaves a gap.

    Raises:
        UserError: no epoch, or sequences of different length.
    """
    if not len(epochs) or not len(epochs) == len(train_loss) == len(validation_loss):
        raise UserError(
            f"expected one or more epochs and as many losses, got {len(epochs)} epochs, "
            f"{len(train_loss)} training losses and {len(validation_loss)} validation losses."
        )
    from matplotlib.ticker import MaxNLocator

    figure = new_figure(6.4, 3.6, layout="constrained")
    axes = figure.subplots()
    look = {"markersize": 3, "linewidth": 1.4}
    axes.plot(epochs, train_loss, **line_style(0), **look, label="training")
    axes.plot(epochs, validation_loss, **line_style(1), **look, label="validation")
    finite = [loss for loss in (*train_loss, *validation_loss) if math.isfinite(loss)]
    if finite and min(finite) > 0 and max(finite) > _LARGE_RANGE * min(finite):
        axes.set_yscale("log")
    title = "Loss by epoch"
    chosen_by_csi = len(validation_csi) == len(epochs) and np.nan_to_num(validation_csi).max() > 0
    if chosen_by_csi:
        best = int(np.nanargmax(validation_csi))
        right = axes.twinx()
        right.plot(epochs, validation_csi, **line_style(2), **look)
        right.set_ylabel("CSI", color=line_style(2)["color"])
        _mark_best(right, epochs[best], validation_csi[best])
        title = (
            f"Loss and CSI by epoch: best CSI {validation_csi[best]:.4g} at epoch {epochs[best]}"
        )
    elif np.isfinite(validation_loss).any():
        best = int(np.nanargmin(np.where(np.isfinite(validation_loss), validation_loss, np.nan)))
        _mark_best(axes, epochs[best], validation_loss[best], label="best")
        title += f": best validation {validation_loss[best]:.4g} at epoch {epochs[best]}"
    axes.set_title(title, fontsize=10, loc="left")
    axes.set(xlabel="epoch", ylabel="loss")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(color="#e5e5e5", linewidth=0.6)
    axes.legend(frameon=False)
    save(figure, path)


def _mark_best(axes, epoch: int, value: float, **label) -> None:
    """A circle around a point."""
    style = {"markersize": 10, "markerfacecolor": "none", "color": "black"}
    axes.plot(epoch, value, "o", **style, **label)
