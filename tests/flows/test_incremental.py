"""A source folder that changes: only what is new is embedded, and the model is kept or trained again as configured."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lookalike.config.loading import load_config
from lookalike.embedding.table import load_embeddings
from lookalike.pipeline.registry import Plan, find_stages, run_stage
from lookalike.stages.embed_all import embed_all
from lookalike.store.artifacts import Store
from tests.tiny_build import TINY_SETTINGS, folder_source, run_build
from tests.tiny_model import make_images


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A source folder, a root with a build of it, and that build's outcome; tests work on copies."""
    folder = tmp_path_factory.mktemp("incremental")
    images = make_images(folder / "images", per_label=6)
    outcome = run_build(folder / "root", folder_source(images))
    return images, folder / "root", outcome


@pytest.fixture
def images(first) -> Path:
    """The source folder as the first build found it; its path belongs to the settings, so it stays in its place."""
    folder = first[0]
    backup = folder.with_name("backup")
    shutil.copytree(folder, backup)
    yield folder
    shutil.rmtree(folder)
    backup.rename(folder)


@pytest.fixture
def root(first, tmp_path) -> Path:
    return Path(shutil.copytree(first[1], tmp_path / "root"))


def draw(path: Path, gray: int) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", (50, 40), (gray, 20, gray // 2)).save(path)


def add_two_remove_one_alter_one(images: Path) -> None:
    draw(images / "red" / "aa new.png", 90)
    draw(images / "blue" / "zz new.png", 160)
    (images / "green" / "03.png").unlink()
    draw(images / "green" / "04.png", 200)


def embedded(outcome) -> int:
    return outcome["summaries"]["embed_all"]["embedded"]


def test_only_new_and_altered_images_are_embedded_and_all_vectors_equal_a_full_run(images, root, first, tmp_path):
    assert embedded(first[2]) == 18
    add_two_remove_one_alter_one(images)
    settings = [*folder_source(images), "training.retrain=never"]
    outcome = run_build(root, settings)
    assert embedded(outcome) == 3
    assert outcome["steps"] == {
        "download_dataset": "built",
        "fine_tune": "cached",
        "embed_all": "built",
        "build_lsh": "built",
        "evaluate_recall": "built",
    }
    places = {step: root / place for step, place in outcome["artifacts"].items()}
    config = load_config(None, [*TINY_SETTINGS, *settings]).embedding
    summary = embed_all(config, places["download_dataset"], places["fine_tune"], tmp_path / "full", [])
    assert summary.embedded == 19
    partly, fully = load_embeddings(places["embed_all"]), load_embeddings(tmp_path / "full")
    assert partly.table.equals(fully.table)
    # The last bits depend on which images shared a forward pass.
    np.testing.assert_allclose(partly.vectors, fully.vectors, rtol=0, atol=1e-5)


def test_renamed_images_are_not_embedded_again(images, root):
    (images / "red" / "00.png").rename(images / "red" / "renamed.png")
    (images / "red" / "01.png").rename(images / "blue" / "moved.png")
    assert embedded(run_build(root, [*folder_source(images), "training.retrain=never"])) == 0


def test_a_new_model_embeds_everything_anew(images, root):
    draw(images / "red" / "new.png", 90)
    outcome = run_build(root, folder_source(images))
    assert outcome["steps"]["fine_tune"] == "built"
    assert embedded(outcome) == 19


def kept_model(images: Path, root: Path, retrain: str) -> bool:
    """Whether a build of the changed folder would keep the model."""
    config = load_config(
        None, [*TINY_SETTINGS, f"artifacts.root={root}", *folder_source(images), f"training.retrain={retrain}"]
    )
    store = Store(root)
    run_stage(store, Plan(config), "download_dataset", {})
    return find_stages(store, Plan(config))["fine_tune"] is not None


@pytest.mark.parametrize(
    ("retrain", "label", "is_kept"),
    [
        ("never", "red", True),
        ("never", "a new label", True),
        ("on_new_labels", "red", True),
        ("on_new_labels", "a new label", False),
        ("always", "red", False),
    ],
)
def test_when_the_model_is_kept(images, root, retrain, label, is_kept):
    draw(images / label / "one.png", 90)
    draw(images / label / "two.png", 91)
    assert kept_model(images, root, retrain) is is_kept


def test_other_training_settings_train_a_new_model_all_the_same(images, root):
    draw(images / "red" / "new.png", 90)
    settings = [*folder_source(images), "training.retrain=never", "training.seed=1"]
    config = load_config(None, [*TINY_SETTINGS, f"artifacts.root={root}", *settings])
    run_stage(Store(root), Plan(config), "download_dataset", {})
    assert find_stages(Store(root), Plan(config))["fine_tune"] is None


def test_a_damaged_model_is_not_kept(images, root, first):
    draw(images / "red" / "new.png", 90)
    (root / first[2]["artifacts"]["fine_tune"] / "model.safetensors").unlink()
    assert not kept_model(images, root, "never")
