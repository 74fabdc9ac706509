"""Which figures a build has, and why it lacks others: by `metrics.json`, for reports and the command line."""

from collections.abc import Mapping
from typing import Any

_QUALITY = {
    "accuracy": "accuracy",
    "precision_at_10": "precision@10",
    "map": "map",
    "copy_recall_at_1": "distorted images that find themselves first",
    "copy_recall_at_10": "among the first ten",
}


def describe_quality(metrics: Mapping[str, Any]) -> str:
    """Those figures of the embedding's quality that there are, on one line."""
    return ", ".join(f"{text} {metrics[name]:.4f}" for name, text in _QUALITY.items() if name in metrics)


def absences(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The figures that there are not, and why: `("accuracy, map", "the collection has no labels")`."""
    names: dict[str, list[str]] = {}
    for name, reason in metrics.get("absent", {}).items():
        names.setdefault(reason, []).append(name)
    return [(", ".join(sorted(figures)), reason) for reason, figures in names.items()]
