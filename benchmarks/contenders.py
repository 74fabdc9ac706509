"""The engines that are compared. Each is built over centred unit vectors, or centres them itself."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import numpy as np

from benchmarks.memory import current_bytes, peak_bytes, reset_peak
from benchmarks.vectors import Float32Array
from lookalike.lsh import HyperplaneLSH, LSHashIndex, steps, tune_lsh

# Numbers of neighbors that recall is measured for.
KS = (10, 100)

Search = Callable[[Float32Array, int], Any]


Built = TypeVar("Built")


@dataclass
class Contender:
    """A built engine: one query and k to ids, many queries and k to ids, and what it cost.

    `peak_bytes` is how far the memory of the process rose in building, where the system says that.
    """

    name: str
    build_seconds: float
    overhead_bytes_per_vector: float | None
    search_one: Search
    search_batch: Search | None
    candidates: Callable[[Any], float] | None = None
    details: dict[str, Any] = field(default_factory=dict)
    most_queries: int = 1000
    # Recall is measured against exact search by this distance: cosine is that of the centred vectors.
    metric: str = "cosine"
    peak_bytes: int | None = None

    def forget(self) -> None:
        """Let go of the index: two engines' copies of a million vectors must not be in memory together."""
        self.search_one, self.search_batch, self.candidates, self.details = _forgotten, None, None, {}


class Measured:
    """The seconds of building an engine, and by how much the highest memory of the process exceeded that before."""

    seconds: float
    peak_bytes: int | None

    def of(self, build: Callable[[], Built]) -> Built:
        """What `build` returns."""
        before = current_bytes() if reset_peak() else None
        started = time.perf_counter()
        built = build()
        self.seconds = time.perf_counter() - started
        self.peak_bytes = None if before is None else peak_bytes() - before
        return built


def _forgotten(_query: Float32Array, _k: int) -> Any:
    raise RuntimeError("this engine was measured already")


def exact_numpy(unit: Float32Array, mean: Float32Array) -> Contender:
    """The plain way: one matrix-vector product over vectors that were normalised beforehand, and a partition."""

    def search(query: Float32Array, k: int) -> Any:
        similarities = unit @ (query - mean)
        nearest = np.argpartition(-similarities, k)[:k]
        return nearest[np.argsort(-similarities[nearest])]

    def search_batch(queries: Float32Array, k: int) -> Any:
        found = []
        for start in range(0, len(queries), 50):
            similarities = (queries[start : start + 50] - mean) @ unit.T
            found.append(np.argpartition(-similarities, k, axis=1)[:, :k])
        return np.concatenate(found)

    return Contender("exact NumPy", 0.0, 0.0, search, search_batch, lambda _: 1.0, most_queries=60)


def ours(vectors: Float32Array, targets: tuple[float, ...]) -> Iterator[Contender]:
    """Our engine tuned for each target, and the first of these indexes with fewer and more probes."""
    n = len(vectors)
    for number, target in enumerate(targets):
        started = time.perf_counter()
        params = tune_lsh(vectors, target_recall=target)
        tuning_seconds = time.perf_counter() - started
        measured = Measured()
        index = measured.of(partial(HyperplaneLSH.build, vectors, **params.as_kwargs()))
        index.warm_up()
        factors = (1.0, 0.25, 0.5, 2.0, 4.0) if number == 0 else (1.0,)
        for probes in sorted({max(1, round(params.probes * factor)) for factor in factors}):
            tuned = probes == params.probes
            name = f"lookalike, tuned for {target:g}" if tuned else f"lookalike, probes {probes}"
            details = {**params.as_kwargs(), "probes": probes, "tuning_seconds": tuning_seconds if tuned else None}
            overhead = index.stats()["overhead_bytes_per_vector"]
            yield _our_contender(name, index, probes, measured, overhead, n, details)
        if n <= 20_000 and number == 0:
            yield _numpy_contender(index, params.probes, measured.seconds, overhead, n)


def _our_contender(
    name: str, index: HyperplaneLSH, probes: int, measured: "Measured", overhead: float, n: int, details: dict[str, Any]
) -> Contender:
    return Contender(
        name,
        measured.seconds,
        overhead,
        lambda query, k: index.query(query, k, probes=probes),
        lambda queries, k: index.query_batch(queries, k, probes=probes, threads=1),
        lambda answer: answer.candidates / n,
        {**details, "index": index},
        peak_bytes=measured.peak_bytes,
    )


def _numpy_contender(index: HyperplaneLSH, probes: int, build_seconds: float, overhead: float, n: int) -> Contender:
    """The same index without compiled code, as a cold single query runs."""
    content = index._content

    def search(query: Float32Array, k: int) -> Any:
        return steps.nearest_in_buckets(content, query, k, probes, index.rerank)

    name = "lookalike, the same without compiled code"
    return Contender(name, build_seconds, overhead, search, None, lambda answer: answer.candidates / n)


def lshash3(vectors: Float32Array) -> Iterator[Contender]:
    """lshash3 with the article's parameters, on vectors as they come (not centred), plain and "hamming"."""
    n = len(vectors)
    for probe in ("plain", "hamming"):
        started = time.perf_counter()
        index = LSHashIndex.build(vectors, n_bits=10, n_tables=5, metric="euclidean", center=False, probe=probe)
        seconds = time.perf_counter() - started
        hashes = index._hashes
        function = "hamming" if probe == "hamming" else "euclidean"

        def search(query: Float32Array, _k: int, hashes: Any = hashes, function: str = function) -> Any:
            # Its own method, without our adapter's exact ranking.
            return hashes.query(query, distance_func=function)

        yield Contender(
            f"lshash3 {probe} (article: K=10, L=5)",
            seconds,
            None,
            search,
            None,
            lambda answer: len(answer) / n,
            {"lshash3": True},
            metric="euclidean",
            most_queries=40,
        )
