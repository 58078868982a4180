"""What is typed, in Hydra's grammar.

Paths, names and times are taken as they are typed: Hydra's grammar of overrides would stumble over
spaces, commas, brackets, equals signs and accents in them. Everything else is Hydra's from the
start.
"""

import glob
import os
import re
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Quote, QuotedString
from hydra.errors import HydraException

from nowcast.runtime.errors import UserError
from nowcast.runtime.files import comes_along, run_folder

PATHS = (
    "run",
    "start_from",
    "input",
    "output",
    "output_dir",
    "page",
    "forecasts",
    "observations",
    "evaluation.cache",
    "data.archives",
    "data.archive",
    "data.digits_folder",
    "data.test_file",
    "what.trained",
)
LITERALS = (
    *PATHS,
    "name",
    "analysis_time",
    "data.validation_from",
    "data.test_from",
    "validation_from",
    "test_from",
)
"""Settings that are taken as they are typed."""

_RUNS = ("run", "start_from")
# kept as typed: made absolute by whoever expands them
_PATTERNS = ("input", "forecasts", "data.archives")
_FOLDERS_OF_HYDRA = ("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir")
_CHOICE = re.compile(r"choice\(.*\)", re.DOTALL)
_OF_PART = re.compile(r"data\.parts\.[^.]+\.(?=data\.)")


def _by_itself(key: str) -> str:
    """A setting of a part of a mixture by its name outside of it: data.archive."""
    return _OF_PART.sub("", key)


def literal(value: str) -> str:
    """A value that stays as it is in a configuration, also where it looks like a reference."""
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", value)  # \ before a reference counts double


def quoted(value: str) -> str:
    """A value in quotes of Hydra's grammar; references in it are followed."""
    return QuotedString(value, Quote.single).with_quotes()


def in_grammar(overrides: list[str], *, sweeps: bool = False) -> list[str]:
    """What was typed, as Hydra reads it.

    Args:
        overrides: KEY=VALUE and ~KEY.
        sweeps: whether a path may be swept over by ``data.archive=choice(a.nc,b.nc)``.

    Raises:
        UserError: something of another form, or an empty value.
    """
    found = []
    for item in overrides:
        key, equals, value = item.partition("=")
        if key.startswith("-"):
            raise UserError(
                f"there is no option {item!r}; settings are given as KEY=VALUE, see --help."
            )
        if not key or (not equals and not key.startswith("~")):
            raise UserError(
                f"{item!r} is not of the form KEY=VALUE (quote values that hold spaces)."
            )
        name = key.lstrip("+")
        if name in _FOLDERS_OF_HYDRA:
            if equals and not value:
                raise UserError(f"{name} is empty; give a folder, or leave it out.")
            found.append(f"{key}={_in_quotes(value)}" if equals else item)
        elif _by_itself(name) not in LITERALS:
            found.append(item)
        elif sweeps and _CHOICE.fullmatch(value):
            found.append(f"{name}={_choice(name, item)}")
        else:
            if sweeps and value.startswith("glob(") and value.endswith(")"):
                raise UserError(
                    f"{item!r}: glob() chooses from the files of a group, such as model=glob(*); "
                    f"for several paths type {name}='choice(A,B)'."
                )
            if sweeps and "," in value and name != "output_dir" and not os.path.exists(value):
                raise UserError(
                    f"{item!r} could be one value with a comma, or several; type "
                    f"{name}='choice(A,B)' for several, or {name}=\"choice('A,B')\" for one."
                )
            found.append(f"{name}={_value(name, value)}")
    return found


def fixed(overrides: list[str]) -> list[str]:
    """What was typed with one value alone, as Hydra reads it.

    Raises:
        UserError: something of another form.
    """
    try:
        parsed = OverridesParser.create().parse_overrides(in_grammar(overrides, sweeps=True))
    except HydraException as error:
        raise UserError(str(error)) from error
    return [item.input_line for item in parsed if not item.is_sweep_override()]


def settled(key: str, value: str) -> str:
    """A typed value as it stands in a configuration: a path is absolute.

    Raises:
        UserError: it is empty.
    """
    if value == "":
        raise UserError(f"{key} is empty; give a value, or null for none.")
    name = _by_itself(key)
    if name in PATHS and not (name in _RUNS and comes_along(value)):
        path = (run_folder(value) if key == "what.trained" else Path(value)).expanduser()
        value = str(path if name in _PATTERNS else path.absolute())
    return literal(value)


def made_absolute(settings: dict, folder: str, before: str = "") -> dict:
    """Settings whose paths lead to the same files from any folder.

    Args:
        settings: a configuration as data.
        folder: that relative paths are of.
        before: what stands before the names of these settings, e.g. "data.".
    """
    found = {}
    for name, value in settings.items():
        key = f"{before}{name}"
        if isinstance(value, dict):
            found[name] = made_absolute(value, folder, f"{key}.")
        elif not isinstance(value, str) or (key in _RUNS and comes_along(value)):
            found[name] = value
        elif _by_itself(key) in PATHS:
            found[name] = _from(folder, value, is_pattern=_by_itself(key) in _PATTERNS)
        else:
            found[name] = value
    return found


def _from(folder: str, value: str, *, is_pattern: bool) -> str | list[str]:
    """A path, or several, as they lie in a folder."""
    if not is_pattern:
        return os.path.join(folder, value)
    from nowcast.data.inputs import separate_inputs

    # what the folder is called is no pattern
    return [os.path.join(glob.escape(folder), item) for item in separate_inputs(value)]


def _value(key: str, value: str) -> str:
    return "null" if value == "null" else quoted(settled(key, value))


def _in_quotes(value: str) -> str:
    """A path of Hydra's own, whose references are followed; one in quotes is in its grammar."""
    is_quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
    return value if is_quoted else quoted(value)


def _choice(key: str, item: str) -> str:
    """A sweep over paths, each of which is made absolute."""
    try:
        (parsed,) = OverridesParser.create().parse_overrides([item])
        sweep = parsed.value()
    except HydraException as error:
        raise UserError(
            f"{item!r} cannot be read; put names with spaces, commas or brackets in quotes, as in "
            f"{key}=\"choice('a b.nc',c.nc)\"."
        ) from error
    if not isinstance(sweep, ChoiceSweep):
        raise UserError(f"{item!r} is not a choice of values; type {key}='choice(A,B)'.")
    # in quotes: as arguments of choice(), Hydra would take them out of theirs
    return ",".join(_value(key, _element(element)) for element in sweep.list)


def _element(element) -> str:
    """An element of a sweep as text."""
    if isinstance(element, QuotedString):
        return element.text
    return "null" if element is None else str(element)
