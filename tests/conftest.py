"""Settings of the whole suite, made before any test is imported, and the browser that pages are
tried in.
"""

import os
import shutil

import pytest

from tests import fast

# Tests run in a process for each core, on small tensors: threads beside them would only wait for
# each other. Processes that tests start follow.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

LACKING = ("pysteps", "cv2")

# Plug-ins that are installed here would add their models and files to those that are tested; the
# tests of plug-ins install one for themselves.
from nowcast.runtime import plugins  # noqa: E402

plugins.entry_points = lambda group: ()


def pytest_addoption(parser):
    parser.addoption(
        "--skipped-to",
        help="write the tests that were skipped because pysteps is not there to a file, a line "
        "each: pytest @FILE runs them where it is",
    )


def pytest_configure(config):
    if config.getoption("--skipped-to") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Skipped(config.getoption("--skipped-to")))


def pytest_ignore_collect(collection_path, config):
    """With -m fast no file is imported that has no fast test: some load Keras or wradlib."""
    if config.option.markexpr.strip() == "fast" and collection_path.name.startswith("test_"):
        return True if collection_path.name not in fast.files() else None
    return None


def pytest_collection_modifyitems(items):
    for item in items:
        if fast.is_fast(item.path.name, item.function.__name__) and not item.get_closest_marker(
            "slow"
        ):
            item.add_marker("fast")


class _Skipped:
    def __init__(self, path):
        self.path, self.tests = path, []

    def pytest_runtest_logreport(self, report):
        if report.skipped and any(name in str(report.longrepr) for name in LACKING):
            self.tests.append(report.nodeid)

    def pytest_sessionfinish(self):
        with open(self.path, "w", encoding="utf-8") as file:
            file.writelines(f"{test}\n" for test in dict.fromkeys(self.tests))


@pytest.fixture
def set_threads():
    """Sets the number of torch's threads, until the test ends."""
    import torch

    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


@pytest.fixture(scope="module")
def browser():
    """The system's Chromium, driven by playwright."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if program is None:
        pytest.skip("there is no Chromium on this machine")
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield running
        running.close()


@pytest.fixture
def numpy_generator():
    """numpy's generator from a seed: settings that a test draws are the same in every run."""
    import numpy as np

    return np.random.default_rng
