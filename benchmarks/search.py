"""Search engines side by side: `python -m benchmarks.search`; `make bench` runs it as the notes have it.

Single-threaded but for one column. Writes `search.json`, `search.md` and `search.png` to benchmarks/results.
Beside every engine exact NumPy is timed anew, so that the ratio to it does not depend on other load.
"""

import argparse
import gc
import platform
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.contenders import KS, Contender, exact_numpy, lshash3, ours
from benchmarks.report import write_report
from benchmarks.rivals import faiss_engines, graph_engines
from benchmarks.vectors import KINDS, Float32Array, easy_queries
from lookalike.lsh import ExactIndex, Metric
from lookalike.lsh.space import mean_of_rows
from lookalike.threads import available_cores

_REFERENCE_QUERIES = 15
_LARGEST_FOR_LSHASH3 = 20_000
_BATCH_QUERIES = 1000


def main() -> None:
    """Run what the options ask for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="*", default=[9_144, 100_000, 1_000_000])
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--embeddings", type=Path, help="folder of Parquet shards with columns embedding and split")
    parser.add_argument("--targets", type=float, nargs="+", default=[0.95, 0.98])
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--hnsw-up-to", type=int, default=1_000_000, help="largest size at which graphs are built")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    datasets = [] if arguments.embeddings is None else [_embeddings(arguments.embeddings)]
    rows: list[dict[str, Any]] = []
    with threadpool_limits(1):
        _limit_faiss_threads()
        for name, vectors, queries in [*datasets, *_synthetic(arguments)]:
            rows += _run(name, vectors, queries, arguments)
            write_report(arguments.output, rows, machine())


def _synthetic(arguments: argparse.Namespace) -> Iterator[tuple[str, Float32Array, dict[str, Float32Array]]]:
    for size, kind in product(arguments.sizes, arguments.kinds):
        mixture = KINDS[kind](size)
        vectors = mixture.draw(size, 0)
        yield (
            f"{kind} {size:,}",
            vectors,
            {
                "hard": mixture.draw(arguments.queries, 1),
                "easy": easy_queries(vectors, arguments.queries, 2),
            },
        )


def _embeddings(folder: Path) -> tuple[str, Float32Array, dict[str, Float32Array]]:
    """All stored embeddings; the held-out ones are the queries, each excluded from its own answer by its row."""
    import pyarrow.parquet as pq

    tables = [pq.read_table(path, columns=["embedding", "split"]) for path in sorted(folder.glob("*.parquet"))]
    vectors = np.concatenate([_matrix(table) for table in tables])
    split = np.concatenate([table["split"].to_numpy() for table in tables])
    held_out = vectors[split == "valid"]
    kept = np.ascontiguousarray(vectors[split == "train"])
    return f"embeddings {len(kept):,}", kept, {"held-out": held_out[:: max(1, len(held_out) // 1000)]}


def _matrix(table: Any) -> Float32Array:
    column = table["embedding"].combine_chunks()
    return column.flatten().to_numpy(zero_copy_only=False).astype(np.float32).reshape(len(table), -1)


def _run(
    name: str, vectors: Float32Array, queries: dict[str, Float32Array], arguments: argparse.Namespace
) -> list[dict[str, Any]]:
    mean = mean_of_rows(vectors)
    metrics: tuple[Metric, ...] = ("cosine", "euclidean") if len(vectors) <= _LARGEST_FOR_LSHASH3 else ("cosine",)
    truth = {metric: _true_ids(vectors, queries, metric, mean) for metric in metrics}
    unit = vectors - mean
    unit /= np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-30)
    reference = exact_numpy(unit, mean)
    rows = []
    for contender in _contenders(vectors, unit, mean, reference, arguments):
        for kind, some in queries.items():
            measured = _measure(contender, some, truth[contender.metric][kind], reference)
            rows.append({"data": name, "n": len(vectors), "queries": kind, **measured})
            print(_line(rows[-1]), flush=True)
        if contender is not reference:
            contender.forget()
        gc.collect()
    return rows


def _true_ids(
    vectors: Float32Array, queries: dict[str, Float32Array], metric: Metric, mean: Float32Array
) -> dict[str, Any]:
    exact = ExactIndex.build(vectors, metric=metric, mean=mean)
    return {
        kind: np.array([answer.ids for answer in exact.query_batch(some, max(KS))]) for kind, some in queries.items()
    }


def _contenders(
    vectors: Float32Array, unit: Float32Array, mean: Float32Array, reference: Contender, arguments: argparse.Namespace
) -> Iterator[Contender]:
    yield reference
    yield from ours(vectors, tuple(arguments.targets))
    if len(vectors) <= _LARGEST_FOR_LSHASH3:
        yield from lshash3(vectors)
    yield from faiss_engines(unit, mean, len(vectors) <= arguments.hnsw_up_to)
    if len(vectors) <= arguments.hnsw_up_to:
        yield from graph_engines(unit, mean)


def _measure(contender: Contender, queries: Float32Array, truth: Any, reference: Contender) -> dict[str, Any]:
    queries, truth = queries[: contender.most_queries], truth[: contender.most_queries]
    contender.search_one(queries[0], KS[0])
    reference_before = _seconds_each(reference, queries[:_REFERENCE_QUERIES])
    answers, seconds = _asked(contender, queries, KS[0])
    more_answers, more_seconds = _asked(contender, queries, KS[1])
    reference_after = _seconds_each(reference, queries[:_REFERENCE_QUERIES])
    p50, p95 = np.percentile(seconds, [50, 95])
    reference_p50 = float(np.median(reference_before + reference_after))
    index, is_tuned = contender.details.get("index"), contender.details.get("tuning_seconds") is not None
    return {
        "engine": contender.name,
        "recall_at_10": _recall(contender, answers, truth, KS[0]),
        "recall_at_100": _recall(contender, more_answers, truth, KS[1]),
        "p50_ms_for_100": 1e3 * float(np.median(more_seconds)),
        "build_peak_bytes": contender.peak_bytes,
        "p50_ms": 1e3 * float(p50),
        "p95_ms": 1e3 * float(p95),
        "exact_ms_beside": 1e3 * reference_p50,
        "times_exact": reference_p50 / float(p50),
        "batch_per_second": _batch_rate(contender, queries),
        "batch_per_second_all_cores": _all_cores_rate(index, queries, contender, reference) if is_tuned else None,
        "build_seconds": contender.build_seconds,
        "overhead_bytes_per_vector": contender.overhead_bytes_per_vector,
        "candidate_fraction": _mean_candidates(contender, answers),
        "parameters": {key: value for key, value in contender.details.items() if isinstance(value, int | float)},
    }


def _asked(contender: Contender, queries: Float32Array, k: int) -> tuple[list[Any], list[float]]:
    answers, seconds = [], []
    for query in queries:
        started = time.perf_counter()
        answers.append(contender.search_one(query, k))
        seconds.append(time.perf_counter() - started)
    return answers, seconds


def _recall(contender: Contender, answers: list[Any], truth: Any, k: int) -> float:
    found = [_ids(answer, contender, k) for answer in answers]
    return float(np.mean([np.isin(true[:k], ids).mean() for true, ids in zip(truth, found, strict=True)]))


def _ids(answer: Any, contender: Contender, k: int) -> Any:
    if "lshash3" in contender.details:
        return np.array([extra - 1 for (_, extra), _ in answer[:k]])
    return answer.ids if hasattr(answer, "ids") else answer


def _mean_candidates(contender: Contender, answers: list[Any]) -> float | None:
    return None if contender.candidates is None else float(np.mean([contender.candidates(a) for a in answers]))


def _seconds_each(contender: Contender, queries: Float32Array) -> list[float]:
    return _asked(contender, queries, KS[0])[1]


def _batch_rate(contender: Contender, queries: Float32Array) -> float | None:
    """Queries a second when all are given at once, on one core."""
    if contender.search_batch is None:
        return None
    started = time.perf_counter()
    contender.search_batch(queries, KS[0])
    return len(queries) / (time.perf_counter() - started)


def _all_cores_rate(index: Any, queries: Float32Array, contender: Contender, reference: Contender) -> dict[str, float]:
    """Queries a second of a batch of 1,000 on all cores, ours and by exact matrix product."""
    batch = np.resize(queries, (_BATCH_QUERIES, queries.shape[1]))
    probes = contender.details["probes"]
    started = time.perf_counter()
    index.query_batch(batch, KS[0], probes=probes)
    ours_seconds = time.perf_counter() - started
    assert reference.search_batch is not None
    with threadpool_limits(available_cores()):
        some = batch[:200]
        started = time.perf_counter()
        reference.search_batch(some, KS[0])
        exact_seconds = time.perf_counter() - started
    return {"lookalike": len(batch) / ours_seconds, "exact": len(some) / exact_seconds}


def _line(row: dict[str, Any]) -> str:
    return (
        f"{row['data']} {row['queries']:5} {row['engine']:45} recall {row['recall_at_10']:.4f} "
        f"p50 {row['p50_ms']:.3f} ms, p95 {row['p95_ms']:.3f} ms, {row['times_exact']:.1f} x exact, "
        f"build {row['build_seconds']:.1f} s {row['parameters']}"
    )


def _limit_faiss_threads() -> None:
    import faiss

    faiss.omp_set_num_threads(1)


def machine() -> dict[str, str]:
    """Date, processor and versions."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "date": datetime.now(tz=UTC).strftime("%Y-%m-%d"),
        "processor": models[0] if models else platform.processor(),
        "cores": str(available_cores()),
        "python": platform.python_version(),
        "numpy": np.__version__,
    }


if __name__ == "__main__":
    main()
