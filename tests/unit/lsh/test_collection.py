"""Indexes as collections: vectors by id, membership, upsert, ranges, one string of bytes, a mean that follows."""

import io
import zipfile

import numpy as np
import pytest

from lookalike.errors import IndexFormatError
from lookalike.lsh import ExactIndex, HyperplaneLSH, LSHashIndex
from lookalike.lsh.base import METRICS

from .test_engine import assert_equal_answers


def hashed(vectors, ids=None, **options):
    return HyperplaneLSH.build(vectors, ids, n_bits=7, n_tables=6, **options)


@pytest.fixture(params=[hashed, ExactIndex.build], ids=["lookalike", "exact"])
def build(request):
    return request.param


def test_vectors_come_back_by_id(build, vectors):
    ids = np.arange(1500) * 3 + 1
    index = build(vectors[:1500], ids)
    index.add(vectors[1500:1600], np.arange(9000, 9100))
    np.testing.assert_array_equal(index.get([9003, 4, 1, 9000]), vectors[[1503, 1, 0, 1500]])
    assert index.get([]).shape == (0, 32)
    assert 4 in index
    assert 5 not in index
    index.remove([4])
    assert 4 not in index
    with pytest.raises(ValueError, match="id 4 is not in the index"):
        index.get([1, 4])


def test_membership_of_what_is_no_number_is_false(build, vectors):
    index = build(vectors[:20])
    assert "3" not in index
    assert None not in index
    assert np.int64(3) in index


def test_upsert_replaces_and_adds(build, vectors, queries):
    index, mean = build(vectors[:1500], mean=np.zeros(32)), np.zeros(32)
    index.upsert(vectors[2000:2010], np.arange(1495, 1505))
    expected = np.concatenate([vectors[:1495], vectors[2000:2010]])
    assert_equal_answers(index.query_batch(queries, 9), build(expected, mean=mean).query_batch(queries, 9))
    with pytest.raises(ValueError, match="3 occurs more than once"):
        index.upsert(vectors[:2], [3, 3])
    assert len(index) == 1505


def test_exact_search_grows_and_shrinks(vectors, queries):
    index = ExactIndex.build(vectors[:500])
    index.add(vectors[500:900], np.arange(500, 900))
    index.remove(np.arange(0, 900, 3))
    kept = np.setdiff1d(np.arange(900), np.arange(0, 900, 3))
    fresh = ExactIndex.build(vectors[kept], kept)
    for k in (1, 40, 900):
        assert_equal_answers(index.query_batch(queries, k), fresh.query_batch(queries, k))
        assert_equal_answers([index.query(queries[0], k)], [fresh.query(queries[0], k)])


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("n_within", [0, 1, 63, 64, 65, 500, 1500])
def test_range_search_finds_all_within_the_radius(vectors, queries, metric, n_within):
    index = ExactIndex.build(vectors[:1500], metric=metric)
    everything = index.query(queries[0], 1500)
    radius = float(everything.distances[n_within - 1]) if n_within else float(everything.distances[0]) - 0.01
    answer = index.range_search(queries[0], radius)
    within = int((everything.distances <= np.float32(radius)).sum())
    np.testing.assert_array_equal(answer.ids, everything.ids[:within])
    np.testing.assert_array_equal(answer.distances, everything.distances[:within])


def test_range_search_by_buckets_finds_what_queries_find(vectors, queries):
    index = hashed(vectors, plan="scan")
    exact = ExactIndex.build(vectors, mean=index.mean)
    for query in queries[:5]:
        np.testing.assert_array_equal(index.range_search(query, 0.4).ids, exact.range_search(query, 0.4).ids)
    assert len(hashed(vectors[:0]).range_search(queries[0], 1.0)) == 0


@pytest.mark.parametrize("engine", [HyperplaneLSH, ExactIndex, LSHashIndex])
def test_an_index_is_the_same_after_bytes(engine, vectors, queries):
    if engine is LSHashIndex:
        pytest.importorskip("lshash", reason="lshash3 installs on Python 3.11 only")
    options = {} if engine is ExactIndex else {"n_bits": 5, "n_tables": 3}
    index = engine.build(vectors[:400], **options)
    again = engine.from_bytes(index.to_bytes())
    assert again.stats() == index.stats()
    assert_equal_answers(again.query_batch(queries, 5), index.query_batch(queries, 5))


@pytest.mark.parametrize("name", ["../index.json", "/etc/passwd", "vectors.npy/x", "x.pickle"])
def test_bytes_with_other_files_are_refused(name):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(name, b"")
    with pytest.raises(IndexFormatError, match="no file of an index"):
        ExactIndex.from_bytes(stream.getvalue())


@pytest.mark.parametrize("place", [0, 60, 2000, -30])
def test_altered_bytes_are_refused(vectors, place):
    data = bytearray(ExactIndex.build(vectors[:100]).to_bytes())
    data[place] ^= 0xFF
    with pytest.raises(IndexFormatError):
        ExactIndex.from_bytes(bytes(data))
    with pytest.raises(IndexFormatError, match="no stored index"):
        ExactIndex.from_bytes(b"")


def test_the_mean_follows_vectors_that_are_added(vectors, queries):
    index = hashed(vectors[:1])
    for start in range(1, 3000, 500):
        index.add(vectors[start : start + 500], np.arange(start, min(start + 500, 3000)))
    fresh = hashed(vectors)
    assert np.linalg.norm(index.mean - fresh.mean) < 0.3 * np.linalg.norm(vectors - fresh.mean, axis=1).mean()
    same = [len(np.intersect1d(index.query(q, 10).ids, fresh.query(q, 10).ids)) for q in queries]
    assert np.mean(same) > 9
    index.recenter()
    np.testing.assert_array_equal(index.mean, fresh.mean)
    assert_equal_answers(index.query_batch(queries, 10), fresh.query_batch(queries, 10))


@pytest.mark.parametrize("options", [{"mean": np.zeros(32)}, {"center": False}])
def test_a_mean_that_was_chosen_stays(vectors, options):
    index = hashed(vectors[:10], **options)
    index.add(vectors[10:2000], np.arange(10, 2000))
    index.compact()
    assert not index.mean.any()
    index.recenter()
    np.testing.assert_allclose(index.mean, vectors[:2000].mean(axis=0), atol=1e-4)


def test_saving_moves_no_mean(vectors, queries, tmp_path):
    index = hashed(vectors[:10])
    index.add(vectors[10:500], np.arange(10, 500))
    index.save(tmp_path)
    assert_equal_answers(HyperplaneLSH.load(tmp_path).query_batch(queries, 9), index.query_batch(queries, 9))
    loaded = HyperplaneLSH.load(tmp_path)
    loaded.compact()
    assert np.linalg.norm(loaded.mean - index.mean) > 0
