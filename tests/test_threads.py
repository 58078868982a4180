"""Threads that compute wait asleep: in every process of nowcast, before torch is loaded, unless the
user chose.
"""

import os
import subprocess
import sys

import pytest

from nowcast.runtime import threads
from nowcast.runtime.threads import SPIN_COUNT, wait_asleep

CHOICES = ({"GOMP_SPINCOUNT": "0"}, {"GOMP_SPINCOUNT": "30000000"}, {"OMP_WAIT_POLICY": "active"})


@pytest.fixture
def no_torch(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch", raising=False)


def test_a_process_without_torch_will_wait_asleep(no_torch):
    environment = {"OMP_NUM_THREADS": "2"}
    assert wait_asleep(environment)
    assert environment == {"OMP_NUM_THREADS": "2", "GOMP_SPINCOUNT": SPIN_COUNT}


@pytest.mark.parametrize("chosen", CHOICES, ids=str)
def test_what_the_user_chose_stays(no_torch, chosen):
    environment = dict(chosen)
    assert not wait_asleep(environment) and environment == chosen


def test_where_torch_is_loaded_nothing_is_changed_as_it_would_have_no_effect(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", threads)
    environment = {}
    assert not wait_asleep(environment) and environment == {}


PROGRAM = """
import os, sys
import builtins

seen = []
original = builtins.__import__

def watching(name, *arguments, **settings):
    if name == "torch" and "torch" not in sys.modules:
        seen.append(os.environ.get("GOMP_SPINCOUNT"))
    return original(name, *arguments, **settings)

builtins.__import__ = watching
sys.argv = ["nowcast", *sys.argv[1:]]
from nowcast.cli import main
try:
    main()
except SystemExit:
    pass
print(seen[:1], "GOMP_SPINCOUNT" in os.environ)
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["predict", "run=shipped", "input=none.h5", "output=none.nc"],
        ["train", "experiment=smoke", "training.max_epochs=0"],
    ],
    ids=lambda a: a[0],
)
def test_a_command_sets_it_before_torch_is_loaded(arguments, tmp_path):
    environment = {
        name: value for name, value in os.environ.items() if name not in threads.WAITING_VARIABLES
    }
    environment |= {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    called = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert called.stdout.splitlines()[-1:] == [f"['{SPIN_COUNT}'] False"], called.stderr
