"""nowcast report: evaluations as one HTML file."""

from pathlib import Path

from omegaconf import OmegaConf

from nowcast.cli import config as configuration
from nowcast.cli.common import print_line, settings_of, shown, typed_folders
from nowcast.cli.quoting import literal
from nowcast.runtime.errors import UserError


def report(arguments: list[str]) -> None:
    """Show evaluations as one HTML file."""
    typed = [item.removeprefix("run=") for item in arguments if item.startswith("run=")]
    rest = [item for item in settings_of(arguments) if not item.startswith("run=")]
    config = configuration.compose("report", rest)
    folders = typed_folders("run", typed[-1]) if typed else []
    if folders:
        config.run = [literal(folder) for folder in folders]
    if OmegaConf.is_missing(config, "output"):
        config.output = literal(str(Path(*folders[:1]) / "report.html"))
    if shown(config, arguments):
        return
    settings = configuration.plain(config)
    output = Path(settings["output"]).expanduser()
    if output.suffix.lower() not in (".html", ".htm"):
        raise UserError(
            f"output is {output}, but the report is an HTML file: give a name that ends in .html."
        )
    from nowcast.report import write

    folders = [Path(folder).expanduser() for folder in settings["run"]]
    write(folders, output, say=print_line)
    megabytes = output.stat().st_size / 1e6
    print_line(f"{output}: {megabytes:.1f} MB; it opens in any browser, without a network")
