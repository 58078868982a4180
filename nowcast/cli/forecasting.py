"""Commands that forecast with a trained run: predict, watch, replay, serve."""

import threading
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

from rich.console import Console

from nowcast.cli.common import (
    files_and_settings,
    load,
    plain_or_shown,
    print_line,
    stopped_by_signals,
)
from nowcast.cli.show import checked_page
from nowcast.data.archive import Archive
from nowcast.data.containers import Listing, open_containers
from nowcast.data.inputs import Inputs, literal_folder, separate_inputs
from nowcast.data.reading import ReadingProcess
from nowcast.data.tolerant import Tolerant
from nowcast.data.unpacking import Unpacking
from nowcast.data.windows import utc_text
from nowcast.forecasting import prediction
from nowcast.forecasting import replay as replaying
from nowcast.forecasting.clock import Clock
from nowcast.forecasting.decision import frames_to_keep
from nowcast.forecasting.forecaster import CADENCES, Forecaster
from nowcast.forecasting.incoming import Incoming
from nowcast.forecasting.saving import WEIGHTS_FILE
from nowcast.forecasting.status import line
from nowcast.forecasting.watch import Watch
from nowcast.output.writers import writer_for
from nowcast.page.content import forecast_content
from nowcast.page.opened import about_forecast, open_files
from nowcast.page.server import serve as start_server
from nowcast.page.single_file import write_page
from nowcast.readers.cf_netcdf import CfNetcdf
from nowcast.runtime.build import build_part, is_of_type
from nowcast.runtime.errors import UserError
from nowcast.runtime.files import run_folder, sha256_of
from nowcast.types.functional import Functional, in_words


def predict(arguments: list[str]) -> None:
    """Forecast from the newest frames, or from those before an analysis time."""
    settings = plain_or_shown("predict", arguments)
    if settings is None:
        return
    _check_prediction(settings)
    point = _checked_point(settings)
    output, members = Path(settings["output"]), settings["members"]
    writer_for(output, members=members)  # refused before anything is read
    suffixes = (".png", ".gif") if settings["pictures"] else ()
    pictures = [output.with_suffix(suffix) for suffix in suffixes]
    page = checked_page(settings["page"])
    forecaster, tolerance = _radar_run(settings), build_part(settings, "tolerance")

    def read():
        return prediction.newest_frames(
            settings["input"],
            context_length=forecaster.task.context_length,
            reader=build_part(settings, "reader"),
            outputs=[output, *pictures, *([page] if page else [])],
            analysis_time=settings["analysis_time"],
            tolerance=tolerance,
        )

    run = run_folder(settings["run"])
    published = prediction.publish(
        forecaster,
        read,
        output,
        forecast_length=settings["forecast_length"],
        run=run.name,
        model_sha256=sha256_of(run / WEIGHTS_FILE),
        thresholds=settings["thresholds"],
        members=members,
        point=point,
        tolerance=tolerance,
    )
    _report_prediction(published, point)
    if page is not None:
        content = forecast_content(published.made, published.context)
        about = about_forecast(published.attributes)
        write_page(content, page, title="Rain forecast", about=about)
        print_line(f"wrote {page}")
    if pictures:  # the forecast comes first: it lies on the disk by now
        from nowcast.drawing.animation import forecast_animation
        from nowcast.drawing.maps import forecast_strip

        for draw, picture in zip((forecast_strip, forecast_animation), pictures):
            draw(published.context, published.forecast, picture)
            print_line(f"wrote {picture}")


def _check_prediction(settings: dict) -> None:
    """Refuse settings of predict that are of another type than they should be."""
    length, pictures = settings["forecast_length"], settings["pictures"]
    thresholds, members = settings["thresholds"], settings["members"]
    right_types = (
        is_of_type(length, int | None),
        is_of_type(pictures, bool),
        is_of_type(thresholds, list[float]),
        is_of_type(members, int) and members >= 0,
    )
    if not all(right_types):
        raise UserError(
            f"forecast_length is {length!r}, pictures is {pictures!r}, thresholds is "
            f"{thresholds!r} and members is {members!r}; expected a whole number of "
            "frames, true or false, a list of rain rates, and a whole number, 0 for none."
        )


def _checked_point(settings: dict) -> str | None:
    """Which number of the predicted distribution is asked for; before anything is read.

    Raises:
        UserError: it is none.
    """
    point = settings["point"]
    try:
        return None if point is None else str(Functional.parse(point))
    except UserError as error:
        raise UserError(f"point={point}: {error}") from None


def _report_prediction(published: prediction.Published, point: str | None) -> None:
    """Say what was forecast, where it lies, and what took how long."""
    forecast, files = published.forecast, published.files
    for note in prediction.notes(published.context, forecast):
        print_line(note)
    if point is not None and not forecast.point:
        print_line(f"the model predicts a single field, which is written for point={point}, too")
    last = utc_text(forecast.valid_times[-1])
    fields = f"{len(forecast.lead_times)} fields up to {last}"
    if forecast.point:
        fields += f" ({in_words(forecast.point)})"
    print_line(f"analysis time {utc_text(forecast.analysis_time)}, {fields}")
    written = f"{files[0]} to {files[-1].name}" if len(files) > 1 else str(files[0])
    steps = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in published.seconds.items())
    print_line(f"wrote {written} ({steps})")


def watch(arguments: list[str]) -> None:
    """Forecast from whatever arrives in a folder, until stopped."""
    settings = plain_or_shown("watch", arguments)
    if settings is None:
        return
    seconds = settings["reading_seconds"]
    if not is_of_type(seconds, float) or seconds <= 0:
        raise UserError(f"reading_seconds is {seconds!r}; expected a number of seconds above 0.")
    operation, run = build_part(settings, "operation"), run_folder(settings["run"])
    output, clock = Path(settings["output"]), Clock()
    _check_folders(settings["input"], output)
    forecaster, tolerance = _radar_run(settings), build_part(settings, "tolerance")
    task = forecaster.task
    reader = Unpacking(Tolerant(build_part(settings, "reader"), tolerance))
    reading = ReadingProcess(reader, seconds=seconds)
    listing = ReadingProcess(Listing(), seconds=seconds)
    with stopped_by_signals(clock.stop), reading, listing:
        incoming = Incoming(
            settings["input"],
            reading.read,
            look_into=lambda path: open_containers([path], listing),
            keep=frames_to_keep(task, slowest=CADENCES[1] if forecaster.any_cadence else 0.0),
            switch_after=task.context_length,
            timestep=task.timedelta,
            tolerance=tolerance,
        )
        print_line(
            f"watching {settings['input']}, publishing to {output}; SIGTERM or Ctrl-C ends it"
        )
        Watch(
            incoming,
            forecaster,
            output,
            operation,
            clock=clock,
            run=run.name,
            model_sha256=sha256_of(run / WEIGHTS_FILE),
            report=_print_status,
            notice=print_line,
        ).run()
    print_line("stopped")


def _print_status(record: dict) -> None:
    print_line(line(record))


def _check_folders(inputs: Inputs, output: Path) -> None:
    """Refuse inputs that are not there, or that would find the forecasts of the output folder."""
    for pattern in separate_inputs(inputs):
        folder = literal_folder(pattern)
        if _is_within(output.resolve(), folder.resolve(), pattern):
            raise UserError(
                f"the forecasts in {output} would be found as input {pattern!r}; give them a "
                "folder of their own."
            )
        if not folder.is_dir():
            raise UserError(
                f"input is {pattern!r}, but there is no folder {folder}; make it, or mend the "
                "setting."
            )


def _is_within(output: Path, folder: Path, pattern: str) -> bool:
    """Whether files in the output folder would be found by the pattern, whose folder is that before
    its first wildcard.
    """
    if output == folder:
        return True
    if folder not in output.parents:
        return False
    wild = Path(pattern).parts[len(literal_folder(pattern).parts) : -1]
    between = output.relative_to(folder).parts
    return "**" in wild or (len(wild) == len(between) and all(map(fnmatch, between, wild)))


def replay(arguments: list[str]) -> None:
    """Let the watch of operations live through archived frames, with faults on purpose."""
    settings = plain_or_shown("replay", arguments)
    if settings is None:
        return
    every, output = settings["every"], Path(settings["output"])
    if not is_of_type(every, int) or every < 0:
        raise UserError(f"every is {every!r}; expected a whole number, 0 for no faults.")
    page = checked_page(settings["page"])
    point, forecaster = _checked_point(settings), _radar_run(settings)
    operation = replace(replaying.OPERATION, point=point, calibration=settings["calibration"])
    with Archive(settings["input"]) as archive:
        frames = archive.frames(0, len(archive))
    watches: list[Watch] = []
    cycles = replaying.replay(
        frames,
        forecaster,
        output,
        every=every,
        operation=operation,
        on_record=_print_status,
        on_end=watches.append,
    )
    Console().print(replaying.table(cycles))
    if watches[0].calibration is not None:
        Console().print(replaying.calibration_table(watches[0].calibration.online))
    if page is not None:
        opened = open_files(output, reader=CfNetcdf(), last=1, context=frames)
        write_page(opened.content, page, title=opened.title, about=opened.about)
        print_line(f"wrote {page}")
    wrong = [cycle for cycle in cycles if not cycle.as_documented]
    if wrong:
        raise UserError(
            f"{len(wrong)} of {len(cycles)} cycles had another outcome than documented; the "
            f"first: {wrong[0].time} UTC, {', '.join(wrong[0].outcomes) or 'none'}."
        )
    print_line(f"{len(cycles)} cycles, each with a status and the documented outcome")


def serve(arguments: list[str]) -> None:
    """Serve the page of a watch."""
    folders, rest = files_and_settings("serve", arguments, "forecasts")
    settings = plain_or_shown("serve", rest)
    if settings is None:
        return
    if not is_of_type(settings["port"], int) or not is_of_type(settings["host"], str):
        raise UserError(
            f"host is {settings['host']!r} and port is {settings['port']!r}; expected an "
            "address and a number."
        )
    stop = threading.Event()
    server = start_server(folders[0], settings["host"], settings["port"])
    try:
        with stopped_by_signals(stop.set):
            print_line(f"serving {folders[0]} at {server.url}; SIGTERM or Ctrl-C ends it")
            stop.wait()
    finally:
        server.close()


def _radar_run(settings: dict) -> Forecaster:
    """The forecaster of a run that was trained on radar."""
    forecaster = load(run_folder(settings["run"]), settings["precision"])
    if forecaster.task.quantity != "rain_rate":
        raise UserError(
            f"{settings['run']} was trained on {forecaster.task.quantity} (Moving MNIST); expected "
            "a run trained on radar (data=radar), or run=shipped. Of digits, nowcast evaluate "
            f"run={settings['run']} gives scores and pictures; arrays are forecast in Python: "
            "docs/how-to/python.md."
        )
    return forecaster
