"""One batch of cases: the baselines' forecasts, the pixels where all models can be compared, and
the sums over them.

B cases, M members, T leads, H rows, W columns.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from nowcast.evaluation.cache import ForecastCache
from nowcast.evaluation.judged import forecast_of, forecast_of_members, map_of
from nowcast.evaluation.statistics.aggregates import AggregateSums
from nowcast.evaluation.statistics.base import Statistic
from nowcast.evaluation.statistics.by_functional import (
    ByFunctional,
    Forecast,
    field_of,
    without_mask,
)
from nowcast.evaluation.statistics.sums import Sums
from nowcast.forecasting.forecaster import Forecaster
from nowcast.runtime.errors import UserError, first_line
from nowcast.types.arrays import unmasked
from nowcast.types.scale import Scale

MEMBER = "{} member"  # the row of an ensemble's single members beside that of its mean


@dataclass(frozen=True)
class CaseBatch:
    """Cases and the forecasts of the models that an evaluation is about.

    Args:
        context: physical values, (B, T_context, H, W), NaN = not observed.
        observation: (B, T, H, W).
        forecasts: by model, (B, T, H, W), NaN = no forecast; of a distribution by functional.
        members: of those models that have an ensemble, (B, M, T, H, W).
        blocks: number of the block of each case, (B,).
        scale: minutes between frames and kilometres between pixels of each case, for models
            that must know them; None where they have none.
    """

    context: np.ndarray
    observation: np.ndarray
    forecasts: dict[str, Forecast]
    members: dict[str, np.ndarray]
    blocks: np.ndarray
    scale: Scale | None = None

    def __post_init__(self):
        plain = {
            "context": unmasked(self.context, "context"),
            "observation": unmasked(self.observation, "observation"),
            "forecasts": _unmasked(self.forecasts, "forecasts"),
            "members": _unmasked(self.members, "members"),
        }
        for name, values in plain.items():
            object.__setattr__(self, name, values)


def _unmasked(by_model: Mapping[str, Forecast], name: str) -> dict[str, Forecast]:
    return {model: without_mask(values, f"{name} of {model}") for model, values in by_model.items()}


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
class CaseSums:
    """The sums of one batch, or of several.

    Args:
        sums: (model, block) -> sums of its scores.
        ensembles: (model, block) -> sums of its ensemble scores.
        probabilities: (model, block) -> sums of the scores of its probabilities.
        aggregates: (model, block) -> sums of its scores of accumulations and boxes.
        squared_errors: by model, the mean squared error of each case, (B,); NaN without a
            comparable pixel.
        failures: by baseline.
        members: by model with an ensemble, how many.
        distributions: the models that are judged by functionals, in order.
    """

    sums: dict[tuple[str, int], Sums] = field(default_factory=dict)
    ensembles: dict[tuple[str, int], Sums] = field(default_factory=dict)
    probabilities: dict[tuple[str, int], Sums] = field(default_factory=dict)
    aggregates: dict[tuple[str, int], AggregateSums] = field(default_factory=dict)
    squared_errors: dict[str, np.ndarray] = field(default_factory=dict)
    failures: dict[str, Failures] = field(default_factory=dict)
    members: dict[str, int] = field(default_factory=dict)
    distributions: list[str] = field(default_factory=list)

    def add(self, other: "CaseSums") -> None:
        """Add the batch that comes next."""
        for name in ("sums", "ensembles", "probabilities", "aggregates", "failures"):
            mine = vars(self)[name]
            for key, value in vars(other)[name].items():
                mine[key] = mine[key] + value if key in mine else value
        self.members |= other.members
        self.distributions = list(dict.fromkeys([*self.distributions, *other.distributions]))
        for model, errors in other.squared_errors.items():
            before = self.squared_errors.get(model, np.zeros(0))
            self.squared_errors[model] = np.concatenate([before, errors])


@dataclass(frozen=True)
class BatchEvaluator:
    """Evaluates batches; it is sent to worker processes.

    Args:
        baselines: by name; all get the same context.
        statistic: what is summed, also over ensembles where there are some.
        cache: of slow baselines' forecasts; None: they are made anew.
        strict: whether a baseline that says that it cannot run (a UserError) ends the evaluation;
            else it is a failure like others.
    """

    baselines: dict[str, Forecaster]
    statistic: Statistic
    cache: ForecastCache | None = None
    strict: bool = False

    def __call__(self, batch: CaseBatch) -> CaseSums:
        """Forecast with the baselines, and score all over the pixels where every forecast and the
        observation are numbers.
        """
        forecasts, members, failures = self.forecasts(batch)
        comparable = np.logical_and.reduce(
            [~np.isnan(map_of(forecast)) for forecast in forecasts.values()]
        )
        observation = np.where(comparable, batch.observation, np.float32(np.nan))
        found = CaseSums(failures=failures)
        found.members = {name: ensemble.shape[1] for name, ensemble in members.items()}
        found.distributions = [
            name for name, forecast in forecasts.items() if isinstance(forecast, ByFunctional)
        ]
        for name, forecast in forecasts.items():
            found.squared_errors[name] = _squared_errors(map_of(forecast), observation)
        length = observation.shape[1]
        for block in np.unique(batch.blocks):
            here = batch.blocks == block
            for name, forecast in forecasts.items():
                judged = forecast
                if not self.statistic.several:
                    judged = field_of(forecast, self.statistic.functional)
                sums = self.statistic.sums(length)
                sums.add(judged[here], observation[here])
                found.sums[name, block] = sums
                if isinstance(forecast, ByFunctional) and forecast.probability is not None:
                    sums = self.statistic.probabilities().sums(length)
                    sums.add(forecast.probability[here], observation[here])
                    found.probabilities[name, block] = sums
            for name, ensemble in members.items():
                sums = self.statistic.ensemble(found.members[name]).sums(length)
                sums.add(ensemble[here], observation[here])
                found.ensembles[name, block] = sums
                single = self.statistic.sums(length)
                for number in range(found.members[name]):
                    single.add(ensemble[here, number], observation[here])
                found.sums[MEMBER.format(name), block] = single
            if batch.scale is not None:
                cases = np.flatnonzero(here)
                for name, forecast in forecasts.items():
                    sums = self._aggregated(
                        map_of(forecast), members.get(name), observation, cases, batch.scale
                    )
                    if sums is not None:
                        found.aggregates[name, block] = sums
        return found

    def _aggregated(
        self,
        mean: np.ndarray,
        members: np.ndarray | None,
        observation: np.ndarray,
        cases: np.ndarray,
        scale: Scale,
    ) -> AggregateSums | None:
        """The sums over accumulations and boxes of some cases; None where nothing scores them."""
        scores = self.statistic.aggregates(1 if members is None else members.shape[1])
        if scores is None:
            return None
        sums = scores.sums(observation.shape[1])
        for k in cases:
            one = slice(k, k + 1)
            of_case = scale.rows([k])
            sums.add(
                mean[one],
                None if members is None else members[one],
                observation[one],
                timestep=float(of_case.timestep),
                spacing=float(of_case.spacing),
            )
        return sums

    def forecasts(
        self, batch: CaseBatch
    ) -> tuple[dict[str, Forecast], dict[str, np.ndarray], dict[str, Failures]]:
        """Forecasts of all by name, (B, T, H, W), those of distributions by functional, members of
        those that have them, (B, M, T, H, W), and failures.
        """
        forecasts, members, failures = dict(batch.forecasts), dict(batch.members), {}
        length = batch.observation.shape[1]
        for name, forecaster in self.baselines.items():
            if not forecaster.model.capabilities.slow:
                forecasts[name] = forecast_of(
                    forecaster, batch.context, length, batch.scale, self.statistic
                )
                continue
            made, failed = self._case_by_case(forecaster, batch.context, length, batch.scale)
            if failed.cases:
                failures[name] = failed
            if made.ndim == 5:
                members[name], made = made, forecast_of_members(made, self.statistic)
            forecasts[name] = made
        return forecasts, members, failures

    def _case_by_case(
        self, forecaster: Forecaster, context: np.ndarray, length: int, scale: Scale | None
    ) -> tuple[np.ndarray, Failures]:
        """A slow baseline's forecasts, or their members, and in which cases there was none."""
        found, failures = [], Failures()
        own_members = forecaster.model.capabilities.own_members
        needs_scale = scale is not None and forecaster.model.capabilities.needs_scale
        for k, case in enumerate(context):
            of_case = scale.rows(slice(k, k + 1)) if needs_scale else None
            try:
                forecast = self._kept(forecaster, case, length, of_case)
            # whatever a method makes of a case: it is counted and reported, and the others are
            # still compared
            except Exception as error:
                if self.strict and isinstance(error, UserError):
                    raise
                failures += Failures(1, first_line(error))
                forecast = np.repeat(case[-1:], length, axis=0)
                if own_members:
                    forecast = np.repeat(forecast[None], own_members, axis=0)
            found.append(forecast)
        return np.stack(found), failures

    def _kept(
        self, forecaster: Forecaster, case: np.ndarray, length: int, scale: Scale | None
    ) -> np.ndarray:
        """The forecast of one case, (T, H, W) or (M, T, H, W), from the cache where it is there."""
        if self.cache is None or not _is_of_nowcast(forecaster):
            return _forecast(forecaster, case, length, scale)
        key = self.cache.key(_identity(forecaster, scale), case, length)
        kept = self.cache.get(key)
        if kept is None:
            kept = _forecast(forecaster, case, length, scale)
            self.cache.put(key, kept)
        return kept


def _is_of_nowcast(forecaster: Forecaster) -> bool:
    """Whether a baseline's forecasts are kept: of somebody else's nobody knows here when its code
    changes.
    """
    return type(forecaster.model).__module__.startswith("nowcast.")


def _identity(forecaster: Forecaster, scale: Scale | None) -> str:
    """What decides a forecast, beside the context: the model with its settings, and the scale."""
    model = (forecaster.settings or {}).get("model")
    if not model:
        settings = sorted(map(str, vars(forecaster.model).items()))
        model = [type(forecaster.model).__qualname__, settings]
    # in the words of older versions, whose kept forecasts go on counting
    text = json.dumps(model).replace('"nowcast.baselines.', '"nowcast.models.')
    if scale is None:
        return text
    return f"{text} {[[float(scale.timestep), float(scale.spacing)]]}"


def _forecast(
    forecaster: Forecaster, case: np.ndarray, length: int, scale: Scale | None
) -> np.ndarray:
    members = forecaster.model.capabilities.own_members
    if members:
        return forecaster.forecast_members(case[None], members, length, scale=scale)[0]
    return forecaster.forecast_values(case[None], length, scale=scale)[0]


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


def skills(errors: Mapping[str, np.ndarray], model: str, reference: str | None) -> np.ndarray:
    """How well each case was forecast, (B,): 1 - MSE / MSE of the reference; without one, -MSE.

    NaN where the reference is perfect, or no pixel can be compared.
    """
    if reference is None:
        return -errors[model]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(errors[reference] > 0, 1 - errors[model] / errors[reference], np.nan)
