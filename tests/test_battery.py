"""The battery itself: it counts, it fails when something fails, and what it breaks on purpose is
still there to be broken.
"""

import multiprocessing
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import nowcast
from nowcast.runtime.errors import UserError
from tests.battery import __main__ as battery
from tests.battery import breakages, foreign, learning, missing
from tests.battery.guarantees import GUARANTEES
from tests.battery.stage import Outcome, Stage


def raising(error):
    def call():
        raise error

    return call


def test_an_outcome_counts_cases_and_keeps_the_failures():
    outcome = Outcome()
    outcome.count(True, "a")
    outcome.count(False, "b went wrong")
    outcome.refused(raising(UserError("one line")), "c")
    outcome.refused(raising(UserError("two\nlines")), "d")
    outcome.refused(raising(KeyError("x")), "e")
    outcome.refused(lambda: None, "f")
    assert outcome.cases == 6
    assert outcome.failures == [
        "b went wrong",
        "d: the error has more than one line",
        "e: KeyError: 'x'",
        "f: accepted",
    ]
    outcome.failures += ["g", "h"]
    assert outcome.told().splitlines()[-1] == "  and 1 more"


@pytest.mark.parametrize(
    ("guarantee", "code"),
    [
        (lambda stage: Outcome(3), 0),
        (lambda stage: Outcome(3, ["broken"]), 1),
        (lambda stage: Outcome(0), 1),
        (raising(OSError("no room")), 1),
    ],
)
def test_the_exit_code_is_0_only_where_everything_holds(monkeypatch, capsys, guarantee, code):
    monkeypatch.setattr(battery, "GUARANTEES", {"one": lambda stage: Outcome(1), "two": guarantee})
    assert battery.main([]) == code
    assert ("two: " in capsys.readouterr().out) == bool(code)


def test_one_guarantee_can_be_tried_alone_and_an_unknown_one_not(monkeypatch, capsys):
    tried = []
    monkeypatch.setattr(
        battery,
        "GUARANTEES",
        {
            name: lambda stage, name=name: tried.append((name, stage.fast)) or Outcome(1)
            for name in ("one", "two")
        },
    )
    assert battery.main(["--fast", "--only", "two"]) == 0 and tried == [("two", True)]
    with pytest.raises(SystemExit):
        battery.main(["--only", "three"])
    assert "invalid choice: 'three'" in capsys.readouterr().err


@pytest.mark.parametrize("breakage", breakages.BREAKAGES, ids=lambda breakage: breakage.name)
def test_what_is_broken_on_purpose_is_there_and_has_a_guarantee(breakage):
    text = (Path(nowcast.__file__).parent / breakage.file).read_text()
    assert breakage.old in text and breakage.guarantee in GUARANTEES
    compile(text.replace(breakage.old, breakage.new, 1) + breakage.end, breakage.file, "exec")


def test_a_breakage_that_is_out_of_date_says_so():
    with pytest.raises(
        RuntimeError,
        match="files.py does not contain 'nothing like it' any more; bring the breakage 'x' up to",
    ):
        breakages._holds(
            breakages.Breakage("x", "runtime/files.py", "nothing like it", "", "poison"),
            broken=True,
        )


@pytest.mark.parametrize("target", foreign.TARGETS)
def test_what_a_hostile_model_names_is_there_to_be_named(target):
    """Refusing what does not exist would show nothing."""
    assert callable(pkgutil.resolve_name(target))


def test_the_battery_runs_from_the_root_of_a_checkout_and_is_no_part_of_the_package():
    root = Path(battery.__file__).parents[2]
    command = [sys.executable, "-m", "tests.battery", "--only", "flushed-before-renamed"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "flushed-before-renamed" in done.stdout
    assert not list((root / "nowcast").glob("**/battery*"))


def test_a_process_that_says_nothing_is_not_waited_for_for_ever(monkeypatch):
    monkeypatch.setattr(learning, "_PATIENCE", 0.01)
    here, _there = multiprocessing.Pipe()
    with pytest.raises(RuntimeError, match="a process did not say 'begun' within 0.01 s"):
        learning._heard(here, "begun")


@pytest.mark.parametrize(
    "guarantee",
    [
        learning.full_disk,
        learning.flushed_before_renamed,
        missing.truth_table,
        foreign.hostile_hdf5,
    ],
)
def test_guarantees_hold(tmp_path, guarantee):
    outcome = guarantee(Stage(tmp_path, fast=True))
    assert outcome.cases >= 10 and outcome.failures == []
