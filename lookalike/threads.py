"""Work in threads: how many there are, and results in order while a few items are worked on ahead.

Threads, not processes: Pillow, hashing and the networks work outside the interpreter's lock, results need no copy
between processes, and nothing has to be forked from a process that already runs other threads.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Literal, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

# Enough to keep all threads busy, few enough that waiting results need little memory.
_AHEAD_PER_WORKER = 8


def available_cores() -> int:
    """Return the number of processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def resolve_workers(workers: int | Literal["auto"]) -> int:
    """Return a number of threads; `auto` is one per core."""
    return available_cores() if workers == "auto" else workers


def ordered_map(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    workers: int | Literal["auto"] = "auto",
    ahead: int | None = None,
    initializer: Callable[[], object] | None = None,
) -> Iterator[Result]:
    """Yield `function(item)` for each item, in order, with at most `ahead` results begun but not yet taken.

    `initializer` runs first in each thread. An exception of `function` is raised in its turn. The threads
    end with the generator.
    """
    count = resolve_workers(workers)
    ahead = ahead or _AHEAD_PER_WORKER * count
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(count, "lookalike-worker", initializer) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
