"""The stage itself: get the images of a source, catalog them, split them, write the result."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lookalike.config.sections import DatasetConfig
from lookalike.dataset import caltech101
from lookalike.dataset.archive import require_archive
from lookalike.dataset.catalog import inspect_files
from lookalike.dataset.label_folders import check_labels, labelled
from lookalike.dataset.labels import check_excluded_labels
from lookalike.dataset.listing import FoundFile, Listing, list_source
from lookalike.dataset.records import Reject
from lookalike.dataset.split import held_out_by_folder, held_out_ids
from lookalike.dataset.storage import IMAGES_FOLDER, DatasetSummary, write_dataset, write_rejects
from lookalike.dataset.synthetic import GENERATOR_VERSION
from lookalike.errors import ConfigError, DatasetError
from lookalike.files import sha256_of_file

logger = logging.getLogger(__name__)

_CAUSES_NAMED = 3
_REJECTS_LOGGED = 5


def download_dataset(
    config: DatasetConfig, folder: Path, downloads: Path, artifacts: Path | None = None
) -> DatasetSummary:
    """Fill the empty `folder` with the dataset that `config` names, and return its counts.

    Writes catalog.parquet (one row per image, sorted by path), rejects.parquet (path, stage, error),
    dataset.json and, unless the images are used where they lie, images/<label>/<file>. `downloads`
    keeps finished downloads for later runs; `artifacts` is the artifact root, which is left out
    if it lies among the images. Every file of the source is in the catalog, in the rejects, under an excluded
    label, or left out by its name (see `listing`).

    Raises `DatasetError`, `DownloadError` or `ConfigError` if no images can be had.
    """
    try:
        return _download_dataset(config, folder, downloads, artifacts)
    except OSError as error:
        raise DatasetError(f"cannot write the dataset to {folder}: {error.strerror or error}") from error


def _download_dataset(config: DatasetConfig, folder: Path, downloads: Path, artifacts: Path | None) -> DatasetSummary:
    root = _obtain_images(config, folder / IMAGES_FOLDER, downloads)
    listing = list_source(root, config, artifacts)
    kept = _without_excluded(labelled(listing.files, config), config.exclude_labels)
    rows, rejects = inspect_files(root, kept, config.max_pixels)
    if not rows:
        raise DatasetError(_no_images(root, listing, len(listing.files) - len(kept), rejects))
    _check_failures(config.max_failure_fraction, len(rows), rejects, folder)
    by_folder = config.split == "folders"
    held_out = held_out_by_folder(rows) if by_folder else held_out_ids(rows, config.valid_fraction, config.seed)
    if config.labels == "none" and not held_out:
        raise DatasetError(
            f"{root} holds {len(rows):,} readable images that are all the same; two different are needed"
        )
    is_inside = root == folder / IMAGES_FOLDER
    stored_root = IMAGES_FOLDER if is_inside else str(root)
    n_files, n_left_out = len(listing.files), sum(listing.left_out.values())
    summary = write_dataset(folder, stored_root, _origin(config), rows, rejects, held_out, n_files, n_left_out)
    _log(summary, listing, rejects)
    return summary


def source_fingerprint(config: DatasetConfig, artifacts: Path | None = None) -> dict[str, Any]:
    """Return what identifies the source's content outside of the configuration, as plain JSON values.

    A folder: a digest of path, size and modification time of every file that is not left out; `artifacts` is the
    artifact root, see `download_dataset`. A local archive: its sha256 and size. A download: the mirrors with their
    checksums. Synthetic images: the generator's version.
    Raises `DatasetError` or `ConfigError` at once for a source that is missing or empty.
    """
    if config.source == "synthetic":
        return {"source": "synthetic", "generator_version": GENERATOR_VERSION}
    if config.source == "folder":
        return {"source": "folder", **_folder_fingerprint(config, _configured_folder(config), artifacts)}
    local = caltech101.local_source(config)
    if local is None:
        return {"source": "caltech101", "mirrors": [mirror.model_dump() for mirror in config.mirrors]}
    if local.is_dir():
        return {"source": "caltech101", **_folder_fingerprint(config, local.resolve(), artifacts)}
    require_archive(local)
    return {"source": "caltech101", "sha256": sha256_of_file(local), "bytes": local.stat().st_size}


def check_folder(config: DatasetConfig, artifacts: Path | None = None) -> None:
    """Raise `DatasetError` or `ConfigError`, naming the setting that helps, if a folder gives no dataset.

    It is judged by the names in it, so this takes no longer than listing it. Other sources pass.
    """
    if config.source == "folder":
        folder = _configured_folder(config)
        listing = list_source(folder, config, artifacts)
        check_labels(folder, listing.files, config)


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
    if not config.folder.is_dir():
        cause = "is not a folder" if config.folder.exists() else "does not exist"
        raise ConfigError(f"dataset.folder: {config.folder} {cause}; expected a folder of images")
    return config.folder.resolve()


def _folder_fingerprint(config: DatasetConfig, folder: Path, artifacts: Path | None) -> dict[str, Any]:
    listing = list_source(folder, config, artifacts)
    if not listing.files:
        left_out = f" but for {_described(listing.left_out)}, which are left out" if listing.left_out else ""
        raise DatasetError(f"{folder} is empty{left_out}; expected a folder of images")
    return {"folder": str(folder), "n_files": len(listing.files), "listing_sha256": listing.digest()}


def _without_excluded(files: Sequence[FoundFile], exclude_labels: Sequence[str]) -> list[FoundFile]:
    check_excluded_labels(exclude_labels, {file.label for file in files})
    excluded = set(exclude_labels)
    return [file for file in files if file.label not in excluded]


def _no_images(root: Path, listing: Listing, n_excluded: int, rejects: Sequence[Reject]) -> str:
    first = f"; the first is {rejects[0].path}: {rejects[0].error}" if rejects else ""
    left_out = f"; {_described(listing.left_out)} left out" if listing.left_out else ""
    return (
        f"{root} holds no readable image ({len(listing.files)} files, {n_excluded} of them excluded{first}{left_out})"
    )


def _described(left_out: Mapping[str, int]) -> str:
    """Such as `2 hidden or system entries, 1 artifact root`."""
    return ", ".join(f"{count} {reason}" for reason, count in sorted(left_out.items()))


def _check_failures(max_fraction: float, n_rows: int, rejects: Sequence[Reject], folder: Path) -> None:
    """DatasetError, and the rejects in a file, if a larger share of the images than `max_fraction` is unreadable."""
    unreadable = [reject for reject in rejects if not reject.is_stray]
    total = n_rows + len(unreadable)
    if len(unreadable) <= max_fraction * total:
        return
    rejects_file = write_rejects(folder, "download_dataset", rejects)
    raise DatasetError(
        f"{len(unreadable)} of {total} images could not be read, more than dataset.max_failure_fraction = "
        f"{max_fraction:g} allows: {_causes(unreadable)}; all are listed in {rejects_file}"
    )


def _causes(rejects: Sequence[Reject]) -> str:
    """The most frequent causes, each with its first file and the number of others."""
    counts = Counter(reject.error for reject in rejects)
    first = {reject.error: reject.path for reject in reversed(rejects)}
    return "; ".join(
        f"{first[error]}: {error}" + (f" (and {count - 1} more)" if count > 1 else "")
        for error, count in counts.most_common(_CAUSES_NAMED)
    )


def _origin(config: DatasetConfig) -> str:
    match config.source:
        case "synthetic":
            return f"synthetic images, generator version {GENERATOR_VERSION}, seed {config.seed}"
        case "folder":
            return "a folder of images"
        case "caltech101":
            return caltech101.LICENCE


def _log(summary: DatasetSummary, listing: Listing, rejects: Sequence[Reject]) -> None:
    logger.info(
        "%d images %s (%d to train, %d held out), %d files rejected, %d excluded",
        summary.n_images,
        f"of {summary.n_labels} labels" if summary.n_labels else "without labels",
        summary.n_train,
        summary.n_valid,
        summary.n_rejects,
        summary.n_excluded,
    )
    if listing.left_out:
        logger.info("left out: %s", _described(listing.left_out))
    # Unreadable images first: they are what somebody wants to repair.
    for reject in sorted(rejects, key=lambda reject: reject.is_stray)[:_REJECTS_LOGGED]:
        logger.warning("rejected %s: %s", reject.path, reject.error)
