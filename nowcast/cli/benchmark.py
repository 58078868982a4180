"""nowcast benchmark: what nowcast, or a part of it, costs on this machine."""

import os
from pathlib import Path

from rich.console import Console

from nowcast.cli import config as configuration
from nowcast.cli.common import new_folder, plain_or_shown, print_line, track
from nowcast.runtime.build import build_part


def benchmark(arguments: list[str]) -> None:
    """Measure what nowcast, or a part of it, costs on this machine."""
    # torch's profiler reads it when it is loaded, and else writes of a GPU that it does not find
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    settings = plain_or_shown("benchmark", arguments)
    if settings is None:
        return
    from nowcast.benchmark.measuring import Host, Report, write

    measured = build_part(settings, "what")
    path = Path(settings["output_dir"] or new_folder("benchmark")) / "benchmark.json"
    # a folder that cannot be written to is reported before the measurement, not after it
    write(path, settings, Report([], []))
    host = Host(
        lambda overrides: configuration.plain(configuration.compose("train", overrides)),
        configuration.choices,
        track("measuring"),
    )
    report = measured.run(host)
    for table in report.tables:
        Console().print(table)
    for name, reason in report.failed.items():
        print_line(f"{name} could not be measured: {reason}")
    for sentence in report.sentences:
        print_line(sentence)
    write(path, settings, report)
    print_line(f"wrote {path}")
