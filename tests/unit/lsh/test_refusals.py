import json
import re

import numpy as np
import pytest

from lookalike.errors import IndexFormatError
from lookalike.lsh import HyperplaneLSH, load_index
from lookalike.lsh.exact import ExactIndex


def build(vectors, ids=None, **options):
    return HyperplaneLSH.build(vectors, ids, **{"n_bits": 4, "n_tables": 2, **options})


def with_value(value):
    vectors = np.ones((20, 4), np.float32)
    vectors[13, 2] = value
    return vectors


@pytest.mark.parametrize(
    ("vectors", "error", "message"),
    [
        (with_value(np.nan), ValueError, "row 13 holds NaN"),
        (with_value(np.inf), ValueError, "row 13 holds values infinite"),
        (with_value(-1e20), ValueError, "row 13 holds values infinite or beyond 1e+15"),
        (np.ones(4), ValueError, "shape (n, dim), got (4,)"),
        (np.ones((3, 0)), ValueError, "dim of at least 1, got 0"),
        (np.ones((3, 4), complex), TypeError, "real numbers"),
        ([["a", "b"]], TypeError, "real numbers"),
    ],
)
def test_bad_vectors_are_refused(vectors, error, message):
    with pytest.raises(error, match=re.escape(message)):
        build(vectors)


@pytest.mark.parametrize(
    ("ids", "error", "message"),
    [
        ([1, 2, 1], ValueError, "1 occurs more than once"),
        ([1, 2], ValueError, "shape (3,)"),
        ([0.5, 1.0, 2.0], TypeError, "integers"),
        (np.array([1, 2, 2**63], np.uint64), ValueError, "below 2**63"),
    ],
)
def test_bad_ids_are_refused(ids, error, message):
    with pytest.raises(error, match=re.escape(message)):
        build(np.ones((3, 4)), ids)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n_bits": 0}, ValueError, "n_bits must be between 1 and 32, got 0"),
        ({"n_bits": 33}, ValueError, "got 33"),
        ({"n_tables": 1.5}, TypeError, "n_tables must be a whole number"),
        ({"n_tables": None}, ValueError, "n_bits and n_tables are needed"),
        ({"probes": 0}, ValueError, "probes must be between 1 and"),
        ({"seed": -1}, ValueError, "seed"),
        ({"metric": "manhattan"}, ValueError, "cosine, euclidean, inner_product; got 'manhattan'"),
        ({"metric": "inner_product", "mean": np.ones(4)}, ValueError, "takes no mean"),
        ({"mean": np.ones(3)}, ValueError, "mean must have shape (4,)"),
        ({"sketch_bits": 100}, ValueError, "multiple of 64"),
        ({"hyperplanes": np.ones((2, 4))}, ValueError, "(n_tables, n_bits, 4), got (2, 4)"),
        ({"hyperplanes": np.zeros((2, 4, 4))}, ValueError, "none of them zero"),
        ({"hyperplanes": np.ones((3, 4, 4))}, ValueError, "hold 3 tables of 4 bits"),
    ],
)
def test_bad_parameters_are_refused(options, error, message):
    with pytest.raises(error, match=re.escape(message)):
        build(np.ones((3, 4)), **options)


@pytest.mark.parametrize(
    ("query", "k", "error", "message"),
    [
        (np.ones(3), 1, ValueError, "shape (4,), got (3,)"),
        (np.full(4, np.nan), 1, ValueError, "NaN"),
        (np.ones(4), 0, ValueError, "k must be at least 1"),
        (np.ones(4), True, TypeError, "whole number"),
        (np.ones(4), 2.0, TypeError, "whole number"),
    ],
)
@pytest.mark.parametrize("engine", [build, ExactIndex.build])
def test_bad_queries_are_refused(engine, query, k, error, message):
    with pytest.raises(error, match=re.escape(message)):
        engine(np.ones((3, 4))).query(query, k)


@pytest.fixture
def folder(tmp_path, vectors):
    HyperplaneLSH.build(vectors[:100], n_bits=4, n_tables=2).save(tmp_path)
    return tmp_path


def test_missing_index_is_reported(tmp_path):
    with pytest.raises(IndexFormatError, match=r"cannot read .*index\.json"):
        load_index(tmp_path / "none")


@pytest.mark.parametrize("name", ["vectors", "table_rows", "table_starts", "normals", "ids"])
def test_truncated_file_is_named(folder, name):
    path = folder / f"{name}.npy"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(IndexFormatError, match=rf"{name}\.npy has \d+ bytes, expected"):
        load_index(folder)


@pytest.mark.parametrize("name", ["vectors", "table_rows", "table_starts", "sketches"])
def test_altered_byte_is_noticed(folder, name):
    path = folder / f"{name}.npy"
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    with pytest.raises(IndexFormatError, match=rf"{name}\.npy was altered"):
        load_index(folder)


def test_missing_file_is_named(folder):
    (folder / "sketches.npy").unlink()
    with pytest.raises(IndexFormatError, match=r"sketches\.npy"):
        load_index(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 99}, r"format 99 of a later version, this version reads 2; build the index again"),
        ({"engine": "exact"}, "altered"),
        ({"files": {}}, "altered"),
        ({"digest": None}, "altered"),
    ],
)
def test_altered_description_is_refused(folder, change, message):
    path = folder / "index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(IndexFormatError, match=message):
        load_index(folder)


@pytest.mark.parametrize("text", ["", "[]", '{"format": 1}', "{"])
def test_broken_description_is_refused(folder, text):
    (folder / "index.json").write_text(text)
    with pytest.raises(IndexFormatError, match="altered"):
        load_index(folder)
