"""``python -m tests.battery``: every guarantee, or some of them, as a table; the exit code is 0
only where all of them hold.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.battery import breakages
from tests.battery.guarantees import GUARANTEES
from tests.battery.stage import Outcome, Stage


def main(arguments: list[str] | None = None) -> int:
    """Run the battery; 0 where everything holds, else 1."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.battery",
        description="Shows what nowcast promises of reliability, case by case.",
    )
    parser.add_argument(
        "--fast", action="store_true", help="fewer cases of everything: a few minutes"
    )
    parser.add_argument(
        "--only",
        metavar="NAME",
        nargs="+",
        choices=list(GUARANTEES),
        help=f"these alone: {', '.join(GUARANTEES)}",
    )
    parser.add_argument("--seed", type=int, default=1, help="of all draws")
    parser.add_argument(
        "--breakages",
        action="store_true",
        help="break nowcast on purpose, in copies, and show that the battery notices",
    )
    options = parser.parse_args(arguments)
    if options.breakages:
        return breakages.main()
    table = Table(title="tests.battery" + (" --fast" if options.fast else ""), title_style="")
    for name, justify in (
        ("guarantee", "left"),
        ("cases", "right"),
        ("failures", "right"),
        ("seconds", "right"),
        ("", "left"),
    ):
        table.add_column(name, justify=justify)
    failed, began = [], time.monotonic()
    for name in options.only or GUARANTEES:
        outcome, seconds = _run(name, options)
        table.add_row(
            name, f"{outcome.cases:,}", f"{len(outcome.failures):,}", f"{seconds:.0f}", outcome.note
        )
        if outcome.failures or not outcome.cases:
            failed.append(
                f"{name}: {len(outcome.failures)} of {outcome.cases} cases failed\n{outcome.told()}"
            )
        sys.stderr.write(
            f"{name}: {outcome.cases} cases, {len(outcome.failures)} failures, {seconds:.0f} s\n"
        )
    table.add_section()
    table.add_row("all", "", str(len(failed)), f"{time.monotonic() - began:.0f}", "")
    Console().print(table)
    for sentence in failed:
        Console(markup=False, highlight=False, soft_wrap=True).print(sentence)
    return 1 if failed else 0


def _run(name: str, options) -> tuple[Outcome, float]:
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="nowcast-battery-") as folder:
        try:
            outcome = GUARANTEES[name](Stage(Path(folder), options.fast, options.seed))
        except Exception as error:  # a guarantee that cannot be tried does not hold
            outcome = Outcome(1, [f"{type(error).__name__}: {error}"])
    return outcome, time.monotonic() - began


if __name__ == "__main__":
    sys.exit(main())
