"""The stage itself: get the images of a source, catalog them, split them, write the result."""

import difflib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lookalike.config import DatasetConfig
from lookalike.dataset import caltech101
from lookalike.dataset.catalog import Reject, inspect_files
from lookalike.dataset.label_folders import check_labels, labelled
from lookalike.dataset.listing import FoundFile, list_files, listing_digest
from lookalike.dataset.split import held_out_ids
from lookalike.dataset.storage import IMAGES_FOLDER, DatasetSummary, write_dataset
from lookalike.dataset.synthetic import GENERATOR_VERSION
from lookalike.errors import ConfigError, DatasetError
from lookalike.files import sha256_of_file

logger = logging.getLogger(__name__)


def download_dataset(config: DatasetConfig, folder: Path, downloads: Path) -> DatasetSummary:
    """Fill the empty `folder` with the dataset that `config` names, and return its counts.

    Writes catalog.parquet (one row an image, sorted by path), rejects.parquet (path, stage, error),
    dataset.json and, unless the images are used where they lie, images/<label>/<file>. `downloads`
    keeps finished downloads for later runs. Every file of the source is in the catalog,
    in the rejects, or under an excluded label.

    Raises `DatasetError`, `DownloadError` or `ConfigError` if no images can be had.
    """
    try:
        return _download_dataset(config, folder, downloads)
    except OSError as error:
        raise DatasetError(f"cannot write the dataset to {folder}: {error.strerror or error}") from error


def _download_dataset(config: DatasetConfig, folder: Path, downloads: Path) -> DatasetSummary:
    root = _obtain_images(config, folder / IMAGES_FOLDER, downloads)
    files = labelled(list_files(root, follow_links=config.follow_links), config)
    kept = _without_excluded(files, config.exclude_labels)
    rows, rejects = inspect_files(root, kept)
    if not rows:
        raise DatasetError(_no_images(root, len(files), len(files) - len(kept), rejects))
    held_out = held_out_ids(rows, config.valid_fraction, config.seed)
    if config.labels == "none" and not held_out:
        raise DatasetError(
            f"{root} holds {len(rows):,} readable images that are all the same; two different are needed"
        )
    is_inside = root == folder / IMAGES_FOLDER
    stored_root = IMAGES_FOLDER if is_inside else str(root)
    summary = write_dataset(folder, stored_root, _origin(config), rows, rejects, held_out, len(files))
    _log(summary, rejects)
    return summary


def source_fingerprint(config: DatasetConfig) -> dict[str, Any]:
    """Return what identifies the source's content outside of the configuration, as plain JSON values.

    A folder: a digest of every file's path, size and modification time. A local archive: its sha256
    and size. A download: the mirrors with their checksums. Synthetic images: the generator's version.
    Raises `DatasetError` or `ConfigError` at once for a source that is missing or empty.
    """
    if config.source == "synthetic":
        return {"source": "synthetic", "generator_version": GENERATOR_VERSION}
    if config.source == "folder":
        return {"source": "folder", **_folder_fingerprint(config, _configured_folder(config))}
    local = caltech101.local_source(config)
    if local is None:
        return {"source": "caltech101", "mirrors": [mirror.model_dump() for mirror in config.mirrors]}
    if local.is_dir():
        return {"source": "caltech101", **_folder_fingerprint(config, local.resolve())}
    return {"source": "caltech101", "sha256": sha256_of_file(local), "bytes": local.stat().st_size}


def check_source(config: DatasetConfig) -> None:
    """Raise `DatasetError` or `ConfigError`, naming the setting that helps, if no dataset can be made of the source.

    A folder is judged by the names in it, so this takes no longer than listing it.
    """
    if config.source == "folder":
        folder = _configured_folder(config)
        check_labels(folder, list_files(folder, follow_links=config.follow_links), config)
    else:
        source_fingerprint(config)


def _obtain_images(config: DatasetConfig, images: Path, downloads: Path) -> Path:
    """The folder of label folders: `images`, now filled, or a folder of the user's."""
    match config.source:
        case "synthetic":
            from lookalike.dataset.synthetic.generate import write_synthetic_images

            write_synthetic_images(images, config.synthetic_labels, config.synthetic_images_per_label, config.seed)
            return images
        case "folder":
            return _configured_folder(config)
        case "caltech101":
            return caltech101.caltech101_root(config, images, downloads)


def _configured_folder(config: DatasetConfig) -> Path:
    if config.folder is None:
        raise ConfigError("dataset.folder must name the folder of images when dataset.source is `folder`")
    return config.folder.expanduser().resolve()


def _folder_fingerprint(config: DatasetConfig, folder: Path) -> dict[str, Any]:
    files = list_files(folder, follow_links=config.follow_links)
    if not files:
        raise DatasetError(f"{folder} is empty; expected a folder of images")
    return {"folder": str(folder), "n_files": len(files), "listing_sha256": listing_digest(files)}


def _without_excluded(files: Sequence[FoundFile], exclude_labels: Sequence[str]) -> list[FoundFile]:
    labels = {file.label for file in files}
    for label in exclude_labels:
        if label not in labels:
            close = difflib.get_close_matches(label, labels, n=3) or sorted(labels)[:10]
            raise ConfigError(f"dataset.exclude_labels: there is no label {label!r}; near are {', '.join(close)}")
    excluded = set(exclude_labels)
    return [file for file in files if file.label not in excluded]


def _no_images(root: Path, n_files: int, n_excluded: int, rejects: Sequence[Reject]) -> str:
    first = f"; the first is {rejects[0].path}: {rejects[0].error}" if rejects else ""
    return f"{root} holds no readable image ({n_files} files, {n_excluded} of them excluded{first})"


def _origin(config: DatasetConfig) -> str:
    match config.source:
        case "synthetic":
            return f"synthetic images, generator version {GENERATOR_VERSION}, seed {config.seed}"
        case "folder":
            return "a folder of images"
        case "caltech101":
            return caltech101.LICENCE


def _log(summary: DatasetSummary, rejects: Sequence[Reject]) -> None:
    logger.info(
        "%d images %s (%d to train, %d held out), %d files rejected, %d excluded",
        summary.n_images,
        f"of {summary.n_labels} labels" if summary.n_labels else "without labels",
        summary.n_train,
        summary.n_valid,
        summary.n_rejects,
        summary.n_excluded,
    )
    for reject in rejects[:5]:
        logger.warning("rejected %s: %s", reject.path, reject.error)
