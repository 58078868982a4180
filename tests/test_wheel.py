"""The wheel and the source archive: what is in them, and that the wheel works where there is no
checkout.

The environments made here borrow the libraries of the one that the tests run in: nothing is
downloaded. CONTRIBUTING.md has the same with everything from the package index.
"""

import os
import site
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import numpy as np
import pytest

import nowcast
from nowcast.runtime.distribution import DISTRIBUTION
from tests.factories import write_odim

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LARGEST_WHEEL = 7_500_000  # bytes; shipped and zero_shot have 2.5 million each
MADE_HERE = {"__pycache__", "_build", "jupyter_execute"}  # folders that git ignores


def build(source: Path, folder: Path, *options: str) -> None:
    """What `python -m build` makes of a source tree."""
    command = [sys.executable, "-m", "build", "--no-isolation", *options]
    done = subprocess.run(
        [*command, "--outdir", str(folder), str(source)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A folder with the source archive, and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("dist")
    build(ROOT, folder)
    return folder


@pytest.fixture(scope="module")
def wheel(built) -> Path:
    return next(built.glob("*.whl"))


@pytest.fixture(scope="module")
def unpacked(built, tmp_path_factory) -> Path:
    """The folder in the source archive."""
    folder = tmp_path_factory.mktemp("source")
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        archive.extractall(folder)  # it was made here; Python below 3.11.4 has no filters
    (top,) = folder.iterdir()
    return top


def contents(wheel: Path) -> dict[str, int]:
    """File -> checksum of its content."""
    with zipfile.ZipFile(wheel) as archive:
        return {item.filename: item.CRC for item in archive.infolist()}


def in_checkout(*folders: str) -> set[str]:
    """The files of some folders that belong to the project."""
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*")]
    return {
        str(path.relative_to(ROOT))
        for path in paths
        if path.is_file() and not MADE_HERE.intersection(path.parts)
    }


def test_the_wheel_contains_the_package_and_its_configuration_and_nothing_else(wheel):
    expected = in_checkout("nowcast") | {f"nowcast/{name}" for name in in_checkout("conf")}
    about = f"{DISTRIBUTION.replace('-', '_')}-{nowcast.__version__}.dist-info"
    found = {name for name in contents(wheel) if not name.startswith(about)}
    assert found == expected
    assert {"nowcast/py.typed", "nowcast/shipped/model.safetensors", "nowcast/page/page.js"} < found
    assert f"{about}/licenses/LICENSE" in contents(wheel)
    assert wheel.stat().st_size < LARGEST_WHEEL


def test_the_source_archive_has_the_tests_and_documentation_and_builds_the_same_wheel(
    wheel, unpacked, tmp_path
):
    listed = PROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["only-include"]
    always = ["pyproject.toml", "README.md", "LICENSE"]
    for name in [*listed, *always]:
        assert (unpacked / name).exists(), name
    folders = ("conf", "nowcast", "tests", "docs")
    assert {name for name in in_checkout(*folders) if not (unpacked / name).exists()} == set()
    assert [path.name for path in (unpacked / "data").iterdir()] == ["README.md"]
    build(ROOT, tmp_path, "--wheel")
    (from_checkout,) = tmp_path.glob("*.whl")
    assert contents(from_checkout) == contents(wheel)


def test_what_lies_in_a_checkout_by_chance_is_in_no_archive(unpacked, tmp_path):
    for name in ("forecast.nc", "runs/one/config.yaml", ".venv/pyvenv.cfg", "data/radar.h5"):
        (unpacked / name).parent.mkdir(parents=True, exist_ok=True)
        (unpacked / name).write_text("by chance")
    build(unpacked, tmp_path, "--sdist")
    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as archive:
        names = [name.partition("/")[2] for name in archive.getnames()]
    assert "nowcast/__init__.py" in names
    chance = [
        name for name in names if name.startswith(("forecast", "runs", ".venv", "data/radar"))
    ]
    assert chance == []


def test_an_editable_installation_leads_to_the_checkout_and_copies_nothing_of_it(tmp_path):
    program = "import sys, hatchling.build as backend; backend.build_editable(sys.argv[1])"
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], cwd=ROOT, check=True)
    (editable,) = tmp_path.glob("*.whl")
    (path,) = [name for name in contents(editable) if ".dist-info/" not in name]
    with zipfile.ZipFile(editable) as archive:
        assert archive.read(path).decode() == str(ROOT)


def test_the_metadata_is_what_a_package_page_shows(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("/METADATA")]
        about = HeaderParser().parsestr(archive.read(name).decode())
    assert about["Name"] == DISTRIBUTION and about["Version"] == nowcast.__version__
    assert about["License-Expression"] == "MIT" and about.get_all("License-File") == ["LICENSE"]
    assert about["Requires-Python"] == ">=3.11"
    assert about["Description-Content-Type"] == "text/markdown"
    assert "nowcast" in about.get_payload()
    extras = set(about.get_all("Provides-Extra"))
    assert extras == set(PROJECT["project"]["optional-dependencies"])
    needed = [line for line in about.get_all("Requires-Dist") if "extra ==" not in line]
    assert len(needed) == len(PROJECT["project"]["dependencies"])


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The folder of the programs of a new environment that the wheel is installed in."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    programs = folder / "bin"
    pip = [sys.executable, "-m", "pip", "--python", str(programs / "python")]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel)], check=True)
    # Folders added by a .pth file do not have theirs read: an editable nowcast among the borrowed
    # libraries stays where it is.
    (library,) = folder.glob("lib/python*/site-packages")
    (library / "borrowed.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    return programs


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """An empty folder but for half an hour of radar files, where commands are typed."""
    place = tmp_path_factory.mktemp("elsewhere")
    (place / "radar").mkdir()
    column = np.arange(64)
    for minute in range(0, 30, 5):
        rain = np.tile(4 * np.exp(-(((column - 20 - minute) / 8) ** 2)), (64, 1))
        time = f"18{minute:02d}00".encode()
        path = place / "radar" / f"{minute:02d}.h5"
        write_odim(path, rain.astype(np.float32), time=time, endtime=time)
    return place


def typed(programs: Path, folder: Path, program: str, *arguments: str) -> str:
    """What a program of the environment prints."""
    variables = {name: text for name, text in os.environ.items() if not name.startswith("PYTHON")}
    variables["PATH"] = f"{programs}{os.pathsep}{variables['PATH']}"
    done = subprocess.run(
        [str(programs / program), *arguments],
        cwd=folder,
        env=variables,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


PROGRAM = """
import importlib.util
from importlib.metadata import version
from pathlib import Path
import nowcast
from nowcast.cli import config
print(nowcast.__version__, version("nowcast-radar"), importlib.util.find_spec("tests"))
print(nowcast.__file__, config.folder())
forecast = nowcast.load("shipped")(nowcast.read("radar/*.h5"))
print(forecast.values.shape)
forecast.save("api.nc")
"""


def test_the_installed_package_knows_its_version_and_its_own_files(installed, folder):
    version, places, shape = typed(installed, folder, "python", "-c", PROGRAM).splitlines()
    assert version == f"{nowcast.__version__} {nowcast.__version__} None"
    environment = installed.parent.resolve()
    for place in places.split():
        assert environment in Path(place).resolve().parents
    assert shape == "(12, 64, 64)" and (folder / "api.nc").is_file()


def test_commands_of_the_wheel_forecast_outside_the_checkout(installed, folder):
    assert typed(installed, folder, "nowcast", "--version") == f"nowcast {nowcast.__version__}\n"
    told = typed(installed, folder, "python", "-m", "nowcast", "info", "radar")
    assert "files       6, of which 6 can be read" in told
    words = ["input=radar", "output=now.nc", "page=now.html"]
    told = typed(installed, folder, "nowcast", "predict", *words)
    assert "12 fields up to 2018-08-24 19:25 UTC" in told
    assert {"now.nc", "now.png", "now.gif", "now.html"} <= {path.name for path in folder.iterdir()}


def test_the_demonstration_comes_with_the_wheel(installed, folder):
    told = typed(installed, folder, "nowcast", "demo", "output_dir=demo")
    assert "Deutscher Wetterdienst" in told and "persistence" in told
    assert {"demo.html", "demo.png", "forecast.nc"} <= {
        path.name for path in (folder / "demo").iterdir()
    }


def test_the_wheel_trains_on_moving_mnist_and_reports(installed, folder):
    typed(installed, folder, "nowcast", "train", "experiment=smoke", "output_dir=run")
    assert (folder / "run/model.safetensors").is_file()
    assert (folder / "run/evaluation/scores.csv").is_file()
    typed(installed, folder, "nowcast", "report", "run=run", "output=report.html")
    assert "</html>" in (folder / "report.html").read_text()
