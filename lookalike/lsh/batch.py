"""Batches of queries: when compiling pays, and all cores."""

import time
from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from lookalike.lsh.base import Neighbors
from lookalike.lsh.kernels import loading
from lookalike.threads import ordered_map

# Queries that show how long NumPy takes for one.
_TRIAL_QUERIES = 8


def answer_batch(
    queries: NDArray[Any], answer: Callable[[Any], Neighbors], warm_up: Callable[[], None], threads: int
) -> list[Neighbors]:
    """The answer to each row of `queries`, in `threads` threads once the kernels are loaded.

    Before that, NumPy answers the first queries, timed; if the rest would take it longer than compiling takes,
    `warm_up` is called. NumPy holds the interpreter's lock, so threads would not help it.
    """
    answers: list[Neighbors] = []
    if loading.loaded_kernels() is None and len(queries) > _TRIAL_QUERIES:
        started = time.perf_counter()
        answers = [answer(query) for query in queries[:_TRIAL_QUERIES]]
        seconds_each = (time.perf_counter() - started) / _TRIAL_QUERIES
        if (len(queries) - _TRIAL_QUERIES) * seconds_each > loading.loading_seconds():
            warm_up()
    rest = queries[len(answers) :]
    if threads == 1 or loading.loaded_kernels() is None or len(rest) < 2 * threads:
        return answers + [answer(query) for query in rest]
    return answers + list(ordered_map(answer, rest, workers=threads))
