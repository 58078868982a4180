"""What a page shows: layers of fields at some times, on one grid. The same for the page in a folder
(``writing``) and for the page that is one file (``single_file``).

T frames of the page, H rows, W columns.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from nowcast.drawing.cells import cell_kilometres, observed_window, resampled
from nowcast.drawing.coastlines import lines_on
from nowcast.drawing.colours import MISSING_COLOUR
from nowcast.forecasting.products import PROBABILITY_SOURCES, Products, rain_depth
from nowcast.page.coding import amount_scale, percent_scale
from nowcast.runtime.errors import UserError
from nowcast.types.frames import Forecast, Frames, Grid
from nowcast.types.functional import in_words

VERSION = 1
"""Of the facts that page.js reads; it reads this one alone."""

_LINE_TOLERANCE = 0.25  # pixels: the page can be enlarged
_PATIENCE_SECONDS, _PATIENCE_STEPS = 1200, 4  # without a new forecast, until one is called old
_ASPECTS = (0.05, 20)  # an aspect outside of these is of a projection far from its centre
_MOST_MEMBERS = 3  # of an ensemble that are layers: more would be a long list to choose from


@dataclass(frozen=True)
class Layer:
    """One thing that the page can show.

    Args:
        name: of the layer, with which the names of its files begin.
        title: above its legend.
        unit: of its values.
        scale: how its values are coded, "amount" or "percent" (``nowcast.page.coding``).
        fields: one (H, W) per frame; None for frames where there is none.
        is_observed: whether its fields were observed at every frame, also after the analysis time.
    """

    name: str
    title: str
    unit: str
    scale: str
    fields: Sequence[np.ndarray | None]
    is_observed: bool = False


class Beside(NamedTuple):
    """Rain rates that are shown beside a forecast, as a layer of their own.

    Args:
        title: of the layer.
        values: rain rates [mm/h] at the lead times, (T, H, W), NaN = not observed or no forecast.
        is_observed: whether they came from the radar.
    """

    title: str
    values: np.ndarray
    is_observed: bool = False


@dataclass(frozen=True)
class PageContent:
    """What a page shows.

    Args:
        grid: where the pixels of the fields are.
        analysis_time: UTC time of the last frame that was observed.
        times: UTC, (T,) datetime64[s], of all frames, those before the forecast first.
        observed_frames: how many of these were observed.
        layers: the first one is shown at first.
        probabilities: what its probabilities are of, in words; "" without any.
        patience_seconds: after which a forecast is called late.
    """

    grid: Grid
    analysis_time: np.datetime64
    times: np.ndarray
    observed_frames: int
    layers: Sequence[Layer]
    probabilities: str = ""
    patience_seconds: int = _PATIENCE_SECONDS

    def files(self) -> tuple[list[list[str | None]], dict[str, tuple[np.ndarray, str]]]:
        """(for each layer the name of the file of each of its fields; field and scale by name).

        A field that several layers have, such as an observed frame, is one file.
        """
        names: dict[tuple[int, str], str] = {}
        fields: dict[str, tuple[np.ndarray, str]] = {}
        of_layers = []
        for layer in self.layers:
            of_layer: list[str | None] = []
            for index, field in enumerate(layer.fields):
                if field is None:
                    of_layer.append(None)
                    continue
                key = (id(field), layer.scale)
                if key not in names:
                    names[key] = f"{layer.name}-{index}.bin"
                    fields[names[key]] = field, layer.scale
                of_layer.append(names[key])
            of_layers.append(of_layer)
        return of_layers, fields

    def facts(self, shown: Grid) -> dict:
        """All that page.js is to know but the fields, the lines, the status and when it was made;
        plain values for JSON.

        Args:
            shown: the grid that the fields have on the page.
        """
        layers = []
        for layer, files in zip(self.layers, self.files()[0]):
            named = {"name": layer.name, "title": layer.title, "unit": layer.unit}
            layers.append(named | {"scale": layer.scale, "files": files})
            if layer.is_observed:
                layers[-1]["observed"] = True
        rates = self.layers[0].fields  # the last observed one, or of none the last forecast
        return {
            "version": VERSION,
            "analysis_time": utc(self.analysis_time),
            "frames": self._frames(),
            "observed_frames": self.observed_frames,
            "old_after_seconds": self.patience_seconds,
            "grid": _grid_facts(self.grid, shown),
            "view": _view(rates[self.observed_frames - 1], shown.shape),
            "layers": layers,
            "scales": {"amount": amount_scale(), "percent": percent_scale()},
            "probabilities": self.probabilities,
            "missing_colour": MISSING_COLOUR.tolist(),
        }

    def _frames(self) -> list[dict]:
        """Lead and valid time of every frame."""
        frames = []
        for time in self.times:
            lead = (time - self.analysis_time) / np.timedelta64(1, "s")
            frames.append({"lead_seconds": int(lead), "valid_time": utc(time)})
        return frames


def forecast_content(
    forecast: Forecast | Products,
    context: Frames | None = None,
    *,
    beside: Iterable[Beside] = (),
    title: str = "Rain rate",
) -> PageContent:
    """A forecast, with what was derived from it.

    Args:
        forecast: rain rates, which are shown with the accumulation that they make; or products,
            whose accumulation and probabilities are shown.
        context: the frames it was made from, shown before it.
        beside: rain rates to compare it with.
        title: of its rain rates.

    Raises:
        UserError: the context lies on another grid.
    """
    products = forecast if isinstance(forecast, Products) else None
    made = products.forecast if products is not None else forecast
    difference = None if context is None else context.grid.difference(made.grid)
    if difference:
        raise UserError(
            f"the context lies on another grid than the forecast: {difference}; give the frames "
            "the forecast was made from."
        )
    observed = [] if context is None else list(context.values)
    times = made.valid_times
    if context is not None:
        times = np.concatenate([context.times, times])
    if made.point:
        title = f"{title}, {in_words(made.point)}"
    layers = [Layer("rate", title, "mm/h", "amount", [*observed, *made.values])]
    layers += _others(observed, beside, made.members)
    layers += _derived(made, products, len(observed))
    step = float(made.lead_times[0] / np.timedelta64(1, "s"))
    return PageContent(
        made.grid,
        made.analysis_time,
        times,
        len(observed),
        layers,
        "" if products is None else PROBABILITY_SOURCES[products.probability_source],
        int(max(_PATIENCE_SECONDS, _PATIENCE_STEPS * step)),
    )


def _others(
    observed: list[np.ndarray], beside: Iterable[Beside], members: np.ndarray | None
) -> list[Layer]:
    """Layers of what is shown beside a forecast, and of the first members of an ensemble."""
    layers = []
    for k, one in enumerate(beside):
        fields = [*observed, *one.values]
        layers.append(Layer(f"beside{k}", one.title, "mm/h", "amount", fields, one.is_observed))
    for k, values in enumerate(() if members is None else members[:_MOST_MEMBERS]):
        title = f"Member {k + 1} of {len(members)}"
        layers.append(Layer(f"member{k}", title, "mm/h", "amount", [*observed, *values]))
    return layers


def _derived(forecast: Forecast, products: Products | None, before: int) -> list[Layer]:
    """Layers of the accumulation and the probabilities; ``before`` frames have none."""
    unknown, layers = [None] * before, []
    # rates that are neither means nor a single field make no sum that means anything
    if products is not None or forecast.point in ("", "mean") or forecast.expected is not None:
        depth = rain_depth(forecast) if products is None else products.depth
        since = "Rain since the analysis time"
        layers.append(Layer("depth", since, "mm", "amount", [*unknown, *depth]))
    if products is not None:
        for k, (threshold, fields) in enumerate(zip(products.thresholds, products.probability)):
            title = f"Probability ≥ {threshold:g} mm/h"
            layers.append(Layer(f"probability{k}", title, "%", "percent", [*unknown, *fields]))
    return layers


def frames_content(frames: Frames) -> PageContent:
    """Observed frames alone."""
    rates = Layer("rate", "Rain rate", "mm/h", "amount", list(frames.values), is_observed=True)
    return PageContent(frames.grid, frames.times[-1], frames.times, len(frames), [rates])


def page_grid(grid: Grid, most: int) -> Grid:
    """The pixels of a field on the page, the longer side at most so many."""
    scale = most / max(grid.shape)
    if scale >= 1:
        return grid
    return resampled(grid, *(max(1, round(count * scale)) for count in grid.shape))


def lines(grid: Grid) -> Mapping[str, list[list[int]]]:
    """Coastlines and borders in tenths of a pixel, column and row by turns."""
    found = {}
    for kind in ("coast", "border"):
        of_kind = lines_on(grid, kinds=(kind,), tolerance=_LINE_TOLERANCE)
        found[kind] = [np.round(10 * line).astype(int).ravel().tolist() for line in of_kind]
    return found


def utc(time: np.datetime64) -> str:
    """A UTC time to the second, e.g. 2020-06-01T00:05:00Z."""
    return f"{np.datetime_as_string(time, 's')}Z"


def _grid_facts(source: Grid, shown: Grid) -> dict:
    tall, wide = cell_kilometres(shown)
    known = tall > 0 and wide > 0
    usable = known and _ASPECTS[0] < wide / tall < _ASPECTS[1]
    return {
        "height": shown.shape[0],
        "width": shown.shape[1],
        "source": source.describe(),
        "reduced": shown.shape != source.shape,
        "cell_km": [tall, wide] if known else None,
        "aspect": wide / tall if usable else 1.0,
    }


def _view(field: np.ndarray, size: tuple[int, int]) -> list[int]:
    """What is observed in a field, in pixels of the page: left, top, right, bottom."""
    ends = []
    for span, length, pixels in zip(observed_window([field]), field.shape, size):
        start, stop, _ = span.indices(length)
        ends.append((int(start * (pixels / length)), int(np.ceil(stop * (pixels / length)))))
    (top, bottom), (left, right) = ends
    return [left, top, right, bottom]
