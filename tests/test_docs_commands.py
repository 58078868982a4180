"""Commands and Python of the README and of the site's pages, run as they stand there, on small data.

A training gets fewer and smaller steps, an evaluation fewer draws and no processes. What never ends,
or needs several devices, is composed by `--cfg` alone. A command of which nothing is known here
fails. What comes with the site's build (cells of tutorials) is executed there.
"""

import os
import re
import shutil
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from nowcast import cli
from nowcast.cli import main
from nowcast.runtime import plugins
from tests import documentation as docs
from tests import newcomer
from tests.test_plugins import forget, install

FIRST = [  # whose archive and run other pages take up
    "nowcast convert input='radar/*.h5' output=data/knmi.nc",
    "nowcast train experiment=radar_quickstart data.archive=data/knmi.nc "
    "data.validation_from=2010-08-26T04:00 data.test_from=2010-08-26T05:30 output_dir=runs/knmi",
]
FEWER_DRAWS = ["evaluation.workers=0", "evaluation.draws=100", "evaluation.cache=null"]
FEWER_STEPS = ["training.max_epochs=1", "training.workers=0", *FEWER_DRAWS]
FEWER_FRAMES = ["data.samples_per_epoch=2", "data.validation_samples=2"]
SMALLER = {  # by experiment; a setting that the page names stays
    "smoke": [
        "data.train_sequences=4",
        "data.validation_sequences=2",
        "data.test_sequences=2",
        "model.hidden_channels=[2,2]",
    ],
    "radar_quickstart": [
        *FEWER_FRAMES,
        "data.test_stride=9",
        "data.crop=16",
        "model.hidden_channels=[2]",
    ],
    "civil_protection": [
        "data.samples_per_epoch=2",
        "data.validation_samples=8",
        "data.test_stride=9",
        "data.crop=24",
        "model.hidden_channels=[2]",
    ],
    "lagrangian": [
        *FEWER_FRAMES,
        "data.test_samples=2",
        "data.size=32",
        "model.hidden_channels=[2,2,2]",
    ],
    "fine_tuning": [*FEWER_FRAMES, "training.batch_size=2", "data.crop=24", "data.test_stride=9"],
    "lagrangian_mixture": [
        "data.samples_per_epoch=8",
        "data.parts.synthetic.data.size=32",
        "data.parts.synthetic.data.validation_samples=2",
        "data.parts.radar.data.crop=24",
        "data.parts.radar.data.validation_samples=2",
        "data.parts.radar.data.test_stride=99",
        "data.parts.fine.data.crop=24",
    ],
    "fading": [],
}
SMALLER["main job"] = SMALLER["shi2015_moving_mnist"] = SMALLER["smoke"]
TINY_COMPARISON = ["only=[Conv2D-LSTM]", "seeds=[1]", "output_dir=runs/comparison"]
TINY_BENCHMARKS = {  # the others are only composed; each has a test of its own that runs it
    "layer": [
        "what.cases=['2>3 3x3 8x8']",
        "what.length=2",
        "what.batch_size=1",
        "what.seconds=0",
        "output_dir=runs/benchmark",
    ],
    "models": ["what.models=[convlstm_small]", "what.size=8", "output_dir=runs/benchmark"],
}
SHOWS = ["--cfg", "job"]
ENDLESS = ("watch", "serve")  # tests/test_watch.py and tests/test_cli.py run them
GONE = {  # whose commands were those of a day, as the page says
    "docs/explanation/benchmarks.md"
}
RUN = {*docs.SHELLS, "python"}
PAGES = [page for page in docs.pages() if RUN & {block.language for block in docs.blocks(page)}]


def cpu_seconds() -> float:
    """CPU time of this process and of those that have ended."""
    return sum(os.times()[:4])


class Reader:
    """Somebody who types what a page says.

    Args:
        folder: where; the same for all pages, whose commands name their files.
        patch: puts back what a command changed for those that follow.
    """

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch):
        self.folder, self.patch = folder, patch
        self.done, self.commands = set(), set()

    def types(self, line: str) -> None:
        """Run a line, once."""
        if line in self.done:
            return
        begun = cpu_seconds()
        for words in docs.simple_commands(line):
            self._run(words)
        if not line.startswith("pip"):  # what it installs is forgotten at the page's end
            self.done.add(line)
        print(f"{cpu_seconds() - begun:6.1f} s  {line}")  # pytest -rP shows it

    def _run(self, words: list[str]) -> None:
        for beginning, run in COMMANDS.items():
            known = beginning.split()
            if words[: len(known)] == known:
                return run(self, words[len(known) :])
        raise AssertionError(f"what is {' '.join(words)!r}? Say in COMMANDS how it is tested")

    def nowcast(self, words: list[str]) -> None:
        """`nowcast ...`, made small."""
        name, *arguments = words or ["--help"]
        if name in ENDLESS:
            return self.compose([name, *(item for item in arguments if "=" in item)])
        if "--cfg" not in arguments:
            arguments = _made_small(name, arguments, again=name in self.commands)
        self.commands.add(name)
        for item in arguments:
            if name == "train" and item.startswith("output_dir="):  # of another page's training
                shutil.rmtree(self.folder / item.partition("=")[2], ignore_errors=True)
        main([name, *arguments])
        return None

    def compose(self, words: list[str]) -> None:
        """`nowcast ...`, only composed."""
        main([item for item in words if item not in SHOWS] + SHOWS)

    def launch(self, words: list[str]) -> None:
        """A launcher of several processes: what it launches is composed."""
        self.compose(words[words.index("nowcast") + 1 :])

    def pip(self, words: list[str]) -> None:
        """`pip install ...`: its extras are there, and so is what it installs; a plug-in is."""
        project = tomllib.loads(docs.read(docs.ROOT / "pyproject.toml"))["project"]
        for word in words:
            place, _, extras = word.rstrip("]").partition("[")
            assert word.startswith("-") or (docs.ROOT / place / "pyproject.toml").is_file()
            assert {*filter(None, extras.split(","))} <= project["optional-dependencies"].keys()
            if place.endswith("plugin_example"):
                self._install_plugin()

    def _install_plugin(self) -> None:
        place = self.folder / "installed"
        place.mkdir()
        self.patch.syspath_prepend(str(install(place)))
        self.patch.setattr(plugins, "entry_points", entry_points)
        forget()

    def unpack(self, words: list[str]) -> None:
        """What needs a network: the file is among those of `newcomer`."""
        assert (self.folder / words[-1]).is_dir()

    def examples(self, words: list[str]) -> None:
        """`python -m nowcast.data.examples FOLDER`: likewise, smaller."""
        assert (self.folder / words[0]).is_dir()

    def pytest(self, words: list[str]) -> None:
        """`python -m pytest FILES`: the files are there."""
        for word in words:
            assert word in ("-m", "") or list(docs.ROOT.glob(word)), word

    def battery(self, words: list[str]) -> None:
        """`python -m tests.battery`: its options are there."""
        source = docs.read(docs.ROOT / "tests" / "battery" / "__main__.py")
        for word in words:
            assert f'"{word}"' in source, word

    def sphinx(self, words: list[str]) -> None:
        """`sphinx-build docs SITE`: .ci/run builds it."""
        assert (docs.ROOT / words[0] / "conf.py").is_file() and len(words) == 2


COMMANDS = {
    "nowcast": Reader.nowcast,
    "python -m nowcast": Reader.nowcast,
    "python train.py": lambda reader, words: reader.nowcast(["train", *words]),
    "python -m nowcast.data.examples": Reader.examples,
    "python -m zipfile -e": Reader.unpack,
    "python -m tests.battery": Reader.battery,
    "python -m tests.keras_cases": lambda reader, words: None,  # tests/test_keras_parity.py
    "python -m pytest": Reader.pytest,
    "python3 -m venv": lambda reader, words: None,
    "source": lambda reader, words: None,
    "pip download --no-deps": lambda reader, words: None,  # see unpack
    "pip install": Reader.pip,
    "sphinx-build": Reader.sphinx,
    "torchrun": Reader.launch,
    "srun": Reader.launch,
}


def _made_small(name: str, arguments: list[str], *, again: bool) -> list[str]:
    """The same command with settings that take less time.

    Args:
        name: of the command.
        arguments: as typed.
        again: whether a command of that name was run before.
    """
    typed = dict(item.partition("=")[::2] for item in arguments)
    if name == "train" and "training.devices" in typed:  # tests/test_processes.py
        return [*arguments, *SHOWS]
    if name == "compare" and "runs" in typed:  # nothing is trained
        return arguments
    if name in ("compare", "benchmark") and again:
        return [*arguments, *SHOWS]
    if name == "benchmark":
        return [*arguments, *TINY_BENCHMARKS.get(typed.get("what", "layer"), SHOWS)]
    if name == "replay":  # 92 cycles there
        return [item.replace("data/knmi.nc", "archives/knmi2010.nc") for item in arguments]
    smaller = {
        "train": [*FEWER_STEPS, *SMALLER[typed.get("experiment", "main job")]],
        "evaluate": FEWER_DRAWS,
        "compare": [*TINY_COMPARISON, *FEWER_STEPS, *SMALLER["smoke"][:-1]],
        "convert": ["workers=0"],  # tests/test_conversion.py has its processes
        "show": ["open=false"],  # tests/test_show.py has its browser
    }.get(name, [])
    if "resume" in typed and typed["resume"] != "auto":
        return arguments  # it goes on with what the run was
    if "training.max_epochs" in typed:  # what follows on the page may go on with the run
        smaller = [item for item in smaller if not item.startswith("training.max_epochs=")]
    replaced = {item.partition("=")[0] for item in smaller}
    return [item for item in arguments if item.partition("=")[0] not in replaced] + smaller


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """A reader with what the pages' first commands make."""
    folder = tmp_path_factory.mktemp("newcomer")
    newcomer.fill(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        reader = Reader(folder, patch)
        for line in FIRST:
            reader.types(line)
        yield reader


@pytest.fixture
def typing(reader, monkeypatch):
    """The reader at a page, after which plug-ins are forgotten."""
    monkeypatch.chdir(reader.folder)
    reader.patch = monkeypatch
    yield reader
    monkeypatch.undo()
    forget()


@pytest.mark.parametrize("page", PAGES, ids=docs.name_of)
def test_every_command_and_example_of_a_page_runs_as_it_stands(page, typing):
    names = {}
    for block in docs.blocks(page):
        shown = docs.shown_file(block)
        if shown:
            path = typing.folder / shown[0]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(shown[1], encoding="utf-8")
        if block.reason or docs.name_of(page) in GONE:
            continue
        if block.language in docs.SHELLS:
            for line in block.commands():
                typing.types(line)
        if block.language == "python":
            begun = cpu_seconds()
            exec(compile(block.text, docs.name_of(page), "exec"), names)
            print(f"{cpu_seconds() - begun:6.1f} s  {block.text.strip().splitlines()[-1]}")


def composed(page: Path) -> list[str]:
    """The commands in a page's prose that are whole: no capitals, dots or yours stand for something."""
    if docs.name_of(page) in GONE:
        return []
    found = dict.fromkeys(docs.inline_commands(page))
    return [
        line for line in found if not re.search(r"\b[A-Z]{2,}\b|=(?: |$)|\.\.\.|\byours\b", line)
    ]


@pytest.mark.parametrize(
    "page", [page for page in docs.pages() if composed(page)], ids=docs.name_of
)
def test_every_command_in_the_prose_of_a_page_can_be_composed(page, typing):
    for line in composed(page):
        for words in docs.simple_commands(line):
            if words[:2] == ["python", "train.py"]:
                words[:2] = ["nowcast", "train"]
            if words[0] != "nowcast":
                typing.types(line)
            elif len(words) == 2:
                assert words[1] in (*cli._COMMANDS, "--help", "--version")
            elif words[1] != "report":  # which needs its run
                typing.compose(words[1:])
