"""The split into training and held-out images: stratified by label, seeded, and independent of the order of files."""

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

from lookalike.dataset.records import Row

HELD_OUT_FOLDERS = frozenset({"val", "valid", "validation", "dev", "test", "testing", "eval"})


def held_out_ids(rows: Sequence[Row], valid_fraction: float, seed: int) -> set[str]:
    """Return the image_ids that are held out; all other images train.

    Of each label, the share `valid_fraction` of its distinct images (at least one, if it has two) is
    held out: those that come first in an order given by a hash of seed and image_id. So the order of
    files does not matter, an added image moves at most one other image of its label, and files of
    the same bytes are always on the same side. Images filed under several labels train, since
    neither label could be called right.
    """
    ids_of_label: dict[str, set[str]] = defaultdict(set)
    labels_of_id: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        ids_of_label[row.label].add(row.image_id)
        labels_of_id[row.image_id].add(row.label)
    held_out: set[str] = set()
    for ids in ids_of_label.values():
        unambiguous = (image_id for image_id in ids if len(labels_of_id[image_id]) == 1)
        held_out.update(_in_seeded_order(unambiguous, seed)[: _n_held_out(len(ids), valid_fraction)])
    return held_out


def held_out_by_folder(rows: Sequence[Row]) -> set[str]:
    """Return the image_ids of the images that lie in held-out folders only; copies of training images train."""
    held_out = {row.image_id for row in rows if is_held_out(row.path)}
    return held_out - {row.image_id for row in rows if not is_held_out(row.path)}


def is_held_out(path: str) -> bool:
    """Return whether the outermost folder of a path is named as one of held-out images, in any case."""
    return path.partition("/")[0].lower() in HELD_OUT_FOLDERS


def _n_held_out(n_images: int, valid_fraction: float) -> int:
    """Images of one label to hold out: the share, rounded; at least 1 and never all, if there are 2 or more."""
    if n_images < 2:
        return 0
    return min(n_images - 1, max(1, math.floor(valid_fraction * n_images + 0.5)))


def _in_seeded_order(image_ids: Iterable[str], seed: int) -> list[str]:
    return sorted(image_ids, key=lambda image_id: hashlib.sha256(f"{seed}:{image_id}".encode()).digest())
