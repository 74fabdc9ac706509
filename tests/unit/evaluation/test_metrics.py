import math

import numpy as np
import pytest

from lookalike.evaluation import metrics


@pytest.mark.parametrize(
    ("found", "expected"),
    [([0.1, 0.2, 0.3, 0.4], 1.0), ([0.1, 0.2, 0.8, 0.9], 0.5), ([0.7, 0.8, 0.9, 1.0], 0.0), ([], 0.0)],
)
def test_recall_counted_by_hand(found, expected):
    true = np.array([0.1, 0.2, 0.3, 0.4])
    assert metrics.recall_at_k(np.array(found), true, 4) == expected


def test_recall_accepts_a_tie_with_the_last_true_neighbor():
    assert metrics.recall_at_k(np.array([0.1, 0.2]), np.array([0.1, 0.2, 0.2]), 2) == 1.0


def test_recall_of_a_small_collection_asks_only_for_what_is_there():
    assert metrics.recall_at_k(np.array([0.1]), np.array([0.1]), 10) == 1.0
    assert metrics.recall_at_k(np.array([]), np.array([]), 10) == 1.0


def test_recall_ignores_answers_beyond_rank_k():
    assert metrics.recall_at_k(np.array([0.9, 0.1]), np.array([0.1, 0.9]), 1) == 0.0


@pytest.mark.parametrize(
    ("relevant", "k", "expected"), [([1, 0, 1, 0], 4, 0.5), ([1, 0, 1, 0], 1, 1.0), ([1, 0], 10, 0.5), ([], 10, 0.0)]
)
def test_precision_counted_by_hand(relevant, k, expected):
    assert metrics.precision_at_k(np.array(relevant, bool), k) == expected


def test_average_precision_counted_by_hand():
    assert metrics.average_precision(np.array([1, 0, 1, 0], bool)) == pytest.approx((1 + 2 / 3) / 2)
    assert metrics.average_precision(np.array([1, 1, 0], bool)) == 1.0
    assert math.isnan(metrics.average_precision(np.array([0, 0], bool)))


def test_interval_covers_the_mean_at_the_stated_rate():
    generator = np.random.default_rng(7)
    covered = 0
    for seed in range(200):
        low, high = metrics.confidence_interval(generator.beta(8, 2, 100), seed)
        covered += low <= 0.8 <= high
    # 95 % of 200 is 190, with a standard deviation of 3.1; the bootstrap is a little too narrow at n = 100.
    assert 178 <= covered <= 200


def test_interval_of_equal_values_is_a_point_and_of_none_is_zero():
    assert metrics.confidence_interval(np.ones(5), 0) == (1.0, 1.0)
    assert metrics.confidence_interval(np.array([]), 0) == (0.0, 0.0)


def test_latency_is_in_milliseconds():
    assert metrics.latency_summary(np.array([0.001, 0.002, 0.003])) == {"p50": 2.0, "p95": 2.9}
