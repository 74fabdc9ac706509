"""What can be checked before a build starts, so that a typo costs a second and not an hour."""

import os
from pathlib import Path

from lookalike.config import LookalikeConfig
from lookalike.errors import ArtifactError, ConfigError


def check_before_start(config: LookalikeConfig) -> None:
    """Check everything that needs no work: source of images, backbone, weights, artifact root.

    Raises ConfigError or DatasetError for a source that is missing, empty or without usable labels, ConfigError for a
    backbone or weights that do not exist, ArtifactError for a root that cannot be written.
    """
    from lookalike.dataset import check_source
    from lookalike.training import check_backbone

    check_backbone(config.training)
    check_source(config.dataset)
    _check_folder_is_no_artifact(config)
    check_root(config.artifacts.root)


def check_root(root: Path) -> None:
    """Make the artifact root; raises ArtifactError if it cannot be made or written."""
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArtifactError(f"cannot make the artifact root {root}: {error.strerror or error}") from error
    if not os.access(root, os.W_OK | os.X_OK):
        raise ArtifactError(f"the artifact root {root} cannot be written; choose another with artifacts.root")


def _check_folder_is_no_artifact(config: LookalikeConfig) -> None:
    folder, root = config.dataset.folder, config.artifacts.root.resolve()
    if folder is not None and folder.expanduser().resolve().is_relative_to(root):
        raise ConfigError(
            f"the folder of images, {folder}, lies in the artifact root, {root}, which is cleared away in time; "
            "choose another root (--root, or artifacts.root)"
        )
