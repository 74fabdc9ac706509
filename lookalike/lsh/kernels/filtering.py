"""The sketch filter in compiled code, with the results of `sketches.sketch_ranks` and `steps.filter_by_sketch`."""

from typing import Any

import numpy as np

from lookalike.lsh.kernels.jit import count_bits, jit, prefetch
from lookalike.lsh.kernels.probing import kth_smallest
from lookalike.lsh.kernels.ranking import sum_products
from lookalike.lsh.sketches import N_WEIGHTS, WEIGHT_BITS, WEIGHT_RANGE
from lookalike.lsh.space import SMALLEST_NORM

_SKETCHES_AHEAD = 16


@jit()
def weigh_query(projections: Any, words: Any, is_weighted: bool) -> Any:
    """The sketch of a query as `sketches.sketch_of_query` gives it."""
    weights = np.zeros((WEIGHT_BITS if is_weighted else 0, len(words)), np.uint64)
    if not is_weighted:
        return words, weights, 0, 1.0
    distances, total = np.abs(projections).astype(np.float64), 0
    squares, weighed = sum_products(distances, distances), np.empty(len(distances))
    largest = max(WEIGHT_RANGE * np.sqrt(squares / len(distances)), SMALLEST_NORM)
    for plane in range(len(distances)):
        weight = np.int64(min(distances[plane] * (N_WEIGHTS / largest), N_WEIGHTS - 1.0))
        weighed[plane] = 2 * weight + 1
        total += 2 * int(weight) + 1
        for bit in range(WEIGHT_BITS):
            weights[bit, plane >> 6] |= np.uint64(weight >> bit & 1) << np.uint64(plane & 63)
    return words, weights, total, squares / max(sum_products(distances, weighed), SMALLEST_NORM)


@jit(inline="always")
def _penalty(row: int, sketches: Any, words: Any, weights: Any) -> Any:
    """The penalty of one row, as `sketches.penalties` gives it."""
    ones, weighed = np.uint64(0), np.uint64(0)
    if len(weights) == 0:
        for word in range(len(words)):
            ones += count_bits(sketches[row, word] ^ words[word])
        return np.int64(ones)
    for word in range(len(words)):
        differing = sketches[row, word] ^ words[word]
        ones += count_bits(differing)
        weighed += count_bits(differing & weights[0, word])
        weighed += count_bits(differing & weights[1, word]) << np.uint64(1)
    return np.int64(ones + (weighed << np.uint64(1)))


@jit()
def penalties_of_rows(rows: Any, segments: Any, words: Any, weights: Any) -> Any:
    """The penalties (n,) of rows, which number those of both segments, as `sketches.penalties` gives them."""
    sums, n_main = np.empty(len(rows), np.int64), len(segments[0][0])
    for position in range(len(rows)):
        row = rows[position]
        sketches = segments[0][2] if row < n_main else segments[1][2]
        sums[position] = _penalty(row if row < n_main else row - n_main, sketches, words, weights)
    return sums


@jit(inline="always")
def _rank(penalty: int, total: int, unit: float, factor: float, scale: float, by_angle: bool) -> Any:
    """The estimated rank of one row, as `sketches.sketch_ranks` gives it."""
    estimate = np.float64(total - 2 * penalty) * factor
    if by_angle:
        return -estimate
    squared = np.float64(scale)
    return squared - (2.0 * unit) * np.sqrt(squared) * estimate


@jit()
def _keep_lowest(rows: Any, ranks: Any, kept: int, in_main: int, size: int) -> Any:
    """Move the rows of lowest rank to the front, at least `size`; how many are of the main segment, and in all."""
    limit = kth_smallest(ranks[:kept], size)
    count, count_main = 0, 0
    for position in range(kept):
        if ranks[position] <= limit:
            rows[count], ranks[count] = rows[position], ranks[position]
            count += 1
            count_main += position < in_main
    return count_main, count, limit


@jit()
def filter_by_sketch(
    rows: Any, in_main: int, n_rows: int, sketch: Any, factors: Any, by_angle: bool, segments: Any, size: int
) -> Any:
    """Move the rows nearest by their sketches to the front; how many are of the main segment, and in all.

    Whenever twice as many rows as were kept last have been met, the farther ones are dropped.
    """
    if n_rows <= size:
        return in_main, n_rows
    # Arrays, not tuples of them, within the loops: a tuple that is passed on counts a reference to each of its arrays.
    words, weights, total, unit = sketch
    ranks, limit = np.empty(n_rows), np.inf
    kept, kept_main, room = 0, 0, 2 * size
    for part in range(2):
        segment = segments[0] if part == 0 else segments[1]
        scales, sketches, alignments = segment[1], segment[2], segment[3]
        n_words = sketches.shape[1]
        end = in_main if part == 0 else n_rows
        for position in range(0 if part == 0 else in_main, end):
            if position + _SKETCHES_AHEAD < end:
                ahead = np.int64(rows[position + _SKETCHES_AHEAD]) * n_words
                prefetch(sketches, ahead)
                prefetch(sketches, ahead + n_words - 1)
            row = rows[position]
            penalty = _penalty(row, sketches, words, weights)
            rank = np.float64(penalty)
            if len(weights) > 0:
                rank = _rank(penalty, total, unit, factors[alignments[row, 0]], scales[row], by_angle)
            if rank <= limit:
                rows[kept], ranks[kept] = rows[position], rank
                kept += 1
                kept_main += part == 0
                if kept == room:
                    kept_main, kept, limit = _keep_lowest(rows, ranks, kept, kept_main, size)
                    room = 2 * kept
    kept_main, kept, limit = _keep_lowest(rows, ranks, kept, kept_main, size)
    return kept_main, kept
