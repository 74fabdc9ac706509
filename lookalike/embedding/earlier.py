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


class EarlierEmbeddings:
    """Where the vector of each image_id stands in earlier shards; the vectors stay on the disk until asked for."""

    def __init__(self) -> None:
        self._places: dict[str, tuple[Path, int]] = {}

    def __len__(self) -> int:
        return len(self._places)

    def add_folder(self, folder: Path, fingerprint: str, precision: str) -> None:
        """Take in a folder of embeddings, if the same model made them in the same precision.

        A folder that is damaged, or was made by another model, adds nothing.
        """
        try:
            metadata = load_metadata(folder)
            if metadata["fingerprint"] != fingerprint or metadata["precision"] != precision:
                return
            for path in shard_paths(folder, metadata):
                self._add_shard(path)
        except EmbeddingError as error:
            logger.warning("embeddings of an earlier run are not reused: %s", error)

    def find(self, image_ids: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """The vectors (dim,) float32 of those images that are known; reads each shard once."""
        wanted: dict[Path, dict[str, int]] = defaultdict(dict)
        for image_id in image_ids:
            if image_id in self._places:
                path, row = self._places[image_id]
                wanted[path][image_id] = row
        found: dict[str, NDArray[np.float32]] = {}
        for path, rows in wanted.items():
            vectors = vectors_of(read_shard(path, ["embedding"])["embedding"].combine_chunks())
            found |= {image_id: vectors[row].copy() for image_id, row in rows.items()}
        return found

    def _add_shard(self, path: Path) -> None:
        for row, image_id in enumerate(read_shard(path, ["image_id"])["image_id"].to_pylist()):
            self._places.setdefault(image_id, (path, row))


def find_earlier(folders: Sequence[Path], fingerprint: str, precision: str) -> EarlierEmbeddings:
    """All reusable vectors of some folders; those that are no finished embeddings are passed over."""
    earlier = EarlierEmbeddings()
    for folder in folders:
        if (folder / DESCRIPTION_NAME).is_file():
            earlier.add_folder(folder, fingerprint, precision)
    return earlier
