"""The command line: nowcast train | evaluate | predict | watch | convert | ... The only code that
sees Hydra's configuration.

What a command needs is loaded when it is called: `nowcast info` does not wait for torch.
"""

import importlib
import os
import sys
import textwrap
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from difflib import get_close_matches

import nowcast
from nowcast.cli.hydra_words import COMPLETION, config_places, translated
from nowcast.cli.places import choices, own_places
from nowcast.cli.typed_paths import as_typed_here
from nowcast.runtime import environment
from nowcast.runtime.errors import (
    EXIT_ERROR,
    EXIT_INTERRUPTED,
    EXIT_TERMINATED,
    SaidElsewhere,
    Terminated,
    UserError,
    first_line,
    one_line,
)
from nowcast.runtime.memory import keep_freed_memory
from nowcast.runtime.surroundings import left_as_it_was
from nowcast.runtime.threads import wait_asleep
from nowcast.runtime.world import refuse_many

# Each command is a function of its name, in a module of that name but for these.
_MODULES = {"convert": "radar", "info": "radar", "check": "radar"}
_MODULES |= dict.fromkeys(("predict", "watch", "replay", "serve"), "forecasting")
_COMMANDS = ("demo", "train", "evaluate", "report", "predict", "show", "convert", "info", "check")
_COMMANDS += ("watch", "replay", "serve", "compare", "benchmark")
_SHOWING = ("--info", "--cfg=", "--hydra-help")  # what Hydra shows of its own

USAGE = """usage: nowcast COMMAND [KEY=VALUE ...] [--config-dir DIR]

Try it
  nowcast demo                                an hour of real radar, forecast and compared with
                                              what came: scores, a picture, a page
Train and evaluate
  nowcast train [experiment=NAME]             train, then evaluate
  nowcast train resume=DIR                    go on with an interrupted run
  nowcast train resume=auto [...]             the same with the newest one, or start one
  nowcast train --multirun KEY=A,B [...]      once for each combination of values (Hydra's sweeps)
  nowcast compare [only=NAMES] [KEY=VALUE ...]
                                              several models and seeds, side by side
  nowcast compare runs=DIR                    the same of a multirun that is finished
  nowcast evaluate run=DIR [data=...]         scores beside the baselines, with intervals;
                                              several in one table: 'run=[DIR1,shipped]'
  nowcast evaluate forecasts=FILES observations=ARCHIVE
                                              the same of any system's forecasts (NetCDF)
  nowcast report run=DIR [output=FILE.html]   the evaluation as one page; of several runs:
                                              'run=[DIR1,DIR2]'
Forecast
  nowcast predict run=DIR input=FILES output=FILE.nc
                                              from the newest frames (also FILE.h5: ODIM, FILE.tif);
                                              page=FILE.html: with a page, too
  nowcast show FILE [output=FILE.html]        a forecast or radar files as a page in the browser
  nowcast watch run=DIR input=FOLDER output=FOLDER
                                              for every cycle, from what arrives in a folder
  nowcast serve FOLDER [port=8000]            the page that watch keeps up to date (also FILE.html)
  nowcast replay run=DIR input=ARCHIVE output=FOLDER
                                              that watch on archived frames, with faults on purpose
Radar files
  nowcast convert input=FILES output=FILE.nc  into one archive
  nowcast info FILES                          what an archive or a radar file contains
  nowcast check ARCHIVE                       what in an archive asks for a second look
This machine
  nowcast benchmark [what=NAME]               how fast it is

FILES is an archive, a file (also packed: .gz, .zip, .tar.gz ...), a folder, a quoted pattern, or
a list of these, '[a.h5,b/*.h5]'; NAMES is a list such as '[a,b]'. COMMAND --help explains every
setting, COMMAND --cfg job prints the composed configuration. Files in DIR, such as
DIR/model/MINE.yaml, can be chosen, too: model=MINE.

{choices}
"""


def run(arguments: Sequence[str]) -> None:
    """Run one command from Python, e.g. ``run(["predict", "run=shipped", "input=radar.nc",
    "output=now.nc"])``.

    The calling program's logging, warnings, signal handlers, environment variables and settings of
    torch and matplotlib are afterwards as they were. It can be called in any thread, a notebook or
    another Hydra application.

    Args:
        arguments: the command and its settings, as typed behind `nowcast`.

    Raises:
        UserError: a mistake that the caller can mend; nothing is written to stderr.
        KeyboardInterrupt: Ctrl-C.
        Terminated: SIGTERM came, and what was being done is finished and saved.
    """
    places, arguments = config_places(list(arguments))
    name = arguments[0] if arguments else ""
    with own_places(replace(places, command=name)):
        _run(arguments)


def _run(arguments: list[str]) -> None:
    """Run one command, with the configuration files that can be chosen."""
    name = arguments.pop(0) if arguments else "--help"
    if name in ("-h", "--help", "help"):
        sys.stdout.write(USAGE.format(choices=_choices()))
        return
    if name == "--version" or "--version" in arguments:
        sys.stdout.write(f"nowcast {nowcast.__version__}\n")
        return
    completes = [item for item in (name, *arguments) if item in ("-sc", COMPLETION)]
    if completes:
        with left_as_it_was():
            _complete([item for item in arguments if item not in completes])
        return
    if name not in _COMMANDS:
        near = get_close_matches(name, _COMMANDS, n=2)
        meant = f"did you mean {' or '.join(near)}? " if near else ""
        accepted = f"accepted are {', '.join(_COMMANDS)}."
        raise UserError(f"there is no command {name!r}; {meant}{accepted}")
    with left_as_it_was():
        _run_command(name, arguments)


def _run_command(name: str, arguments: list[str]) -> None:
    if {"-h", "--help"} & set(arguments):
        from nowcast.cli.help import help_of

        rest = [item for item in arguments if item not in ("-h", "--help")]
        sys.stdout.write(help_of(name, rest, USAGE))
        return
    typed = translated(name, arguments)
    if any(item.startswith(_SHOWING) for item in typed):
        from nowcast.cli.showing import show

        show(name, typed)
        return
    wait_asleep()  # before a command loads torch
    if name == "train":
        # read when torch is loaded, which else warns of how its processes found each other, and
        # of choices made on purpose
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    else:
        refuse_many(name)
    module = importlib.import_module(f"nowcast.cli.{_MODULES.get(name, name)}")
    command = getattr(module, name)
    command(typed)


def _complete(arguments: list[str]) -> None:
    from nowcast.cli.showing import complete

    complete(_COMMANDS, arguments)


def main(arguments: list[str] | None = None) -> None:
    """The command line: a user's mistake is one line on stderr and exit code 2.

    From Python: ``run``.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    named = [item for item in arguments if item in _COMMANDS]  # --config-dir may stand before it
    name = (named or arguments or [""])[0]
    environment.settle()
    keep_freed_memory()
    try:
        with _any_character():
            run(arguments)
    except SaidElsewhere:
        sys.exit(EXIT_ERROR)
    except UserError as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":  # as users of Hydra ask for all of it
            traceback.print_exception(error)
        sys.stderr.write(f"nowcast {name}: error: {as_typed_here(one_line(error))}\n")
        sys.exit(EXIT_ERROR)
    except OSError as error:
        if error.filename is None:  # no file's: a fault of the program, whose place is of use
            raise
        advice = "check the path and its permissions"
        reason = f"{error.filename}: {error.strerror or error}; {advice}."
        sys.stderr.write(f"nowcast {name}: error: {reason}\n")
        sys.exit(EXIT_ERROR)
    except Exception as error:
        variables = environment.named_in(error)
        if not variables:
            raise
        reason = f"{first_line(error)} ({type(error).__name__})"
        origin = f"this comes from {', '.join(variables)} in the environment: unset it."
        sys.stderr.write(f"nowcast {name}: error: {reason}; {origin}\n")
        sys.exit(EXIT_ERROR)
    except KeyboardInterrupt:
        sys.stderr.write(f"nowcast {name}: interrupted\n")
        sys.exit(EXIT_INTERRUPTED)
    except Terminated:
        sys.stderr.write(f"nowcast {name}: terminated\n")
        sys.exit(EXIT_TERMINATED)


@contextmanager
def _any_character() -> Iterator[None]:
    """A block in which a terminal that knows no ≥ still gets its table."""
    streams = [stream for stream in (sys.stdout, sys.stderr) if hasattr(stream, "reconfigure")]
    before = [stream.errors for stream in streams]
    for stream in streams:
        stream.reconfigure(errors="replace")
    try:
        yield
    finally:
        for stream, errors in zip(streams, before, strict=True):
            if not stream.closed:
                stream.reconfigure(errors=errors)


def _choices() -> str:
    """What can be chosen, a paragraph for each group."""
    found = []
    for group in ("experiment", "model", "reader", "what"):
        names = f"{group}: {', '.join(choices(group))}"
        found.append(textwrap.fill(names, 96, subsequent_indent="  "))
    return "\n".join(found)
