"""Work done ahead by threads, in order, with a bound on what waits: decoding while the network computes.

Threads, not processes: Pillow decodes and resizes outside the interpreter's lock, results need no copy
between processes, and nothing has to be forked from a process that already runs other threads.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Literal, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def prefetch(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    workers: int,
    ahead: int,
    initializer: Callable[[], object] | None = None,
) -> Iterator[Result]:
    """Yield `function(item)` for each item, in order, with at most `ahead` results begun but not yet taken.

    `initializer` runs first in each thread. An exception of `function` is raised in its turn. The threads
    end with the generator.
    """
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(workers, "lookalike-worker", initializer) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def resolve_workers(workers: int | Literal["auto"]) -> int:
    """Return the number of decoding threads; `auto` is one for each core that this process may use."""
    if workers != "auto":
        return workers
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
