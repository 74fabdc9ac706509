"""The five stages as the store sees them: what each reads, which settings and code decide it, how it is built.

This is the one description of the DAG. A stage's task, its module in `lookalike/stages/` and its artifact folder have
its name:

    section     stage              artifact
    dataset     download_dataset   catalog of images, split
    training    fine_tune          network
    embedding   embed_all          one vector per image
    index       build_lsh          hash index
    evaluation  evaluate_recall    figures
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lookalike.config.extensions import extension_digests
from lookalike.config.sections import EvaluationConfig, LookalikeConfig
from lookalike.pipeline.code_version import code_version
from lookalike.pipeline.retraining import kept_model, training_settings
from lookalike.store.artifacts import ArtifactReference, StepSpec, Store

if TYPE_CHECKING:
    from lookalike.dataset.source import Source

_NUMERIC_LIBRARIES = ("torch", "timm", "torchvision", "numpy", "openvino")

References = Mapping[str, ArtifactReference]


@dataclass(frozen=True)
class Plan:
    """What to build: a configuration, and the source that it names.

    The source is looked at once for each plan, so every build needs a plan made for it: a folder may change.
    """

    config: LookalikeConfig

    @cached_property
    def source(self) -> "Source":
        """The source of the images, as it was when first asked."""
        from lookalike.dataset.source import Source

        return Source(self.config.dataset, self.config.artifacts.root)


@dataclass(frozen=True)
class BuildContext:
    """What a stage is built from: the folders of its inputs by stage name, and the empty or resumed folder to fill.

    `earlier` are the folders of all artifacts that the same version of the stage has finished.
    """

    plan: Plan
    inputs: Mapping[str, Path]
    folder: Path
    root: Path
    earlier: Sequence[Path]


@dataclass(frozen=True)
class Stage:
    """One stage.

    `inputs` are the stages whose artifacts it reads. `build` fills the folder of its context and returns a summary.
    `keep` returns an artifact to be used instead of building one, or None; without it there is never such an artifact.
    """

    name: str
    inputs: tuple[str, ...]
    libraries: tuple[str, ...]
    settings: Callable[[Plan], dict[str, Any]]
    build: Callable[[BuildContext], Mapping[str, Any]]
    keep: Callable[[Store, LookalikeConfig, References], ArtifactReference | None] = lambda *_: None
    resumable: bool = False
    timed_files: tuple[str, ...] = ()

    def spec(self, plan: Plan, inputs: References) -> StepSpec:
        """Return what decides this stage's output."""
        digests = {step: reference.digest for step, reference in inputs.items()}
        return StepSpec(self.name, self.version(), self.settings(plan), digests)

    def version(self) -> str:
        """Return the version of the code that this stage runs, libraries included."""
        return code_version((f"lookalike.stages.{self.name}",), self.libraries)


@dataclass(frozen=True)
class StageResult:
    """A finished stage: where its artifact is, and whether it was there already."""

    artifact: ArtifactReference
    cached: bool


def run_stage(store: Store, plan: Plan, name: str, results: Mapping[str, StageResult]) -> StageResult:
    """Return the stage's artifact, built now if the store does not have it; `results` holds those of its inputs."""
    stage = STAGES[name]
    inputs = {step: results[step].artifact for step in stage.inputs}
    kept = stage.keep(store, plan.config, inputs)
    if kept is not None:
        return StageResult(kept, cached=True)
    spec = stage.spec(plan, inputs)

    def build(folder: Path) -> Mapping[str, Any]:
        folders = {step: reference.folder for step, reference in inputs.items()}
        earlier = store.finished_folders(name, spec.code_version)
        return stage.build(BuildContext(plan, folders, folder, store.root, earlier))

    return StageResult(*store.ensure(spec, build, resumable=stage.resumable, timed_files=stage.timed_files))


def find_stages(store: Store, plan: Plan) -> dict[str, ArtifactReference | None]:
    """Return each stage's artifact under this plan, in order, or None where it is stale.

    A stage whose inputs are stale is stale too: its key is not known before they are built.
    """
    fresh: dict[str, ArtifactReference] = {}
    for name, stage in STAGES.items():
        if all(step in fresh for step in stage.inputs):
            inputs = {step: fresh[step] for step in stage.inputs}
            reference = stage.keep(store, plan.config, inputs) or store.check(stage.spec(plan, inputs))
            if reference is not None:
                fresh[name] = reference
    return {name: fresh.get(name) for name in STAGES}


def _dataset_settings(plan: Plan) -> dict[str, Any]:
    return {**plan.config.dataset.model_dump(mode="json"), "content": plan.source.fingerprint}


def _fine_tune_settings(plan: Plan) -> dict[str, Any]:
    """Return the settings that decide the model, and the digests of the user's own functions among them."""
    sources = extension_digests(plan.config.training)
    settings = training_settings(plan.config.training.model_dump(mode="json"))
    return {**settings, "sources": sources} if sources else settings


def _embedding_settings(plan: Plan) -> dict[str, Any]:
    # The share of the dataset that may fail decides whether there is an artifact at all.
    fraction = plan.config.dataset.max_failure_fraction
    return {**plan.config.embedding.model_dump(mode="json"), "max_failure_fraction": fraction}


def _index_settings(plan: Plan) -> dict[str, Any]:
    return plan.config.index.model_dump(mode="json")


def _evaluation_settings(plan: Plan) -> dict[str, Any]:
    return plan.config.evaluation.model_dump(mode="json", exclude=set(EvaluationConfig.GATE_KEYS))


def _download_dataset(context: BuildContext) -> Mapping[str, Any]:
    from lookalike.stages.download_dataset import download_dataset

    plan, root = context.plan, context.root
    source = plan.source
    summary = download_dataset(
        plan.config.dataset,
        context.folder,
        root / "downloads",
        root,
        listing=source.listing,
        given=source.given,
    )
    return asdict(summary)


def _fine_tune(context: BuildContext) -> Mapping[str, Any]:
    from lookalike.stages.fine_tune import fine_tune

    return asdict(fine_tune(context.plan.config.training, context.inputs["download_dataset"], context.folder))


def _embed_all(context: BuildContext) -> Mapping[str, Any]:
    from lookalike.stages.embed_all import embed_all

    config, inputs = context.plan.config, context.inputs
    summary = embed_all(
        config.embedding,
        inputs["download_dataset"],
        inputs["fine_tune"],
        context.folder,
        context.earlier,
        max_failure_fraction=config.dataset.max_failure_fraction,
    )
    return asdict(summary)


def _build_lsh(context: BuildContext) -> Mapping[str, Any]:
    from lookalike.stages.build_lsh import build_lsh

    return build_lsh(context.plan.config.index, context.inputs["embed_all"], context.folder)


def _evaluate_recall(context: BuildContext) -> Mapping[str, Any]:
    from lookalike.stages.evaluate_recall import evaluate_recall

    return evaluate_recall(context.plan.config.evaluation, context.inputs, context.folder)


STAGES: Mapping[str, Stage] = {
    stage.name: stage
    for stage in (
        Stage("download_dataset", (), ("pillow",), _dataset_settings, _download_dataset),
        Stage(
            "fine_tune",
            ("download_dataset",),
            (*_NUMERIC_LIBRARIES, "fastai"),
            _fine_tune_settings,
            _fine_tune,
            keep=kept_model,
            timed_files=("history.csv",),
        ),
        Stage(
            "embed_all",
            ("download_dataset", "fine_tune"),
            _NUMERIC_LIBRARIES,
            _embedding_settings,
            _embed_all,
            resumable=True,
        ),
        Stage("build_lsh", ("embed_all",), ("numpy",), _index_settings, _build_lsh),
        Stage(
            "evaluate_recall",
            ("download_dataset", "fine_tune", "embed_all", "build_lsh"),
            _NUMERIC_LIBRARIES,
            _evaluation_settings,
            _evaluate_recall,
            timed_files=("metrics.json", "report.md"),
        ),
    )
}
