"""The phases of training: frozen (the head on stored features), unfrozen (with layers of the body), final head."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from lookalike.files import TEMPORARY_PREFIX
from lookalike.training.batches import FeatureBatches, ImageBatches, LabelledImages
from lookalike.training.context import Training
from lookalike.training.features import Activations, Views, compute_features, ready_layers, store_activations
from lookalike.training.loop import FEATURE_BATCH_SIZE, train_head, train_network
from lookalike.training.splitting import split_body
from lookalike.training.summary import COMPONENT_IMAGES

FROZEN, UNFROZEN, FINAL_HEAD = "frozen", "unfrozen", "final head"
_EVALUATION_BATCH_SIZE = 512


@dataclass(frozen=True)
class _Inputs:
    """What the trained `layers` of the body read, by split: images, after `normalize`, or outputs of earlier layers."""

    normalize: nn.Module
    layers: nn.Module
    views: Mapping[str, Views]


def run_training(training: Training) -> float | None:
    """Run the phases that the configuration asks for; return the accuracy on the held-out images, None untrained."""
    with TemporaryDirectory(prefix=TEMPORARY_PREFIX, dir=training.folder) as scratch:
        return _run(training, _inputs(training, Path(scratch)))


def _run(training: Training, inputs: _Inputs) -> float | None:
    config = training.config
    initial = {name: tensor.clone() for name, tensor in training.network.body.state_dict().items()}
    features: dict[str, Tensor] = {}
    if config.frozen_epochs:
        features = _features(training, inputs)
        _train_head(training, features, config.frozen_epochs, FROZEN)
    if config.unfrozen_epochs:
        features = {}
        with training.timed(UNFROZEN):
            _train_layers(training, inputs)
        interpolate(training.network.body, initial, config.interpolation)
    if config.final_head_epochs:
        features = features or _features(training, inputs)
        training.network.head = training.head_shape.build().to(training.device)
        _train_head(training, features, config.final_head_epochs, FINAL_HEAD)
    if config.pretrained_components:
        _fit_embedding(training, features)
    if not config.epochs:
        return None
    return _accuracy(training, features or _features(training, inputs, "valid"))


def _inputs(training: Training, scratch: Path) -> _Inputs:
    """Return images or, if the layers before `first_trained_layer` stay frozen, the outputs of these."""
    config, network = training.config, training.network
    images = {"train": training.views(training.train, config.augmentation), "valid": training.views(training.valid)}
    if config.first_trained_layer is None or not config.unfrozen_epochs:
        return _Inputs(network.normalize, network.body, images)
    before, after = split_body(network.body, config.first_trained_layer)
    with training.timed("activations"):
        frozen = ready_layers(nn.Sequential(network.normalize, before), images["train"], training.device)
        stored = {
            split: store_activations(frozen, views, f"activations, {split}", scratch / f"{split}.npy")
            for split, views in images.items()
        }
    return _Inputs(nn.Identity(), after, stored)


def _features(training: Training, inputs: _Inputs, *splits: str) -> dict[str, Tensor]:
    """Return pooled features of the images of some splits, by default all, in all views: (views, n, C) each."""
    views = {split: inputs.views[split] for split in splits or inputs.views}
    layers = nn.Sequential(inputs.normalize, inputs.layers, training.network.head.pool)
    with training.timed("features"):
        pooled = ready_layers(layers, next(iter(views.values())), training.device)
        return {split: compute_features(pooled, some, f"features, {split}") for split, some in views.items()}


def _train_head(training: Training, features: Mapping[str, Tensor], epochs: int, phase: str) -> None:
    with training.timed(phase):
        set_statistics(training.network.head.norm, features["train"])
        train = FeatureBatches(
            features["train"], training.train.labels, FEATURE_BATCH_SIZE, shuffle_seed=training.config.seed
        )
        valid = FeatureBatches(features["valid"], training.valid.labels, _EVALUATION_BATCH_SIZE)
        training.epochs += train_head(training.network.head, train, valid, epochs, training.config, phase)


def set_statistics(norm: nn.BatchNorm1d, features: Tensor) -> None:
    """Set the running statistics of a BatchNorm to those of its inputs (views, n, C), which are known in full.

    They start from 0 and 1 otherwise, and are still near them after few steps on features of small variance.
    """
    rows = features.flatten(0, 1).to(norm.weight.device)
    norm.running_mean = rows.mean(dim=0)
    norm.running_var = rows.var(dim=0)


def _fit_embedding(training: Training, features: Mapping[str, Tensor]) -> None:
    """Fit the components of the embedding to features of the training images or, without any, of a sample of them."""
    if not features:
        network, sample = training.network, training.train.sample(COMPONENT_IMAGES, training.config.seed)
        inputs = _Inputs(network.normalize, network.body, {"train": training.views(sample)})
        features = _features(training, inputs)
    head = training.network.head.eval()
    with torch.no_grad():
        head.fit_embedding(features["train"][0].to(training.device), training.config.pretrained_share)


def _train_layers(training: Training, inputs: _Inputs) -> None:
    config, layers = training.config, nn.Sequential(inputs.normalize, inputs.layers)
    train = _batches(training, inputs.views["train"], training.train, shuffle_seed=config.seed)
    valid = _batches(training, inputs.views["valid"], training.valid)
    epochs, training.precision = train_network(layers, training.network.head, train, valid, config)
    training.epochs += epochs


def _batches(
    training: Training, views: Views, images: LabelledImages, shuffle_seed: int | None = None
) -> FeatureBatches | ImageBatches:
    size = training.config.batch_size
    if isinstance(views, Activations):
        return FeatureBatches(views.values, images.labels, size, shuffle_seed)
    return ImageBatches(images, training.preprocessing, size, views.augmentation, shuffle_seed)


def interpolate(body: torch.nn.Module, initial: dict[str, Tensor], share: float) -> None:
    """Set each tensor to `share` of itself and the rest of its initial value (Wortsman et al. 2022, WiSE-FT)."""
    if share == 1.0:
        return
    mixed = {
        name: torch.lerp(initial[name], tensor, share) if tensor.is_floating_point() else tensor
        for name, tensor in body.state_dict().items()
    }
    body.load_state_dict(mixed)


def _accuracy(training: Training, features: Mapping[str, Tensor]) -> float:
    """Return the share of held-out images whose best score is their label's."""
    head = training.network.head.eval()
    with torch.inference_mode():
        best = head.classify(features["valid"][0].to(training.device)).argmax(dim=1).cpu()
    return float((best == training.valid.labels).double().mean())
