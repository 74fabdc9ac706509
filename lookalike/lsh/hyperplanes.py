"""Random hyperplanes: on which side of each a vector lies, as bits, table keys and sketches.

The chance that one random hyperplane through the origin separates two vectors is their angle over pi
(Charikar, Similarity estimation techniques from rounding algorithms, 2002). A table's key is `n_bits`
such bits. All bits of a vector together are its sketch: the share of bits in which two sketches differ
estimates the angle between the vectors.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lookalike.limits import MAX_BITS, MAX_TABLES
from lookalike.lsh.base import Float32Array, Float64Array
from lookalike.lsh.checks import LARGEST_VALUE, checked_int
from lookalike.lsh.sketches import (
    Alignments,
    Bits,
    QuerySketch,
    Sketches,
    alignments_of,
    no_alignments,
    pack_bits,
    sketch_of_query,
)
from lookalike.lsh.space import PreparedQuery, VectorSpace, rounding_error, sum_products
from lookalike.lsh.vectors import StoredVectors, widened

BITS_PER_WORD = 64
_ROWS_PER_BLOCK = 4096
_FEWEST_SKETCH_BITS, _MOST_SKETCH_BITS = 256, 512
# Components of the normals are multiples of this, so that rounding in their computation does not show.
_NORMAL_STEP = 2.0**-18

Keys = NDArray[np.uint32]


@dataclass(frozen=True, eq=False)
class Hyperplanes:
    """Normals (n_planes, dim) float32: first `n_tables` times `n_bits` for the tables, then more for the sketch.

    `is_orthogonal` says that each `dim` of them in turn are orthogonal to each other and of length 1.
    """

    normals: Float32Array
    n_tables: int
    n_bits: int
    is_orthogonal: bool

    @property
    def n_keyed(self) -> int:
        """Number of hyperplanes that the tables use."""
        return self.n_tables * self.n_bits

    @property
    def sketch_bits(self) -> int:
        """Bits of a sketch: all hyperplanes."""
        return len(self.normals)

    @cached_property
    def norms(self) -> Float64Array:
        """Lengths (n_planes,) of the normals."""
        normals = self.normals.astype(np.float64)
        squared: Float64Array = np.einsum("ij,ij->i", normals, normals)
        return np.sqrt(squared)


def no_hyperplanes(dim: int) -> Hyperplanes:
    """For an index that hashes nothing and scans: no tables, and sketches of no bits."""
    return Hyperplanes(np.empty((0, dim), np.float32), 0, 0, is_orthogonal=False)


def draw_hyperplanes(dim: int, n_tables: int, n_bits: int, sketch_bits: int, seed: int) -> Hyperplanes:
    """Random normals from `seed`, orthogonal in blocks of `dim`; the first ones do not depend on how many follow."""
    normals = np.random.default_rng(seed).standard_normal((sketch_bits, dim), dtype=np.float32)
    for start in range(0, sketch_bits, dim):
        normals[start : start + dim] = _orthogonal(normals[start : start + dim].astype(np.float64))
    return Hyperplanes(normals, n_tables, n_bits, is_orthogonal=True)


def _orthogonal(normals: Float64Array) -> Float64Array:
    """The normals (m, dim), each made orthogonal to those before it and of length 1."""
    columns, factors = np.linalg.qr(normals.T)
    signs = np.where(np.diagonal(factors) < 0.0, -1.0, 1.0)
    rounded: Float64Array = np.rint((columns * signs).T / _NORMAL_STEP) * _NORMAL_STEP
    return rounded


def given_hyperplanes(hyperplanes: ArrayLike, dim: int, sketch_bits: int | None, seed: int) -> Hyperplanes:
    """Normals (n_tables, n_bits, dim) from elsewhere for the tables; those for the sketch come from `seed`."""
    array = np.asarray(hyperplanes)
    if array.ndim != 3 or array.shape[2] != dim or 0 in array.shape:
        raise ValueError(f"hyperplanes must have shape (n_tables, n_bits, {dim}), got {array.shape}")
    n_tables, n_bits = array.shape[:2]
    if n_bits > MAX_BITS or n_tables > MAX_TABLES:
        raise ValueError(f"at most {MAX_TABLES} tables of {MAX_BITS} bits, got hyperplanes of shape {array.shape}")
    normals = np.ascontiguousarray(array, np.float32).reshape(-1, dim)
    if not (np.abs(normals) <= LARGEST_VALUE).all() or not normals.any(axis=1).all():
        raise ValueError("hyperplanes must be finite and none of them zero")
    n_more = checked_sketch_bits(sketch_bits, len(normals), dim) - len(normals)
    more = np.random.default_rng((seed, n_tables, n_bits)).standard_normal((n_more, dim), dtype=np.float32)
    return Hyperplanes(np.concatenate([normals, more]), n_tables, n_bits, is_orthogonal=False)


def checked_hyperplanes(
    hyperplanes: ArrayLike | None,
    dim: int,
    n_tables: int | None,
    n_bits: int | None,
    sketch_bits: int | None,
    seed: int,
) -> Hyperplanes:
    """The given hyperplanes, or drawn ones; raises ValueError for numbers that are missing or do not fit."""
    if hyperplanes is not None:
        planes = given_hyperplanes(hyperplanes, dim, sketch_bits, seed)
        if n_tables not in (None, planes.n_tables) or n_bits not in (None, planes.n_bits):
            raise ValueError(
                f"hyperplanes hold {planes.n_tables} tables of {planes.n_bits} bits, "
                f"but n_tables is {n_tables} and n_bits {n_bits}; leave those out"
            )
        return planes
    if n_tables is None or n_bits is None:
        raise ValueError("n_bits and n_tables are needed; tune_lsh chooses them from the vectors")
    n_tables = checked_int("n_tables", n_tables, 1, MAX_TABLES)
    n_bits = checked_int("n_bits", n_bits, 1, MAX_BITS)
    return draw_hyperplanes(dim, n_tables, n_bits, checked_sketch_bits(sketch_bits, n_tables * n_bits, dim), seed)


def checked_sketch_bits(sketch_bits: int | None, n_keyed: int, dim: int) -> int:
    """`sketch_bits`, a multiple of 64 that holds all keys; by default `dim`, but 256 to 512, or as many as the keys."""
    least = -(-n_keyed // BITS_PER_WORD) * BITS_PER_WORD
    if sketch_bits is None:
        return max(least, int(np.clip(dim - dim % BITS_PER_WORD, _FEWEST_SKETCH_BITS, _MOST_SKETCH_BITS)))
    if sketch_bits % BITS_PER_WORD or sketch_bits < least:
        raise ValueError(
            f"sketch_bits must be a multiple of {BITS_PER_WORD} and at least {least} "
            f"(n_tables x n_bits = {n_keyed}), got {sketch_bits}"
        )
    return sketch_bits


def sides_of(vectors: StoredVectors, mean: Float32Array, planes: Hyperplanes) -> tuple[Bits, Alignments]:
    """True where a row minus the mean lies strictly above a hyperplane, (n, n_planes); and alignments of the rows.

    A float32 matrix product decides, except near a hyperplane, where its rounding error could:
    there a float64 sum decides, so a row's bits do not depend on the rows beside it.
    """
    centered: Float32Array = widened(vectors) - mean
    projections: Float32Array = centered @ planes.normals.T
    sides: Bits = projections > 0.0
    rows, columns = _near_pairs(centered, projections, planes)
    for start in range(0, len(rows), _ROWS_PER_BLOCK):
        some = slice(start, start + _ROWS_PER_BLOCK)
        exactly_centered: Float64Array = np.subtract(vectors[rows[some]], mean, dtype=np.float64)
        products = sum_products(exactly_centered, planes.normals[columns[some]].astype(np.float64))
        sides[rows[some], columns[some]] = products > 0.0
    if not planes.is_orthogonal:
        return sides, no_alignments(len(vectors))
    return sides, alignments_of(centered, projections, planes.normals)


def _near_pairs(
    centered: Float32Array, projections: Float32Array, planes: Hyperplanes
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and hyperplanes so near to each other that the projection's sign may be wrong."""
    row_norms = np.sqrt(np.einsum("ij,ij->i", centered, centered))
    margins = (rounding_error(centered.shape[1]) * row_norms).astype(np.float32)
    largest_norm = np.float32(planes.norms.max())
    near = np.abs(projections) <= (margins * largest_norm)[:, None]
    # A zero vector lies above no hyperplane. Squares of tiny components may be zero too.
    zero = np.flatnonzero(row_norms == 0.0)
    near[zero[~centered[zero].any(axis=1)]] = False
    rows, columns = np.nonzero(near)
    return rows, columns


def table_keys(sides: Bits, n_tables: int, n_bits: int) -> Keys:
    """Keys (n, n_tables) of the tables; bit i of a key is the side of the table's hyperplane i."""
    keyed = sides[:, : n_tables * n_bits].reshape(-1, n_bits).astype(np.float64)
    # Exact: below 2**32, and far faster than a product of integers.
    keys = keyed @ (2.0 ** np.arange(n_bits))
    return keys.astype(np.uint32).reshape(-1, n_tables)


def hash_rows(vectors: StoredVectors, space: VectorSpace, planes: Hyperplanes) -> tuple[Keys, Sketches, Alignments]:
    """Keys (n_tables, n), sketches (n, words) and alignments (n, 1 or 0) of all rows, block by block."""
    keys = np.empty((planes.n_tables, len(vectors)), np.uint32)
    sketches = np.empty((len(vectors), planes.sketch_bits // BITS_PER_WORD), np.uint64)
    alignments = np.empty((len(vectors), int(planes.is_orthogonal)), np.uint8)
    if not planes.sketch_bits:
        return keys, sketches, alignments
    for start in range(0, len(vectors), _ROWS_PER_BLOCK):
        some = slice(start, start + _ROWS_PER_BLOCK)
        sides, alignments[some] = sides_of(space.points(vectors[some]), space.hash_mean, planes)
        keys[:, some] = table_keys(sides, planes.n_tables, planes.n_bits).T
        sketches[some] = pack_bits(sides)
    return keys, sketches, alignments


def hash_query(query: PreparedQuery, space: VectorSpace, planes: Hyperplanes) -> tuple[Keys, QuerySketch, Float64Array]:
    """A query's keys (n_tables,), sketch, and squared distances to the tables' hyperplanes (n_tables, n_bits).

    Always one product of the same shape per query, so that batches and single queries agree to the last bit.
    """
    centered = query.point - space.hash_mean
    projections = planes.normals @ centered
    sides: Bits = projections > 0.0
    nearest, norm = np.abs(projections).min(), np.linalg.norm(centered.astype(np.float64))
    if nearest <= rounding_error(len(centered)) * norm * planes.norms.max():
        sides = sides_of(query.point[None, :], space.hash_mean, planes)[0][0]
    margins = (projections[: planes.n_keyed] / planes.norms[: planes.n_keyed]) ** 2
    keys = table_keys(sides[None, :], planes.n_tables, planes.n_bits)[0]
    sketch = sketch_of_query(projections, sides, planes.is_orthogonal)
    return keys, sketch, margins.reshape(planes.n_tables, planes.n_bits)
