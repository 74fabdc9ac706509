"""Recall: the share of the true nearest neighbors that an index finds, and how certain its mean over queries is.

The parameters of an index are chosen by these functions, and a build is accepted by them.
"""

from collections.abc import Sequence

import numpy as np

from lookalike.lsh.base import Float32Array, Float64Array, Neighbors

_STANDARD_ERRORS = 1.96


def recall_at_k(found: Float32Array, true: Float32Array, k: int) -> float:
    """Return the share of the true k nearest that were found, from 0 to 1; ties count as found.

    Both arrays are distances by one definition, such as `VectorSpace.distances`, nearest first. An answer as near as
    the k-th true one is accepted, whichever of equals it is (as in ann-benchmarks). With fewer than k true neighbors,
    k is their number; with none the recall is 1.
    """
    k = min(k, len(true))
    return float(np.count_nonzero(found[:k] <= true[k - 1])) / k if k else 1.0


def recalls_at_k(found: Sequence[Neighbors], true: Sequence[Neighbors], k: int) -> Float64Array:
    """Return `recall_at_k` of each of several answers; (n,)."""
    return np.array([recall_at_k(f.distances, t.distances, k) for f, t in zip(found, true, strict=True)])


def confidence_interval(shares: Float64Array) -> tuple[float, float]:
    """Return the 95 % confidence interval of the mean of `shares` (n,), each from 0 to 1 (normal approximation).

    A single share is its own interval; without any it is (0, 0).
    """
    if len(shares) == 0:
        return 0.0, 0.0
    mean = float(shares.mean())
    error = _STANDARD_ERRORS * float(shares.std(ddof=1)) / len(shares) ** 0.5 if len(shares) > 1 else 0.0
    return max(0.0, mean - error), min(1.0, mean + error)


def without_row(answer: Neighbors, row: int, k: int) -> Neighbors:
    """Return the k nearest of an answer other than the id `row`, such as the query itself."""
    others = np.flatnonzero(answer.ids != row)[:k]
    return Neighbors(answer.ids[others], answer.distances[others], answer.candidates)
