"""The five stages as the store sees them: what each reads, which settings and code decide it, how it is built.

A stage's task, its module in `lookalike/stages/` and its artifact folder have its name; so does its section:

    dataset     download_dataset   -> catalog of images, split
    training    fine_tune          -> network
    embedding   embed_all          -> one vector per image
    index       build_lsh          -> hash index
    evaluation  evaluate_recall    -> figures
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lookalike.config.extensions import extension_digests
from lookalike.config.sections import EvaluationConfig, LookalikeConfig
from lookalike.errors import ArtifactError
from lookalike.files import read_json
from lookalike.pipeline.code_version import code_version
from lookalike.store.artifacts import ArtifactReference, StepSpec, Store

logger = logging.getLogger(__name__)

Folders = Mapping[str, Path]
# What principal components of so many times more images would gain is worth embedding all of them again.
_OUTGROWN = 4
_NUMERIC_LIBRARIES = ("torch", "timm", "torchvision", "numpy", "openvino")


@dataclass(frozen=True)
class Stage:
    """One stage; `build` takes the configuration, the inputs' folders, its own folder, and the artifact root."""

    name: str
    inputs: tuple[str, ...]
    libraries: tuple[str, ...]
    settings: Callable[[LookalikeConfig], dict[str, Any]]
    build: Callable[[LookalikeConfig, Folders, Path, Path], Mapping[str, Any]]
    resumable: bool = False
    timed_files: tuple[str, ...] = ()

    def spec(self, config: LookalikeConfig, inputs: Mapping[str, str]) -> StepSpec:
        """What decides this stage's output, given the digests of its inputs."""
        return StepSpec(self.name, self.version(), self.settings(config), dict(inputs))

    def version(self) -> str:
        """The version of the code that this stage runs, libraries included."""
        return code_version((f"lookalike.stages.{self.name}",), self.libraries)


@dataclass(frozen=True)
class StageResult:
    """A finished stage: where its artifact is, and whether it was there already."""

    artifact: ArtifactReference
    cached: bool


def run_stage(store: Store, config: LookalikeConfig, name: str, inputs: Mapping[str, ArtifactReference]) -> StageResult:
    """The stage's artifact, built now if the store does not have it; `inputs` by stage name."""
    stage = STAGES[name]
    kept = _kept_model(store, config, inputs["download_dataset"].folder) if name == "fine_tune" else None
    if kept is not None:
        logger.info(
            "the published model is kept (training.retrain=%s; `always` makes a new one)", config.training.retrain
        )
        return StageResult(kept, cached=True)
    folders = {step: inputs[step].folder for step in stage.inputs}
    spec = stage.spec(config, {step: inputs[step].digest for step in stage.inputs})

    def build(folder: Path) -> Mapping[str, Any]:
        return stage.build(config, folders, folder, store.root)

    reference, cached = store.ensure(spec, build, resumable=stage.resumable, timed_files=stage.timed_files)
    return StageResult(reference, cached)


def find_stages(store: Store, config: LookalikeConfig) -> dict[str, ArtifactReference | None]:
    """For each stage, in order, its artifact under this configuration, or None where it is stale.

    A stage whose inputs are stale is stale too: its key is not known before they are built.
    """
    found: dict[str, ArtifactReference | None] = {}
    for name, stage in STAGES.items():
        digests = {step: reference.digest for step in stage.inputs if (reference := found[step]) is not None}
        if len(digests) < len(stage.inputs):
            found[name] = None
            continue
        dataset = found.get("download_dataset")
        kept = _kept_model(store, config, dataset.folder) if name == "fine_tune" and dataset else None
        found[name] = kept or store.check(stage.spec(config, digests))
    return found


def _kept_model(store: Store, config: LookalikeConfig, dataset_folder: Path) -> ArtifactReference | None:
    """The published model, if `training.retrain` says to keep it although the images have changed.

    It must have been trained with the same settings, and be whole; for `on_new_labels` it must know
    every label, for `on_growth` it must come from the same source, of more than a quarter of the images.
    """
    if config.training.retrain == "always":
        return None
    current = store.find_current()
    if current is None or _training_settings(current["config"]["training"]) != _training_settings(
        config.training.model_dump(mode="json")
    ):
        return None
    if config.training.retrain == "on_new_labels" and not _knows_all_labels(store, config, current, dataset_folder):
        return None
    if config.training.retrain == "on_growth" and _has_outgrown(store, config, current, dataset_folder):
        return None
    return store.find("fine_tune", store.root / current["artifacts"]["fine_tune"])


def _knows_all_labels(store: Store, config: LookalikeConfig, current: Mapping[str, Any], dataset_folder: Path) -> bool:
    from lookalike.dataset.storage import open_dataset

    description = read_json(store.root / current["artifacts"]["fine_tune"] / "model.json", ArtifactError)
    to_be_trained = set(open_dataset(dataset_folder).classes) - set(config.training.unseen_labels)
    return to_be_trained <= set(description["classes"])


def _has_outgrown(store: Store, config: LookalikeConfig, current: Mapping[str, Any], dataset_folder: Path) -> bool:
    """Whether the collection is not the one of the current model, or has become several times as large."""
    from lookalike.dataset.storage import open_dataset
    from lookalike.training.summary import COMPONENT_IMAGES

    now, before = config.dataset.model_dump(mode="json"), current["config"]["dataset"]
    if any(now[name] != before.get(name) for name in ("source", "folder", "archive")):
        return True
    description = read_json(store.root / current["artifacts"]["fine_tune"] / "model.json", ArtifactError)
    images = sum(split == "train" for split in open_dataset(dataset_folder).catalog["split"].to_pylist())
    return bool(min(images, COMPONENT_IMAGES) >= _OUTGROWN * description.get("images", 0))


def _training_settings(section: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that decide a model; when to train again is none of them."""
    return {name: value for name, value in section.items() if name != "retrain"}


def _fine_tune_settings(config: LookalikeConfig) -> dict[str, Any]:
    """As `_training_settings`, and the source of the user's own functions among them."""
    sources = extension_digests(config.training)
    settings = _training_settings(config.training.model_dump(mode="json"))
    return {**settings, "sources": sources} if sources else settings


def _dataset_settings(config: LookalikeConfig) -> dict[str, Any]:
    from lookalike.stages.download_dataset import source_fingerprint

    return {
        **config.dataset.model_dump(mode="json"),
        "content": source_fingerprint(config.dataset, config.artifacts.root),
    }


def _embedding_settings(config: LookalikeConfig) -> dict[str, Any]:
    # The share of the dataset that may fail decides whether there is an artifact at all.
    fraction = config.dataset.max_failure_fraction
    return {**config.embedding.model_dump(mode="json"), "max_failure_fraction": fraction}


def _evaluation_settings(config: LookalikeConfig) -> dict[str, Any]:
    return config.evaluation.model_dump(mode="json", exclude=set(EvaluationConfig.GATE_KEYS))


def _download_dataset(config: LookalikeConfig, inputs: Folders, folder: Path, root: Path) -> Mapping[str, Any]:
    from lookalike.stages.download_dataset import download_dataset

    return asdict(download_dataset(config.dataset, folder, root / "downloads", root))


def _fine_tune(config: LookalikeConfig, inputs: Folders, folder: Path, root: Path) -> Mapping[str, Any]:
    from lookalike.stages.fine_tune import fine_tune

    return asdict(fine_tune(config.training, inputs["download_dataset"], folder))


def _embed_all(config: LookalikeConfig, inputs: Folders, folder: Path, root: Path) -> Mapping[str, Any]:
    from lookalike.stages.embed_all import embed_all

    # Vectors that other code computed may be other vectors.
    earlier = Store(root).finished_folders("embed_all", STAGES["embed_all"].version())
    fraction = config.dataset.max_failure_fraction
    dataset, model = inputs["download_dataset"], inputs["fine_tune"]
    return asdict(embed_all(config.embedding, dataset, model, folder, earlier, max_failure_fraction=fraction))


def _build_lsh(config: LookalikeConfig, inputs: Folders, folder: Path, root: Path) -> Mapping[str, Any]:
    from lookalike.stages.build_lsh import build_lsh

    return build_lsh(config.index, inputs["embed_all"], folder)


def _evaluate_recall(config: LookalikeConfig, inputs: Folders, folder: Path, root: Path) -> Mapping[str, Any]:
    from lookalike.stages.evaluate_recall import evaluate_recall

    return evaluate_recall(config.evaluation, inputs, folder)


STAGES: Mapping[str, Stage] = {
    stage.name: stage
    for stage in (
        Stage(
            "download_dataset",
            (),
            ("pillow",),
            _dataset_settings,
            _download_dataset,
        ),
        Stage(
            "fine_tune",
            ("download_dataset",),
            (*_NUMERIC_LIBRARIES, "fastai"),
            _fine_tune_settings,
            _fine_tune,
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
        Stage(
            "build_lsh",
            ("embed_all",),
            ("numpy",),
            lambda config: config.index.model_dump(mode="json"),
            _build_lsh,
        ),
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
