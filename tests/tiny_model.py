"""A dataset and a network so small that training and embedding them takes a second."""

from pathlib import Path

import numpy as np
from PIL import Image

from lookalike.config.sections import DatasetConfig, TrainingConfig
from lookalike.stages.download_dataset import download_dataset

LABELS = ("blue", "green", "red")


def tiny_training_config(**changes) -> TrainingConfig:
    """A network of a few layers, randomly initialized, and one frozen epoch."""
    settings = {
        "backbone": "timm:test_efficientnet",
        "weights": "none",
        "image_size": 32,
        "embedding_units": 16,
        "batch_size": 8,
        "frozen_epochs": 1,
        "unfrozen_epochs": 0,
        "precision": "fp32",
    }
    return TrainingConfig(**(settings | changes))


def make_images(folder: Path, per_label: int = 8) -> Path:
    """Write noisy images whose color is their label, in one sub-folder per label."""
    rng = np.random.default_rng(0)
    for channel, label in enumerate(reversed(LABELS)):
        (folder / label).mkdir(parents=True)
        for number in range(per_label):
            pixels = rng.integers(0, 60, (40 + number, 48, 3), dtype=np.uint8)
            pixels[..., channel] += 180
            Image.fromarray(pixels).save(folder / label / f"{number:02d}.png")
    return folder


def make_dataset(folder: Path, per_label: int = 8) -> Path:
    """Return the folder of a stored dataset of `make_images`."""
    images = make_images(folder / "images", per_label)
    config = DatasetConfig(source="folder", folder=images, valid_fraction=0.25)
    download_dataset(config, folder / "dataset", folder / "downloads")
    return folder / "dataset"
