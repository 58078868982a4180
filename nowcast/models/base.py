"""What a model is: the contract that every network and every baseline keeps.

A model of your own is a class in your package that derives from `ForecastModel` (or, for a network
that works on normalised frames, from `nowcast.models.network.Network`, which pads, masks and checks
for you), says what it can in ``capabilities``, and defines `forward`.

Axes: B batch, T time, C channels, H rows, W columns.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor, nn

from nowcast.models.prediction import Prediction
from nowcast.types.scale import Scale


@dataclass(frozen=True)
class Capabilities:
    """What a model can and needs; asked before it is called, so that nobody has to try.

    Args:
        needs_scale: it must be given the minutes between frames and the kilometres between pixels.
        any_scale: it forecasts at whatever cadence and grid spacing the frames have, within limits;
            other models forecast at those that they were trained with.
        probabilistic: its prediction has probabilities that are more than 0 or 1.
        members: it draws as many members as are asked for.
        own_members: it makes so many members each time, and is judged by them; 0: none.
        partial: there may be pixels without a forecast (NaN), such as where rain comes from outside
            the grid.
        slow: a case takes seconds; evaluation makes its forecasts case by case, in processes, and
            keeps them.
        scheduled_sampling: while it learns it can read the truth now and then in place of its own
            forecast, by a method of this name, see ``nowcast.models.autoregressive``.
        unit_range: its values lie in (0, 1).
        any_length: one graph of it (``nowcast.forecasting.export``) reads any number of context
            frames; other models are exported for one number.
    """

    needs_scale: bool = False
    any_scale: bool = False
    probabilistic: bool = False
    members: bool = False
    own_members: int = 0
    partial: bool = False
    slow: bool = False
    scheduled_sampling: bool = False
    unit_range: bool = False
    any_length: bool = False


class ForecastModel(nn.Module, ABC):
    """From context frames to a prediction of the frames that follow.

    Attributes:
        capabilities: what it can; of the class, or set in ``__init__`` where a setting decides
            (but for ``slow`` and ``partial``, which are asked of the class).
        context_length: the fewest context frames that it forecasts from.
        begins_with_other: settings that may differ where it begins with the weights of another of
            its kind, see ``take_weights``; all others must be the same.
    """

    capabilities: Capabilities = Capabilities()
    context_length: int = 1
    begins_with_other: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """What the field calls such a model, for tables and pictures; the class's name, unless it
        says better.
        """
        return type(self).__name__

    @abstractmethod
    def forward(
        self,
        context: Tensor,
        forecast_length: int,
        observed: Tensor | None = None,
        scale: Scale | None = None,
    ) -> Prediction:
        """Predict the frames that follow.

        Args:
            context: (B, T, 1, H, W), on the model's scale (normalised, or mm/h for baselines), 0
                where not observed.
            forecast_length: number of frames to predict, at least 1.
            observed: boolean mask of the context's shape; None means all of it.
            scale: minutes between frames and kilometres between pixels; models that need none do
                not look.

        Returns:
            The prediction, of (B, forecast_length, 1, H, W) values; NaN where there is none.

        Raises:
            UserError: a context of another shape, too short, or a mask that is not of it.
        """

    def take_weights(self, other: "ForecastModel") -> None:
        """Begin with the weights of another model of its kind, to be trained further.

        Args:
            other: made with the same settings, but for those of ``begins_with_other``.

        Raises:
            UserError: its weights cannot begin this one.
        """
        self.load_state_dict(other.state_dict())

    def scheduled_sampling(
        self, window: Tensor, observed: Tensor | None, context_length: int, progress: float
    ) -> Tensor:
        """Forecast every frame of a training window from those before it, now and then the truth.

        Of models whose capabilities say so, see ``nowcast.models.autoregressive``; losses of one
        forecast call it in training.

        Args:
            window: (B, T, 1, H, W), normalised: context and target.
            observed: boolean mask of the window's shape; None means all of it.
            context_length: how many of the T frames are context.
            progress: share of the training that is done, 0 to 1.

        Returns:
            Forecasts of frames 2 to T, (B, T - 1, 1, H, W).
        """
        raise NotImplementedError
