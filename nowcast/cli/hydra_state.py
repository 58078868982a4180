"""What Hydra keeps once for the whole process: put aside while nowcast uses it, and put back.

Hydra's state lies in singletons (the initialised application, the configuration of the job, the
version whose defaults it follows, a store of configurations), in the resolvers of OmegaConf, and in
Python's logging. The program around us may be an application of Hydra itself, and call us in
several threads at once.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from hydra import version
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.core.utils import JobRuntime
from omegaconf import DictConfig, OmegaConf

from nowcast.cli.hydra_private import put_resolvers, resolvers
from nowcast.runtime.library_private import log_handlers_kept

VERSION_BASE = "1.3"
"""Whose defaults Hydra follows in our files, whatever the program around us asked for."""

# what Hydra itself keeps in the store of configurations
_OF_HYDRA = ("hydra", "_dummy_empty_config_.yaml")
_lock = threading.RLock()  # the state is one for the whole process
_of_thread = threading.local()


@dataclass(frozen=True)
class _State:
    """Hydra's state in this process at one moment.

    Args:
        holder: of the initialised application, and that application; None: there is none.
        application: see ``holder``.
        job: the configuration of the job that runs; None: none does.
        runtime: what is known of it.
        base: the version whose defaults are followed.
        store: configurations that were stored by Python code.
        resolvers: of references such as ``${now:%H}``.
    """

    holder: GlobalHydra
    application: Any
    job: DictConfig | None
    runtime: DictConfig
    base: version.Version | None
    store: dict
    resolvers: dict | None

    @classmethod
    def now(cls) -> "_State":
        holder = GlobalHydra.instance()
        return cls(
            holder,
            holder.hydra,
            HydraConfig.instance().cfg,
            JobRuntime.instance().conf,
            version.VersionBase.instance().version_base,
            ConfigStore.instance().repo,
            resolvers(),
        )

    def fresh(self) -> "_State":
        """That of a process in which Hydra was not used yet."""
        own = {name: node for name, node in self.store.items() if name in _OF_HYDRA}
        runtime = OmegaConf.create({"name": "UNKNOWN_NAME"})  # as JobRuntime begins
        base = version.Version(VERSION_BASE)
        return _State(self.holder, None, None, runtime, base, own, self.resolvers)

    def put(self) -> None:
        """Make it that of the process."""
        GlobalHydra.set_instance(self.holder)
        self.holder.hydra = self.application
        HydraConfig.instance().cfg = self.job
        JobRuntime.instance().conf = self.runtime
        version.VersionBase.instance().version_base = self.base
        ConfigStore.instance().repo = self.store
        put_resolvers(self.resolvers)

    @property
    def is_of_an_application(self) -> bool:
        """Whether somebody initialised Hydra."""
        return self.application is not None or self.job is not None


@contextmanager
def own_hydra() -> Iterator[None]:
    """A block in which Hydra is ours, as in a fresh process; other threads wait for its end, or for
    ``released``.
    """
    Plugins.instance()  # those that are installed put their configurations into the store
    with _lock:
        before = _State.now()
        outer = getattr(_of_thread, "before", None)
        _of_thread.before = before
        before.fresh().put()
        try:
            with log_handlers_kept():
                yield
        finally:
            _of_thread.before.put()
            _of_thread.before = outer


@contextmanager
def released() -> Iterator[None]:
    """A long block inside of ``own_hydra`` during which other threads can use Hydra.

    A program that is an application of Hydra itself finds its own state; else ours stays, for code
    that asks Hydra where its job writes to. Nothing is done outside of ``own_hydra``.
    """
    before = getattr(_of_thread, "before", None)
    if before is None:
        yield
        return
    ours, is_theirs = _State.now(), before.is_of_an_application
    if is_theirs:
        before.put()
    _lock.release()
    try:
        yield
    finally:
        _lock.acquire()
        if is_theirs:  # they may have changed it meanwhile
            _of_thread.before = _State.now()
        ours.put()


@contextmanager
def version_base() -> Iterator[None]:
    """A block in which Hydra follows the defaults that our files are written for; other threads
    wait for its end.
    """
    with _lock:
        base = version.VersionBase.instance()
        before = base.version_base
        if before != version.Version(VERSION_BASE):
            base.version_base = version.Version(VERSION_BASE)
        try:
            yield
        finally:
            base.version_base = before
