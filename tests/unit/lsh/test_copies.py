"""Equal rows are found, hashed once and ranked once; answers are those of rows that all differ."""

import numpy as np
import pytest

from lookalike.lsh import ExactIndex, HyperplaneLSH, hyperplanes, load_index, space
from lookalike.lsh.base import METRICS
from lookalike.lsh.copies import first_copies, first_copies_with_more
from lookalike.lsh.kernels import loading

from .test_engine import assert_equal_answers


def repeated_rows(n_rows, n_distinct, dim, seed=0):
    rng = np.random.default_rng(seed)
    distinct = rng.integers(-1, 2, (n_distinct, dim)).astype(np.float32)
    return distinct[rng.integers(0, n_distinct, n_rows)]


def by_definition(vectors):
    firsts = {}
    return [firsts.setdefault(vector.tobytes(), row) for row, vector in enumerate(vectors)]


def scales_of(vectors):
    return np.abs(vectors).sum(axis=1).astype(np.float32)


@pytest.mark.parametrize("dim", [1, 2, 30])
@pytest.mark.parametrize("n_distinct", [1, 7, 2000])
def test_first_copies_are_those_of_the_definition(dim, n_distinct):
    vectors = repeated_rows(3000, n_distinct, dim)
    assert first_copies(vectors, scales_of(vectors)).tolist() == by_definition(vectors)
    for cuts in ([500], [0, 2999], [100, 101]):
        parts = np.split(vectors, cuts)
        known, copies = [(parts[0], scales_of(parts[0]))], first_copies(parts[0], scales_of(parts[0]))
        for part in parts[1:]:
            copies = first_copies_with_more(copies, known, part, scales_of(part))
            known.append((part, scales_of(part)))
        assert copies.tolist() == by_definition(vectors)


def test_rows_that_all_differ_have_no_copies(vectors):
    assert first_copies(vectors, scales_of(vectors)) is None
    assert first_copies(vectors[:0], scales_of(vectors[:0])) is None
    assert (
        first_copies_with_more(None, [(vectors[:5], scales_of(vectors[:5]))], vectors[5:9], scales_of(vectors[5:9]))
        is None
    )


def test_rows_alike_in_the_components_that_are_compared_first_are_told_apart():
    vectors = np.zeros((100, 64), np.float32)
    vectors[np.arange(100), 1 + np.arange(100) % 7] = 1 + np.arange(100) // 7
    assert first_copies(vectors, np.ones(100, np.float32)) is None


@pytest.mark.parametrize("metric", METRICS)
def test_answers_with_copies_are_those_of_exact_distances(metric):
    vectors = np.concatenate([repeated_rows(2000, 900, 9), repeated_rows(500, 1, 9, seed=4)])
    index = HyperplaneLSH.build(vectors, n_bits=4, n_tables=8, probes=16, metric=metric)
    exact = ExactIndex.build(vectors, metric=metric, mean=index.mean)
    queries = np.concatenate([vectors[:20], np.random.default_rng(1).standard_normal((20, 9)).astype(np.float32)])
    for k in (1, 9, 64, 700, 2500):
        for query, answer in zip(queries, exact.query_batch(queries, k), strict=True):
            expected = index.rank(query, np.arange(len(vectors)), k)
            np.testing.assert_array_equal(answer.ids, expected.ids)
            np.testing.assert_array_equal(answer.distances, expected.distances)
            assert_equal_answers([index.search_exact(query, k)], [answer])
            assert len(index.query(query, k)) == k


@pytest.mark.parametrize("compiled", [False, True])
def test_copies_that_come_and_go_change_no_answer(tmp_path, monkeypatch, compiled):
    loading.load_kernels(lambda kernels: None)
    monkeypatch.setattr(loading, "_loaded", dict(loading._loaded) if compiled else {})
    vectors = repeated_rows(2400, 1100, 8)
    index = HyperplaneLSH.build(vectors[:1500], n_bits=5, n_tables=4)
    kept = set(range(1500))
    rng = np.random.default_rng(2)
    for start in range(1500, 2400, 300):
        index.add(vectors[start : start + 300], np.arange(start, start + 300))
        kept |= set(range(start, start + 300))
        gone = rng.choice(sorted(kept), 200, replace=False)
        index.remove(gone)
        kept -= set(gone.tolist())
        rows = np.array(sorted(kept))
        fresh = HyperplaneLSH.build(vectors[rows], rows, n_bits=5, n_tables=4, mean=index.mean)
        for k in (5, 300):
            assert_equal_answers(index.query_batch(vectors[:20], k), fresh.query_batch(vectors[:20], k))
        np.testing.assert_array_equal(index.candidates(vectors[3]), fresh.candidates(vectors[3]))
    index.save(tmp_path)
    assert_equal_answers(load_index(tmp_path).query_batch(vectors[:20], 9), index.query_batch(vectors[:20], 9))


def test_only_first_rows_stand_in_the_tables():
    vectors = np.concatenate([np.ones((5000, 16)), np.eye(16)]).astype(np.float32)
    stats = HyperplaneLSH.build(vectors, n_bits=6, n_tables=3).stats()
    assert stats["n_vectors"] == 5016
    assert [round(table["mean_size"] * table["occupied_buckets"]) for table in stats["tables"]] == [17] * 3


@pytest.fixture
def exact_sums(monkeypatch):
    """The numbers of rows that were summed in float64."""
    calls = []
    for module in (hyperplanes, space):
        original = module.sum_products
        monkeypatch.setattr(module, "sum_products", lambda a, b, f=original: calls.append(len(a)) or f(a, b))
    return calls


@pytest.mark.parametrize("metric", METRICS)
def test_ten_thousand_copies_share_one_exact_distance(exact_sums, metric):
    vectors = np.random.default_rng(0).standard_normal((20_000, 16)).astype(np.float32)
    vectors[::2] = vectors[0]
    index = ExactIndex.build(vectors, metric=metric)
    exact_sums.clear()
    answers = [index.query(vectors[0], 10), *index.query_batch(vectors[:1], 10)]
    assert metric == "inner_product" or answers[0].ids.tolist() == list(range(0, 20, 2))
    assert_equal_answers(answers[:1], answers[1:])
    assert sum(exact_sums) < 200


def test_zero_vectors_are_hashed_and_found_without_exact_sums(exact_sums):
    index = HyperplaneLSH.build(np.zeros((20_000, 64), np.float32), n_bits=8, n_tables=6)
    assert index.query(np.zeros(64), 5).ids.tolist() == [0, 1, 2, 3, 4]
    assert index.query(np.ones(64), 5).ids.tolist() == [0, 1, 2, 3, 4]
    assert sum(exact_sums) < 100
