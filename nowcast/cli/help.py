"""nowcast COMMAND --help: what a command does, what can be chosen and set, and what that means.

Nothing of it is written twice: usage comes from `nowcast --help`, what a command does from the
docstring of its function, values from the composed configuration, and what they mean from the
comments in conf/ and the docstrings of the classes.
"""

import ast
import re
import textwrap
from collections.abc import Container, Iterator
from importlib.resources import files
from typing import Any

import yaml
from omegaconf import OmegaConf

from nowcast.cli import config as configuration
from nowcast.cli.conf_files import File, read
from nowcast.cli.docstrings import load, meaning, parsed
from nowcast.cli.hydra_words import APPLICATIONS, Words, translated
from nowcast.cli.places import choices, primary, search_folders
from nowcast.cli.quoting import fixed, in_grammar

WIDTH = 96
_COLUMN = 34  # where the meaning of a setting begins
_LONGEST_VALUE = 40
_TARGET = "_target_"
_ELSEWHERE = re.compile(r"as (in|of|for) ``")
_FURTHER = {"evaluate": ("evaluate_forecasts",)}  # files of a command beside that of its name
_HEADINGS = {"evaluate_forecasts": "of nowcast evaluate forecasts=FILES observations=ARCHIVE"}
_EVERYWHERE = (
    ("--help", "this text; with settings behind it, of what they choose"),
    ("--cfg job", "show the configuration and do nothing else; also --resolve, --package PART"),
    (
        "--info PART",
        "how it is composed: config, defaults, defaults-tree, plugins, searchpath, all",
    ),
    ("--config-dir DIR", "files in DIR can be chosen, too: DIR/model/MINE.yaml by model=MINE"),
    ("--config-name NAME", "begin with NAME.yaml in place of the command's own file"),
    ("--config-path DIR", "files in DIR in place of nowcast's own"),
)
_OF_HYDRA = (
    ("--cfg hydra|all", "show Hydra's own settings, or all; each can be given: hydra.KEY=VALUE"),
    ("hydra/launcher=NAME", "where jobs run: basic, joblib, submitit_local, submitit_slurm"),
    ("hydra.launcher.KEY=VALUE", "how, e.g. hydra.launcher.partition=gpu"),
)
_OF_TRAINING = (
    ("--multirun, -m", "train with each of several values: seed=1,2 model=convlstm_small,predrnn"),
    ("hydra/sweeper=NAME", "who chooses the values: basic, optuna"),
    ("hydra.run.dir=DIR", "the run folder, as output_dir=DIR; in a multirun hydra.sweep.dir"),
    ("--hydra-help", "what Hydra says of itself"),
    ("--shell-completion install=bash", "complete settings and choices with the Tab key"),
)
EXAMPLES = {
    "train": (
        "nowcast train training.max_epochs=20 model.hidden_channels=[64,64]",
        "nowcast train experiment=radar_quickstart data.archive=radar.nc",
        "nowcast train --multirun seed=1,2 model=convlstm_small,predrnn",
        "nowcast train -m hydra/sweeper=optuna 'training.learning_rate=interval(0.001,0.1)'",
        "nowcast train -m 'seed=range(1,9)' hydra/launcher=submitit_slurm",
    ),
    "compare": (
        "nowcast compare 'only=[ConvLSTM,PredRNN]' 'seeds=[1,2,3,4,5]' parallel=2",
        "nowcast compare runs=runs/train/2026-11-30_08-56-00",
    ),
    "evaluate": (
        "nowcast evaluate run=runs/train/2026-11-30_08-56-00",
        "nowcast evaluate run=shipped data=radar_events 'data.archives=archives/*.nc'",
        "nowcast evaluate 'forecasts=theirs/*.nc' observations=radar.nc name=theirs",
    ),
    "report": ("nowcast report run=runs/train/2026-11-30_08-56-00 output=report.html",),
    "predict": (
        "nowcast predict input=radar.nc output=now.nc",
        "nowcast predict 'input=radar/*.h5' output=now.nc page=now.html",
        "nowcast predict run=runs/mine 'input=radar/*.h5' output=now.nc members=20",
    ),
    "show": (
        "nowcast show now.nc",
        "nowcast show 'forecasts/now_*.h5' output=now.html open=false",
        "nowcast show radar.nc last=288",
    ),
    "demo": ("nowcast demo", "nowcast demo output_dir=demo open=true"),
    "watch": ("nowcast watch input=incoming output=published operation.formats=[nc,tif]",),
    "replay": ("nowcast replay input=radar.nc output=replayed",),
    "serve": ("nowcast serve published port=8080", "nowcast serve now.html"),
    "convert": (
        "nowcast convert 'input=radar/*.h5' output=radar.nc",
        "nowcast convert input=month.tar output=radar.nc reader=radolan workers=4",
    ),
    "info": ("nowcast info radar.nc", "nowcast info '[a.h5,b/*.h5]'"),
    "check": ("nowcast check radar.nc context_length=4 forecast_length=12",),
    "benchmark": ("nowcast benchmark what=prediction",),
}
"""What may be typed, by command."""


def help_of(command: str, arguments: list[str], usage: str) -> str:
    """The help of a command.

    Args:
        command: its name.
        arguments: what was typed beside --help: settings that choose something.
        usage: of all commands.

    Raises:
        UserError: a mistake in the settings.
    """
    words = Words.of(translated(command, arguments))
    names = [command, *_FURTHER.get(command, ())]
    known = {name: _file(name) for name in names}
    parts = [_first_sentence_of(command), "\nusage", *usage_of(command, usage)]
    for name, file in known.items():
        if file is None:
            continue
        # of several values for a multirun none decides on the settings that are shown
        settings = fixed(words.settings) if words.multirun else words.settings
        settings = settings if name == command else []
        title = _HEADINGS.get(name, "")
        parts += _about(file) if not title else []
        parts += _settings_of(name, file, settings, title)
    parts += _options(command)
    parts += ["\nexamples", *(f"  {line}" for line in EXAMPLES.get(command, ()))]
    return "\n".join(parts) + "\n"


def _file(command: str) -> File | None:
    """The configuration file of a command; None where it has none."""
    for place in search_folders():
        path = place / f"{primary(command)}.yaml"
        if path.is_file():
            return read(path)
    return None


def _first_sentence_of(command: str) -> str:
    """What a command does, as the docstring of its function says; no code is loaded for it."""
    for path in sorted(files("nowcast.cli").iterdir(), key=lambda found: found.name):
        if not path.name.endswith(".py"):
            continue
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name == command:
                text = _plain(" ".join(parsed(ast.get_docstring(node)).text))
                text = text[0].lower() + text[1:]
                return textwrap.fill(f"nowcast {command}: {text}", WIDTH)
    return f"nowcast {command}"


def usage_of(command: str, usage: str) -> Iterator[str]:
    """The lines of the overview that show how a command is typed."""
    within = False
    for line in usage.splitlines():
        begins = line.startswith("  nowcast ")
        within = (
            line.split()[:2] == ["nowcast", command] if begins else within and line[:3] == "   "
        )
        if within:
            yield line


def _about(file: File) -> Iterator[str]:
    """What the file says of itself."""
    text = " ".join(file.about)
    if text and text != f"nowcast {file.name}":
        yield ""
        yield from textwrap.wrap(text, WIDTH)


def _settings_of(command: str, file: File, typed: list[str], title: str) -> Iterator[str]:
    """The groups and the settings of a configuration."""
    config = configuration.compose_typed(command, in_grammar(typed))
    settings = OmegaConf.to_container(config, resolve=False)
    settings.pop("hydra")
    chosen = _choices_of(file, typed)
    if chosen:
        yield f"\ngroups{f' {title}' if title else ''} (GROUP=CHOICE; * is chosen)"
    for group, choice in chosen.items():
        names = [f"*{name}" if name == choice else name for name in choices(group)]
        yield from _row(group, ", ".join(names))
    yield f"\nsettings{f' {title}' if title else ''} (KEY=VALUE)"
    comments = {key.name: key.comment for key in file.keys}
    for group, choice in chosen.items():
        brought = _choice_file(group, choice)
        keys = [] if brought is None else brought.keys
        comments |= {key.name: key.comment for key in keys if key.name in settings}
    for key, comment in comments.items():
        if key.partition(".")[0] == "hydra":
            continue
        raw = settings.get(key, OmegaConf.select(config, key, throw_on_missing=False))
        yield from _row(key if isinstance(raw, dict) else _pair(key, raw), _plain(comment))
    for key, value in settings.items():
        if isinstance(value, dict) and key not in comments:
            yield ""
            yield from _node(key, value)


def _choices_of(file: File, typed: list[str]) -> dict[str, str | None]:
    """The groups that can be chosen from, and what is chosen: typed, by the file, or by what that
    brings along.
    """
    found: dict[str, str | None] = {}

    def add(choices_of_file: dict[str, str | None], settled: Container[str]) -> None:
        groups = [group for group in choices_of_file if group and not group.startswith("hydra/")]
        for group in groups:
            if group not in settled:
                found[group] = choices_of_file[group]
        for group in groups:  # what a choice brings along comes after all that stands beside it
            place = _choice_file(group, found[group])
            if place is not None:
                add(place.choices, settled)

    words = (item.partition("=") for item in typed)
    add({key: value for key, _, value in words if choices(key)}, found)
    # what the file's choices bring along overrides the file, as data=moving_mnist its training
    add(file.choices, set(found))
    return found


def _choice_file(group: str, choice: str | None) -> File | None:
    for place in search_folders():
        path = place / group / f"{choice}.yaml"
        if path.is_file():
            return read(path)
    return None


def _node(path: str, node: dict[str, Any]) -> Iterator[str]:
    """The settings of a class, and of the classes in it."""
    target = node.get(_TARGET)
    cls = None
    if target is not None:
        cls = load(target)
        text = parsed(cls.__doc__).text
        yield from textwrap.wrap(
            f"{path}: {cls.__name__}. {_plain(text[0]) if text else ''}", WIDTH
        )
    for key, value in node.items():
        whole = f"{path}.{key}"
        if isinstance(value, dict):
            yield from _node(whole, value)
        elif key != _TARGET:
            yield from _row(_pair(whole, value), _meaning(cls, key) if cls else "")


def _meaning(cls: type, key: str) -> str:
    """What a setting of a class means, in a sentence; that of another class where its docstring
    sends the reader there.
    """
    said = meaning(cls, key)
    if not said:
        return ""
    elsewhere = len(said) > 1 and _ELSEWHERE.search(said[0])
    return _sentence(said[1] if elsewhere else said[0])


def _pair(key: str, value: Any) -> str:
    """KEY=VALUE as it is typed."""
    if value == "???":
        return f"{key}=..."
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True)
    text = text.removesuffix("\n").removesuffix("\n...").strip("'").replace(", ", ",")
    if len(text) > _LONGEST_VALUE:
        text = f"{text[:_LONGEST_VALUE]}..."
    return f"{key}={text}"


def _row(left: str, right: str) -> Iterator[str]:
    """Two columns; what is too long for the first one gets a line of its own."""
    lines = textwrap.wrap(right, WIDTH - _COLUMN, break_on_hyphens=False)
    left = f"  {left}"
    if len(left) < _COLUMN and lines:
        yield f"{left:{_COLUMN}}{lines.pop(0)}"
    else:
        yield from textwrap.wrap(left, WIDTH, subsequent_indent="    ")
    for line in lines:
        yield " " * _COLUMN + line


def options_of(command: str) -> tuple[tuple[str, str], ...]:
    """Hydra's options, as far as they mean something for a command, with their meaning."""
    rows = _EVERYWHERE
    if command in APPLICATIONS:
        rows += _OF_HYDRA
    if command == "train":
        rows = (*_OF_TRAINING, *rows)
    return rows


def _options(command: str) -> Iterator[str]:
    yield "\noptions"
    for name, text in options_of(command):
        yield from _row(name, text)


def _sentence(text: str) -> str:
    """The first sentence, without marks of the documentation."""
    found = re.match(r"(.+?[^.])\.(?: [A-Z]|$)", _plain(text), re.DOTALL)
    return found[1] if found else _plain(text).rstrip(".")


def _plain(text: str) -> str:
    """A text of the documentation as the terminal shows it."""
    return re.sub(r"``?([^`]*)``?", r"\1", text)
