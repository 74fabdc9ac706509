"""Compiled code gives the answers of NumPy to the last bit."""

import os
import subprocess
import sys

import numpy as np
import pytest

from lookalike.lsh import HyperplaneLSH
from lookalike.lsh.base import METRICS
from lookalike.lsh.hyperplanes import hash_query
from lookalike.lsh.kernels import loading
from lookalike.lsh.probing import probe_sequence
from lookalike.lsh.space import sum_products

from .conftest import clustered_vectors
from .test_engine import assert_equal_answers


@pytest.fixture(scope="module")
def kernels():
    loading.load_kernels(lambda kernels: None)
    return loading.loaded_kernels()


def numpy_answers(index, queries, k, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(loading, "_loaded", {})
        patch.setattr(loading, "note_numpy_seconds", lambda seconds, load: None)
        return [index.query(query, k) for query in queries]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("n_bits", "n_tables", "probes"),
    [(8, 5, 2), (8, 5, 40), (16, 3, 10), (1, 1, 1), (24, 2, 30)],
    ids=["few probes", "all rows", "sparse keys", "one bit", "too few candidates"],
)
def test_same_answers(vectors, queries, kernels, monkeypatch, metric, n_bits, n_tables, probes):
    index = HyperplaneLSH.build(
        vectors[:2500], n_bits=n_bits, n_tables=n_tables, probes=probes, metric=metric, rerank=130
    )
    index.add(vectors[2500:2900], np.arange(2500, 2900))
    index.remove(np.arange(0, 2900, 11))
    for k in (1, 10, 80, 2000):
        expected = numpy_answers(index, queries, k, monkeypatch)
        assert_equal_answers(index.query_batch(queries, k, threads=2), expected)
        assert_equal_answers([index.query(query, k) for query in queries], expected)


def test_same_answers_for_duplicates_planes_through_points_and_zeros(kernels, monkeypatch):
    # Small whole numbers lie exactly on hyperplanes with whole normals, and at equal distances.
    rng = np.random.default_rng(0)
    vectors = rng.integers(-1, 2, (2500, 7)).astype(np.float32)
    normals = rng.integers(1, 3, (4, 6, 7)) * rng.choice([-1, 1], (4, 6, 7))
    index = HyperplaneLSH.build(vectors, hyperplanes=normals, center=False, probes=3)
    queries = np.concatenate([vectors[:60], np.zeros((1, 7), np.float32)])
    expected = numpy_answers(index, queries, 20, monkeypatch)
    assert_equal_answers([index.query(query, 20) for query in queries], expected)


@pytest.mark.parametrize("dim", [1, 2, 7, 8, 9, 31, 512])
def test_same_distances_in_every_dimension(kernels, monkeypatch, dim):
    vectors, queries = clustered_vectors(600, dim, seed=2) + 0.5, clustered_vectors(20, dim, seed=3)
    index = HyperplaneLSH.build(vectors, n_bits=5, n_tables=4)
    assert_equal_answers(index.query_batch(queries, 30), numpy_answers(index, queries, 30, monkeypatch))


@pytest.mark.parametrize("dim", [1, 3, 8, 13, 64, 513])
def test_sums_do_not_depend_on_how_many_rows_are_summed(kernels, dim):
    rng = np.random.default_rng(dim)
    first, second = rng.standard_normal((50, dim)), rng.standard_normal(dim)
    sums = sum_products(first, second)
    np.testing.assert_array_equal(sums, [sum_products(row[None, :], second)[0] for row in first])
    np.testing.assert_array_equal(sums, [kernels.sum_products(row, second) for row in first])


@pytest.mark.parametrize(("n_tables", "n_bits"), [(1, 1), (1, 32), (5, 10), (20, 16), (3, 4)])
def test_same_buckets(kernels, n_tables, n_bits):
    rng = np.random.default_rng(0)
    for factor in (1, 3, 40):
        margins = rng.standard_normal((n_tables, n_bits)) ** 2
        keys = rng.integers(0, 2**n_bits, n_tables).astype(np.uint32)
        tables, buckets, _ = probe_sequence(keys, margins, factor * n_tables)
        found = kernels.probe_sequence(keys, margins, factor * n_tables)
        assert sorted(zip(*found, strict=True)) == sorted(zip(tables, buckets, strict=True))


def test_same_hash(kernels, vectors):
    index = HyperplaneLSH.build(vectors, n_bits=9, n_tables=7)
    space, planes = index._content.space, index._content.planes
    for vector in vectors[:50]:
        prepared = space.prepare(vector)
        expected = hash_query(prepared, space, planes)
        projections = planes.normals @ (prepared.point - index.mean)
        centered = vector - index.mean.astype(np.float64)
        found = kernels.hash_projections(projections, centered, (planes.normals, planes.norms), 1e-5, 7, 9)
        for a, b in zip(found, (expected[0], expected[1].words, expected[2]), strict=True):
            np.testing.assert_array_equal(a, b)
        weighed = kernels.weigh_query(projections, found[1], True)
        assert weighed[2:] == (expected[1].total, expected[1].unit)
        np.testing.assert_array_equal(weighed[1], expected[1].weights)


def test_a_long_batch_loads_compiled_code_and_a_short_one_does_not(vectors, queries, monkeypatch):
    index = HyperplaneLSH.build(vectors, n_bits=7, n_tables=6)
    monkeypatch.setattr(loading, "_loaded", {})
    short = index.query_batch(queries, 5)
    assert loading.loaded_kernels() is None
    monkeypatch.setattr(loading, "loading_seconds", lambda: 0.0)
    assert_equal_answers(index.query_batch(queries, 5), short)
    assert loading.loaded_kernels() is not None


MANY_QUERIES = """
import os, sys, threading, time, numpy as np
from lookalike.lsh import HyperplaneLSH
from lookalike.lsh.kernels import loading
loading.loading_seconds = lambda: 0.0
loading.CACHED_SECONDS = 0.0
vectors = np.random.default_rng(0).standard_normal((3000, 8)).astype(np.float32)
index = HyperplaneLSH.build(vectors, n_bits=6, n_tables=3)
expected = index.query(vectors[0], 5)
"""


def run_script(text, before=""):
    script = before + MANY_QUERIES + text
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)


def test_queries_load_compiled_code_by_themselves():
    result = run_script(
        "deadline = time.monotonic() + 200\n"
        "while loading.loaded_kernels() is None and time.monotonic() < deadline:\n"
        "    answer = index.query(vectors[0], 5)\n"
        "again = index.query(vectors[0], 5)\n"
        "print(loading.loaded_kernels() is not None, (again.ids == expected.ids).all(), threading.active_count())"
    )
    assert (result.stdout.strip(), result.stderr, result.returncode) == ("True True 1", "", 0)


def test_the_interpreter_may_end_while_code_is_compiled(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    result = run_script("index.query(vectors[0], 5); print(loading.loaded_kernels() is None)")
    assert (result.stdout.strip(), result.stderr, result.returncode) == ("True", "", 0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_fork_waits_for_the_loading_thread():
    result = run_script(
        "child = os.fork()\n"
        "if child == 0:\n"
        "    os._exit(0 if loading.loaded_kernels() and len(index.query(vectors[0], 5)) == 5 else 1)\n"
        "print(os.waitpid(child, 0)[1])"
    )
    assert (result.stdout.strip(), result.stderr, result.returncode) == ("0", "", 0)


def test_numpy_goes_on_where_numba_is_broken():
    result = run_script(
        "for _ in range(50): answer = index.query(vectors[0], 5)\n"
        "print((answer.ids == expected.ids).all(), loading.loaded_kernels())",
        before="import sys; sys.modules['numba'] = None",
    )
    assert (result.stdout.strip(), result.stderr, result.returncode) == ("True None", "", 0)


def test_a_single_query_imports_neither_numba_nor_lshash():
    script = (
        "import sys, numpy as np\n"
        "from lookalike.lsh import HyperplaneLSH\n"
        "vectors = np.random.default_rng(0).standard_normal((1000, 8))\n"
        "HyperplaneLSH.build(vectors, n_bits=5, n_tables=3).query(vectors[0], 5)\n"
        "print([name for name in ('numba', 'lshash', 'torch', 'pandas', 'scipy') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_an_unwritable_cache_folder_does_no_harm(tmp_path):
    unwritable = tmp_path / "file"
    unwritable.write_text("not a folder")
    script = (
        "from lookalike.lsh.kernels.jit import jit\n"
        "import numba.core.caching as caching\n"
        "caching.CacheImpl._locator_classes = []\n"
        "print(jit()(lambda x: x + 1)(41))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "42"
