"""Vectors that earlier runs computed with the same model, so that a changed collection embeds only what is new.

A vector depends on the image's bytes and the model alone, so it is found by `image_id` whatever the
file is called now and whichever shard it stood in.
"""

import logging
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lookalike.embedding.table import DESCRIPTION_NAME, load_metadata, read_shard, shard_paths, vectors_of
from lookalike.errors import EmbeddingError

logger = logging.getLogger(__name__)

# By image_id, the shard and the row of its vector.
Places = dict[str, tuple[Path, int]]


def find_earlier(folders: Sequence[Path], fingerprint: str, precision: str) -> Places:
    """Return where the vectors stand that the same model made in the same precision; the first of several places.

    Folders that hold no finished embeddings, damaged ones or those of another model add nothing.
    """
    places: Places = {}
    for folder in folders:
        if not (folder / DESCRIPTION_NAME).is_file():
            continue
        try:
            metadata = load_metadata(folder)
            if (metadata["fingerprint"], metadata["precision"]) != (fingerprint, precision):
                continue
            for path in shard_paths(folder, metadata):
                for row, image_id in enumerate(read_shard(path, ["image_id"])["image_id"].to_pylist()):
                    places.setdefault(image_id, (path, row))
        except EmbeddingError as error:
            logger.warning("embeddings of an earlier run are not reused: %s", error)
    return places


def read_vectors(places: Places, image_ids: Sequence[str]) -> dict[str, NDArray[np.float32]]:
    """Return the vectors (dim,) float32 of those images that have a place; each shard is read once."""
    wanted: dict[Path, dict[str, int]] = defaultdict(dict)
    for image_id in image_ids:
        if image_id in places:
            path, row = places[image_id]
            wanted[path][image_id] = row
    found: dict[str, NDArray[np.float32]] = {}
    for path, rows in wanted.items():
        vectors = vectors_of(read_shard(path, ["embedding"])["embedding"].combine_chunks())
        found |= {image_id: vectors[row].copy() for image_id, row in rows.items()}
    return found
