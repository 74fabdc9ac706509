"""Rates that theory gives; seeds are fixed, and limits are four standard deviations."""

import numpy as np
import pytest

from lookalike.lsh import ExactIndex, HyperplaneLSH, tune_lsh
from lookalike.lsh.hyperplanes import draw_hyperplanes, hash_rows
from lookalike.lsh.recall import confidence_interval, recall_at_k
from lookalike.lsh.space import VectorSpace

DIM = 64
FOUR_DEVIATIONS = 4.0


def pairs_at_angle(angle, n_pairs, rng):
    """Unit vectors, and others at the given angle from them."""
    first = rng.standard_normal((n_pairs, DIM))
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    across = rng.standard_normal((n_pairs, DIM))
    across -= (across * first).sum(axis=1, keepdims=True) * first
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    return first.astype(np.float32), (np.cos(angle) * first + np.sin(angle) * across).astype(np.float32)


@pytest.mark.parametrize("degrees", [5, 30, 60, 90, 150])
def test_a_hyperplane_separates_with_chance_angle_over_pi(degrees):
    # One pair and one hyperplane each time, so that trials are independent.
    angle, n_trials = np.radians(degrees), 4000
    rng = np.random.default_rng(degrees)
    first, second = pairs_at_angle(angle, n_trials, rng)
    planes = draw_hyperplanes(DIM, 1, 1, n_trials - n_trials % 64 + 64, degrees)
    normals = planes.normals[:n_trials]
    separated = ((first * normals).sum(axis=1) > 0) != ((second * normals).sum(axis=1) > 0)
    expected = angle / np.pi
    limit = FOUR_DEVIATIONS * np.sqrt(expected * (1 - expected) / n_trials)
    assert abs(separated.mean() - expected) <= limit, (separated.mean(), expected, limit)


@pytest.mark.parametrize(("degrees", "n_bits", "n_tables"), [(20, 6, 1), (30, 8, 4), (45, 10, 8)])
def test_candidates_are_found_with_the_chance_of_theory(degrees, n_bits, n_tables):
    angle, n_indexes, pairs_each = np.radians(degrees), 300, 4
    rng = np.random.default_rng(degrees)
    found = []
    for seed in range(n_indexes):
        first, second = pairs_at_angle(angle, pairs_each, rng)
        planes = draw_hyperplanes(DIM, n_tables, n_bits, 256, seed)
        space = VectorSpace("cosine", np.zeros(DIM, np.float32))
        keys_first, keys_second = hash_rows(first, space, planes)[0], hash_rows(second, space, planes)[0]
        found.append((keys_first == keys_second).any(axis=0).mean())
    expected = 1 - (1 - (1 - angle / np.pi) ** n_bits) ** n_tables
    # Pairs of one index share hyperplanes: only the indexes count as independent.
    limit = FOUR_DEVIATIONS * np.std(found, ddof=1) / np.sqrt(n_indexes)
    assert abs(np.mean(found) - expected) <= limit, (np.mean(found), expected, limit)


def test_sketches_estimate_angles():
    first, second = pairs_at_angle(np.radians(40), 300, np.random.default_rng(1))
    planes = draw_hyperplanes(DIM, 1, 1, 1024, 3)
    space = VectorSpace("cosine", np.zeros(DIM, np.float32))
    one, other = hash_rows(first, space, planes)[1], hash_rows(second, space, planes)[1]
    shares = np.bitwise_count(one ^ other).sum(axis=1) / 1024
    limit = FOUR_DEVIATIONS * np.sqrt((40 / 180) * (140 / 180) / 1024)
    assert abs(shares.mean() - 40 / 180) <= limit


def test_chance_to_miss_is_calibrated():
    # Of neighbors at a fixed angle, the share that a query misses is the mean of the chances given.
    rng = np.random.default_rng(5)
    first, second = pairs_at_angle(np.radians(35), 400, rng)
    index = HyperplaneLSH.build(second, n_bits=10, n_tables=3, probes=4, center=False)
    explained = [index.explain(query, row) for row, query in enumerate(first)]
    missed = np.mean([not match["found"] for match in explained])
    expected = np.mean([match["chance_to_miss"] for match in explained])
    assert all(abs(match["angle_degrees"] - 35) < 0.01 for match in explained)
    # The bits of one index are drawn once for all queries, which widens the spread: twice the binomial one.
    limit = 2 * FOUR_DEVIATIONS * np.sqrt(expected * (1 - expected) / len(first))
    assert 0.1 < expected < 0.9
    assert abs(missed - expected) <= limit, (missed, expected, limit)


@pytest.mark.parametrize(("target_recall", "metric"), [(0.8, "cosine"), (0.95, "cosine"), (0.95, "euclidean")])
def test_tuned_index_keeps_its_promise_on_new_queries(target_recall, metric):
    from benchmarks.vectors import ClusteredVectors

    mixture = ClusteredVectors(4000)
    vectors, queries = mixture.draw(4000, 0), mixture.draw(200, 1)
    params = tune_lsh(vectors, target_recall=target_recall, metric=metric, n_queries=200)
    index = HyperplaneLSH.build(vectors, metric=metric, **params.as_kwargs())
    truth = ExactIndex.build(vectors, metric=metric, mean=index.mean).query_batch(queries, 10)
    answers = zip(index.query_batch(queries, 10), truth, strict=True)
    shares = np.array([recall_at_k(found.distances, true.distances, 10) for found, true in answers])
    assert params.recall >= target_recall
    assert confidence_interval(shares)[1] >= target_recall, shares.mean()
