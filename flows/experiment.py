"""The experiment flow: several configurations side by side, nothing published.

Stages that two configurations have in common are built once: the store sees to that.
"""

from pathlib import Path
from typing import Any

from prefect import flow

from flows.build import run_in_order
from lookalike.config_loading import load_config
from lookalike.errors import LookalikeError
from lookalike.locks import shared_lock
from lookalike.preflight import check_before_start
from lookalike.stages import StageResult
from tasks.states import with_named_states


@flow(name="experiment", persist_result=False, validate_parameters=True)
@with_named_states
def experiment(config_files: list[str], settings: list[str] | None = None) -> list[dict[str, Any]]:
    """Return one row a configuration, in order: name, error, steps, seconds, metrics.

    A configuration that fails has `error` set and does not spoil the others.

    Args:
        config_files: YAML files.
        settings: overrides for all of them, each as `section.key=value`.
    """
    return [_row(Path(file), settings or []) for file in config_files]


def _row(config_file: Path, settings: list[str]) -> dict[str, Any]:
    try:
        config = load_config(config_file, settings)
        check_before_start(config)
        with shared_lock(config.artifacts.root, "builds"):
            return {"name": config_file.stem, "error": None, **_figures(run_in_order(config))}
    except LookalikeError as error:
        return {"name": config_file.stem, "error": str(error)}


def _figures(results: dict[str, StageResult]) -> dict[str, Any]:
    return {
        "steps": {step: "cached" if result.cached else "built" for step, result in results.items()},
        # As long as each took when it was built, now or earlier.
        "seconds": {step: result.artifact.seconds for step, result in results.items()},
        "metrics": dict(results["evaluate_recall"].artifact.summary),
    }
