"""A build of a collection without labels: what is absent is absent everywhere, and nothing stumbles over it."""

import csv
import io
import json
from pathlib import Path

import pytest
from PIL import Image

from lookalike.config.loading import load_config
from lookalike.pipeline.comparison import comparison_table, save_comparison
from lookalike.pipeline.descriptions import describe_builds, describe_outcome, describe_status
from lookalike.pipeline.maintenance import list_builds, verify
from lookalike.pipeline.photos import PHOTOS_CONFIG, how_to_ask, index_settings
from lookalike.pipeline.preflight import check_before_start
from lookalike.pipeline.publishing import find_status
from lookalike.pipeline.registry import Plan, find_stages, run_stage
from lookalike.search import Searcher
from lookalike.search.page import render_page
from lookalike.search.picture import draw_results
from lookalike.search.results import describe_result
from lookalike.store.artifacts import Store
from tests.tiny_build import folder_source, run_build
from tests.tiny_model import make_images

WITHOUT_LABELS = [
    "dataset.labels=none",
    "training.frozen_epochs=0",
    "training.pretrained_components=16",
    "training.retrain=on_growth",
    "embedding.layer=head.embedding",
    "evaluation.min_copy_recall_at_10=0.0",
]
LABEL_FIGURES = {"accuracy", "precision_at_1", "precision_at_10", "map"}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A root, the folder of images, and the outcome."""
    folder = tmp_path_factory.mktemp("without labels")
    images = make_images(folder / "my images", per_label=6)
    return folder / "root", images, run_build(folder / "root", [*folder_source(images), *WITHOUT_LABELS])


def test_figures_that_need_labels_are_absent_with_the_reason(built):
    root, _, outcome = built
    metrics = outcome["metrics"]
    assert not LABEL_FIGURES & set(metrics)
    assert metrics["absent"] == dict.fromkeys(LABEL_FIGURES, "the collection has no labels")
    assert metrics["n_copy_queries"] == metrics["n_queries"] == 4
    assert 0 <= metrics["copy_recall_at_1"] <= metrics["copy_recall_at_10"] <= 1
    folder = root / outcome["artifacts"]["evaluate_recall"]
    assert json.loads((folder / "metrics.json").read_text()) == metrics
    assert not (folder / "per_label.csv").exists()
    report = (folder / "report.md").read_text()
    assert "No accuracy, map, precision_at_1, precision_at_10: the collection has no labels." in report
    assert "Of 4 held-out images, strongly distorted" in report
    assert "precision@10" not in report


def test_commands_say_what_there_is(built):
    root, _, outcome = built
    text = describe_outcome(outcome, root)
    assert "no accuracy, map, precision_at_1, precision_at_10: the collection has no labels" in text
    assert f"among the first ten {outcome['metrics']['copy_recall_at_10']:.4f}" in text
    assert "among the first ten" in describe_status(find_status(Store(root), None))
    builds = list_builds(Store(root))
    assert (builds[0]["precision_at_10"], builds[0]["copy_recall_at_10"]) == (
        None,
        outcome["metrics"]["copy_recall_at_10"],
    )
    assert len({len(line) for line in describe_builds(builds).splitlines()}) == 1
    assert verify(Store(root), deep=True) == []


def test_comparison_leaves_out_what_nobody_has(built, tmp_path):
    rows = [
        {"name": "photos", "error": None, "metrics": built[2]["metrics"], "seconds": {"fine_tune": 1, "embed_all": 1}}
    ]
    head, _, line = comparison_table(rows).splitlines()
    assert "copy recall@10" in head
    assert "accuracy" not in head
    assert head.count("|") == line.count("|")
    save_comparison(rows, tmp_path / "comparison.png")
    with Image.open(tmp_path / "comparison.png") as picture:
        assert picture.width > 0


def test_answers_have_empty_labels_and_are_captioned_by_their_files(built):
    root, images, _ = built
    result = Searcher.open(root).query(images / "red" / "00.png", 3)
    first = result.as_json()["neighbors"][0]
    assert (first["path"], first["label"], first["rank"]) == ("red/00.png", "", 1)
    # The vector of the query is the stored one.
    assert first["similarity"] > 0.9999
    assert f"  {first['similarity']:6.3f}  red/00.png" in describe_result(result)
    assert result.neighbors[0].caption == "00.png"
    assert "<b>1</b> 00.png" in render_page([result])
    assert draw_results([result]).height > 300


def test_the_stored_label_is_an_empty_text(built):
    from lookalike.embedding.table import load_embeddings

    root, _, outcome = built
    assert set(load_embeddings(root / outcome["artifacts"]["embed_all"]).table["label"].to_pylist()) == {""}


def test_labelled_builds_have_every_figure_and_copies_on_demand(tmp_path):
    source = folder_source(make_images(tmp_path / "images", per_label=6))
    outcome = run_build(tmp_path / "root", [*source, "evaluation.copy_queries=2", "evaluation.min_copy_recall_at_10=0"])
    metrics = outcome["metrics"]
    assert set(metrics) >= LABEL_FIGURES
    assert metrics["absent"] == {}
    assert metrics["n_copy_queries"] == 2
    per_label = (tmp_path / "root" / outcome["artifacts"]["evaluate_recall"] / "per_label.csv").read_text()
    assert len(list(csv.reader(io.StringIO(per_label)))) == 4
    untrained = [
        *source,
        "training.frozen_epochs=0",
        "training.pretrained_components=16",
        "embedding.layer=head.embedding",
    ]
    metrics = run_build(tmp_path / "root", untrained)["metrics"]
    assert metrics["absent"] == {"accuracy": "no classifier was trained"}
    assert {*LABEL_FIGURES} - {"accuracy"} <= set(metrics)
    assert not {"copy_recall_at_10", "unseen_labels"} & set(metrics)


@pytest.mark.parametrize("count", [2, 3, 11])
def test_small_collections_pass_their_gate(tmp_path, count):
    images = make_images(tmp_path / "images", per_label=8)
    for path in sorted(images.rglob("*.png"))[count:]:
        path.unlink()
    settings = [*folder_source(images), *WITHOUT_LABELS, "evaluation.min_recall_at_10=0.9"]
    outcome = run_build(tmp_path / "root", settings)
    assert outcome["published"]
    assert outcome["metrics"]["n_images"] == count
    assert outcome["metrics"]["n_queries"] >= 1


def model_state(root: Path, images: Path, *settings: str) -> bool:
    """Whether a build of the folder as it is now keeps the published model."""
    from tests.tiny_build import TINY_SETTINGS

    config = load_config(
        None, [*TINY_SETTINGS, f"artifacts.root={root}", *folder_source(images), *WITHOUT_LABELS, *settings]
    )
    run_stage(Store(root), Plan(config), "download_dataset", {})
    return find_stages(Store(root), Plan(config))["fine_tune"] is not None


def grow(images: Path, n_more: int) -> None:
    for number in range(n_more):
        Image.new("RGB", (40, 40), (number, 255 - number, 7)).save(images / f"more {number}.png")


def test_components_are_kept_until_the_collection_is_four_times_as_large(tmp_path):
    images = make_images(tmp_path / "images", per_label=6)
    run_build(tmp_path / "root", [*folder_source(images), *WITHOUT_LABELS])
    # Of 18 images 14 train.
    for n_more, is_kept in ((1, True), (48, True), (53, False)):
        grow(images, n_more)
        assert model_state(tmp_path / "root", images) is is_kept, n_more
    assert not model_state(tmp_path / "root", images, "training.retrain=always")


def test_another_folder_has_components_of_its_own(built, tmp_path):
    images = make_images(tmp_path / "others", per_label=6)
    grow(images, 1)
    assert not model_state(built[0], images)


def test_index_uses_the_configuration_that_the_project_shows():
    shown = Path(__file__).parents[2] / "configs" / "photos.yaml"
    assert PHOTOS_CONFIG.read_bytes() == shown.read_bytes()
    config = load_config(PHOTOS_CONFIG, index_settings(Path("photos"), Path("there"), ["index.n_bits=9"]))
    assert (config.dataset.folder, config.artifacts.root, config.index.n_bits) == (Path("photos"), Path("there"), 9)
    assert config.training.epochs == 0


def test_the_question_can_be_pasted_into_a_shell(built):
    root, images, _ = built
    assert how_to_ask(images, root) == f"lookalike query '{images}/blue/00.png' --root '{root}' --output result.png"


@pytest.mark.parametrize("place", [".", "photos", "fine_tune/x"])
def test_a_folder_within_the_artifact_root_is_refused(tmp_path, place):
    from lookalike.errors import ConfigError

    images = make_images(tmp_path / place / "images")
    with pytest.raises(ConfigError, match=r"the folder of images, .*, lies in .*; choose another root \(--root"):
        check_before_start(load_config(PHOTOS_CONFIG, index_settings(images, tmp_path)))
    with pytest.raises(ConfigError, match="is the folder of images itself"):
        check_before_start(load_config(PHOTOS_CONFIG, index_settings(tmp_path, tmp_path)))
