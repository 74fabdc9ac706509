"""The steps of a query, in NumPy: bucket candidates, sketch filter, exact ranking, and the scan of all rows.

`kernels/steps.py` does the first three in compiled code, with equal results.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.lsh.base import Int64Array, Neighbors, nearest_first, no_neighbors
from lookalike.lsh.content import Content, Segment
from lookalike.lsh.hyperplanes import Keys, Sketches
from lookalike.lsh.space import PreparedQuery, shortlist

_ROWS_PER_SCAN = 1 << 16
# The smallest number of neighbors that a query prepares for. Candidates depend on k only through its
# level (64, 256, 1024, ...), so within a level the top k is a prefix of the top k + 1.
_LOWEST_LEVEL = 64
_LEVEL_FACTOR = 4
# With fewer rows than this for each neighbor of the level, looking everywhere is cheaper than hashing.
_SCAN_FACTOR = 4
# At least this many candidates for each neighbor of the level are ranked.
_RERANK_FACTOR = 2
# Buckets that hold this share of all rows, repetitions counted, are dearer than comparing all sketches in order.
ALL_ROWS_FACTOR = 4


def level_of(k: int) -> int:
    """The number of neighbors that a query for k prepares for."""
    level = _LOWEST_LEVEL
    while level < k:
        level *= _LEVEL_FACTOR
    return level


def needs_scan(k: int, n_rows: int) -> bool:
    """Whether k neighbors of n_rows are had more cheaply by looking everywhere."""
    return _SCAN_FACTOR * level_of(k) > n_rows


def rerank_size(rerank: int, k: int) -> int:
    """How many candidates pass the sketch filter for k neighbors, at least."""
    return max(rerank, _RERANK_FACTOR * level_of(k))


def rows_in_buckets(content: Content, tables: Int64Array, keys: Keys) -> Int64Array:
    """The distinct living rows, ascending, in any of the buckets."""
    return np.unique(_repeated_rows(content, tables, keys))


def candidate_rows(content: Content, tables: Int64Array, keys: Keys) -> Int64Array:
    """The rows to compare: those in the buckets, or all living rows where the buckets hold much of everything."""
    rows = _repeated_rows(content, tables, keys)
    if ALL_ROWS_FACTOR * len(rows) < len(content):
        return np.unique(rows)
    return np.arange(len(content.ids)) if content.alive is None else np.flatnonzero(content.alive)


def _repeated_rows(content: Content, tables: Int64Array, keys: Keys) -> Int64Array:
    """The living rows of each bucket in turn."""
    in_main = content.main.tables.rows_of_buckets(tables, keys).astype(np.int64)
    in_tail = content.tail.tables.rows_of_buckets(tables, keys)
    rows = np.concatenate([in_main, in_tail + len(content.main)])
    return rows if content.alive is None else rows[content.alive[rows]]


def filter_by_sketch(content: Content, rows: Int64Array, sketch: Sketches, size: int) -> Int64Array:
    """The rows whose sketches differ least from the query's: at least `size` of them, all of the last equal ones."""
    if len(rows) <= size:
        return rows
    differing = np.bitwise_count(_take(content.segments, "sketches", rows) ^ sketch).sum(axis=1)
    kept: Int64Array = rows[differing <= np.partition(differing, size - 1)[size - 1]]
    return kept


def rank_rows(content: Content, rows: Int64Array, query: PreparedQuery, k: int) -> Neighbors:
    """The k nearest of the given rows, which must ascend."""
    vectors = _take(content.segments, "vectors", rows)
    dots = vectors @ query.fast_direction
    ranks, bounds = content.space.approximate(dots, _take(content.segments, "scales", rows), query)
    positions = shortlist(ranks, bounds, k)
    distances = content.space.distances(vectors[positions], query)
    return nearest_first(content.ids[rows[positions]], distances, k, len(rows))


def scan(content: Content, query: PreparedQuery, k: int) -> Neighbors:
    """The k nearest of all living rows."""
    found = [
        _scan_block(content, segment, slice(start, start + _ROWS_PER_SCAN), first, query, k)
        for first, segment in _numbered(content.segments)
        for start in range(0, len(segment), _ROWS_PER_SCAN)
    ]
    if not found:
        return no_neighbors()
    rows, ranks, bounds = (np.concatenate(parts) for parts in zip(*found, strict=True))
    near = np.sort(rows[shortlist(ranks, bounds, k)])
    distances = content.space.distances(_take(content.segments, "vectors", near), query)
    return nearest_first(content.ids[near], distances, k, len(content))


def _scan_block(
    content: Content, segment: Segment, some: slice, first: int, query: PreparedQuery, k: int
) -> tuple[NDArray[Any], ...]:
    """Rows of one block that can be among the k nearest, with their approximate ranks and bounds."""
    dots = segment.vectors[some] @ query.fast_direction
    ranks, bounds = content.space.approximate(dots, segment.scales[some], query)
    rows = np.arange(len(dots)) + (first + some.start)
    if content.alive is not None:
        kept = content.alive[rows]
        rows, ranks, bounds = rows[kept], ranks[kept], bounds[kept]
    positions = shortlist(ranks, bounds, k)
    return rows[positions], ranks[positions], bounds[positions]


def _numbered(segments: Sequence[Segment]) -> list[tuple[int, Segment]]:
    """The segments, each with the number of its first row."""
    firsts = np.cumsum([0] + [len(segment) for segment in segments]).tolist()
    return list(zip(firsts, segments, strict=False))


def _take(segments: Sequence[Segment], name: str, rows: Int64Array) -> NDArray[Any]:
    """One array of the segments at the given rows, which must ascend."""
    taken: NDArray[Any]
    if len(rows) == 0 or rows[-1] < len(segments[0]):
        taken = getattr(segments[0], name)[rows]
        return taken
    pieces = []
    for first, segment in _numbered(segments):
        begin, end = np.searchsorted(rows, [first, first + len(segment)])
        pieces.append(getattr(segment, name)[rows[begin:end] - first])
    return np.concatenate(pieces)
