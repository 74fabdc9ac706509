"""The engines that are compared. Each is built over centred unit vectors, or centres them itself."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.vectors import Float32Array
from lookalike.lsh import HyperplaneLSH, LSHashIndex, tune_lsh

K = 10


@dataclass
class Contender:
    """A built engine: one query to ids, many queries to ids, and what it cost."""

    name: str
    build_seconds: float
    overhead_bytes_per_vector: float | None
    search_one: Callable[[Float32Array], Any]
    search_batch: Callable[[Float32Array], Any] | None
    candidates: Callable[[Any], float] | None = None
    details: dict[str, Any] = field(default_factory=dict)
    most_queries: int = 1000
    # Recall is measured against exact search by this distance: cosine is that of the centred vectors.
    metric: str = "cosine"

    def forget(self) -> None:
        """Let go of the index: two engines' copies of a million vectors must not be in memory together."""
        self.search_one, self.search_batch, self.candidates, self.details = _forgotten, None, None, {}


def _forgotten(_query: Float32Array) -> Any:
    raise RuntimeError("this engine was measured already")


def exact_numpy(unit: Float32Array, mean: Float32Array) -> Contender:
    """The plain way: one matrix-vector product over vectors that were normalised beforehand, and a partition."""

    def search(query: Float32Array) -> Any:
        similarities = unit @ (query - mean)
        nearest = np.argpartition(-similarities, K)[:K]
        return nearest[np.argsort(-similarities[nearest])]

    def search_batch(queries: Float32Array) -> Any:
        found = []
        for start in range(0, len(queries), 50):
            similarities = (queries[start : start + 50] - mean) @ unit.T
            found.append(np.argpartition(-similarities, K, axis=1)[:, :K])
        return np.concatenate(found)

    return Contender("exact NumPy", 0.0, 0.0, search, search_batch, lambda _: 1.0, most_queries=60)


def ours(vectors: Float32Array, targets: tuple[float, ...]) -> Iterator[Contender]:
    """Our engine tuned for each target, and the first of these indexes with fewer and more probes."""
    n = len(vectors)
    for number, target in enumerate(targets):
        started = time.perf_counter()
        params = tune_lsh(vectors, target_recall=target)
        tuning_seconds = time.perf_counter() - started
        started = time.perf_counter()
        index = HyperplaneLSH.build(vectors, **params.as_kwargs())
        build_seconds = time.perf_counter() - started
        index.warm_up()
        factors = (1.0, 0.25, 0.5, 2.0, 4.0) if number == 0 else (1.0,)
        for probes in sorted({max(1, round(params.probes * factor)) for factor in factors}):
            tuned = probes == params.probes
            name = f"lookalike, tuned for {target:g}" if tuned else f"lookalike, probes {probes}"
            details = {**params.as_kwargs(), "probes": probes, "tuning_seconds": tuning_seconds if tuned else None}
            overhead = index.stats()["overhead_bytes_per_vector"]
            yield _our_contender(name, index, probes, build_seconds, overhead, n, details)
        if n <= 20_000 and number == 0:
            yield _numpy_contender(index, params.probes, build_seconds, overhead, n)


def _our_contender(
    name: str, index: HyperplaneLSH, probes: int, build_seconds: float, overhead: float, n: int, details: dict[str, Any]
) -> Contender:
    return Contender(
        name,
        build_seconds,
        overhead,
        lambda query: index.query(query, K, probes=probes),
        lambda queries: index.query_batch(queries, K, probes=probes, threads=1),
        lambda answer: answer.candidates / n,
        {**details, "index": index},
    )


def _numpy_contender(index: HyperplaneLSH, probes: int, build_seconds: float, overhead: float, n: int) -> Contender:
    """The same index without compiled code, as a cold single query runs."""
    content = index._content

    def search(query: Float32Array) -> Any:
        return index._query_numpy(content, query, K, probes)

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

        def search(query: Float32Array, hashes: Any = hashes, function: str = function) -> Any:
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


def faiss_engines(unit: Float32Array, mean: Float32Array, with_hnsw: bool) -> Iterator[Contender]:
    """FAISS: flat, LSH codes, inverted lists, HNSW graph; on centred unit vectors, by inner product."""
    import faiss

    n, dim = unit.shape
    yield _faiss_contender("FAISS flat", faiss.IndexFlatIP(dim), unit, mean, 0.0)
    yield _faiss_contender("FAISS IndexLSH, 2,048 bits", faiss.IndexLSH(dim, 2048), unit, mean, 256.0)
    n_lists = 2 ** int(np.log2(max(np.sqrt(n), 16)))
    n_probes = max(8, n_lists // 16)
    name, overhead = f"FAISS IVF{n_lists}, nprobe {n_probes}", 8.0 + 4 * dim * n_lists / n
    yield _faiss_contender(name, _inverted_lists(dim, n_lists, n_probes), unit, mean, overhead)
    if with_hnsw:
        name, overhead = "FAISS HNSW32, efSearch 64", 32 * 2 * 4 + 8.0
        yield _faiss_contender(name, faiss.IndexHNSWFlat(dim, 32, faiss.METRIC_INNER_PRODUCT), unit, mean, overhead)


def _inverted_lists(dim: int, n_lists: int, n_probes: int) -> Any:
    import faiss

    index = faiss.index_factory(dim, f"IVF{n_lists},Flat", faiss.METRIC_INNER_PRODUCT)
    index.cp.niter, index.cp.max_points_per_centroid, index.nprobe = 10, 50, n_probes
    return index


def _faiss_contender(name: str, index: Any, unit: Float32Array, mean: Float32Array, overhead: float) -> Contender:
    started = time.perf_counter()
    if not index.is_trained:
        index.train(unit)
    index.add(unit)
    seconds = time.perf_counter() - started
    if hasattr(index, "hnsw"):
        index.hnsw.efSearch = 64

    def normalised(queries: Float32Array) -> Float32Array:
        centered = queries - mean
        return centered / np.linalg.norm(centered, axis=1, keepdims=True)

    return Contender(
        name,
        seconds,
        overhead,
        lambda query: index.search(normalised(query[None, :]), K)[1][0],
        lambda queries: index.search(normalised(queries), K)[1],
    )
