"""How good the embedding is, by exact search.

Held-out images query the training images, and answers with the label of the query are relevant. Without labels,
strongly distorted held-out images query all images, and the relevant answer is the image itself.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from lookalike.config.sections import EvaluationConfig
from lookalike.embedding.embedder import Embedder
from lookalike.evaluation.distortion import distorted
from lookalike.evaluation.evaluation_set import EvaluationSet, draw_rows, number_of
from lookalike.evaluation.ranking import (
    as_inner_products,
    copy_ranks,
    rank_by_label,
    summarize,
)
from lookalike.images.reading import open_image
from lookalike.progress import track
from lookalike.threads import ordered_map


def judge_as_labelled(material: EvaluationSet) -> pd.DataFrame:
    """Return the figures of every query by the labels as they are; see `rank_by_label`."""
    return _rank(material)


def per_label(material: EvaluationSet, figures: pd.DataFrame) -> pd.DataFrame:
    """Return the figures of each label that has queries, lowest precision_at_10 first.

    Columns: label, n_queries, precision_at_1, precision_at_10 and most_confused_with, the wrong label that is nearest
    most often (empty if none is).
    """
    queries = figures.assign(
        label=material.labels[material.query_rows], nearest=np.unique(material.labels)[figures["nearest_label"]]
    )
    by_label = queries.groupby("label")
    table = by_label[["precision_at_1", "precision_at_10"]].mean().round(6)
    table.insert(0, "n_queries", by_label.size())
    wrong = queries[queries["nearest"] != queries["label"]].groupby("label")["nearest"]
    most_confused = {label: names.mode()[0] for label, names in wrong}
    table["most_confused_with"] = [most_confused.get(label, "") for label in table.index]
    return table.sort_values(["precision_at_10", "label"]).reset_index()


def judge_as_adjusted(config: EvaluationConfig, material: EvaluationSet) -> dict[str, Any]:
    """Return the figures with `same_labels` merged and `background_labels` left out, under `adjusted`, if set."""
    if not (config.same_labels or config.background_labels):
        return {}
    merged = {name: group[0] for group in config.same_labels for name in group}
    is_background = np.isin(material.labels, config.background_labels)
    kept = replace(
        material,
        labels=np.array([merged.get(name, name) for name in material.labels.tolist()], np.str_),
        is_train=material.is_train & ~is_background,
        query_rows=material.query_rows[~is_background[material.query_rows]],
    )
    summary = {
        **summarize(_rank(kept)),
        "n_queries": len(kept.query_rows),
        "same_labels": [list(group) for group in config.same_labels],
        "background_labels": list(config.background_labels),
    }
    return {"adjusted": summary}


def judge_unseen(material: EvaluationSet, trained: Sequence[str]) -> dict[str, Any]:
    """Return the figures of labels that the network was not trained on, under `unseen_labels`, if there are any.

    Their held-out images query all training images (`among_all`), and those of unseen labels only (`among_unseen`).
    """
    is_unseen = ~np.isin(material.labels, trained)
    asking = replace(material, query_rows=material.query_rows[is_unseen[material.query_rows]])
    if len(asking.query_rows) == 0:
        return {}
    among_unseen = replace(asking, is_train=asking.is_train & is_unseen)
    summary = {
        "n_labels": len(np.unique(material.labels[is_unseen])),
        "n_queries": len(asking.query_rows),
        "among_unseen": summarize(_rank(among_unseen)),
        "among_all": summarize(_rank(asking)),
    }
    return {"unseen_labels": summary}


def judge_distorted(
    config: EvaluationConfig, material: EvaluationSet, dataset_root: Path, embedder: Embedder
) -> dict[str, Any]:
    """Return the figures of a seeded sample of the queries, strongly distorted, under `distorted`, if asked for.

    ImageError if an image can no longer be read.
    """
    rows = draw_rows(material.query_rows, material.image_ids, config.distorted_queries, config.seed)
    if len(rows) == 0:
        return {}
    queries = _embed_distorted(dataset_root, material, rows, config.seed, embedder)
    figures = _rank(replace(material, query_rows=rows), queries)
    return {"distorted": {"n_queries": len(rows), **summarize(figures)}}


def judge_copies(
    config: EvaluationConfig, material: EvaluationSet, count: int, dataset_root: Path, embedder: Embedder
) -> dict[str, Any]:
    """Return the share of strongly distorted queries, a seeded sample, that find themselves among all images.

    The figures are `copy_recall_at_1`, `copy_recall_at_10` and `n_copy_queries`; none without queries. ImageError if an
    image can no longer be read.
    """
    rows = draw_rows(material.query_rows, material.image_ids, count, config.seed)
    if len(rows) == 0:
        return {}
    queries = _embed_distorted(dataset_root, material, rows, config.seed, embedder)
    ranks = copy_ranks(*as_inner_products(material.space, queries, material.vectors), material.image_ids, rows)
    recalls = {f"copy_recall_at_{k}": round(float(np.mean(ranks <= k)), 6) for k in (1, 10)}
    return {**recalls, "n_copy_queries": len(rows)}


def _embed_distorted(
    root: Path, material: EvaluationSet, rows: NDArray[np.int64], seed: int, embedder: Embedder
) -> NDArray[np.float32]:
    def distorted_image(row: int) -> Image.Image:
        image = open_image(root / material.paths[row], max_pixels=None, target_size=2 * embedder.image_size)
        return distorted(image, np.random.default_rng(number_of(material.image_ids[row], seed)))

    images = track(ordered_map(distorted_image, rows), "distorted queries", len(rows))
    return np.stack([embedder.embed(image) for image in images])


def _rank(material: EvaluationSet, queries: NDArray[np.float32] | None = None) -> pd.DataFrame:
    """Rank the training rows for the query rows, or for other vectors that stand for them."""
    queries = material.vectors[material.query_rows] if queries is None else queries
    codes = np.unique(material.labels, return_inverse=True)[1].astype(np.int64)
    queries, vectors = as_inner_products(material.space, queries, material.vectors[material.is_train])
    return rank_by_label(queries, codes[material.query_rows], vectors, codes[material.is_train])
