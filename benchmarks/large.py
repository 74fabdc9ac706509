"""An index that does not fit in memory: build, memory and queries, from vectors that are drawn shard by shard.

    .venv/bin/python -m benchmarks.large --rows 10000000 --folder FOLDER [--storage fp16] [--kind clustered]

Writes the index to FOLDER (2 or 4 bytes per component and row, and about 180 bytes per row) and deletes it afterwards.
Seconds of the build are without those of drawing. Memory is the highest of the process so far, as the system counts it;
pages of mapped files count while they are in memory, though the system can take them back. Queries run one by one on
one core, with the vectors' pages dropped before (cold) and in memory (warm).
"""

import argparse
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.memory import peak_bytes, reset_peak
from benchmarks.search import machine
from benchmarks.vectors import KINDS, Float32Array
from lookalike.lsh import (
    ExactIndex,
    HyperplaneLSH,
    LSHParams,
    Neighbors,
    build_on_disk,
    store_parameters,
    tune_built,
    tune_lsh,
)
from lookalike.lsh.recall import recalls_at_k

ROWS_PER_SHARD = 100_000
SAMPLE_SHARDS = 2
COLD_QUERIES = 100
WARM_ROUNDS = 3
# Streams of random numbers below these are for queries.
FIRST_SHARD_STREAM = 1000


class Shards:
    """Vectors drawn shard by shard, and the seconds that drawing took."""

    def __init__(self, kind: str, n_rows: int) -> None:
        self.mixture, self.n_rows, self.seconds = KINDS[kind](n_rows), n_rows, 0.0

    def __iter__(self) -> Iterator[Float32Array]:
        for number, start in enumerate(range(0, self.n_rows, ROWS_PER_SHARD)):
            started = time.perf_counter()
            rows = self.mixture.draw(min(ROWS_PER_SHARD, self.n_rows - start), FIRST_SHARD_STREAM + number)
            self.seconds += time.perf_counter() - started
            yield rows


def timed(name: str, figures: dict[str, Any], work: Callable[[], Any]) -> Any:
    """What `work` returns; its seconds and the memory so far go to `figures`."""
    started = time.perf_counter()
    result = work()
    figures[f"{name}_seconds"] = time.perf_counter() - started
    figures[f"{name}_peak_gb"] = peak_bytes() / 1e9
    print({key: round(value, 2) for key, value in figures.items() if isinstance(value, float)}, flush=True)
    return result


def planned(shards: Shards, target: float) -> LSHParams:
    """Parameters planned on the first shards."""
    sample = np.concatenate([rows for rows, _ in zip(shards, range(SAMPLE_SHARDS), strict=False)])
    return tune_lsh(sample, target_recall=target, n_rows=shards.n_rows)


def build(shards: Shards, folder: Path, storage: str, target: float, figures: dict[str, Any]) -> HyperplaneLSH:
    """Plan, build and tune as the stage build_lsh does."""
    params = timed("plan", figures, lambda: planned(shards, target))
    shards.seconds = 0.0
    options = {**params.as_kwargs(), "storage": storage}
    index = timed(
        "build_and_draw",
        figures,
        lambda: build_on_disk(shards, folder, n_rows=shards.n_rows, dim=shards.mixture.dim, **options),
    )
    figures["build_seconds"] = figures["build_and_draw_seconds"] - shards.seconds
    tuned = timed("tune", figures, lambda: tune_built(index, target_recall=target))
    figures["parameters"] = tuned.as_kwargs() | {"tuned_recall": tuned.recall}
    return store_parameters(folder, tuned)


def drop_pages(path: Path) -> None:
    """Have the system forget the pages of a file that nothing maps."""
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


def asked(index: HyperplaneLSH, queries: Float32Array, k: int, probes: int) -> tuple[list[Neighbors], dict[str, float]]:
    """The answers, and p50 and p95 of a query in milliseconds."""
    answers, seconds = [], []
    for query in queries:
        started = time.perf_counter()
        answers.append(index.query(query, k, probes=probes))
        seconds.append(time.perf_counter() - started)
    p50, p95 = np.percentile(seconds, [50, 95])
    return answers, {"p50_ms": 1e3 * float(p50), "p95_ms": 1e3 * float(p95)}


def measure(folder: Path, queries: Float32Array, figures: dict[str, Any]) -> None:
    """Recall and time of queries for 10 and 100 neighbors, with cold and warm pages and several numbers of probes."""
    index = HyperplaneLSH.load(folder)
    index.warm_up()
    truth = timed("truth", figures, lambda: ExactIndex(index._content).query_batch(queries, 100))
    del index
    drop_pages(folder / "vectors.npy")
    index = HyperplaneLSH.load(folder)
    index.warm_up()
    figures["cold"] = asked(index, queries[:COLD_QUERIES], 10, index.probes)[1]
    figures["rows"] = []
    for factor in (1.0, 0.25, 0.5, 2.0, 4.0):
        probes = max(1, round(index.probes * factor))
        for k in (10, 100):
            rounds = [asked(index, queries, k, probes) for _ in range(1 + WARM_ROUNDS)]
            recall = float(recalls_at_k(rounds[0][0], truth, k).mean())
            best = min((times for _, times in rounds[1:]), key=lambda times: times["p50_ms"])
            figures["rows"].append({"k": k, "probes": probes, "recall": recall, **best})
            print(figures["rows"][-1], flush=True)


def main() -> None:
    """Measure, print JSON and write it to `--output`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--kind", choices=list(KINDS), default="clustered")
    parser.add_argument("--storage", choices=["fp32", "fp16"], default="fp16")
    parser.add_argument("--target", type=float, default=0.95)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    shards = Shards(options.kind, options.rows)
    figures: dict[str, Any] = {"n_rows": options.rows, "kind": options.kind, "storage": options.storage}
    reset_peak()
    try:
        index = build(shards, options.folder, options.storage, options.target, figures)
        figures["overhead_bytes_per_vector"] = index.stats()["overhead_bytes_per_vector"]
        figures["disk_bytes"] = sum(path.stat().st_size for path in options.folder.iterdir())
        del index
        with threadpool_limits(1):
            measure(options.folder, shards.mixture.draw(options.queries, 1), figures)
    finally:
        shutil.rmtree(options.folder, ignore_errors=True)
    figures["machine"] = machine()
    options.output.mkdir(parents=True, exist_ok=True)
    name = f"large-{options.kind}-{options.rows}-{options.storage}.json"
    (options.output / name).write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
