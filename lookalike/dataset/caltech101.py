"""Where the images of Caltech-101 come from: a local archive or folder, or a download."""

import os
from pathlib import Path

from lookalike.config.sections import DatasetConfig
from lookalike.dataset.archive import DamagedArchiveError, extract_archive, require_archive, without_outer_folders
from lookalike.errors import ConfigError, DatasetError, DownloadError
from lookalike.fetch.download import download_from_mirrors
from lookalike.files import user_path

ENVIRONMENT_VARIABLE = "LOOKALIKE_CALTECH101"
LICENCE = "Caltech-101: Li, Andreeto, Ranzato and Perona (2022), CaltechDATA, licence CC BY 4.0"
_DOWNLOAD_NAME = "caltech101-archive"


def local_source(config: DatasetConfig) -> Path | None:
    """Return the archive or folder that the configuration or else the environment names, or None to download.

    Raises `ConfigError` if it is named but does not exist.
    """
    from_environment = os.environ.get(ENVIRONMENT_VARIABLE)
    name, path = "dataset.archive", config.archive
    if path is None and from_environment:
        name, path = f"${ENVIRONMENT_VARIABLE}", Path(from_environment)
    if path is None:
        return None
    path = user_path(path)
    if not path.exists():
        raise ConfigError(f"{name}: {path} does not exist; it must name the archive of Caltech-101 or its folder")
    return path


def caltech101_root(config: DatasetConfig, images: Path, downloads: Path) -> Path:
    """Return the folder of label folders: `images`, filled from an archive, or a local folder as it is.

    Raises `DatasetError` or `DownloadError` if the archive cannot be had or is not good.
    """
    local = local_source(config)
    if local is not None and local.is_dir():
        return without_outer_folders(local.resolve())
    if local is not None:
        extract_archive(local, images)
        return images
    archive = _downloaded(config, downloads)
    try:
        extract_archive(archive, images)
    except DamagedArchiveError:
        # Else every later run would trust the same bad file.
        archive.unlink(missing_ok=True)
        raise
    return images


def _downloaded(config: DatasetConfig, downloads: Path) -> Path:
    try:
        return download_from_mirrors(config.mirrors, downloads / _DOWNLOAD_NAME, _check_archive)
    except DownloadError as error:
        raise DownloadError(
            f"Caltech-101 could not be downloaded: {error}. If you have its archive, name it in "
            f"dataset.archive or ${ENVIRONMENT_VARIABLE}"
        ) from error


def _check_archive(path: Path) -> None:
    try:
        require_archive(path)
    except DatasetError as error:
        raise DownloadError(str(error)) from error
