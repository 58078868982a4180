"""Everything that a command trains and evaluates with, built once from its settings."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from nowcast.cli.places import choices
from nowcast.data.base import DataSet
from nowcast.evaluation.batches import MEMBER
from nowcast.evaluation.plan import EvaluationPlan
from nowcast.evaluation.running import evaluate as evaluate_source
from nowcast.evaluation.source import ModelSource
from nowcast.evaluation.statistics.base import Statistic
from nowcast.forecasting.forecaster import Forecaster
from nowcast.runtime.build import build_part
from nowcast.runtime.errors import MissingDependency, UserError
from nowcast.runtime.files import run_folder
from nowcast.training.losses import TrainingLoss
from nowcast.training.settings import TrainingSettings
from nowcast.types.transform import Identity

RAIN = "rain_rate"
_OF_A_RUN = " (run)"  # behind the name of a model that is called as a baseline
_UNNAMED = "train"  # the name of a training that was given none, see conf/train.yaml
_PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Baselines:
    """What a model is compared with.

    Args:
        forecasters: by name; they work on physical values.
        left_out: a sentence for each that cannot run here.
        settings: of all of them, as data.
    """

    forecasters: dict[str, Forecaster]
    left_out: list[str] = field(default_factory=list)
    settings: dict = field(default_factory=dict)

    @classmethod
    def of(cls, settings: dict, task) -> "Baselines":
        """Built from the part ``baselines`` of a configuration.

        Raises:
            UserError: that is not models by name.
        """
        nodes = settings.get("baselines") or {}
        if not isinstance(nodes, dict) or "_target_" in nodes:
            raise UserError(
                f"baselines is {nodes!r}, but models by names are needed, as in "
                "conf/baselines/radar.yaml."
            )
        found, left_out = {}, []
        for name, node in nodes.items():
            try:
                model = build_part(nodes, name, kind="model")
            except MissingDependency as error:
                left_out.append(f"{name} is left out: {error}")
                continue
            found[name] = Forecaster(model, Identity(), task, settings={"model": node})
        return cls(found, left_out, nodes)


@dataclass(frozen=True)
class Evaluation:
    """How a model is evaluated.

    Args:
        baselines: what it is compared with.
        scores: what is measured, see ``nowcast.evaluation.statistics``.
        plan: processes, cache and intervals.
        kept: settings of task and scores as data, kept with the results.
    """

    baselines: Baselines
    scores: Statistic
    plan: EvaluationPlan
    kept: dict

    @classmethod
    def of(cls, settings: dict, task) -> "Evaluation":
        """Built from a configuration.

        Raises:
            UserError: a part that cannot be built, or scores of something else than the task's.
        """
        scores = build_part(settings, "scores")
        refuse_other_quantity(scores, task.quantity)
        kept = {name: settings[name] for name in ("task", "scores")}
        return cls(Baselines.of(settings, task), scores, build_part(settings, "evaluation"), kept)

    def run(self, source, **how):
        """The results over all cases of a source; see ``nowcast.evaluation.running.evaluate``."""
        plan = how.pop("plan", self.plan)
        baselines = self.baselines.forecasters
        return evaluate_source(source, baselines, self.scores, plan=plan, settings=self.kept, **how)

    def source_of(
        self, models: dict[str, Forecaster], data: DataSet, *, limit: int | None = None
    ) -> ModelSource:
        """The test cases of a data set with the forecasts of models by name; of the first
        ``limit`` only.
        """
        length = next(iter(models.values())).task.forecast_length
        members, cases = self.plan.members, data.part("test")
        return ModelSource(models, cases, forecast_length=length, members=members, limit=limit)

    def named_apart(self, models: dict[str, Forecaster]) -> dict[str, Forecaster]:
        """Models by names that no baseline has, nor its members' row."""
        taken = {*self.baselines.forecasters, *map(MEMBER.format, self.baselines.forecasters)}
        found: dict[str, Forecaster] = {}
        for name, forecaster in models.items():
            while name in taken or name in found:
                name += _OF_A_RUN
            found[name] = forecaster
        return found

    def check(self, forecaster: Forecaster, data: DataSet) -> None:
        """Evaluate one case, so that whatever cannot be evaluated is reported before a training.

        Raises:
            UserError: as an evaluation.
        """
        plan = replace(self.plan, workers=0, cache=None, show=False)
        source = self.source_of(self.named_apart({"model": forecaster}), data, limit=1)
        self.run(source, plan=plan, strict=True)


@dataclass(frozen=True)
class Experiment:
    """A training with its evaluation.

    Args:
        settings: the whole configuration as data.
        forecaster: task, transform and model.
        data: what it is trained and tested on.
        loss: what is minimised.
        training: how.
        folder: of the run.
    """

    settings: dict
    forecaster: Forecaster
    data: DataSet
    loss: TrainingLoss
    training: TrainingSettings
    folder: Path

    @classmethod
    def of(cls, settings: dict) -> "Experiment":
        """Built from a configuration; the seed decides the initial weights.

        Raises:
            UserError: a part that cannot be built.
        """
        set_seed(settings["seed"])
        data, loss, training = (build_part(settings, name) for name in ("data", "loss", "training"))
        forecaster = Forecaster.from_settings(settings, precision=training.precision)
        return cls(settings, forecaster, data, loss, training, Path(settings["output_dir"]))

    def take_weights(self) -> None:
        """Begin with the weights of another run, where the settings name one."""
        name = self.settings.get("start_from")
        if name is not None:
            self.forecaster.take_weights(Forecaster.load(run_folder(name)), name)

    def check_data(self) -> None:
        """Refuse data with too few cases in any of their parts; before a training, not after it."""
        for name in _PARTS:
            self.data.part(name)

    @property
    def seed(self) -> int:
        """Of the initial weights and of whatever is drawn while it learns."""
        return self.settings["seed"]


def model_name(name: object, forecaster: Forecaster) -> str:
    """What a trained model is called in tables, pictures and reports.

    Args:
        name: of the run, the setting ``name``. Where that is the usual one, or an experiment's,
            with any model, what the field calls the model says more.
        forecaster: its model.
    """
    named = name not in (None, "", _UNNAMED, *choices("experiment"))
    return str(name) if named else forecaster.model.label


def refuse_other_quantity(scores: Statistic, quantity: str) -> None:
    """Refuse scores of something else than the task's quantity."""
    if scores.quantity != quantity:
        raise UserError(
            f"scores judges {scores.quantity}, but the task forecasts {quantity}; leave scores to "
            "data=."
        )


def set_seed(seed) -> None:
    """Seed torch's generator.

    Raises:
        UserError: it is not a whole number below 2^63.
    """
    import torch

    check_seed(seed)
    torch.manual_seed(seed)


def check_seed(seed) -> None:
    """Refuse what is not a whole number below 2^63."""
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**63:
        raise UserError(f"seed is {seed!r}; a whole number, 0 or more and below 2^63, is needed.")
