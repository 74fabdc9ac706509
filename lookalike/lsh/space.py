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
from lookalike.lsh.vectors import StoredVectors

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
    `point` is what is hashed, see `VectorSpace.points`.
    """

    vector: Float32Array
    direction: Float64Array
    fast_direction: Float32Array
    offset: float
    norm: float
    is_zero: bool
    point: Float32Array


@dataclass(frozen=True, slots=True)
class Lift:
    """One added dimension, in which the largest inner product is the smallest angle.

    A row x becomes (x, sqrt(radius^2 - |x|^2)), so that all rows have the length `radius`, and a query q becomes
    (q, 0) of the same length (Bachrach et al., Speeding up the Xbox recommender system, 2014; Neyshabur and Srebro,
    On symmetric and asymmetric LSHs for inner product search, 2015). `mean` (dim + 1,) is subtracted before hashing.
    Rows longer than `radius` count as if they were as long.
    """

    radius: float
    mean: Float32Array

    def rows(self, vectors: StoredVectors) -> Float32Array:
        """Rows (n, dim) with the added component, (n, dim + 1)."""
        return np.column_stack([vectors, added_components(vectors, self.radius)])

    def query(self, vector: Float32Array, norm: float) -> Float32Array:
        """A query (dim,) of the given norm, (dim + 1,)."""
        scaled = vector * (self.radius / max(norm, SMALLEST_NORM))
        return np.append(scaled.astype(np.float32), np.float32(0))


def added_components(vectors: StoredVectors, radius: float) -> Float32Array:
    """The component that makes each row (n, dim) as long as `radius`; 0 for longer rows."""
    added = np.empty(len(vectors), np.float32)
    for start in range(0, len(vectors), _ROWS_PER_SUM):
        block = vectors[start : start + _ROWS_PER_SUM].astype(np.float64)
        squared_norms = np.einsum("ij,ij->i", block, block)
        added[start : start + len(block)] = np.sqrt(np.maximum(radius**2 - squared_norms, 0.0))
    return added


@dataclass(frozen=True, slots=True)
class VectorSpace:
    """A metric and a mean (dim,); distances are between vectors minus that mean.

    Cosine: 1 - cosine similarity. A vector equal to the mean has no direction: its distance is 0 to
    another such vector and 1 to every other one. Euclidean: the mean cancels out of the distance.
    Inner product: the negative inner product of the vectors as they are, with a mean of zeros; what is hashed is
    lifted, for which `lift` must be there.
    """

    metric: Metric
    mean: Float32Array
    lift: Lift | None = None

    @property
    def dim(self) -> int:
        """Length of the vectors."""
        return len(self.mean)

    @property
    def hash_mean(self) -> Float32Array:
        """What is subtracted from points before they are hashed, as long as a point."""
        return self.mean if self.lift is None else self.lift.mean

    def points(self, vectors: StoredVectors) -> StoredVectors:
        """What is hashed of rows (n, dim): the rows themselves, or lifted ones (n, dim + 1)."""
        return vectors if self.lift is None else self.lift.rows(vectors)

    def prepare(self, query: Float32Array) -> PreparedQuery:
        """The query (dim,) minus the mean, and what the two steps of ranking need of it."""
        mean = self.mean.astype(np.float64)
        centered = query.astype(np.float64) - mean
        norm = norm_of(centered)
        is_zero = norm < SMALLEST_NORM
        direction = centered / norm if self.metric == "cosine" and not is_zero else centered
        offset = float(sum_products(direction[None, :], mean)[0])
        point = query if self.lift is None else self.lift.query(query, norm)
        return PreparedQuery(query, direction, direction.astype(np.float32), offset, norm, is_zero, point)

    def row_scales(self, vectors: StoredVectors) -> Float32Array:
        """One number per row for ranking: 1 / norm for cosine (0 for zero vectors), else the squared norm."""
        scales = np.empty(len(vectors), np.float32)
        for start in range(0, len(vectors), _ROWS_PER_SUM):
            block = vectors[start : start + _ROWS_PER_SUM]
            scales[start : start + len(block)] = self._block_scales(block)
        return scales

    def _block_scales(self, block: StoredVectors) -> Float64Array:
        centered = block - self.mean.astype(np.float64)
        squared_norms: Float64Array = np.einsum("ij,ij->i", centered, centered)
        if self.metric != "cosine":
            return squared_norms
        norms = np.sqrt(squared_norms)
        scales: Float64Array = np.divide(1.0, norms, out=np.zeros_like(norms), where=norms >= SMALLEST_NORM)
        return scales

    def distances(self, vectors: StoredVectors, query: PreparedQuery) -> Float32Array:
        """The distances of rows (m, dim), computed in float64: the definition that every engine ranks by."""
        if self.metric == "euclidean":
            difference: Float64Array = np.subtract(vectors, query.vector, dtype=np.float64)
            return np.sqrt(sum_products(difference, difference)).astype(np.float32)
        if self.metric == "inner_product":
            return (0.0 - sum_products(vectors.astype(np.float64), query.direction)).astype(np.float32)
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

        A rank is the cosine distance, the squared Euclidean one or the negative inner product; both arrays have the
        shape of `dots`.
        """
        unit, mean_norm = rounding_error(self.dim), float(np.linalg.norm(self.mean))
        if self.metric == "cosine":
            ranks = 1.0 - (dots - np.float32(query.offset)) * scales
            if query.is_zero:
                ranks = np.where(scales == 0.0, 0.0, 1.0)
            return ranks.astype(np.float32), (unit * (1.0 + mean_norm * scales)).astype(np.float32)
        if self.metric == "inner_product":
            return -dots, (unit * np.float32(query.norm) * np.sqrt(scales)).astype(np.float32)
        ranks = scales + np.float32(query.norm**2) - 2.0 * (dots - np.float32(query.offset))
        row_norms = np.sqrt(scales) + np.float32(mean_norm)
        bounds = unit * (scales + np.float32(query.norm**2) + 2.0 * row_norms * np.float32(query.norm))
        return ranks.astype(np.float32), bounds.astype(np.float32)


def rounding_error(dim: int) -> float:
    """Relative bound on the error of a float32 dot product of `dim` terms, and of the few operations after it.

    It assumes at least four partial sums, which every vectorised implementation has (BLAS has 16 or more).
    """
    return (dim / 4 + 32) * _UNIT_ROUNDOFF


def norm_of(vector: Float32Array | Float64Array) -> float:
    """The length of a vector (dim,), summed as the compiled code does."""
    exact = vector.astype(np.float64)
    return float(np.sqrt(sum_products(exact[None, :], exact)[0]))


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


def space_of_rows(
    metric: Metric, vectors: StoredVectors, center: bool, mean: Float32Array | None = None
) -> VectorSpace:
    """The space of rows (n, dim) around `mean`, by default their own mean if `center`.

    Raises:
        ValueError: a mean for inner product, which is of the vectors as they are.
    """
    dim = vectors.shape[1]
    if metric != "inner_product":
        if mean is None:
            mean = mean_of_rows(vectors) if center else np.zeros(dim, np.float32)
        return VectorSpace(metric, mean)
    if mean is not None and mean.any():
        raise ValueError("metric inner_product takes no mean: it ranks the vectors as they are")
    plain = VectorSpace(metric, np.zeros(dim, np.float32))
    radius = float(np.sqrt(plain.row_scales(vectors).max(initial=0.0)))
    added = added_components(vectors, radius)[:, None]
    centre = np.append(mean_of_rows(vectors), mean_of_rows(added)) if center else np.zeros(dim + 1, np.float32)
    return VectorSpace(metric, plain.mean, Lift(radius, centre))


def mean_of_rows(vectors: StoredVectors) -> Float32Array:
    """The mean (dim,) of rows (n, dim), rounded so that the order of the rows has no effect; zeros for no rows."""
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
