"""The build flow: from nothing to a published index."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.logging import get_run_logger

from flows.deployed import load_run_config
from lookalike.pipeline.descriptions import describe_counts, describe_outcome
from lookalike.pipeline.preflight import check_before_start, check_used_labels
from lookalike.pipeline.publishing import RefusedBuildError, publish, refuse_if_shrunken
from lookalike.pipeline.registry import Plan, StageResult
from lookalike.store.artifacts import Store
from tasks.build_lsh import build_lsh
from tasks.download_dataset import download_dataset
from tasks.embed_all import embed_all
from tasks.evaluate_recall import evaluate_recall
from tasks.fine_tune import fine_tune
from tasks.stage_runs import add_result
from tasks.states import with_named_states

logger = logging.getLogger("lookalike.build")

# Set by the command line for the build that it starts; a deployed run finds nothing here, and checks everything.
_checked: ContextVar[Plan | None] = ContextVar("checked", default=None)


@flow(name="build", persist_result=False, validate_parameters=True)
@with_named_states
def build(config_file: str | None = None, settings: list[str] | None = None) -> dict[str, Any]:
    """Run the stages that are not cached, and publish the result if it passes its gate.

    Returns the outcome that `lookalike build --json` prints. Raises RefusedBuildError, with the
    outcome, if the gate is not met.

    Args:
        config_file: A YAML file; without one, all defaults.
        settings: Overrides, each as `section.key=value`, on top of those of the deployment; the last one
            of a key counts. The artifact root of a deployment cannot be changed.
    """
    config = load_run_config(config_file, settings or [])
    plan = _checked.get()
    if plan is None or plan.config != config:
        plan = check_before_start(config, Path(config_file) if config_file else None, settings or [])
    started, store = time.perf_counter(), Store(config.artifacts.root)
    try:
        with store.building():
            results = run_in_order(plan, partial(refuse_if_shrunken, store, config, started))
            logger.info("%s", describe_counts(results))
            outcome = publish(store, config, results, started)
    except RefusedBuildError as refusal:
        _log_outcome(refusal.outcome, config.artifacts.root)
        raise
    _log_outcome(outcome, config.artifacts.root)
    return outcome


@contextmanager
def already_checked(plan: Plan) -> Iterator[None]:
    """Let the build that is run within the block, in this process, use what was checked and found before it."""
    token = _checked.set(plan)
    try:
        yield
    finally:
        _checked.reset(token)


def run_in_order(plan: Plan, check_dataset: Callable[[StageResult], None]) -> dict[str, StageResult]:
    """Return the five stages' results by name; `check_dataset` is called before any training.

    Which results a stage reads is written in `lookalike.pipeline.registry`.
    """
    results: dict[str, StageResult] = {}
    run = partial(add_result, results, plan)
    dataset = run(download_dataset)
    check_dataset(dataset)
    check_used_labels(plan.config, dataset.artifact.folder)
    run(fine_tune)
    run(embed_all)
    run(build_lsh)
    run(evaluate_recall)
    return results


def _log_outcome(outcome: Mapping[str, Any], root: Path) -> None:
    """Write to the run's log what the command line prints; there it would be said twice."""
    for line in describe_outcome(outcome, root).splitlines():
        get_run_logger().info("%s", line)


if __name__ == "__main__":
    build("configs/quickstart.yaml")
