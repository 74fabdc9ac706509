"""Queries that promise: the k nearest are all found with a given chance, or everything is looked at.

A neighbor can be lost in two ways, and each gets half of the chance that is left:

- It lies in no bucket that is looked up. A neighbor found at some angle was missed with a known chance p, so that for
  each one found p / (1 - p) more are expected unseen. Buckets are added until their sum is small enough; in the end
  the sketches of all rows are compared.
- Its sketch makes it look too far away. Every row is ranked whose estimate, less so many standard deviations, could be
  among the k nearest (Gao and Long, RaBitQ, SIGMOD 2024).
"""

from dataclasses import dataclass, replace
from types import ModuleType

import numpy as np

from lookalike.lsh import steps
from lookalike.lsh.base import Float32Array, Float64Array, Int64Array, Neighbors
from lookalike.lsh.chances import chances_to_miss, cosine_deviations, deviations_for, estimated_cosines
from lookalike.lsh.content import Content, take
from lookalike.lsh.hyperplanes import Keys, hash_query
from lookalike.lsh.kernels.runner import KernelRunner
from lookalike.lsh.probing import probe_sequence
from lookalike.lsh.sketches import QuerySketch, alignment_factors, penalties
from lookalike.lsh.space import PreparedQuery

Compiled = tuple[ModuleType, KernelRunner]

# In fewer dimensions the errors of estimates are far from normal.
_FEWEST_DIMENSIONS = 16


@dataclass(frozen=True, slots=True)
class Hash:
    """A query's bucket in each table, its sketch, and its squared distances to the tables' hyperplanes."""

    keys: Keys
    sketch: QuerySketch
    margins: Float64Array


@dataclass(frozen=True, slots=True)
class Met:
    """Rows (n,), ascending, from the buckets (m,) of `tables` and `keys`, in order; or all rows."""

    rows: Int64Array
    tables: Int64Array
    keys: Keys
    is_everything: bool


def _meet(content: Content, hashed: Hash, n_probes: int | None, compiled: Compiled | None) -> Met:
    """The rows in the first buckets; all rows for None."""
    if n_probes is None:
        return Met(content.searched_rows, np.empty(0, np.int64), np.empty(0, np.uint32), True)
    sequence = probe_sequence if compiled is None else compiled[0].probe_sequence
    tables, keys = sequence(hashed.keys, hashed.margins, n_probes)[:2]
    # Compiled code lists the same buckets in another order; chances are summed in this one.
    order = np.lexsort((keys, tables))
    tables, keys = tables[order], keys[order]
    if compiled is None:
        rows = steps.candidate_rows(content, tables, keys)
    else:
        rows = compiled[1].rows_in_buckets(compiled[0], tables, keys)
    return Met(rows, tables, keys, len(rows) == content.n_searched)


def _can_promise(content: Content) -> bool:
    """Whether the errors of the estimates are known."""
    has_alignments = content.main.alignments.shape[1] > 0
    return has_alignments and content.space.lift is None and content.space.dim >= _FEWEST_DIMENSIONS


def sure_answer(
    content: Content, query: PreparedQuery, k: int, confidence: float, probes: int, compiled: Compiled | None
) -> Neighbors:
    """All k nearest, with a chance of at least `confidence`; by a scan where nothing else can promise that.

    `probes` buckets per table are looked up first. `compiled` is the compiled code, if it is loaded, and a runner.
    """
    if query.is_zero or not _can_promise(content):
        return replace(steps.scan(content, query, k), confidence=1.0)
    hashed = Hash(*hash_query(query, content.space, content.planes))
    n_probes, allowed = probes * content.planes.n_tables, (1.0 - confidence) / 2.0
    for number in (*(factor * n_probes for factor in steps.PROBE_FACTORS), None):
        met = _meet(content, hashed, number, compiled)
        if len(met.rows) < min(steps.level_of(k), content.n_searched):
            continue
        rows, distances, n_ranked = _nearest_of(content, query, hashed.sketch, met.rows, k, allowed, compiled)
        unseen = 0.0 if met.is_everything else _expected_unseen(content, query, hashed, met, rows, distances, k)
        if unseen <= allowed:
            break
    return replace(content.answer(rows, distances, k, n_ranked), confidence=1.0 - allowed - unseen)


def _nearest_of(
    content: Content,
    query: PreparedQuery,
    sketch: QuerySketch,
    rows: Int64Array,
    k: int,
    allowed: float,
    compiled: Compiled | None,
) -> tuple[Int64Array, Float32Array, int]:
    """Rows and distances of all that can be among the k nearest of the given rows; how many were ranked."""
    space, dim = content.space, content.space.dim
    alignments = take(content.segments, "alignments", rows)[:, 0]
    if compiled is None:
        sums = penalties(take(content.segments, "sketches", rows), sketch)
    else:
        sums = compiled[1].penalties(compiled[0], rows, sketch)
    factors = alignment_factors(dim, len(sketch.words))
    cosines = estimated_cosines(sums, factors[alignments], sketch, query.norm)
    scales = take(content.segments, "scales", rows).astype(np.float64)
    size = min(steps.rerank_size(1, k), len(rows))
    estimates = _distances(space.metric, cosines, scales, query.norm)
    first = estimates <= np.partition(estimates, size - 1)[size - 1]
    _, distances = steps.rank_rows(content, rows[first], query, k)
    limit = float(np.sort(distances)[k - 1]) if len(distances) >= k else np.inf
    nearest_cosine = 1.0 - limit if space.metric == "cosine" else 0.0
    deviations = cosine_deviations(dim, len(sketch.words), nearest_cosine)
    # Rounding of the alignment to a byte.
    slack = deviations_for(allowed / k) * deviations + 0.5 / np.maximum(np.arange(len(deviations)), 1.0)
    lowest = _distances(space.metric, cosines + slack[alignments], scales, query.norm)
    kept = first | (lowest <= limit)
    near, distances = steps.rank_rows(content, rows[kept], query, k)
    return near, distances, int(np.count_nonzero(kept))


def _distances(metric: str, cosines: Float64Array, scales: Float64Array, norm: float) -> Float64Array:
    """Distances (n,) of rows at angles of these cosines."""
    if metric == "cosine":
        return 1.0 - cosines
    squared = scales + norm * norm - 2.0 * norm * np.sqrt(scales) * cosines
    distances: Float64Array = np.sqrt(np.maximum(squared, 0.0))
    return distances


def _expected_unseen(
    content: Content, query: PreparedQuery, hashed: Hash, met: Met, rows: Int64Array, distances: Float32Array, k: int
) -> float:
    """How many rows nearer than the k-th of these are expected in buckets that were not looked up."""
    nearest = np.sort(np.lexsort((rows, distances))[:k])
    space = content.space
    vectors = take(content.segments, "vectors", rows[nearest]) - space.mean.astype(np.float64)
    own = query.vector - space.mean.astype(np.float64)
    norms = np.linalg.norm(vectors, axis=1) * np.linalg.norm(own)
    cosines = np.clip(np.divide(vectors @ own, norms, out=np.zeros(len(norms)), where=norms > 0.0), -1.0, 1.0)
    coordinates = np.sqrt(hashed.margins) / query.norm
    missed = chances_to_miss(hashed.keys, coordinates, met.tables, met.keys, cosines, space.dim)
    return float((missed / np.maximum(1.0 - missed, 1e-12)).sum())
