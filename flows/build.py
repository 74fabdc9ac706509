"""The build flow: from nothing to a published index."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from prefect import flow

from lookalike.config import LookalikeConfig
from lookalike.config_loading import load_config
from lookalike.locks import shared_lock
from lookalike.preflight import check_before_start, check_used_labels
from lookalike.publishing import publish, refuse_if_shrunken
from lookalike.stages import StageResult
from lookalike.store import Store
from tasks.build_lsh import build_lsh
from tasks.download_dataset import download_dataset
from tasks.embed_all import embed_all
from tasks.evaluate_recall import evaluate_recall
from tasks.fine_tune import fine_tune
from tasks.stage_runs import result_of


@flow(name="build", persist_result=False, validate_parameters=True)
def build(config_file: str | None = None, settings: list[str] | None = None) -> dict[str, Any]:
    """Run the stages that are not cached, and publish the result if it passes its gate.

    Args:
        config_file: a YAML file; without one, all defaults.
        settings: overrides, each as `section.key=value`.
    """
    path = Path(config_file) if config_file else None
    config = load_config(path, settings or [])
    check_before_start(config, path, settings or [])
    return run_stages(config)


def run_stages(config: LookalikeConfig) -> dict[str, Any]:
    """Run the stages, publish, and return the outcome of the build."""
    started = time.perf_counter()
    with shared_lock(config.artifacts.root, "builds"):
        store = Store(config.artifacts.root)
        results = run_in_order(config, partial(refuse_if_shrunken, store, config, started))
        return publish(store, config, results, started)


def run_in_order(config: LookalikeConfig, check_dataset: Callable[[StageResult], None]) -> dict[str, StageResult]:
    """The five stages, each built or cached, by name; `check_dataset` is called before any training."""
    dataset = result_of(download_dataset, config)
    check_dataset(dataset)
    check_used_labels(config, dataset.artifact.folder)
    model = result_of(fine_tune, config, dataset)
    embeddings = result_of(embed_all, config, dataset, model)
    index = result_of(build_lsh, config, embeddings)
    evaluation = result_of(evaluate_recall, config, dataset, model, embeddings, index)
    return {result.artifact.step: result for result in (dataset, model, embeddings, index, evaluation)}


if __name__ == "__main__":
    build("configs/quickstart.yaml")
