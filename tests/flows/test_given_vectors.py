"""Vectors that were computed elsewhere, from the flow to the commands."""

import numpy as np

from flows.commands import querying, store
from tests.flows.conftest import last_json


def test_vectors_are_built_queried_exported_and_built_again(build, tmp_path, capsys):
    vectors = np.random.default_rng(0).normal(size=(30, 8))
    np.save(tmp_path / "v.npy", vectors)
    settings = ["dataset.source=vectors", "evaluation.min_recall_at_10=0.5"]
    root = tmp_path / "root"
    outcome = build(root, *settings, f"dataset.vectors={tmp_path / 'v.npy'}")
    assert outcome["published"]
    assert outcome["metrics"]["n_images"] == 30

    np.save(tmp_path / "q.npy", vectors[[3, 5]])
    asked = {"n": 2, "exact": False, "output": None, "show": False, "build": None, "settings": [], "as_json": True}
    assert querying.query(["id:7"], tmp_path / "q.npy", root=root, **asked) == 0
    results = last_json(capsys.readouterr().out)["results"]
    assert [result["neighbors"][0]["image_id"] for result in results] == ["7", "3", "5"]
    assert querying.query(["photo.jpg"], None, root=root, **asked) == 1
    assert "this collection has vectors, no network" in capsys.readouterr().err
    assert (
        store.status(None, [], root, False) == store.builds(False, root, False) == store.verify(True, root, False) == 0
    )

    assert querying.export(root, "parquet", tmp_path / "out.parquet", None) == 0
    again = build(tmp_path / "other", *settings, f"dataset.vectors={tmp_path / 'out.parquet'}", "index.center=false")
    assert again["published"]
