"""All that nowcast uses of Lightning, imported in one place.

Lightning loads torchmetrics, and that torchvision, of which training needs nothing: it is left out,
so that a torchvision that does not fit its torch stops no training that does without.
"""

from nowcast.runtime import library_private

library_private.load_torchmetrics_without_torchvision()

from lightning import LightningModule, Trainer  # noqa: E402  (only now, see above)
from lightning.pytorch.accelerators import CPUAccelerator  # noqa: E402
from lightning.pytorch.callbacks import (  # noqa: E402
    Callback,
    EarlyStopping,
    LearningRateMonitor,
    ModelCheckpoint,
    ProgressBar,
    RichProgressBar,
    WeightAveraging,
)
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger  # noqa: E402
from lightning.pytorch.plugins.environments import ClusterEnvironment  # noqa: E402
from lightning.pytorch.plugins.io import CheckpointIO  # noqa: E402
from lightning.pytorch.strategies import DDPStrategy  # noqa: E402

__all__ = [
    "CPUAccelerator",
    "CSVLogger",
    "Callback",
    "CheckpointIO",
    "ClusterEnvironment",
    "DDPStrategy",
    "EarlyStopping",
    "LearningRateMonitor",
    "LightningModule",
    "ModelCheckpoint",
    "ProgressBar",
    "RichProgressBar",
    "TensorBoardLogger",
    "Trainer",
    "WeightAveraging",
]
