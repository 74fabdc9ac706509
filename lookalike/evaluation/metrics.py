"""Measures of the embedding by labels, and of latency, as functions of arrays.

Precision says how good the embedding is, under exact search; how well an index imitates exact search is its recall,
in `lookalike.lsh.recall`.
"""

import numpy as np
from numpy.typing import NDArray


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


def latency_summary(seconds: NDArray[np.float64]) -> dict[str, float]:
    """Median and 95th percentile of `seconds` (n,), in milliseconds; n is at least 1."""
    p50, p95 = np.percentile(seconds * 1000, [50, 95])
    return {"p50": round(float(p50), 4), "p95": round(float(p95), 4)}
