"""The data that all measurements read, and how queries are drawn from it."""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lookalike.config.sections import EvaluationConfig
from lookalike.embedding.table import EmbeddingTable
from lookalike.lsh.space import VectorSpace


@dataclass(frozen=True)
class EvaluationSet:
    """All rows (vectors, image_ids, labels, paths, split), the held-out rows that are queries, and their space."""

    vectors: NDArray[np.float32]
    image_ids: NDArray[np.str_]
    labels: NDArray[np.str_]
    paths: NDArray[np.str_]
    is_train: NDArray[np.bool_]
    query_rows: NDArray[np.int64]
    space: VectorSpace


def gather(config: EvaluationConfig, embeddings: EmbeddingTable, space: VectorSpace) -> EvaluationSet:
    """Return the rows of stored embeddings, with a seeded sample of the held-out ones as queries, in order."""
    names = ("image_id", "label", "path", "split")
    columns = {name: np.array(embeddings.table[name].to_pylist(), dtype=np.str_) for name in names}
    held_out = np.flatnonzero(columns["split"] == "valid")
    return EvaluationSet(
        vectors=embeddings.vectors,
        image_ids=columns["image_id"],
        labels=columns["label"],
        paths=columns["path"],
        is_train=columns["split"] == "train",
        query_rows=draw_rows(held_out, columns["image_id"], config.max_queries, config.seed),
        space=space,
    )


def draw_rows(rows: NDArray[np.int64], image_ids: NDArray[np.str_], count: int, seed: int) -> NDArray[np.int64]:
    """Return `count` of `rows`, or all, in ascending order; `image_ids` are those of the whole collection.

    The rows with the lowest numbers of `number_of` are drawn. A collection that gained or lost a few images therefore
    keeps nearly the same sample, and figures of two builds can be compared.
    """
    numbers = np.array([number_of(image_id, seed) for image_id in image_ids[rows]], np.uint64)
    return np.sort(rows[np.argsort(numbers, kind="stable")[:count]]).astype(np.int64)


def number_of(image_id: str, seed: int) -> int:
    """Return a random number from 0 to 2^64 - 1 that depends on the seed and the image alone."""
    # Other numbers than those of the split, which would prefer the images of large labels.
    return int.from_bytes(hashlib.sha256(f"evaluation:{seed}:{image_id}".encode()).digest()[:8])
