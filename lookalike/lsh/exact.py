"""Exact search by matrix products: the ground truth that every recall is measured against."""

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lookalike.lsh import steps
from lookalike.lsh.base import Metric, Neighbors
from lookalike.lsh.changes import compacted
from lookalike.lsh.checks import checked_ids, checked_int, checked_mean, checked_metric, checked_vectors
from lookalike.lsh.content import Content, content_of_segment, new_content, unhashed_segment
from lookalike.lsh.growing import GrowingIndex
from lookalike.lsh.hyperplanes import no_hyperplanes
from lookalike.lsh.space import PreparedQuery, VectorSpace, shortlist, space_of_rows

_ROWS_PER_PRODUCT = 1 << 14
_QUERIES_PER_PRODUCT = 256


class ExactIndex(GrowingIndex):
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
        given_mean = None if mean is None else checked_mean(mean, rows.shape[1])
        space = space_of_rows(checked_metric(metric), rows, False, given_mean)
        return cls(new_content(rows, checked_ids(ids, len(rows)), space, no_hyperplanes(space.dim)))

    def query(self, vector: ArrayLike, k: int) -> Neighbors:
        """The min(k, len) nearest to `vector` (dim,), nearest first, equal distances by id."""
        return self.search_exact(vector, k)

    def query_batch(self, vectors: ArrayLike, k: int) -> list[Neighbors]:
        """The answer of `query` for each row of `vectors` (n_queries, dim), by matrix products of blocks."""
        queries, k = checked_vectors(vectors, self.dim, "queries"), checked_int("k", k, 1)
        content, answers = self._content, []
        for start in range(0, len(queries), _QUERIES_PER_PRODUCT):
            prepared = [content.space.prepare(query) for query in queries[start : start + _QUERIES_PER_PRODUCT]]
            answers += self._query_block(content, prepared, k)
        return answers

    def _query_block(self, content: Content, queries: list[PreparedQuery], k: int) -> list[Neighbors]:
        directions = np.stack([query.fast_direction for query in queries])
        found: list[list[tuple[Any, Any, Any]]] = [[] for _ in queries]
        limits = np.full(len(queries), np.inf, np.float32)
        for block in steps.searched_blocks(content, _ROWS_PER_PRODUCT):
            products = directions @ block.vectors.T
            for number, query in enumerate(queries):
                ranks, bounds = block.approximate(content, products[number], query)
                near = np.flatnonzero(ranks - bounds <= limits[number])
                near = near[shortlist(ranks[near], bounds[near], k)]
                found[number].append((block.rows[near], ranks[near], bounds[near]))
                if len(near) >= k:
                    highest = np.partition(ranks[near] + bounds[near], k - 1)[k - 1]
                    limits[number] = min(limits[number], highest)
        # A zero vector is as near to all others: there is no short list.
        return [
            steps.scan(content, query, k) if query.is_zero else steps.nearest_of_parts(content, parts, query, k)
            for query, parts in zip(queries, found, strict=True)
        ]

    def _stored(self) -> tuple[Content, dict[str, Any], dict[str, NDArray[Any]]]:
        content = compacted(self._content)
        return content, {}, {"scales": content.main.scales, **content.stored_copies()}

    @classmethod
    def _restored(cls, space: VectorSpace, parameters: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Self:
        segment = unhashed_segment(arrays["vectors"], arrays["scales"])
        return cls(content_of_segment(segment, arrays["ids"], space, no_hyperplanes(space.dim), arrays.get("copies")))
