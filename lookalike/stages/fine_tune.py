"""The stage fine_tune from start to end: frozen phase, unfrozen phase, interpolation, a fresh head, saving."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lookalike.config.extensions import extension_digests
from lookalike.config.sections import TrainingConfig
from lookalike.dataset.records import NO_LABEL
from lookalike.dataset.storage import Dataset, open_dataset
from lookalike.errors import ConfigError, DatasetError
from lookalike.files import digest_of
from lookalike.network.arithmetic import keep_freed_memory, own_torch_state
from lookalike.network.backbones import Backbone, Body, build_body, find_backbone
from lookalike.network.description import write_no_model
from lookalike.network.model_folder import save_model
from lookalike.network.weights import load_weights
from lookalike.training.batches import LabelledImages
from lookalike.training.checks import check_backbone
from lookalike.training.context import labelled_images, prepare
from lookalike.training.history import write_history
from lookalike.training.phases import run_training
from lookalike.training.summary import TrainingSummary


def fine_tune(config: TrainingConfig, dataset_folder: Path, folder: Path) -> TrainingSummary:
    """Train the network on a stored dataset and write it into `folder`; returns accuracy and seconds.

    The folder gets `model.safetensors`, `model.json`, `history.csv` and, if there is an epoch, `training_curve.png`,
    each whole or not at all. In order: the head learns on the frozen body's pooled features, which are computed once
    (`frozen_epochs`); all layers learn together (`unfrozen_epochs`); the body is mixed with its initial
    weights (`interpolation`); a fresh head learns on the final body's features (`final_head_epochs`). With no epochs
    at all nothing is trained, and the accuracy is None. Vectors that were computed elsewhere need no network: the
    folder gets a `model.json` that says so.

    Raises ConfigError for a wrong backbone or weights, ModelError if the weights cannot be had or do not
    fit, DatasetError if the dataset cannot be trained on.
    """
    folder.mkdir(parents=True, exist_ok=True)
    dataset = open_dataset(dataset_folder)
    if dataset.vectors is not None:
        write_no_model(folder)
        return TrainingSummary(None, {}, 0, "fp32", {})
    check_backbone(config)
    keep_freed_memory()
    classes = trained_classes(dataset, config.unseen_labels)
    # All images of a collection without labels bear the same, empty one.
    train, valid = (labelled_images(dataset, split, classes or [NO_LABEL]) for split in ("train", "valid"))
    _check_trainable(config, classes, train, valid)
    with own_torch_state(config.seed):
        backbone = find_backbone(config.backbone)
        body, origin = _pretrained_body(config, backbone)
        training = prepare(config, body, train, valid, len(classes), folder)
        accuracy = run_training(training)
    save_model(
        folder,
        training.network,
        backbone=backbone,
        head=training.head_shape,
        preprocessing=training.preprocessing,
        facts={
            "classes": classes,
            "split_digest": split_digest(dataset),
            "initial_weights": origin,
            "accuracy": accuracy,
            "images": len(train),
            "training": config.model_dump(mode="json"),
            "training_precision": training.precision.precision,
            "extensions": extension_digests(config),
            "versions": _versions(),
        },
    )
    write_history(folder, training.epochs)
    choice = training.precision
    return TrainingSummary(
        accuracy, training.seconds, len(training.epochs), choice.precision, dict(choice.step_seconds)
    )


def trained_classes(dataset: Dataset, unseen: Sequence[str]) -> list[str]:
    """Return the labels that the network learns, sorted; ConfigError if one of `unseen` is no label of the dataset."""
    unknown = sorted(set(unseen) - set(dataset.classes))
    if unknown:
        raise ConfigError(
            f"training.unseen_labels: the dataset has no label {', '.join(unknown)}; "
            f"it has {', '.join(dataset.classes)}"
        )
    return [name for name in dataset.classes if name not in set(unseen)]


def split_digest(dataset: Dataset) -> str:
    """Return a digest of which image is in which split under which label."""
    columns = dataset.catalog.select(["image_id", "path", "label", "split"]).to_pydict()
    return digest_of(sorted(zip(*columns.values(), strict=True)))


def _check_trainable(
    config: TrainingConfig, classes: Sequence[str], train: LabelledImages, valid: LabelledImages
) -> None:
    if not config.epochs:
        if not len(train):
            raise DatasetError(
                "the components need at least one image that is not held out, and there is none: add images"
            )
        return
    if len(classes) < 2 or len(train) < 2 or len(valid) < 1:
        raise DatasetError(
            f"training needs at least 2 labels, 2 training images and 1 held-out image; there are "
            f"{len(classes)} labels, {len(train)} training and {len(valid)} held-out images to learn from: add images"
        )


def _pretrained_body(config: TrainingConfig, backbone: Backbone) -> tuple[Body, str]:
    origins: list[str] = []
    body = build_body(backbone, lambda network: origins.append(load_weights(network, config, backbone)))
    return body, origins[0]


def _versions() -> dict[str, Any]:
    from importlib.metadata import version

    return {name: version(name) for name in ("torch", "torchvision", "timm", "fastai")}
