"""The article's network through the whole flow, its weights from a server of torchvision's form."""

import json
from pathlib import Path

import pytest
import torch

from lookalike.config.loading import load_config
from lookalike.errors import ModelError
from lookalike.search import Searcher
from lookalike.store.artifacts import Store
from tests.published_weights import resnet34_published_at, save_checkpoint, serving

ARTICLE = Path(__file__).parents[2] / "configs" / "caltech101.yaml"


@pytest.fixture
def settings(monkeypatch, tmp_path):
    """The article's training on small generated images, and an empty torch.hub cache."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    training = load_config(ARTICLE).training
    assert (training.backbone, training.weights) == ("resnet34", "imagenet")
    kept = training.model_dump(mode="json", include={"backbone", "weights", "embedding_units", "batch_size"})
    return [*(f"training.{name}={value}" for name, value in kept.items()), "embedding.precision=fp32"]


def test_the_flow_runs_to_the_end_with_weights_from_torch_hub(build, settings, tmp_path):
    from torchvision import models

    path, _ = save_checkpoint(tmp_path, models.resnet34(weights=None))
    with serving(tmp_path) as address, resnet34_published_at(f"{address}/{path.name}"):
        outcome = build(tmp_path / "root", *settings)
    assert outcome["published"]
    description = json.loads((tmp_path / "root" / outcome["artifacts"]["fine_tune"] / "model.json").read_text())
    assert description["initial_weights"] == f"torchvision resnet34 IMAGENET1K_V1 {path.name}"
    assert description["preprocessing"]["mean"] == [0.485, 0.456, 0.406]
    image = next((tmp_path / "root" / outcome["artifacts"]["download_dataset"]).rglob("*.jpg"))
    nearest = Searcher.open(tmp_path / "root").query(image, 3).neighbors[0]
    assert nearest.distance == pytest.approx(0, abs=1e-4)


def test_weights_of_another_hash_end_the_flow_and_publish_nothing(build, settings, tmp_path):
    path = tmp_path / "resnet34-b627a593.pth"
    torch.save({}, path)
    with (
        serving(tmp_path) as address,
        resnet34_published_at(f"{address}/{path.name}"),
        pytest.raises(ModelError, match=r"has sha256 .*, expected b627a593"),
    ):
        build(tmp_path / "root", *settings)
    assert Store(tmp_path / "root").read_current() is None
