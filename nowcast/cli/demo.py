"""nowcast demo: an hour of real radar, forecast and compared with what came."""

import shutil
import tempfile
from pathlib import Path

from rich.console import Console

from nowcast.cli.common import load, new_folder, plain_or_shown, print_line
from nowcast.cli.show import open_in_browser
from nowcast.demo.hour import ARCHIVE, PLACE, SOURCE
from nowcast.runtime.build import is_of_type
from nowcast.runtime.distribution import install_hint
from nowcast.runtime.errors import UserError
from nowcast.runtime.files import SHIPPED, replacing, require_writable, run_folder, sha256_of

_SCORES = ("csi", "mae", "mse", "correlation")
_THRESHOLDS = (0.1, 1.0, 5.0, 10.0)  # mm/h, of the CSI that is printed
_FILES = {
    "demo.png": "the picture: what was seen, what came, what each forecast said",
    "demo.html": "the page, for any browser: map, slider, all forecasts, probabilities",
    "scores.txt": "every score (scores.csv: the same as numbers, by lead time)",
    "forecast.nc": "the forecast, CF NetCDF",
    "radar.nc": "the hour of radar, an archive of nowcast, to play with",
}
_ABOUT = {
    "extrapolation": "  extrapolation  the last frame carried on along its motion, by pysteps",
    "advection": "  advection      the last frame carried on along its motion, without pysteps\n"
    f"                 ({install_hint('flow')}: its extrapolation in this place)",
    "persistence": "  persistence    the last frame as it is",
}
_NEXT = """Your own radar next (any service's files: HDF5, NetCDF, GeoTIFF, GRIB2, RADOLAN ...):
  nowcast predict input='radar/*.h5' output=now.nc page=now.html   # forecast the newest
  nowcast convert input='radar/*.h5' output=radar.nc               # all of them as one archive
  nowcast train experiment=radar_quickstart data.archive=radar.nc  # a model of your own"""


def demo(arguments: list[str]) -> None:
    """Forecast the hour of radar that comes with nowcast, and say what the forecast was worth."""
    settings = plain_or_shown("demo", arguments)
    if settings is None:
        return
    if not is_of_type(settings["open"], bool):
        raise UserError(f"open is {settings['open']!r}; expected true or false.")
    folder = _folder(settings["output_dir"])
    print_line(f"An hour of radar over {PLACE} (data: {SOURCE}).")
    # what computes is loaded once it is clear that its results can be written
    from nowcast.demo import forecasting, picture

    found = forecasting.demonstrate(load(run_folder(SHIPPED), None))
    _describe(found)
    picture.draw(found, folder / "demo.png")
    _write_forecast(found, folder)
    _write_scores(found.results, folder)
    print_line(f"in {folder}")
    for name, meaning in _FILES.items():
        print_line(f"  {name:12} {meaning}")
    print_line("")
    print_line(_NEXT)
    if settings["open"]:
        open_in_browser(folder / "demo.html")


def _folder(typed: str | None) -> Path:
    """Where the files go, made: what was typed, or a folder of this demonstration's own.

    Raises:
        UserError: the folder that was typed cannot be written to.
    """
    if typed is not None:
        require_writable(Path(typed))
        return Path(typed)
    wanted = new_folder("demo")
    for number in range(1, 100):  # another one may begin in the same second
        folder = wanted if number == 1 else wanted.with_name(f"{wanted.name}_{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError:  # somebody runs it from a folder that is not his
            break
        return folder
    return Path(tempfile.mkdtemp(prefix="nowcast-demo-"))


def _describe(found) -> None:
    """What was forecast, and the scores."""
    from nowcast.evaluation.results_text import judged_in_words
    from nowcast.evaluation.tables import lead_table

    context, came = found.context, found.came
    minutes, until = found.results.task.lead_minutes, str(context.times[-1])
    rows, columns = context.grid.shape
    print_line(
        f"Seen: {len(context)} frames of {rows} x {columns} km, until {until[:10]} "
        f"{until[11:16]} UTC.\nForecast: the next {len(came) * minutes:g} minutes, by the model "
        "that comes with nowcast;\nit has learnt from other days, of this service's radar, too. "
        "Beside it:"
    )
    for name in found.others:
        print_line(_ABOUT[name])
    scores = {name: found.results.rows(name) for name in found.results.models}
    settings = {"scores": _SCORES, "thresholds": _THRESHOLDS, "over_all": True}
    table = lead_table(scores, lead_minutes=minutes, **settings)
    Console().print(table)
    for sentence in [*judged_in_words(found.results), *_sentences(scores)]:
        print_line(sentence)
    print_line("")


def _sentences(scores: dict) -> list[str]:
    """Who is best in which of the printed scores, and how much that says."""
    from nowcast.evaluation.statistics.sums import ScoreKey, key_of
    from nowcast.evaluation.titles import best_models, score_title

    values: dict[ScoreKey, dict[str, float]] = {}
    for name, rows in scores.items():
        for row in rows:
            of_table = row.score in _SCORES and row.threshold in (None, *_THRESHOLDS)
            key = key_of(row)
            if of_table and row.lead is None and key.is_of_pixels:
                values.setdefault(key, {})[name] = row.value
    won: dict[str, list[str]] = {name: [] for name in scores}
    for key, of_key in values.items():
        for name in best_models(key.score, of_key):
            won[name].append(score_title(*key))
    best = [f"{name} in {', '.join(titles)}" for name, titles in won.items() if titles]
    return [
        f"Best over all leads: {'; '.join(best)}.",
        "One hour is a demonstration, not a verdict: five events stand in the "
        "documentation, on the page of the shipped model.",
    ]


def _write_forecast(found, folder: Path) -> None:
    """The forecast as NetCDF and as a page, and the radar."""
    from nowcast.demo import forecasting
    from nowcast.forecasting.saving import WEIGHTS_FILE
    from nowcast.output.netcdf import write_forecast
    from nowcast.output.origin import origin_attributes
    from nowcast.page.content import Beside, forecast_content
    from nowcast.page.opened import about_forecast
    from nowcast.page.single_file import write_page

    start = found.context.times[-1]
    attributes = {"title": f"Precipitation nowcast from radar of {SOURCE}"}
    attributes |= origin_attributes(
        model=SHIPPED,
        model_sha256=sha256_of(run_folder(SHIPPED) / WEIGHTS_FILE),
        analysis_time=start,
        inputs=[(ARCHIVE.name, start)],
    )
    write_forecast(found.products, folder / "forecast.nc", attributes=attributes)
    beside = [Beside("What came (radar)", found.came.values, is_observed=True)]
    for name, values in found.others.items():
        beside.append(Beside(forecasting.full_name(name).capitalize(), values))
    content = forecast_content(found.products, found.context, beside=beside, title="Nowcast")
    about = [("Radar", f"{SOURCE}; {PLACE}")]
    about += [pair for pair in about_forecast(attributes) if pair[0] == "Made by"]
    title = "nowcast demo: an hour of real radar"
    write_page(content, folder / "demo.html", title=title, about=about, archived=True)
    with replacing(folder / "radar.nc") as path:
        shutil.copyfile(ARCHIVE, path)


def _write_scores(results, folder: Path) -> None:
    """Every score, as numbers and as tables."""
    from nowcast.evaluation.score_files import write_csv
    from nowcast.evaluation.tables import text_tables

    rows, minutes = {name: results.rows(name) for name in results.models}, results.task.lead_minutes
    write_csv(rows, folder / "scores.csv", lead_minutes=minutes)
    tables = text_tables(rows, lead_minutes=minutes, pooled=results.pooled, width=140)
    with replacing(folder / "scores.txt") as path, path.open("w", encoding="utf-8") as file:
        Console(file=file, width=140).print(*tables, sep="\n")
