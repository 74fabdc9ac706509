"""A build of vectors that were computed elsewhere: what is absent, what is refused, what is built again."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lookalike.config.loading import load_config
from lookalike.embedding.table import load_embeddings
from lookalike.errors import ConfigError, EmbeddingError
from lookalike.pipeline.descriptions import describe_outcome
from lookalike.pipeline.garbage import clear
from lookalike.pipeline.maintenance import verify
from lookalike.pipeline.preflight import check_before_start
from lookalike.pipeline.publishing import find_status
from lookalike.pipeline.registry import STAGES, Plan, run_stage
from lookalike.search import Searcher
from lookalike.search.picture import draw_results
from lookalike.search.query_vectors import read_query_vectors
from lookalike.store.artifacts import Store
from tests.tiny_build import TINY_SETTINGS, run_build

ABSENT = {"accuracy", "copy_recall_at_1", "copy_recall_at_10", "distorted"}
LABEL_FIGURES = {"precision_at_1", "precision_at_10", "map"}
N, DIM = 40, 6


def write(file: Path, seed: int = 0, **columns) -> list[str]:
    """Write vectors, and return the settings of their build."""
    vectors = np.random.default_rng(seed).normal(size=(N, DIM)).astype(np.float32)
    ids = [f"doc {row}" for row in range(N)]
    pq.write_table(pa.table({"id": ids, "embedding": pa.array(list(vectors)), **columns}), file)
    return ["dataset.source=vectors", f"dataset.vectors={file}", "index.n_bits=4", "index.n_tables=2", "index.probes=2"]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A root, the settings of its build, and the outcome."""
    folder = tmp_path_factory.mktemp("vectors")
    settings = write(folder / "v.parquet", label=["a", "b", "c", None] * 10, path=[f"{row}.jpg" for row in range(N)])
    settings = [*settings, "dataset.exclude_labels=[c]", "evaluation.min_recall_at_10=0.05"]
    return folder / "root", settings, run_build(folder / "root", settings)


def test_stages_keep_their_artifacts(built):
    root, _, outcome = built
    table = load_embeddings(root / outcome["artifacts"]["embed_all"])
    expected = np.random.default_rng(0).normal(size=(N, DIM)).astype(np.float32)
    kept = [row for row in range(N) if row % 4 != 2]
    assert np.array_equal(table.vectors, expected[kept])
    assert table.table["image_id"].to_pylist() == [f"doc {row}" for row in kept]
    assert table.table["label"].to_pylist()[:4] == ["a", "b", "unlabelled", "a"]
    assert set(table.table["split"].to_pylist()) == {"train", "valid"}
    assert outcome["summaries"]["download_dataset"]["n_excluded"] == N // 4
    assert outcome["summaries"]["embed_all"]["shards"] == 4


def test_figures_of_images_are_absent_with_the_reason(built):
    root, _, outcome = built
    metrics = outcome["metrics"]
    assert metrics["absent"] == dict.fromkeys(ABSENT, "the collection has vectors, no images")
    assert set(metrics) >= LABEL_FIGURES
    text = describe_outcome(outcome, root)
    assert "distorted: the collection has vectors, no images" in text
    assert "lookalike query --vector F.npy --root" in text
    report = (root / outcome["artifacts"]["evaluate_recall"] / "report.md").read_text()
    assert "Vectors computed elsewhere." in report


def test_the_root_is_looked_after_as_any_other(built):
    root, settings, _ = built
    assert verify(Store(root), deep=True) == []
    clear(Store(root), keep=1, grace_seconds=0)
    config = load_config(None, [*TINY_SETTINGS, f"artifacts.root={root}", *settings])
    stages = find_status(Store(root), config)["stages"]
    assert {stage["state"] for stage in stages.values()} == {"fresh"}


def test_queries_by_id_and_by_vector_and_none_by_image(built):
    root = built[0]
    with Searcher.open(root) as searcher:
        result = searcher.query("id:doc 4", 3)
        assert [result.neighbors[0].image_id, result.neighbors[0].path] == ["doc 4", "4.jpg"]
        assert searcher.query_vector(searcher.embed("id:doc 4"), 3).neighbors == result.neighbors
        assert draw_results([result]).width > 0
        refused = searcher.query_many(["photo.jpg", "https://example.org/photo.jpg"])
        assert {one.error for one in refused} == {
            "this collection has vectors, no network; use --vector F.npy (Searcher.query_vector) or id:<id>"
        }
        with pytest.raises(EmbeddingError, match="no network"):
            searcher.query(np.zeros((8, 8, 3), np.uint8))


def test_other_vectors_under_the_same_ids_are_indexed_again(tmp_path):
    first = run_build(tmp_path / "root", [*write(tmp_path / "v.parquet"), "dataset.labels=none"])
    second = run_build(tmp_path / "root", [*write(tmp_path / "v.parquet", seed=1), "dataset.labels=none"])
    assert first["metrics"]["absent"].keys() >= LABEL_FIGURES | ABSENT
    assert first["digests"]["fine_tune"] == second["digests"]["fine_tune"]
    assert second["steps"]["embed_all"] == second["steps"]["build_lsh"] == "built"
    assert first["digests"]["embed_all"] != second["digests"]["embed_all"]


def test_vectors_that_change_during_a_build_are_refused(tmp_path):
    config = load_config(None, [*TINY_SETTINGS, f"artifacts.root={tmp_path / 'root'}", *write(tmp_path / "v.parquet")])
    store, plan, results = Store(tmp_path / "root"), Plan(config), {}
    for name in list(STAGES)[:2]:
        results[name] = run_stage(store, plan, name, results)
    write(tmp_path / "v.parquet", seed=1)
    with pytest.raises(EmbeddingError, match="has changed since its rows were cataloged"):
        run_stage(store, plan, "embed_all", results)


def test_the_column_split_is_taken(tmp_path):
    splits = ["Validation", "train"] * (N // 2)
    outcome = run_build(tmp_path / "root", write(tmp_path / "v.parquet", split=splits))
    table = load_embeddings(tmp_path / "root" / outcome["artifacts"]["embed_all"]).table
    assert table["split"].to_pylist() == ["valid", "train"] * (N // 2)


def test_vectors_within_the_artifact_root_are_refused(tmp_path):
    settings = write(tmp_path / "v.parquet")
    with pytest.raises(ConfigError, match=r"the folder or file of vectors, .*, lies in"):
        check_before_start(load_config(None, [*settings, f"artifacts.root={tmp_path}"]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["dataset.source=vectors"], "dataset.vectors must name"),
        (["dataset.vectors=v.npy"], "source is `synthetic`, which does not read it"),
        (["dataset.source=vectors", "dataset.vectors=v.npy", "dataset.split=folders"], "split is `folders`"),
    ],
)
def test_settings_that_do_not_fit(settings, message):
    with pytest.raises(ConfigError, match=message):
        load_config(None, settings)


def test_query_vectors_of_a_file_are_named_by_their_rows(tmp_path):
    path = tmp_path / "q.npy"
    np.save(path, np.eye(2, 3))
    assert list(read_query_vectors(path, 3)) == [f"{path}[0]", f"{path}[1]"]
    np.save(path, np.ones(3, np.float16))
    assert list(read_query_vectors(path, 3)) == [str(path)]


@pytest.mark.parametrize(
    "content", [np.ones(4), np.ones((2, 4)), np.ones((1, 1, 3)), np.array([1, np.inf, 1]), np.zeros((0, 3)), None]
)
def test_other_query_files_are_refused_in_one_line(content, tmp_path):
    path = tmp_path / "q.npy"
    if content is not None:
        np.save(path, content)
    with pytest.raises(ConfigError, match=r"q\.npy") as refusal:
        read_query_vectors(path, 3)
    assert "\n" not in str(refusal.value)
    path.write_bytes(b"")
    with pytest.raises(ConfigError, match=r"q\.npy"):
        read_query_vectors(path, 3)
