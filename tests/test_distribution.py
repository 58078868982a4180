"""The name that nowcast is installed by, and what pyproject.toml says of it."""

import re
import tomllib
from pathlib import Path

import nowcast
from nowcast.runtime.distribution import DISTRIBUTION, install_hint

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SOURCES = [*sorted((ROOT / "nowcast").rglob("*.py")), *sorted((ROOT / "conf").rglob("*.yaml"))]


def test_the_package_is_installed_as_nowcast_radar_and_imported_as_nowcast():
    assert DISTRIBUTION == PROJECT["name"] == "nowcast-radar"
    assert nowcast.__name__ == "nowcast" and PROJECT["scripts"] == {"nowcast": "nowcast.cli:main"}


def test_the_version_stands_in_one_file_which_the_build_reads():
    assert PROJECT["dynamic"] == ["version"] and "version" not in PROJECT
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["version"]
    line = f'__version__ = "{nowcast.__version__}"'
    assert (ROOT / build["path"]).read_text().splitlines().count(line) == 1


def test_the_hint_for_an_extra_is_a_command_for_a_terminal():
    assert install_hint("flow") == "pip install 'nowcast-radar[flow]'"


def test_every_extra_that_the_code_advises_to_install_is_one_of_pyproject():
    advised = set()
    for path in SOURCES:
        advised |= set(re.findall(r"install_hint\([\"'](\w+)[\"']\)", path.read_text()))
    assert {"flow", "export"} <= advised <= set(PROJECT["optional-dependencies"])


def test_no_message_names_the_distribution_by_itself_but_asks_for_the_hint():
    by_itself = re.compile(r"pip install '?nowcast\b|\bnowcast(?:-radar)?\[\w+\]")
    assert [path for path in SOURCES if by_itself.search(path.read_text())] == []
