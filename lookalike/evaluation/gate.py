"""The quality gate: what a build must reach before it may be published."""

from collections.abc import Mapping
from typing import Any

from lookalike.config import EvaluationConfig
from lookalike.errors import QualityGateError


def check_gate(metrics: Mapping[str, Any], config: EvaluationConfig, published: Mapping[str, Any] | None) -> None:
    """Raise QualityGateError, with every figure that fails and what was demanded, if `metrics` do not suffice.

    `published` are the metrics of the build to be replaced, if it was made from the same dataset
    settings: figures of other collections say nothing about this one.
    """
    problems = [
        *_recall_problems(metrics, config),
        *_copy_problems(metrics, config),
        *_regression_problems(metrics, config, published),
    ]
    if problems:
        raise QualityGateError(f"the quality gate was not met: {'; '.join(problems)}; nothing was published")


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


def _regression_problems(
    metrics: Mapping[str, Any], config: EvaluationConfig, published: Mapping[str, Any] | None
) -> list[str]:
    before = {} if published is None else published
    return [
        f"{name} is {metrics[name]:.4f}, the published build has {before[name]:.4f}, "
        f"and evaluation.max_regression allows a fall of {config.max_regression}"
        for name in ("precision_at_10", "copy_recall_at_10")
        if name in metrics and name in before and metrics[name] < before[name] - config.max_regression
    ]
