import numpy as np
import pytest

from lookalike.lsh import HyperplaneLSH, LSHParams, tune_lsh
from lookalike.lsh.tuning import measured_ks

from .test_engine import assert_equal_answers


def test_same_vectors_give_the_same_parameters_which_build_takes(vectors):
    params = tune_lsh(vectors, target_recall=0.9, n_queries=100)
    assert params == tune_lsh(vectors, target_recall=0.9, n_queries=100)
    assert params.recall >= 0.9
    index = HyperplaneLSH.build(vectors, **params.as_kwargs())
    assert (index.n_bits, index.n_tables, index.probes) == (params.n_bits, params.n_tables, params.probes)


def test_given_parameters_stay(vectors):
    params = tune_lsh(vectors, n_bits=6, n_tables=3, n_queries=50)
    assert (params.n_bits, params.n_tables) == (6, 3)
    assert tune_lsh(vectors, probes=2, n_queries=50).probes == 2


@pytest.mark.parametrize("target_recall", [0.99, 1.0])
def test_a_target_that_the_given_parameters_cannot_reach_is_reached_by_a_scan(vectors, queries, target_recall):
    params = tune_lsh(vectors, n_bits=12, n_tables=1, probes=1, target_recall=target_recall, n_queries=50)
    assert (params.plan, params.recall) == ("scan", 1.0)
    assert (params.n_bits, params.n_tables, params.probes) == (12, 1, 1)
    index = HyperplaneLSH.build(vectors, **params.as_kwargs())
    assert index.stats()["plan"] == "scan"
    assert_equal_answers([index.query(queries[0], 10)], [index.search_exact(queries[0], 10)])


def test_a_scan_is_stored_as_such(vectors, tmp_path):
    HyperplaneLSH.build(vectors, n_bits=6, n_tables=2, plan="scan").save(tmp_path)
    assert HyperplaneLSH.load(tmp_path).stats()["plan"] == "scan"


@pytest.mark.parametrize(
    ("k", "n_rows", "measured"),
    [(10, 5000, [10]), (64, 5000, [64]), (65, 5000, [64, 65]), (1000, 5000, [64, 256, 1000]), (100, 1000, [64])],
)
def test_the_edge_of_every_level_that_uses_the_buckets_is_measured(k, n_rows, measured):
    assert measured_ks(k, n_rows) == measured


@pytest.mark.parametrize("n_rows", [0, 1, 2, 3, 30])
def test_few_vectors_give_usable_parameters(vectors, n_rows):
    params = tune_lsh(vectors[:n_rows])
    assert params.plan == "probe"
    index = HyperplaneLSH.build(vectors[:n_rows], **params.as_kwargs())
    assert len(index.query(vectors[0], 10)) == min(10, n_rows)


def test_equal_vectors_are_no_trouble():
    assert isinstance(tune_lsh(np.ones((500, 4)), n_queries=20), LSHParams)


@pytest.mark.parametrize("target_recall", [0.0, 1.1, float("nan")])
def test_bad_target_is_refused(vectors, target_recall):
    with pytest.raises(ValueError, match="target_recall must be above 0"):
        tune_lsh(vectors, target_recall=target_recall)


def test_queries_are_drawn_from_the_rows_that_are_named():
    generator = np.random.default_rng(3)
    tight = np.repeat(generator.normal(size=(40, 32)), 25, axis=0) + 0.01 * generator.normal(size=(1000, 32))
    scattered = generator.normal(size=(200, 32))
    vectors = np.vstack([tight, scattered]).astype(np.float32)
    easy = tune_lsh(vectors, target_recall=0.9, query_rows=np.arange(1000))
    hard = tune_lsh(vectors, target_recall=0.9, query_rows=np.arange(1000, 1200))
    assert easy.n_tables * easy.probes < hard.n_tables * hard.probes


@pytest.mark.parametrize("query_rows", [[], [-1], [10], [0.5]])
def test_rows_that_do_not_exist_are_refused(query_rows):
    with pytest.raises(ValueError, match="query_rows must be"):
        tune_lsh(np.eye(10, dtype=np.float32), query_rows=query_rows)
