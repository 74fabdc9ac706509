"""Finished stages without the work: artifacts of a few bytes whose summaries say what a test wants them to say."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lookalike.config.loading import load_config
from lookalike.config.sections import LookalikeConfig
from lookalike.pipeline.maintenance import roll_back
from lookalike.pipeline.publishing import RefusedBuildError, publish, record_experiment
from lookalike.pipeline.registry import STAGES, StageResult
from lookalike.store.artifacts import StepSpec, Store
from lookalike.store.events import publications, read_events

METRICS = {
    "n_queries": 20,
    "accuracy": 0.9,
    "precision_at_10": 0.9,
    "map": 0.9,
    "recall_at_10": 0.95,
    "recall_at_10_interval": [0.93, 0.97],
}


def config_of(store: Store, *settings: str) -> LookalikeConfig:
    return load_config(None, [f"artifacts.root={store.root}", *settings])


def staged(
    store: Store, content: object = 0, n_images: int = 10, n_rejects: int = 0, **metrics: Any
) -> dict[str, StageResult]:
    """The results of the five stages; the last two differ with `content`, the first one with the counts."""
    summaries = {
        "download_dataset": {"n_images": n_images, "n_rejects": n_rejects},
        "embed_all": {"rows": n_images, "rejects": 0},
        "build_lsh": {"n_vectors": n_images},
        "evaluate_recall": {"n_images": n_images, **METRICS, **metrics},
    }
    return {step: _stage(store, step, content, n_images, summaries.get(step, {})) for step in STAGES}


def _stage(store: Store, step: str, content: object, n_images: int, summary: dict[str, Any]) -> StageResult:
    settings = {"n_images": n_images, "content": content if step in ("build_lsh", "evaluate_recall") else None}

    def write(folder: Path) -> dict[str, Any]:
        (folder / "file").write_text(f"{step} {settings}")
        return summary

    return StageResult(*store.ensure(StepSpec(step, "1", settings, {}), write))


def act(root: Path, action: str, starting: Callable[[], object] = lambda: None) -> dict[str, Any]:
    """Do one thing to a root: publish build 2, refuse the published build 1, try build 3, or go back to build 0.

    `starting` is called once the stages are there. Returns the id of the build.
    """
    store = Store(root)
    results = staged(store, {"publish": 2, "refuse": 1, "experiment": 3, "roll back": 0}[action])
    starting()
    match action:
        case "roll back":
            return {"build_id": roll_back(store, publications(read_events(root))[0].build_id).build_id}
        case "experiment":
            return {"build_id": record_experiment(store, config_of(store), results, "trial")}
    try:
        demanded = 1 if action == "refuse" else 0
        return publish(store, config_of(store, f"evaluation.min_recall_at_10={demanded}"), results, 0.0)
    except RefusedBuildError as refusal:
        return dict(refusal.outcome)
