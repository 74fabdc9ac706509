import numpy as np
import pytest

from lookalike.lsh import HyperplaneLSH, LSHParams, tune_lsh


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


def test_unreachable_target_gives_the_best_and_says_so(vectors, caplog):
    params = tune_lsh(vectors, n_bits=12, n_tables=1, probes=1, target_recall=1.0, n_queries=50)
    assert params.recall < 1.0
    assert "1.0000 was wanted" in caplog.text


@pytest.mark.parametrize("n_rows", [0, 1, 2, 3, 30])
def test_few_vectors_give_usable_parameters(vectors, n_rows):
    params = tune_lsh(vectors[:n_rows])
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
