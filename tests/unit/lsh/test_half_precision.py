"""Vectors in half precision: an index over them is the index over the rounded vectors, in NumPy and compiled code."""

import numpy as np
import pytest

from lookalike.lsh import ExactIndex, HyperplaneLSH, load_index
from lookalike.lsh import vectors as stored_vectors
from lookalike.lsh.kernels import loading

from .test_engine import assert_equal_answers
from .test_kernels import kernels, numpy_answers  # noqa: F401

OPTIONS = {"n_bits": 8, "n_tables": 5, "rerank": 130}


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_answers_are_those_of_the_rounded_vectors(vectors, queries, kernels, monkeypatch, metric):  # noqa: F811
    rounded = vectors.astype(np.float16).astype(np.float32)
    half = HyperplaneLSH.build(vectors[:2500], **OPTIONS, metric=metric, storage="fp16")
    single = HyperplaneLSH.build(rounded[:2500], **OPTIONS, metric=metric)
    half.add(vectors[2500:2900], np.arange(2500, 2900))
    single.add(rounded[2500:2900], np.arange(2500, 2900))
    for index in (half, single):
        index.remove(np.arange(0, 2900, 11))
    np.testing.assert_array_equal(half.mean, single.mean)
    for k in (1, 10, 80, 2000):
        expected = numpy_answers(single, queries, k, monkeypatch)
        assert_equal_answers(numpy_answers(half, queries, k, monkeypatch), expected)
        assert_equal_answers([half.query(query, k) for query in queries], expected)
        assert_equal_answers(
            [half.search_exact(query, k) for query in queries], [single.search_exact(query, k) for query in queries]
        )


def test_exact_search_over_stored_vectors_is_the_truth(vectors, queries):
    half = HyperplaneLSH.build(vectors, **OPTIONS, storage="fp16")
    exact = ExactIndex.build(vectors.astype(np.float16), mean=half.mean)
    assert_equal_answers(exact.query_batch(queries, 20), [half.search_exact(query, 20) for query in queries])


def test_every_finite_half_precision_number_is_widened_exactly(kernels):  # noqa: F811
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    every = every[np.isfinite(every)]
    from lookalike.lsh.kernels.jit import jit, widen

    @jit()
    def widened(bits, numbers):
        for i in range(len(bits)):
            numbers[i] = widen(bits[i])

    numbers = np.empty(len(every), np.float32)
    widened(every.view(np.uint16), numbers)
    np.testing.assert_array_equal(numbers, every.astype(np.float32))
    np.testing.assert_array_equal(np.signbit(numbers), np.signbit(every))


@pytest.mark.parametrize("storage", ["fp32", "fp16"])
@pytest.mark.parametrize("advised", [True, False], ids=["read ahead", "small file"])
def test_a_mapped_index_answers_as_one_in_memory(
    vectors,
    queries,
    kernels,  # noqa: F811
    monkeypatch,
    tmp_path,
    storage,
    advised,
):
    monkeypatch.setattr(stored_vectors, "_SMALLEST_ADVISED_BYTES", 0 if advised else 1 << 40)
    index = HyperplaneLSH.build(vectors, **OPTIONS, storage=storage)
    index.save(tmp_path)
    mapped, read = load_index(tmp_path), load_index(tmp_path, mmap=False)
    assert stored_vectors.is_on_disk(mapped._content.main.vectors) == advised
    assert not stored_vectors.is_on_disk(read._content.main.vectors)
    assert mapped.stats() == index.stats()
    assert index.stats()["storage"] == storage
    assert index.stats()["bytes_per_vector"] == vectors.shape[1] * (2 if storage == "fp16" else 4)
    for k in (10, 1000):
        expected = numpy_answers(index, queries, k, monkeypatch)
        assert_equal_answers(numpy_answers(mapped, queries, k, monkeypatch), expected)
        for each in (mapped, read):
            assert_equal_answers(each.query_batch(queries, k), expected)


def test_without_advice_of_the_system_nothing_changes(vectors, queries, monkeypatch, tmp_path):
    """As on Windows, where `mmap` has no `madvise`."""

    class NoAdvice:
        pass

    HyperplaneLSH.build(vectors, **OPTIONS).save(tmp_path)
    expected = [load_index(tmp_path).query(query, 10) for query in queries]
    monkeypatch.setattr(stored_vectors, "_SMALLEST_ADVISED_BYTES", 0)
    monkeypatch.setattr(stored_vectors, "_mapping_of", lambda _: (NoAdvice(), 0))
    monkeypatch.setattr(loading, "_loaded", {})
    assert_equal_answers([load_index(tmp_path).query(query, 10) for query in queries], expected)


def test_values_beyond_half_precision_are_refused(vectors):
    large = vectors.copy()
    large[17, 3] = 1e5
    with pytest.raises(ValueError, match=r"row 17 has larger ones; use fp32"):
        HyperplaneLSH.build(large, **OPTIONS, storage="fp16")
    index = HyperplaneLSH.build(vectors, **OPTIONS, storage="fp16")
    with pytest.raises(ValueError, match=r"row 17 has larger ones; use fp32"):
        index.add(large, np.arange(10_000, 13_000))
    assert len(index) == len(vectors)
    with pytest.raises(ValueError, match="storage must be one of fp32, fp16"):
        HyperplaneLSH.build(vectors, **OPTIONS, storage="fp8")
