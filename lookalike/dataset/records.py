"""The rows of a catalog and of its rejects."""

from dataclasses import dataclass

# The stage that rejects files of the catalog.
STAGE = "download_dataset"
# Label of every image of a collection without labels.
NO_LABEL = ""


@dataclass(frozen=True)
class Row:
    """One usable image. `path` is relative to the dataset's root, `image_id` the sha256 of its bytes."""

    image_id: str
    path: str
    label: str
    width: int
    height: int
    n_bytes: int


@dataclass(frozen=True)
class Reject:
    """One file that is not used, and why. `is_stray` says that it is no image by its name."""

    path: str
    error: str
    is_stray: bool
