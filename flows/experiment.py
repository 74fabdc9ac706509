"""The experiment flow: several configurations side by side, nothing published.

Stages that two configurations have in common are built once: the store sees to that.
"""

from functools import partial
from pathlib import Path
from typing import Any

from prefect import flow

from flows.build import run_in_order
from lookalike.config.loading import load_config
from lookalike.errors import LookalikeError
from lookalike.pipeline.comparison import error_of
from lookalike.pipeline.preflight import check_before_start
from lookalike.pipeline.publishing import record_experiment, warn_if_shrunken
from lookalike.pipeline.registry import StageResult
from lookalike.store.artifacts import Store
from tasks.states import with_named_states


@flow(name="experiment", persist_result=False, validate_parameters=True)
@with_named_states
def experiment(config_files: list[str], settings: list[str] | None = None) -> list[dict[str, Any]]:
    """Return one row per configuration, in order: name, error, build_id, steps, seconds, metrics.

    A configuration that fails has `error` set and does not spoil the others. Each finished build is
    recorded under the name of its file, for `lookalike builds --experiments` and `lookalike query --build`.

    Args:
        config_files: YAML files.
        settings: overrides for all of them, each as `section.key=value`.
    """
    return [_row(Path(file), settings or []) for file in config_files]


def _row(config_file: Path, settings: list[str]) -> dict[str, Any]:
    name = config_file.stem
    try:
        config = load_config(config_file, settings)
        # The command line has checked it too, perhaps hours ago: the images may have changed since.
        plan = check_before_start(config, config_file, settings)
        store = Store(config.artifacts.root)
        with store.building():
            results = run_in_order(plan, partial(warn_if_shrunken, store, config))
            build_id = record_experiment(store, config, results, name)
        return {"name": name, "error": None, "build_id": build_id, **_figures(results)}
    except LookalikeError as error:
        return {"name": name, "error": error_of(config_file, error)}


def _figures(results: dict[str, StageResult]) -> dict[str, Any]:
    return {
        "steps": {step: "cached" if result.cached else "built" for step, result in results.items()},
        # As long as each took when it was built, now or earlier.
        "seconds": {step: result.artifact.seconds for step, result in results.items()},
        "metrics": dict(results["evaluate_recall"].artifact.summary),
    }
