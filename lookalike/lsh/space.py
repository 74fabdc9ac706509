"""The space that vectors are compared in: a metric and a mean, with one exact definition of distance.

Ranking works in two steps. First a fast float32 dot product gives approximate distances with a known
bound on their rounding error; then every row that could be among the k nearest within that bound is
computed again in float64, row by row, always by the same operations. So the answer depends neither on
the order of summation in the fast step, nor on how many queries or rows were handled together: NumPy,
compiled code, single queries and batches give equal answers.
"""

from dataclasses import dataclass

import numpy as np

from lookalike.lsh.base import Float32Array, Float64Array, Metric

# Directions of vectors shorter than this cannot be told in float32: they count as zero vectors.
SMALLEST_NORM = 1e-30
# Below this a cosine distance is rounding error of float64 sums: equal vectors are at distance 0.
SMALLEST_COSINE_DISTANCE = 1e-13
_UNIT_ROUNDOFF = 2.0**-24
_ROWS_PER_SUM = 1024
_PARTIAL_SUMS = 8
# The mean keeps this many bits below its largest component, so that the order in which rows
# are summed does not show in it.
_MEAN_BITS = 16


@dataclass(frozen=True, slots=True)
class PreparedQuery:
    """A query in the centred space.

    `direction` is what rows are multiplied with: the centred query, of unit length for cosine;
    `fast_direction` is the same in float32, `offset` is mean . direction, `norm` that of the centred query.
    """

    vector: Float32Array
    centered: Float32Array
    direction: Float64Array
    fast_direction: Float32Array
    offset: float
    norm: float
    is_zero: bool


@dataclass(frozen=True, slots=True)
class VectorSpace:
    """A metric and a mean (dim,); distances are between vectors minus that mean.

    Cosine: 1 - cosine similarity. A vector equal to the mean has no direction: its distance is 0 to
    another such vector and 1 to every other one. Euclidean: the mean cancels out of the distance.
    """

    metric: Metric
    mean: Float32Array

    @property
    def dim(self) -> int:
        """Length of the vectors."""
        return len(self.mean)

    def prepare(self, query: Float32Array) -> PreparedQuery:
        """The query (dim,) minus the mean, and what the two steps of ranking need of it."""
        mean = self.mean.astype(np.float64)
        centered = query.astype(np.float64) - mean
        norm = float(np.sqrt(sum_products(centered[None, :], centered)[0]))
        is_zero = norm < SMALLEST_NORM
        direction = centered / norm if self.metric == "cosine" and not is_zero else centered
        offset = float(sum_products(direction[None, :], mean)[0])
        return PreparedQuery(query, query - self.mean, direction, direction.astype(np.float32), offset, norm, is_zero)

    def row_scales(self, vectors: Float32Array) -> Float32Array:
        """What ranking needs to know of each row: 1 / norm for cosine (0 for zero vectors), else the squared norm."""
        scales = np.empty(len(vectors), np.float32)
        for start in range(0, len(vectors), _ROWS_PER_SUM):
            block = vectors[start : start + _ROWS_PER_SUM]
            scales[start : start + len(block)] = self._block_scales(block)
        return scales

    def _block_scales(self, block: Float32Array) -> Float64Array:
        centered = block - self.mean.astype(np.float64)
        squared_norms: Float64Array = np.einsum("ij,ij->i", centered, centered)
        if self.metric == "euclidean":
            return squared_norms
        norms = np.sqrt(squared_norms)
        scales: Float64Array = np.divide(1.0, norms, out=np.zeros_like(norms), where=norms >= SMALLEST_NORM)
        return scales

    def distances(self, vectors: Float32Array, query: PreparedQuery) -> Float32Array:
        """The distances of rows (m, dim), computed in float64: the definition that every engine ranks by."""
        if self.metric == "euclidean":
            difference: Float64Array = np.subtract(vectors, query.vector, dtype=np.float64)
            return np.sqrt(sum_products(difference, difference)).astype(np.float32)
        centered: Float64Array = np.subtract(vectors, self.mean, dtype=np.float64)
        norms = np.sqrt(sum_products(centered, centered))
        is_zero = norms < SMALLEST_NORM
        if query.is_zero:
            return np.where(is_zero, 0.0, 1.0).astype(np.float32)
        norms[is_zero] = 1.0
        cosines = sum_products(centered, query.direction) / norms
        distances: Float64Array = np.clip(1.0 - cosines, 0.0, 2.0)
        distances[distances < SMALLEST_COSINE_DISTANCE] = 0.0
        distances[is_zero] = 1.0
        return distances.astype(np.float32)

    def approximate(
        self, dots: Float32Array, scales: Float32Array, query: PreparedQuery
    ) -> tuple[Float32Array, Float32Array]:
        """Approximate ranks of rows from their dot products with the query's direction, and bounds on their error.

        A rank is the cosine distance, or the squared Euclidean one; both arrays have the shape of `dots`.
        """
        unit, mean_norm = rounding_error(self.dim), float(np.linalg.norm(self.mean))
        if self.metric == "cosine":
            ranks = 1.0 - (dots - np.float32(query.offset)) * scales
            if query.is_zero:
                ranks = np.where(scales == 0.0, 0.0, 1.0)
            return ranks.astype(np.float32), (unit * (1.0 + mean_norm * scales)).astype(np.float32)
        ranks = scales + np.float32(query.norm**2) - 2.0 * (dots - np.float32(query.offset))
        row_norms = np.sqrt(scales) + np.float32(mean_norm)
        bounds = unit * (scales + np.float32(query.norm**2) + 2.0 * row_norms * np.float32(query.norm))
        return ranks.astype(np.float32), bounds.astype(np.float32)


def rounding_error(dim: int) -> float:
    """Relative bound on the error of a float32 dot product of `dim` terms, and of the few operations after it.

    It assumes at least four partial sums, which every vectorised implementation has (BLAS has 16 or more).
    """
    return (dim / 4 + 32) * _UNIT_ROUNDOFF


def sum_products(first: Float64Array, second: Float64Array) -> Float64Array:
    """Row sums of `first` (m, dim) times `second` (m, dim) or (dim,), in an order that is part of the contract.

    Component i is added to partial sum i % 8, in order of i; then the eight are added in order. The compiled code
    does the same, so both give the same bits.
    """
    products = first * second
    n_rows, dim = products.shape
    if dim % _PARTIAL_SUMS:
        products = np.pad(products, ((0, 0), (0, -dim % _PARTIAL_SUMS)))
    partial = np.add.reduce(products.reshape(n_rows, products.shape[1] // _PARTIAL_SUMS, _PARTIAL_SUMS), axis=1)
    total: Float64Array = partial[:, 0].copy()
    for column in range(1, _PARTIAL_SUMS):
        total += partial[:, column]
    return total


def shortlist(ranks: Float32Array, bounds: Float32Array, k: int) -> "np.ndarray[tuple[int], np.dtype[np.intp]]":
    """Positions of all rows that can be among the k nearest, given approximate ranks and bounds on their error."""
    if len(ranks) <= k:
        return np.arange(len(ranks))
    highest = ranks + bounds
    limit = np.partition(highest, k - 1)[k - 1]
    return np.flatnonzero(ranks - bounds <= limit)


def mean_of_rows(vectors: Float32Array) -> Float32Array:
    """The mean (dim,) of rows (n, dim), rounded so that the order of the rows does not show; zeros for no rows."""
    total = np.zeros(vectors.shape[1])
    for start in range(0, len(vectors), _ROWS_PER_SUM):
        total += vectors[start : start + _ROWS_PER_SUM].sum(axis=0, dtype=np.float64)
    mean = total / max(len(vectors), 1)
    largest = float(np.abs(mean).max())
    if largest == 0.0:
        return np.zeros(vectors.shape[1], np.float32)
    step = 2.0 ** (np.ceil(np.log2(largest)) - _MEAN_BITS)
    rounded: Float64Array = np.round(mean / step) * step
    return rounded.astype(np.float32)
