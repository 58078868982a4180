"""The command line: nowcast train | evaluate | predict | convert | info | check | watch | replay | serve | compare | benchmark. The only code that sees Hydra's configuration."""

import os
import shlex
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

from omegaconf import OmegaConf
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, track

import nowcast
from nowcast import config as configuration
from nowcast.build import fits, part
from nowcast.errors import MissingDependency, UserError, first_line
from nowcast.files import replacing
from nowcast.forecaster import SETTINGS_FILE, WEIGHTS_FILE, Forecaster
from nowcast.io.provenance import sha256_of
from nowcast.memory import keep_freed_memory

USAGE = """usage: nowcast COMMAND [KEY=VALUE ...]

  nowcast train [experiment=NAME]                      train, then evaluate ({experiments})
  nowcast train resume=DIR                             go on with an interrupted run
  nowcast evaluate run=DIR [data=...]                  scores beside the baselines
  nowcast predict run=DIR input=FILES output=FILE.nc   forecast from the newest frames (also FILE.h5: ODIM, FILE.tif)
  nowcast watch run=DIR input=FOLDER output=FOLDER     a forecast for every cycle from what arrives in a folder
  nowcast serve FOLDER [port=8000]                     the page that watch keeps up to date
  nowcast replay run=DIR input=ARCHIVE output=FOLDER   that watch on archived frames, with faults on purpose
  nowcast convert input=FILES output=FILE.nc           radar files into one archive ({readers})
  nowcast info FILE                                    what an archive or a radar file holds
  nowcast check ARCHIVE                                what in an archive asks for a second look
  nowcast compare [only=NAMES] [KEY=VALUE ...]         train models with several seeds, show them side by side
  nowcast benchmark [what=NAME]                        measure on this machine ({whats})

FILES is an archive, a file, a folder or a quoted pattern; NAMES is a list such as '[a,b]'. COMMAND --cfg prints the composed
configuration. Models are {models}.
"""
EXIT_ERROR, EXIT_INTERRUPTED = 2, 130


def main(arguments: list[str] | None = None) -> None:
    """Run one command; a user's mistake is one line on stderr and exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that knows no ≥ still gets its table
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    commands = {"train": train, "evaluate": evaluate, "predict": predict, "convert": convert, "info": info, "check": check, "watch": watch, "replay": replay, "serve": serve, "compare": compare, "benchmark": benchmark}
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
        if name not in commands:
            raise UserError(f"there is no command {name!r}; accepted are {', '.join(commands)}.")
        keep_freed_memory()
        commands[name](arguments)
    except UserError as error:
        sys.stderr.write(f"nowcast {name}: error: {' '.join(str(error).split())}\n")
        sys.exit(EXIT_ERROR)
    except KeyboardInterrupt:
        sys.stderr.write(f"nowcast {name}: interrupted\n")
        sys.exit(EXIT_INTERRUPTED)


def train(arguments: list[str]) -> None:
    """Train a model, keep the best weights, evaluate it on the test part."""
    from nowcast import plotting, training
    from nowcast.benchmark.models import parameters

    config, resume = _training_config(arguments)
    if config is None:
        return
    settings = configuration.plain(config)
    if {"/", "\\"} & set(str(settings["name"])) or settings["name"] in ("", ".", ".."):
        raise UserError(f"name is {settings['name']!r}; a plain name for the folder under runs/ is needed. output_dir takes a path.")
    folder = Path(settings["output_dir"])
    _seed(settings["seed"])
    data, loss, plan = (part(settings, name) for name in ("data", "loss", "training"))
    forecaster = Forecaster.from_settings(settings, precision=plan.precision)
    for name in ("train", "validation", "test"):
        data.part(name)  # too little data is told before training, not after
    _scores_of(settings, forecaster, _baselines(settings, forecaster.task)[0], data, limit=1)  # and so is whatever could not be evaluated
    if hasattr(data, "edges"):
        for name, edge in data.edges().items():
            config.data[name] = edge
    started = any((folder / name).exists() for name in ("checkpoints/last.ckpt", SETTINGS_FILE))
    if training.is_main_process() and not resume and started:
        raise UserError(f"{folder} already holds a run; choose another output_dir, or go on with it: resume={folder}")
    _print(f"nowcast {nowcast.__version__}: {parameters(forecaster.model):,} parameters, run folder {folder}")
    if not resume and training.is_main_process():
        _write_config(config, folder)
    try:
        history = training.fit(forecaster, data, loss=loss, settings=plan, folder=folder, seed=settings["seed"], resume=resume)
    except KeyboardInterrupt:
        _print(f"interrupted; go on with: nowcast train resume={folder}")
        raise
    if not training.is_main_process():
        return
    _write_config(config, folder)
    forecaster.save(folder)
    epochs = list(range(1, len(history.train_loss) + 1))
    plotting.training_curve(epochs, history.train_loss, history.validation_loss, folder / "training.png")
    _report(settings, forecaster, data, folder / "evaluation")
    _list_files(folder)


def evaluate(arguments: list[str]) -> None:
    """Score a trained model beside the baselines."""
    own = [item for item in arguments if item.partition("=")[0].lstrip("+~").split(".")[0] not in ("data", "scores", "baselines")]
    command = configuration.compose("evaluate", [item for item in own if item != "--cfg"])
    run, precision = (configuration.plain(command)[name] for name in ("run", "precision"))
    forecaster = _load(run, precision)
    config = _evaluation_config(configuration.load(run), [item for item in arguments if item not in own])
    config.task = forecaster.settings["task"]  # what the model was made for, whatever became of config.yaml
    if "--cfg" in arguments:
        sys.stdout.write(configuration.text(config))
        return
    settings = configuration.plain(config)
    data = part(settings, "data")
    folder = Path(command.output_dir or Path(run) / "evaluation")
    _report(settings, forecaster, data, folder)
    _list_files(folder)


def predict(arguments: list[str]) -> None:
    """Forecast from the newest frames, or from those before an analysis time."""
    settings = _plain_or_shown("predict", arguments)
    if settings is None:
        return
    from nowcast import prediction
    from nowcast.io.publish import writer_for

    output = Path(settings["output"])
    writer_for(output)
    length, thresholds = settings["forecast_length"], settings["thresholds"]
    if not fits(length, int | None) or not fits(settings["pictures"], bool) or not fits(thresholds, list[float]):
        raise UserError(
            f"forecast_length is {length!r}, pictures is {settings['pictures']!r} and thresholds is {thresholds!r}; a whole number of frames, true or false, "
            "and a list of rain rates, are needed."
        )
    forecaster = _radar_run(settings)

    def read():
        return prediction.newest_frames(settings["input"], context_length=forecaster.task.context_length, reader=lambda: part(settings, "reader"),
                                        output=output, analysis_time=settings["analysis_time"])

    run = Path(settings["run"])
    published = prediction.publish(
        forecaster, read, output, forecast_length=length, run=run.name, model_sha256=sha256_of(run / WEIGHTS_FILE), thresholds=thresholds
    )
    forecast = published.forecast
    last = prediction.utc_text(forecast.valid_times[-1])
    _print(f"analysis time {prediction.utc_text(forecast.analysis_time)}, {len(forecast.lead_times)} fields up to {last}")
    written = f"{published.files[0]}" + (f" to {published.files[-1].name}" if len(published.files) > 1 else "")
    _print(f"wrote {written} ({', '.join(f'{name} {seconds:.2f} s' for name, seconds in published.seconds.items())})")
    if settings["pictures"]:  # the forecast comes first: it lies on the disk by now
        from nowcast import plotting

        for draw, suffix in ((plotting.forecast_strip, ".png"), (plotting.forecast_animation, ".gif")):
            draw(published.context, forecast, output.with_suffix(suffix))
            _print(f"wrote {output.with_suffix(suffix)}")


def watch(arguments: list[str]) -> None:
    """Forecast from whatever arrives in a folder, until told to stop."""
    settings = _plain_or_shown("watch", arguments)
    if settings is None:
        return
    from nowcast.data.reading import ReadingProcess
    from nowcast.operations.clock import Clock
    from nowcast.operations.decision import frames_to_keep
    from nowcast.operations.incoming import Incoming
    from nowcast.operations.watch import Watch, line

    if not fits(settings["reading_seconds"], float) or settings["reading_seconds"] <= 0:
        raise UserError(f"reading_seconds is {settings['reading_seconds']!r}; a number of seconds above 0 is needed.")
    operation, run, output, clock = part(settings, "operation"), Path(settings["run"]), Path(settings["output"]), Clock()
    if Path(settings["input"]).resolve() == output.resolve():
        raise UserError(f"input and output are both {output}; a folder of their own is needed for the forecasts.")
    forecaster = _radar_run(settings)
    task = forecaster.task
    _stop_on_signals(clock.stop)
    with ReadingProcess(part(settings, "reader"), seconds=settings["reading_seconds"]) as reader:
        incoming = Incoming(settings["input"], reader.read, keep=frames_to_keep(task), switch_after=task.context_length, timestep=task.timedelta)
        _print(f"watching {settings['input']}, publishing to {output}; SIGTERM or Ctrl-C ends it")
        Watch(
            incoming, forecaster, output, operation, clock=clock, run=run.name, model_sha256=sha256_of(run / WEIGHTS_FILE), report=lambda record: _print(line(record))
        ).run()
    _print("stopped")


def replay(arguments: list[str]) -> None:
    """Let the watch of operations live through archived frames, with faults on purpose."""
    settings = _plain_or_shown("replay", arguments)
    if settings is None:
        return
    from nowcast.data.archive import Archive
    from nowcast.operations import replay as replaying
    from nowcast.operations.watch import line

    every = settings["every"]
    if not fits(every, int) or every < 0:
        raise UserError(f"every is {every!r}; a whole number is needed, 0 for no faults.")
    forecaster = _radar_run(settings)
    with Archive(settings["input"]) as archive:
        frames = archive.frames(0, len(archive))
    cycles = replaying.replay(frames, forecaster, Path(settings["output"]), every=every, on_record=lambda record: _print(line(record)))
    Console().print(replaying.table(cycles))
    wrong = [cycle for cycle in cycles if not cycle.as_documented]
    if wrong:
        raise UserError(f"{len(wrong)} of {len(cycles)} cycles had another outcome than documented; the first: {wrong[0].time} UTC, {', '.join(wrong[0].outcomes) or 'none'}.")
    _print(f"{len(cycles)} cycles, each with a status and the documented outcome")


def serve(arguments: list[str]) -> None:
    """Serve the page of a watch."""
    import threading

    from nowcast.page.server import serve as start

    folders, rest = _files_and_settings("serve", arguments, "forecasts")
    settings = _plain_or_shown("serve", rest)
    if settings is None:
        return
    if not fits(settings["port"], int) or not fits(settings["host"], str):
        raise UserError(f"host is {settings['host']!r} and port is {settings['port']!r}; an address and a number are needed.")
    stop = threading.Event()
    server = start(folders[0], settings["host"], settings["port"])
    _stop_on_signals(stop.set)
    _print(f"serving {folders[0]} at {server.url}; SIGTERM or Ctrl-C ends it")
    stop.wait()
    server.close()


def _stop_on_signals(stop) -> None:
    """SIGTERM and Ctrl-C end a service when what it does is done; the second one at once."""
    def handle(number, frame):
        signal.signal(number, lambda *_: os._exit(128 + number))
        stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)


def _radar_run(settings: dict) -> Forecaster:
    """The forecaster of a run that was trained on radar."""
    forecaster = _load(settings["run"], settings["precision"])
    if forecaster.task.quantity != "rain_rate":
        raise UserError(f"{settings['run']} was trained on {forecaster.task.quantity} (Moving MNIST); a run trained on radar is needed.")
    return forecaster


def convert(arguments: list[str]) -> None:
    """Turn radar files into one archive, or add them to it."""
    from nowcast.data import conversion
    from nowcast.data.inputs import expand_inputs
    from nowcast.data.inspection import info as described

    settings = _plain_or_shown("convert", arguments)
    if settings is None:
        return
    output = _netcdf_path(settings["output"])
    for name, hint in (("clip", float | None), ("workers", int | None), ("strict", bool), ("replace", bool)):
        if not fits(settings[name], hint):
            raise UserError(f"{name} is {settings[name]!r}; see conf/convert.yaml for what is accepted.")
    paths = [path for path in expand_inputs(settings["input"]) if not conversion.is_own(path, output)]
    prepare = conversion.Preparation(settings["reader"], settings["clip"], part(settings, "regrid"))
    workers = (os.cpu_count() or 1) if settings["workers"] is None else settings["workers"]
    with Progress(*Progress.get_default_columns(), MofNCompleteColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("reading", total=len(paths))
        summary = conversion.convert(
            paths, output, reader=part(settings, "reader"), prepare=prepare, workers=min(workers, len(paths)), strict=settings["strict"],
            replace=settings["replace"], progress=lambda done, total: bar.update(task, completed=done),
        )
    _print(f"{'wrote' if summary.added else 'nothing new for'} {summary}\n{described(output)}")
    if summary.quarantine:
        path, reason = summary.quarantine[0]
        count = len(summary.quarantine)
        sys.stderr.write(f"nowcast convert: {count} of {len(paths)} files could not be read and are listed in {summary.report}; the first: {reason}\n")


def info(arguments: list[str]) -> None:
    """Say what an archive or a radar file holds."""
    from nowcast.data import inspection
    from nowcast.data.archive import is_archive

    files, rest = _files_and_settings("info", arguments, "data/knmi.nc")
    settings = _plain_or_shown("info", rest)
    if settings is None:
        return
    path = files[0]
    if is_archive(path):
        _print(inspection.info(path))
        return
    reader = part(settings, "reader")
    reader = reader.choose(path) if hasattr(reader, "choose") else reader
    _print(inspection.info_of_frames(reader.read(path), reader.format))


def check(arguments: list[str]) -> None:
    """Say what in an archive asks for a second look."""
    from nowcast.data import inspection
    from nowcast.data.archive import Archive
    from nowcast.task import Task

    files, rest = _files_and_settings("check", arguments, "data/knmi.nc")
    settings = _plain_or_shown("check", rest)
    if settings is None:
        return
    with Archive(files[0]) as archive:
        timestep = settings["timestep"] or inspection.common_minutes(archive.times)
    task = Task(settings["context_length"], settings["forecast_length"], timestep)
    _print(inspection.check(files[0], task, validation_from=settings["validation_from"], test_from=settings["test_from"]))


def _files_and_settings(command: str, arguments: list[str], example: str) -> tuple[list[Path], list[str]]:
    """The one file that is typed as it is, and the KEY=VALUE settings."""
    files = [item for item in arguments if item != "--cfg" and (Path(item).exists() or "=" not in item)]
    if len(files) != 1 and "--cfg" not in arguments:
        raise UserError(f"{command} takes one file, e.g. nowcast {command} {example}; {len(files)} came.")
    return [Path(item) for item in files], [item for item in arguments if item not in files]


def compare(arguments: list[str]) -> None:
    """Train several models with several seeds, and show them side by side."""
    from nowcast import comparison

    known = set(configuration.compose("compare", []))
    own = [item for item in arguments if comparison.key(item).split(".")[0] in known]
    typed = [item for item in arguments if item not in own and item != "--cfg"]
    config = configuration.compose("compare", own)
    settings = configuration.plain(config)
    overrides = comparison.plan(settings, typed)
    config.common = [configuration.literal(item) for item in (*settings["common"], *typed)]
    if "--cfg" in arguments:
        sys.stdout.write(configuration.text(config))
        return
    folder = Path(settings["output_dir"] or _new_folder("comparison"))
    runs = _runs_of(overrides, settings["seeds"], folder)
    notes = comparison.differences({run.model: run.settings for run in runs[: len(overrides)]})
    comparison.refuse_others(runs, lambda path: configuration.plain(configuration.load(path)))
    _write_config(config, folder, name="comparison.yaml")
    unfinished = [run for run in runs if comparison.step_to_finish(run)]
    _print(f"nowcast {nowcast.__version__}: {len(runs)} trainings, {len(runs) - len(unfinished)} of them finished, in {folder}")
    count = settings["parallel"]
    try:
        failed = _one_by_one(unfinished) if count == 1 else comparison.in_parallel(unfinished, count=count, report=_print)
    except KeyboardInterrupt:
        again = [item for item in arguments if not item.startswith("output_dir=")]
        _print(f"interrupted; go on with: {shlex.join(['nowcast', 'compare', *again, f'output_dir={folder}'])}")
        raise
    lead_minutes = part(runs[0].settings, "task").lead_minutes
    results = comparison.results(runs, parameters=_parameters, lead_minutes=lead_minutes)
    if results:
        comparison.write_csv(results, folder / "comparison.csv", lead_minutes=lead_minutes)
        calls = [f"{model}: {shlex.join(items)}" for model, items in overrides.items()]
        _write_and_print(comparison.table(results, first=runs[0].model), [comparison.MEANING, *calls, *notes], folder / "comparison.txt")
        _print(f"in {folder}\n  comparison.txt, comparison.csv (every score by lead time), comparison.yaml, and a run folder for each model and seed")
    if failed:
        raise UserError(f"{len(failed)} of {len(runs)} trainings failed: {'; '.join(failed)}")


def benchmark(arguments: list[str]) -> None:
    """Measure what nowcast, or a part of it, costs on this machine."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # torch's profiler reads it when it is loaded, and else writes of a GPU that it does not find
    settings = _plain_or_shown("benchmark", arguments)
    if settings is None:
        return
    from nowcast.benchmark.measuring import Host, Report, write

    measured = part(settings, "what")
    path = Path(settings["output_dir"] or _new_folder("benchmark")) / "benchmark.json"
    write(path, settings, Report([], []))  # a folder that cannot be written to is told before, not after
    host = Host(lambda overrides: configuration.plain(configuration.compose("train", overrides)), configuration.choices, _track("measuring"))
    report = measured.run(host)
    for table in report.tables:
        Console().print(table)
    for sentence in (*(f"{name} could not be measured: {reason}" for name, reason in report.failed.items()), *report.sentences):
        _print(sentence)
    write(path, settings, report)
    _print(f"wrote {path}")


def _training_config(arguments: list[str]):
    """The configuration to train with (None: it was only to be shown), and whether an old run goes on."""
    resumed = [item.partition("=")[2] for item in arguments if item.startswith("resume=")]
    if "" in resumed:
        raise UserError("resume is empty; give the run folder to go on with.")
    rest = [item for item in arguments if not item.startswith("resume=") and item != "--cfg"]
    if resumed:
        other = [item for item in rest if not item.startswith("training.")]
        if other:
            raise UserError(f"{other[0]!r} would make another experiment of a run that goes on; only training.* can be changed.")
        config = configuration.load(resumed[-1])
        configuration.override(config, rest)
        config.output_dir = configuration.literal(str(Path(resumed[-1]).absolute()))
    else:
        config = configuration.compose("train", rest)
    if "--cfg" in arguments:
        sys.stdout.write(configuration.text(config))
        return None, False
    if config.output_dir is None:
        config.output_dir = configuration.literal(str(_new_folder(config.name)))
    return config, bool(resumed)


def _new_folder(kind: str) -> Path:
    """runs/KIND/TIME; the processes of a distributed run start a little later, but share the folder."""
    if "LOCAL_RANK" not in os.environ or "NOWCAST_STARTED" not in os.environ:
        os.environ["NOWCAST_STARTED"] = datetime.now(UTC).strftime("%Y-%m-%d_%H-%M-%S")
    return Path("runs").absolute() / kind / os.environ["NOWCAST_STARTED"]


def _runs_of(overrides: dict[str, list[str]], seeds: list[int], folder: Path) -> list:
    """The trainings of a comparison; every model comes with the first seed before any comes with the second."""
    from nowcast.comparison import Run

    composed = {model: configuration.compose("train", items) for model, items in overrides.items()}
    runs = []
    for seed in seeds:
        for model, config in composed.items():
            config.seed = seed
            place = folder / model / f"seed-{seed}"
            runs.append(Run(model, seed, place, [*overrides[model], f"seed={seed}"], configuration.plain(config)))
    return runs


def _one_by_one(runs: list) -> list[str]:
    """Finish the runs of a comparison in this process; a sentence for each that failed."""
    from nowcast.comparison import step_to_finish

    failed = []
    for run in runs:
        command, *arguments = step_to_finish(run)
        _print(f"{run}: nowcast {shlex.join([command, *arguments])}")
        try:
            {"train": train, "evaluate": evaluate}[command](arguments)
        except Exception as error:  # whatever a model or the machine refuses does not keep the other models from it
            failed.append(f"{run}: {first_line(error)}")
    return failed


def _parameters(settings: dict) -> int:
    """Number of trained weights of the model of a configuration."""
    import torch

    from nowcast.benchmark.models import parameters

    with torch.device("meta"):
        return parameters(part(settings, "model"))


def _write_and_print(table, sentences: list[str], path: Path) -> None:
    """A table and what is to be said of it, on the terminal and as a file."""
    Console().print(table)
    for sentence in sentences:
        _print(sentence)
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        Console(file=file, width=160).print(table)
        file.writelines(f"{sentence}\n" for sentence in sentences)


def _evaluation_config(stored, overrides: list[str]):
    """A run's configuration, with other data where asked for."""
    if any(item.startswith("data=") for item in overrides):
        fresh = configuration.compose("train", overrides)
        for edge in ("validation_from", "test_from"):  # other data are cut where the run's were, unless told otherwise
            if edge in fresh.data and edge in stored.data and fresh.data[edge] is None:
                fresh.data[edge] = stored.data[edge]
        for name in ("data", "scores", "baselines"):
            OmegaConf.update(stored, name, fresh[name], merge=False, force_add=True)
        return stored
    configuration.override(stored, overrides)
    return stored


def _report(settings: dict, forecaster: Forecaster, data, folder: Path) -> None:
    """Scores of a forecaster and its baselines as files in a folder, and as tables on the terminal."""
    from nowcast import plotting
    from nowcast.verification.table import text_tables, write_csv

    task = forecaster.task
    baselines, left_out = _baselines(settings, task)
    for sentence in left_out:
        _print(sentence)
    cases = data.part("test")
    forecasters, sums = _scores_of(settings, forecaster, baselines, data, progress=_track("evaluating"))
    rows = {name: total.rows() for name, total in sums.items()}
    write_csv(rows, folder / "scores.csv", lead_minutes=task.lead_minutes)
    plotting.score_curves(rows, folder / "scores.png", lead_minutes=task.lead_minutes)
    _draw_case(forecasters, cases, len(cases) // 2, task, folder / "forecast.png")
    tables = text_tables(rows, lead_minutes=task.lead_minutes)
    Console().print(*tables, sep="\n")
    _print(f"{len(cases)} test cases; every score over the pixels that were observed and that all of the models above forecast.")
    with replacing(folder / "scores.txt") as path:
        with path.open("w", encoding="utf-8") as file:
            Console(file=file, width=120).print(*tables, sep="\n")


def _scores_of(settings: dict, forecaster: Forecaster, baselines: dict[str, Forecaster], data, **options) -> tuple[dict[str, Forecaster], dict]:
    """Forecasters and their sums by name, over the test part."""
    from nowcast import evaluation

    scores = part(settings, "scores")
    if scores.quantity != forecaster.task.quantity:
        raise UserError(f"scores judges {scores.quantity}, but the task forecasts {forecaster.task.quantity}; leave scores to data=.")
    forecasters = {"nowcast": forecaster, **baselines}
    length = forecaster.task.forecast_length
    return forecasters, evaluation.evaluate(forecasters, data.part("test"), scores, forecast_length=length, **options)


def _baselines(settings: dict, task) -> tuple[dict[str, Forecaster], list[str]]:
    """Baselines by name, and a sentence for each that cannot run here. They work on physical values."""
    from nowcast.transform import Identity

    nodes, found, left_out = settings.get("baselines") or {}, {}, []
    if not isinstance(nodes, dict) or {"_target_", "nowcast"} & set(nodes):
        raise UserError(f"baselines is {nodes!r}, but models with names other than nowcast are needed, as in conf/data/radar.yaml.")
    for name in nodes:
        try:
            found[name] = Forecaster(part(nodes, name, kind="model"), Identity(), task)
        except MissingDependency as error:
            left_out.append(f"{name} is left out: {error}")
    return found, left_out


def _draw_case(forecasters: dict[str, Forecaster], cases, index: int, task, path: Path) -> None:
    """Picture of one case: context, observation and every forecast."""
    from nowcast import evaluation, plotting
    from nowcast.prediction import utc_text
    from nowcast.verification.table import lead_label

    values = cases.case(0, index)
    forecasts, observation = evaluation.forecasts_of(forecasters, values[None], task.forecast_length)
    rows = {"context": values[: task.context_length], "observation": observation[0]}
    rows |= {name: forecast[0] for name, forecast in forecasts.items()}
    future = [lead_label(step, task.lead_minutes) for step in range(1, task.forecast_length + 1)]
    labels = dict.fromkeys(rows, future)
    labels["context"] = [lead_label(step, task.lead_minutes) for step in range(1 - task.context_length, 1)]
    grey = task.quantity == "grey_level"
    title = f"Moving MNIST, test sequence {index}" if grey else f"Rain rate, analysis time {utc_text(cases.analysis_time(index))}"
    plotting.sequence_picture(rows, path, column_labels=labels, kind="grey" if grey else "rain", title=title)


def _plain_or_shown(name: str, arguments: list[str]) -> dict | None:
    config = configuration.compose(name, [item for item in arguments if item != "--cfg"])
    if "--cfg" in arguments:
        sys.stdout.write(configuration.text(config))
        return None
    return configuration.plain(config)


def _netcdf_path(output: str) -> Path:
    path = Path(output)
    if path.suffix != ".nc":
        raise UserError(f"output is {output!r}; a file name that ends in .nc is needed.")
    return path


def _seed(seed) -> None:
    import torch

    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**63:
        raise UserError(f"seed is {seed!r}; a whole number, 0 or more and below 2^63, is needed.")
    torch.manual_seed(seed)


def _write_config(config, folder: Path, *, name: str = "config.yaml") -> None:
    with replacing(folder / name) as path:
        path.write_text(configuration.text(config), encoding="utf-8")


def _load(run: str, precision: str | None) -> Forecaster:
    """A run's forecaster, on the GPU where there is one."""
    import torch

    forecaster = Forecaster.load(run, precision=precision)
    if torch.cuda.is_available():
        forecaster.model.cuda()
    return forecaster


def _track(description: str):
    return lambda items: track(items, description=description, console=Console(stderr=True), transient=True)


def _print(text: str) -> None:
    Console(soft_wrap=True, markup=False, highlight=False).print(text)


def _list_files(folder: Path) -> None:
    """What lies in a run or evaluation folder, and what it is for."""
    about = {
        "config.yaml": "the whole configuration",
        SETTINGS_FILE: f"with {WEIGHTS_FILE} all that `nowcast predict` and `nowcast evaluate` need",
        "training.png": "training and validation loss by epoch",
        "logs": "the same for TensorBoard and as CSV",
        "checkpoints": "to go on training: nowcast train resume=...",
        "scores.csv": "every score by lead time",
        "scores.txt": "the tables above",
        "scores.png": "curves by lead time",
        "forecast.png": "one case: context, observation, forecasts",
    }
    _print(f"in {folder}")
    found = {path.name: path.relative_to(folder) for path in (*folder.glob("*"), *folder.glob("evaluation/*"))}
    for name, meaning in about.items():
        if name in found:
            _print(f"  {str(found[name]):26} {meaning}")
