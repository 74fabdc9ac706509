"""Cataloging: every file is read, hashed and decoded once, and becomes a row or a reject."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path, PurePosixPath

from lookalike.dataset.listing import FoundFile
from lookalike.dataset.records import Reject, Row
from lookalike.errors import ImageError
from lookalike.files import sha256_of_bytes
from lookalike.images.formats import IMAGE_SUFFIXES, is_named_as_image
from lookalike.images.reading import read_image_file, verify_image
from lookalike.progress import track
from lookalike.threads import ordered_map


def inspect_files(root: Path, files: Sequence[FoundFile], max_pixels: int) -> tuple[list[Row], list[Reject]]:
    """Return one row or one reject for each of `files`, both in the order of `files`.

    Every image is decoded to its end, so that a truncated one is found here and not hours later. One
    of more than `max_pixels` is a reject.
    """
    rows: list[Row] = []
    rejects: list[Reject] = []
    results = ordered_map(partial(_inspect, root, max_pixels), files)
    for result in track(results, "reading images", len(files)):
        if isinstance(result, Row):
            rows.append(result)
        else:
            rejects.append(result)
    if len(rows) + len(rejects) != len(files):
        raise AssertionError(f"{len(files)} files gave {len(rows)} rows and {len(rejects)} rejects")
    return rows, rejects


def _inspect(root: Path, max_pixels: int, file: FoundFile) -> Row | Reject:
    is_stray = not is_named_as_image(file.path)
    if file.problem is not None:
        return Reject(file.printable_path, file.problem, is_stray)
    if PurePosixPath(file.path).suffix.lower() not in IMAGE_SUFFIXES:
        # A collection's own left-overs (such as BACKGROUND_Google/tmp of Caltech-101) may well decode.
        return Reject(file.path, "no image by its name: it lacks a suffix such as .jpg or .png", is_stray)
    try:
        data = read_image_file(root / file.path)
        width, height = verify_image(data, max_pixels=max_pixels)
    except ImageError as error:
        return Reject(file.path, str(error), is_stray)
    return Row(sha256_of_bytes(data), file.path, file.label, width, height, len(data))
