"""Work on many files in threads, a few files ahead only."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

# Enough to keep all threads busy, few enough that waiting results need no memory and that an
# interrupted run ends at once.
_ITEMS_AT_A_TIME = 128


def map_in_threads(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yield function(item) for each of `items`, in their order, computed on all cores.

    Decoding, encoding and hashing release the interpreter lock, so threads suffice and nothing is
    copied between processes.
    """
    waiting = iter(items)
    with ThreadPoolExecutor(_n_cores()) as pool:
        while batch := list(islice(waiting, _ITEMS_AT_A_TIME)):
            yield from pool.map(function, batch)


def _n_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
