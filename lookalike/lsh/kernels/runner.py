"""How a query is handed to the compiled code."""

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.lsh.base import METRICS, Float32Array, Int64Array, Neighbors
from lookalike.lsh.content import Content, Segment
from lookalike.lsh.hyperplanes import BITS_PER_WORD, Keys
from lookalike.lsh.sketches import QuerySketch, alignment_factors
from lookalike.lsh.space import norm_of, rounding_error
from lookalike.lsh.steps import level_of, rerank_size
from lookalike.lsh.vectors import DiskReads, bits_of


@dataclass(frozen=True, slots=True)
class KernelRunner:
    """One state of an index in the form that the kernels take."""

    content: Content
    settings: tuple[int, float, float, int, int]
    arrays: tuple[Any, ...]
    disk_reads: DiskReads

    def query(self, kernels: ModuleType, query: Float32Array, k: int, probes: int, rerank: int) -> Neighbors | None:
        """The k nearest candidates; None if there are too few, or the query is a zero vector. 0 probes: of all rows."""
        space, planes = self.content.space, self.content.planes
        point = query if space.lift is None else space.lift.query(query, norm_of(query))
        projections = planes.normals @ (point - space.hash_mean)
        limits = (
            max(probes, 1) * planes.n_tables,
            level_of(k),
            rerank_size(rerank, k),
            k,
            # Buckets that hold at least a share of none hold enough to look at all rows instead.
            self.content.n_searched if probes else 0,
            self.disk_reads.are_likely(),
        )
        mean, hash_mean, plane_arrays, segments, searched = self.arrays
        rows, distances, n_ranked = kernels.find_nearest(
            _plain(query),
            mean,
            (projections, _plain(point), hash_mean),
            plane_arrays,
            self.settings,
            segments,
            searched,
            limits,
        )
        if n_ranked < 0:
            return None
        return self.content.answer(rows, distances, k, n_ranked)

    def rows_in_buckets(self, kernels: ModuleType, tables: Int64Array, keys: Keys) -> Int64Array:
        """The rows, ascending, that `steps.candidate_rows` gives."""
        segments, searched = self.arrays[-2:]
        rows, in_main, n_rows = kernels.find_candidates(tables, keys, segments, searched, self.content.n_searched)
        rows[in_main:n_rows] += len(self.content.main)
        return np.sort(rows[:n_rows]).astype(np.int64)

    def penalties(self, kernels: ModuleType, rows: Int64Array, sketch: QuerySketch) -> Int64Array:
        """The penalties (n,) of rows, as `sketches.penalties` gives them."""
        sums: Int64Array = kernels.penalties_of_rows(rows, self.arrays[-2], sketch.words, sketch.weights)
        return sums


def kernel_runner(content: Content) -> KernelRunner:
    """A runner over `content`."""
    space, planes = content.space, content.planes
    mean = space.mean.astype(np.float64)
    mean_norm = float(np.linalg.norm(mean))
    settings = (METRICS.index(space.metric), rounding_error(space.dim), mean_norm, planes.n_tables, planes.n_bits)
    searched = np.empty(0, np.bool_) if content.searched is None else content.searched
    segments = (_plain_arrays(content.main), _plain_arrays(content.tail))
    hash_mean = space.hash_mean.astype(np.float64)
    factors = alignment_factors(len(hash_mean), planes.sketch_bits // BITS_PER_WORD)
    arrays = (
        _plain(mean),
        _plain(hash_mean),
        (_plain(planes.normals), _plain(planes.norms), _plain(factors)),
        segments,
        _plain(searched),
    )
    return KernelRunner(content, settings, arrays, DiskReads(content.main.vectors))


def _plain_arrays(segment: Segment) -> tuple[NDArray[Any], ...]:
    vectors, *others = segment.arrays()
    # numba does not know half precision: the kernels take the bits.
    vectors = bits_of(vectors) if vectors.dtype == np.float16 else vectors
    return tuple(_plain(array) for array in (vectors, *others))


def _plain(array: NDArray[Any]) -> NDArray[Any]:
    """A read-only view: arrays in memory and on disk then have one type, and kernels are compiled once."""
    view = np.asarray(array).view()
    view.flags.writeable = False
    return view
