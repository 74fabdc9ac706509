"""The network without its weights: whether the settings of training and embedding fit it, known before anything runs.

On torch's meta device modules have shapes and no values: even a large network is built and run in a tenth of a
second. The few networks that do not run there are tried on the processor.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

import torch
from torch import nn

from lookalike.config.sections import TrainingConfig
from lookalike.embedding.hook import PLACES, find_layer
from lookalike.errors import ConfigError
from lookalike.network.backbones import Backbone, Body, build_body, find_backbone
from lookalike.network.embedding_network import EmbeddingNetwork
from lookalike.network.head import Head, feature_layout
from lookalike.network.preprocessing import Preprocessing
from lookalike.network.weights import check_fit
from lookalike.training.context import feature_count
from lookalike.training.splitting import split_body


@cache
def check_network(config: TrainingConfig, layer: str) -> None:
    """Raise ConfigError if the network cannot be built, fed, hooked at `layer`, or cut as `config` says."""
    backbone = find_backbone(config.backbone)
    with torch.random.fork_rng():
        _check_shapes(config, backbone, layer)
        if config.first_trained_layer is not None:
            _check_cut(config.first_trained_layer, backbone)


def _check_shapes(config: TrainingConfig, backbone: Backbone, layer: str) -> None:
    # A function of the user's own may read weights, which the meta device would throw away.
    if backbone.library != "python":
        with suppress(_UnknownToMetaError), torch.device("meta"):
            return _check_shapes_here(config, backbone, layer)
    return _check_shapes_here(config, backbone, layer)


def _check_shapes_here(config: TrainingConfig, backbone: Backbone, layer: str) -> None:
    body = _built(config, backbone)
    features = _features(config, body)
    if config.pretrained_components > features:
        raise ConfigError(
            f"training.pretrained_components: {config.pretrained_components} are more than the {features} features of "
            f"{backbone}"
        )
    _check_layer(config, body, features, layer)


class _UnknownToMetaError(Exception):
    """A network does something that needs values, not only shapes."""


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Errors of the libraries, which are of all kinds, become ConfigErrors that begin with `what`."""
    try:
        yield
    except (ConfigError, _UnknownToMetaError):
        raise
    except Exception as cause:
        on_meta = torch.get_default_device().type == "meta"
        if on_meta and (isinstance(cause, NotImplementedError) or "meta" in str(cause)):
            raise _UnknownToMetaError from cause
        raise ConfigError(f"{what}: {' '.join(str(cause).split()) or type(cause).__name__}") from cause


def _built(config: TrainingConfig, backbone: Backbone) -> Body:
    with _explained(f"training.backbone: {backbone} cannot be built"):
        return build_body(backbone, lambda network: check_fit(network, config, backbone))


def _features(config: TrainingConfig, body: Body) -> int:
    """The features of the body's output, whose shape one image tells."""
    size = config.image_size
    wrong_size = f"training.image_size: {body.backbone} does not take images of {size} x {size} pixels"
    with _explained(wrong_size), torch.inference_mode():
        output = body.module.eval()(torch.zeros(1, 3, size, size))
    with _explained(f"training.backbone: {body.backbone} cannot be used"):
        features = feature_count(body, tuple(output.shape))
        feature_layout(tuple(output.shape), features)
    return features


def _check_layer(config: TrainingConfig, body: Body, features: int, layer: str) -> None:
    """Raise ConfigError if there is no such layer, or a layer of the body gives no vectors."""
    preprocessing = Preprocessing(config.image_size, config.resize, body.mean, body.std)
    with torch.device("cpu"):
        # Of the head the names alone count; its layers give vectors.
        network = EmbeddingNetwork(preprocessing, body.module, Head(features, units=2, classes=2))
    find_layer(network, layer)
    if layer.startswith("body."):
        _check_output(network, config.image_size, layer)


def _check_output(network: EmbeddingNetwork, size: int, layer: str) -> None:
    outputs: list[Any] = []
    find_layer(network, layer).register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    with _explained(f"embedding.layer: {layer} gives no embedding"):
        network.body(torch.zeros(1, 3, size, size))
    if not outputs:
        raise ConfigError(f"embedding.layer: {layer} gives no embedding: it is not run in a forward pass")
    shape = tuple(getattr(outputs[-1], "shape", ()))
    if len(shape) not in PLACES or shape[0] != 1:
        raise ConfigError(
            f"embedding.layer: {layer} gives values of shape {shape} for an image, expected one vector or feature map"
        )


def _check_cut(first_trained_layer: str, backbone: Backbone) -> None:
    # Whether a body is a row of layers is seen by what it computes, so this one has values.
    body: nn.Module = build_body(backbone).module
    with _explained(f"training.first_trained_layer: {backbone} cannot be cut"):
        split_body(body, first_trained_layer)
