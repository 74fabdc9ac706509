"""When compiled code comes into the process: by itself, in a thread, once queries in NumPy have taken long enough.

Importing numba and loading the kernels from its cache takes about a second, compiling them the first time on a machine
some ten. Until they are there NumPy answers, with equal results.
"""

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

logger = logging.getLogger(__name__)

# Time spent in NumPy after which kernels are worth loading from numba's cache, or compiling.
CACHED_SECONDS = 0.1
COMPILE_SECONDS = 5.0

_ENTRY_POINT = "steps.find_nearest-*.nbi"

_loaded: dict[str, ModuleType] = {}
_lock = threading.Lock()
_thread: threading.Thread | None = None
_spent_seconds = 0.0


def load_kernels(try_out: Callable[[ModuleType], object]) -> None:
    """Import the kernels, which imports numba, and let queries use them once `try_out` has compiled them."""
    from lookalike.lsh.kernels import steps

    try_out(steps)
    _loaded["steps"] = steps


def loaded_kernels() -> ModuleType | None:
    """The module of compiled kernels, if it is in this process already."""
    return _loaded.get("steps")


def loading_seconds() -> float:
    """About how long NumPy must work before loading pays: less where numba's cache holds the kernels."""
    given = os.environ.get("NUMBA_CACHE_DIR")
    beside = Path(__file__).parent / "__pycache__"
    patterns = [(Path(given), f"*/{_ENTRY_POINT}")] if given else [(beside, _ENTRY_POINT)]
    return CACHED_SECONDS if any(any(folder.glob(name)) for folder, name in patterns) else COMPILE_SECONDS


def note_numpy_seconds(seconds: float, load: Callable[[], None]) -> None:
    """Count the time of one query in NumPy; once enough has been spent, start to `load` in a thread.

    While the thread works, a query waits for it as long as itself took: two threads of Python code would otherwise
    hinder each other.
    """
    global _spent_seconds, _thread
    thread = _thread
    if thread is not None:
        thread.join(timeout=seconds)
        return
    with _lock:
        _spent_seconds += seconds
        if _thread is None and _spent_seconds > CACHED_SECONDS and _spent_seconds > loading_seconds():
            # Not a daemon: the interpreter waits for it at its end, when compiling must not be cut off.
            _thread = threading.Thread(target=_load_quietly, args=(load,), name="lookalike-kernels")
            _thread.start()


def _load_quietly(load: Callable[[], None]) -> None:
    try:
        load()
    except Exception:  # Whatever is wrong with numba here, NumPy goes on answering.
        logger.info("compiled code cannot be used here; NumPy answers all queries", exc_info=True)


def _wait_for_loading() -> None:
    """Let a running thread finish before a fork: its locks would stay locked in the child."""
    thread = _thread
    if thread is not None and thread is not threading.current_thread():
        thread.join()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_wait_for_loading)
