"""When compiled code is used, and how a query is handed to it.

numba takes half a second to import, and the kernels take some seconds to compile the first time on a
machine (later they come from numba's cache on disk). NumPy answers a single query sooner than that, so
the kernels are loaded only by a batch that would keep NumPy busy for longer, or by `warm_up`.
From then on every index in the process uses them. Answers are equal either way.
"""

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.lsh.base import METRICS, Float32Array, Neighbors
from lookalike.lsh.content import Content, Segment
from lookalike.lsh.hyperplanes import BITS_PER_WORD
from lookalike.lsh.sketches import alignment_factors
from lookalike.lsh.space import norm_of, rounding_error
from lookalike.lsh.steps import level_of, rerank_size

# About what importing and compiling cost; a batch that takes NumPy longer is worth it.
COMPILE_SECONDS = 5.0

_loaded: dict[str, ModuleType] = {}


def load_kernels() -> None:
    """Bring the compiled kernels into this process; imports numba on the first call."""
    from lookalike.lsh.kernels import steps

    _loaded["steps"] = steps


def kernels_are_loaded() -> bool:
    """Whether compiled kernels are in this process already."""
    return "steps" in _loaded


@dataclass(frozen=True, slots=True)
class KernelRunner:
    """One state of an index in the form that the kernels take."""

    content: Content
    settings: tuple[int, float, float, int, int]
    arrays: tuple[Any, ...]

    def query(self, query: Float32Array, k: int, probes: int, rerank: int) -> Neighbors | None:
        """The k nearest candidates; None if there are too few, or the query is a zero vector."""
        space, planes = self.content.space, self.content.planes
        point = query if space.lift is None else space.lift.query(query, norm_of(query))
        projections = planes.normals @ (point - space.hash_mean)
        limits = (probes * planes.n_tables, level_of(k), rerank_size(rerank, k), k, self.content.n_searched)
        mean, hash_mean, plane_arrays, segments, searched = self.arrays
        rows, distances, n_ranked = _loaded["steps"].find_nearest(
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


def kernel_runner(content: Content) -> KernelRunner:
    """A runner over `content`; call `load_kernels` before its first query."""
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
    return KernelRunner(content, settings, arrays)


def _plain_arrays(segment: Segment) -> tuple[NDArray[Any], ...]:
    return tuple(_plain(array) for array in segment.arrays())


def _plain(array: NDArray[Any]) -> NDArray[Any]:
    """A read-only view: arrays in memory and on disk then have one type, and kernels are compiled once."""
    view = np.asarray(array).view()
    view.flags.writeable = False
    return view
