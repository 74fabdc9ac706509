"""Equal rows: found once, so that a query computes one distance for all of them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lookalike.lsh.base import Float32Array, Int64Array
from lookalike.lsh.vectors import StoredVectors, bits_of

FirstCopies = NDArray[np.int32]

_COARSE_COMPONENTS = 8
_ROWS_PER_BLOCK = 4096
# An odd number whose multiples spread over all 64 bits: 2**64 divided by the golden ratio.
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


def first_copies(vectors: StoredVectors, scales: Float32Array) -> FirstCopies | None:
    """For each row the number of the first row with the same bytes; (n,) int32, or None if all rows differ.

    `scales` (n,) must be equal for equal rows: with them and a few components most rows are told apart at once.
    """
    return first_copies_of_keys(vectors, coarse_keys(vectors, scales))


def first_copies_of_keys(vectors: StoredVectors, keys: NDArray[np.uint64]) -> FirstCopies | None:
    """`first_copies` from the coarse keys (n,) of all rows; the vectors of most rows are not looked at."""
    suspects = _repeated(keys)
    if not len(suspects):
        return None
    fine_keys = _fine_keys(vectors, suspects)
    order = np.argsort(fine_keys, kind="stable")
    starts = np.flatnonzero(np.concatenate([[True], np.diff(fine_keys[order]) != 0]))
    firsts = np.repeat(suspects[order][starts], np.diff(np.append(starts, len(order))))
    rows = suspects[order]
    equal = _rows_equal(vectors, rows, firsts)
    if (rows == firsts)[equal].all():
        return None
    copies = np.arange(len(vectors), dtype=np.int32)
    copies[rows[equal]] = firsts[equal]
    return copies


def first_rows(copies: FirstCopies) -> Int64Array:
    """The rows, ascending, that are the first of their kind."""
    return np.flatnonzero(copies == np.arange(len(copies)))


def coarse_keys(
    vectors: StoredVectors, scales: Float32Array, rows: Int64Array | slice = slice(None)
) -> NDArray[np.uint64]:
    """Keys of a few components of some rows."""
    keys = np.ascontiguousarray(scales[rows]).view(np.uint32).astype(np.uint64)
    for column in range(0, vectors.shape[1], max(1, vectors.shape[1] // _COARSE_COMPONENTS)):
        bits = bits_of(np.ascontiguousarray(vectors[rows, column]))
        keys = (keys ^ (keys >> np.uint64(29)) ^ bits) * _MULTIPLIER
    return keys


def _fine_keys(vectors: StoredVectors, rows: Int64Array) -> NDArray[np.uint64]:
    """Keys of all components of some rows: sums of products with fixed random numbers."""
    factors = np.random.default_rng(0).integers(0, 2**64, vectors.shape[1], np.uint64) | np.uint64(1)
    keys = np.empty(len(rows), np.uint64)
    for start in range(0, len(rows), _ROWS_PER_BLOCK):
        some = slice(start, start + _ROWS_PER_BLOCK)
        bits = bits_of(np.ascontiguousarray(vectors[rows[some]])).astype(np.uint64)
        keys[some] = (bits * factors).sum(axis=1, dtype=np.uint64)
    return keys


def _rows_equal(vectors: StoredVectors, rows: Int64Array, others: Int64Array) -> NDArray[np.bool_]:
    equal = np.empty(len(rows), np.bool_)
    for start in range(0, len(rows), _ROWS_PER_BLOCK):
        some = slice(start, start + _ROWS_PER_BLOCK)
        one, other = bits_of(vectors[rows[some]]), bits_of(vectors[others[some]])
        equal[some] = (one == other).all(axis=1)
    return equal


def _repeated(keys: NDArray[np.uint64]) -> Int64Array:
    """Positions, ascending, of the keys that occur more than once."""
    order = np.argsort(keys)
    same = keys[order][1:] == keys[order][:-1]
    repeated = np.zeros(len(keys), np.bool_)
    repeated[order[1:][same]] = repeated[order[:-1][same]] = True
    return np.flatnonzero(repeated)


def first_copies_with_more(
    old: FirstCopies | None,
    segments: Sequence[tuple[StoredVectors, Float32Array]],
    vectors: StoredVectors,
    scales: Float32Array,
) -> FirstCopies | None:
    """`first_copies` of the vectors and scales of some segments, for which it was `old`, followed by more rows."""
    if not len(vectors):
        return old
    keys = coarse_keys(vectors, scales)
    numbers, alike, n_old = [], [], 0
    for old_vectors, old_scales in segments:
        rows = np.flatnonzero(np.isin(old_scales, scales))
        rows = rows[np.isin(coarse_keys(old_vectors, old_scales, rows), keys)]
        numbers.append(rows + n_old)
        alike.append((old_vectors[rows], old_scales[rows]))
        n_old += len(old_vectors)
    every = np.arange(n_old + len(vectors), dtype=np.int32)
    if old is not None:
        every[:n_old] = old
    numbers.append(np.arange(n_old, len(every)))
    merged = [np.concatenate(parts) for parts in zip(*alike, (vectors, scales), strict=True)]
    firsts = first_copies(merged[0], merged[1])
    if firsts is None:
        return None if old is None else every
    every[n_old:] = np.concatenate(numbers)[firsts][-len(vectors) :]
    return every
