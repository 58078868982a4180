"""Where an evaluation's batches come from: cases of a data set that models forecast now (forecasts
that were made before are read by ``nowcast.evaluation.external``).
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable

import numpy as np

from nowcast.data.base import Cases
from nowcast.evaluation.batches import CaseBatch
from nowcast.evaluation.blocks import Blocks, by_time, groups
from nowcast.evaluation.judged import forecast_of, forecast_of_members
from nowcast.evaluation.statistics.base import Statistic
from nowcast.evaluation.statistics.by_functional import ByFunctional, Forecast
from nowcast.forecasting.forecaster import Forecaster
from nowcast.runtime.errors import UserError
from nowcast.types.frames import Frames, Grid
from nowcast.types.scale import Scale

# in one frame of all cases of a batch: 64 sequences of 64x64, or one radar composite
PIXELS_PER_BATCH = 2**18


class ForecastSource(ABC):
    """Cases with the forecasts that are evaluated on them, batch by batch.

    Attributes:
        members: number of members of the forecasts; 0 or None where they are no ensembles.
        count: number of cases.
        judged_by: the scores that an evaluation is about, which say what is asked of models that
            predict a distribution; None: their usual forecast.
    """

    members: int | None
    count: int
    judged_by: Statistic | None = None

    @abstractmethod
    def blocks(self, hours: float | None) -> Blocks:
        """The cases in blocks of so many hours, which intervals are computed from."""

    @abstractmethod
    def ranges(self) -> list[range]:
        """The cases of each batch."""

    @abstractmethod
    def batch(self, indices: Iterable[int], of_case: np.ndarray) -> CaseBatch:
        """Some cases with their forecasts; ``of_case`` is the number of the block of every case."""

    @abstractmethod
    def grid_of(self, index: int) -> Grid | None:
        """Where the pixels of a case are; None where they are nowhere on earth."""

    @abstractmethod
    def title(self, index: int) -> str:
        """Which case it is, for people."""


class MadeForecasts(ForecastSource):
    """Forecasts of one analysis time that are made already, and what came.

    Args:
        context: the frames that they were made from.
        came: the frames of their lead times.
        forecasts: by name, rain rates [mm/h], (T, H, W), NaN = no forecast; the first one is what
            the evaluation is about. A distribution is given by functional, as a batch of one.
    """

    members = None
    count = 1

    def __init__(self, context: Frames, came: Frames, forecasts: dict[str, Forecast]):
        self.context, self.came, self.forecasts = context, came, forecasts

    def blocks(self, hours: float | None) -> Blocks:
        """The one case as a block."""
        span = (self.came.times[-1] - self.context.times[0]) / np.timedelta64(3600, "s")
        return by_time(self.context.times[-1:], [""], float(span), hours)

    def ranges(self) -> list[range]:
        """One batch."""
        return [range(1)]

    def batch(self, indices: Iterable[int], of_case: np.ndarray) -> CaseBatch:
        """The case."""
        forecasts = {
            name: values if isinstance(values, ByFunctional) else values[None]
            for name, values in self.forecasts.items()
        }
        context, came = self.context.values[None], self.came.values[None]
        return CaseBatch(context, came, forecasts, {}, of_case[list(indices)])

    def grid_of(self, index: int) -> Grid:
        """Where its pixels are."""
        return self.context.grid

    def title(self, index: int) -> str:
        """Its analysis time."""
        return f"analysis time {str(self.context.times[-1]).replace('T', ' ')} UTC"


class ModelSource(ForecastSource):
    """Cases of a data set, forecast by models in this process.

    Args:
        models: forecasters by name.
        cases: of the test part of a data set.
        forecast_length: number of leads; the cases have as many frames after the context.
        members: to draw of each model; 0: none.
        limit: only the first so many cases.

    Raises:
        UserError: there is no case, or a model is not made for the cadence or grid spacing of one.
    """

    def __init__(
        self,
        models: dict[str, Forecaster],
        cases: Cases,
        *,
        forecast_length: int,
        members: int = 0,
        limit: int | None = None,
    ):
        if len(cases) == 0:
            raise UserError("there is no case to evaluate; choose other data or another split.")
        self.models, self.cases = models, cases
        self.forecast_length, self.members = forecast_length, members
        self.count = min(len(cases), limit or len(cases))
        for forecaster in models.values():
            if forecaster.any_cadence:
                self._refuse_scales(forecaster)

    def _refuse_scales(self, forecaster: Forecaster) -> None:
        for index in range(self.count):
            scale = self.cases.scale(0, index)
            if scale is not None:
                forecaster.refuse_scale(*scale, self.title(index))

    def blocks(self, hours: float | None) -> Blocks:
        """The cases in blocks."""
        times = [self.cases.analysis_time(index) for index in range(self.count)]
        if None in times:
            return groups(self.count)
        tasks = [forecaster.task for forecaster in self.models.values()]
        return by_time(
            np.array(times),
            [self.cases.source(index) for index in range(self.count)],
            max(task.window_length * task.timestep / 60 for task in tasks),
            hours,
            stride_hours=self.cases.stride_hours,
        )

    def ranges(self) -> list[range]:
        """The cases of each batch: so many of one size and scale that a batch has a useful size; a
        forecast does not depend on what else is in it.
        """
        found: list[range] = []
        kind, most = None, 0  # of the cases of the last batch, and how many it may have
        for index in range(self.count):
            shape, scale = self.cases.size_of(index), self.cases.scale(0, index)
            if found and len(found[-1]) < most and (shape, scale) == kind:
                found[-1] = range(found[-1].start, index + 1)
                continue
            kind, most = (shape, scale), max(1, PIXELS_PER_BATCH // math.prod(shape))
            found.append(range(index, index + 1))
        return found

    def batch(self, indices: Iterable[int], of_case: np.ndarray) -> CaseBatch:
        """Cases with the forecasts of the models."""
        indices, length = list(indices), self.forecast_length
        values = np.stack([self.cases.case(0, index) for index in indices])
        context, observation = values[:, :-length], values[:, -length:]
        scales = [self.cases.scale(0, index) for index in indices]
        scale = None if None in scales else Scale.of_samples(scales)
        forecasts, members = {}, {}
        for name, forecaster in self.models.items():
            own = context[:, -forecaster.task.context_length :]  # another model may need more
            if self.members:
                members[name] = forecaster.forecast_members(own, self.members, length, scale=scale)
            if self.members and not forecaster.model.capabilities.probabilistic:
                forecasts[name] = forecast_of_members(members[name], self.judged_by)
                continue
            forecasts[name] = forecast_of(forecaster, own, length, scale, self.judged_by)
        return CaseBatch(context, observation, forecasts, members, of_case[indices], scale)

    def grid_of(self, index: int) -> Grid | None:
        """Where its pixels are."""
        return self.cases.grid_of(index)

    def title(self, index: int) -> str:
        """Which case it is."""
        time, source = self.cases.analysis_time(index), self.cases.source(index)
        if time is None:
            return f"case {index}"
        return f"{source + ', ' if source else ''}analysis time {str(time).replace('T', ' ')} UTC"
