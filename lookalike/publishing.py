"""A finished build: its identity, its record, the gate in front of it, and what `status` says of it."""

import logging
import platform
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from lookalike.code_version import installed_version
from lookalike.config import LookalikeConfig
from lookalike.errors import ArtifactError, LookalikeError, QualityGateError
from lookalike.evaluation.gate import check_gate
from lookalike.files import digest_of
from lookalike.locks import exclusive_lock
from lookalike.stages import StageResult, find_stages
from lookalike.store import Store

logger = logging.getLogger(__name__)

_RECORDED_LIBRARIES = ("lookalike", "torch", "torchvision", "timm", "fastai", "numpy", "prefect")


class RefusedBuildError(QualityGateError):
    """The gate refused a finished build; `outcome` is what the build would have returned."""

    def __init__(self, message: str, outcome: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.outcome = outcome


def publish(
    store: Store, config: LookalikeConfig, results: Mapping[str, StageResult], started: float
) -> dict[str, Any]:
    """Put a finished build to the gate, record it, make it current, and return its outcome.

    `started` is the `time.perf_counter()` of the build's start. The outcome is the JSON object of
    `lookalike build --json`. Raises RefusedBuildError, with the outcome, if the gate is not met;
    the build is recorded then too, and what was current stays so.
    """
    record = _record(store, config, results)
    _check_counts(results)
    # Two builds that end at once take their numbers one after the other.
    with exclusive_lock(store.root, "publish", waiting_for="what is published"):
        refusal = _decide(store, config, record)
    outcome = {
        "build_id": record["build_id"],
        "published": refusal is None,
        "seconds": round(time.perf_counter() - started, 2),
        "steps": {step: "cached" if result.cached else "built" for step, result in results.items()},
        "metrics": record["metrics"],
        "artifacts": record["artifacts"],
    }
    if refusal is not None:
        raise RefusedBuildError(str(refusal), outcome) from refusal
    return outcome


def _decide(store: Store, config: LookalikeConfig, record: dict[str, Any]) -> QualityGateError | None:
    """Record the build, make it current if the gate lets it pass, and return why not if it does not."""
    refusal: QualityGateError | None = None
    try:
        check_gate(record["metrics"], config.evaluation, _comparable_metrics(store, record))
    except QualityGateError as error:
        refusal = error
    record["published"] = refusal is None
    if refusal is not None or not _is_same_build(store, record):
        store.write_build(record, publish=refusal is None)
    return refusal


def find_status(store: Store, config: LookalikeConfig | None) -> dict[str, Any]:
    """What is published, and with a configuration which stages are fresh under it; JSON-able.

    A source that is missing makes every stage stale, with the reason under `problem`.
    """
    status: dict[str, Any] = {"root": str(store.root), "published": store.read_current(), "stages": None}
    if config is None:
        return status
    try:
        found = find_stages(store, config)
    except LookalikeError as error:
        return {**status, "problem": str(error)}
    published = (status["published"] or {}).get("artifacts", {})
    status["stages"] = {
        name: {
            "state": "stale" if reference is None else "fresh",
            "artifact": None if reference is None else store.relative(reference.folder),
            "published": reference is not None and published.get(name) == store.relative(reference.folder),
        }
        for name, reference in found.items()
    }
    return status


def _record(store: Store, config: LookalikeConfig, results: Mapping[str, StageResult]) -> dict[str, Any]:
    settings = config.model_dump(mode="json")
    identity = {step: [result.artifact.key, result.artifact.digest] for step, result in results.items()}
    return {
        # Made of content alone: the same stages with the same bytes are the same build.
        "build_id": digest_of(identity)[:12],
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "config": settings,
        "config_digest": digest_of(settings)[:12],
        "artifacts": {step: store.relative(result.artifact.folder) for step, result in results.items()},
        "keys": {step: result.artifact.key for step, result in results.items()},
        "digests": {step: result.artifact.digest for step, result in results.items()},
        "metrics": dict(results["evaluate_recall"].artifact.summary),
        "versions": {
            "python": platform.python_version(),
            **{library: installed_version(library) for library in _RECORDED_LIBRARIES},
        },
    }


def _check_counts(results: Mapping[str, StageResult]) -> None:
    """Every image of the catalog is in the embeddings or in the rejects, and every vector is in the index."""
    cataloged = results["download_dataset"].artifact.summary["n_images"]
    embeddings = results["embed_all"].artifact.summary
    indexed = results["build_lsh"].artifact.summary["n_vectors"]
    if embeddings["rows"] + embeddings["rejects"] != cataloged or indexed != embeddings["rows"]:
        raise ArtifactError(
            f"the stages do not add up: {cataloged} images in the catalog, {embeddings['rows']} embedded and "
            f"{embeddings['rejects']} rejected, {indexed} in the index; nothing was published"
        )


def _comparable_metrics(store: Store, record: Mapping[str, Any]) -> Mapping[str, Any] | None:
    current = store.find_current()
    if current is None or current["config"]["dataset"] != record["config"]["dataset"]:
        return None
    metrics: Mapping[str, Any] = current["metrics"]
    return metrics


def _is_same_build(store: Store, record: Mapping[str, Any]) -> bool:
    """Whether this very build, made with this very configuration, is current already."""
    current = store.find_current() or {}
    return all(current.get(name) == record[name] for name in ("build_id", "config", "artifacts"))
