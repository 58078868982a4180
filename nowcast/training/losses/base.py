"""The contract of losses, and what they share.

Axes: B batch, T time, C channels, H rows, W columns.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Generator, Tensor

from nowcast.models.base import ForecastModel
from nowcast.models.prediction import Prediction
from nowcast.runtime.errors import UserError
from nowcast.types.batch import Batch

ROUNDING = 1e-5  # 2 mm/h, normalised and restored in float32, may be 1.999999 mm/h
_mean_count: ContextVar[Callable[[Tensor], Tensor] | None] = ContextVar("mean_count", default=None)


class TrainingLoss(ABC):
    """What a training makes small; a subclass defines `of_prediction`.

    The training calls it once per batch and knows nothing of how it is made.
    """

    def check(self, model: ForecastModel) -> None:
        """Refuse a model that this loss cannot train; called before the training.

        Args:
            model: asked for its ``capabilities``.

        Raises:
            UserError: what does not fit, and what to take instead.
        """
        return

    def __call__(
        self,
        model: ForecastModel,
        batch: Batch,
        progress: float,
        generator: Generator | None = None,
    ) -> Tensor:
        """The loss of a model in training.

        Args:
            model: in training mode.
            batch: of samples, on the model's device.
            progress: the share of the training that is done, in [0, 1].
            generator: of draws that all processes of a training have to make alike; None: torch's.

        Returns:
            A scalar with a gradient.
        """
        return self.of_prediction(predict(model, batch), batch, generator)

    @abstractmethod
    def of_prediction(
        self, prediction: Prediction, batch: Batch, generator: Generator | None = None
    ) -> Tensor:
        """The loss of what a model predicts of a batch; also the validation loss.

        Args:
            prediction: of the batch.
            batch: with the target, and what was observed of it.
            generator: as for a call.

        Returns:
            A scalar.
        """


class PixelLoss(TrainingLoss):
    """A loss of one forecast; a subclass defines `of`.

    A model whose capabilities say so is shown the truth now and then while it learns
    (scheduled sampling), and learns from its forecasts of every frame but the first.
    """

    @abstractmethod
    def of(self, forecast: Tensor, target: Tensor, observed: Tensor) -> Tensor:
        """The loss of a forecast, a scalar.

        Args:
            forecast: (B, T, C, H, W), float32 or float64, 0 where not observed.
            target: likewise.
            observed: boolean mask, (B, T, C, H, W).
        """

    def check(self, model: ForecastModel) -> None:
        """Refuse a model that says probabilities, from which no one forecast can be learnt."""
        if model.capabilities.probabilistic:
            raise UserError(not_together(self, model))

    def __call__(
        self,
        model: ForecastModel,
        batch: Batch,
        progress: float,
        generator: Generator | None = None,
    ) -> Tensor:
        """The loss of a model in training, see `TrainingLoss`."""
        if not model.capabilities.scheduled_sampling:
            return super().__call__(model, batch, progress, generator)
        window = torch.cat([batch.context, batch.target], dim=1)
        observed = torch.cat([batch.context_observed, batch.target_observed], dim=1)
        sampler: Any = model  # its capabilities say that it has the method
        forecast = sampler.scheduled_sampling(window, observed, batch.context.shape[1], progress)
        # of a sample that only keeps pace with other processes nothing counts, the frames that
        # were seen neither
        counted = observed[:, 1:] & batch.counts[:, None, None, None, None]
        return self.compare(forecast, window[:, 1:], counted)

    def of_prediction(
        self, prediction: Prediction, batch: Batch, generator: Generator | None = None
    ) -> Tensor:
        """The loss of the one forecast that a model was made for."""
        return self.compare(prediction.point(), batch.target, batch.target_observed)

    def compare(self, forecast: Tensor, target: Tensor, observed: Tensor) -> Tensor:
        """The loss of a forecast, whatever stands where nothing was observed.

        Args:
            forecast: (B, T, C, H, W), of any precision.
            target: likewise.
            observed: boolean mask of their shape.

        Returns:
            A scalar.

        Raises:
            UserError: shapes that differ.
        """
        return self.of(*without_hidden(forecast, target, observed), observed)


def predict(model: ForecastModel, batch: Batch) -> Prediction:
    """What a model predicts of a batch.

    Raises:
        UserError: the model needs a scale, and the batch has none.
    """
    if batch.scale is None and model.capabilities.needs_scale:
        raise UserError(
            f"{type(model).__name__} must know the minutes between frames and the kilometres "
            "between pixels; these data have none."
        )
    return model(batch.context, batch.forecast_length, batch.context_observed, batch.scale)


def not_together(loss: TrainingLoss, model: ForecastModel) -> str:
    """Why one of a loss and a model is of probabilities and the other is not, as a sentence."""
    return (
        f"{type(loss).__name__} and this {type(model).__name__} do not go together: "
        "loss=exceedance_error is for models of probabilities (model=lagrangian), and they are "
        "for it."
    )


def without_hidden(forecast: Tensor, target: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
    """Forecast and target with 0 wherever it was not observed, both in float32 or float64.

    Done before all arithmetic: 0 times what is hidden would be NaN for a NaN, and so would its
    gradient.

    Raises:
        UserError: shapes that differ; they would be broadcast to a loss of no meaning.
    """
    if not forecast.shape == target.shape == observed.shape:
        raise UserError(f"{shapes_text(forecast, target, observed)}; they must be the same.")
    precision = torch.promote_types(forecast.dtype, target.dtype)
    precision = torch.promote_types(precision, torch.float32)
    return (
        torch.where(observed, forecast, 0.0).to(precision),
        torch.where(observed, target, 0.0).to(precision),
    )


def shapes_text(forecast: Tensor, target: Tensor, observed: Tensor) -> str:
    """The shapes of the three, for a message."""
    shapes = ", ".join(str(tuple(values.shape)) for values in (forecast, target, observed))
    return f"forecast, target and observed have the shapes {shapes}"


def observed_mean(error: Tensor, observed: Tensor) -> Tensor:
    """Mean of an error over what was observed, any shape -> scalar; 0 if nothing was.

    Where several processes share a batch it is so divided that the mean over the processes is that
    of the whole batch.
    """
    return torch.where(observed, error, 0.0).sum() / shared_count(observed.sum(), error.dtype)


def shared_count(count: Tensor, dtype: torch.dtype) -> Tensor:
    """What a sum over so many things, a scalar, is divided by.

    That is their number, or in `counting_with` the mean one of all processes.
    """
    mean = _mean_count.get()
    if mean is None:
        return count.clamp(min=1)
    count = mean(count)
    return torch.where(count > 0, count, 1.0).to(dtype)  # where nothing counts, the sum is 0


@contextmanager
def counting_with(mean: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Losses called inside divide by counts of several processes that share a batch.

    The mean of the processes' losses, and of their gradients, is then the loss of the whole batch,
    however unevenly what was observed is spread over them: 3 observed pixels here and 1 there weigh
    3 to 1.

    Args:
        mean: called with what this process counted, a scalar; gives the mean over all processes.
            They all call it equally often.
    """
    token = _mean_count.set(mean)
    try:
        yield
    finally:
        _mean_count.reset(token)


def refuse_below_zero(**settings: float | list[float]) -> None:
    """Refuse a setting of a loss, or a number in a list of them, below 0.

    Raises:
        UserError: names the setting.
    """
    for name, value in settings.items():
        numbers = value if isinstance(value, (list, tuple)) else [value]
        # not "any below 0": NaN is refused, too
        if not all(number >= 0 for number in numbers):
            raise UserError(f"loss.{name} is {value}; it must be 0 or more.")
