"""The stage itself: get the images of a source, catalog them, split them, write the result."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from lookalike.config.sections import DatasetConfig
from lookalike.dataset import caltech101
from lookalike.dataset.catalog import inspect_files
from lookalike.dataset.label_folders import labelled
from lookalike.dataset.labels import check_excluded_labels
from lookalike.dataset.listing import FoundFile, Listing, list_source
from lookalike.dataset.records import Reject
from lookalike.dataset.source import configured_folder, described
from lookalike.dataset.split import held_out_by_folder, held_out_ids
from lookalike.dataset.storage import IMAGES_FOLDER, DatasetSummary, VectorSource, write_dataset, write_rejects
from lookalike.dataset.synthetic import GENERATOR_VERSION
from lookalike.dataset.vector_catalog import GivenVectors, configured_vectors, read_vectors, select_rows
from lookalike.errors import DatasetError

logger = logging.getLogger(__name__)

_CAUSES_NAMED = 3
_REJECTS_LOGGED = 5


def download_dataset(
    config: DatasetConfig,
    folder: Path,
    downloads: Path,
    artifacts: Path | None = None,
    *,
    listing: Listing | None = None,
    given: GivenVectors | None = None,
) -> DatasetSummary:
    """Fill the empty `folder` with the dataset that `config` names, and return its counts.

    Writes catalog.parquet (one row per image, sorted by path, or per vector), rejects.parquet (path, stage, error),
    dataset.json and, unless the images are used where they lie, images/<label>/<file>. `downloads`
    keeps finished downloads for later runs; `artifacts` is the artifact root, which is left out
    if it lies among the images. `listing` is that of a local folder, `given` what files of vectors hold, if they were
    read before. Every file of the source is in the catalog, in the rejects, under an excluded label, or left out by its
    name (see `dataset/listing.py`).

    Raises `DatasetError`, `DownloadError` or `ConfigError` if no images can be had.
    """
    try:
        if config.source == "vectors":
            return _catalog_vectors(config, given or read_vectors(config), folder)
        root = _obtain_images(config, folder / IMAGES_FOLDER, downloads)
        return _catalog(config, root, listing or list_source(root, config, artifacts), folder)
    except OSError as error:
        raise DatasetError(f"cannot write the dataset to {folder}: {error.strerror or error}") from error


def _catalog_vectors(config: DatasetConfig, given: GivenVectors, folder: Path) -> DatasetSummary:
    path = configured_vectors(config)
    rows, held_out = select_rows(given, config)
    # Paths of images that a file names are relative to its folder.
    root = path if path.is_dir() else path.parent
    source = VectorSource(str(path), given.dim, given.digest)
    summary = write_dataset(folder, str(root), _origin(config), rows, (), held_out, len(given.rows), 0, source)
    _log(summary, {}, ())
    return summary


def _catalog(config: DatasetConfig, root: Path, listing: Listing, folder: Path) -> DatasetSummary:
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
    _log(summary, listing.left_out, rejects)
    return summary


def _obtain_images(config: DatasetConfig, images: Path, downloads: Path) -> Path:
    """The folder of label folders: `images`, now filled, or a folder of the user's."""
    match config.source:
        case "synthetic":
            from lookalike.dataset.synthetic.generate import write_synthetic_images

            write_synthetic_images(images, config.synthetic_labels, config.synthetic_images_per_label, config.seed)
            return images
        case "folder":
            return configured_folder(config)
        case _:
            return caltech101.caltech101_root(config, images, downloads)


def _without_excluded(files: Sequence[FoundFile], exclude_labels: Sequence[str]) -> list[FoundFile]:
    check_excluded_labels(exclude_labels, {file.label for file in files})
    excluded = set(exclude_labels)
    return [file for file in files if file.label not in excluded]


def _no_images(root: Path, listing: Listing, n_excluded: int, rejects: Sequence[Reject]) -> str:
    first = f"; the first is {rejects[0].path}: {rejects[0].error}" if rejects else ""
    left_out = f"; {described(listing.left_out)} left out" if listing.left_out else ""
    return (
        f"{root} holds no readable image ({len(listing.files)} files, {n_excluded} of them excluded{first}{left_out})"
    )


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
        case "vectors":
            return "vectors that were computed elsewhere"
        case "caltech101":
            return caltech101.LICENCE


def _log(summary: DatasetSummary, left_out: Mapping[str, int], rejects: Sequence[Reject]) -> None:
    logger.info(
        "%d images %s (%d to train, %d held out), %d files rejected, %d excluded",
        summary.n_images,
        f"of {summary.n_labels} labels" if summary.n_labels else "without labels",
        summary.n_train,
        summary.n_valid,
        summary.n_rejects,
        summary.n_excluded,
    )
    if left_out:
        logger.info("left out: %s", described(left_out))
    # Unreadable images first: they are what somebody wants to repair.
    for reject in sorted(rejects, key=lambda reject: reject.is_stray)[:_REJECTS_LOGGED]:
        logger.warning("rejected %s: %s", reject.path, reject.error)
