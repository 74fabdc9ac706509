"""Rankings by the embedding under exact search: held-out images query the training images."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lookalike.evaluation.metrics import average_precision, precision_at_k
from lookalike.lsh.space import VectorSpace

# Queries whose full ranking is held in memory at once.
_QUERIES_PER_BLOCK = 256
_MEASURES = ["precision_at_1", "precision_at_10", "average_precision"]
_FIGURE_TYPES = dict.fromkeys(_MEASURES, "float64") | {"nearest_label": "int64"}


def rank_by_label(
    queries: NDArray[np.float32],
    query_labels: NDArray[np.int64],
    vectors: NDArray[np.float32],
    labels: NDArray[np.int64],
) -> pd.DataFrame:
    """Rank all `vectors` (n, dim) for each of `queries` (n_queries, dim) and return figures of the ranks by label.

    A larger inner product means nearer: see `as_inner_products`. Labels are integer codes. Ties go by row order.
    Columns, one row per query: precision_at_1, precision_at_10, average_precision (NaN where no answer is right) and
    nearest_label (-1 without any vector).
    """
    figures: list[tuple[float, float, float, int]] = []
    for start in range(0, len(queries), _QUERIES_PER_BLOCK):
        block = slice(start, start + _QUERIES_PER_BLOCK)
        order = np.argsort(-(queries[block] @ vectors.T), axis=1, kind="stable")
        figures.extend(_judge(row, label) for row, label in zip(labels[order], query_labels[block], strict=True))
    return pd.DataFrame(figures, columns=list(_FIGURE_TYPES)).astype(_FIGURE_TYPES)


def summarize(figures: pd.DataFrame) -> dict[str, float]:
    """Return precision_at_1, precision_at_10 and map: the means of `rank_by_label` over the queries, 0 without any."""
    means = figures[_MEASURES].mean().fillna(0).round(6).tolist()
    return dict(zip(("precision_at_1", "precision_at_10", "map"), means, strict=True))


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
    """Return queries and vectors in a form whose inner product grows as the distance of `space` shrinks.

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


def _judge(ranked_labels: NDArray[np.int64], label: np.int64) -> tuple[float, float, float, int]:
    relevant = ranked_labels == label
    nearest = int(ranked_labels[0]) if len(ranked_labels) else -1
    return precision_at_k(relevant, 1), precision_at_k(relevant, 10), average_precision(relevant), nearest


def _of_unit_length(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))[:, None]
    norms[norms == 0] = 1
    scaled: NDArray[np.float32] = vectors / norms
    return scaled
