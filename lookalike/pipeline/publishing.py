"""A finished build: its identity, its record, the gate in front of it, and what `status` says of it."""

import logging
import platform
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from lookalike.config.sections import LookalikeConfig
from lookalike.errors import ArtifactError, LookalikeError, QualityGateError
from lookalike.files import digest_of
from lookalike.pipeline.baseline import baseline_of, collection_of
from lookalike.pipeline.code_version import installed_version
from lookalike.pipeline.gate import gate_problems, shrinkage_problems
from lookalike.pipeline.registry import Plan, StageResult, find_stages
from lookalike.store.artifacts import Store
from lookalike.store.events import Build, append_event, make_current, read_current, read_events

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
    `lookalike build --json`. If the gate is not met, records that and raises RefusedBuildError with the outcome;
    the current build stays current.
    """
    build = _build_of(store, config, results)
    _check_counts(results)
    # Two builds that end at once take their numbers one after the other.
    with store.publishing():
        before = baseline_of(read_events(store.root), build, config.evaluation.max_regression)
        problems = gate_problems(build.metrics, config.evaluation, before, _rejects(results["download_dataset"]))
        _refuse_for(problems, store, build, results, started)
        if not _is_current(store, build):
            make_current(store.root, append_event(store.root, "published", build))
    return _outcome(build, results, started, published=True)


def refuse_if_shrunken(store: Store, config: LookalikeConfig, started: float, dataset: StageResult) -> None:
    """Raise RefusedBuildError, and record it, if the collection lost too many images: before hours of training."""
    results = {"download_dataset": dataset}
    build = _build_of(store, config, results)
    with store.publishing():
        _refuse_for(_shrinkage(store, config, dataset), store, build, results, started)


def warn_if_shrunken(store: Store, config: LookalikeConfig, dataset: StageResult) -> None:
    """Log what `refuse_if_shrunken` would refuse: an experiment replaces nothing."""
    for problem in _shrinkage(store, config, dataset):
        logger.warning("%s", problem)


def record_experiment(store: Store, config: LookalikeConfig, results: Mapping[str, StageResult], name: str) -> str:
    """Record a build that is not to be published, unless it is the newest one of its name; return its id."""
    build = _build_of(store, config, results)
    _check_counts(results)
    with store.publishing():
        earlier = [event for event in read_events(store.root) if (event.kind, event.name) == ("experiment", name)]
        if not earlier or not _is_same(earlier[-1].build, build):
            append_event(store.root, "experiment", build, name=name)
    return build.build_id


def _shrinkage(store: Store, config: LookalikeConfig, dataset: StageResult) -> list[str]:
    """What is wrong with the size of the collection beside that of its published build; empty if nothing is."""
    build = _build_of(store, config, {"download_dataset": dataset})
    before = baseline_of(read_events(store.root), build, config.evaluation.max_regression)
    return shrinkage_problems(build.metrics["n_images"], config.evaluation, before, _rejects(dataset))


def _refuse_for(
    problems: Sequence[str], store: Store, build: Build, results: Mapping[str, StageResult], started: float
) -> None:
    """Record the refusal and raise RefusedBuildError if there are any problems."""
    if problems:
        append_event(store.root, "refused", build, reasons=problems)
        message = f"the quality gate was not met: {'; '.join(problems)}; nothing was published"
        raise RefusedBuildError(message, _outcome(build, results, started, published=False))


def _rejects(dataset: StageResult) -> str:
    return (
        f"{dataset.artifact.summary['n_rejects']:,} files were rejected: {dataset.artifact.folder / 'rejects.parquet'}"
    )


def _outcome(build: Build, results: Mapping[str, StageResult], started: float, *, published: bool) -> dict[str, Any]:
    return {
        "build_id": build.build_id,
        "published": published,
        "seconds": round(time.perf_counter() - started, 2),
        "steps": {step: "cached" if result.cached else "built" for step, result in results.items()},
        "metrics": build.metrics,
        "artifacts": build.artifacts,
    }


def find_status(store: Store, config: LookalikeConfig | None) -> dict[str, Any]:
    """What is published, and with a configuration which stages are fresh under it; JSON-able.

    A source that is missing makes every stage stale, with the reason under `problem`.
    """
    status: dict[str, Any] = {
        "root": str(store.root),
        "published": store.read_current(),
        "latest": _latest_verdict(store),
        "stages": None,
    }
    if config is None:
        return status
    try:
        found = find_stages(store, Plan(config))
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


def _latest_verdict(store: Store) -> dict[str, Any] | None:
    """What happened last, experiments apart: a refusal may be newer than what is published."""
    verdicts = [event for event in read_events(store.root) if event.kind != "experiment"]
    return verdicts[-1].summary() if verdicts else None


def _build_of(store: Store, config: LookalikeConfig, results: Mapping[str, StageResult]) -> Build:
    """The record of a build, or of one that got no further than its first stages."""
    settings = config.model_dump(mode="json")
    identity = {step: [result.artifact.key, result.artifact.digest] for step, result in results.items()}
    evaluation = results.get("evaluate_recall")
    dataset = results["download_dataset"].artifact
    return Build(
        # Made of content alone: the same stages with the same bytes are the same build.
        build_id=digest_of(identity)[:12],
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        config=settings,
        config_digest=digest_of(settings)[:12],
        collection=collection_of(settings["dataset"]),
        artifacts={step: store.relative(result.artifact.folder) for step, result in results.items()},
        keys={step: result.artifact.key for step, result in results.items()},
        digests={step: result.artifact.digest for step, result in results.items()},
        metrics=dict(evaluation.artifact.summary) if evaluation else {"n_images": dataset.summary["n_images"]},
        versions={
            "python": platform.python_version(),
            **{library: installed_version(library) for library in _RECORDED_LIBRARIES},
        },
    )


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


def _is_current(store: Store, build: Build) -> bool:
    """Whether this very build, made with this very configuration, is current already."""
    try:
        current = read_current(store.root)
    except ArtifactError as error:
        logger.warning("%s; this build replaces it", error)
        return False
    return current is not None and _is_same(current.build, build)


def _is_same(one: Build, other: Build) -> bool:
    return all(getattr(one, name) == getattr(other, name) for name in ("build_id", "config", "artifacts"))
