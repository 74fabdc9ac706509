"""Distances in compiled code: fast bounds on the rank of every candidate, and exact ones as in `space.py`."""

from typing import Any

import numpy as np

from lookalike.lsh.kernels.jit import jit, prefetch, widen, will_need
from lookalike.lsh.space import SMALLEST_COSINE_DISTANCE, SMALLEST_NORM

# Places in `base.METRICS`.
COSINE, EUCLIDEAN, INNER_PRODUCT = 0, 1, 2

_ROWS_AHEAD = 4
_CACHE_LINE_BYTES = 64


@jit()
def sum_products(first: Any, second: Any) -> float:
    """The sum of products of two float64 vectors in the order of `space.sum_products`."""
    p0 = p1 = p2 = p3 = p4 = p5 = p6 = p7 = 0.0
    dim = len(first)
    whole = dim - dim % 8
    for i in range(0, whole, 8):
        p0 += first[i] * second[i]
        p1 += first[i + 1] * second[i + 1]
        p2 += first[i + 2] * second[i + 2]
        p3 += first[i + 3] * second[i + 3]
        p4 += first[i + 4] * second[i + 4]
        p5 += first[i + 5] * second[i + 5]
        p6 += first[i + 6] * second[i + 6]
        p7 += first[i + 7] * second[i + 7]
    partial = (p0, p1, p2, p3, p4, p5, p6, p7)
    total = 0.0
    for column in range(8):
        value = partial[column]
        if whole + column < dim:
            value += first[whole + column] * second[whole + column]
        total = total + value if column > 0 else value
    return total


@jit(fastmath=True)
def dot_products(rows: Any, vectors: Any, direction: Any, dots: Any) -> None:
    """Write the approximate dot products of rows with the query's direction."""
    dim, step = len(direction), _CACHE_LINE_BYTES // vectors.itemsize
    for position in range(len(rows)):
        if position + _ROWS_AHEAD < len(rows):
            ahead = np.int64(rows[position + _ROWS_AHEAD]) * dim
            for line in range(0, dim, step):
                prefetch(vectors, ahead + line)
        row, total = rows[position], np.float32(0)
        for component in range(dim):
            total += widen(vectors[row, component]) * direction[component]
        dots[position] = total


@jit()
def read_ahead(rows: Any, vectors: Any) -> None:
    """Have the system read rows of a mapped file, all at once and in the order of their place."""
    dim = vectors.shape[1]
    for row in np.sort(rows):
        will_need(vectors, np.int64(row) * dim, dim)


@jit()
def bound_ranks(dots: Any, rows: Any, scales: Any, ranking: Any, lows: Any, highs: Any) -> None:
    """Write bounds from below and above on the rank of each row, as `VectorSpace.approximate` gives them."""
    metric, error, mean_norm, offset, norm = ranking
    for position in range(len(rows)):
        scale, dot = np.float64(scales[rows[position]]), np.float64(dots[position]) - offset
        if metric == COSINE:
            rank = 1.0 - dot * scale
            bound = error * (1.0 + mean_norm * scale)
        elif metric == INNER_PRODUCT:
            rank = -dot
            bound = error * np.sqrt(scale) * norm
        else:
            rank = scale + norm * norm - 2.0 * dot
            bound = error * (scale + norm * norm + 2.0 * (np.sqrt(scale) + mean_norm) * norm)
        lows[position], highs[position] = rank - bound, rank + bound


@jit()
def bound_segment(rows: Any, segment: Any, fast_direction: Any, ranking: Any, lows: Any, highs: Any) -> None:
    """Write bounds from below and above on the rank of each row of one segment."""
    dots = np.empty(len(rows), np.float32)
    dot_products(rows, segment[0], fast_direction, dots)
    bound_ranks(dots, rows, segment[1], ranking, lows, highs)


@jit()
def exact_distance(vector: Any, query: Any, mean: Any, direction: Any, metric: int, work: Any) -> float:
    """The distance of one row, as `VectorSpace.distances` gives it for a query that is not zero."""
    for component in range(len(vector)):
        reference = np.float64(query[component]) if metric == EUCLIDEAN else mean[component]
        work[component] = np.float64(widen(vector[component])) - reference
    if metric == INNER_PRODUCT:
        return 0.0 - sum_products(work, direction)
    squared = sum_products(work, work)
    if metric == EUCLIDEAN:
        return float(np.sqrt(squared))
    norm = np.sqrt(squared)
    if norm < SMALLEST_NORM:
        return 1.0
    distance = min(max(1.0 - sum_products(work, direction) / norm, 0.0), 2.0)
    return 0.0 if distance < SMALLEST_COSINE_DISTANCE else distance
