"""nowcast: precipitation nowcasting with ConvLSTM networks.

    import nowcast

    frames = nowcast.read("radar/*.h5")
    forecast = nowcast.load("shipped")(frames)
    forecast.save("now.nc")

The names in ``__all__`` are the public API; they are loaded when they are first used, so that
``import nowcast`` waits neither for torch nor for HDF5. Every other module is internal: it may
change between versions, but for what plug-ins build on: ``models.base``, ``models.prediction``,
``models.network``, ``training.losses``, ``readers.base``, ``readers.decoding``, ``data.base``,
``evaluation.statistics`` and ``types``.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the same as in _PUBLIC, for type checkers and editors
    from nowcast.api import convert, evaluate, load, open_archive, read
    from nowcast.data.base import DataSet
    from nowcast.evaluation.results import Results
    from nowcast.evaluation.statistics.base import Statistic
    from nowcast.forecasting.forecaster import Forecaster
    from nowcast.models.base import Capabilities, ForecastModel
    from nowcast.models.convlstm import ConvLSTM
    from nowcast.models.encoder_forecaster import EncoderForecaster
    from nowcast.models.prediction import Prediction, SingleField
    from nowcast.readers.base import Reader
    from nowcast.runtime.errors import UserError
    from nowcast.training.losses import PixelLoss, TrainingLoss
    from nowcast.types.frames import Forecast, Frames, Grid
    from nowcast.types.scale import Scale
    from nowcast.types.task import Task

__version__ = "0.1.0"

__all__ = [
    "Capabilities",
    "ConvLSTM",
    "DataSet",
    "EncoderForecaster",
    "Forecast",
    "ForecastModel",
    "Forecaster",
    "Frames",
    "Grid",
    "PixelLoss",
    "Prediction",
    "Reader",
    "Results",
    "Scale",
    "SingleField",
    "Statistic",
    "Task",
    "TrainingLoss",
    "UserError",
    "convert",
    "evaluate",
    "load",
    "open_archive",
    "read",
]

_PUBLIC = {
    "nowcast.api": ("convert", "evaluate", "load", "open_archive", "read"),
    "nowcast.data.base": ("DataSet",),
    "nowcast.evaluation.results": ("Results",),
    "nowcast.evaluation.statistics.base": ("Statistic",),
    "nowcast.forecasting.forecaster": ("Forecaster",),
    "nowcast.models.base": ("Capabilities", "ForecastModel"),
    "nowcast.models.convlstm": ("ConvLSTM",),
    "nowcast.models.encoder_forecaster": ("EncoderForecaster",),
    "nowcast.models.prediction": ("Prediction", "SingleField"),
    "nowcast.readers.base": ("Reader",),
    "nowcast.runtime.errors": ("UserError",),
    "nowcast.training.losses": ("PixelLoss", "TrainingLoss"),
    "nowcast.types.frames": ("Forecast", "Frames", "Grid"),
    "nowcast.types.scale": ("Scale",),
    "nowcast.types.task": ("Task",),
}
_MODULES = {name: module for module, names in _PUBLIC.items() for name in names}


if not TYPE_CHECKING:  # for which a misspelt name would be one of any type

    def __getattr__(name: str) -> Any:
        """A public name, loaded when it is first used."""
        if name not in _MODULES:
            raise AttributeError(f"module 'nowcast' has no attribute {name!r}")
        found = getattr(import_module(_MODULES[name]), name)
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    """The public names, also those that are not loaded yet."""
    return sorted({*globals(), *__all__})
