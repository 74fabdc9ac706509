import numpy as np
import pytest

from lookalike.lsh import Neighbors
from lookalike.lsh.recall import confidence_interval, recall_at_k, without_row

FAR = 9


@pytest.mark.parametrize(
    ("true", "found", "k", "recall"),
    [
        ([1, 2, 3, 4], [1, 2, 3, 4], 4, 1.0),
        ([1, 2, 3, 4], [1, 2, FAR, FAR], 4, 0.5),
        ([1, 2, 3, 4], [FAR, FAR], 4, 0.0),
        ([1, 2, 3, 4], [], 4, 0.0),
        # An answer that is as far as the last true neighbor may stand for it, but for one of them only.
        ([1, 2, 2], [1, 2], 2, 1.0),
        ([1, 2], [2, 2, 2], 2, 1.0),
        # A small collection has fewer than k.
        ([1], [1], 10, 1.0),
        ([], [], 10, 1.0),
        # What stands behind rank k does not count.
        ([1, FAR], [FAR, 1], 1, 0.0),
    ],
)
def test_recall_counted_by_hand(true, found, k, recall):
    assert recall_at_k(np.array(found, np.float32), np.array(true, np.float32), k) == recall


def test_interval_covers_the_mean_at_the_stated_rate():
    rng = np.random.default_rng(7)
    intervals = [confidence_interval(rng.beta(8, 2, 100)) for _ in range(200)]
    # 95 % of 200 is 190, with a standard deviation of 3.1.
    assert 178 <= sum(low <= 0.8 <= high for low, high in intervals) <= 200


def test_interval_counted_by_hand():
    assert confidence_interval(np.array([1.0, 0.0, 1.0, 1.0])) == (pytest.approx(0.75 - 1.96 * 0.5 / 2), 1.0)
    assert confidence_interval(np.array([0.5])) == (0.5, 0.5)
    assert confidence_interval(np.ones(5)) == (1.0, 1.0)
    assert confidence_interval(np.array([])) == (0.0, 0.0)


@pytest.mark.parametrize(("row", "ids"), [(7, [5, 6]), (5, [7, 6]), (9, [5, 7])])
def test_a_query_is_no_neighbor_of_itself(row, ids):
    answer = Neighbors(np.array([5, 7, 6]), np.array([0.1, 0.2, 0.3], np.float32), 3)
    assert without_row(answer, row, 2).ids.tolist() == ids
