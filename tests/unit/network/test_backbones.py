import pytest
import torch

from lookalike.errors import ConfigError, ModelError
from lookalike.network.backbones import backbone_names, build_body, find_backbone
from lookalike.network.head import feature_layout


def test_names_read_from_sources_are_those_of_the_libraries():
    import timm
    import torchvision

    assert backbone_names("torchvision") == set(torchvision.models.list_models(module=torchvision.models))
    assert backbone_names("timm") == set(timm.list_models())


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
