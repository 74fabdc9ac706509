"""What every index gives: the answer to a query, the interface of the engines, and the merging of answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

Metric = Literal["cosine", "euclidean"]
METRICS: tuple[Metric, ...] = ("cosine", "euclidean")

Float32Array = NDArray[np.float32]
Float64Array = NDArray[np.float64]
Int64Array = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Neighbors:
    """The answer to one query: nearest first, equal distances by id.

    `ids` is int64 (m,), `distances` float32 (m,); `candidates` counts the vectors whose distance
    to the query was computed. Cosine distance is 1 - cosine similarity of the centred vectors,
    Euclidean distance is not squared.
    """

    ids: Int64Array
    distances: Float32Array
    candidates: int

    def __len__(self) -> int:
        return len(self.ids)


@runtime_checkable
class VectorIndex(Protocol):
    """What the pipeline needs of a hashing engine; vectors are float32 (n, dim), ids int64 (n,).

    Each engine has the class methods `build(vectors, ids=None, **parameters)` and `load(folder, mmap=True)`.
    `query` gives min(k, len) distinct neighbors; `query_batch` gives what `query` gives for each row.
    `save` writes a folder of `.npy` files and one JSON file, which `load` reads. `stats` fits into JSON.
    """

    def query(self, vector: ArrayLike, k: int) -> Neighbors:
        """The k nearest to `vector` (dim,)."""

    def query_batch(self, vectors: ArrayLike, k: int) -> list[Neighbors]:
        """The k nearest to each row of `vectors` (n_queries, dim)."""

    def search_exact(self, vector: ArrayLike, k: int) -> Neighbors:
        """The k nearest to `vector` (dim,) of all vectors, every distance computed."""

    def save(self, folder: Path | str) -> None:
        """Write the index to `folder`."""

    def stats(self) -> dict[str, Any]:
        """Figures about the index, fit for JSON."""

    def __len__(self) -> int: ...

    @property
    def dim(self) -> int:
        """Length of the vectors."""

    @property
    def metric(self) -> Metric:
        """The distance that neighbors are ranked by."""

    @property
    def mean(self) -> Float32Array:
        """What is subtracted from every vector (dim,); zeros without centring."""


def no_neighbors(candidates: int = 0) -> Neighbors:
    """An empty answer."""
    return Neighbors(np.empty(0, np.int64), np.empty(0, np.float32), candidates)


def nearest_first(ids: Int64Array, distances: Float32Array, k: int, candidates: int) -> Neighbors:
    """The k smallest distances, equal ones by id; the inputs are of equal length and in any order."""
    order = np.lexsort((ids, distances))[:k]
    return Neighbors(ids[order], distances[order], candidates)


def merge_neighbors(answers: Sequence[Neighbors], k: int) -> Neighbors:
    """The k nearest of several answers to one query, from indexes over different rows with one metric and mean.

    An id that stands in several answers is taken once, at its smallest distance. Candidates add up.
    No answers, or empty ones, merge into an empty answer.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    if not answers:
        return no_neighbors()
    ids = np.concatenate([answer.ids for answer in answers])
    distances = np.concatenate([answer.distances for answer in answers])
    candidates = sum(answer.candidates for answer in answers)
    merged = nearest_first(ids, distances, len(ids), candidates)
    _, first = np.unique(merged.ids, return_index=True)
    kept = np.sort(first)[:k]
    return Neighbors(merged.ids[kept], merged.distances[kept], candidates)
