"""Whether `tune_lsh` keeps its promise, and what odd collections cost: `python -m benchmarks.promise`.

Prints Markdown. Every number of neighbors and every law gets new queries, asked one by one as users ask.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.laws import LAWS, Float32Array, draw
from lookalike.lsh import ExactIndex, HyperplaneLSH, tune_lsh
from lookalike.lsh.base import METRICS, Metric
from lookalike.lsh.recall import recall_at_k

_N_QUERIES = 300
_EDGES = (1, 64, 65, 256, 257, 1000)
_REPETITIONS = 30


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--target", type=float, default=0.95)
    options = parser.parse_args()
    # One thread: on a busy machine the second one is waited for, up to 8 ms a query.
    threadpool_limits(1)
    HyperplaneLSH.build(draw("clusters", 1000, 0), n_bits=4, n_tables=2).warm_up()
    print("| law | metric | k | recall | ms p50 | exact ms | tuning s | plan |\n|---|---|---|---|---|---|---|---|")
    for law in LAWS:
        for metric in METRICS:
            print(_promise_row(law, metric, options.rows, 10, options.target), flush=True)
    for k in _EDGES:
        print(_promise_row("uniform", "cosine", options.rows, k, options.target), flush=True)
    print("\n| exact search, 512 dimensions | ms p50 |\n|---|---|")
    for metric in METRICS:
        for line in _copies_rows(metric, options.rows):
            print(line, flush=True)
    print(f"\n{_zeros_line(options.rows)}")


def _promise_row(law: str, metric: Metric, n_rows: int, k: int, target: float) -> str:
    vectors, queries = draw(law, n_rows, 0), draw(law, _N_QUERIES, 1)
    started = time.perf_counter()
    params = tune_lsh(vectors, target_recall=target, k=k, metric=metric)
    seconds = time.perf_counter() - started
    index = HyperplaneLSH.build(vectors, metric=metric, **params.as_kwargs())
    truth = ExactIndex.build(vectors, metric=metric, mean=index.mean).query_batch(queries, k)
    answers = [index.query(query, k) for query in queries]
    pairs = zip(answers, truth, strict=True)
    recall = np.mean([recall_at_k(found.distances, true.distances, k) for found, true in pairs])
    hashed, exact = (
        _median_ms(lambda: index.query(queries[0], k)),
        _median_ms(lambda: index.search_exact(queries[0], k)),
    )
    plan = "scan" if params.plan == "scan" else f"{params.n_tables} x {params.n_bits} bits, {params.probes} probes"
    return f"| {law} | {metric} | {k} | {recall:.4f} | {hashed:.3f} | {exact:.3f} | {seconds:.1f} | {plan} |"


def _copies_rows(metric: Metric, n_rows: int) -> list[str]:
    """Exact search with half of the rows equal, and with none."""
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((n_rows, 512)).astype(np.float32)
    copies = vectors.copy()
    copies[rng.permutation(n_rows)[: n_rows // 2]] = vectors[0]
    query = vectors[0] + np.float32(0.001) * vectors[1]
    times = [_exact_ms(array, metric, query) for array in (vectors, copies)]
    names = "all rows differ", "half of the rows are equal, and near the query"
    return [f"| {metric}, {name} | {ms:.3f} |" for name, ms in zip(names, times, strict=True)]


def _exact_ms(vectors: Float32Array, metric: Metric, query: Float32Array) -> float:
    index = ExactIndex.build(vectors, metric=metric)
    return _median_ms(lambda: index.query(query, 10))


def _zeros_line(n_rows: int) -> str:
    zeros = np.zeros((n_rows, 512), np.float32)
    started = time.perf_counter()
    index = HyperplaneLSH.build(zeros, n_bits=12, n_tables=8)
    seconds = time.perf_counter() - started
    milliseconds = _median_ms(lambda: index.query(zeros[0], 10))
    return f"{n_rows:,} zero vectors: built in {seconds:.2f} s, a query takes {milliseconds:.2f} ms."


def _median_ms(function: Callable[[], object]) -> float:
    seconds = []
    for _ in range(_REPETITIONS):
        started = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - started)
    return 1000 * float(np.median(seconds))


if __name__ == "__main__":
    main()
