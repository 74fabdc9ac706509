"""Exact search by matrix products: the ground truth that every recall is measured against."""

from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from lookalike.lsh.base import Float32Array, Int64Array, Metric, Neighbors, nearest_first, no_neighbors
from lookalike.lsh.checks import checked_ids, checked_int, checked_mean, checked_metric, checked_query, checked_vectors
from lookalike.lsh.content import Segment
from lookalike.lsh.search import scan_segments
from lookalike.lsh.space import PreparedQuery, VectorSpace, shortlist

_ROWS_PER_PRODUCT = 1 << 14
_QUERIES_PER_PRODUCT = 256


class ExactIndex:
    """All vectors, searched by computing every distance; make one with `build` or `load`."""

    def __init__(self, space: VectorSpace, vectors: Float32Array, scales: Float32Array, ids: Int64Array) -> None:
        self._space = space
        self._vectors = vectors
        self._scales = scales
        self._ids = ids

    @classmethod
    def build(
        cls,
        vectors: ArrayLike,
        ids: ArrayLike | None = None,
        *,
        metric: Metric = "cosine",
        mean: ArrayLike | None = None,
    ) -> Self:
        """An exact index over `vectors` (n, dim), which it refers to and does not copy; `mean` is subtracted first.

        Give `mean=index.mean` of a hashing index to rank exactly as that one does.
        """
        rows = checked_vectors(vectors)
        space = VectorSpace(checked_metric(metric), checked_mean(mean, rows.shape[1]))
        return cls(space, rows, space.row_scales(rows), checked_ids(ids, len(rows)))

    def query(self, vector: ArrayLike, k: int) -> Neighbors:
        """The min(k, len) nearest to `vector` (dim,), nearest first, equal distances by id."""
        query, k = checked_query(vector, self.dim), checked_int("k", k, 1)
        segments = [Segment(self._vectors, self._scales, None, None)]  # type: ignore[arg-type]
        return scan_segments(self._space, segments, self._ids, None, self._space.prepare(query), k)

    def search_exact(self, vector: ArrayLike, k: int) -> Neighbors:
        """The same as `query`: this engine always compares with every vector."""
        return self.query(vector, k)

    def query_batch(self, vectors: ArrayLike, k: int) -> list[Neighbors]:
        """What `query` answers for each row of `vectors` (n_queries, dim), by products of blocks."""
        queries, k = checked_vectors(vectors, self.dim, "queries"), checked_int("k", k, 1)
        answers: list[Neighbors] = []
        for start in range(0, len(queries), _QUERIES_PER_PRODUCT):
            answers += self._query_block(
                [self._space.prepare(q) for q in queries[start : start + _QUERIES_PER_PRODUCT]], k
            )
        return answers

    def _query_block(self, queries: list[PreparedQuery], k: int) -> list[Neighbors]:
        directions = np.stack([query.fast_direction for query in queries])
        found: list[list[tuple[Any, Any, Any]]] = [[] for _ in queries]
        limits = np.full(len(queries), np.inf, np.float32)
        for start in range(0, len(self), _ROWS_PER_PRODUCT):
            some = slice(start, start + _ROWS_PER_PRODUCT)
            products = directions @ self._vectors[some].T
            for number, query in enumerate(queries):
                ranks, bounds = self._space.approximate(products[number], self._scales[some], query)
                near = np.flatnonzero(ranks - bounds <= limits[number])
                near = near[shortlist(ranks[near], bounds[near], k)]
                found[number].append((near + start, ranks[near], bounds[near]))
                if len(near) >= k:
                    highest = np.partition(ranks[near] + bounds[near], k - 1)[k - 1]
                    limits[number] = min(limits[number], highest)
        return [self._best(query, parts, k) for query, parts in zip(queries, found, strict=True)]

    def _best(self, query: PreparedQuery, parts: list[tuple[Any, Any, Any]], k: int) -> Neighbors:
        if not parts:
            return no_neighbors()
        rows, ranks, bounds = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        near = rows[shortlist(ranks, bounds, k)]
        return nearest_first(self._ids[near], self._space.distances(self._vectors[near], query), k, len(self))

    def save(self, folder: Path | str) -> None:
        """Write the index to `folder`."""
        from lookalike.lsh.storage import write_index_folder

        arrays = {"vectors": self._vectors, "scales": self._scales, "ids": self._ids, "mean": self._space.mean}
        write_index_folder(Path(folder), "exact", {"metric": self._space.metric}, arrays)

    @classmethod
    def load(cls, folder: Path | str, mmap: bool = True) -> Self:
        """The index that `save` wrote."""
        from lookalike.lsh.storage import read_arrays, read_description

        description = read_description(Path(folder), "exact")
        arrays = read_arrays(Path(folder), description, mmap)
        space = VectorSpace(description["parameters"]["metric"], arrays["mean"])
        return cls(space, arrays["vectors"], arrays["scales"], arrays["ids"])

    def stats(self) -> dict[str, Any]:
        """Figures about the index, fit for JSON."""
        return {"engine": "exact", "n_vectors": len(self), "dim": self.dim, "metric": self._space.metric}

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def dim(self) -> int:
        """Length of the vectors."""
        return self._space.dim

    @property
    def metric(self) -> Metric:
        """The distance that neighbors are ranked by."""
        return self._space.metric

    @property
    def mean(self) -> Float32Array:
        """What is subtracted from every vector (dim,)."""
        return self._space.mean
