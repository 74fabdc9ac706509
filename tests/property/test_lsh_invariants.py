"""What must hold for every index and query, whatever the vectors."""

import itertools
import tempfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lookalike.lsh import ExactIndex, HyperplaneLSH, load_index
from lookalike.lsh.base import METRICS
from lookalike.lsh.hyperplanes import draw_hyperplanes, hash_rows
from lookalike.lsh.probing import probe_sequence
from lookalike.lsh.space import VectorSpace

# Few distinct small values make equal vectors, zero vectors and equal distances common.
VALUES = st.integers(-2, 2).map(float) | st.floats(-100, 100, width=32)
SETTINGS = settings(max_examples=25, deadline=None)


@st.composite
def vectors_and_options(draw, n_min=1, n_max=40):
    dim = draw(st.integers(1, 12))
    n = draw(st.integers(n_min, n_max))
    vectors = draw(hnp.arrays(np.float32, (n, dim), elements=VALUES))
    options = {
        "n_bits": draw(st.integers(1, 10)),
        "n_tables": draw(st.integers(1, 5)),
        "probes": draw(st.integers(1, 6)),
        "metric": draw(st.sampled_from(METRICS)),
        "center": draw(st.booleans()),
        "seed": draw(st.integers(0, 5)),
    }
    return vectors, options


@st.composite
def large_index(draw):
    """Enough rows that buckets are looked up: 600 to 900, with duplicates and zero vectors."""
    seed, dim = draw(st.integers(0, 10_000)), draw(st.sampled_from([2, 8, 33]))
    rng = np.random.default_rng(seed)
    distinct = rng.standard_normal((draw(st.sampled_from([40, 700])), dim))
    distinct[: draw(st.integers(0, 2))] = 0
    vectors = distinct[rng.integers(0, len(distinct), draw(st.integers(600, 900)))].astype(np.float32)
    options = {
        "n_bits": draw(st.integers(2, 14)),
        "n_tables": draw(st.integers(1, 6)),
        "probes": draw(st.integers(1, 20)),
        "metric": draw(st.sampled_from(METRICS)),
        "seed": seed,
    }
    queries = np.concatenate([rng.standard_normal((3, dim)), vectors[:3]]).astype(np.float32)
    return vectors, options, queries


def assert_same(first, second):
    np.testing.assert_array_equal(first.ids, second.ids)
    np.testing.assert_array_equal(first.distances, second.distances)


@SETTINGS
@given(large_index(), st.integers(1, 1200))
def test_answers_are_never_short_distinct_sorted_and_of_stored_ids(case, k):
    vectors, options, queries = case
    ids = np.arange(len(vectors)) * 2 + 7
    index = HyperplaneLSH.build(vectors, ids, **options)
    for query in queries:
        answer = index.query(query, k)
        assert len(answer) == min(k, len(vectors)) == len(set(answer.ids.tolist()))
        assert np.isin(answer.ids, ids).all()
        pairs = list(zip(answer.distances.tolist(), answer.ids.tolist(), strict=True))
        assert pairs == sorted(pairs)
        assert len(answer) <= answer.candidates <= len(vectors)


@SETTINGS
@given(large_index(), st.integers(1, 63))
def test_top_k_is_a_prefix_of_top_k_plus_one(case, k):
    vectors, options, queries = case
    index = HyperplaneLSH.build(vectors, **options)
    for query in queries:
        longer = index.query(query, k + 1)
        shorter = index.query(query, k)
        np.testing.assert_array_equal(shorter.ids, longer.ids[:k])
        np.testing.assert_array_equal(shorter.distances, longer.distances[:k])


@SETTINGS
@given(large_index())
def test_batch_is_one_by_one_and_the_same_again(case):
    vectors, options, queries = case
    index, again = HyperplaneLSH.build(vectors, **options), HyperplaneLSH.build(vectors.copy(), **options)
    for answer, query in zip(index.query_batch(queries, 9), queries, strict=True):
        assert_same(answer, index.query(query, 9))
        assert_same(answer, again.query(query, 9))


@SETTINGS
@given(large_index())
def test_a_stored_vector_finds_itself_first_and_among_the_candidates(case):
    vectors, options, _ = case
    options["metric"] = "cosine" if options["metric"] == "inner_product" else options["metric"]
    index = HyperplaneLSH.build(vectors, **options)
    for row in (0, len(vectors) // 2, len(vectors) - 1):
        assert row in index.candidates(vectors[row], probes=1)
        answer = index.query(vectors[row], 1)
        assert answer.distances[0] == 0
        assert answer.ids[0] == np.flatnonzero((vectors == vectors[row]).all(axis=1))[0]


@SETTINGS
@given(large_index(), st.randoms(use_true_random=False))
def test_insertion_order_is_irrelevant(case, random):
    vectors, options, queries = case
    order = list(range(len(vectors)))
    random.shuffle(order)
    index = HyperplaneLSH.build(vectors, **options)
    shuffled = HyperplaneLSH.build(vectors[order], order, **options)
    np.testing.assert_array_equal(index.mean, shuffled.mean)
    for query in queries:
        assert_same(index.query(query, 12), shuffled.query(query, 12))


@SETTINGS
@given(large_index(), st.integers(1, 30))
def test_add_then_remove_gives_the_old_answers(case, n_more):
    vectors, options, queries = case
    index = HyperplaneLSH.build(vectors, **options)
    before = index.query_batch(queries, 10)
    more = np.arange(10_000, 10_000 + n_more)
    index.add(queries[np.arange(n_more) % len(queries)], more)
    assert options["metric"] == "inner_product" or index.query(queries[0], 1).distances[0] == 0
    index.remove(more)
    for old, new in zip(before, index.query_batch(queries, 10), strict=True):
        assert_same(old, new)
    index.compact()
    for old, new in zip(before, index.query_batch(queries, 10), strict=True):
        assert_same(old, new)


@SETTINGS
@given(vectors_and_options())
def test_save_and_load_give_equal_answers(case):
    vectors, options = case
    index = HyperplaneLSH.build(vectors, **options)
    with tempfile.TemporaryDirectory() as folder:
        index.save(folder)
        loaded = load_index(folder)
        assert loaded.stats() == index.stats()
        for query in vectors[:4]:
            assert_same(loaded.query(query, 5), index.query(query, 5))
            np.testing.assert_array_equal(loaded.candidates(query), index.candidates(query))


@SETTINGS
@given(vectors_and_options(), st.integers(-60, 60))
def test_scaling_by_a_power_of_two_changes_no_hash(case, exponent):
    vectors, options = case
    planes = draw_hyperplanes(vectors.shape[1], options["n_tables"], options["n_bits"], 64, options["seed"])
    space = VectorSpace("cosine", np.zeros(vectors.shape[1], np.float32))
    # Below 2**-60 of values that are themselves tiny, float32 has no more bits to keep.
    vectors = np.where(np.abs(vectors) < 1e-10, 0, vectors).astype(np.float32)
    scaled = (vectors * np.float32(2.0**exponent)).astype(np.float32)
    for one, other in zip(hash_rows(vectors, space, planes), hash_rows(scaled, space, planes), strict=True):
        np.testing.assert_array_equal(one, other)


@SETTINGS
@given(vectors_and_options(n_min=3))
def test_a_row_is_hashed_alike_alone_and_among_others(case):
    vectors, options = case
    planes = draw_hyperplanes(vectors.shape[1], options["n_tables"], options["n_bits"], 64, options["seed"])
    space = VectorSpace("cosine", vectors[0])
    keys, sketches, alignments = hash_rows(vectors, space, planes)
    for row, vector in enumerate(vectors):
        alone_keys, alone_sketch, alone_alignment = hash_rows(vector[None, :], space, planes)
        np.testing.assert_array_equal(alone_keys[:, 0], keys[:, row])
        np.testing.assert_array_equal(alone_sketch[0], sketches[row])
        np.testing.assert_array_equal(alone_alignment[0], alignments[row])


@SETTINGS
@given(vectors_and_options(n_min=5), st.sampled_from([1, "hamming"]))
def test_more_tables_never_lose_and_more_bits_never_add_a_candidate(case, probes):
    vectors, options = case
    rng = np.random.default_rng(options["seed"])
    normals = rng.standard_normal((4, 8, vectors.shape[1] + (options["metric"] == "inner_product")))
    space = {"center": options["center"], "metric": options["metric"]}
    query = vectors[-1]

    def found(n_tables, n_bits):
        index = HyperplaneLSH.build(vectors, hyperplanes=normals[:n_tables, :n_bits], **space)
        return set(index.candidates(query, probes=probes).tolist())

    assert found(2, 5) <= found(3, 5) <= found(4, 5)
    assert found(3, 8) <= found(3, 5) <= found(3, 2)


@SETTINGS
@given(large_index())
def test_more_probes_never_lose_a_candidate(case):
    vectors, options, queries = case
    index = HyperplaneLSH.build(vectors, **options)
    for query in queries:
        sets = [set(index.candidates(query, probes=probes).tolist()) for probes in (1, 2, 5, 20)]
        assert all(fewer <= more for fewer, more in itertools.pairwise(sets))


@SETTINGS
@given(st.integers(1, 6), st.integers(1, 7), st.integers(0, 1000), st.integers(1, 300))
def test_probes_are_the_buckets_of_lowest_score(n_tables, n_bits, seed, n_probes):
    rng = np.random.default_rng(seed)
    keys, margins = rng.integers(0, 2**n_bits, n_tables).astype(np.uint32), rng.random((n_tables, n_bits))
    tables, buckets, scores = probe_sequence(keys, margins, n_probes)
    everything = [
        (sum(margins[table, bit] for bit in range(n_bits) if flips >> bit & 1), table, int(keys[table]) ^ flips)
        for table in range(n_tables)
        for flips in range(2**n_bits)
    ]
    expected = sorted(everything)[: max(n_probes, n_tables)]
    assert len(tables) == len(expected)
    np.testing.assert_allclose(scores, [score for score, _, _ in expected], atol=1e-12)
    assert {(table, key) for _, table, key in expected} == set(zip(tables.tolist(), buckets.tolist(), strict=True))


@pytest.mark.parametrize("metric", METRICS)
@SETTINGS
@given(case=vectors_and_options())
def test_exact_search_is_the_definition(metric, case):
    vectors, _ = case
    mean = None if metric == "inner_product" else vectors.mean(axis=0)
    index = ExactIndex.build(vectors, metric=metric, mean=mean)
    answer = index.query(vectors[0], len(vectors))
    rows, query = vectors.astype(float) - index.mean, vectors[0].astype(float) - index.mean
    if metric == "euclidean":
        expected = np.linalg.norm(rows - query, axis=1)
    elif metric == "inner_product":
        expected = -(rows @ query)
    else:
        norms = np.linalg.norm(rows, axis=1) * np.linalg.norm(query)
        cosines = np.divide(rows @ query, norms, out=np.zeros(len(rows)), where=norms > 0)
        both_zero = ~rows.any(axis=1) & ~query.any()
        expected = np.where(both_zero, 0.0, 1.0 - cosines)
    np.testing.assert_allclose(answer.distances, expected[answer.ids], rtol=1e-5, atol=1e-5)
