"""What a training was asked to be: a new one, or one that goes on, with its configuration."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig, ListConfig, OmegaConf

from nowcast.cli import config as configuration
from nowcast.cli.common import claimed_by_time
from nowcast.cli.effects import refuse_without_effect
from nowcast.cli.hydra_words import AUTO
from nowcast.cli.quoting import literal, made_absolute
from nowcast.forecasting.saving import SETTINGS_FILE
from nowcast.runtime.build import build_part
from nowcast.runtime.errors import UserError
from nowcast.runtime.world import World, check_devices
from nowcast.training import checkpoints
from nowcast.training.comparison.settings import first_difference
from nowcast.training.settings import TrainingSettings

# a reference that calls something, such as ${now:%H} or ${hydra:job.num}
_CALL = re.compile(r"(?<!\\)\$\{[^}]*:")


@dataclass(frozen=True)
class Request:
    """What was asked for.

    Args:
        config: composed, or that of the run which goes on; ``output_dir`` is the run folder.
        typed: KEY=VALUE as typed.
        before: the training settings that an old run had; None for a new one.
        resumed: what was typed after resume=; None: nothing.
        by_time: whether the folder is a new one, called by the time.
        has_name: whether the setting ``name`` is a part of what it is called.
        of_multirun: whether what says how to go on is said by the command that made the job.
        home: the folder that relative paths are of, where the current one will be another
            (hydra.job.chdir); None: it stays.
    """

    config: DictConfig
    typed: list[str]
    before: TrainingSettings | None = None
    resumed: str | None = None
    by_time: bool = False
    has_name: bool = False
    home: str | None = None
    of_multirun: bool = False

    @classmethod
    def of(
        cls,
        composed: DictConfig,
        typed: list[str],
        folder: Path,
        *,
        by_time: bool = False,
        resumed: str | None = None,
    ) -> "Request":
        """From a configuration.

        Args:
            composed: without Hydra's part.
            typed: KEY=VALUE as typed.
            folder: of the run.
            by_time: whether it is a new one, called by the time.
            resumed: None, or ``AUTO``.

        Raises:
            UserError: a run in that folder was made otherwise.
        """
        config, before = composed, None
        freeze(config)
        if resumed == AUTO:
            config, before, folder = _newest_or_new(composed, folder, by_time=by_time)
        config.output_dir = literal(str(folder))
        return cls(config, typed, before, resumed, by_time and before is None)

    @classmethod
    def of_run(cls, folder: str, typed: list[str]) -> "Request":
        """A run that goes on, with other settings of the training where they were typed.

        Raises:
            UserError: it is no run, or other settings were typed.
        """
        other = [item for item in typed if not item.startswith("training.")]
        if other:
            raise UserError(
                f"{other[0]!r} would make another experiment of a run that goes on; only "
                "training.* can be changed."
            )
        config = configuration.load(folder)
        before = build_part(configuration.plain(config), "training")
        configuration.override(config, typed)
        config.output_dir = literal(str(Path(folder).absolute()))
        return cls(config, typed, before, folder)

    @property
    def goes_on(self) -> bool:
        """Whether it is of a run that was begun before."""
        return self.before is not None

    @property
    def is_finished(self) -> bool:
        """Whether it is of a run that is finished, and was trained as is asked for now."""
        finished = self.goes_on and (self.folder / SETTINGS_FILE).exists()
        return finished and build_part(self.settings, "training") == self.before

    @property
    def folder(self) -> Path:
        """Of the run."""
        return Path(self.settings["output_dir"])

    @property
    def settings(self) -> dict:
        """The configuration as data.

        Raises:
            UserError: a setting that was not given.
        """
        settings = configuration.plain(self.config)
        return settings if self.home is None else made_absolute(settings, self.home)

    def claim(self) -> None:
        """Make the folder of a new run that is called by the time; two that begin in the same
        second get two.
        """
        if self.by_time:
            self.config.output_dir = literal(str(claimed_by_time(self.folder.parent)))

    def check_devices(self, world: World) -> int:
        """How many processes train; those that were started have to be as many."""
        from nowcast.training.processes import device_count

        plan = build_part(self.settings, "training")
        count = device_count(plan.accelerator, plan.devices)
        check_devices(world, count, plan.devices)
        return count

    def refuse_without_effect(self) -> None:
        """Refuse a typed setting that nothing would read."""
        rules = "train" if self.resumed in (None, AUTO) else "resume"
        found = refuse_in_training(self.config, self.settings, self.typed, rules)
        if "name" in found and not self.has_name and self.resumed is None:
            raise UserError(
                f"name={found['name']} would have no effect: it names the folder under runs/, and "
                "the folder is given; type one of them."
            )

    def refuse_other_run(self) -> None:
        """Refuse a folder for a new run that contains one."""
        if not self.goes_on and holds_run(self.folder):
            can_go_on = checkpoints.any_in(self.folder / checkpoints.FOLDER)
            go_on = f", or go on with it: {resume_command(self.folder)}" if can_go_on else ""
            raise UserError(f"{self.folder} already holds a run; choose another output_dir{go_on}")


def refuse_in_training(config: DictConfig, settings: dict, typed: list[str], rules: str) -> dict:
    """Refuse a typed setting of a training that nothing would read.

    Args:
        config: composed with what was typed.
        settings: the same as data.
        typed: KEY=VALUE.
        rules: "train", or "resume" for a run that goes on.

    Returns:
        Each setting that was typed, and its value.

    Raises:
        UserError: names the setting, with the reason.
    """
    found = configuration.typed_settings(config, typed)
    refuse_without_effect(rules, settings, found)
    for key in ("output_bias", "observed_channel"):  # of which parts of the configuration are made
        if key in found and not configuration.is_referred_to(config, key):
            raise UserError(
                f"{key}={found[key]} would have no effect: the model here does not take it; see "
                "model.* in --cfg."
            )
    return found


def holds_run(folder: Path) -> bool:
    """Whether a folder contains a run, finished or begun."""
    return checkpoints.any_in(folder / checkpoints.FOLDER) or (folder / SETTINGS_FILE).exists()


def resume_command(folder: Path) -> str:
    """The command that goes on with a run, as it is typed in a shell."""
    return shlex.join(["nowcast", "train", f"resume={folder}"])


def freeze(config: DictConfig) -> None:
    """Replace references that call something (the time, an environment variable, the number of the
    job) by their values: a stored run has those that it was made with.
    """
    _freeze(config, OmegaConf.to_container(config, resolve=False))


def _freeze(node: DictConfig | ListConfig, raw: dict | list) -> None:
    for key, value in raw.items() if isinstance(raw, dict) else enumerate(raw):
        if isinstance(value, (dict, list)):
            _freeze(node[key], value)
        elif isinstance(value, str) and _CALL.search(value):
            found = node[key]
            node[key] = literal(found) if isinstance(found, str) else found


def _newest_or_new(
    config: DictConfig, folder: Path, *, by_time: bool
) -> tuple[DictConfig, TrainingSettings | None, Path]:
    """The configuration of the run to go on with, the training settings that it had, and its
    folder; those that came, and None, where there is no such run.

    That is the run in the folder, or where none was given the newest unfinished one beside it. The
    training may be given anew.

    Raises:
        UserError: that run was made with other settings.
    """
    folders = sorted(folder.parent.glob("*"), reverse=True) if by_time else [folder]
    for place in folders:
        finished = (place / SETTINGS_FILE).exists()
        if holds_run(place) and not (by_time and finished):
            break
    else:
        return config, None, folder
    stored = configuration.load(place)
    own = configuration.plain(stored)
    before = build_part(own, "training")
    refuse_other_settings(place, configuration.plain(config))
    stored.training = config.training
    return stored, before, place


def refuse_other_settings(place: Path, asked: dict) -> None:
    """Refuse to go on with a run that was made with other settings than those of the training.

    Args:
        place: of the run.
        asked: the whole configuration as data.

    Raises:
        UserError: names a setting that is another one.
    """
    own = configuration.plain(configuration.load(place))
    where = first_difference(_single(own), _single(asked))  # others may be made of these
    where = where or first_difference(_but_for_training(own), _but_for_training(asked))
    if where:
        raise UserError(
            f"{place} was made with another {where} than is asked for now; give its settings, or "
            "another output_dir."
        )


def _single(settings: dict) -> dict:
    """What stands at the top of a configuration and has no parts."""
    return {key: value for key, value in settings.items() if not isinstance(value, dict)}


def _but_for_training(settings: dict) -> dict:
    return {key: value for key, value in settings.items() if key != "training"}
