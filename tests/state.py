"""The state of this process, which belongs to the user: `unchanged_state` fails where a block changes it."""

import gc
import importlib
import locale
import logging
import os
import random
import signal
import socket
import sys
import threading
import warnings
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageFile
from threadpoolctl import ThreadpoolController

_DESCRIPTORS = Path("/dev/fd")
_SECONDS_FOR_THREADS_TO_END = 5.0
_LIBRARIES = (
    "fastai.callback.progress",
    "fastai.callback.schedule",
    "fastai.vision.learner",
    "openvino",
    "pyarrow.parquet",
    "timm",
    "torchvision",
)


def warm_up() -> None:
    """Do what changes a process once and for good, and is none of ours: imports, and what libraries start on first use.

    torch and fastai add filters of warnings when they are imported, registering image formats loads libraries, the
    first progress bar starts a thread and a semaphore that all later ones share, and matplotlib keeps fonts open.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in _LIBRARIES:
            importlib.import_module(name)
    from lookalike.lsh.lshash_adapter import LSHashIndex
    from lookalike.progress import track

    Image.init()
    list(track([1], "warming up"))
    figure = Figure()
    figure.text(0, 0, "text")
    FigureCanvasAgg(figure).draw()
    LSHashIndex.build(np.eye(4, dtype=np.float32), n_bits=2, n_tables=1)
    torch.nn.Conv2d(3, 8, 3)(torch.ones(2, 3, 32, 32)).sum().backward()
    np.ones((64, 64)) @ np.ones((64, 64))
    _blas()


@cache
def _blas() -> ThreadpoolController:
    """The libraries that compute with several threads, found once: looking for them takes milliseconds."""
    return ThreadpoolController()


def process_state() -> dict[str, Any]:
    """Everything that is compared, by name."""
    return {
        **{f"torch: {name}": read() for name, read in _TORCH.items()},
        **{f"BLAS threads of {library['prefix']}": library["num_threads"] for library in _blas().info()},
        "random": hash(random.getstate()),
        "numpy.random": _numpy_random(),
        "numpy.errstate": np.geterr(),
        "warnings.filters": list(warnings.filters),
        # pytest-timeout handles the alarm.
        "signal handlers": {
            number: signal.getsignal(number) for number in signal.valid_signals() - {getattr(signal, "SIGALRM", None)}
        },
        # pytest notes there where it is.
        "os.environ": {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"},
        "working directory": str(Path.cwd()),
        "sys.path": list(sys.path),
        "locale": locale.setlocale(locale.LC_ALL),
        "hooks": (sys.excepthook, threading.excepthook, sys.unraisablehook),
        "socket timeout": socket.getdefaulttimeout(),
        "garbage collection": gc.isenabled(),
        "Pillow": (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES),
        "matplotlib": dict.copy(matplotlib.rcParams),
        "logging": {name: state for name in _loggers() if (state := _logger_state(name)) != _NEW_LOGGER},
        "open files": _open_files(),
    }


def _numpy_random() -> tuple[Any, ...]:
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002 (it is looked at, not drawn from)
    return kind, zlib.crc32(keys.tobytes()), *rest


_TORCH: dict[str, Callable[[], Any]] = {
    **{f"autocast on {device}": lambda device=device: torch.is_autocast_enabled(device) for device in ("cpu", "cuda")},
    **{
        f"autocast type on {device}": lambda device=device: torch.get_autocast_dtype(device)
        for device in ("cpu", "cuda")
    },
    "autocast cache": torch.is_autocast_cache_enabled,
    "gradients": torch.is_grad_enabled,
    "inference mode": torch.is_inference_mode_enabled,
    "default dtype": torch.get_default_dtype,
    "default device": torch.get_default_device,
    "anomaly detection": torch.is_anomaly_enabled,
    "deterministic algorithms": torch.are_deterministic_algorithms_enabled,
    "precision of products": torch.get_float32_matmul_precision,
    "cuDNN": lambda: (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic),
    "threads": torch.get_num_threads,
    "threads of new threads": lambda: _in_new_thread(torch.get_num_threads),
    "random": lambda: zlib.crc32(torch.get_rng_state().numpy()),
    "random on GPUs": lambda: [zlib.crc32(state.numpy()) for state in _cuda_random_states()],
}


def _cuda_random_states() -> list[torch.Tensor]:
    return torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []


def _in_new_thread(function: Callable[[], Any]) -> Any:
    found = []
    thread = threading.Thread(target=lambda: found.append(function()))
    thread.start()
    thread.join()
    return found[0]


def _loggers() -> list[str]:
    return ["", *(name for name in logging.Logger.manager.loggerDict if name.split(".")[0] == "lookalike")]


_NEW_LOGGER = (logging.NOTSET, [], [], True, False)


def _logger_state(name: str) -> tuple[Any, ...]:
    logger = logging.getLogger(name)
    return logger.level, list(logger.handlers), list(logger.filters), logger.propagate, logger.disabled


def _open_files() -> dict[str, str]:
    """What each open descriptor is; that of the listing itself is closed again when it is looked at."""
    found = {}
    for path in _DESCRIPTORS.iterdir():
        try:
            status, target = os.fstat(int(path.name)), path.readlink()
        except OSError:
            continue
        found[path.name] = f"{target} ({status.st_dev}:{status.st_ino})"
    return found


@contextmanager
def unchanged_state(but: Collection[str] = ()) -> Iterator[None]:
    """Within the block the state may change; AssertionError, which names what differs, if it stays so, `but` these."""
    threads, before = set(threading.enumerate()), process_state()
    before = {name: value for name, value in before.items() if name not in but}
    yield
    for thread in set(threading.enumerate()) - threads:
        if not thread.daemon:
            thread.join(_SECONDS_FOR_THREADS_TO_END)
            assert not thread.is_alive(), f"the thread {thread.name} still runs"
    differing = _differences(before, process_state())
    if differing:
        gc.collect()  # Objects in cycles close their files when they are collected.
        differing = _differences(before, process_state())
    assert not differing, "this has changed and stayed so:\n" + "\n".join(differing)


def _differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    return [f"{name}: {_difference(before[name], after[name])}" for name in before if before[name] != after[name]]


def _difference(before: Any, after: Any) -> str:
    """The two values, cut short, or of dictionaries the entries that differ."""
    if isinstance(before, dict) and isinstance(after, dict):
        names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
        return "; ".join(f"{name}: {_difference(before.get(name), after.get(name))}" for name in names)
    return f"{str(before)[:300]} is now {str(after)[:300]}"
