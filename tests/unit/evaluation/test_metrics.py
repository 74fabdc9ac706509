import math

import numpy as np
import pytest

from lookalike.evaluation import metrics


@pytest.mark.parametrize(
    ("relevant", "k", "expected"), [([1, 0, 1, 0], 4, 0.5), ([1, 0, 1, 0], 1, 1.0), ([1, 0], 10, 0.5), ([], 10, 0.0)]
)
def test_precision_counted_by_hand(relevant, k, expected):
    assert metrics.precision_at_k(np.array(relevant, bool), k) == expected


def test_average_precision_counted_by_hand():
    assert metrics.average_precision(np.array([1, 0, 1, 0], bool)) == pytest.approx((1 + 2 / 3) / 2)
    assert metrics.average_precision(np.array([1, 1, 0], bool)) == 1.0
    assert math.isnan(metrics.average_precision(np.array([0, 0], bool)))


def test_latency_is_in_milliseconds():
    assert metrics.latency_summary(np.array([0.001, 0.002, 0.003])) == {"p50": 2.0, "p95": 2.9}
