"""A model with everything needed to use it: Frames in, Forecast out; saved to and loaded from a run
folder.
"""

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nowcast.baselines.extrapolation import seed_of
from nowcast.data.cadence import are_regular, is_step, usual_step, without_twins
from nowcast.forecasting.products import checked_thresholds
from nowcast.forecasting.saving import PARTS, read_run, write_run
from nowcast.models.base import ForecastModel
from nowcast.models.prediction import Prediction
from nowcast.runtime.build import build_part, plain_data
from nowcast.runtime.errors import UserError
from nowcast.runtime.files import run_folder
from nowcast.runtime.precision import autocast, check_precision, precision_of
from nowcast.types.arrays import as_numbers
from nowcast.types.frames import Forecast, Frames
from nowcast.types.functional import Functional
from nowcast.types.scale import Scale
from nowcast.types.task import Task
from nowcast.types.tolerance import DEFAULT, Tolerance

# frames; far beyond any skill, far below what would exhaust the memory by a typing error
LONGEST_FORECAST = 1000
MOST_MEMBERS = 1000
MOST_VALUES = 2**31  # of one forecast, 8 GiB
CADENCES = (2.0, 15.0)  # minutes between frames that a model for any cadence is made for
SPACINGS = (0.25, 5.0)  # kilometres between pixels, the same


class Forecaster:
    """Physical values in, physical values out, around a model that works on normalised tensors.

    Args:
        model: see ``nowcast.models.base``.
        transform: see ``nowcast.types.transform``.
        task: what the model was made for.
        settings: {"model": ..., "transform": ..., "task": ...} as data, from which the three can be
            built again; needed to save.
        precision: of the model's convolutions and matrix products, "float32" or "bf16-mixed";
            "auto": bf16-mixed where the hardware is fast at it. Weights, cell states and what comes
            out are float32 in both.

    Attributes:
        network_seconds: that its model has worked so far, without the transform.

    Raises:
        UserError: another precision.
    """

    def __init__(
        self,
        model: ForecastModel,
        transform,
        task: Task,
        *,
        settings: dict | None = None,
        precision: str = "auto",
    ):
        check_precision(precision)
        self.model, self.transform, self.task = model, transform, task
        self.settings, self.precision = settings, precision
        self.network_seconds = 0.0
        self._horizon = task.forecast_length * task.timestep  # minutes

    @classmethod
    def from_settings(cls, settings: dict, *, precision: str = "auto") -> "Forecaster":
        """Build model, transform and task from settings held as data; weights as initialised."""
        settings = plain_data(settings)
        task, transform, model = (build_part(settings, name) for name in PARTS)
        kept = {name: settings[name] for name in PARTS}
        return cls(model, transform, task, settings=kept, precision=precision)

    def take_weights(self, other: "Forecaster", name: str) -> None:
        """Begin with the weights of another forecaster, to be trained further.

        Args:
            other: its model and transform must be built by the same settings, but for those that
                the model allows to differ.
            name: what the other is called in a message.

        Raises:
            UserError: they are not.
        """
        for part_name in ("model", "transform"):
            mine, others = self.settings[part_name], other.settings[part_name]
            if part_name == "model":
                free = self.model.begins_with_other
                mine, others = (
                    {name: value for name, value in settings.items() if name not in free}
                    for settings in (mine, others)
                )
            if mine != others:
                raise UserError(
                    f"start_from={name} has another {part_name} ({other.settings[part_name]}) "
                    f"than this training ({self.settings[part_name]}); "
                    "its weights cannot begin it. Train the same one, or leave start_from out."
                )
        self.model.take_weights(other.model)

    def forecast_values(
        self, context: np.ndarray, forecast_length: int | None = None, *, scale: Scale | None = None
    ) -> np.ndarray:
        """Forecast a batch of arrays.

        Args:
            context: (B, T, H, W) physical values, NaN = not observed.
            forecast_length: number of frames; None for the task's.
            scale: minutes between frames and kilometres between pixels, for models that must know
                them; others do not look.

        Returns:
            (B, forecast_length, H, W) float32 physical values; NaN where the context was never
            observed, or where the model has no forecast.

        Raises:
            UserError: too many values were asked for, or the model must know a scale that is None.
        """
        context = as_numbers(context, "the context frames")
        with self._predicted(context, forecast_length, scale) as (prediction, ever_observed):
            return self._restored(prediction.point(), ever_observed)[:, :, 0]

    def forecast_functionals(
        self,
        context: np.ndarray,
        functionals: Sequence[str],
        forecast_length: int | None = None,
        *,
        thresholds: Sequence[float] = (),
        scale: Scale | None = None,
    ) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
        """Several numbers of the predicted distribution, computed together.

        Args:
            context: (B, T, H, W) physical values, NaN = not observed.
            functionals: see ``nowcast.types.functional``; events in physical values.
            forecast_length: number of frames; None for the task's.
            thresholds: physical values whose probabilities are asked for, too.
            scale: as for ``forecast_values``.

        Returns:
            By functional (B, forecast_length, H, W) float32 physical values, NaN as in
            ``forecast_values``; of an event its value where it is forecast, elsewhere 0. And the
            probabilities of the thresholds, (B, K, forecast_length, H, W); None without any.

        Raises:
            UserError: as ``forecast_values``, or an unknown functional.
        """
        context = as_numbers(context, "the context frames")
        asked = [Functional.parse(one) for one in functionals]
        with self._predicted(context, forecast_length, scale) as (prediction, ever_observed):
            fields, probability = self._answers(
                prediction, asked, thresholds, context, ever_observed
            )
        return dict(zip(map(str, functionals), fields, strict=True)), probability

    def _answers(
        self,
        prediction: Prediction,
        asked: Sequence[Functional | None],
        thresholds: Sequence[float],
        context: np.ndarray,
        ever_observed: Tensor,
    ) -> tuple[list[np.ndarray], np.ndarray | None]:
        """What one pass over a prediction gives, see ``forecast_functionals``."""
        levels = self.transform.levels(thresholds) if len(thresholds) else ()
        normalised = [None if one is None else self._normalised(one) for one in asked]
        with self._own_draws(context):
            points, exceedance = prediction.answers(normalised, levels)
        fields = [
            self._restored_point(values, one, ever_observed)
            for values, one in zip(points, asked, strict=True)
        ]
        if exceedance is None:
            return fields, None
        probability = torch.where(ever_observed[:, None], exceedance.float(), torch.nan)
        return fields, probability[:, :, :, 0].cpu().numpy()

    @contextmanager
    def _own_draws(self, context: np.ndarray) -> Iterator[None]:
        """A block in which what a model draws depends on the context alone."""
        capabilities = self.model.capabilities
        if capabilities.probabilistic or not capabilities.members:
            yield
            return
        with torch.random.fork_rng():
            torch.manual_seed(seed_of(context, 0))
            yield

    def _normalised(self, functional: Functional) -> Functional:
        """A functional as the model is asked for it: events on its own scale."""
        if functional.name != "event":
            return functional
        return functional._replace(level=self.transform.levels([functional.level]).item())

    def _restored_point(
        self, values: Tensor, functional: Functional | None, ever_observed: Tensor
    ) -> np.ndarray:
        """Physical values of a forecast, (B, T, H, W); of an event exactly its value, or 0."""
        if functional is None or functional.name != "event":
            return self._restored(values, ever_observed)[:, :, 0]
        known = ever_observed & ~values.isnan()
        event = torch.where(values > 0, functional.level, 0.0)
        return torch.where(known, event, torch.nan).float().cpu().numpy()[:, :, 0]

    def functional(self, point: str | None = None) -> Functional | None:
        """Which number of its distribution a forecast is.

        Args:
            point: what was asked for, see ``nowcast.types.functional``; None: the mean, of which
                alone sums over time and areas are right, and which has the smallest squared errors.

        Returns:
            None: the single field that the model was made for, which is its mean, median and
            quantiles, too.

        Raises:
            UserError: an unknown functional.
        """
        asked = None if point is None else Functional.parse(point)
        capabilities = self.model.capabilities
        if capabilities.probabilistic:
            return asked or Functional("mean")
        is_ensemble = capabilities.members or capabilities.own_members
        return asked if is_ensemble or (asked and asked.name == "event") else None

    def forecast_members(
        self,
        context: np.ndarray,
        members: int,
        forecast_length: int | None = None,
        *,
        scale: Scale | None = None,
    ) -> np.ndarray:
        """The same of an ensemble, whose draws depend on the context and the number of members
        alone.

        Args:
            context: (B, T, H, W) physical values, NaN = not observed.
            members: how many.
            forecast_length: number of frames; None for the task's.
            scale: as for ``forecast_values``.

        Returns:
            (B, members, forecast_length, H, W) float32 physical values, NaN as in
            ``forecast_values``.

        Raises:
            UserError: the model draws no members, or too many values were asked for.
        """
        self._refuse_members(members)
        context = as_numbers(context, "the context frames")
        call = self._predicted(context, forecast_length, scale, members=members)
        with call as (prediction, ever_observed):
            return self._members(prediction, members, context, ever_observed)

    def _refuse_members(self, members: int) -> None:
        if not 1 <= members <= MOST_MEMBERS:
            raise UserError(f"{members} members were asked for; 1 to {MOST_MEMBERS} are accepted.")
        if not self.model.capabilities.members:
            raise UserError(
                f"{type(self.model).__name__} draws no members; take a network with state noise "
                "(model.state_noise=0.1) or model=lagrangian, or 0 members."
            )

    def _members(
        self, prediction: Prediction, members: int, context: np.ndarray, ever_observed: Tensor
    ) -> np.ndarray:
        """(B, members, T, H, W) physical values, drawn as the context decides."""
        with torch.random.fork_rng():
            torch.manual_seed(seed_of(context, members))
            drawn = prediction.members(members)
        return self._restored(drawn, ever_observed[:, None])[:, :, :, 0]

    def _restored(self, values: Tensor, ever_observed: Tensor) -> np.ndarray:
        """Physical values; NaN where the context was never observed."""
        _wait_for(values.device)
        begun = time.perf_counter()
        restored = self.transform.restore(torch.where(ever_observed, values.float(), torch.nan))
        self.network_seconds -= time.perf_counter() - begun
        return restored

    @contextmanager
    def _predicted(
        self,
        context: np.ndarray,
        forecast_length: int | None,
        scale: Scale | None,
        *,
        members: int = 1,
    ) -> Iterator[tuple[Prediction, Tensor]]:
        """A block in which what the model predicts can be asked, with where the context was ever
        observed, (B, 1, 1, H, W).
        """
        length, name = self._length(forecast_length), type(self.model).__name__
        size = (len(context), members, length, *context.shape[2:])
        if math.prod(size) > MOST_VALUES:
            raise UserError(
                f"a forecast of {' x '.join(map(str, size))} values (sequences, members, frames, "
                f"rows, columns) was asked for; {MOST_VALUES} values are accepted at once."
            )
        if self.model.capabilities.needs_scale and scale is None:
            raise UserError(
                f"{name} must know the minutes between frames and the kilometres between pixels; "
                "these data have none."
            )
        self.model.eval()
        device = next(self.model.parameters(), torch.empty(0)).device
        precision = precision_of(self.precision, device.type)
        with torch.inference_mode(), autocast(device.type, precision):
            values, observed = self.transform.normalise(context[:, :, None])
            begun = time.perf_counter()
            known = None if scale is None else scale.to(device)
            prediction = self.model(values.to(device), length, observed.to(device), known)
            if not isinstance(prediction, Prediction):
                raise UserError(
                    f"{name} returned {type(prediction).__name__}; expected a Prediction, such as "
                    "SingleField(values), see nowcast.models.prediction."
                )
            yield prediction, observed.any(dim=1, keepdim=True).to(device)
            _wait_for(device)
            self.network_seconds += time.perf_counter() - begun

    def __call__(
        self,
        frames: Frames,
        forecast_length: int | None = None,
        *,
        thresholds: Sequence[float] = (),
        members: int = 0,
        point: str | None = None,
        tolerance: Tolerance = DEFAULT,
    ) -> Forecast:
        """Forecast from the newest frames.

        Args:
            frames: at least the task's context_length of frames, the last ones without a gap.
            forecast_length: number of frames to predict; None for the task's, of a model of any
                cadence as many as reach as far ahead as the task (an hour, of the shipped one).
            thresholds: rain rates [mm/h] whose probabilities the forecast shall bring along, if the
                model tells any.
            members: of an ensemble, which the forecast shall bring along; 0: none.
            point: which number of the predicted distribution the forecast is: "mean", "median",
                "quantile:0.9", "event:1" (where 1 mm/h is forecast to be reached: 1, elsewhere 0;
                so that the critical success index is best), "event:1@0.2" (where its probability
                is at least 0.2); None: the mean, see ``functional``. A model of a single field
                forecasts that field, whatever is asked for.
            tolerance: how far frames may lie off regular times.

        Raises:
            UserError: no Frames, a model of grey levels, which are not of any time and place (for
                both there is ``forecast_values``), too few frames, a gap among those needed, no
                pixel of the newest observed, a
                cadence or spacing that the model is not made for, thresholds that are not positive
                and ascending, an unknown functional, members of a model that draws none, or a
                forecast that is missing everywhere.
        """
        self._refuse_other_input(frames)
        thresholds = checked_thresholds(thresholds) if len(thresholds) else ()
        frames = self.one_of_each_time(frames, tolerance)
        task, need = self._task_for(frames, tolerance), self.task.context_length
        _refuse_gap(frames, need, task, tolerance)
        context = frames[-need:]
        if np.isnan(context.values[-1]).all():
            raise UserError(
                f"no pixel of the newest frame, of {context.times[-1]} UTC, was observed; there "
                "is nothing to forecast from. Take an earlier one (analysis_time)."
            )
        length = self._length(task.forecast_length if forecast_length is None else forecast_length)
        scale = Scale.of_samples([(task.timestep, context.grid.pixel_km)])
        ensemble = None
        if members:
            self._refuse_members(members)
        if not self.model.capabilities.probabilistic:
            thresholds = ()
        functional, values = self.functional(point), context.values[None]
        asked = [functional]
        if functional is not None and functional.name != "mean":
            asked.append(Functional("mean"))  # for sums, which are right of it alone
        call = self._predicted(values, length, scale, members=max(1, members))
        with call as (prediction, ever_observed):
            fields, probability = self._answers(
                prediction, asked, thresholds, values, ever_observed
            )
            if np.isnan(fields[0]).all():
                raise UserError(
                    f"the forecast from {context.times[-1]} UTC is missing at every pixel and lead "
                    f"time: {_why_nothing(context, type(self.model).__name__)}"
                )
            if members:
                ensemble = self._members(prediction, members, values, ever_observed)[0]
        return Forecast(
            fields[0][0],
            context.times[-1],
            task.lead_times(length),
            context.grid,
            members=ensemble,
            thresholds=thresholds,
            probability=None if probability is None else probability[0],
            point="" if functional is None else str(functional),
            expected=fields[1][0] if len(fields) > 1 else None,
        )

    def _refuse_other_input(self, frames: Frames) -> None:
        """Refuse what is not rain at times on a grid, and say what forecasts other things."""
        arrays = "forecaster.forecast_values(array), of (B, T, H, W)"
        if self.task.quantity != "rain_rate":
            raise UserError(
                f"this model forecasts {self.task.quantity}, as of Moving MNIST, and Frames are "
                f"rain at times on a grid; forecast arrays with {arrays}, or train on rain "
                "(data=radar)."
            )
        if not isinstance(frames, Frames):
            tensors = "forecaster.model(tensor, length).point(), of normalised (B, T, 1, H, W)"
            raise UserError(
                f"expected Frames, as nowcast.read returns them, got {type(frames).__name__}; "
                f"arrays are forecast by {arrays}, tensors by {tensors}."
            )

    def __repr__(self) -> str:
        task = self.task
        length = f"{task.context_length} frames of {task.quantity} -> {task.forecast_length}"
        step = "" if task.lead_minutes is None else f" every {task.timestep:g} min"
        return f"<Forecaster: {type(self.model).__name__}, {length}{step}>"

    def one_of_each_time(self, frames: Frames, tolerance: Tolerance = DEFAULT) -> Frames:
        """The frames that a forecast is made from: of several that are meant for one time, the
        nearest to it.
        """
        step = self.task.timedelta
        if self.any_cadence:
            step = usual_step(frames.times[-2 * self.task.context_length :], tolerance)
        kept = without_twins(frames.times, step, tolerance)
        return frames if len(kept) == len(frames) else frames[kept]

    def _task_for(self, frames: Frames, tolerance: Tolerance) -> Task:
        """The task, at the cadence of the frames where the model takes any."""
        newest, timestep = np.diff(frames.times[-2:]), None
        if newest.size:
            step = newest[0]
            usual = usual_step(frames.times[-self.task.context_length :], tolerance)
            # the newest frame may be some seconds late
            if usual is not None and is_step(newest, usual, tolerance).all():
                step = usual
            timestep = _minutes(step)
        self.refuse_scale(timestep, frames.grid.pixel_km, frames.source)
        if timestep is None or not self.any_cadence:
            return self.task
        return self._task_at(timestep)

    def _task_at(self, timestep: float) -> Task:
        """The task at another cadence [minutes]: it looks as far ahead as before, about."""
        length = max(1, round(self._horizon / timestep))
        return replace(self.task, timestep=timestep, forecast_length=length)

    def refuse_scale(self, timestep: float | None, spacing: float, source: str) -> None:
        """Refuse minutes between frames (None: unknown) or kilometres between pixels that a model
        of any cadence and spacing is not made for.
        """
        if not self.any_cadence:
            return
        if not SPACINGS[0] <= spacing <= SPACINGS[1]:
            raise UserError(
                f"the pixels of {source or 'the input'} lie {spacing:.3g} km apart; this model "
                f"forecasts on grids of {SPACINGS[0]:g} to {SPACINGS[1]:g} km (nowcast convert "
                "regrid=regular)."
            )
        if timestep is not None and not CADENCES[0] <= timestep <= CADENCES[1]:
            raise UserError(
                f"the frames of {source or 'the input'} lie {timestep:g} minutes apart; this "
                f"model forecasts from frames every {CADENCES[0]:g} to {CADENCES[1]:g} minutes."
            )

    @property
    def any_cadence(self) -> bool:
        """Whether the model forecasts at whatever cadence the frames have, of ``CADENCES``, and on
        whatever spacing, of ``SPACINGS``.
        """
        return self.model.capabilities.any_scale

    def follow(self, times: Iterable[np.datetime64], tolerance: Tolerance = DEFAULT) -> bool:
        """Take the usual step between the newest of some times as the task's, where the model is
        made for any; whether that changed it.
        """
        if not self.any_cadence:
            return False
        length = self.task.context_length
        newest = np.sort(np.array(list(times), "datetime64[s]"))[-4 * length :]
        kept = without_twins(newest, usual_step(newest, tolerance), tolerance)
        newest = newest[kept][-2 * length :]
        gaps, regular = np.diff(newest), usual_step(newest, tolerance)
        if not gaps.size:
            return False
        if regular is not None and is_step(gaps, regular, tolerance).mean() > 0.5:
            usual = _minutes(regular)  # some seconds off: the whole minutes that are meant
        else:
            usual = float(np.median(gaps / np.timedelta64(1, "m")))
            if usual not in gaps / np.timedelta64(1, "m"):  # between two cadences
                return False
        if usual == self.task.timestep or not CADENCES[0] <= usual <= CADENCES[1]:
            return False
        self.task = self._task_at(usual)
        return True

    def _length(self, forecast_length: int | None) -> int:
        length = self.task.forecast_length if forecast_length is None else forecast_length
        if not 1 <= length <= LONGEST_FORECAST:
            raise UserError(
                f"a forecast of {length} frames was asked for; 1 to {LONGEST_FORECAST} are "
                "accepted."
            )
        return length

    def save(self, folder: str | Path) -> None:
        """Write forecaster.json and model.safetensors, which together are all that ``load`` needs.

        Raises:
            UserError: made without settings, weights that are not finite, or a folder that cannot
                be written to.
        """
        if self.settings is None:
            raise UserError(
                "this forecaster was made without its settings, so it cannot be saved; make it "
                "with Forecaster.from_settings."
            )
        write_run(Path(folder), self.model, self.settings, self.precision)

    @classmethod
    def load(cls, folder: str | Path, *, precision: str | None = None) -> "Forecaster":
        """Read a run folder. Runs no code from it: classes are chosen by name from nowcast, weights
        are safetensors.

        Args:
            folder: of the run; the word "shipped": the model that comes with nowcast (a folder of
                that name is "./shipped").
            precision: None for the run's own setting (float32 where it is older than that setting).

        Raises:
            UserError: not a run folder, one of another version, or a damaged one.
        """
        saved = read_run(run_folder(folder))
        forecaster = cls.from_settings(saved.settings, precision=precision or saved.precision)
        saved.load_into(forecaster.model)
        forecaster.model.eval()  # a training sets its own mode
        return forecaster


def _refuse_gap(frames: Frames, need: int, task: Task, tolerance: Tolerance) -> None:
    """Refuse frames of which the last ``need`` do not follow each other at the task's timestep."""
    gaps = np.diff(frames.times)
    if len(frames) >= need and are_regular(frames.times[-need:], task.timedelta, tolerance):
        return
    wrong = np.flatnonzero(~is_step(gaps, task.timedelta, tolerance))
    run, reason = len(frames), "there is none before"
    if wrong.size:
        run -= wrong[-1] + 1
        minutes = gaps[wrong[-1]] / np.timedelta64(1, "m")
        reason = f"the one before comes {minutes:g} minutes earlier"
    raise UserError(
        f"{frames.source or 'the input'}: a forecast from {frames.times[-1]} UTC needs {need} "
        f"frames in a row every {task.timestep:g} minutes, but only the last {_are(run)}: {reason}."
    )


def _are(count: int) -> str:
    return "1 is" if count == 1 else f"{count} are"


def _why_nothing(context: Frames, model: str) -> str:
    """Why a forecast has no value at all, and what to do."""
    observed = np.count_nonzero(~np.isnan(context.values[-1]))
    return (
        f"{observed} of {context.values[-1].size} pixels of the newest frame were observed, and "
        f"{model} has a value for none of them. "
        "Look at the input (nowcast info), or forecast with another model."
    )


def _minutes(step: np.timedelta64) -> float:
    return float(step / np.timedelta64(1, "m"))


def _wait_for(device: torch.device) -> None:
    """Wait for what was left to a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
