"""How the package is built: the path of the data, the import order, the rooms.

The import order is read from tests/test_layers.py, which keeps it; the rooms from the docstrings of
their ``__init__.py``. The names on the path of the data are checked by tests/test_docs_site.py.
"""

import ast
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "nowcast"
ORDER = ROOT / "tests" / "test_layers.py"


@dataclass(frozen=True)
class Stage:
    """What the data are at one place of their path.

    Args:
        title: what it is called.
        text: lines that say what it has.
        made_by: the step that leads to it, in a few words; "" for the first.
        code: dotted names of what makes it or what it is.
        link: its entry in the reference, from the page of the architecture; "": none.
    """

    title: str
    text: tuple[str, ...]
    made_by: str = ""
    code: tuple[str, ...] = ()
    link: str = ""


PATH = (
    Stage("radar file", ("of any service, packed or not",)),
    Stage(
        "Frames",
        ("rain rate [mm/h], (T, H, W), numpy", "UTC times, grid, NaN where not observed"),
        "a reader",
        ("nowcast.readers.base.Reader", "nowcast.types.frames.Frames"),
        "../reference/api.html#nowcast.Frames",
    ),
    Stage(
        "Archive",
        ("one CF NetCDF-4 file for each radar", "in time order, on disk"),
        "nowcast convert",
        ("nowcast.data.conversion.convert", "nowcast.data.archive.Archive"),
        "../reference/files.html#archive",
    ),
    Stage(
        "Cases",
        ("context and target without a gap", "from the times, numpy"),
        "windows, a data set",
        ("nowcast.data.windows.window_starts", "nowcast.data.base.Cases"),
        "../reference/contracts.html#nowcast.data.base.Cases",
    ),
    Stage(
        "Batch",
        ("context (B, T, 1, H, W), normalised, torch", "what was observed, scale"),
        "a transform",
        ("nowcast.types.transform.LogRainRate", "nowcast.types.batch.Batch"),
        "../reference/contracts.html#nowcast.types.batch.Batch",
    ),
    Stage(
        "Prediction",
        ("one field, or a distribution at each pixel", "torch, on the model's own scale"),
        "a model (training: and a loss)",
        ("nowcast.models.base.ForecastModel", "nowcast.models.prediction.Prediction"),
        "../reference/contracts.html#nowcast.Prediction",
    ),
    Stage(
        "Forecast",
        ("rain rate [mm/h], (T, H, W), numpy", "analysis time, lead times, grid"),
        "the forecaster, transform back",
        ("nowcast.forecasting.forecaster.Forecaster", "nowcast.types.frames.Forecast"),
        "../reference/api.html#nowcast.Forecast",
    ),
    Stage(
        "sums and scores",
        ("by lead time and threshold", "beside those of the baselines"),
        "evaluation",
        ("nowcast.evaluation.statistics.base.Statistic", "nowcast.evaluation.results.Results"),
        "../reference/scores.html",
    ),
    Stage(
        "files, pictures, pages",
        ("NetCDF, ODIM_H5, GeoTIFF", "maps, report, live page"),
        "output, drawing, report, page",
        ("nowcast.output.writers.writer_for", "nowcast.drawing.maps.forecast_figure"),
        "../reference/files.html",
    ),
)
"""From a file of a radar to what is published and to how good it was."""


def import_order() -> tuple[list[tuple[str, ...]], frozenset[str]]:
    """The layers, first the ones that import nothing, and the rooms that know nothing of each
    other.
    """
    values = {}
    for node in ast.parse(ORDER.read_text()).body:
        target = node.targets[0] if isinstance(node, ast.Assign) else None
        if isinstance(target, ast.Name) and target.id in ("LAYERS", "APART"):
            values[target.id] = ast.literal_eval(node.value)
    return values["LAYERS"], frozenset(values["APART"])


def rooms() -> dict[str, str]:
    """What each folder of the package is for: the first paragraph of its docstring."""
    found = {}
    for file in sorted(PACKAGE.rglob("__init__.py")):
        docstring = ast.get_docstring(ast.parse(file.read_text())) or ""
        name = ".".join(file.parent.relative_to(PACKAGE).parts)
        if name:
            found[name] = " ".join(docstring.split("\n\n")[0].split())
    return found
