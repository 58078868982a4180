"""What Hydra keeps once for the whole process: put aside while nowcast uses it, and put back.

Hydra's state lies in singletons (the initialised application, the configuration of the job, the
version whose defaults it follows, a store of configurations), in the resolvers of OmegaConf, and in
Python's logging. The program around us may be an application of Hydra itself, and call us in
several threads at once.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from hydra import version
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from hydra.core.utils import JobRuntime
from omegaconf.basecontainer import BaseContainer

VERSION_BASE = "1.3"
"""Whose defaults Hydra follows in our files, whatever the program around us asked for."""

# what Hydra itself keeps in the store of configurations
_OF_HYDRA = ("hydra", "_dummy_empty_config_.yaml")
_KINDS = (GlobalHydra, HydraConfig, JobRuntime)
_lock = threading.RLock()  # the state is one for the whole process
_of_thread = threading.local()


@dataclass(frozen=True)
class _State:
    """Hydra's state in this process at one moment.

    Args:
        singletons: by class; those that are not there were not made.
        base: the version whose defaults are followed.
        store: configurations that were stored by Python code.
        resolvers: of references such as ``${now:%H}``.
    """

    singletons: dict
    base: version.Version | None
    store: dict
    resolvers: dict

    @classmethod
    def now(cls) -> "_State":
        singletons = {
            kind: Singleton._instances[kind] for kind in _KINDS if kind in Singleton._instances
        }
        base, store = version.VersionBase.instance().version_base, ConfigStore.instance().repo
        return cls(singletons, base, store, dict(BaseContainer._resolvers))

    def put(self) -> None:
        for kind in _KINDS:
            Singleton._instances.pop(kind, None)
        Singleton._instances.update(self.singletons)
        version.VersionBase.instance().version_base = self.base
        ConfigStore.instance().repo = self.store
        BaseContainer._resolvers.clear()
        BaseContainer._resolvers.update(self.resolvers)

    @property
    def is_of_an_application(self) -> bool:
        """Whether somebody initialised Hydra."""
        hydra, job = (self.singletons.get(kind) for kind in (GlobalHydra, HydraConfig))
        return (hydra is not None and hydra.hydra is not None) or (
            job is not None and job.cfg is not None
        )


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
        own = {name: node for name, node in before.store.items() if name in _OF_HYDRA}
        _State({}, version.Version(VERSION_BASE), own, before.resolvers).put()
        try:
            with _handlers_kept():
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


@contextmanager
def _handlers_kept() -> Iterator[None]:
    """A block in which a configuration of logging (hydra/job_logging) does not close the handlers
    that the program around us has; those it gives to the root logger are closed at the end.
    """
    by_name = getattr(logging, "_handlers", None)
    references = getattr(logging, "_handlerList", None)
    if by_name is None or references is None:
        yield  # another Python, which keeps them elsewhere
        return
    names, known, of_root = dict(by_name), list(references), list(logging.root.handlers)
    by_name.clear()
    references.clear()
    try:
        yield
    finally:
        for handler in logging.root.handlers:
            if handler not in of_root:
                handler.close()
        by_name.update(names)
        references[:0] = known
