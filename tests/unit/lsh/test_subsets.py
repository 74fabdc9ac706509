"""Filtered queries: as many answers as there are, all of them matching, and found as surely as unfiltered ones."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.laws import LAWS, draw
from lookalike.lsh import ExactIndex, HyperplaneLSH, subsets, tune_lsh
from lookalike.lsh.recall import recalls_at_k

from .conftest import clustered_vectors
from .test_engine import assert_equal_answers
from .test_kernels import kernels, numpy_answers  # noqa: F401

OPTIONS = {"n_bits": 7, "n_tables": 6, "rerank": 130}
PLANS = ["whole", "sketches", "probe"]


@pytest.fixture
def index(vectors):
    index = HyperplaneLSH.build(vectors[:2500], **OPTIONS)
    index.add(vectors[2500:2900], np.arange(2500, 2900) * 10)
    index.remove(np.arange(0, 2500, 11))
    return index


def with_plan(index, where, plan, monkeypatch):
    """A subset that is queried by the given plan, whatever that costs."""
    with monkeypatch.context() as patch:
        patch.setattr(subsets, "_RANKED_AS_A_WHOLE", 10_000 if plan == "whole" else -1)
        patch.setattr(subsets, "all_sketches_cost", lambda _: np.inf if plan == "probe" else 0.0)
        subset = index.subset(where)
    assert subset.plan == ("probe" if plan == "probe" else "sketches")
    return subset


@pytest.mark.parametrize("plan", PLANS)
def test_same_answers_in_numpy_and_compiled_code(index, queries, kernels, monkeypatch, plan):  # noqa: F811
    where = np.random.default_rng(0).random(len(index)) < 0.3
    subset = with_plan(index, where, plan, monkeypatch)
    allowed = set(index.ids[where].tolist())
    assert len(subset) == len(allowed)
    for k in (1, 10, 80, 2000):
        expected = numpy_answers(subset, queries, k, monkeypatch)
        assert_equal_answers([subset.query(query, k) for query in queries], expected)
        assert_equal_answers(subset.query_batch(queries, k), expected)
        for answer in expected:
            assert len(answer) == min(k, len(allowed))
            assert set(answer.ids.tolist()) <= allowed


def test_a_small_subset_is_searched_exactly(index, queries):
    where = index.ids % 3 == 0
    exact = ExactIndex.build(index.get(index.ids[where]), index.ids[where], mean=index.mean)
    subset = index.subset(where)
    for query in queries:
        found, true = subset.query(query, 12), exact.query(query, 12)
        np.testing.assert_array_equal(found.ids, true.ids)
        np.testing.assert_array_equal(found.distances, true.distances)
        assert_equal_answers([index.query(query, 12, where=where)], [found])
        assert_equal_answers([index.query(query, 12, where=index.ids[where][::-1])], [found])
        np.testing.assert_array_equal(subset.search_exact(query, 12).ids, true.ids)


@settings(max_examples=30, deadline=None)
@given(n_matching=st.integers(0, 700), k=st.integers(1, 900), plan=st.sampled_from(PLANS), seed=st.integers(0, 99))
def test_never_fewer_than_there_are(n_matching, k, plan, seed):
    rng = np.random.default_rng(seed)
    vectors = clustered_vectors(700, 8, seed=seed)
    vectors[::5] = vectors[3]
    index = HyperplaneLSH.build(vectors, n_bits=6, n_tables=3, probes=1)
    ids = rng.choice(700, n_matching, replace=False)
    with pytest.MonkeyPatch.context() as patch:
        answer = with_plan(index, ids, plan, patch).query(clustered_vectors(1, 8, seed=seed + 1)[0], k)
    assert len(answer) == min(k, n_matching)
    assert np.isin(answer.ids, ids).all()
    assert len(np.unique(answer.ids)) == len(answer)
    assert (np.diff(answer.distances) >= 0).all()


@pytest.mark.parametrize("law", LAWS)
def test_the_promise_holds_for_subsets(law, monkeypatch):
    vectors, queries = draw(law, 6000, 0), draw(law, 150, 1)
    index = HyperplaneLSH.build(vectors, **tune_lsh(vectors, target_recall=0.9, n_queries=200).as_kwargs())
    monkeypatch.setattr(subsets, "_RANKED_AS_A_WHOLE", 500)
    for share in (0.6, 0.2, 0.03):
        where = np.random.default_rng(3).random(len(vectors)) < share
        truth = ExactIndex.build(vectors[where], np.flatnonzero(where), mean=index.mean).query_batch(queries, 10)
        shares = recalls_at_k(index.subset(where).query_batch(queries, 10), truth, 10)
        # By the chance of the sample of queries, 150 of them may show a little less.
        assert shares.mean() + 2.6 * shares.std() / np.sqrt(len(shares)) >= 0.9, (law, share, shares.mean())


def test_a_subset_of_an_index_that_scans_finds_everything(vectors, queries):
    index = HyperplaneLSH.build(vectors, **OPTIONS, plan="scan")
    where = np.arange(len(vectors)) < 2000
    subset, exact = index.subset(where), ExactIndex.build(vectors[:2000], mean=index.mean)
    for query in queries:
        np.testing.assert_array_equal(subset.query(query, 20).ids, exact.query(query, 20).ids)


def test_a_subset_is_a_snapshot_and_can_be_saved(index, queries, tmp_path):
    where = index.ids < 900
    subset, before = index.subset(where), index.ids[where]
    expected = subset.query_batch(queries, 5)
    index.remove(before[:50])
    assert_equal_answers(subset.query_batch(queries, 5), expected)
    subset.save(tmp_path)
    loaded = HyperplaneLSH.load(tmp_path)
    assert sorted(loaded.ids.tolist()) == sorted(before.tolist())


@pytest.mark.parametrize(
    ("where", "error", "message"),
    [
        (np.ones(7, bool), ValueError, r"a mask must have shape \(2672,\)"),
        ([1, 99_999_999], ValueError, "id 99999999 is not in the index"),
        ([0], ValueError, "id 0 is not in the index"),
        ([0.5], TypeError, "ids must be integers"),
        ("cats", TypeError, "ids must be integers"),
    ],
)
def test_filters_that_are_none_are_refused(index, queries, where, error, message):
    with pytest.raises(error, match=message):
        index.query(queries[0], 3, where=where)


def test_an_empty_filter_gives_nothing(index, queries):
    assert len(index.query(queries[0], 3, where=[])) == 0
    assert len(index.query(queries[0], 3, where=np.zeros(len(index), bool))) == 0
