"""The phases of training: the head on frozen features, layers of the body on images, mixing with the start."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from lookalike.files import TEMPORARY_PREFIX
from lookalike.training.batches import FeatureBatches, ImageBatches
from lookalike.training.context import Training
from lookalike.training.features import Activations, ImageViews, Layers, Views
from lookalike.training.loop import FEATURE_BATCH_SIZE, train_head, train_network
from lookalike.training.splitting import split_body
from lookalike.training.summary import COMPONENT_IMAGES

FROZEN, UNFROZEN, FINAL_HEAD = "frozen", "unfrozen", "final head"
_EVALUATION_BATCH_SIZE = 512


@dataclass(frozen=True)
class _Inputs:
    """What the trained `layers` of the body read: images, after `normalize`, or the output of earlier layers."""

    normalize: nn.Module
    layers: nn.Module
    train: ImageViews | Activations
    valid: ImageViews | Activations


def run_training(training: Training) -> float | None:
    """Run the phases that the configuration asks for; return the accuracy on the held-out images, None untrained."""
    with TemporaryDirectory(prefix=TEMPORARY_PREFIX, dir=training.folder) as scratch:
        return _run(training, _inputs(training, Path(scratch)))


def _run(training: Training, inputs: _Inputs) -> float | None:
    config = training.config
    initial = {name: tensor.clone() for name, tensor in training.network.body.state_dict().items()}
    features = None
    if config.frozen_epochs:
        features = _head_features(training, inputs)
        _train_head(training, features, config.frozen_epochs, FROZEN)
    if config.unfrozen_epochs:
        features = None
        with training.timed(UNFROZEN):
            _train_layers(training, inputs)
        interpolate(training.network.body, initial, config.interpolation)
    if config.final_head_epochs:
        features = features or _head_features(training, inputs)
        training.network.head = training.head_shape.build().to(training.device)
        _train_head(training, features, config.final_head_epochs, FINAL_HEAD)
    if config.pretrained_components:
        _fit_embedding(training, None if features is None else features[0][0])
    if not config.epochs:
        return None
    return _accuracy(training, features[1] if features else _valid_features(training, inputs))


def _inputs(training: Training, scratch: Path) -> _Inputs:
    """Return images, or, if the layers before `first_trained_layer` stay frozen, what these make of the images."""
    config, network = training.config, training.network
    train, valid = training.views(training.train, config.augmentation), training.views(training.valid)
    if config.first_trained_layer is None or not config.unfrozen_epochs:
        return _Inputs(network.normalize, network.body, train, valid)
    before, after = split_body(network.body, config.first_trained_layer)
    with training.timed("activations"):
        frozen = training.frozen.ready(nn.Sequential(network.normalize, before), train)
        stored = [
            training.frozen.store_activations(frozen, views, f"activations, {split}", scratch / f"{split}.npy")
            for views, split in ((train, "train"), (valid, "valid"))
        ]
    return _Inputs(nn.Identity(), after, *stored)


def _head_features(training: Training, inputs: _Inputs) -> tuple[Tensor, Tensor]:
    """Return pooled features of the training images, in all views, and of the held-out ones: (views, n, C)."""
    with training.timed("features"):
        pooled = _pooled(training, inputs, inputs.train)
        train, valid = (
            training.frozen.features(pooled, views, f"features, {split}")
            for views, split in ((inputs.train, "train"), (inputs.valid, "valid"))
        )
    return train, valid


def _pooled(training: Training, inputs: _Inputs, views: Views) -> Layers:
    """Return what makes pooled features of a batch of these views."""
    layers = nn.Sequential(inputs.normalize, inputs.layers, training.network.head.pool)
    return training.frozen.ready(layers, views)


def _valid_features(training: Training, inputs: _Inputs) -> Tensor:
    with training.timed("features"):
        pooled = _pooled(training, inputs, inputs.valid)
        return training.frozen.features(pooled, inputs.valid, "features, valid")


def _train_head(training: Training, features: tuple[Tensor, Tensor], epochs: int, phase: str) -> None:
    with training.timed(phase):
        set_statistics(training.network.head.norm, features[0])
        train = FeatureBatches(
            features[0], training.train.labels, FEATURE_BATCH_SIZE, shuffle_seed=training.config.seed
        )
        valid = FeatureBatches(features[1], training.valid.labels, _EVALUATION_BATCH_SIZE)
        training.epochs += train_head(training.network.head, train, valid, epochs, training.config, phase)


def set_statistics(norm: nn.BatchNorm1d, features: Tensor) -> None:
    """Set the running statistics of a BatchNorm to those of its inputs (views, n, C), which are known in full.

    Otherwise they start from 0 and 1, and after few steps on features of small variance still stand there.
    """
    rows = features.flatten(0, 1).to(norm.weight.device)
    norm.running_mean = rows.mean(dim=0)
    norm.running_var = rows.var(dim=0)


def _fit_embedding(training: Training, train_features: Tensor | None) -> None:
    """Set the kept components of the embedding from features (n, C) of training images, or of a sample of them."""
    if train_features is None:
        sample = training.views(training.train.sample(COMPONENT_IMAGES, training.config.seed))
        network = training.network
        with training.timed("features"):
            pooled = training.frozen.ready(nn.Sequential(network.normalize, network.body, network.head.pool), sample)
            train_features = training.frozen.features(pooled, sample, "features, sample")[0]
    head = training.network.head.eval()
    with torch.no_grad():
        head.fit_embedding(train_features.to(training.device), training.config.pretrained_share)


def _train_layers(training: Training, inputs: _Inputs) -> None:
    config = training.config
    if isinstance(inputs.train, Activations) and isinstance(inputs.valid, Activations):
        train: FeatureBatches | ImageBatches = FeatureBatches(
            inputs.train.values, training.train.labels, config.batch_size, shuffle_seed=config.seed
        )
        valid: FeatureBatches | ImageBatches = FeatureBatches(
            inputs.valid.values, training.valid.labels, config.batch_size
        )
    else:
        train = ImageBatches(
            training.train, training.preprocessing, config.batch_size, config.augmentation, shuffle_seed=config.seed
        )
        valid = ImageBatches(training.valid, training.preprocessing, config.batch_size)
    layers = nn.Sequential(inputs.normalize, inputs.layers)
    epochs, training.precision = train_network(layers, training.network.head, train, valid, config)
    training.epochs += epochs


def interpolate(body: torch.nn.Module, initial: dict[str, Tensor], share: float) -> None:
    """Set each tensor to `share` of itself and the rest of its initial value (Wortsman et al. 2022, WiSE-FT)."""
    if share == 1.0:
        return
    mixed = {
        name: torch.lerp(initial[name], tensor, share) if tensor.is_floating_point() else tensor
        for name, tensor in body.state_dict().items()
    }
    body.load_state_dict(mixed)


def _accuracy(training: Training, valid_features: Tensor) -> float:
    """Return the share of held-out images whose best score is their label's."""
    head = training.network.head.eval()
    with torch.inference_mode():
        best = head.classify(valid_features[0].to(training.device)).argmax(dim=1).cpu()
    return float((best == training.valid.labels).double().mean())
