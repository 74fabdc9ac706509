"""The steps of training: the head on frozen features, layers of the body on images, mixing with the start."""

from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from lookalike.files import TEMPORARY_PREFIX
from lookalike.training.augmentation import Augmentation
from lookalike.training.batches import FeatureBatches, ImageBatches
from lookalike.training.context import Training
from lookalike.training.loop import FEATURE_BATCH_SIZE, train_head, train_network
from lookalike.training.splitting import split_body

FROZEN, UNFROZEN, FINAL_HEAD = "frozen", "unfrozen", "final head"
_EVALUATION_BATCH_SIZE = 512


def teach(training: Training) -> float:
    """Run the steps that the configuration asks for and return the accuracy on the held-out images."""
    config = training.config
    initial = {name: tensor.clone() for name, tensor in training.network.body.state_dict().items()}
    features = None
    if config.frozen_epochs:
        features = _head_features(training)
        _train_head(training, features, config.frozen_epochs, FROZEN)
    if config.unfrozen_epochs:
        features = None
        with training.timed(UNFROZEN):
            _train_all_layers(training) if config.first_trained_layer is None else _train_later_layers(training)
        interpolate(training.network.body, initial, config.interpolation)
    if config.final_head_epochs:
        features = features or _head_features(training)
        training.network.head = training.head_shape.build().to(training.device)
        _train_head(training, features, config.final_head_epochs, FINAL_HEAD)
    return _accuracy(training, features[1] if features else None)


def _head_features(training: Training) -> tuple[Tensor, Tensor]:
    """Return pooled features of the training images, in all views, and of the held-out ones: (views, n, C)."""
    with training.timed("features"):
        train = _features(training, "train", training.config.augmentation)
        return train, _features(training, "valid", "none")


def _features(training: Training, split: str, augmentation: Augmentation) -> Tensor:
    images = training.train if split == "train" else training.valid
    training.network.eval()
    return training.frozen.features(training.network.features, images, augmentation, f"features, {split}")


def _train_head(training: Training, features: tuple[Tensor, Tensor], epochs: int, stage: str) -> None:
    with training.timed(stage):
        set_statistics(training.network.head.norm, features[0])
        train = FeatureBatches(
            features[0], training.train.labels, FEATURE_BATCH_SIZE, shuffle_seed=training.config.seed
        )
        valid = FeatureBatches(features[1], training.valid.labels, _EVALUATION_BATCH_SIZE)
        training.epochs += train_head(training.network.head, train, valid, epochs, training.config, stage)


def set_statistics(norm: nn.BatchNorm1d, features: Tensor) -> None:
    """Set the running statistics of a BatchNorm to those of its inputs (views, n, C), which are known in full.

    Otherwise they start from 0 and 1, and after few steps on features of small variance still stand there.
    """
    rows = features.flatten(0, 1).to(norm.weight.device)
    norm.running_mean = rows.mean(dim=0)
    norm.running_var = rows.var(dim=0)


def _train_all_layers(training: Training) -> None:
    config, network = training.config, training.network
    train = ImageBatches(
        training.train, training.preprocessing, config.batch_size, config.augmentation, shuffle_seed=config.seed
    )
    valid = ImageBatches(training.valid, training.preprocessing, config.batch_size)
    layers = nn.Sequential(network.normalize, network.body)
    training.epochs += train_network(layers, network.head, train, valid, config, training.device, training.precision)


def _train_later_layers(training: Training) -> None:
    """Teach the body from `first_trained_layer` on, from stored activations of the layers before it."""
    config, network = training.config, training.network
    before, after = split_body(network.body, str(config.first_trained_layer))
    frozen = nn.Sequential(network.normalize, before).eval()
    with TemporaryDirectory(prefix=TEMPORARY_PREFIX, dir=training.folder) as name:
        scratch = Path(name)
        train, valid = (
            training.frozen.store_activations(
                frozen, images, augmentation, f"activations, {split}", scratch / f"{split}.npy"
            )
            for images, augmentation, split in (
                (training.train, config.augmentation, "train"),
                (training.valid, "none", "valid"),
            )
        )
        training.epochs += train_network(
            after,
            network.head,
            FeatureBatches(train, training.train.labels, config.batch_size, shuffle_seed=config.seed),
            FeatureBatches(valid, training.valid.labels, config.batch_size),
            config,
            training.device,
            training.precision,
        )


def interpolate(body: torch.nn.Module, initial: dict[str, Tensor], share: float) -> None:
    """Set each tensor to `share` of itself and the rest of its initial value (Wortsman et al. 2022, WiSE-FT)."""
    if share == 1.0:
        return
    mixed = {
        name: torch.lerp(initial[name], tensor, share) if tensor.is_floating_point() else tensor
        for name, tensor in body.state_dict().items()
    }
    body.load_state_dict(mixed)


def _accuracy(training: Training, valid_features: Tensor | None) -> float:
    """Return the share of held-out images whose best score is their label's."""
    if valid_features is None:
        with training.timed("features"):
            valid_features = _features(training, "valid", "none")
    head = training.network.head.eval()
    with torch.inference_mode():
        best = head.classify(valid_features[0].to(training.device)).argmax(dim=1).cpu()
    return float((best == training.valid.labels).double().mean())
