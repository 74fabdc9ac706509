"""`tune_lsh` returns parameters that reach what it was asked for, by whatever law the vectors are drawn."""

import numpy as np
import pytest

from benchmarks.laws import LAWS, draw
from lookalike.lsh import ExactIndex, HyperplaneLSH, tune_lsh
from lookalike.lsh.base import METRICS
from lookalike.lsh.recall import recall_at_k

N_ROWS = 2500
FOUR_DEVIATIONS = 4.0


def shares_found(index, law, k, n_queries=150):
    """Recall@k of new queries by the same law, asked as users ask."""
    queries = draw(law, n_queries, seed=1)
    vectors = index.get(np.arange(len(index)))
    truth = ExactIndex.build(vectors, metric=index.metric, mean=index.mean).query_batch(queries, k)
    found = [index.query(query, k) for query in queries]
    return np.array([recall_at_k(a.distances, t.distances, k) for a, t in zip(found, truth, strict=True)])


def assert_kept(shares, target):
    limit = FOUR_DEVIATIONS * shares.std() / np.sqrt(len(shares))
    assert shares.mean() + limit >= target, (shares.mean(), limit, target)


def tuned(law, target, **options):
    vectors = draw(law, N_ROWS, seed=0)
    params = tune_lsh(vectors, target_recall=target, n_queries=250, **options)
    assert params.recall >= target
    return HyperplaneLSH.build(vectors, metric=options.get("metric", "cosine"), **params.as_kwargs())


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("law", LAWS)
def test_promise_is_kept_for_every_law(law, metric):
    assert_kept(shares_found(tuned(law, 0.95, metric=metric), law, 10), 0.95)


@pytest.mark.parametrize("k", [1, 64, 65, 257, 1000])
@pytest.mark.parametrize("law", ["uniform", "clusters"])
def test_promise_is_kept_at_the_edges_of_levels(law, k):
    index = tuned(law, 0.9, k=k)
    for asked in {k, min(k, 64), min(k, 256)}:
        assert_kept(shares_found(index, law, asked, n_queries=80), 0.9)


def test_parameters_are_measured_where_the_asked_number_of_neighbors_is_scanned():
    # 100 neighbors of 1,000 vectors are scanned for, but 10 or 64 are not.
    vectors = draw("uniform", 1000, seed=0)
    params = tune_lsh(vectors, target_recall=0.9, k=100)
    index = HyperplaneLSH.build(vectors, **params.as_kwargs())
    assert params.plan == "scan" or index.query(vectors[0], 64).candidates < 1000
    for k in (10, 64, 100):
        assert_kept(shares_found(index, "uniform", k), 0.9)
