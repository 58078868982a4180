"""One batch of cases: the baselines' forecasts, the pixels that all can be judged on, and the sums
over them.

B cases, M members, T leads, H rows, W columns.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from nowcast.evaluation.cache import ForecastCache
from nowcast.forecasting.forecaster import Forecaster
from nowcast.runtime.errors import UserError, first_line
from nowcast.types.arrays import unmasked
from nowcast.types.scale import Scale

MEMBER = "{} member"  # the row of an ensemble's single members beside that of its mean


@dataclass(frozen=True)
class Batch:
    """Cases and what is judged on them.

    Args:
        context: physical values, (B, T_context, H, W), NaN = not observed.
        observation: (B, T, H, W).
        forecasts: of the judged models by name, (B, T, H, W), NaN = no forecast.
        members: of those among them that have an ensemble, (B, M, T, H, W).
        blocks: number of the block of each case, (B,).
        scale: minutes between frames and kilometres between pixels of each case, for models
            that must know them; None where they have none.
    """

    context: np.ndarray
    observation: np.ndarray
    forecasts: dict[str, np.ndarray]
    members: dict[str, np.ndarray]
    blocks: np.ndarray
    scale: Scale | None = None

    def __post_init__(self):
        for name in ("context", "observation"):
            object.__setattr__(self, name, unmasked(getattr(self, name), name))
        for name in ("forecasts", "members"):
            object.__setattr__(
                self,
                name,
                {
                    model: unmasked(values, f"{name} of {model}")
                    for model, values in getattr(self, name).items()
                },
            )


@dataclass
class Failures:
    """Cases in which a model had no forecast, so that persistence stood in for it.

    Args:
        cases: how many.
        reason: of the first of them.
    """

    cases: int = 0
    reason: str = ""

    def __add__(self, other: "Failures") -> "Failures":
        return Failures(self.cases + other.cases, self.reason or other.reason)


@dataclass
class Judgement:
    """What one batch, or several, came to.

    Args:
        sums: (model, block) -> sums of its scores.
        ensembles: (model, block) -> sums of its ensemble scores.
        squared_errors: by model, the mean squared error of each case, (B,); NaN without a
            comparable pixel.
        failures: by model.
    """

    sums: dict = field(default_factory=dict)
    ensembles: dict = field(default_factory=dict)
    squared_errors: dict[str, np.ndarray] = field(default_factory=dict)
    failures: dict[str, Failures] = field(default_factory=dict)

    def add(self, other: "Judgement") -> None:
        """Take in the judgement of the cases that follow."""
        for mine, theirs in (
            (self.sums, other.sums),
            (self.ensembles, other.ensembles),
            (self.failures, other.failures),
        ):
            for key, value in theirs.items():
                mine[key] = mine[key] + value if key in mine else value
        for model, errors in other.squared_errors.items():
            self.squared_errors[model] = np.concatenate(
                [self.squared_errors.get(model, np.zeros(0)), errors]
            )


@dataclass(frozen=True)
class Judge:
    """Judges batches; it is sent to worker processes.

    Args:
        baselines: by name; all get the same context.
        scores: has ``sums(forecast_length)`` and, for ensembles, ``ensemble_sums(forecast_length,
            members)``.
        cache: of slow baselines' forecasts; None: they are made anew.
        strict: whether a baseline that says that it cannot run (a UserError) ends the evaluation;
            else it is a failure like others.
    """

    baselines: dict[str, Forecaster]
    scores: object
    cache: ForecastCache | None = None
    strict: bool = False

    def __call__(self, batch: Batch) -> Judgement:
        """Forecast with the baselines, and score all over the pixels where every forecast and the
        observation hold a number.
        """
        forecasts, members, failures = self.forecasts(batch)
        comparable = np.logical_and.reduce([~np.isnan(forecast) for forecast in forecasts.values()])
        observation = np.where(comparable, batch.observation, np.float32(np.nan))
        judgement = Judgement(failures=failures)
        for name, forecast in forecasts.items():
            judgement.squared_errors[name] = _squared_errors(forecast, observation)
        length = observation.shape[1]
        for block in np.unique(batch.blocks):
            mine = batch.blocks == block
            for name, forecast in forecasts.items():
                judgement.sums[name, block] = sums = self.scores.sums(length)
                sums.add(forecast[mine], observation[mine])
            for name, ensemble in members.items():
                statistic = self.scores.ensemble(ensemble.shape[1])
                judgement.ensembles[name, block] = sums = statistic.sums(length)
                sums.add(ensemble[mine], observation[mine])
                judgement.sums[MEMBER.format(name), block] = sums = self.scores.sums(length)
                for number in range(ensemble.shape[1]):
                    sums.add(ensemble[mine, number], observation[mine])
        return judgement

    def forecasts(
        self, batch: Batch
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, Failures]]:
        """Forecasts of all by name, (B, T, H, W), members of those that have them, (B, M, T, H, W),
        and failures.
        """
        forecasts, members, failures = dict(batch.forecasts), dict(batch.members), {}
        for name, forecaster in self.baselines.items():
            made, failed = self._made(
                forecaster, batch.context, batch.observation.shape[1], batch.scale
            )
            if failed.cases:
                failures[name] = failed
            if made.ndim == 5:
                members[name], made = made, mean_of_members(made)
            forecasts[name] = made
        return forecasts, members, failures

    def _made(
        self, forecaster: Forecaster, context: np.ndarray, length: int, scale: Scale | None
    ) -> tuple[np.ndarray, Failures]:
        """A baseline's forecast, or its members."""
        if not forecaster.model.capabilities.slow:
            return forecaster.forecast_values(context, length, scale=scale), Failures()
        found, failures = [], Failures()
        needs_scale = scale is not None and forecaster.model.capabilities.needs_scale
        for k, case in enumerate(context):
            try:
                found.append(
                    self._kept(
                        forecaster,
                        case,
                        length,
                        scale.rows(slice(k, k + 1)) if needs_scale else None,
                    )
                )
            # whatever a method makes of a case: it is counted and told, and the others are still
            # compared
            except Exception as error:
                if self.strict and isinstance(error, UserError):
                    raise
                failures += Failures(1, first_line(error))
                found.append(None)
        number = forecaster.model.capabilities.own_members
        for k, forecast in enumerate(found):
            if forecast is None:
                last = np.repeat(context[k, -1:], length, axis=0)
                found[k] = np.repeat(last[None], number, axis=0) if number else last
        return np.stack(found), failures

    def _kept(
        self, forecaster: Forecaster, case: np.ndarray, length: int, scale: Scale | None
    ) -> np.ndarray:
        """The forecast of one case, (T, H, W) or (M, T, H, W), from the cache where it is there."""
        if self.cache is None:
            return _forecast(forecaster, case, length, scale)
        model = json.dumps(
            (forecaster.settings or {}).get("model")
            or [
                type(forecaster.model).__qualname__,
                sorted(map(str, vars(forecaster.model).items())),
            ]
        )
        if scale is not None:
            model = f"{model} {[scale.timestep.tolist(), scale.spacing.tolist()]}"
        key = self.cache.key(model, case, length)
        kept = self.cache.get(key)
        if kept is None:
            kept = _forecast(forecaster, case, length, scale)
            self.cache.put(key, kept)
        return kept


def mean_of_members(members: np.ndarray) -> np.ndarray:
    """(B, M, T, H, W) -> (B, T, H, W); NaN where any member has no value."""
    return members.mean(axis=1, dtype=np.float64).astype(np.float32)


def _forecast(
    forecaster: Forecaster, case: np.ndarray, length: int, scale: Scale | None
) -> np.ndarray:
    members = forecaster.model.capabilities.own_members
    return (
        forecaster.forecast_members(case[None], members, length, scale=scale)[0]
        if members
        else forecaster.forecast_values(case[None], length, scale=scale)[0]
    )


def _squared_errors(forecast: np.ndarray, observation: np.ndarray) -> np.ndarray:
    """Mean squared error of each case, (B, T, H, W) -> (B,)."""
    errors = np.full(len(forecast), np.nan)
    for k, (f, o) in enumerate(zip(forecast, observation)):
        error = f - o
        known = ~np.isnan(error)
        count = np.count_nonzero(known)
        if count:
            errors[k] = np.sum(error * error, dtype=np.float64, where=known) / count
    return errors


def skills(errors: Mapping[str, np.ndarray], judged: str, reference: str | None) -> np.ndarray:
    """How well each case was forecast, (B,): 1 - MSE / MSE of the reference; without one, -MSE.

    NaN where the reference is perfect, or nothing came.
    """
    if reference is None:
        return -errors[judged]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(errors[reference] > 0, 1 - errors[judged] / errors[reference], np.nan)
