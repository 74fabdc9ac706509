"""The stage fine_tune from start to end: frozen stage, unfrozen stage, interpolation, a fresh head, saving."""

from pathlib import Path
from typing import Any

import torch

from lookalike.config import TrainingConfig
from lookalike.dataset import Dataset, open_dataset
from lookalike.errors import DatasetError
from lookalike.files import digest_of
from lookalike.network.arithmetic import keep_freed_memory
from lookalike.network.backbones import Backbone, Body, build_body, find_backbone
from lookalike.network.model_folder import save_model
from lookalike.network.weights import load_weights
from lookalike.training.batches import LabelledImages
from lookalike.training.context import labelled_images, prepare
from lookalike.training.history import write_history
from lookalike.training.steps import teach
from lookalike.training.summary import TrainingSummary


def run_fine_tune(config: TrainingConfig, dataset_folder: Path, folder: Path) -> TrainingSummary:
    """Train as configured and write the model folder; see `lookalike.training.fine_tune`."""
    keep_freed_memory()
    folder.mkdir(parents=True, exist_ok=True)
    dataset = open_dataset(dataset_folder)
    train, valid = (labelled_images(dataset, split) for split in ("train", "valid"))
    _check_trainable(dataset, train, valid)
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        backbone = find_backbone(config.backbone)
        body, origin = _pretrained_body(config, backbone)
        training = prepare(config, body, train, valid, len(dataset.classes), folder)
        accuracy = teach(training)
    save_model(
        folder,
        training.network,
        backbone=backbone,
        head=training.head_shape,
        preprocessing=training.preprocessing,
        facts={
            "classes": dataset.classes,
            "split_digest": split_digest(dataset),
            "initial_weights": origin,
            "accuracy": accuracy,
            "training": config.model_dump(mode="json"),
            "training_precision": training.precision,
            "versions": _versions(),
        },
    )
    write_history(folder, training.epochs)
    return TrainingSummary(accuracy, training.seconds, len(training.epochs), training.precision)


def split_digest(dataset: Dataset) -> str:
    """Return a digest of which image is in which split under which label."""
    columns = dataset.catalog.select(["image_id", "path", "label", "split"]).to_pydict()
    return digest_of(sorted(zip(*columns.values(), strict=True)))


def _check_trainable(dataset: Dataset, train: LabelledImages, valid: LabelledImages) -> None:
    if len(dataset.classes) < 2 or len(train) < 2 or len(valid) < 1:
        raise DatasetError(
            f"training needs at least 2 labels, 2 training images and 1 held-out image; the dataset has "
            f"{len(dataset.classes)} labels, {len(train)} training and {len(valid)} held-out images: add images"
        )


def _pretrained_body(config: TrainingConfig, backbone: Backbone) -> tuple[Body, str]:
    origins: list[str] = []
    body = build_body(backbone, lambda network: origins.append(load_weights(network, config, backbone)))
    return body, origins[0]


def _versions() -> dict[str, Any]:
    from importlib.metadata import version

    return {name: version(name) for name in ("torch", "torchvision", "timm", "fastai")}
