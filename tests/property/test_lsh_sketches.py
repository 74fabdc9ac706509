"""The estimate of the sketch filter: without bias, as precise as theory says, equal however rows are hashed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lookalike.lsh import HyperplaneLSH
from lookalike.lsh.hyperplanes import draw_hyperplanes, hash_query, hash_rows
from lookalike.lsh.kernels import runner
from lookalike.lsh.sketches import WEIGHT_BITS, alignment_factors, penalties, sketch_of_query, sketch_ranks
from lookalike.lsh.space import VectorSpace
from tests.property.test_lsh_invariants import large_index
from tests.property.test_lsh_statistics import FOUR_DEVIATIONS


@pytest.mark.parametrize(("dim", "bits"), [(64, 64), (64, 256), (256, 128), (100, 64)])
@pytest.mark.parametrize("degrees", [20, 60, 130])
def test_the_estimate_of_the_cosine_has_no_bias_and_the_error_of_theory(dim, bits, degrees):
    angle, n_planes, pairs_each = np.radians(degrees), 60, 10
    rng, zero = np.random.default_rng(degrees), np.zeros(dim, np.float32)
    space, errors, expected = VectorSpace("cosine", zero), [], []
    for seed in range(n_planes):
        first = rng.standard_normal((pairs_each, dim))
        first /= np.linalg.norm(first, axis=1, keepdims=True)
        across = rng.standard_normal((pairs_each, dim))
        across -= (across * first).sum(axis=1, keepdims=True) * first
        across /= np.linalg.norm(across, axis=1, keepdims=True)
        rows, planes = first.astype(np.float32), draw_hyperplanes(dim, 1, 1, bits, seed)
        _, sketches, alignments = hash_rows(rows, space, planes)
        for number, query in enumerate((np.cos(angle) * first + np.sin(angle) * across).astype(np.float32)):
            sketch = hash_query(space.prepare(query), space, planes)[1]
            sums = sketch.total - 2 * penalties(sketches[number : number + 1], sketch)[0]
            errors.append(
                sums * sketch.unit * alignment_factors(dim, bits // 64)[alignments[number, 0]] - np.cos(angle)
            )
            length = np.abs(planes.normals @ rows[number]).sum()
            blocks = max(1.0, bits / dim)
            # The second term comes from rounding the query.
            expected.append(
                (np.sin(angle) ** 2 * (bits / length**2 - 1 / blocks) + 0.03 * bits / length**2) / (dim - 1)
            )
    bias, limit = np.mean(errors), FOUR_DEVIATIONS * np.std(errors) / np.sqrt(len(errors))
    # Rounding the query to weights makes the cosine of near vectors 2 % too large.
    assert -limit - 0.002 <= bias <= limit + 0.02 * max(np.cos(angle), 0.1), (bias, limit)
    ratio = np.mean(np.square(errors)) / np.mean(expected)
    assert 0.75 <= ratio <= 1.6, ratio


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(1, 30))
def test_penalties_are_sums_of_weights_over_differing_bits(seed, n_words, n_rows):
    rng = np.random.default_rng(seed)
    sketches = rng.integers(0, 2**64, (n_rows, n_words), np.uint64)
    projections = rng.standard_normal(64 * n_words).astype(np.float32)
    sketch = sketch_of_query(projections, projections > 0, is_weighted=True)
    bits = np.unpackbits(sketches.astype("<u8").view(np.uint8), axis=1, bitorder="little")
    planes = np.unpackbits(sketch.weights.astype("<u8").view(np.uint8), axis=1, bitorder="little")
    weights = 2 * (planes << np.arange(WEIGHT_BITS)[:, None]).sum(axis=0) + 1
    differing = bits != (projections > 0)
    np.testing.assert_array_equal(penalties(sketches, sketch), (differing * weights).sum(axis=1))
    assert sketch.total == weights.sum()


@settings(max_examples=25, deadline=None)
@given(large_index(), st.integers(70, 300))
def test_compiled_code_filters_as_numpy_does(case, size):
    vectors, options, queries = case
    index = HyperplaneLSH.build(vectors, **options)
    index.add(queries + 1, np.arange(10_000, 10_000 + len(queries)))
    content = index._content
    from lookalike.lsh.kernels.filtering import filter_by_sketch, weigh_query

    segment = content.main
    arrays = runner.kernel_runner(content).arrays
    for query in queries:
        prepared = content.space.prepare(query)
        if prepared.is_zero:
            continue
        sketch = hash_query(prepared, content.space, content.planes)[1]
        by_angle = index.metric != "euclidean"
        ranks = sketch_ranks(
            segment.sketches, segment.alignments, segment.scales, sketch, len(content.space.hash_mean), by_angle
        )
        expected = np.flatnonzero(ranks <= np.sort(ranks)[size - 1])
        projections = content.planes.normals @ (prepared.point - content.space.hash_mean)
        weighed = weigh_query(projections, sketch.words, True)
        rows = np.arange(len(segment), dtype=np.int32)
        _, kept = filter_by_sketch(rows, len(rows), len(rows), weighed, arrays[2][2], by_angle, arrays[3], size)
        np.testing.assert_array_equal(rows[:kept], expected)
