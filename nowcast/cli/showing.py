"""What Hydra shows of an application: --info, --cfg hydra, --hydra-help, --shell-completion."""

import os
import re
import sys
from collections.abc import Sequence

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from nowcast.cli import config as configuration
from nowcast.cli.application import application
from nowcast.cli.folders import RUN, SWEEP, folder_of, set_run_folder
from nowcast.cli.hydra_keys import with_logging
from nowcast.cli.hydra_private import shell_plugins, show_hydra_help
from nowcast.cli.hydra_words import CFG, HYDRA_HELP, INFO, PACKAGE, RESOLVE, Words
from nowcast.cli.places import primary
from nowcast.cli.quoting import in_grammar, literal
from nowcast.runtime.errors import UserError

_HIDDEN = ("help", "hydra_help")  # templates that are long, and not read here


def show(command: str, arguments: list[str]) -> None:
    """Show what was asked for.

    Args:
        command: whose configuration it is.
        arguments: as ``translated`` returned them.

    Raises:
        UserError: a mistake in what was typed.
    """
    words = Words.of(arguments)
    part, items = words.value(CFG), [*words.settings, *words.of_hydra]
    if words.of_old_run:
        raise UserError(
            f"resume={words.resumed} goes on with the settings in {words.resumed}/config.yaml, "
            "which are not composed anew; type --cfg job."
        )
    if part and command == "compare":  # the settings of its jobs' launcher
        command, items = "train", words.of_hydra
    typed = in_grammar(items)
    configuration.compose_typed(command, typed)  # mistakes are one line
    with application(command) as app:
        hydra = GlobalHydra.instance().hydra
        if part:
            config = app.compose(RunMode.RUN, with_logging(typed))
            sys.stdout.write(_text(config, part, words))
        elif HYDRA_HELP in words.options:
            show_hydra_help(hydra)
        else:
            hydra.show_info(words.value(INFO), config_name=primary(command), overrides=typed)


def _text(config: DictConfig, part: str, words: Words) -> str:
    """The configuration with Hydra's part, or that part alone, as YAML."""
    folder, _ = folder_of(config, RUN)
    sweep_folder, _ = folder_of(config, SWEEP)
    set_run_folder(config, folder)
    with read_write(config.hydra), open_dict(config.hydra):
        config.hydra.sweep.dir = literal(str(sweep_folder))
        for name in _HIDDEN:
            del config.hydra[name]
    HydraConfig.instance().set_config(config)
    if part == "hydra":
        with open_dict(config):
            for name in [name for name in config if name != "hydra"]:
                del config[name]
    shown = OmegaConf.create(OmegaConf.to_container(config, resolve=False, enum_to_str=True))
    resolve = RESOLVE in words.options
    if resolve:
        OmegaConf.resolve(shown)  # what a job fills in is ??? here, and in what refers to it
    return configuration.text(shown, resolve=resolve, package=words.value(PACKAGE))


def complete(commands: Sequence[str], arguments: list[str]) -> None:
    """Answer a shell: what can stand behind what was typed, or the script that asks for it.

    Args:
        commands: those of nowcast, one of which stands in front of what is completed.
        arguments: install=SHELL, uninstall=SHELL or query=SHELL.

    Raises:
        UserError: something else was typed.
    """
    action, _, shell = (arguments or [""])[0].partition("=")
    plugins = shell_plugins(None)
    if action not in ("install", "uninstall", "query") or shell not in plugins:
        shells = ", ".join(sorted(plugins))
        raise UserError(
            f"--shell-completion takes install=SHELL or uninstall=SHELL, with one of {shells}; "
            'for bash: eval "$(nowcast --shell-completion install=bash)".'
        )
    if action != "query":
        getattr(plugins[shell], action)()
        return
    program, command, rest = _typed_line(commands)
    if command is None:
        _print_choices(commands, rest)
        return
    os.environ["COMP_LINE"] = f"{program} {rest}"
    with application(command) as app:
        shell_plugins(app.loader)[shell].query(config_name=primary(command))


def _print_choices(commands: Sequence[str], beginning: str) -> None:
    """The commands that begin as what was typed."""
    words = beginning.split() or [""]
    sys.stdout.write(" ".join(name for name in commands if name.startswith(words[-1])) + "\n")


def _typed_line(commands: Sequence[str]) -> tuple[str, str | None, str]:
    """The program, the command and the rest of the line that is to be completed."""
    line = os.environ.get("COMP_LINE", "")
    found = re.match(r"\s*((?:\S*python[\d.]*\s+)?\S+)\s*(.*)", line, re.DOTALL)
    program, rest = (found[1], found[2]) if found else ("nowcast", "")
    if program.endswith("train.py"):
        return program, "train", rest
    command, space, behind = rest.partition(" ")
    if command in commands and space:
        return program, command, behind.lstrip()
    return program, None, rest
