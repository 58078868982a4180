"""nowcast inside somebody's Hydra application: neither is disturbed, in any thread."""

import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

import hydra
import pytest
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.singleton import Singleton
from omegaconf import OmegaConf

from nowcast.cli import composing, config, run
from nowcast.forecasting.forecaster import Forecaster
from nowcast.runtime.build import build, build_part
from nowcast.runtime.errors import UserError
from nowcast.types.task import Task

COMMANDS = (
    "train",
    "evaluate",
    "predict",
    "watch",
    "convert",
    "compare",
    "benchmark",
    "check",
    "info",
    "replay",
    "serve",
    "report",
)


@pytest.fixture(params=[True, False], ids=["by the loader", "by public functions"])
def way(request, monkeypatch):
    """Both ways to compose: the second is taken where Hydra's loader is another one."""
    monkeypatch.setattr(composing, "_LOADER_IS_KNOWN", request.param and composing._LOADER_IS_KNOWN)
    config._known_keys.cache_clear()


@pytest.fixture
def theirs(tmp_path):
    """Somebody's configurations: files, and a store with names that are ours, too."""
    (tmp_path / "conf" / "data").mkdir(parents=True)
    (tmp_path / "conf" / "train.yaml").write_text(
        "defaults: [data: radar, _self_]\nmine: ${theirs:3}\n"
    )
    (tmp_path / "conf" / "data" / "radar.yaml").write_text("what: theirs\n")
    OmegaConf.register_new_resolver("theirs", lambda value: 2 * value, replace=True)
    store, before = ConfigStore.instance(), ConfigStore.instance().repo.copy()
    store.store(group="task", name="only_theirs", node={"x": 1})
    store.store(name="predict", node={"unknown": 7})
    yield tmp_path / "conf"
    store.repo = before
    OmegaConf.clear_resolver("theirs")


def singletons():
    from hydra import version
    from omegaconf.basecontainer import BaseContainer

    found = {
        kind.__name__: id(value)
        for kind, value in Singleton._instances.items()
        if kind.__name__ in ("GlobalHydra", "JobRuntime", "ConfigStore")
    }
    return (
        found,
        version.VersionBase.instance().version_base,
        GlobalHydra.instance().hydra,
        dict(BaseContainer._resolvers),
    )


@pytest.mark.parametrize("base", ["1.2", "1.3", None])
def test_what_somebody_initialised_is_there_afterwards_and_composes_as_before(way, theirs, base):
    with hydra.initialize_config_dir(str(theirs), version_base=base):
        mine, before = hydra.compose("train"), singletons()
        ours = {name: config.compose(name, []) for name in COMMANDS}
        assert singletons() == before and hydra.compose("train") == mine == {
            "data": {"what": "theirs"},
            "mine": 6,
        }
    assert not GlobalHydra.instance().is_initialized()
    assert ours == {name: config.compose(name, []) for name in COMMANDS}
    assert (
        ours["train"].data._target_ == "nowcast.data.moving_mnist.MovingMnist"
        and "unknown" not in ours["predict"]
    )


def test_a_store_of_somebody_else_gives_no_choices_of_ours(theirs):
    with (
        hydra.initialize_config_dir(str(theirs), version_base="1.3"),
        pytest.raises(UserError, match="Could not find 'task/only_theirs'"),
    ):
        config.compose("train", ["task=only_theirs"])


def test_configurations_are_composed_in_many_threads_at_once(way, theirs):
    typed = [
        ["training.max_epochs=%d" % (index + 1), "data=radar" if index % 2 else "data=moving_mnist"]
        for index in range(12)
    ]
    with hydra.initialize_config_dir(str(theirs), version_base="1.2"):
        before = singletons()
        with ThreadPoolExecutor(6) as pool:
            found = list(pool.map(lambda items: config.compose("train", items), typed))
        assert singletons() == before
    assert [one.training.max_epochs for one in found] == list(range(1, 13))
    assert [one.data._target_.rpartition(".")[2] for one in found] == ["MovingMnist", "Radar"] * 6


def test_parts_are_built_from_the_configuration_that_an_application_gets():
    settings = OmegaConf.create(
        {
            "length": 2,
            "task": {
                "_target_": "nowcast.types.task.Task",
                "context_length": "${length}",
                "forecast_length": 3,
            },
            "transform": {"_target_": "nowcast.types.transform.LogRainRate"},
            "model": {"_target_": "nowcast.baselines.persistence.Persistence"},
        }
    )
    assert build(settings.task) == build_part(settings, "task") == Task(2, 3)
    forecaster = Forecaster.from_settings(settings)
    assert forecaster.task == Task(2, 3) and type(forecaster.settings["task"]) is dict
    with pytest.raises(UserError, match="the settings cannot be read as plain data: .*nothing"):
        build(
            OmegaConf.create(
                {
                    "_target_": "nowcast.types.task.Task",
                    "context_length": "${nothing}",
                    "forecast_length": 3,
                }
            )
        )


APPLICATION = """
    import logging, os, threading
    from dataclasses import dataclass
    import hydra
    from hydra.core.config_store import ConfigStore
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    @dataclass
    class Theirs:
        task: str = "theirs"

    ConfigStore.instance().store(name="train", node=Theirs)
    OmegaConf.register_new_resolver("double", lambda value: 2 * value)

    @hydra.main(version_base="1.2", config_path=None, config_name="train")
    def application(cfg):
        from nowcast.cli import config
        from nowcast.cli import main, run
        from nowcast.runtime.errors import UserError
        from nowcast.forecasting.forecaster import Forecaster

        def state():
            return GlobalHydra.instance().hydra, HydraConfig.get().job.name, os.getcwd(), logging.root.level, list(logging.root.handlers), cfg.task

        before, failed = state(), []

        def work():
            try:
                assert config.compose("train", ["data=radar"]).task.quantity == "rain_rate"
                assert Forecaster.load("shipped").task.context_length == 4
                run(["train", "--cfg", "job"])
                main(["predict", "--cfg"])
                for typed in (["train", "training.max_epochs=0"], ["nothing"], ["predict", "input=none.nc", "output=a.nc"]):
                    try:
                        run(typed)
                    except UserError:
                        continue
                    failed.append(typed)
            except BaseException as error:
                failed.append(repr(error))

        work()
        threads = [threading.Thread(target=work) for _ in range(3)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        assert state() == before, (state(), before)
        assert not failed, failed
        assert OmegaConf.create({"a": "${double:4}"}).a == 8 and hydra.core.hydra_config.HydraConfig.get().job.chdir is True
        print("both are as they were")

    application()
"""


def test_an_application_of_hydra_runs_commands_and_is_as_it_was(tmp_path):
    script = tmp_path / "application.py"
    script.write_text(textwrap.dedent(APPLICATION))
    done = subprocess.run(
        [sys.executable, script, "hydra.job.chdir=True"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0 and "both are as they were" in done.stdout, (
        done.stdout[-2000:] + done.stderr[-3000:]
    )


def test_a_command_in_an_initialised_program_is_refused_for_its_own_mistake_alone(theirs):
    with hydra.initialize_config_dir(str(theirs), version_base="1.3"):
        with pytest.raises(UserError, match="there is no command 'trian'"):
            run(["trian"])
        with pytest.raises(
            UserError, match="there is no setting 'trainin' here; did you mean training"
        ):
            run(["train", "trainin=3"])
