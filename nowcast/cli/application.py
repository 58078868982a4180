"""The application of Hydra that trainings are: composed, run and swept as Hydra does it.

What is used here is what Hydra offers to its plug-ins: ``run_job`` and what it returns, launchers
and sweepers, callbacks. Unlike ``hydra.main`` it needs no ``sys.argv``, raises instead of printing,
and returns what the jobs returned.
"""

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, redirect_stderr
from dataclasses import dataclass, field
from typing import Any

from hydra import initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus, run_job
from hydra.plugins.launcher import Launcher
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from nowcast.cli.hydra_private import callbacks_of
from nowcast.cli.hydra_state import VERSION_BASE, own_hydra
from nowcast.cli.places import primary, search_folders

Task = Callable[[DictConfig], float | None]
"""What Hydra runs: it is called with the configuration of a job, and returns its score."""


class FurtherFolders(SearchPathPlugin):
    """Leads Hydra to configuration files in further folders, in our own calls alone."""

    folders: tuple[str, ...] = ()

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Add the folders behind the main one."""
        for folder in FurtherFolders.folders:
            search_path.append("nowcast", f"file://{folder}")


class Returned(JobReturn):
    """What a job returned, or raised; asking for it does not write to the terminal."""

    @property
    def return_value(self):
        """The value; the exception of a job that failed is raised."""
        with redirect_stderr(io.StringIO()):  # Hydra's line with all overrides
            return super().return_value

    @property
    def error(self) -> Exception | None:
        """Why the job failed; None where it did not."""
        if self.status == JobStatus.COMPLETED:
            return None
        try:
            _ = self.return_value
        except Exception as error:
            return error
        return None

    @property
    def folder(self) -> str:
        """Where the job wrote to."""
        return self.hydra_cfg.hydra.runtime.output_dir


@dataclass
class Launches:
    """What the launcher of a multirun is given, and what it returns.

    Args:
        around: a context for each launch, of the launcher, the overrides of its jobs, and the
            number of the first.
        done: of every job so far.
    """

    around: Callable[[Launcher, Sequence[Sequence[str]], int], AbstractContextManager]
    done: list[Returned] = field(default_factory=list)

    @property
    def failed(self) -> bool:
        """Whether a job failed."""
        return any(returned.error is not None for returned in self.done)

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """A block in which the launchers that sweepers ask Hydra for are ``recording``."""
        plugins = Plugins.instance()
        original = plugins.instantiate_launcher

        def recording(*args, **more) -> Launcher:
            return self.recording(original(*args, **more))

        plugins.instantiate_launcher = recording
        try:
            yield
        finally:
            del plugins.instantiate_launcher  # the method of its class is there again

    def recording(self, launcher: Launcher) -> Launcher:
        """The launcher, whose jobs are recorded here."""
        return _Recording(launcher, self)


class _Recording(Launcher):
    def __init__(self, launcher: Launcher, launches: Launches):
        self._launcher, self._launches = launcher, launches

    def setup(self, **arguments) -> None:
        self._launcher.setup(**arguments)

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        with self._launches.around(self._launcher, job_overrides, initial_job_idx):
            done = self._launcher.launch(job_overrides, initial_job_idx=initial_job_idx)
        for returned in done:
            returned.__class__ = Returned
        self._launches.done += done
        return done


@dataclass
class Application:
    """Hydra, initialised for a command.

    Args:
        command: whose configuration is composed.
        loader: Hydra's.
    """

    command: str
    loader: ConfigLoader
    _callbacks: Any = None  # of the job that was begun

    def compose(self, mode: RunMode, overrides: list[str]) -> DictConfig:
        """The configuration with Hydra's own part, for one job or for all of a multirun."""
        config = self.loader.load_configuration(
            config_name=primary(self.command), overrides=overrides, run_mode=mode
        )
        config.hydra.mode = mode
        return config

    def begin(self, config: DictConfig) -> None:
        """Tell the callbacks of hydra.callbacks that a job is to run; they may change its
        configuration.
        """
        self._callbacks = callbacks_of(config)
        self._callbacks.on_run_start(config=config, config_name=primary(self.command))

    def run(self, config: DictConfig, task: Task) -> float | None:
        """Run the job that was begun, in hydra.run.dir; an error of the task is raised."""
        callbacks = self._callbacks
        returned = run_job(
            hydra_context=HydraContext(config_loader=self.loader, callbacks=callbacks),
            task_function=task,
            config=config,
            job_dir_key="hydra.run.dir",
            job_subdir_key=None,
        )
        name = primary(self.command)
        callbacks.on_run_end(config=config, config_name=name, job_return=returned)
        returned.__class__ = Returned
        return returned.return_value

    def sweep(self, config: DictConfig, task: Task, launches: Launches) -> None:
        """Let the sweeper of a configuration make jobs, and its launcher run them."""
        with self._multirun(config) as context:
            with launches.recorded():
                sweeper = Plugins.instance().instantiate_sweeper(
                    config=config, hydra_context=context, task_function=task
                )
            sweeper.sweep(arguments=OmegaConf.to_container(config.hydra.overrides.task))

    def launch(
        self, config: DictConfig, task: Task, launches: Launches, jobs: Sequence[Sequence[str]]
    ) -> None:
        """Let the launcher of a configuration run jobs, each with overrides of its own."""
        with self._multirun(config) as context:
            launcher = Plugins.instance().instantiate_launcher(
                config=config, hydra_context=context, task_function=task
            )
            launches.recording(launcher).launch(jobs, initial_job_idx=0)

    @contextmanager
    def _multirun(self, config: DictConfig) -> Iterator[HydraContext]:
        callbacks, name = callbacks_of(config), primary(self.command)
        callbacks.on_multirun_start(config=config, config_name=name)
        yield HydraContext(config_loader=self.loader, callbacks=callbacks)
        callbacks.on_multirun_end(config=config, config_name=name)


@contextmanager
def application(command: str) -> Iterator[Application]:
    """A block in which Hydra is initialised for a command; the program around finds its own state
    afterwards.
    """
    main, *further = map(str, search_folders())
    with own_hydra():
        Plugins.instance().register(FurtherFolders)
        FurtherFolders.folders = tuple(further)
        try:
            hydra = initialize_config_dir(main, job_name="train", version_base=VERSION_BASE)
        finally:
            FurtherFolders.folders = ()
        with hydra:
            yield Application(command, GlobalHydra.instance().config_loader())


def without_hydra(config: DictConfig) -> DictConfig:
    """A copy of a configuration without Hydra's own part."""
    settings = OmegaConf.to_container(config, resolve=False)
    del settings["hydra"]
    found = OmegaConf.create(settings)
    OmegaConf.set_struct(found, True)
    return found


def with_settings(config: DictConfig, settings: DictConfig) -> DictConfig:
    """Hydra's part of one configuration with all else of another one."""
    with read_write(config), open_dict(config):
        for name in [name for name in config if name != "hydra"]:
            del config[name]
        config.merge_with(OmegaConf.to_container(settings, resolve=False))
    return config
