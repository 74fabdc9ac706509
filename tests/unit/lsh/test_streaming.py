"""An index that is written block by block has the bytes of one that was built in memory and saved."""

import hashlib
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lookalike.lsh import HyperplaneLSH, streaming
from lookalike.lsh.streaming import build_on_disk

from .conftest import clustered_vectors
from .test_engine import assert_equal_answers

N_ROWS, DIM = 2500, 24
OPTIONS = {"n_bits": 7, "n_tables": 5, "probes": 3}


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(streaming, "_ROWS_PER_BLOCK", 1024)


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def rows_of(kind):
    vectors = clustered_vectors(N_ROWS, DIM)
    if kind == "copies":
        vectors[::3] = vectors[7]
        vectors[5::50] = 0
    return vectors


@pytest.mark.parametrize("kind", ["distinct", "copies"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"storage": "fp16"},
        {"metric": "euclidean", "n_bits": 20, "n_tables": 2},
        {"center": False, "plan": "scan"},
        {"mean": np.ones(DIM), "sketch_bits": 512},
        {"metric": "inner_product", "storage": "fp16"},
        {"metric": "inner_product", "center": False},
    ],
    ids=["default", "half", "sparse keys", "not centred", "given mean", "inner product", "inner product, not centred"],
)
def test_same_files_as_in_memory(tmp_path, kind, options):
    vectors, options = rows_of(kind), OPTIONS | options
    ids = np.random.default_rng(0).permutation(N_ROWS) * 5
    HyperplaneLSH.build(vectors, ids, **options).save(tmp_path / "memory")
    index = build_on_disk(np.array_split(vectors, 7), tmp_path / "disk", n_rows=N_ROWS, dim=DIM, ids=ids, **options)
    assert digests(tmp_path / "disk") == digests(tmp_path / "memory")
    assert json.loads((tmp_path / "disk/index.json").read_text())["parameters"]["probes"] == 3
    expected = HyperplaneLSH.load(tmp_path / "memory").query_batch(vectors[:20], 9)
    assert_equal_answers(index.query_batch(vectors[:20], 9), expected)


@settings(max_examples=12, deadline=None)
@given(cuts=st.lists(st.integers(0, N_ROWS), max_size=9))
def test_cuts_of_the_parts_do_not_show(tmp_path_factory, cuts):
    vectors = rows_of("distinct")
    folders = [tmp_path_factory.mktemp("index") for _ in range(2)]
    parts = np.split(vectors, sorted(cuts))
    for folder, some in zip(folders, (parts, [vectors]), strict=True):
        build_on_disk(some, folder, n_rows=N_ROWS, dim=DIM, **OPTIONS)
    assert digests(folders[0]) == digests(folders[1])


def test_no_rows_make_an_empty_index(tmp_path):
    index = build_on_disk([], tmp_path, n_rows=0, dim=4, **OPTIONS)
    assert len(index) == 0
    assert len(index.query(np.ones(4), 3)) == 0


@pytest.mark.parametrize("n_rows", [N_ROWS - 1, N_ROWS + 1, 5])
def test_another_number_of_rows_is_refused_and_leaves_no_index(tmp_path, n_rows):
    with pytest.raises(ValueError, match=f"must hold {n_rows} vectors"):
        build_on_disk([rows_of("distinct")], tmp_path, n_rows=n_rows, dim=DIM, **OPTIONS)
    assert list(tmp_path.iterdir()) == []


def test_bad_vectors_are_named_by_their_row_in_the_whole(tmp_path):
    vectors = rows_of("distinct")
    vectors[1777, 3] = np.nan
    with pytest.raises(ValueError, match="row 1777 holds NaN"):
        build_on_disk(np.array_split(vectors, 9), tmp_path, n_rows=N_ROWS, dim=DIM, **OPTIONS)
    with pytest.raises(ValueError, match="dim 24, got 23"):
        build_on_disk([vectors[:10], vectors[10:, :23]], tmp_path, n_rows=N_ROWS, dim=DIM, **OPTIONS)
    assert list(tmp_path.iterdir()) == []


def test_bad_parameters_are_refused_before_any_part_is_taken(tmp_path):
    def parts():
        pytest.fail("a part was taken")
        yield

    with pytest.raises(ValueError, match="storage must be one of"):
        build_on_disk(parts(), tmp_path, n_rows=3, dim=DIM, **OPTIONS, storage="fp64")
    with pytest.raises(ValueError, match="distinct"):
        build_on_disk(parts(), tmp_path, n_rows=3, dim=DIM, **OPTIONS, ids=[1, 1, 2])
