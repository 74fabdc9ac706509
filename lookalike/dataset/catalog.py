"""From files to rows: every file is read, hashed and decoded once, and becomes a row or a reject."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from lookalike.dataset.listing import FoundFile
from lookalike.errors import ImageError
from lookalike.files import sha256_of_bytes
from lookalike.image_formats import HEAD_BYTES, IMAGE_SUFFIXES, image_format
from lookalike.images import read_image_file, verify_image
from lookalike.progress import track
from lookalike.threads import ordered_map

STAGE = "download_dataset"


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
    """One file that is not used, and why. `is_stray` says that it never was an image."""

    path: str
    error: str
    is_stray: bool


def inspect_files(root: Path, files: Sequence[FoundFile]) -> tuple[list[Row], list[Reject]]:
    """Return one row or one reject for each of `files`, both in the order of `files`.

    Every image is decoded to its end, so that a truncated one is found here and not hours later.
    """
    rows: list[Row] = []
    rejects: list[Reject] = []
    results = ordered_map(partial(_inspect, root), files)
    for result in track(results, "reading images", len(files)):
        if isinstance(result, Row):
            rows.append(result)
        else:
            rejects.append(result)
    if len(rows) + len(rejects) != len(files):
        raise AssertionError(f"{len(files)} files gave {len(rows)} rows and {len(rejects)} rejects")
    return rows, rejects


def _inspect(root: Path, file: FoundFile) -> Row | Reject:
    if file.problem is not None:
        return Reject(file.printable_path, file.problem, is_stray=True)
    if PurePosixPath(file.path).suffix.lower() not in IMAGE_SUFFIXES:
        # A collection's own left-overs (such as BACKGROUND_Google/tmp of Caltech-101) may well decode.
        return Reject(file.path, "no image by its name: it lacks a suffix such as .jpg or .png", is_stray=True)
    data = None
    try:
        data = read_image_file(root / file.path)
        width, height = verify_image(data)
    except ImageError as error:
        is_stray = data is not None and image_format(data[:HEAD_BYTES]) is None
        return Reject(file.path, str(error), is_stray)
    return Row(sha256_of_bytes(data), file.path, file.label, width, height, len(data))
