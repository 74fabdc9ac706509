"""Recall and latency of an engine, one query at a time."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lookalike.errors import EmbeddingError
from lookalike.lsh import Neighbors, VectorIndex
from lookalike.lsh.recall import recall_at_k, without_row
from lookalike.lsh.space import VectorSpace

_WARM_UP_QUERIES = 3


@dataclass(frozen=True)
class Answers:
    """The answers of an engine to all queries, in their order, and the seconds of each."""

    neighbors: list[Neighbors]
    seconds: NDArray[np.float64]

    def candidate_fraction(self, n_vectors: int) -> float:
        """Mean share of the collection whose distance was computed."""
        if not self.neighbors:
            return 0.0
        return float(np.mean([answer.candidates for answer in self.neighbors])) / n_vectors


def ask_one_by_one(index: VectorIndex, queries: NDArray[np.float32], k: int) -> Answers:
    """Return the answers to `queries` (n, dim), asked one at a time and timed after a few untimed ones."""
    for query in queries[:_WARM_UP_QUERIES]:
        index.query(query, k)
    neighbors: list[Neighbors] = []
    seconds = np.zeros(len(queries))
    for position, query in enumerate(queries):
        started = time.perf_counter()
        neighbors.append(index.query(query, k))
        seconds[position] = time.perf_counter() - started
    return Answers(neighbors, seconds)


def recalls(
    found: Sequence[Neighbors],
    truth: Sequence[Neighbors],
    own_ids: NDArray[np.int64],
    vectors: NDArray[np.float32],
    space: VectorSpace,
    k: int,
) -> NDArray[np.float64]:
    """Return recall_at_k of each query, the query itself excluded; (n_queries,) float64.

    `found` and `truth` hold at least k + 1 answers per query, where the collection has them, since the query itself
    is one. The engines' own distances are not trusted: they are computed again. EmbeddingError if an engine repeats
    an id in an answer.
    """
    values = np.zeros(len(own_ids))
    for position, own_id in enumerate(own_ids):
        query = space.prepare(vectors[own_id])
        found_ids, true_ids = (without_row(_checked(answers[position]), own_id, k).ids for answers in (found, truth))
        found_distances, true_distances = (space.distances(vectors[ids], query) for ids in (found_ids, true_ids))
        values[position] = recall_at_k(found_distances, true_distances, k)
    return values


def _checked(answer: Neighbors) -> Neighbors:
    if len(np.unique(answer.ids)) != len(answer.ids):
        raise EmbeddingError("an engine returned the same id twice in one answer; its recall cannot be trusted")
    return answer
