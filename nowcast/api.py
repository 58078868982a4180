"""What a program or a notebook does with nowcast in a line each: read, convert, load, evaluate.

These functions are the ones that ``nowcast`` exports; each stands for the command of its name and
calls the same code. Nothing here knows of Hydra.
"""

import os
import warnings
from collections.abc import Mapping
from os import PathLike
from pathlib import Path

import numpy as np

from nowcast.baselines.persistence import Persistence
from nowcast.data import conversion
from nowcast.data.archive import Archive, is_archive
from nowcast.data.base import Cases, DataSet
from nowcast.data.inputs import Inputs, expand_inputs, read_frames
from nowcast.data.preparation import Preparation
from nowcast.data.radar import Radar
from nowcast.data.reading import ReadingProcess, opened_inputs
from nowcast.data.tolerant import Tolerant
from nowcast.data.unpacking import Unpacking
from nowcast.evaluation.plan import EvaluationPlan
from nowcast.evaluation.results import Results
from nowcast.evaluation.running import evaluate as evaluate_source
from nowcast.evaluation.source import ModelSource
from nowcast.evaluation.statistics.base import Statistic
from nowcast.evaluation.statistics.moving_mnist import MovingMnistScores
from nowcast.evaluation.statistics.rain import RainScores
from nowcast.forecasting.forecaster import Forecaster
from nowcast.models.base import ForecastModel
from nowcast.readers.auto import Auto
from nowcast.readers.base import Reader
from nowcast.runtime.build import as_settings
from nowcast.runtime.errors import UserError, first_line
from nowcast.runtime.files import comes_along
from nowcast.runtime.precision import fastest_device
from nowcast.types.frames import Frames
from nowcast.types.tolerance import DEFAULT, Tolerance
from nowcast.types.transform import Identity

Files = Inputs
"""A file, a folder, a pattern such as ``"radar/*.h5"``, or a list of these."""


def read(
    files: Files,
    *,
    reader: Reader | None = None,
    last: int | None = None,
    tolerance: Tolerance = DEFAULT,
) -> Frames:
    """Radar files, or an archive that ``convert`` made, as frames in time order.

    Radar files are read in a process of their own, which a broken file can end without ending
    yours.

    Args:
        files: an archive, radar files (also packed: .gz, .zip, .tar.gz ...), a folder or a pattern.
        reader: of the files' format, e.g. ``nowcast.readers.odim_hdf5.OdimHdf5()``; None: the one
            that recognises each file. One that is defined in a notebook reads in this process.
        last: only so many of the newest frames.
        tolerance: how far values, grids and times of the files may be off.

    Returns:
        Rain rates [mm/h] (T, H, W), NaN where not observed, with UTC times and their grid.

    Raises:
        UserError: there are no such files, or one cannot be read, or is of another grid.
    """
    if last is not None and not (isinstance(last, int) and last >= 1):
        raise UserError(f"last is {last!r}; expected a whole number of frames from 1, or None.")
    _check_reader(reader)
    paths = expand_inputs(_expanded(files))
    if len(paths) == 1 and is_archive(paths[0]):
        with Archive(paths[0]) as archive:
            first = 0 if last is None else max(0, len(archive) - last)
            return archive.frames(first, len(archive))
    inputs = opened_inputs(paths)
    unpacking = Unpacking(Tolerant(reader or Auto(), tolerance), inputs.refused)
    if type(reader).__module__ == "__main__":  # which another process knows nothing of
        return read_frames(inputs.paths, reader=unpacking, last=last, tolerance=tolerance)
    with ReadingProcess(unpacking) as process:
        return read_frames(inputs.paths, reader=process, last=last, tolerance=tolerance)


def open_archive(path: str | PathLike) -> Archive:
    """An archive that ``convert`` made, whose frames are read when they are asked for.

    Args:
        path: of the archive; close it, or use it in a ``with`` block.

    Raises:
        UserError: it is no archive, or damaged.
    """
    return Archive(Path(path).expanduser())


def convert(
    files: Files,
    output: str | PathLike,
    *,
    reader: Reader | None = None,
    workers: int = 0,
    replace: bool = False,
    tolerance: Tolerance = DEFAULT,
) -> conversion.ArchiveSummary:
    """Write radar files into one archive; an archive that is there gets the frames that are new.

    Args:
        files: radar files of one grid and quantity, in any order, also packed.
        output: the archive, FILE.nc; untouched if anything fails.
        reader: of the files' format; None: the one that recognises each file.
        workers: processes that read; 0: this one, which a broken file can then end.
        replace: start a new archive where there is one.
        tolerance: how far values, grids and times of the files may be off.

    Returns:
        What was written, and which files could not be read.

    Raises:
        UserError: no files, none that can be read, files of another grid or quantity, two different
            frames of one time, or an output that is no archive or was made with other settings.
    """
    _check_reader(reader)
    chosen, archive = reader or Auto(), Path(output).expanduser()
    inputs = expand_inputs(_expanded(files))
    paths = [path for path in inputs if not conversion.is_own(path, archive)]
    if workers and type(chosen).__module__ == "__main__":
        raise UserError(
            f"{type(chosen).__name__} is defined in this program alone, where other processes "
            "cannot read with it; put it into a module, or leave workers at 0."
        )
    prepare = Preparation(as_settings(chosen), tolerance=tolerance)
    return conversion.convert(
        paths, archive, reader=chosen, prepare=prepare, workers=workers, replace=replace
    )


def load(run: str | PathLike = "shipped", *, device: str | None = None) -> Forecaster:
    """A trained model that forecasts: ``load("runs/mine")(frames)``.

    Args:
        run: folder of a run; the word "shipped": the model that comes with nowcast;
            "zero_shot": the weights that it began with, which have seen no radar.
        device: where it computes, e.g. "cpu"; None: a GPU where there is one.

    Returns:
        A ``Forecaster``: called with frames it returns a ``Forecast``. Its ``model``, a
        ``ForecastModel`` on normalised tensors, is in evaluation mode (without dropout); call
        ``model.train()`` to train it, and use ``torch.inference_mode()`` to forecast with it.

    Raises:
        UserError: it is no run folder, or a plug-in that it needs is not installed.
    """
    forecaster = Forecaster.load(run if comes_along(run) else Path(run).expanduser())
    try:
        forecaster.model.to(device or fastest_device())
    except RuntimeError as error:
        raise UserError(f"device {device!r} cannot be used here: {first_line(error)}.") from error
    return forecaster


def _expanded(files: Files) -> Files:
    """With ~ as the home folder."""
    if isinstance(files, (str, PathLike)):
        return os.path.expanduser(files)
    return [os.path.expanduser(item) for item in files]


def _check_reader(reader: Reader | None) -> None:
    """Refuse what is no reader, such as a name or the class itself."""
    if reader is not None and not isinstance(reader, Reader):
        raise UserError(
            f"reader is {reader!r}; expected an object of a class that derives from "
            "nowcast.Reader, such as nowcast.readers.odim_hdf5.OdimHdf5(), or None."
        )


def evaluate(
    model: str | PathLike | Forecaster,
    archive: str | PathLike | DataSet | None = None,
    *,
    baselines: Mapping[str, ForecastModel] | None = None,
    scores: Statistic | None = None,
    test_from: str | np.datetime64 | None = None,
    stride: int = 1,
    plan: EvaluationPlan | None = None,
) -> Results:
    """Scores of a model beside baselines, over the newest part of an archive or the test part of a
    data set.

    Args:
        model: a forecaster, or the folder of a run, or "shipped".
        archive: of radar frames, from ``convert``; or a data set, such as
            ``nowcast.data.moving_mnist.MovingMnist``, whose part "test" is forecast. It must be
            given: a run does not say here what it was trained on, as ``nowcast evaluate`` knows.
        baselines: by name; all get the same frames. None: persistence.
        scores: what is measured, see ``nowcast.evaluation.statistics``; None: ``RainScores()``, of
            grey levels ``MovingMnistScores()``.
        test_from: UTC time from which on an archive is forecast; None: its last fifth.
        stride: every how many windows of an archive a case begins.
        plan: workers, members and how intervals are made; None: in this process, no members.

    Returns:
        Scores by lead time with intervals: ``print`` shows them, ``results.rows("model")`` gives
        them. A warning says of a baseline that could not forecast some cases that persistence
        stands in for it there.

    Raises:
        UserError: there is no case to evaluate, or the model cannot forecast these frames.
    """
    if archive is None:
        raise UserError(
            "evaluate needs what is forecast beside the model: an archive, as in "
            "nowcast.evaluate('shipped', 'data/knmi.nc'), or a data set, such as "
            "MovingMnist(forecaster.task, seed=1) of nowcast.data.moving_mnist; on a run's own "
            "test data: nowcast evaluate run=DIR."
        )
    forecaster = model if isinstance(model, Forecaster) else load(model)
    cases = _test_cases(forecaster, archive, test_from, stride)
    task = forecaster.task
    plan = plan or EvaluationPlan(workers=0, cache=None)
    source = ModelSource(
        {"model": forecaster}, cases, forecast_length=task.forecast_length, members=plan.members
    )
    others = {"persistence": Persistence()} if baselines is None else dict(baselines)
    for name, other in others.items():
        if not isinstance(other, ForecastModel):
            raise UserError(f"the baseline {name} is {other!r}; expected a ForecastModel.")
    if "model" in others:
        raise UserError("a baseline is called 'model', as the model itself; choose another name.")
    made = {name: Forecaster(other, Identity(), task) for name, other in others.items()}
    if scores is None:
        scores = RainScores() if task.quantity == "rain_rate" else MovingMnistScores()
    settings = {"task": as_settings(task), "scores": as_settings(scores)}
    results = evaluate_source(source, made, scores, plan=plan, settings=settings)
    for name, failed in results.facts["failures"].items():
        warnings.warn(
            f"{name} failed in {failed['cases']} cases, and persistence stood in for it; the first "
            f"reason: {failed['reason']}",
            stacklevel=2,
        )
    return results


def _test_cases(
    forecaster: Forecaster,
    data: str | PathLike | DataSet,
    test_from: str | np.datetime64 | None,
    stride: int,
) -> Cases:
    """What is forecast in an evaluation; a forecaster for any cadence takes that of an archive."""
    if isinstance(data, DataSet):
        if test_from is not None or stride != 1:
            raise UserError(
                "test_from and stride choose the windows of an archive, but this is a "
                f"{type(data).__name__}, whose part 'test' says what is forecast; leave them out."
            )
        return data.part("test")
    with open_archive(data) as opened:
        forecaster.follow(opened.times)
    validation_begin = test_begin = None
    if test_from is not None:
        begin = np.datetime64(str(test_from), "s")
        # nothing is trained or validated here: what comes before the test is not looked at
        validation_begin, test_begin = str(begin - np.timedelta64(1, "D")), str(begin)
    radar = Radar(Path(data), forecaster.task, 0, validation_begin, test_begin, test_stride=stride)
    return radar.part("test")
