"""Whole builds without Prefect, so small that one takes a few seconds."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from lookalike.config.loading import load_config
from lookalike.pipeline.publishing import publish, refuse_if_shrunken
from lookalike.pipeline.registry import STAGES, Plan, StageResult, run_stage
from lookalike.search import Searcher
from lookalike.store.artifacts import Store

# fp32, because `auto` measures and may decide otherwise on a busy machine. No gate, because nothing is learned.
TINY_SETTINGS = (
    "training.backbone=timm:test_efficientnet",
    "training.weights=none",
    "training.image_size=32",
    "training.embedding_units=16",
    "training.frozen_epochs=1",
    "training.unfrozen_epochs=0",
    "training.batch_size=8",
    "training.precision=fp32",
    "embedding.precision=fp32",
    "embedding.shard_rows=8",
    "evaluation.min_recall_at_10=0.0",
    "evaluation.max_regression=1.0",
    "evaluation.max_shrinkage=1.0",
    "evaluation.lshash3_queries=0",
)


def run_build(
    root: Path,
    settings: Sequence[str],
    on_stage: Callable[[str], object] = lambda name: None,
    around_stage: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> dict[str, Any]:
    """The stages and publishing, as the flow runs them; returns the outcome, and each stage's digest and summary.

    `on_stage` is called with the name before each of them, and `around_stage` gives a context for each.
    """
    config = load_config(None, [*TINY_SETTINGS, f"artifacts.root={root}", *settings])
    store, plan = Store(config.artifacts.root), Plan(config)
    results: dict[str, StageResult] = {}
    with store.building():
        for name in STAGES:
            on_stage(name)
            with around_stage():
                results[name] = run_stage(store, plan, name, results)
            if name == "download_dataset":
                refuse_if_shrunken(store, config, 0.0, results[name])
        on_stage("publish")
        with around_stage():
            outcome = publish(store, config, results, 0.0)
    artifacts = {step: result.artifact for step, result in results.items()}
    return {
        **outcome,
        "digests": {step: artifact.digest for step, artifact in artifacts.items()},
        "summaries": {step: dict(artifact.summary) for step, artifact in artifacts.items()},
    }


def folder_source(folder: Path) -> list[str]:
    """The settings of a build from a folder of images."""
    return ["dataset.source=folder", f"dataset.folder={folder}"]


def answer_of(root: Path) -> list[tuple[str, float]]:
    """The published build's answer to a query with its first image."""
    searcher = Searcher.open(root)
    image_id = searcher._rows["image_id"][0].as_py()
    return [
        (neighbor.image_id, round(neighbor.distance, 5)) for neighbor in searcher.query(f"id:{image_id}", 5).neighbors
    ]
