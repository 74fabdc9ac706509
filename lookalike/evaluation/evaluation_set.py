"""What all measurements read, gathered once."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lookalike.config.sections import EvaluationConfig
from lookalike.embedding.table import EmbeddingTable
from lookalike.lsh.space import VectorSpace


@dataclass(frozen=True)
class EvaluationSet:
    """All rows (vectors, image_ids, labels, paths, split), the held-out ones that ask, and the space of comparison."""

    vectors: NDArray[np.float32]
    image_ids: NDArray[np.str_]
    labels: NDArray[np.str_]
    paths: NDArray[np.str_]
    is_train: NDArray[np.bool_]
    query_rows: NDArray[np.int64]
    space: VectorSpace


def gather(config: EvaluationConfig, embeddings: EmbeddingTable, space: VectorSpace) -> EvaluationSet:
    """Return the material of stored embeddings, with a seeded sample of the held-out rows as queries, in order."""
    names = ("image_id", "label", "path", "split")
    columns = {name: np.array(embeddings.table[name].to_pylist(), dtype=np.str_) for name in names}
    held_out = np.flatnonzero(columns["split"] == "valid")
    chosen = np.random.default_rng(config.seed).permutation(held_out)[: config.max_queries]
    return EvaluationSet(
        vectors=embeddings.vectors,
        image_ids=columns["image_id"],
        labels=columns["label"],
        paths=columns["path"],
        is_train=columns["split"] == "train",
        query_rows=np.sort(chosen).astype(np.int64),
        space=space,
    )
