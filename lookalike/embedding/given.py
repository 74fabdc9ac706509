"""Vectors that were computed elsewhere become the shards of stored embeddings, without a network."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lookalike.dataset.storage import Dataset, VectorSource
from lookalike.dataset.vector_files import ContentDigest, read_blocks
from lookalike.embedding.shards import Shard, write_shard
from lookalike.embedding.table import NO_LAYER, SHARDS_FOLDER, shard_notes, write_metadata
from lookalike.errors import EmbeddingError
from lookalike.files import digest_of
from lookalike.progress import progress_bar


def store_given_vectors(dataset: Dataset, source: VectorSource, shards: list[Shard], folder: Path) -> None:
    """Write the vectors of the catalog's rows into shards and `embedding.json` below `folder`.

    Raises EmbeddingError if they are no longer those that were cataloged, DatasetError as `read_blocks` does.
    """
    vectors = _vectors_of(dataset, source)
    fingerprint = digest_of({"vectors": source.digest})
    notes = shard_notes(fingerprint)
    waiting = np.empty((0, source.dim), np.float32)
    with progress_bar("reading", dataset.catalog.num_rows, unit="vector") as bar:
        for shard in shards:
            count = shard.stop - shard.start
            while len(waiting) < count:
                waiting = np.concatenate([waiting, next(vectors)])
            rows = dataset.catalog.slice(shard.start, count)
            write_shard(folder / SHARDS_FOLDER / shard.name, rows, waiting[:count], notes)
            waiting = waiting[count:]
            bar.update(count)
    for _ in vectors:  # Rows after the last one of the catalog, and the check of all of them.
        pass
    write_metadata(
        folder,
        fingerprint=fingerprint,
        layer=NO_LAYER,
        precision="fp32",
        dim=source.dim,
        preprocessing={},
        shards={shard.name: shard.stop - shard.start for shard in shards},
        rejects=0,
    )


def _vectors_of(dataset: Dataset, source: VectorSource) -> Iterator[NDArray[np.float32]]:
    """Yield the vectors of the catalog's rows, in order; EmbeddingError if the files have changed."""
    wanted = set(dataset.catalog["image_id"].to_pylist())
    digest = ContentDigest()
    changed = EmbeddingError(f"{source.path} has changed since its rows were cataloged; build again")
    for block in read_blocks(Path(source.path)):
        digest.add(block)
        kept = [name in wanted for name in block.texts["id"].to_pylist()]
        if block.vectors.shape[1] != source.dim:
            raise changed
        yield block.vectors[np.array(kept)]
    if digest.hexdigest() != source.digest:
        raise changed
