import dataclasses
import json
import sys

import pytest
import torch

from lookalike.config.loading import load_config
from lookalike.config.sections import LookalikeConfig
from lookalike.errors import ConfigError
from lookalike.network.backbones import build_body, find_backbone
from lookalike.pipeline.preflight import check_before_start
from lookalike.pipeline.registry import STAGES, Plan
from lookalike.stages.embed_all import embed_all
from lookalike.stages.fine_tune import fine_tune
from lookalike.training.checks import check_backbone
from lookalike.training.losses import make_loss
from tests.tiny_model import make_dataset, tiny_training_config

OWN_PARTS = {"backbone": "python:examples.own_parts.small_network", "loss": "python:examples.own_parts.focal_loss"}


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    """Writes a module of the user's and returns the prefix of settings that name its functions."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(source: str, name: str = "own_module_under_test") -> str:
        (tmp_path / f"{name}.py").write_text(source, encoding="utf-8")
        monkeypatch.delitem(sys.modules, name, raising=False)
        return f"python:{name}"

    return write


def test_own_network_and_loss_train_and_embed(tmp_path):
    dataset = make_dataset(tmp_path)
    config = tiny_training_config(**OWN_PARTS, unfrozen_epochs=1)
    fine_tune(config, dataset, tmp_path / "model")
    description = json.loads((tmp_path / "model" / "model.json").read_text())
    assert description["backbone"] == OWN_PARTS["backbone"]
    embedding = LookalikeConfig().embedding.model_copy(update={"precision": "fp32"})
    summary = embed_all(embedding, dataset, tmp_path / "model", tmp_path / "embeddings")
    assert dataclasses.asdict(summary)["rows"] == 24


def test_own_loss_equals_its_formula():
    loss = make_loss(tiny_training_config(loss=OWN_PARTS["loss"]))
    scores = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    probabilities = scores.softmax(dim=1)[:, 0]
    expected = (-((1 - probabilities) ** 2) * probabilities.log()).mean()
    assert torch.allclose(loss(scores, torch.tensor([0, 0])), expected)


def test_network_names_its_own_normalization(own_module):
    module = own_module(
        "from torch import nn\ndef body():\n    net = nn.Conv2d(3, 4, 1)\n    net.mean = net.std = (0.5, 0.5, 0.5)\n"
        "    return net\n"
    )
    assert build_body(find_backbone(f"{module}.body")).mean == (0.5, 0.5, 0.5)


def test_changed_source_trains_again(own_module):
    def key(source: str) -> str:
        module = own_module(source)
        config = load_config(None, [f"training.loss={module}.loss"])
        return STAGES["fine_tune"].spec(Plan(config), {}).key

    assert key("def loss(scores, labels): return scores.mean()") != key("def loss(scores, labels): return scores.sum()")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("training.backbone=python:no_such_module.body", "training.backbone: there is no module no_such_module"),
        ("training.backbone=python:no.such.module.body", "training.backbone: there is no module no.such.module"),
        ("training.backbone=python:body", "expected python:package.module.function"),
        ("training.backbone=python:a b.c", "expected python:package.module.function"),
        ("training.backbone={own}.missing", "has no function 'missing'; it has broken, one"),
        ("training.loss={own}.missing", "training.loss: own_module_under_test has no function 'missing'"),
        ("training.loss=focal", "training.loss"),
        ("training.loss=python:no_such_module.loss", "training.loss: there is no module no_such_module"),
    ],
)
def test_wrong_name_is_one_line_before_anything_runs(tmp_path, own_module, setting, message):
    own = own_module("one = 1 .__add__\ndef broken(): raise RuntimeError('two\\nlines')\n")
    with pytest.raises(ConfigError) as refusal:
        check_before_start(
            load_config(None, [f"artifacts.root={tmp_path}", "training.weights=none", setting.format(own=own)])
        )
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_module_that_fails_while_imported_is_one_line(own_module):
    own = own_module("raise RuntimeError('not\\ntoday')")
    with pytest.raises(ConfigError, match="importing own_module_under_test failed: RuntimeError: not today"):
        find_backbone(f"{own}.body")


def test_function_that_fails_or_returns_no_network_is_one_line(own_module):
    own = own_module("def broken(): raise RuntimeError('two\\nlines')\ndef nothing(): return None\n")
    with pytest.raises(ConfigError, match=r"own_module_under_test\.broken raised RuntimeError: two lines"):
        build_body(find_backbone(f"{own}.broken"))
    with pytest.raises(ConfigError, match=r"must return a torch\.nn\.Module, got NoneType"):
        build_body(find_backbone(f"{own}.nothing"))


def test_loss_for_each_image_is_refused(own_module):
    own = own_module("def per_image(scores, labels): return scores[:, 0]")
    with pytest.raises(ConfigError, match=r"must return the mean loss .* got a tensor of shape \(2,\)"):
        make_loss(tiny_training_config(loss=f"{own}.per_image"))(torch.zeros(2, 3), torch.zeros(2))


def test_imagenet_weights_of_an_own_network_are_refused():
    with pytest.raises(ConfigError, match="weights exist for the networks of torchvision and timm alone"):
        check_backbone(tiny_training_config(**OWN_PARTS, weights="imagenet"))
