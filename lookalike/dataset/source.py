"""The source that a configuration names, as it is found before a build: its identity, its labels, its problems."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from lookalike.config.sections import DatasetConfig
from lookalike.dataset import caltech101
from lookalike.dataset.archive import archived_paths, require_archive, without_outer_folders
from lookalike.dataset.label_folders import check_labels, label_of
from lookalike.dataset.listing import Listing, list_source
from lookalike.dataset.records import NO_LABEL
from lookalike.dataset.synthetic import GENERATOR_VERSION
from lookalike.dataset.vector_catalog import GivenVectors, configured_vectors, files_digest, read_vectors, select_rows
from lookalike.errors import ConfigError, DatasetError
from lookalike.files import sha256_of_file


class Source:
    """Where the images come from; each property is computed once, when it is first read.

    `artifacts` is the artifact root, which is left out if it lies among the images. Every property raises DatasetError
    or ConfigError for a source that is missing, empty or cannot be read.
    """

    def __init__(self, config: DatasetConfig, artifacts: Path | None = None) -> None:
        self.config = config
        self.artifacts = artifacts

    @cached_property
    def path(self) -> Path | None:
        """The local folder or archive with the images; None for vectors and images that are generated or downloaded."""
        match self.config.source:
            case "synthetic" | "vectors":
                return None
            case "folder":
                return configured_folder(self.config)
            case "caltech101":
                local = caltech101.local_source(self.config)
                return without_outer_folders(local.resolve()) if local is not None and local.is_dir() else local

    @cached_property
    def listing(self) -> Listing | None:
        """What the local folder holds, at least one file; None for another source."""
        if self.path is None or not self.path.is_dir():
            return None
        listing = list_source(self.path, self.config, self.artifacts)
        if not listing.files:
            left_out = f" but for {described(listing.left_out)}, which are left out" if listing.left_out else ""
            raise DatasetError(f"{self.path} is empty{left_out}; expected a folder of images")
        return listing

    @cached_property
    def given(self) -> GivenVectors | None:
        """The vectors that were computed elsewhere, all read and checked; None for images."""
        return read_vectors(self.config) if self.config.source == "vectors" else None

    @cached_property
    def fingerprint(self) -> dict[str, Any]:
        """What identifies the content beside the configuration, as plain JSON values.

        A folder: a digest of path, size and modification time of each file that is not left out. A local archive: its
        sha256 and size. A download: the mirrors with their checksums. Synthetic images: the generator's version.
        Vectors: a digest of name, size and modification time of each file.
        """
        source = {"source": self.config.source}
        if self.listing is not None:
            n_files = len(self.listing.files)
            return {**source, "folder": str(self.path), "n_files": n_files, "listing_sha256": self.listing.digest()}
        if self.path is not None:
            require_archive(self.path)
            return {**source, "sha256": sha256_of_file(self.path), "bytes": self.path.stat().st_size}
        if self.config.source == "vectors":
            path = configured_vectors(self.config)
            return {**source, "vectors": str(path), "files_sha256": files_digest(path)}
        if self.config.source == "synthetic":
            return {**source, "generator_version": GENERATOR_VERSION}
        return {**source, "mirrors": [mirror.model_dump() for mirror in self.config.mirrors]}

    @cached_property
    def labels(self) -> set[str] | None:
        """All labels, excluded ones too, by the names of folders alone; None if the source must be downloaded first."""
        if self.config.source == "synthetic":
            from lookalike.dataset.synthetic.generate import synthetic_labels

            return set(synthetic_labels(self.config.synthetic_labels))
        if self.given is not None:
            return {row.label for row in self.given.rows} - {NO_LABEL}
        if self.path is None:
            return None
        paths = [file.path for file in self.listing.files] if self.listing else archived_paths(self.path)
        return {label_of(path, self.config) for path in paths}

    @property
    def n_images(self) -> int:
        """The number of images or vectors as far as it is known, at most; 0 if it is not."""
        if self.given is not None:
            return len(self.given.rows)
        if self.config.source == "synthetic":
            return self.config.synthetic_labels * self.config.synthetic_images_per_label
        return len(self.listing.files) if self.listing else 0

    def check(self) -> None:
        """Raise DatasetError, naming the setting that helps, if no dataset can be made of the source.

        A configured folder is judged by the names in it, an archive by its first bytes. Vectors are all read.
        """
        _ = self.fingerprint
        if self.given is not None:
            select_rows(self.given, self.config)
        if self.config.source == "folder" and self.path and self.listing:
            check_labels(self.path, self.listing.files, self.config)


def configured_folder(config: DatasetConfig) -> Path:
    """Return the folder that `dataset.folder` names, links resolved; ConfigError if it is none."""
    if config.folder is None:
        raise ConfigError("dataset.folder must name the folder of images when dataset.source is `folder`")
    if not config.folder.is_dir():
        cause = "is not a folder" if config.folder.exists() else "does not exist"
        raise ConfigError(f"dataset.folder: {config.folder} {cause}; expected a folder of images")
    return config.folder.resolve()


def described(left_out: Mapping[str, int]) -> str:
    """Return such as `2 hidden or system entries, 1 artifact root`."""
    return ", ".join(f"{count} {reason}" for reason, count in sorted(left_out.items()))
