import numpy as np
import pytest

from lookalike.lsh import ExactIndex, HyperplaneLSH, LSHashIndex, load_index
from lookalike.lsh.base import METRICS

OPTIONS = {"n_bits": 7, "n_tables": 6}


@pytest.fixture(params=["lookalike", "exact", "lshash3"])
def build(request):
    if request.param == "lookalike":
        return lambda vectors, ids=None, **options: HyperplaneLSH.build(vectors, ids, **OPTIONS, **options)
    if request.param == "exact":
        return ExactIndex.build
    pytest.importorskip("lshash", reason="lshash3 is not installed")
    return lambda vectors, ids=None, **options: LSHashIndex.build(vectors, ids, **OPTIONS, **options)


def assert_equal_answers(first, second):
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.ids, b.ids)
        np.testing.assert_array_equal(a.distances, b.distances)
        assert a.candidates == b.candidates


def test_every_engine_answers_alike_after_load(build, vectors, queries, tmp_path):
    index = build(vectors[:600], np.arange(600) * 3 + 5)
    index.save(tmp_path / "index")
    for mmap in (True, False):
        loaded = load_index(tmp_path / "index", mmap=mmap)
        assert type(loaded) is type(index)
        assert loaded.stats() == index.stats()
        assert_equal_answers(loaded.query_batch(queries, 7), index.query_batch(queries, 7))


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("k", [1, 10, 400])
def test_distances_are_those_of_the_definition(build, vectors, queries, metric, k):
    index = build(vectors[:400], metric=metric)
    answer = index.query(queries[0], k)
    stored, query = vectors[:400].astype(float) - index.mean, queries[0].astype(float) - index.mean
    if metric == "euclidean":
        expected = np.linalg.norm(stored - query, axis=1)
    else:
        expected = 1 - stored @ query / np.linalg.norm(stored, axis=1) / np.linalg.norm(query)
    assert len(answer) == k
    np.testing.assert_allclose(answer.distances, expected[answer.ids], rtol=1e-6, atol=1e-7)
    assert (np.diff(answer.distances) >= 0).all()
    assert answer.ids.dtype == np.int64
    assert answer.distances.dtype == np.float32


@pytest.mark.parametrize("metric", METRICS)
def test_exact_search_of_the_index_is_exact_index(vectors, queries, metric):
    index = HyperplaneLSH.build(vectors, **OPTIONS, metric=metric)
    exact = ExactIndex.build(vectors, metric=metric, mean=index.mean)
    truth = exact.query_batch(queries, 12)
    assert_equal_answers(truth, [exact.query(query, 12) for query in queries])
    assert_equal_answers(truth, [index.search_exact(query, 12) for query in queries])


def test_recall_is_high_with_few_candidates(vectors, queries):
    index = HyperplaneLSH.build(vectors, **OPTIONS)
    truth = ExactIndex.build(vectors, mean=index.mean).query_batch(queries, 10)
    answers = index.query_batch(queries, 10)
    recall = np.mean([np.isin(t.ids, a.ids).mean() for t, a in zip(truth, answers, strict=True)])
    assert recall >= 0.9, recall
    assert np.mean([answer.candidates for answer in answers]) <= 0.15 * len(vectors)


def test_batch_is_one_by_one(build, vectors, queries):
    index = build(vectors[:700])
    assert_equal_answers(index.query_batch(queries, 9), [index.query(query, 9) for query in queries])


def test_equal_vectors_come_in_order_of_id(build, vectors):
    repeated = np.repeat(vectors[:10], 30, axis=0)
    ids = np.random.default_rng(0).permutation(300)
    answer = build(repeated, ids).query(vectors[3], 30)
    assert (answer.distances == 0).all()
    assert answer.ids.tolist() == sorted(ids[90:120].tolist())


def test_k_beyond_the_size_gives_everything(build, vectors):
    answer = build(vectors[:90]).query(vectors[0], 1000)
    assert sorted(answer.ids.tolist()) == list(range(90))


def test_empty_index_gives_empty_answers(build):
    index = build(np.empty((0, 4), np.float32))
    assert len(index) == 0
    assert len(index.query(np.ones(4), 3)) == 0
    assert [len(answer) for answer in index.query_batch(np.ones((2, 4)), 3)] == [0, 0]


def test_empty_index_is_saved_and_loaded(build, tmp_path):
    build(np.empty((0, 4), np.float32)).save(tmp_path)
    assert len(load_index(tmp_path)) == 0


@pytest.mark.parametrize("zeros", ["stored", "query"])
def test_zero_vectors_are_near_each_other_and_far_from_all_else(build, vectors, zeros):
    stored = vectors[:600].copy()
    stored[[7, 500]] = 0
    answer = build(stored, mean=np.zeros(32)).query(np.zeros(32) if zeros == "query" else vectors[0], 600)
    by_id = dict(zip(answer.ids.tolist(), answer.distances.tolist(), strict=True))
    if zeros == "query":
        assert answer.ids[:2].tolist() == [7, 500]
        assert set(answer.distances.tolist()) == {0.0, 1.0}
    else:
        assert by_id[7] == by_id[500] == 1.0


def test_inner_product_ranks_the_vectors_as_they_are(vectors, queries):
    # Lengths that differ, so that the largest inner product is not the smallest angle.
    stored = vectors * np.random.default_rng(0).uniform(0.5, 2.0, (len(vectors), 1)).astype(np.float32)
    index = HyperplaneLSH.build(stored, **OPTIONS, metric="inner_product", probes=16)
    recalls = []
    for query in queries:
        products = stored.astype(float) @ query.astype(float)
        expected = np.sort(products)[::-1][:10]
        np.testing.assert_allclose(index.search_exact(query, 10).distances, -expected, rtol=1e-5)
        recalls.append((index.query(query, 10).distances <= -expected[-1] * 0.99999).mean())
    assert np.mean(recalls) > 0.7
    assert not index.mean.any()


def test_inner_product_survives_storage_growth_and_longer_vectors(vectors, queries, tmp_path):
    index = HyperplaneLSH.build(vectors[:2000], **OPTIONS, metric="inner_product")
    index.add(5 * vectors[2000:2500], np.arange(2000, 2500))
    index.save(tmp_path)
    loaded = load_index(tmp_path)
    assert_equal_answers(loaded.query_batch(queries, 9), index.query_batch(queries, 9))
    loaded.recenter()
    grown = np.concatenate([vectors[:2000], 5 * vectors[2000:2500]])
    fresh = HyperplaneLSH.build(grown, **OPTIONS, metric="inner_product")
    assert_equal_answers(loaded.query_batch(queries, 9), fresh.query_batch(queries, 9))


def test_a_zero_query_is_equally_near_to_all_by_inner_product(vectors):
    for index in (
        HyperplaneLSH.build(vectors, **OPTIONS, metric="inner_product"),
        ExactIndex.build(vectors, metric="inner_product"),
    ):
        assert index.query(np.zeros(32), 3).ids.tolist() == [0, 1, 2]
        assert index.query_batch(np.zeros((1, 32)), 3)[0].distances.tolist() == [0, 0, 0]
