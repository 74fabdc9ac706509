import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lookalike.config.loading import load_config
from lookalike.errors import ConfigError, ModelError
from lookalike.network import backbones
from lookalike.network.backbones import backbone_names, build_body, find_backbone
from lookalike.network.head import feature_layout


def test_names_known_without_an_import_are_those_of_the_libraries():
    for name, library in backbones._KNOWN.items():
        assert name in backbone_names(library)
        assert library == "torchvision" or name not in backbone_names("torchvision")


def shipped_backbones():
    root = Path(__file__).parents[3]
    return {load_config(path, []).training.backbone for path in (root / "configs").rglob("*.yaml")}


def test_shipped_configurations_are_checked_without_importing_a_library():
    script = (
        "import sys\n"
        "from lookalike.network.backbones import find_backbone\n"
        f"for name in {sorted(shipped_backbones())}: find_backbone(name)\n"
        "print({'torch', 'timm', 'torchvision'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("resnet34", "torchvision:resnet34"),
        ("timm:resnet34", "timm:resnet34"),
        ("tf_efficientnet_lite0", "timm:tf_efficientnet_lite0"),
        ("resnet34.a1_in1k", "timm:resnet34.a1_in1k"),
    ],
)
def test_find_backbone_prefers_torchvision(text, found):
    assert str(find_backbone(text)) == found


def test_find_backbone_typo_names_key_and_close_matches():
    with pytest.raises(ConfigError, match=r"training\.backbone: 'resnet43'.*resnet34"):
        find_backbone("resnet43")


@pytest.mark.parametrize("text", ["resnet34.a1_in1", "timm:resnet34.a1_in1", "torchvision:resnet34.a1_in1k"])
def test_find_backbone_checks_the_tag_of_the_weights(text):
    with pytest.raises(ConfigError, match=r"did you mean resnet34\.a1_in1k"):
        find_backbone(text)


@pytest.mark.parametrize("text", ["", "timm:", ":", "fcn_resnet50", "python:"])
def test_find_backbone_that_is_none_raises(text):
    with pytest.raises(ConfigError, match=r"training\.backbone: "):
        find_backbone(text)


def test_find_backbone_unknown_library_raises():
    with pytest.raises(ConfigError, match="keras"):
        find_backbone("keras:resnet34")


@pytest.mark.parametrize(
    ("name", "channels"),
    [("resnet34", 512), ("squeezenet1_1", 512), ("mobilenet_v3_small", 576), ("timm:test_efficientnet", 256)],
)
def test_build_body_ends_before_pooling(name, channels):
    body = build_body(find_backbone(name))
    features = body.module.eval()(torch.zeros(1, 3, 64, 64))
    assert features.ndim == 4
    assert features.shape[1] == channels


def test_build_body_that_cannot_be_cut_raises():
    with pytest.raises(ConfigError, match="timm:vit_b_16"):
        build_body(find_backbone("vit_b_16"))


def test_normalization_is_that_of_the_backbone():
    assert build_body(find_backbone("tf_efficientnet_lite0")).mean == (0.5, 0.5, 0.5)
    assert build_body(find_backbone("resnet18")).mean == (0.485, 0.456, 0.406)


@pytest.mark.parametrize(
    ("shape", "layout"),
    [
        ((1, 8, 7, 7), "channels_first"),
        ((1, 7, 7, 8), "channels_last"),
        ((1, 50, 8), "tokens"),
        ((1, 8), "vector"),
    ],
)
def test_feature_layout(shape, layout):
    assert feature_layout(shape, 8) == layout


def test_feature_layout_without_channels_raises():
    with pytest.raises(ModelError, match="no axis"):
        feature_layout((1, 3, 4, 5), 8)
