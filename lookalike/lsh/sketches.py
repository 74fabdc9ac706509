"""Sketches: one bit per hyperplane of a stored row, compared with a query that keeps its distances to the hyperplanes.

A row o has the bits s = +-1; the query q has the distances <q, u> to the orthogonal hyperplanes u. Then
<q, o> is estimated by |o|^2 * sum s <q, u> / sum |<o, u>| without bias (Gao and Long, RaBitQ, SIGMOD 2024). A row
keeps the divisor in one byte, its `alignment`. The query's distances are rounded to a sign and 2 bits of weight, so
that the sum is three counts of ones per word, and an integer.

Without alignments (hyperplanes that are not orthogonal, indexes of format 1) the number of differing bits decides.
"""

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from lookalike.lsh.base import Float32Array, Float64Array
from lookalike.lsh.space import SMALLEST_NORM, rounding_error, sum_products

Bits = NDArray[np.bool_]
Sketches = NDArray[np.uint64]
Alignments = NDArray[np.uint8]

WEIGHT_BITS = 2
N_WEIGHTS = 1 << WEIGHT_BITS
# Distances beyond this many times their root mean square get the largest weight. A range up to the largest distance
# is measurably worse: for most distances it is too coarse.
WEIGHT_RANGE = 2.3
# A random direction has an alignment of about 0.8 times this.
_ALIGNMENT_SCALE = 160
_LARGEST_ALIGNMENT = 255
# The rounding errors of all projections of a row cancel: in their sum stays far less than this share of one's bound.
_ERROR_SHARE = 1 / 8
# Squares of components of shorter rows leave the range of float32.
_SHORT_ROW = 1e-15
_ROWS_PER_BLOCK = 256


@dataclass(frozen=True, slots=True)
class QuerySketch:
    """A query as the filter sees it: bits (n_words,), and bits of the weights (WEIGHT_BITS, n_words) of each plane.

    `total` is the sum of 2 * weight + 1 over all hyperplanes, `unit` what a sum of those has to be multiplied with to
    be a sum of distances. Without weights every hyperplane weighs the same.
    """

    words: Sketches
    weights: Sketches
    total: int
    unit: float


def pack_bits(sides: Bits) -> Sketches:
    """The bits of each row (n, n_planes), packed into words of 64: (n, n_planes / 64)."""
    return np.packbits(sides, axis=1, bitorder="little").view("<u8").astype(np.uint64, copy=False)


def sketch_of_query(projections: Float32Array, sides: Bits, is_weighted: bool) -> QuerySketch:
    """The sketch of a query with these distances (n_planes,) to the hyperplanes, and sides of them."""
    words = pack_bits(sides[None, :])[0]
    if not is_weighted:
        return QuerySketch(words, np.empty((0, len(words)), np.uint64), 0, 1.0)
    distances = np.abs(projections).astype(np.float64)
    squares = float(sum_products(distances[None, :], distances)[0])
    largest = max(WEIGHT_RANGE * sqrt(squares / len(distances)), SMALLEST_NORM)
    weights = np.minimum(distances * (N_WEIGHTS / largest), N_WEIGHTS - 1).astype(np.int64)
    bits = (weights >> np.arange(WEIGHT_BITS)[:, None] & 1).astype(np.bool_)
    weighed = (2 * weights + 1).astype(np.float64)
    # With this unit the rounded query differs from the query only in directions across it.
    unit = squares / max(float(sum_products(distances[None, :], weighed)[0]), SMALLEST_NORM)
    return QuerySketch(words, pack_bits(bits), int(weighed.sum()), unit)


def penalties(sketches: Sketches, query: QuerySketch) -> NDArray[np.int64]:
    """Sums (n,) of 2 * weight + 1 over the bits that differ from the query's; their number without weights."""
    differing = sketches ^ query.words
    sums: NDArray[np.int64] = np.bitwise_count(differing).sum(axis=1, dtype=np.int64)
    for bit, weights in enumerate(query.weights):
        sums += np.bitwise_count(differing & weights).sum(axis=1, dtype=np.int64) << (bit + 1)
    return sums


def sketch_ranks(
    sketches: Sketches, alignments: Alignments, scales: Float32Array, query: QuerySketch, dim: int, by_angle: bool
) -> Float64Array:
    """Estimated ranks (n,) of rows, lowest first, from their sketches, alignments and `VectorSpace.row_scales`.

    By angle, or by the distance that follows from the angle and the norm of a row, the root of its scale.
    """
    sums = penalties(sketches, query)
    if not alignments.shape[1]:
        return sums.astype(np.float64)
    factors = alignment_factors(dim, sketches.shape[1])[alignments[:, 0]]
    estimates: Float64Array = (query.total - 2 * sums) * factors
    if by_angle:
        return -estimates
    squared = scales.astype(np.float64)
    return squared - (2.0 * query.unit) * np.sqrt(squared) * estimates


def alignment_factors(dim: int, n_words: int) -> Float64Array:
    """What a sum of signed distances is multiplied with, for each alignment (256,): 0 for that of zero vectors."""
    factors = np.zeros(_LARGEST_ALIGNMENT + 1)
    factors[1:] = _alignment_unit(dim, 64 * n_words) / np.arange(1, _LARGEST_ALIGNMENT + 1)
    return factors


def no_alignments(n_rows: int) -> Alignments:
    """For rows whose differing bits are counted: (n_rows, 0)."""
    return np.empty((n_rows, 0), np.uint8)


def _alignment_unit(dim: int, n_planes: int) -> float:
    return float(_ALIGNMENT_SCALE * np.sqrt(dim) / n_planes)


def alignments_of(centered: Float32Array, projections: Float32Array, normals: Float32Array) -> Alignments:
    """Sums of the absolute projections (n, n_planes) of rows (n, dim), by their norms, rounded to a byte: (n, 1).

    Where rounding errors could decide, float64 sums do, so that a row's value does not depend on the rows beside it.
    """
    unit = _alignment_unit(centered.shape[1], len(normals))
    norms = np.sqrt(np.einsum("ij,ij->i", centered, centered)).astype(np.float64)
    short = norms < _SHORT_ROW
    sums = np.abs(projections).sum(axis=1, dtype=np.float64)
    values = sums / np.where(short, 1.0, norms) * unit
    error = _ERROR_SHARE * rounding_error(centered.shape[1]) * _ALIGNMENT_SCALE
    unsure = np.flatnonzero(short | (np.abs(values - np.floor(values) - 0.5) <= error))
    for start in range(0, len(unsure), _ROWS_PER_BLOCK):
        rows = unsure[start : start + _ROWS_PER_BLOCK]
        values[rows] = unit * _exact_sums(centered[rows].astype(np.float64), normals)
    rounded: Alignments = np.clip(np.rint(values), 0, _LARGEST_ALIGNMENT).astype(np.uint8)[:, None]
    return rounded


def _exact_sums(centered: Float64Array, normals: Float32Array) -> Float64Array:
    """Sums of the absolute projections of rows by their norms, in float64; 0 for zero vectors."""
    norms = np.sqrt(np.einsum("ij,ij->i", centered, centered))
    sums: Float64Array = np.abs(centered @ normals.T.astype(np.float64)).sum(axis=1)
    shares: Float64Array = np.divide(sums, norms, out=np.zeros_like(norms), where=norms >= SMALLEST_NORM)
    return shares
