"""What can be checked before a build starts, so that a typo costs a second and not an hour."""

import os
from pathlib import Path

from lookalike.config import LookalikeConfig
from lookalike.errors import ArtifactError


def check_before_start(config: LookalikeConfig) -> None:
    """Check everything that needs no work: source of images, backbone, weights, artifact root.

    Raises ConfigError or DatasetError for a source that is missing or empty, ConfigError for a
    backbone or weights that do not exist, ArtifactError for a root that cannot be written.
    """
    from lookalike.dataset import source_fingerprint
    from lookalike.training import check_backbone

    check_backbone(config.training)
    source_fingerprint(config.dataset)
    check_root(config.artifacts.root)


def check_root(root: Path) -> None:
    """Make the artifact root; raises ArtifactError if it cannot be made or written."""
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArtifactError(f"cannot make the artifact root {root}: {error.strerror or error}") from error
    if not os.access(root, os.W_OK | os.X_OK):
        raise ArtifactError(f"the artifact root {root} cannot be written; choose another with artifacts.root")
