import os
import stat

import pytest

from nowcast.runtime.build import build, build_part, is_of_type, resolve
from nowcast.runtime.files import replacing
from nowcast.types.task import Task
from nowcast.types.transform import LogRainRate

TASK = {"_target_": "nowcast.types.task.Task", "context_length": 4, "forecast_length": 12}


def test_nested_settings_become_nested_objects():
    built = build(
        {
            "task": TASK,
            "list": [{"_target_": "nowcast.types.transform.LogRainRate", "knee": 1.0}],
            "number": 3,
        }
    )
    assert built == {"task": Task(4, 12), "list": [LogRainRate(knee=1.0)], "number": 3}


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "builtins.eval",
        "nowcast.runtime.files.replacing",
        "nowcast.cli.main",
        "nowcast",
        "",
        7,
        "nowcast.data._private",
        "nowcast.models..os.system",
    ],
)
def test_a_target_outside_the_parts_of_nowcast_is_refused(target):
    with pytest.raises(ValueError, match="is not a part of nowcast|has no nowcast"):
        resolve(target, "model")


@pytest.mark.parametrize(
    "target",
    [
        "nowcast.data.sampling.DataLoader",
        "nowcast.baselines.extrapolation.np",
        "nowcast.baselines.extrapolation.DRY",
        "nowcast.data.conversion.convert",
        "nowcast.evaluation.statistics.sums.with_overall",
    ],
)
def test_a_name_that_a_module_only_imports_or_holds_is_refused(target):
    with pytest.raises(ValueError, match="is not a class defined there"):
        resolve(target, "model")


def test_a_contract_is_not_built_itself():
    with pytest.raises(ValueError, match="Transform is a contract; expected a class that keeps it"):
        resolve("nowcast.types.transform.Transform", "transform")


def test_an_unknown_target_of_an_allowed_module_is_refused():
    with pytest.raises(
        ValueError, match="this version of nowcast has no nowcast.models.nonsense.Net"
    ):
        resolve("nowcast.models.nonsense.Net", "model")


def test_a_misspelled_setting_is_refused_with_the_accepted_ones():
    with pytest.raises(
        ValueError,
        match="task has no setting 'contxt_length'; did you mean context_length .* Task takes "
        "context_length, forecast_length, timestep",
    ):
        build({**TASK, "contxt_length": 3}, "task")


def test_a_missing_setting_is_named():
    with pytest.raises(
        ValueError,
        match="task needs 'forecast_length' .for Task.; set it, e.g. task.forecast_length",
    ):
        build({"_target_": "nowcast.types.task.Task", "context_length": 4}, "task")


@pytest.mark.parametrize(
    ("value", "hint", "expected"),
    [
        (3, int, True),
        (3.0, int, False),
        (True, int, False),
        (3, float, True),
        (float("nan"), float, False),
        (float("inf"), float, False),
        ("3", float, False),
        (None, int | None, True),
        ("a", int | None, False),
        ([1, 2], list[int], True),
        ([1, "a"], list[int], False),
        (3, list[int], False),
        ("a", str, True),
        (False, bool, True),
        (1, bool, False),
    ],
)
def test_a_value_fits_its_annotation_or_not(value, hint, expected):
    assert is_of_type(value, hint) is expected


def test_a_value_of_a_wrong_type_is_told_with_its_place():
    with pytest.raises(ValueError, match="model.hidden_channels is 3, but list.int. is needed"):
        build(
            {
                "_target_": "nowcast.models.encoder_forecaster.EncoderForecaster",
                "hidden_channels": 3,
            },
            "model",
        )


@pytest.mark.parametrize("node", [None, 3, {}, {"context_length": 3}])
def test_a_part_that_names_no_class_is_refused(node):
    with pytest.raises(
        ValueError, match="but settings with a _target_ are needed, as in the files in conf/task/"
    ):
        build_part({"task": node}, "task")


def test_a_class_of_another_part_is_refused():
    with pytest.raises(
        ValueError,
        match="model: _target_ 'nowcast.data.archive.Archive' is not a part of nowcast, nor of an "
        "installed plug-in .*nowcast.models, nowcast.baselines, where a model comes from",
    ):
        build_part({"model": {"_target_": "nowcast.data.archive.Archive", "path": "/x"}}, "model")


def test_a_file_appears_whole_under_its_name_with_ordinary_permissions(tmp_path):
    path = tmp_path / "new folder, with = [signs]" / "naïve.txt"
    with replacing(path) as temporary:
        temporary.write_text("all of it")
        assert not path.exists() and temporary.parent == path.parent
    assert path.read_text() == "all of it"
    assert os.listdir(path.parent) == ["naïve.txt"]
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask


def test_an_error_while_writing_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="half way"), replacing(path) as temporary:
        temporary.write_text("new, half")
        raise RuntimeError("half way")
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


def test_a_folder_is_not_a_file_to_write(tmp_path):
    with (
        pytest.raises(ValueError, match="is a folder; give the path of a file"),
        replacing(tmp_path),
    ):
        pass


def test_a_place_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(ValueError, match="cannot be written"),
        replacing(tmp_path / "file" / "below.txt"),
    ):
        pass


def test_a_full_disk_is_one_clear_error_and_the_old_file_stays(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with (
        pytest.raises(ValueError, match="could not be written: No space left on device"),
        replacing(path),
    ):
        raise OSError(28, "No space left on device")
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]
