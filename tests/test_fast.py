"""The choice of fast tests: every name is one, every folder of the package is looked into, and
nothing that takes long to load is.
"""

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest

from tests import fast

ROOT = Path(__file__).parents[1]
SLOW_TO_LOAD = {
    "compliance_checker",
    "dask",
    "keras",
    "onnx",
    "onnxruntime",
    "optuna",
    "playwright",
    "pysteps",
    "scores",
    "skimage",
    "sphinx",
    "wradlib",
}


@functools.cache
def tree(file: str) -> ast.Module:
    return ast.parse((ROOT / "tests" / file).read_text())


def imported(nodes) -> set[str]:
    """The modules that some statements import, with their packages."""
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("name", sorted(fast.SINGLE | fast.LEFT_OUT))
def test_a_single_test_that_is_named_is_there(name):
    file, _, test = name.partition("::")
    assert test in {node.name for node in tree(file).body if isinstance(node, ast.FunctionDef)}
    assert (file in fast.FILES) == (name in fast.LEFT_OUT)


def test_the_fast_tests_look_into_every_folder_of_the_package():
    folders = {path.parent.name for path in (ROOT / "nowcast").glob("*/__init__.py")}
    looked_into = set()
    for file in fast.files():
        names = imported(ast.walk(tree(file)))
        looked_into |= {name.split(".")[1] for name in names if name.startswith("nowcast.")}
    assert folders - looked_into == set()
    assert len(folders) >= 14  # so that there is something to look into


@pytest.mark.parametrize("file", sorted(fast.files()))
def test_a_file_with_fast_tests_loads_nothing_that_takes_long(file):
    first = {name.split(".")[0] for name in imported(tree(file).body)}
    assert first & SLOW_TO_LOAD == set()


COLLECTED = """
import sys, pytest
code = pytest.main([*sys.argv[1:], "-n", "0", "--collect-only", "-qq"])
print("loaded", *sorted({"keras", "wradlib", "pysteps", "lightning"} & set(sys.modules)))
sys.exit(code)
"""


def test_pytest_m_fast_loads_no_other_file_and_takes_their_choice_of_tests():
    done = subprocess.run(
        [sys.executable, "-c", COLLECTED, "-m", "fast"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout
    lines = done.stdout.splitlines()
    counts = dict(line.split(": ") for line in lines if ".py: " in line)
    assert {name.removeprefix("tests/") for name in counts} == fast.files()
    assert int(counts["tests/test_page.py"]) < 20 and sum(map(int, counts.values())) > 2000
    assert lines[-1].strip() == "loaded"
