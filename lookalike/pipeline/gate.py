"""The quality gate: what a build must reach before it may be published."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lookalike.config.sections import EvaluationConfig

# A collection without labels has none of the first three figures, and is held to the last one instead.
LABELLED_FIGURES = ("accuracy", "precision_at_10", "map")
UNLABELLED_FIGURES = ("copy_recall_at_10",)


@dataclass(frozen=True)
class Reached:
    """A figure that a published build reached."""

    value: float
    build_id: str


@dataclass(frozen=True)
class Baseline:
    """What builds of the same collection reached before: figures by name, and the images of the newest of them."""

    figures: Mapping[str, Reached] = field(default_factory=dict)
    n_images: int | None = None
    build_id: str = ""


def gate_problems(metrics: Mapping[str, Any], config: EvaluationConfig, before: Baseline, rejects: str) -> list[str]:
    """Every demand that `metrics` do not meet, one text each; empty if the build may be published.

    `rejects` says how many files were rejected, and where they are listed.
    """
    return [
        *_recall_problems(metrics, config),
        *_copy_problems(metrics, config),
        *_regression_problems(metrics, config, before),
        *shrinkage_problems(metrics["n_images"], config, before, rejects),
    ]


def shrinkage_problems(n_images: int, config: EvaluationConfig, before: Baseline, rejects: str) -> list[str]:
    """The loss of more images than `evaluation.max_shrinkage` allows, as one text; empty if there is none."""
    if not before.n_images or not has_fallen(1.0, n_images / before.n_images, config.max_shrinkage):
        return []
    return [
        f"the collection has {n_images:,} images, build {before.build_id} had {before.n_images:,}, and "
        f"evaluation.max_shrinkage allows a loss of {config.max_shrinkage:.0%} ({rejects}); if it is meant to be "
        "smaller, allow it once with --set evaluation.max_shrinkage=1"
    ]


def _recall_problems(metrics: Mapping[str, Any], config: EvaluationConfig) -> list[str]:
    """Recall is held to its demand by the lower end of its 95 % interval: a lucky sample publishes nothing.

    Without held-out queries there is no figure, and a demand above 0 is not met.
    """
    low, high = metrics["recall_at_10_interval"]
    if low >= config.min_recall_at_10:
        return []
    return [
        f"recall_at_10 is {metrics['recall_at_10']:.4f} (95 % interval {low:.4f} to {high:.4f}, "
        f"{metrics['n_queries']} queries), evaluation.min_recall_at_10 demands {config.min_recall_at_10} "
        "(raise index.target_recall, index.n_tables or index.probes)"
    ]


def _copy_problems(metrics: Mapping[str, Any], config: EvaluationConfig) -> list[str]:
    """Without labels, distorted images that find themselves are the one sign of a good embedding."""
    recall = metrics.get("copy_recall_at_10")
    if recall is None or recall >= config.min_copy_recall_at_10:
        return []
    return [
        f"copy_recall_at_10 is {recall:.4f} ({metrics['n_copy_queries']} queries), evaluation.min_copy_recall_at_10 "
        f"demands {config.min_copy_recall_at_10}: distorted images do not find themselves (look at training.backbone "
        "and training.weights)"
    ]


def _regression_problems(metrics: Mapping[str, Any], config: EvaluationConfig, before: Baseline) -> list[str]:
    """The falls of figures that both builds have."""
    has_labels = any(metrics.get(name) is not None for name in LABELLED_FIGURES)
    fallen = {
        name: reached
        for name in (LABELLED_FIGURES if has_labels else UNLABELLED_FIGURES)
        if metrics.get(name) is not None
        and (reached := before.figures.get(name)) is not None
        and has_fallen(reached.value, metrics[name], config.max_regression)
    }
    return [
        f"{name} is {metrics[name]:.4f}, build {reached.build_id} reached {reached.value:.4f}, and "
        f"evaluation.max_regression allows a fall of {config.max_regression} (if the fall is meant, allow it once "
        "with --set evaluation.max_regression=1)"
        for name, reached in fallen.items()
    ]


def has_fallen(before: float, now: float, allowed: float) -> bool:
    """Whether a figure fell by more than is allowed; figures have six decimals, and their difference too."""
    return round(before - now, 6) > allowed
