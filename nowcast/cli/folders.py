"""The folder of a run, and of a multirun: output_dir and Hydra's own names for it are one thing."""

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from nowcast.cli.common import claimed_by_time
from nowcast.cli.mistakes import one_sentence
from nowcast.cli.quoting import literal
from nowcast.runtime.errors import UserError

RUN, SWEEP, SUBDIR = "hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir"
TIME = "TIME"
"""Stands at the end of a folder in conf/train.yaml for the time at which it is made."""


def folder_of(config: DictConfig, key: str) -> tuple[Path, bool]:
    """The folder that a training, or a multirun, is to have.

    Args:
        config: with Hydra's part.
        key: ``RUN`` or ``SWEEP``.

    Returns:
        The folder, and whether it is a new one, called by the time.

    Raises:
        UserError: two different ones were given, or a name that is no folder's.
    """
    refuse_other_name(_value(config, "name"))
    of_hydra = Path(_value(config, key)).expanduser().absolute()
    given = OmegaConf.select(config, "output_dir")
    if given is not None:
        given = Path(_value(config, "output_dir")).expanduser().absolute()
        if of_hydra.name != TIME and of_hydra != given:
            raise UserError(
                f"output_dir is {given} and {key} is {of_hydra}, but both name the same folder; "
                "type one of them."
            )
        return given, False
    if of_hydra.name == TIME:
        return claimed_by_time(of_hydra.parent, claim=False), True
    return of_hydra, False


def has_name(config: DictConfig, key: str) -> bool:
    """Whether the setting ``name`` acts on that folder."""
    if OmegaConf.select(config, "output_dir") is not None:
        return False
    place, _, last = key.rpartition(".")
    raw = OmegaConf.to_container(OmegaConf.select(config, place), resolve=False)[last]
    return "${name}" in str(raw)


def refuse_other_name(name) -> None:
    """Refuse a name that is no name of a folder."""
    text = str(name)
    if {"/", "\\"} & set(text) or text in ("", ".", ".."):
        raise UserError(
            f"name is {name!r}; a plain name for the folder under runs/ is needed. "
            "output_dir takes a path."
        )


def set_run_folder(config: DictConfig, folder: Path) -> None:
    """Let a job of Hydra write to a folder; references such as ``${hydra:runtime.output_dir}``
    lead to it from here on.
    """
    with read_write(config.hydra), open_dict(config.hydra):
        config.hydra.run.dir = literal(str(folder))
        config.hydra.runtime.output_dir = literal(str(folder))
    HydraConfig.instance().set_config(config)


def _value(config: DictConfig, key: str) -> str:
    """A value with its references followed, which may be some of Hydra's own."""
    HydraConfig.instance().set_config(config)
    try:
        return OmegaConf.select(config, key, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise UserError(f"{key}: {one_sentence(error, config)}") from error
