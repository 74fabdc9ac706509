import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image

from lookalike.config.sections import DatasetConfig
from lookalike.dataset.storage import open_dataset
from lookalike.errors import ConfigError, DatasetError
from lookalike.network.model_folder import load_model
from lookalike.stages.download_dataset import download_dataset
from lookalike.stages.fine_tune import fine_tune
from lookalike.training.checks import check_backbone
from lookalike.training.context import labelled_images
from tests.tiny_model import LABELS, make_images, tiny_training_config

ALL_STEPS = {
    "frozen_epochs": 1,
    "unfrozen_epochs": 1,
    "final_head_epochs": 2,
    "interpolation": 0.5,
    "batch_size": 16,
    "pretrained_components": 4,
}


@pytest.fixture(scope="module")
def trained(dataset_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    config = tiny_training_config(**ALL_STEPS, augmentation="moderate")
    return folder, fine_tune(config, dataset_folder, folder)


def test_folder_holds_exactly_the_four_files(trained):
    assert sorted(path.name for path in trained[0].iterdir()) == [
        "history.csv",
        "model.json",
        "model.safetensors",
        "training_curve.png",
    ]


def test_description_says_what_was_learned(trained, dataset_folder):
    description = json.loads((trained[0] / "model.json").read_text())
    assert description["classes"] == list(LABELS)
    assert description["backbone"] == "timm:test_efficientnet"
    assert description["accuracy"] == trained[1].accuracy
    assert description["preprocessing"]["mean"] == [0.485, 0.456, 0.406]
    assert {"torch", "timm", "fastai"} <= set(description["versions"])


def test_history_has_one_line_an_epoch(trained):
    with (trained[0] / "history.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["phase"] for row in rows] == ["frozen", "unfrozen", "final head", "final head"]
    assert trained[1].epochs == len(rows)
    assert all(0.0 <= float(row["accuracy"]) <= 1.0 for row in rows)


NOTHING_TRAINED = {"frozen_epochs": 0, "unfrozen_epochs": 0, "pretrained_components": 16}


@pytest.fixture(scope="module")
def unlabelled_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unlabelled")
    config = DatasetConfig(source="folder", folder=make_images(folder / "images"), labels="none")
    (folder / "dataset").mkdir()
    download_dataset(config, folder / "dataset", folder / "downloads")
    return folder / "dataset"


@pytest.mark.parametrize("has_labels", [True, False], ids=["labels", "no labels"])
def test_no_epochs_are_a_training_of_components_alone(has_labels, dataset_folder, unlabelled_folder, tmp_path):
    source = dataset_folder if has_labels else unlabelled_folder
    summary = fine_tune(tiny_training_config(**NOTHING_TRAINED), source, tmp_path)
    assert (summary.accuracy, summary.epochs) == (None, 0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["history.csv", "model.json", "model.safetensors"]
    stored = load_model(tmp_path)
    assert stored.description["classes"] == (list(LABELS) if has_labels else [])
    catalog = open_dataset(source).catalog
    assert stored.description["images"] == catalog["split"].to_pylist().count("train")
    images = labelled_images(open_dataset(source), "train", LABELS if has_labels else [""])
    pixels = np.stack([stored.preprocessing.pixels(images.open(row, 32)) for row in range(len(images))])
    with torch.inference_mode():
        vectors = stored.network(torch.from_numpy(pixels).permute(0, 3, 1, 2))
    assert vectors.shape == (len(images), 16)
    assert vectors.mean(dim=0).abs().max() < 1e-3
    assert float(vectors.var(dim=0, correction=0).sum()) == pytest.approx(1, rel=1e-2)


def test_the_classifier_of_an_untrained_head_says_nothing(dataset_folder, tmp_path):
    summary = fine_tune(tiny_training_config(frozen_epochs=0, pretrained_components=4), dataset_folder, tmp_path)
    assert summary.accuracy is None


def accuracy_of_stored(folder, dataset_folder):
    stored = load_model(folder)
    images = labelled_images(open_dataset(dataset_folder), "valid", LABELS)
    pixels = np.stack([stored.preprocessing.pixels(images.open(row, 32)) for row in range(len(images))])
    with torch.inference_mode():
        scores = stored.network(torch.from_numpy(pixels).permute(0, 3, 1, 2))
    return float((scores.argmax(dim=1) == images.labels).double().mean())


def test_stated_accuracy_is_that_of_the_stored_model(trained, dataset_folder):
    assert accuracy_of_stored(trained[0], dataset_folder) == pytest.approx(trained[1].accuracy)


def test_colors_are_learned(dataset_folder, tmp_path):
    config = tiny_training_config(frozen_epochs=40, dropout=0.0, frozen_learning_rate=2e-2)
    assert fine_tune(config, dataset_folder, tmp_path).accuracy >= 0.8


@pytest.mark.parametrize(
    "changes", [ALL_STEPS, ALL_STEPS | {"first_trained_layer": "blocks.2", "augmentation": "flip"}]
)
def test_same_seed_gives_the_same_model(dataset_folder, tmp_path, changes):
    config = tiny_training_config(**changes)
    for name in ("one", "two"):
        fine_tune(config, dataset_folder, tmp_path / name)
    one, two = (load_model(tmp_path / name).network.state_dict() for name in ("one", "two"))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_frozen_layers_made_ready_lead_to_the_model_that_is_stored(dataset_folder, tmp_path, monkeypatch):
    monkeypatch.setattr("lookalike.training.features._WORTH_CONVERTING", 0)
    config = tiny_training_config(**ALL_STEPS, first_trained_layer="blocks.2")
    summary = fine_tune(config, dataset_folder, tmp_path)
    assert accuracy_of_stored(tmp_path, dataset_folder) == pytest.approx(summary.accuracy)


def test_layers_before_the_first_trained_one_stay(dataset_folder, tmp_path):
    config = tiny_training_config(unfrozen_epochs=1, first_trained_layer="blocks.2", batch_size=16)
    fine_tune(config, dataset_folder, tmp_path / "trained")
    fine_tune(tiny_training_config(unfrozen_epochs=0), dataset_folder, tmp_path / "start")
    trained, start = (load_model(tmp_path / name).network.body.state_dict() for name in ("trained", "start"))
    changed = {
        name.split(".")[1] for name in trained if not torch.equal(trained[name], start[name]) and "blocks" in name
    }
    assert changed
    assert min(changed) == "2"
    assert torch.equal(trained["conv_stem.weight"], start["conv_stem.weight"])


def test_unknown_first_trained_layer_raises(dataset_folder, tmp_path):
    config = tiny_training_config(unfrozen_epochs=1, first_trained_layer="blocks.77")
    with pytest.raises(ConfigError, match=r"training\.first_trained_layer: 'blocks\.77'.*blocks\.1"):
        fine_tune(config, dataset_folder, tmp_path)


@pytest.mark.parametrize("steps", [{}, {"final_head_epochs": 1}])
def test_pretrained_components_are_part_of_the_embedding(dataset_folder, tmp_path, steps):
    fine_tune(tiny_training_config(pretrained_components=4, pretrained_share=0.25, **steps), dataset_folder, tmp_path)
    head = load_model(tmp_path).network.head
    assert head.linear.out_features == 12
    assert head.embedding.projection.shape[0] == 4
    assert (head.embedding.projection.abs().sum(dim=1) > 0).all()


def test_unseen_labels_are_not_trained_on(dataset_folder, tmp_path):
    fine_tune(tiny_training_config(unseen_labels=("green",)), dataset_folder, tmp_path)
    description = json.loads((tmp_path / "model.json").read_text())
    assert description["classes"] == ["blue", "red"]
    assert description["head"]["classes"] == 2


@pytest.mark.parametrize(
    ("unseen", "error", "message"),
    [
        (
            ("purple",),
            ConfigError,
            r"training\.unseen_labels: the dataset has no label purple; it has blue, green, red",
        ),
        (("green", "red"), DatasetError, "there are 1 labels"),
    ],
)
def test_unseen_labels_that_leave_nothing_to_learn_are_refused(dataset_folder, tmp_path, unseen, error, message):
    with pytest.raises(error, match=message):
        fine_tune(tiny_training_config(unseen_labels=unseen), dataset_folder, tmp_path)


def test_one_label_is_refused(tmp_path):
    images = make_images(tmp_path / "images")
    for path in (images / "red", images / "blue"):
        path.rename(tmp_path / path.name)
    config = DatasetConfig(source="folder", folder=images)
    download_dataset(config, tmp_path / "dataset", tmp_path / "downloads")
    with pytest.raises(DatasetError, match="at least 2 labels"):
        fine_tune(tiny_training_config(), tmp_path / "dataset", tmp_path / "model")
    assert not (tmp_path / "model" / "model.json").exists()


def test_image_that_vanished_is_refused(tmp_path):
    images = make_images(tmp_path / "images")
    download_dataset(DatasetConfig(source="folder", folder=images), tmp_path / "dataset", tmp_path / "downloads")
    (images / "red" / "00.png").unlink()
    with pytest.raises(DatasetError, match="build the dataset again"):
        fine_tune(tiny_training_config(), tmp_path / "dataset", tmp_path / "model")


def test_images_of_any_mode_and_size_train(tmp_path):
    images = make_images(tmp_path / "images", per_label=4)
    Image.new("P", (1, 1)).save(images / "red" / "pixel.png")
    Image.new("RGBA", (500, 3)).save(images / "red" / "strip.png")
    download_dataset(DatasetConfig(source="folder", folder=images), tmp_path / "dataset", tmp_path / "downloads")
    config = tiny_training_config(unfrozen_epochs=1, augmentation="moderate")
    assert fine_tune(config, tmp_path / "dataset", tmp_path / "model").epochs == 2


def test_check_backbone_names_the_key():
    with pytest.raises(ConfigError, match=r"training\.backbone"):
        check_backbone(tiny_training_config(backbone="resnet43"))
    with pytest.raises(ConfigError, match=r"training\.weights"):
        check_backbone(tiny_training_config(weights="imagenett"))
