"""A query with a confidence finds all of the nearest at least as often as it says."""

import numpy as np
import pytest

from lookalike.lsh import HyperplaneLSH
from lookalike.lsh.kernels import loading

N_ROWS, N_QUERIES, K = 8000, 300, 10


def uniform(rng, n):
    return rng.standard_normal((n, 32))


def clustered(rng, n):
    centers = np.random.default_rng(1).standard_normal((60, 64))
    return np.maximum(centers[rng.integers(0, 60, n)] + 0.6 * rng.standard_normal((n, 64)), 0.0)


def low_rank(rng, n):
    return rng.standard_normal((n, 8)) @ np.random.default_rng(2).standard_normal((8, 96))


def sparse(rng, n):
    return rng.exponential(size=(n, 128)) * (rng.random((n, 128)) < 0.06)


def heavy_tailed(rng, n):
    return clustered(rng, n) * rng.pareto(2.0, (n, 1))


def one_long_axis(rng, n):
    vectors = rng.standard_normal((n, 48))
    vectors[:, 0] *= 30.0
    return vectors


LAWS = [uniform, clustered, low_rank, sparse, heavy_tailed, one_long_axis]


@pytest.fixture(scope="module", params=LAWS, ids=lambda law: law.__name__)
def case(request):
    rng = np.random.default_rng(5)
    return request.param(rng, N_ROWS).astype(np.float32), request.param(rng, N_QUERIES).astype(np.float32)


def share_found(index, queries, confidence, **options):
    """Share of queries whose true neighbors are all found, the lowest stated confidence, and the mean rows ranked."""
    found, stated, ranked = [], [], []
    for query in queries:
        answer, truth = index.query(query, K, confidence=confidence, **options), index.search_exact(query, K)
        found.append(answer.distances[-1] <= truth.distances[-1])
        stated.append(answer.confidence)
        ranked.append(answer.candidates)
    return float(np.mean(found)), float(np.min(stated)), float(np.mean(ranked))


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("confidence", [0.9, 0.99])
def test_all_of_the_nearest_are_found_as_often_as_stated(case, metric, confidence):
    vectors, queries = case
    index = HyperplaneLSH.build(vectors, n_bits=9, n_tables=6, probes=2, metric=metric)
    share, stated, _ranked = share_found(index, queries, confidence)
    assert stated >= confidence
    # Three standard deviations of the share of as many queries.
    assert share >= confidence - 3 * np.sqrt(confidence * (1 - confidence) / N_QUERIES), (share, _ranked)


def test_compiled_code_gives_the_same_answers(case, monkeypatch):
    vectors, queries = case
    index = HyperplaneLSH.build(vectors[:7500], n_bits=9, n_tables=6, probes=2)
    index.add(vectors[7500:], np.arange(7500, 8000))
    index.remove(np.arange(0, 8000, 9))
    loading.load_kernels(lambda kernels: None)
    compiled = [index.query(query, K, confidence=0.95) for query in queries[:40]]
    monkeypatch.setattr(loading, "_loaded", {})
    monkeypatch.setattr(loading, "note_numpy_seconds", lambda seconds, load: None)
    for query, expected in zip(queries[:40], compiled, strict=True):
        answer = index.query(query, K, confidence=0.95)
        np.testing.assert_array_equal(answer.ids, expected.ids)
        np.testing.assert_array_equal(answer.distances, expected.distances)
        assert (answer.confidence, answer.candidates) == (expected.confidence, expected.candidates)


def test_what_cannot_be_promised_is_scanned(case):
    vectors, queries = case
    normals = np.random.default_rng(0).standard_normal((3, 8, vectors.shape[1]))
    given = HyperplaneLSH.build(vectors, hyperplanes=normals, probes=1)
    inner = HyperplaneLSH.build(vectors, n_bits=8, n_tables=3, probes=1, metric="inner_product")
    for index in (given, inner):
        assert share_found(index, queries[:20], 0.9) == (1.0, 1.0, len(vectors))


@pytest.mark.parametrize("confidence", [-0.1, 1.0, float("nan")])
def test_impossible_confidence_is_refused(case, confidence):
    vectors, queries = case
    index = HyperplaneLSH.build(vectors[:500], n_bits=4, n_tables=2)
    with pytest.raises(ValueError, match="confidence must be"):
        index.query(queries[0], K, confidence=confidence)
