"""Whether the disk has room for what a stage is about to write: better a refusal now than a full disk at night.

The estimates are low rather than high, from counts of the stages before: they refuse what cannot
work, and leave what might. A disk that fills up all the same ends the build with one line, and the
next build goes on from what is finished.
"""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lookalike.config import LookalikeConfig
from lookalike.errors import ArtifactError

Summaries = Mapping[str, Mapping[str, Any]]

# The mean of the drawn images, and of the row that describes an image.
_SYNTHETIC_IMAGE_BYTES = 8_000
_ROW_BYTES = 150
# The smallest networks in use; the largest weights take some hundred times as much.
_MODEL_BYTES = 1_000_000
_REPORT_BYTES = 100_000
_FLOAT_BYTES = 4


def check_free_disk(root: Path, stage: str, config: LookalikeConfig, summaries: Summaries) -> None:
    """Raise ArtifactError if the disk of `root` has less room than the stage needs at the least.

    `summaries` are those of the stages that it reads, by name.
    """
    needed_bytes = estimate_bytes(stage, config, summaries)
    free_bytes = shutil.disk_usage(root).free
    if free_bytes < needed_bytes:
        raise ArtifactError(
            f"{stage} needs about {_megabytes(needed_bytes)} on the disk of {root}, which has "
            f"{_megabytes(free_bytes)} free; clear away old builds (`lookalike gc`) or choose another artifacts.root"
        )


def estimate_bytes(stage: str, config: LookalikeConfig, summaries: Summaries) -> int:
    """What a stage writes at the least, in bytes."""
    return _ESTIMATES[stage](config, summaries)


def _dataset_bytes(config: LookalikeConfig, summaries: Summaries) -> int:
    dataset = config.dataset
    if dataset.source == "synthetic":
        return dataset.synthetic_labels * dataset.synthetic_images_per_label * _SYNTHETIC_IMAGE_BYTES
    if dataset.source == "caltech101" and dataset.archive is not None and dataset.archive.is_file():
        # Images are compressed already, so an archive unpacks to no less than its size.
        return dataset.archive.stat().st_size
    return _REPORT_BYTES


def _model_bytes(config: LookalikeConfig, summaries: Summaries) -> int:
    return _MODEL_BYTES


def _embedding_bytes(config: LookalikeConfig, summaries: Summaries) -> int:
    vector_bytes = config.training.embedding_units * _FLOAT_BYTES
    return int(summaries["download_dataset"]["n_images"]) * (vector_bytes + _ROW_BYTES)


def _index_bytes(config: LookalikeConfig, summaries: Summaries) -> int:
    embeddings = summaries["embed_all"]
    return int(embeddings["rows"]) * int(embeddings["dim"]) * _FLOAT_BYTES


def _evaluation_bytes(config: LookalikeConfig, summaries: Summaries) -> int:
    return _REPORT_BYTES


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:,.1f} MB"


_ESTIMATES: Mapping[str, Callable[[LookalikeConfig, Summaries], int]] = {
    "download_dataset": _dataset_bytes,
    "fine_tune": _model_bytes,
    "embed_all": _embedding_bytes,
    "build_lsh": _index_bytes,
    "evaluate_recall": _evaluation_bytes,
}
