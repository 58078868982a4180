"""Private names of libraries other than torch: every one that nowcast uses stands here and nowhere
else.

Without a private name each function does the same by public ones, or what is safe; a test takes the
names away.
"""

import copy
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType


def forget_received_sigterm(trainer) -> None:
    """Make a ``lightning.Trainer`` forget a SIGTERM that it has noticed; without the private name
    it ends the training by itself.
    """
    connector = getattr(trainer, "_signal_connector", None)
    if hasattr(connector, "received_sigterm"):
        connector.received_sigterm = False


def leave_signals_alone(trainer) -> None:
    """Keep a ``lightning.Trainer`` from putting handlers of its own in the place of those of
    signals; without the private name it does.
    """
    connector = getattr(trainer, "_signal_connector", None)
    if hasattr(connector, "register_signal_handlers"):
        connector.register_signal_handlers = lambda: None


def training_state(trainer) -> dict:
    """A copy of what a ``lightning.Trainer`` would write to a checkpoint now.

    Without the private name the trainer is asked to save, and what it hands to its files is kept.
    Of several processes only the first gets it then, the others {}; all of them have to call this.
    """
    connector = getattr(trainer, "_checkpoint_connector", None)
    if hasattr(connector, "dump_checkpoint"):
        return copy.deepcopy(connector.dump_checkpoint(weights_only=False))
    return _state_as_saved(trainer)


def _state_as_saved(trainer) -> dict:
    files, kept = trainer.strategy.checkpoint_io, _InMemory()
    trainer.strategy.checkpoint_io = kept
    try:
        trainer.save_checkpoint("kept in memory")
    finally:
        trainer.strategy.checkpoint_io = files
    return kept.content


class _InMemory:
    """What a trainer takes for its files while it saves."""

    def __init__(self):
        self.content: dict = {}

    def save_checkpoint(self, checkpoint: dict, path: str, storage_options=None) -> None:
        self.content = copy.deepcopy(checkpoint)


def save_last(callback, trainer) -> None:
    """Let a ``ModelCheckpoint`` write its last checkpoint unless it has done so at this step;
    without the private names it is written again.
    """
    names = ("_last_global_step_saved", "_save_last_checkpoint", "_monitor_candidates")
    if not all(hasattr(callback, name) for name in names):
        path = Path(callback.dirpath) / f"{callback.CHECKPOINT_NAME_LAST}{callback.FILE_EXTENSION}"
        callback.last_model_path = str(path)
        trainer.save_checkpoint(path)
    elif callback._last_global_step_saved != trainer.global_step:
        callback._save_last_checkpoint(trainer, callback._monitor_candidates(trainer))


def average_beside(callback, module) -> None:
    """Move the mean of the weights of a ``WeightAveraging`` to the device of a module; without the
    private name it stays where it is, which costs a copy in each step.
    """
    averaged = getattr(callback, "_average_model", None)
    if averaged is not None:
        averaged.to(module.device)


@contextmanager
def log_handlers_kept() -> Iterator[None]:
    """A block in which a configuration of logging by ``logging.config`` does not close the handlers
    that are there, as it does with all it knows; those it gives to the root logger are closed at
    the end. Without the private names it closes them.
    """
    by_name = getattr(logging, "_handlers", None)
    references = getattr(logging, "_handlerList", None)
    if by_name is None or references is None:
        yield
        return
    names, known, of_root = dict(by_name), list(references), list(logging.root.handlers)
    by_name.clear()
    references.clear()
    try:
        yield
    finally:
        for handler in logging.root.handlers:
            if handler not in of_root:
                handler.close()
        by_name.update(names)
        references[:0] = known


def gdal_errors() -> tuple[type[Exception], ...]:
    """What rasterio raises where GDAL fails; some of GDAL's own errors have a private name only."""
    import rasterio.errors

    try:
        from rasterio._err import CPLE_BaseError
    except ImportError:
        return (rasterio.errors.RasterioError,)
    return (rasterio.errors.RasterioError, CPLE_BaseError)


def lead_gdal_to(folder: Path) -> bool:
    """Let the GDAL of rasterio find map projections in a folder; False where the private name is
    gone.
    """
    try:
        from rasterio._env import set_proj_data_search_path  # no public way leads there
    except ImportError:
        return False
    set_proj_data_search_path(str(folder))
    return True


_DEFERRED = ("torchvision", "torchvision.models")
"""What torchmetrics imports of torchvision, for a metric on images that hardly anybody calls."""


def load_torchmetrics_without_torchvision() -> None:
    """Import torchmetrics, which Lightning needs, without the torchvision that it would load.

    What torchmetrics takes from torchvision is imported when it is first used. A torchmetrics that
    takes it in another way is left to load it.
    """
    loaded = {"torchmetrics", "torchvision"} & set(sys.modules)
    if loaded or find_spec("torchvision") is None:
        return
    try:
        with _deferring(_DEFERRED):
            import_module("torchmetrics")
    except Exception:  # whatever it tried with an object that stands for another
        for name in [name for name in sys.modules if name.split(".")[0] == "torchmetrics"]:
            del sys.modules[name]


@contextmanager
def _deferring(names: tuple[str, ...]) -> Iterator[None]:
    """A block in which modules by these names have what they are asked for, not yet imported."""
    sys.modules.update({name: _DeferredModule(name) for name in names})
    try:
        yield
    finally:
        for name in names:
            del sys.modules[name]


class _DeferredModule(ModuleType):
    """Stands for a module that is not imported: what is taken from it is a ``_Deferred``."""

    def __getattr__(self, name: str):
        if name.startswith("__"):  # the import system's own questions
            raise AttributeError(name)
        return _Deferred(self.__name__, name)


class _Deferred:
    """Stands for something in a module, which is imported when it is first used."""

    def __init__(self, module: str, name: str):
        self._module, self._name = module, name

    def _found(self):
        return getattr(import_module(self._module), self._name)

    def __getattr__(self, name: str):
        return getattr(self._found(), name)

    def __call__(self, *arguments, **settings):
        return self._found()(*arguments, **settings)
