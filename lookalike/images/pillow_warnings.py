"""Silence about odd files, in every thread and for as long as it is asked for."""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_PILLOW_MODULES = r"PIL(\.|$)"
_lock = threading.Lock()
_depth = 0


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Ignore Pillow's warnings about odd files while any thread is inside.

    `warnings.catch_warnings` is not safe with several threads: one may restore the filters that
    another one changed. So the first thread in adds one filter, and the last one out removes it.
    """
    global _depth
    with _lock:
        _depth += 1
        if _depth == 1:
            warnings.filterwarnings("ignore", module=_PILLOW_MODULES)
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if _depth == 0:
                _remove_filter()


def _remove_filter() -> None:
    for entry in list(warnings.filters):
        module = entry[3]
        if getattr(module, "pattern", None) == _PILLOW_MODULES:
            warnings.filters.remove(entry)  # type: ignore[attr-defined]
