"""Vectors that leave lookalike, and come back."""

import json
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from lookalike.errors import ConfigError
from lookalike.search import Searcher
from lookalike.search.export import export


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_exported_vectors_rank_as_the_index_does(root, searcher, tmp_path):
    assert export(root, "parquet", tmp_path / "all.parquet") == 15
    assert export(root, "npy", tmp_path / "all") == 15
    table = pq.read_table(tmp_path / "all.parquet")
    vectors = np.stack(table["embedding"].to_numpy())
    assert np.array_equal(vectors, np.load(tmp_path / "all" / "vectors.npy"))
    lines = [json.loads(line) for line in (tmp_path / "all" / "rows.jsonl").read_text().splitlines()]
    assert lines == table.select(["id", "label", "path", "split"]).to_pylist()
    mean = np.array(json.loads(table.schema.metadata[b"lookalike.mean"]), np.float32)
    assert np.array_equal(mean, np.load(tmp_path / "all" / "mean.npy"))
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)
    for row in range(0, 15, 4):
        order = np.argsort(-(vectors @ vectors[row]), kind="stable")[:5]
        answer = searcher.query(f"id:{lines[row]['id']}", 5, exact=True)
        assert [neighbor.path for neighbor in answer.neighbors] == [lines[other]["path"] for other in order]


@pytest.mark.parametrize("kind", ["parquet", "npy"])
def test_only_an_export_is_replaced(root, tmp_path, kind):
    export(root, kind, tmp_path / "out")
    before = files_below(tmp_path)
    export(root, kind, tmp_path / "out")
    assert files_below(tmp_path) == before
    other = "npy" if kind == "parquet" else "parquet"
    with pytest.raises(ConfigError, match="exists and is no"):
        export(root, other, tmp_path / "out")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    for path in (tmp_path / "mine", tmp_path / "mine" / "thesis.txt"):
        with pytest.raises(ConfigError, match="exists and is no"):
            export(root, kind, path)
    assert files_below(tmp_path) == {**before, "mine/thesis.txt": b"mine"}


@pytest.mark.parametrize("kind", ["parquet", "npy"])
def test_a_failed_export_leaves_what_was_there(root, tmp_path, kind, monkeypatch):
    export(root, kind, tmp_path / "out")
    before = files_below(tmp_path)
    monkeypatch.setattr("lookalike.search.export.comparable", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export(root, kind, tmp_path / "out")
    assert files_below(tmp_path) == before


def test_faiss_that_is_not_installed_is_said_in_one_line(root, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ConfigError, match="needs FAISS; install it with `pip install faiss-cpu`"):
        export(root, "faiss", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_faiss_answers_as_exact_search(root, searcher, tmp_path):
    faiss = pytest.importorskip("faiss")
    export(root, "faiss", tmp_path / "out")
    index = faiss.read_index(str(tmp_path / "out" / "index.faiss"))
    lines = [json.loads(line) for line in (tmp_path / "out" / "rows.jsonl").read_text().splitlines()]
    answer = searcher.query(f"id:{lines[3]['id']}", 5, exact=True)
    rows = index.search(index.reconstruct(3)[None, :], 5)[1][0]
    assert [lines[row]["path"] for row in rows] == [neighbor.path for neighbor in answer.neighbors]


def test_a_vector_is_asked_as_an_image_is(root, searcher):
    with Searcher.open(root) as opened:
        image_id = opened._rows["image_id"][4].as_py()
        vector = opened.embed(f"id:{image_id}")
        assert vector.shape == (opened.dim,)
        by_id, by_vector = opened.query(f"id:{image_id}", 4), opened.query_vector(vector.tolist(), 4, name="mine")
        assert by_vector.neighbors == by_id.neighbors
        assert by_vector.as_json()["query"] == "mine"
        for wrong in (vector[:-1], vector[None, :], np.full_like(vector, np.nan)):
            with pytest.raises(ValueError, match="query must"):
                opened.query_vector(wrong)
