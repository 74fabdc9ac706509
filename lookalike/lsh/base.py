"""The answer to a query, and the types of arrays."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Metric = Literal["cosine", "euclidean", "inner_product"]
METRICS: tuple[Metric, ...] = ("cosine", "euclidean", "inner_product")

Float32Array = NDArray[np.float32]
Float64Array = NDArray[np.float64]
Int64Array = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Neighbors:
    """The answer to one query: nearest first, equal distances by id.

    `ids` is int64 (m,), `distances` float32 (m,); `candidates` counts the vectors whose distance
    to the query was computed. `confidence` is the chance that these are the nearest, for queries that ask for it.
    Cosine distance is 1 - cosine similarity of the centred vectors,
    Euclidean distance is not squared, and the distance for inner product is its negative, of the vectors as they are.
    """

    ids: Int64Array
    distances: Float32Array
    candidates: int
    confidence: float | None = None

    def __len__(self) -> int:
        return len(self.ids)


def no_neighbors(candidates: int = 0) -> Neighbors:
    """An empty answer."""
    return Neighbors(np.empty(0, np.int64), np.empty(0, np.float32), candidates)


def nearest_first(ids: Int64Array, distances: Float32Array, k: int, candidates: int) -> Neighbors:
    """The k smallest distances, equal ones by id; the inputs are of equal length and in any order."""
    order = np.lexsort((ids, distances))[:k]
    return Neighbors(ids[order], distances[order], candidates)
