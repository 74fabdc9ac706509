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
from lookalike.lsh.space import PreparedQuery, VectorSpace, rounding_error, sum_products

BITS_PER_WORD = 64
_ROWS_PER_BLOCK = 4096

Bits = NDArray[np.bool_]
Keys = NDArray[np.uint32]
Sketches = NDArray[np.uint64]


@dataclass(frozen=True, eq=False)
class Hyperplanes:
    """Normals (n_planes, dim) float32: first `n_tables` times `n_bits` for the tables, then more for the sketch."""

    normals: Float32Array
    n_tables: int
    n_bits: int

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
    return Hyperplanes(np.empty((0, dim), np.float32), 0, 0)


def draw_hyperplanes(dim: int, n_tables: int, n_bits: int, sketch_bits: int, seed: int) -> Hyperplanes:
    """Gaussian normals from `seed`; the first ones do not depend on how many follow."""
    rng = np.random.default_rng(seed)
    return Hyperplanes(rng.standard_normal((sketch_bits, dim), dtype=np.float32), n_tables, n_bits)


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
    n_more = checked_sketch_bits(sketch_bits, len(normals)) - len(normals)
    more = np.random.default_rng((seed, n_tables, n_bits)).standard_normal((n_more, dim), dtype=np.float32)
    return Hyperplanes(np.concatenate([normals, more]), n_tables, n_bits)


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
    return draw_hyperplanes(dim, n_tables, n_bits, checked_sketch_bits(sketch_bits, n_tables * n_bits), seed)


def checked_sketch_bits(sketch_bits: int | None, n_keyed: int) -> int:
    """`sketch_bits`, or by default 256 and more where the tables need more; a multiple of 64 that holds all keys."""
    least = -(-n_keyed // BITS_PER_WORD) * BITS_PER_WORD
    if sketch_bits is None:
        return max(256, least)
    if sketch_bits % BITS_PER_WORD or sketch_bits < least:
        raise ValueError(
            f"sketch_bits must be a multiple of {BITS_PER_WORD} and at least {least} "
            f"(n_tables x n_bits = {n_keyed}), got {sketch_bits}"
        )
    return sketch_bits


def sides_of(vectors: Float32Array, mean: Float32Array, planes: Hyperplanes) -> Bits:
    """True where a row minus the mean lies strictly above a hyperplane; (n, n_planes).

    A float32 matrix product decides, except near a hyperplane, where its rounding error could:
    there a float64 sum decides, so a row's bits do not depend on the rows beside it.
    """
    centered = vectors - mean
    projections = centered @ planes.normals.T
    row_norms = np.sqrt(np.einsum("ij,ij->i", centered, centered))
    margins = (rounding_error(len(mean)) * row_norms).astype(np.float32)
    sides: Bits = projections > 0.0
    largest_norm = np.float32(planes.norms.max())
    near = np.abs(projections) <= (margins * largest_norm)[:, None]
    # A zero vector lies above no hyperplane. Squares of tiny components may be zero too.
    zero = np.flatnonzero(row_norms == 0.0)
    near[zero[~centered[zero].any(axis=1)]] = False
    rows, columns = np.nonzero(near)
    for start in range(0, len(rows), _ROWS_PER_BLOCK):
        some = slice(start, start + _ROWS_PER_BLOCK)
        exactly_centered: Float64Array = np.subtract(vectors[rows[some]], mean, dtype=np.float64)
        products = sum_products(exactly_centered, planes.normals[columns[some]].astype(np.float64))
        sides[rows[some], columns[some]] = products > 0.0
    return sides


def table_keys(sides: Bits, n_tables: int, n_bits: int) -> Keys:
    """Keys (n, n_tables) of the tables; bit i of a key is the side of the table's hyperplane i."""
    keyed = sides[:, : n_tables * n_bits].reshape(-1, n_bits).astype(np.float64)
    # Exact: below 2**32, and far faster than a product of integers.
    keys = keyed @ (2.0 ** np.arange(n_bits))
    return keys.astype(np.uint32).reshape(-1, n_tables)


def sketches_of(sides: Bits) -> Sketches:
    """All bits of each row, packed into words of 64: (n, n_planes / 64)."""
    return np.packbits(sides, axis=1, bitorder="little").view("<u8").astype(np.uint64, copy=False)


def hash_rows(vectors: Float32Array, space: VectorSpace, planes: Hyperplanes) -> tuple[Keys, Sketches]:
    """Keys (n_tables, n) and sketches (n, words) of all rows, block by block."""
    keys = np.empty((planes.n_tables, len(vectors)), np.uint32)
    sketches = np.empty((len(vectors), planes.sketch_bits // BITS_PER_WORD), np.uint64)
    if not planes.sketch_bits:
        return keys, sketches
    for start in range(0, len(vectors), _ROWS_PER_BLOCK):
        some = slice(start, start + _ROWS_PER_BLOCK)
        sides = sides_of(space.points(vectors[some]), space.hash_mean, planes)
        keys[:, some] = table_keys(sides, planes.n_tables, planes.n_bits).T
        sketches[some] = sketches_of(sides)
    return keys, sketches


def hash_query(query: PreparedQuery, space: VectorSpace, planes: Hyperplanes) -> tuple[Keys, Sketches, Float64Array]:
    """A query's keys (n_tables,), sketch (words,), and squared distances to the tables' hyperplanes (n_tables, n_bits).

    Always one product of the same shape per query, so that batches and single queries agree to the last bit.
    """
    centered = query.point - space.hash_mean
    projections = planes.normals @ centered
    sides: Bits = projections > 0.0
    nearest, norm = np.abs(projections).min(), np.linalg.norm(centered.astype(np.float64))
    if nearest <= rounding_error(len(centered)) * norm * planes.norms.max():
        sides = sides_of(query.point[None, :], space.hash_mean, planes)[0]
    margins = (projections[: planes.n_keyed] / planes.norms[: planes.n_keyed]) ** 2
    keys = table_keys(sides[None, :], planes.n_tables, planes.n_bits)[0]
    return keys, sketches_of(sides[None, :])[0], margins.reshape(planes.n_tables, planes.n_bits)
