"""How well the embedding itself ranks: held-out images query the training images, by exact search."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lookalike.evaluation.metrics import average_precision, precision_at_k
from lookalike.lsh.space import VectorSpace

# Queries whose full ranking is held in memory at once.
_QUERIES_PER_BLOCK = 256


@dataclass(frozen=True)
class RankingFigures:
    """Per-query figures, each (n_queries,) float64; `average_precision` is NaN where no answer is right."""

    precision_at_1: NDArray[np.float64]
    precision_at_10: NDArray[np.float64]
    average_precision: NDArray[np.float64]
    nearest_label: NDArray[np.int64]

    def summary(self, chosen: NDArray[np.bool_] | None = None) -> dict[str, float]:
        """Means over the chosen queries (all by default); 0 where there are none."""
        kept = np.ones(len(self.precision_at_1), bool) if chosen is None else chosen
        average = self.average_precision[kept]
        return {
            "precision_at_1": _mean(self.precision_at_1[kept]),
            "precision_at_10": _mean(self.precision_at_10[kept]),
            "map": _mean(average[~np.isnan(average)]),
        }


def rank_by_label(
    queries: NDArray[np.float32],
    query_labels: NDArray[np.int64],
    vectors: NDArray[np.float32],
    labels: NDArray[np.int64],
) -> RankingFigures:
    """Rank all `vectors` (n, dim) for each of `queries` (n_queries, dim) and judge the ranks by label.

    A larger inner product means nearer: see `as_inner_products`. Labels are integer codes. Ties are
    ranked in row order.
    """
    figures: list[tuple[float, float, float, int]] = []
    for start in range(0, len(queries), _QUERIES_PER_BLOCK):
        block = slice(start, start + _QUERIES_PER_BLOCK)
        order = np.argsort(-(queries[block] @ vectors.T), axis=1, kind="stable")
        ranked = labels[order]
        figures.extend(_judge(row, label) for row, label in zip(ranked, query_labels[block], strict=True))
    columns = list(zip(*figures, strict=True)) if figures else [(), (), (), ()]
    return RankingFigures(
        precision_at_1=np.array(columns[0], np.float64),
        precision_at_10=np.array(columns[1], np.float64),
        average_precision=np.array(columns[2], np.float64),
        nearest_label=np.array(columns[3], np.int64),
    )


def copy_ranks(
    queries: NDArray[np.float32], vectors: NDArray[np.float32], image_ids: NDArray[np.str_], rows: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the rank, from 1, at which each of `queries` (n_queries, dim) finds the image of its row in `vectors`.

    A larger inner product means nearer. Other rows of the same image count as the image, and images that are equally
    near as ranked before it: an embedding in which all are equal finds nothing.
    """
    ranks = np.empty(len(rows), np.int64)
    for position, (query, row) in enumerate(zip(queries, rows, strict=True)):
        nearness = vectors @ query
        is_copy = image_ids == image_ids[row]
        ranks[position] = 1 + np.count_nonzero(nearness[~is_copy] >= nearness[is_copy].max())
    return ranks


def as_inner_products(
    space: VectorSpace, queries: NDArray[np.float32], vectors: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Queries and vectors in a form whose inner product grows as the distance of `space` shrinks.

    Cosine: centred, of unit length (zero vectors stay zero). Euclidean: centred, with one more
    component, since |q - v|^2 orders vectors as |v|^2 / 2 - q . v does. Inner product: as they are.
    """
    if space.metric == "inner_product":
        return queries, vectors
    queries, vectors = queries - space.mean, vectors - space.mean
    if space.metric == "cosine":
        return _of_unit_length(queries), _of_unit_length(vectors)
    half_squares = np.einsum("ij,ij->i", vectors, vectors)[:, None] / 2
    ones = np.ones((len(queries), 1), np.float32)
    return np.hstack([queries, ones]), np.hstack([vectors, -half_squares])


def merge_label_codes(names: Sequence[str], groups: Sequence[Sequence[str]]) -> NDArray[np.int64]:
    """For each label name its code after every group of `groups` has become one label."""
    first_of = {name: group[0] for group in groups for name in group}
    merged = [first_of.get(name, name) for name in names]
    return np.unique(merged, return_inverse=True)[1].astype(np.int64)


def _judge(ranked_labels: NDArray[np.int64], label: np.int64) -> tuple[float, float, float, int]:
    relevant = ranked_labels == label
    nearest = int(ranked_labels[0]) if len(ranked_labels) else -1
    return precision_at_k(relevant, 1), precision_at_k(relevant, 10), average_precision(relevant), nearest


def _of_unit_length(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))[:, None]
    norms[norms == 0] = 1
    scaled: NDArray[np.float32] = vectors / norms
    return scaled


def _mean(values: NDArray[np.float64]) -> float:
    return round(float(np.mean(values)), 6) if len(values) else 0.0
