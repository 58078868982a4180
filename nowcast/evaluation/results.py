"""What an evaluation found, kept as a file: the sums of every model by block of cases, from which
all scores, intervals and pictures are made.

N blocks, T leads, S draws.
"""

import shlex
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nowcast.evaluation.conclusions import conclusion
from nowcast.evaluation.intervals import (
    FEWEST_BLOCKS,
    Estimate,
    Resampling,
    drawn,
    estimates,
    minus,
)
from nowcast.evaluation.statistics.base import Statistic
from nowcast.evaluation.statistics.scores import ScoreRow
from nowcast.evaluation.statistics.sums import ScoreKey, Values, row_of
from nowcast.evaluation.storage import StoredFile, opened, save
from nowcast.runtime.build import build_part
from nowcast.runtime.errors import UserError
from nowcast.runtime.files import run_folder
from nowcast.runtime.plugins import plugins_named_in, refuse_missing
from nowcast.runtime.renamed import with_todays_names
from nowcast.types.frames import Grid
from nowcast.types.task import Task

FILE = "evaluation.h5"
ALL_CASES = "all cases"
"""The event that cases without a time belong to."""
_CRPS = ScoreKey("crps")
FORMAT = 2  # raised when an older nowcast could misread the file

Totals = dict[str, np.ndarray]
"""Sums by name, see ``nowcast.evaluation.statistics``; of blocks (N, ...)."""


@dataclass(frozen=True)
class Block:
    """Cases that may depend on each other, and are drawn together.

    Args:
        label: what they have in common, e.g. their day.
        event: the event they belong to; several blocks can share one.
        cases: how many.
    """

    label: str
    event: str
    cases: int


@dataclass(frozen=True)
class ShownCase:
    """One case as fields, for pictures.

    Args:
        kind: "worst", "typical" or "best", by the first model's squared error relative to the
            first baseline's.
        title: which case it is, e.g. its analysis time.
        context: (T_context, H, W) physical values, NaN = not observed.
        observation: (T, H, W).
        forecasts: by model, (T, H, W).
        grid: of the fields; None where they are on none.
    """

    kind: str
    title: str
    context: np.ndarray
    observation: np.ndarray
    forecasts: dict[str, np.ndarray]
    grid: Grid | None = None


class Reliability(NamedTuple):
    """Whether probabilities come true.

    Args:
        probability: that was forecast, (P,): 0, 1/M, ... 1 of M members, or the mean of a bin.
        frequency: with which the event came after it, (P,); NaN where it was never forecast.
        share: of the forecasts that said so, (P,).
    """

    probability: np.ndarray
    frequency: np.ndarray
    share: np.ndarray


@dataclass(frozen=True, repr=False)
class Results:
    """An evaluation; ``print`` shows its tables.

    Args:
        settings: {"task": ..., "scores": ...} as data, from which the objects are built again.
        blocks: N of them.
        totals: by model, the one that was evaluated first, its sums by name, (N, ...) float64.
        members: by model that forecasts an ensemble, how many members.
        ensembles: by such a model, the sums of its ensemble scores, (N, ...) float64.
        resampling: how intervals are made.
        facts: plain data for readers: what was evaluated on what, when, with which versions.
        shown: cases to look at.
        statistic: the scores as they were computed; None: they are built from the settings.
        probabilities: by model that predicts a distribution, the sums of the scores of its
            probabilities, (N, ...) float64.
        aggregates: by model, the sums of its scores of accumulations and boxes, (N, ...) float64;
            none where nothing scores them.
    """

    settings: dict
    blocks: list[Block]
    totals: dict[str, Totals]
    members: dict[str, int] = field(default_factory=dict)
    ensembles: dict[str, Totals] = field(default_factory=dict)
    resampling: Resampling = field(default_factory=Resampling)
    facts: dict = field(default_factory=dict)
    shown: list[ShownCase] = field(default_factory=list)
    statistic: Statistic | None = None
    probabilities: dict[str, Totals] = field(default_factory=dict)
    aggregates: dict[str, Totals] = field(default_factory=dict)

    def __repr__(self) -> str:
        models, events = ", ".join(self.models), len(self.events)
        return (
            f"<Results: {models} in {self.cases} cases of {events} event{'s' * (events != 1)}; "
            "print shows the scores>"
        )

    def __str__(self) -> str:
        """The tables of ``nowcast evaluate``, and what is to be said of them."""
        from nowcast.evaluation.results_text import text_of

        return text_of(self)

    @cached_property
    def task(self) -> Task:
        """What was forecast."""
        return build_part(self.settings, "task")

    @cached_property
    def scores(self) -> Statistic:
        """What was measured."""
        return build_part(self.settings, "scores") if self.statistic is None else self.statistic

    @property
    def models(self) -> list[str]:
        """Names; the model that the evaluation is about first, then the baselines."""
        return list(self.totals)

    @property
    def baselines(self) -> list[str]:
        """All models but the first."""
        return self.models[1:]

    @property
    def events(self) -> list[str]:
        """The events, in order."""
        return list(dict.fromkeys(block.event for block in self.blocks))

    @property
    def distributions(self) -> list[str]:
        """The models that are judged by the number of their distribution that each score rewards;
        every other one, and all in files of older versions, by one field.
        """
        found = self.facts.get("distributions")
        return [model for model in self.models if isinstance(found, list) and model in found]

    @property
    def by_time(self) -> bool:
        """Whether cases are of weather at some time; else they are sequences that are independent
        of each other.
        """
        return self.events != [ALL_CASES]

    @property
    def pooled(self) -> bool:
        """Whether a score over all leads is made of the sums of all leads; else it is their mean,
        or their sum.
        """
        return self.scores.pooled

    @property
    def cases(self) -> int:
        """How many cases were evaluated."""
        return sum(block.cases for block in self.blocks)

    @property
    def has_intervals(self) -> bool:
        """Whether there are enough blocks to draw from."""
        return len(self.blocks) >= FEWEST_BLOCKS

    def of_event(self, event: str) -> "Results":
        """The same of the blocks of one event alone, without cases to look at.

        Raises:
            UserError: there is no such event.
        """
        of_event = [block.event == event for block in self.blocks]
        if not any(of_event):
            raise UserError(f"there is no event {event!r}; there are {', '.join(self.events)}.")

        return replace(
            self,
            blocks=[block for block in self.blocks if block.event == event],
            totals={model: _of_blocks(sums, of_event) for model, sums in self.totals.items()},
            ensembles={model: _of_blocks(sums, of_event) for model, sums in self.ensembles.items()},
            probabilities={
                model: _of_blocks(sums, of_event) for model, sums in self.probabilities.items()
            },
            aggregates={
                model: _of_blocks(sums, of_event) for model, sums in self.aggregates.items()
            },
            shown=[],
        )

    def values(self, model: str) -> Values:
        """Every score of a model, (T + 1,): by lead, then over all leads."""
        return self._scored(model, _summed)

    def estimates(self, model: str) -> dict[ScoreKey, Estimate]:
        """The same with intervals."""
        return estimates(self.values(model), self._samples(model), self.resampling)

    def differences(self, model: str, other: str) -> dict[ScoreKey, Estimate]:
        """Paired differences, model minus other, of every score that both have."""
        values = minus(self.values(model), self.values(other))
        samples = minus(self._samples(model), self._samples(other))
        return estimates(values, samples, self.resampling)

    def rows(self, model: str) -> list[ScoreRow]:
        """Every score of a model as rows with intervals; of an accumulation at the lead where it
        ends, alone.
        """
        leads = [*range(1, self.task.forecast_length + 1), None]
        found = []
        for key, estimate in self.estimates(model).items():
            numbers = zip(leads, estimate.value, estimate.low, estimate.high)
            functional = self.judged_by(model, key)
            for lead, *ends in numbers:
                if key.stands_at(lead, self.task.timestep):
                    found.append(row_of(key, lead, *map(float, ends), functional))
        return found

    def reliability(self, model: str, threshold: float) -> Reliability:
        """How often what a model's probabilities say comes true, over all leads.

        Args:
            model: one that was evaluated as a distribution or as an ensemble.
            threshold: one of those that were scored [mm/h].

        Raises:
            UserError: the model has no probabilities, or the threshold was not scored.
        """
        of_members = model not in self.probabilities
        if of_members and model not in self.ensembles:
            known = ", ".join({**self.ensembles, **self.probabilities}) or "none"
            raise UserError(
                f"{model!r} was not evaluated as an ensemble, nor as a distribution; of these are: "
                f"{known}."
            )
        sums = self.scores.probabilities().sums(1)
        if of_members:
            sums = self.scores.ensemble(self.members[model]).sums(1)
        thresholds = [float(one) for one in sums.thresholds]
        if float(threshold) not in thresholds:
            scored = ", ".join(f"{one:g}" for one in thresholds)
            raise UserError(f"{threshold:g} mm/h was not scored; the thresholds are {scored} mm/h.")
        totals = _summed((self.ensembles if of_members else self.probabilities)[model])
        # counts of all leads add up to those of one forecast of one lead
        totals = {name: array.sum(-1, keepdims=True) for name, array in totals.items()}
        found = sums.reliability_curve(totals, thresholds.index(float(threshold)))
        probability = found[0] if of_members else found[0][..., 0]
        return Reliability(probability, found[1][..., 0], found[2][..., 0])

    @cached_property
    def _weights(self) -> np.ndarray:
        return self.resampling.weights(len(self.blocks))

    @cached_property
    def _drawn(self) -> dict[str, Values]:
        return {}

    def _samples(self, model: str) -> Values:
        """Every score of a model of draws of the blocks, (S, T + 1)."""
        if not self.has_intervals:  # all draws of one block are alike, which is no certainty
            values = self.values(model)
            return {key: np.full((1, value.size), np.nan) for key, value in values.items()}
        if model not in self._drawn:
            self._drawn[model] = self._scored(model, lambda totals: drawn(totals, self._weights))
        return self._drawn[model]

    def _scored(self, model: str, together: Callable[[Totals], Totals]) -> Values:
        """All scores of a model, of its blocks taken together."""
        length = self.task.forecast_length
        values = self.scores.scored(together(self.totals[model]), length)
        if model in self.members:
            ensemble = self.scores.ensemble(self.members[model])
            values |= ensemble.scored(together(self.ensembles[model]), length)
        if model in self.probabilities:
            # of members, too, the probabilities decide where an event is forecast
            scored = self.scores.probabilities()
            values |= scored.scored(together(self.probabilities[model]), length)
        if model in self.aggregates:
            scored = self.scores.aggregates(self.members.get(model, 1))
            totals = together(self.aggregates[model])
            values |= scored.scored(totals, length, self.task.timestep)
        error = values.get(ScoreKey("mae"))
        if self.ensembles and error is not None and self.judged_by(model, _CRPS) == "field":
            values[_CRPS] = error  # of a single field the one is the other
        return values

    def judged_by(self, model: str, key: ScoreKey) -> str:
        """Which number of a model's distribution a score is of: "mean", "median", "decision" (the
        yes/no forecast), "distribution" (all of it), or what its statistic says; "field" of a
        model that is judged by one field. Accumulations and boxes of a distribution without
        members are those of its mean.
        """
        whole = self.scores.judged_by(key.score)
        if key.is_aggregated and model in self.distributions and model not in self.members:
            return "mean"
        if model in self.distributions:
            return whole
        return whole if whole == "distribution" and model in self.ensembles else "field"

    def conclusion(self) -> list[str]:
        """What a reader may conclude from this number of independent events, in sentences."""
        return conclusion(len(self.events), len(self.blocks), by_time=self.by_time)

    def save(self, folder: str | Path) -> None:
        """Write evaluation.h5 into a folder."""
        about = {
            "format": FORMAT,
            "settings": self.settings,
            "plugins": plugins_named_in(self.settings),
            "blocks": [asdict(block) for block in self.blocks],
            "models": self.models,
            "members": self.members,
            "resampling": asdict(self.resampling),
            "facts": self.facts,
            "shown": [_about_case(case) for case in self.shown],
        }
        arrays = {}
        kinds = {
            "totals": self.totals,
            "ensembles": self.ensembles,
            "probabilities": self.probabilities,
            "aggregates": self.aggregates,
        }
        for kind, by_model in kinds.items():
            for number, model in enumerate(self.models):
                for name, array in by_model.get(model, {}).items():
                    arrays[f"{kind}/{number}/{name}"] = np.asarray(array, np.float64)
        for number, case in enumerate(self.shown):
            fields = [case.context, case.observation, *case.forecasts.values()]
            for name, values in zip(_names_of_fields(len(case.forecasts)), fields):
                arrays[f"shown/{number}/{name}"] = np.asarray(values, np.float16)
        save(Path(folder) / FILE, about, arrays)

    @classmethod
    def load(cls, folder: str | Path) -> "Results":
        """Read what ``save`` wrote.

        Args:
            folder: of the evaluation, or the run folder that has it as ``evaluation``.

        Raises:
            UserError: there is none, it is damaged, or of another version.
        """
        path = _file_in(Path(folder))
        with opened(path) as file:
            about = file.about()
            _refuse_other_format(path, about["format"])
            about = with_todays_names(about)
            refuse_missing(about.get("plugins", {}), f"the evaluation {path}")
            return cls(
                about["settings"],
                [Block(**block) for block in about["blocks"]],
                _totals_in(file, "totals", about["models"]),
                about["members"],
                _totals_in(file, "ensembles", about["models"]),
                Resampling(**about["resampling"]),
                about["facts"],
                [_case_in(file, number, case) for number, case in enumerate(about["shown"])],
                probabilities=_totals_in(file, "probabilities", about["models"]),
                aggregates=_totals_in(file, "aggregates", about["models"]),
            )


def _of_blocks(totals: Totals, chosen: list[bool]) -> Totals:
    return {name: array[chosen] for name, array in totals.items()}


def _summed(totals: Totals) -> Totals:
    return {name: array.sum(0) for name, array in totals.items()}


def _file_in(folder: Path) -> Path:
    """The file of an evaluation or of a run.

    Raises:
        UserError: there is none.
    """
    for path in (folder / FILE, folder / "evaluation" / FILE):
        if path.is_file():
            return path
    if run_folder(str(folder)) != folder:
        raise UserError(
            "the model that comes with nowcast has no evaluation of its own; nowcast evaluate "
            f"run={folder} data=radar data.archive=FILE says which folder to give."
        )
    raise UserError(
        f"{folder} contains no {FILE}; make it with: "
        f"{shlex.join(['nowcast', 'evaluate', f'run={folder}'])}"
    )


def _refuse_other_format(path: Path, version) -> None:
    if version == FORMAT:
        return
    newer = isinstance(version, int) and version > FORMAT
    advice = "it was made by a newer nowcast; update this one" if newer else "evaluate again"
    raise UserError(
        f"{path} is an evaluation of format {version!r}; this nowcast reads {FORMAT}: {advice}."
    )


def _totals_in(file: StoredFile, kind: str, models: list[str]) -> dict[str, Totals]:
    """The totals of the models that have some of that kind."""
    found = {model: file.arrays(f"{kind}/{number}") for number, model in enumerate(models)}
    return {model: totals for model, totals in found.items() if totals is not None}


def _names_of_fields(models: int) -> list[str]:
    """The names that the fields of a case have in the file."""
    return ["context", "observation", *map(str, range(models))]


def _about_case(case: ShownCase) -> dict:
    """All of a case but its fields, as data."""
    about = {"kind": case.kind, "title": case.title, "models": list(case.forecasts), "grid": None}
    if case.grid is not None:
        grid = case.grid
        about["grid"] = {"crs": grid.crs, "x": grid.x.tolist(), "y": grid.y.tolist()}
    return about


def _case_in(file: StoredFile, number: int, about: Mapping) -> ShownCase:
    """A case with its fields."""
    models, grid = about["models"], about["grid"]
    names = _names_of_fields(len(models))
    fields = [file.array(f"shown/{number}/{name}").astype(np.float32) for name in names]
    if grid:
        grid = Grid(grid["crs"], np.array(grid["x"]), np.array(grid["y"]))
    forecasts = dict(zip(models, fields[2:]))
    return ShownCase(about["kind"], about["title"], fields[0], fields[1], forecasts, grid)
