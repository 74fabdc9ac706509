"""The catalog of vectors that were computed elsewhere: their labels, paths and split."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lookalike.config.sections import DatasetConfig
from lookalike.dataset.label_folders import UNLABELLED
from lookalike.dataset.labels import check_excluded_labels
from lookalike.dataset.records import NO_LABEL, Row
from lookalike.dataset.split import HELD_OUT_FOLDERS, held_out_ids
from lookalike.dataset.vector_files import Block, ContentDigest, read_blocks, vector_files
from lookalike.errors import ConfigError, DatasetError

_TRAINING = frozenset({"train", "training"})


@dataclass(frozen=True)
class GivenVectors:
    """What some files of vectors hold: a row per vector in their order, which ids are held out, dim and digest.

    `held_out` is None if the files have no column `split`. `digest` is a hexadecimal sha256 of ids and components.
    """

    rows: Sequence[Row]
    held_out: frozenset[str] | None
    dim: int
    digest: str


def configured_vectors(config: DatasetConfig) -> Path:
    """Return the file or folder that `dataset.vectors` names, links resolved; ConfigError if there is none."""
    if config.vectors is None or not config.vectors.exists():
        raise ConfigError(
            f"dataset.vectors: {config.vectors} does not exist; expected a Parquet or .npy file, or a folder of "
            "Parquet files"
        )
    return config.vectors.resolve()


def files_digest(path: Path) -> str:
    """Return a hexadecimal sha256 over name, size and modification time of all files, which are not read."""
    digest = hashlib.sha256()
    for file in vector_files(path):
        status = file.stat()
        digest.update(f"{file.name}\0{status.st_size} {status.st_mtime_ns}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def read_vectors(config: DatasetConfig) -> GivenVectors:
    """Read and check all vectors of the configured source, and return what their catalog needs.

    Raises ConfigError or DatasetError for wrong files; see `read_blocks`.
    """
    path = configured_vectors(config)
    rows: list[Row] = []
    splits: dict[str, bool] = {}
    digest, dim = ContentDigest(), 0
    for block in read_blocks(path):
        dim = block.vectors.shape[1]
        digest.add(block)
        made = [_row(block, number, row, config) for number, row in enumerate(block.texts.to_pylist())]
        rows += [row for row, _ in made]
        splits |= {row.image_id: is_held_out for row, is_held_out in made if is_held_out is not None}
    held_out = frozenset(name for name, is_held_out in splits.items() if is_held_out) if splits else None
    if splits and len(splits) < len(rows):
        raise DatasetError(f"{path}: {len(rows) - len(splits):,} rows have no split; expected train or valid in each")
    return GivenVectors(_with_labels(rows), held_out, dim, digest.hexdigest())


def select_rows(given: GivenVectors, config: DatasetConfig) -> tuple[list[Row], set[str]]:
    """Return the rows whose labels are not excluded, and the ids of those that are held out.

    Raises DatasetError unless some vectors are held out and others are not: recall is measured with them. Raises
    ConfigError if an excluded label does not exist.
    """
    check_excluded_labels(config.exclude_labels, {row.label for row in given.rows})
    rows = [row for row in given.rows if row.label not in config.exclude_labels]
    if len(rows) < 2:
        raise DatasetError(f"{config.vectors} holds a single vector; at least two are needed to compare them")
    if given.held_out is None:
        held_out = held_out_ids(rows, config.valid_fraction, config.seed)
    else:
        held_out = {row.image_id for row in rows} & given.held_out
    if not held_out or len(held_out) == len(rows):
        raise DatasetError(
            f"{config.vectors}: {len(held_out):,} of {len(rows):,} vectors are held out, and the evaluation needs some "
            "but not all; change the column split, or set dataset.labels=none if no label occurs twice"
        )
    return rows, held_out


def _row(block: Block, number: int, texts: Mapping[str, str | None], config: DatasetConfig) -> tuple[Row, bool | None]:
    name, split = texts["id"] or "", texts["split"]
    if split is not None and split.lower() not in HELD_OUT_FOLDERS | _TRAINING:
        raise DatasetError(f"{block.row(number)} has the split {split!r}; expected train or valid")
    label = NO_LABEL if config.labels == "none" else texts["label"] or NO_LABEL
    path = (texts["path"] or name).replace("\0", "")
    is_held_out = None if split is None else split.lower() in HELD_OUT_FOLDERS
    return Row(name, path, label, 0, 0, block.vectors[number].nbytes), is_held_out


def _with_labels(rows: Sequence[Row]) -> Sequence[Row]:
    """Return the rows, those without a label called UNLABELLED if others have one."""
    if all(row.label == NO_LABEL for row in rows):
        return rows
    return [row if row.label else Row(row.image_id, row.path, UNLABELLED, 0, 0, row.n_bytes) for row in rows]
