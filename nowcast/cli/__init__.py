"""The command line: nowcast train | evaluate | predict | watch | convert | ... The only code that sees Hydra's configuration.

What a command needs is loaded when it is called: `nowcast info` does not wait for torch.
"""

import importlib
import sys

import nowcast
from nowcast import config as configuration
from nowcast.errors import Terminated, UserError, first_line
from nowcast.memory import keep_freed_memory
from nowcast.runtime import environment

_COMMANDS = {
    "train": "learning", "evaluate": "verifying", "report": "verifying", "predict": "forecasting", "convert": "radar", "info": "radar", "check": "radar",
    "watch": "forecasting", "replay": "forecasting", "serve": "forecasting", "compare": "learning", "benchmark": "learning",
}  # and the module each is a function of

USAGE = """usage: nowcast COMMAND [KEY=VALUE ...]

  nowcast train [experiment=NAME]                      train, then evaluate ({experiments})
  nowcast train resume=DIR                             go on with an interrupted run
  nowcast train resume=auto [...]                      the same with the newest one; start one where there is none
  nowcast evaluate run=DIR [data=...]                  scores beside the baselines, with intervals
  nowcast evaluate forecasts=FILES observations=ARCHIVE   the same of forecasts that any system wrote as NetCDF
  nowcast report run=DIR [output=FILE.html]            the evaluation as one page; of several runs: 'run=[DIR1,DIR2]'
  nowcast predict run=DIR input=FILES output=FILE.nc   forecast from the newest frames (also FILE.h5: ODIM, FILE.tif)
  nowcast watch run=DIR input=FOLDER output=FOLDER     a forecast for every cycle from what arrives in a folder
  nowcast serve FOLDER [port=8000]                     the page that watch keeps up to date
  nowcast replay run=DIR input=ARCHIVE output=FOLDER   that watch on archived frames, with faults on purpose
  nowcast convert input=FILES output=FILE.nc           radar files into one archive ({readers})
  nowcast info FILES                                   what an archive or a radar file holds
  nowcast check ARCHIVE                                what in an archive asks for a second look
  nowcast compare [only=NAMES] [KEY=VALUE ...]         train models with several seeds, show them side by side
  nowcast benchmark [what=NAME]                        measure on this machine ({whats})

FILES is an archive, a file (also packed: .gz, .zip, .tar.gz ...), a folder, a quoted pattern, or
a list of these, '[a.h5,b/*.h5]'; NAMES is a list such as '[a,b]'. COMMAND --cfg prints the
composed configuration. Models are {models}.
"""
EXIT_ERROR, EXIT_INTERRUPTED, EXIT_TERMINATED = 2, 130, 143


def main(arguments: list[str] | None = None) -> None:
    """Run one command; a user's mistake is one line on stderr and exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that knows no ≥ still gets its table
    environment.settle()
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    name = arguments.pop(0) if arguments else "--help"
    if name in ("-h", "--help", "help") or {"-h", "--help"} & set(arguments):
        names = {group: ", ".join(f"{group[:-1]}={c}" for c in configuration.choices(group[:-1])) for group in ("experiments", "readers")}
        names["whats"] = ", ".join(f"what={c}" for c in configuration.choices("what"))
        names["models"] = ", ".join(configuration.choices("model"))
        sys.stdout.write(USAGE.format(**names))
        return
    if name == "--version":
        sys.stdout.write(f"nowcast {nowcast.__version__}\n")
        return
    try:
        if name not in _COMMANDS:
            raise UserError(f"there is no command {name!r}; accepted are {', '.join(_COMMANDS)}.")
        keep_freed_memory()
        getattr(importlib.import_module(f"nowcast.cli.{_COMMANDS[name]}"), name)(arguments)
    except UserError as error:
        sys.stderr.write(f"nowcast {name}: error: {' '.join(str(error).split())}\n")
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
