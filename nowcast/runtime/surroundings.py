"""The state of the process that belongs to the program that calls us, put back as it was after a
command.

A command runs in its own process on a terminal, but also in a notebook, a service or somebody's
script. The libraries it uses change what is global there: logging handlers, filters of warnings,
signal handlers, settings of torch, environment variables, and which Hydra or matplotlib settings
count.
"""

import logging
import multiprocessing
import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def left_as_it_was() -> Iterator[None]:
    """A block after which the calling program finds its own state again, whatever was done in it.

    Inside it torch computes as it does in a fresh process: float32 by default, on the CPU,
    gradients where they are wanted. Modules that were imported stay imported.
    """
    with _Process(), signal_handlers(), _gradients():
        yield


class _Process:
    """What is one for all threads: kept when the first block begins, and put back when the last one
    ends.
    """

    _lock, _blocks, _stack = threading.Lock(), 0, ExitStack()

    def __enter__(self) -> None:
        with _Process._lock:
            _Process._blocks += 1
            if _Process._blocks > 1:
                return
            stack = _Process._stack = ExitStack()
            for kept in (
                _environment,
                warnings.catch_warnings,
                _logging,
                _matplotlib,
                _torch,
                _python,
            ):
                stack.enter_context(kept())

    def __exit__(self, *error) -> None:
        with _Process._lock:
            _Process._blocks -= 1
            if _Process._blocks == 0:
                _Process._stack.close()


@contextmanager
def signal_handlers(handler: Callable | None = None) -> Iterator[None]:
    """A block after which SIGTERM and SIGINT are answered as before; nothing is done outside the
    main thread.

    Args:
        handler: answers both inside the block; None: they are left to what the block does.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # where Python has no signal handlers
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        if handler is not None:
            for number in SIGNALS:
                signal.signal(number, handler)
        yield
    finally:
        for number, found in before.items():
            # None: set by a library in C.
            if found is not None and signal.getsignal(number) is not found:
                signal.signal(number, found)


@contextmanager
def _python() -> Iterator[None]:
    """Python's own random numbers, and how its processes start where that was not chosen yet."""
    numbers = random.getstate()
    method = multiprocessing.get_start_method(allow_none=True)
    try:
        yield
    finally:
        random.setstate(numbers)
        if method is None and multiprocessing.get_start_method(allow_none=True) is not None:
            multiprocessing.set_start_method(None, force=True)


@contextmanager
def _environment() -> Iterator[None]:
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in set(os.environ) - set(before):
            del os.environ[name]
        for name, value in before.items():
            if os.environ.get(name) != value:
                os.environ[name] = value


@contextmanager
def _logging() -> Iterator[None]:
    """Handlers and levels of the loggers that are there."""
    loggers = [logging.root, *map(logging.getLogger, list(logging.root.manager.loggerDict))]
    before = [(list(one.handlers), one.level, one.propagate, one.disabled) for one in loggers]
    disabled = logging.root.manager.disable
    try:
        yield
    finally:
        for logger, (handlers, level, propagate, was_disabled) in zip(loggers, before):
            logger.handlers[:] = handlers
            logger.propagate, logger.disabled = propagate, was_disabled
            if logger.level != level:
                logger.setLevel(level)
        logging.disable(disabled)


@contextmanager
def _matplotlib() -> Iterator[None]:
    """Matplotlib's settings, the backend among them, where it is loaded."""
    matplotlib = sys.modules.get("matplotlib")
    if not hasattr(matplotlib, "rcParams"):
        yield  # it is not loaded, or only in part
        return
    before = dict.copy(matplotlib.rcParams)
    try:
        yield
    finally:
        dict.update(matplotlib.rcParams, before)


@contextmanager
def _gradients() -> Iterator[None]:
    """Gradients where they are wanted, and the CPU where no device is named; both are the calling
    thread's own.
    """
    torch = sys.modules.get("torch")
    if not hasattr(torch, "get_default_device"):
        yield
        return
    # A device context costs a little in every call.
    is_on_cpu = torch.get_default_device().type == "cpu"
    on_cpu = nullcontext() if is_on_cpu else torch.device("cpu")
    with torch.inference_mode(False), torch.enable_grad(), on_cpu:
        yield


@contextmanager
def _torch() -> Iterator[None]:
    """Torch's settings, where it is loaded; a program that has not loaded it has none."""
    torch = sys.modules.get("torch")
    if not hasattr(torch, "get_default_dtype"):
        yield
        return
    cudnn = torch.backends.cudnn
    dtype, random_state = torch.get_default_dtype(), torch.get_rng_state()
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    anomalies = torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()
    of_cudnn = cudnn.benchmark, cudnn.deterministic, cudnn.enabled
    try:
        torch.set_default_dtype(torch.float32)
        yield
    finally:
        torch.set_default_dtype(dtype)
        # What was not changed is not set: some setters warn, or end a pool of threads.
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        if torch.get_float32_matmul_precision() != precision:
            torch.set_float32_matmul_precision(precision)
        if (cudnn.benchmark, cudnn.deterministic, cudnn.enabled) != of_cudnn:
            cudnn.benchmark, cudnn.deterministic, cudnn.enabled = of_cudnn
        torch.set_rng_state(random_state)
        torch.autograd.set_detect_anomaly(*anomalies)
