"""The rows of a catalog and of its rejects."""

from dataclasses import dataclass

# Label of every image of a collection without labels.
NO_LABEL = ""


@dataclass(frozen=True)
class Row:
    """One usable image. `path` is relative to the dataset's root, `image_id` the sha256 of its bytes.

    Of a vector that was computed elsewhere, `image_id` is the given id, `path` the given path, or the id if there is
    none, and `n_bytes` the size of the vector; width and height are 0.
    """

    image_id: str
    path: str
    label: str
    width: int
    height: int
    n_bytes: int


@dataclass(frozen=True)
class Reject:
    """A file that is not used, and why; `is_stray` if its name is not that of an image."""

    path: str
    error: str
    is_stray: bool = False
