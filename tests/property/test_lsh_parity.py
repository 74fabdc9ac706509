"""With the same hyperplanes, our engine and lshash3 find the same candidates and rank them alike."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lookalike.lsh import HyperplaneLSH, LSHashIndex

pytest.importorskip("lshash", reason="lshash3 installs on Python 3.11 only")

PROBES = {"plain": 1, "hamming": "hamming"}


def check_parity(vectors, queries, normals, probe, metric, center):
    options = {"hyperplanes": normals, "metric": metric, "center": center}
    ours, theirs = HyperplaneLSH.build(vectors, **options), LSHashIndex.build(vectors, probe=probe, **options)
    for query in queries:
        found = ours.candidates(query, probes=PROBES[probe])
        ranked = theirs.candidates(query)
        np.testing.assert_array_equal(found, np.sort(ranked))
        if len(found):
            answer = ours.rank(query, found, len(found))
            distances = dict(zip(answer.ids.tolist(), answer.distances.tolist(), strict=True))
            # Ties aside: in their order, our distances ascend, but for the rounding of float32.
            in_their_order = np.array([distances[id] for id in ranked.tolist()])
            assert (np.diff(in_their_order) >= -1e-6 * max(1.0, in_their_order.max())).all()


@pytest.mark.parametrize("probe", ["plain", "hamming"])
@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n_bits=st.integers(1, 12),
    n_tables=st.integers(1, 4),
    dim=st.integers(2, 20),
    duplicates=st.booleans(),
)
def test_parity_with_lshash3(probe, seed, n_bits, n_tables, dim, duplicates):
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((120, dim)).astype(np.float32)
    if duplicates:
        vectors[60:] = vectors[:60]
    queries = np.concatenate([rng.standard_normal((5, dim)), vectors[:3]]).astype(np.float32)
    normals = rng.standard_normal((n_tables, n_bits, dim))
    check_parity(vectors, queries, normals, probe, "euclidean", center=False)


@pytest.mark.parametrize("probe", ["plain", "hamming"])
@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_parity_on_vectors_like_those_of_a_network(probe, metric, center):
    from benchmarks.vectors import ClusteredVectors

    mixture = ClusteredVectors(800)
    vectors, queries = mixture.draw(800, 0), mixture.draw(15, 1)
    normals = np.random.default_rng(0).standard_normal((5, 10, 512))
    check_parity(vectors, queries, normals, probe, metric, center)


def test_same_seed_means_same_hyperplanes():
    vectors = np.random.default_rng(0).standard_normal((50, 6))
    ours = HyperplaneLSH.build(vectors, n_bits=4, n_tables=3, seed=9)
    theirs = LSHashIndex.build(vectors, n_bits=4, n_tables=3, seed=9)
    np.testing.assert_array_equal(ours.hyperplanes, theirs.hyperplanes)
