"""Exact search by matrix products: the ground truth that every recall is measured against."""

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lookalike.lsh.base import Metric, Neighbors, nearest_first, no_neighbors
from lookalike.lsh.checks import checked_ids, checked_int, checked_mean, checked_metric, checked_vectors
from lookalike.lsh.content import Content, content_of_segment, new_content, unhashed_segment
from lookalike.lsh.hyperplanes import no_hyperplanes
from lookalike.lsh.index import VectorIndex
from lookalike.lsh.space import PreparedQuery, VectorSpace, shortlist

_ROWS_PER_PRODUCT = 1 << 14
_QUERIES_PER_PRODUCT = 256


class ExactIndex(VectorIndex):
    """All vectors, searched by computing every distance; make one with `build` or `load`."""

    engine = "exact"

    @classmethod
    def build(
        cls,
        vectors: ArrayLike,
        ids: ArrayLike | None = None,
        *,
        metric: Metric = "cosine",
        mean: ArrayLike | None = None,
    ) -> Self:
        """An exact index over `vectors` (n, dim), which are referred to, not copied; `mean` is subtracted first.

        With `mean=index.mean` of another index it ranks exactly as that one.
        """
        rows = checked_vectors(vectors)
        space = VectorSpace(checked_metric(metric), checked_mean(mean, rows.shape[1]))
        return cls(new_content(rows, checked_ids(ids, len(rows)), space, no_hyperplanes(space.dim)))

    def query(self, vector: ArrayLike, k: int) -> Neighbors:
        """The min(k, len) nearest to `vector` (dim,), nearest first, equal distances by id."""
        return self.search_exact(vector, k)

    def query_batch(self, vectors: ArrayLike, k: int) -> list[Neighbors]:
        """The answer of `query` for each row of `vectors` (n_queries, dim), by matrix products of blocks."""
        queries, k = checked_vectors(vectors, self.dim, "queries"), checked_int("k", k, 1)
        answers: list[Neighbors] = []
        for start in range(0, len(queries), _QUERIES_PER_PRODUCT):
            block = queries[start : start + _QUERIES_PER_PRODUCT]
            answers += self._query_block([self._content.space.prepare(query) for query in block], k)
        return answers

    def _query_block(self, queries: list[PreparedQuery], k: int) -> list[Neighbors]:
        main = self._content.main
        directions = np.stack([query.fast_direction for query in queries])
        found: list[list[tuple[Any, Any, Any]]] = [[] for _ in queries]
        limits = np.full(len(queries), np.inf, np.float32)
        for start in range(0, len(self), _ROWS_PER_PRODUCT):
            some = slice(start, start + _ROWS_PER_PRODUCT)
            products = directions @ main.vectors[some].T
            for number, query in enumerate(queries):
                ranks, bounds = self._content.space.approximate(products[number], main.scales[some], query)
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
        content = self._content
        distances = content.space.distances(content.main.vectors[near], query)
        return nearest_first(content.ids[near], distances, k, len(self))

    def _stored(self) -> tuple[Content, dict[str, Any], dict[str, NDArray[Any]]]:
        return self._content, {}, {"scales": self._content.main.scales}

    @classmethod
    def _restored(cls, space: VectorSpace, parameters: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Self:
        segment = unhashed_segment(arrays["vectors"], arrays["scales"])
        return cls(content_of_segment(segment, arrays["ids"], space, no_hyperplanes(space.dim)))
