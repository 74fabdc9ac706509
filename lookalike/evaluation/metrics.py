"""The measures, as pure functions over arrays.

Recall and precision answer different questions:

- recall_at_k: |found and among the true k nearest| / k. How well the index imitates exact search.
- precision_at_k: |found with the query's label| / k. How good the embedding is, under exact search.
- average precision: precision averaged over the ranks of all images with the query's label.
"""

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
# Distances of one pair of vectors, computed by two engines in float32, differ by rounding.
TIE_TOLERANCE = 1e-5
_BOOTSTRAP_RESAMPLES = 1000


def recall_at_k(found_distances: FloatArray, true_distances: FloatArray, k: int) -> float:
    """Share of the true k nearest that were found, between 0 and 1; ties count as found.

    Both arrays are nearest first and hold true distances (of found ids, recomputed exactly). An id
    as near as the k-th true one is accepted, whichever of equals it is (as ann-benchmarks does).
    With fewer than k vectors to be found, k is their number; with none the recall is 1.
    """
    k = min(k, len(true_distances))
    if k == 0:
        return 1.0
    threshold = true_distances[k - 1] + TIE_TOLERANCE
    return float(np.count_nonzero(found_distances[:k] <= threshold)) / k


def precision_at_k(relevant: NDArray[np.bool_], k: int) -> float:
    """Share of relevant answers among the first k ranks; `relevant` is (n,), nearest first.

    With fewer than k answers the missing ones count as wrong only if k answers were to be had:
    k is the number of answers then. Without answers it is 0.
    """
    k = min(k, len(relevant))
    return float(np.count_nonzero(relevant[:k])) / k if k else 0.0


def average_precision(relevant: NDArray[np.bool_]) -> float:
    """Mean of the precision at the rank of each relevant answer; `relevant` is (n,), nearest first.

    NaN if nothing is relevant: such a query has no average precision and must be left out.
    """
    ranks = np.flatnonzero(relevant) + 1
    if len(ranks) == 0:
        return float("nan")
    return float(np.mean(np.arange(1, len(ranks) + 1) / ranks))


def confidence_interval(values: FloatArray, seed: int) -> tuple[float, float]:
    """The 95 % interval of the mean of `values` (n,), by the percentile bootstrap (Efron 1979); seeded.

    Without values it is (0, 0).
    """
    if len(values) == 0:
        return 0.0, 0.0
    generator = np.random.default_rng(seed)
    means = [
        float(np.mean(values[generator.integers(0, len(values), len(values))])) for _ in range(_BOOTSTRAP_RESAMPLES)
    ]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def latency_summary(seconds: FloatArray) -> dict[str, float]:
    """Median and 95th percentile of `seconds` (n,), in milliseconds; n is at least 1."""
    p50, p95 = np.percentile(seconds * 1000, [50, 95])
    return {"p50": round(float(p50), 4), "p95": round(float(p95), 4)}
