"""The steps of a query, in NumPy: bucket candidates, sketch filter, exact ranking, and the scan of all rows.

`kernels/steps.py` does the first three in compiled code, with equal results.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.lsh.base import Float32Array, Int64Array, Neighbors, no_neighbors
from lookalike.lsh.content import Content, numbered, take
from lookalike.lsh.hyperplanes import Keys, hash_query
from lookalike.lsh.probing import probe_sequence
from lookalike.lsh.sketches import QuerySketch, sketch_ranks
from lookalike.lsh.space import PreparedQuery, shortlist
from lookalike.lsh.vectors import release, widened, will_need

_ROWS_PER_SCAN = 1 << 14
# When fewer than one row in so many is searched, taking these out is cheaper than products with all.
_FEW_SEARCHED = 4
# The lowest level: the least number of neighbors that candidates are gathered for. They depend on k only through its
# level (64, 256, 1024, ...), so within a level the top k is a prefix of the top k + 1.
_LOWEST_LEVEL = 64
_LEVEL_FACTOR = 4
# With fewer rows than this for each neighbor of the level, looking everywhere is cheaper than hashing.
_SCAN_FACTOR = 4
# At least this many candidates for each neighbor of the level are ranked.
_RERANK_FACTOR = 2
# Buckets that hold this share of all rows, repetitions counted, are dearer than comparing all sketches in order.
ALL_ROWS_FACTOR = 4
# A query that finds too little in its first buckets probes this many times as many, step by step.
PROBE_FACTORS = (1, 4, 16)


def level_of(k: int) -> int:
    """The number of neighbors for which a query for k gathers candidates."""
    level = _LOWEST_LEVEL
    while level < k:
        level *= _LEVEL_FACTOR
    return level


def needs_scan(k: int, n_rows: int) -> bool:
    """Whether a scan of `n_rows` rows is cheaper than hashing for k neighbors."""
    return _SCAN_FACTOR * level_of(k) > n_rows


def rerank_size(rerank: int, k: int) -> int:
    """How many candidates pass the sketch filter for k neighbors, at least."""
    return max(rerank, _RERANK_FACTOR * level_of(k))


def nearest_in_buckets(content: Content, query: Float32Array, k: int, probes: int, rerank: int) -> Neighbors | None:
    """The k nearest candidates; None if there are too few, or the query is a zero vector. 0 probes: of all rows."""
    prepared = content.space.prepare(query)
    if prepared.is_zero:
        return None
    own, sketch, margins = hash_query(prepared, content.space, content.planes)
    tables, keys, _ = probe_sequence(own, margins, max(probes, 1) * content.planes.n_tables)
    rows = candidate_rows(content, tables, keys) if probes else content.searched_rows
    if len(rows) < level_of(k):
        return None
    kept = filter_by_sketch(content, rows, sketch, rerank_size(rerank, k))
    return content.answer(*rank_rows(content, kept, prepared, k), k, len(kept))


def rows_in_buckets(content: Content, tables: Int64Array, keys: Keys) -> Int64Array:
    """The distinct searched rows, ascending, in any of the buckets."""
    return np.unique(_repeated_rows(content, tables, keys))


def candidate_rows(content: Content, tables: Int64Array, keys: Keys) -> Int64Array:
    """The rows whose sketches are compared: those in the buckets, or all if the buckets hold a large share of them."""
    rows = _repeated_rows(content, tables, keys)
    return np.unique(rows) if ALL_ROWS_FACTOR * len(rows) < content.n_searched else content.searched_rows


def _repeated_rows(content: Content, tables: Int64Array, keys: Keys) -> Int64Array:
    """The searched rows of each bucket in turn."""
    in_main = content.main.tables.rows_of_buckets(tables, keys).astype(np.int64)
    in_tail = content.tail.tables.rows_of_buckets(tables, keys)
    rows = np.concatenate([in_main, in_tail + len(content.main)])
    return rows if content.searched is None else rows[content.searched[rows]]


def filter_by_sketch(content: Content, rows: Int64Array, sketch: QuerySketch, size: int) -> Int64Array:
    """The rows nearest to the query by their sketches: at least `size` of them, all of the last equal ones."""
    if len(rows) <= size:
        return rows
    sketches, alignments = take(content.segments, "sketches", rows), take(content.segments, "alignments", rows)
    scales, space = take(content.segments, "scales", rows), content.space
    ranks = sketch_ranks(sketches, alignments, scales, sketch, len(space.hash_mean), space.metric != "euclidean")
    kept: Int64Array = rows[ranks <= np.partition(ranks, size - 1)[size - 1]]
    return kept


def rank_rows(content: Content, rows: Int64Array, query: PreparedQuery, k: int) -> tuple[Int64Array, Float32Array]:
    """Those of the given rows, which must ascend, that can be among the k nearest, and their distances."""
    will_need(content.main.vectors, rows[: np.searchsorted(rows, len(content.main))])
    vectors = widened(take(content.segments, "vectors", rows))
    dots = vectors @ query.fast_direction
    ranks, bounds = content.space.approximate(dots, take(content.segments, "scales", rows), query)
    positions = shortlist(ranks, bounds, k)
    return rows[positions], content.space.distances(vectors[positions], query)


def scan(content: Content, query: PreparedQuery, k: int) -> Neighbors:
    """The k nearest of all living rows."""
    if query.is_zero and content.space.metric != "euclidean":
        return _nearest_to_zero(content, k)
    parts = []
    for block in searched_blocks(content, _ROWS_PER_SCAN):
        ranks, bounds = block.approximate(content, block.vectors @ query.fast_direction, query)
        near = shortlist(ranks, bounds, k)
        parts.append((block.rows[near], ranks[near], bounds[near]))
    return nearest_of_parts(content, parts, query, k)


def nearest_of_parts(
    content: Content, parts: Sequence[tuple[NDArray[Any], ...]], query: PreparedQuery, k: int
) -> Neighbors:
    """The k nearest of rows with approximate ranks and bounds on their error."""
    if not parts:
        return no_neighbors()
    rows, ranks, bounds = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    near = np.sort(rows[shortlist(ranks, bounds, k)])
    distances = content.space.distances(take(content.segments, "vectors", near), query)
    return content.answer(near, distances, k, len(content))


def _nearest_to_zero(content: Content, k: int) -> Neighbors:
    """The k nearest to a zero vector, by definition: for cosine zero vectors at 0, and others at 1; else all at 0."""
    rows = np.concatenate([np.empty(0, np.int64), *(block.rows for block in searched_blocks(content, _ROWS_PER_SCAN))])
    is_near = take(content.segments, "scales", rows) == 0.0 if content.space.metric == "cosine" else True
    distances = np.where(is_near, np.zeros(len(rows), np.float32), np.float32(1))
    return content.answer(rows, distances, k, len(content))


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive rows: their vectors (n, dim), and of those that are searched the positions, numbers and scales."""

    vectors: Float32Array
    searched: Int64Array | slice
    rows: Int64Array
    scales: Float32Array

    def approximate(
        self, content: Content, dots: Float32Array, query: PreparedQuery
    ) -> tuple[Float32Array, Float32Array]:
        """Approximate ranks of the searched rows and bounds on their error, from dot products with all vectors."""
        return content.space.approximate(dots[self.searched], self.scales, query)


def searched_blocks(content: Content, rows_per_block: int) -> Iterator[Block]:
    """All rows in blocks; if few of them are searched, only those."""
    if _FEW_SEARCHED * content.n_searched < len(content.ids):
        for start in range(0, content.n_searched, rows_per_block):
            rows = content.searched_rows[start : start + rows_per_block]
            vectors = widened(take(content.segments, "vectors", rows))
            yield Block(vectors, slice(None), rows, take(content.segments, "scales", rows))
        return
    for first, segment in numbered(content.segments):
        for start in range(0, len(segment), rows_per_block):
            some = slice(start, start + rows_per_block)
            will_need(segment.vectors, some)
            vectors = widened(segment.vectors[some])
            rows = np.arange(first + start, first + start + len(vectors))
            kept = slice(None) if content.searched is None else np.flatnonzero(content.searched[rows])
            yield Block(vectors, kept, rows[kept], segment.scales[some][kept])
            release(segment.vectors, some)
