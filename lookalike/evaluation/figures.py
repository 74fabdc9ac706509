"""The figures in `metrics.json` as text, and the reasons for those that are missing."""

from collections.abc import Mapping
from typing import Any

NO_IMAGES = "the collection has vectors, no images"
FIGURES_OF_IMAGES = ("accuracy", "copy_recall_at_1", "copy_recall_at_10", "distorted")
_QUALITY = {
    "accuracy": "accuracy",
    "precision_at_10": "precision@10",
    "map": "map",
    "copy_recall_at_1": "distorted images that find themselves first",
    "copy_recall_at_10": "among the first ten",
}


def describe_quality(metrics: Mapping[str, Any]) -> str:
    """Return the figures of the quality of the embedding that exist, on one line."""
    return ", ".join(f"{text} {metrics[name]:.4f}" for name, text in _QUALITY.items() if name in metrics)


def has_images(metrics: Mapping[str, Any]) -> bool:
    """Return whether the collection consists of images, not of vectors that were computed elsewhere."""
    return NO_IMAGES not in metrics.get("absent", {}).values()


def absences(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the missing figures by reason, such as `("accuracy, map", "the collection has no labels")`."""
    names: dict[str, list[str]] = {}
    for name, reason in metrics.get("absent", {}).items():
        names.setdefault(reason, []).append(name)
    return [(", ".join(sorted(figures)), reason) for reason, figures in names.items()]
