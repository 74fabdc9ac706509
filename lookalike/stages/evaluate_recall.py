"""The stage itself: reads model, embeddings and index, measures, and writes the figures.

Files: `metrics.json` (the public figures), `per_label.csv` (figures of each label, worst first; not without labels),
`report.md` (the same for people). A figure that cannot be had is no key of `metrics.json`; `absent` there says why.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lookalike.config.sections import EvaluationConfig
from lookalike.dataset.storage import Dataset, open_dataset
from lookalike.embedding.embedder import Embedder
from lookalike.embedding.table import load_embeddings
from lookalike.errors import LookalikeError
from lookalike.evaluation import recall as recall_measures
from lookalike.evaluation.evaluation_set import EvaluationSet, draw_rows, gather
from lookalike.evaluation.figures import FIGURES_OF_IMAGES, NO_IMAGES
from lookalike.evaluation.metrics import latency_summary
from lookalike.evaluation.quality import (
    judge_as_adjusted,
    judge_as_labelled,
    judge_copies,
    judge_distorted,
    judge_unseen,
    per_label,
)
from lookalike.evaluation.ranking import summarize
from lookalike.evaluation.report import render_report
from lookalike.files import write_bytes_atomic, write_json_atomic
from lookalike.lsh import ExactIndex, HyperplaneLSH, LSHashIndex, VectorIndex, load_index
from lookalike.lsh.recall import confidence_interval
from lookalike.lsh.space import VectorSpace
from lookalike.network.description import read_description

_RECALL_RANKS = (1, 10, 100)
_LABEL_FIGURES = ("precision_at_1", "precision_at_10", "map")
_AUTO_COPY_QUERIES = 200
# Below it NumPy is about as fast, and compiling once on a machine takes ten seconds.
_WARM_UP_FROM = 5_000


def evaluate_recall(config: EvaluationConfig, inputs: Mapping[str, Path], folder: Path) -> dict[str, Any]:
    """Measure everything, write it to `folder`, and return the metrics as in `metrics.json`.

    `inputs` are the folders of the four stages before, by name. Recall compares the index with exact search over
    the same vectors, for held-out queries, each without itself. Precision and map judge the embedding: exact search
    of the training images, or, without labels, what distorted images find. With no held-out images all figures are 0
    and `n_queries` is 0.
    """
    index = load_index(inputs["build_lsh"])
    embeddings = load_embeddings(inputs["embed_all"])
    dataset = open_dataset(inputs["download_dataset"])
    material = gather(config, embeddings, VectorSpace(index.metric, index.mean))
    metrics: dict[str, Any] = {"n_images": len(material.vectors), "n_queries": len(material.query_rows)}
    if dataset.classes:
        ranking = judge_as_labelled(material)
        metrics |= _judge_labels(config, material, ranking, read_description(inputs["fine_tune"]))
        write_bytes_atomic(folder / "per_label.csv", per_label(material, ranking).to_csv(index=False).encode())
    else:
        metrics["absent"] = dict.fromkeys(("accuracy", *_LABEL_FIGURES), "the collection has no labels")
    metrics |= _judge_index(config, material, index)
    if dataset.vectors is None:
        metrics |= _judge_distorted(config, material, dataset, inputs)
    else:
        metrics["absent"] |= dict.fromkeys(FIGURES_OF_IMAGES, NO_IMAGES)
    write_json_atomic(folder / "metrics.json", metrics)
    write_bytes_atomic(folder / "report.md", render_report(metrics, index.stats(), embeddings.metadata).encode())
    return metrics


def _judge_labels(
    config: EvaluationConfig, material: EvaluationSet, ranking: pd.DataFrame, model: Mapping[str, Any]
) -> dict[str, Any]:
    figures = {**summarize(ranking), **judge_as_adjusted(config, material)}
    if model["accuracy"] is None:
        return {**figures, "absent": {"accuracy": "no classifier was trained"}}
    return {"accuracy": model["accuracy"], **figures, **judge_unseen(material, model["classes"]), "absent": {}}


def _judge_distorted(
    config: EvaluationConfig, material: EvaluationSet, dataset: Dataset, inputs: Mapping[str, Path]
) -> dict[str, Any]:
    has_labels = bool(dataset.classes)
    copies = (0 if has_labels else _AUTO_COPY_QUERIES) if config.copy_queries == "auto" else config.copy_queries
    if not (copies or (has_labels and config.distorted_queries)):
        return {}
    embedder = Embedder.open(inputs["fine_tune"], inputs["embed_all"])
    figures = judge_copies(config, material, copies, dataset.root, embedder)
    return figures | (judge_distorted(config, material, dataset.root, embedder) if has_labels else {})


def _judge_index(config: EvaluationConfig, material: EvaluationSet, index: VectorIndex) -> dict[str, Any]:
    if isinstance(index, HyperplaneLSH) and len(index) >= _WARM_UP_FROM:
        index.warm_up()  # Compiled code answers as NumPy does, to the last bit; only the latency is another.
    queries, rows = material.vectors[material.query_rows], material.query_rows
    k_most = max(_RECALL_RANKS) + 1
    exact = ExactIndex.build(material.vectors, metric=material.space.metric, mean=material.space.mean)
    truth = exact.query_batch(queries, k_most)
    answers = recall_measures.ask_one_by_one(index, queries, 11)
    deep_answers = index.query_batch(queries, k_most)
    by_rank = {
        k: recall_measures.recalls(
            deep_answers if k + 1 > 11 else answers.neighbors, truth, rows, material.vectors, material.space, k
        )
        for k in _RECALL_RANKS
    }
    figures: dict[str, Any] = {f"recall_at_{k}": _mean(values) for k, values in by_rank.items()}
    low, high = confidence_interval(by_rank[10])
    figures["recall_at_10_interval"] = [round(low, 6), round(high, 6)]
    figures["candidate_fraction"] = round(answers.candidate_fraction(len(material.vectors)), 6)
    latency = {"lsh": _latency(answers), "exact": _latency(recall_measures.ask_one_by_one(exact, queries, 11))}
    baseline, baseline_latency = _ask_lshash3(config, material, truth)
    figures["latency_ms"] = {**latency, "lshash3": baseline_latency}
    figures["baselines"] = {"lshash3": baseline}
    return figures


def _ask_lshash3(
    config: EvaluationConfig, material: EvaluationSet, truth: list[Any]
) -> tuple[dict[str, Any] | None, dict[str, float] | None]:
    """The article's search (lshash3, neighboring buckets) in the same run, or None where it is left out."""
    rows = draw_rows(material.query_rows, material.image_ids, config.lshash3_queries, config.seed)
    has_metric = material.space.metric != "inner_product"
    if len(rows) == 0 or len(material.vectors) > config.lshash3_max_vectors or not has_metric:
        return None, None
    try:
        index = LSHashIndex.build(
            material.vectors,
            n_bits=config.lshash3_n_bits,
            n_tables=config.lshash3_n_tables,
            seed=config.seed,
            metric=material.space.metric,
            center=bool(np.any(material.space.mean)),
            probe="hamming",
        )
    except LookalikeError:
        return None, None  # lshash3 does not install on this Python.
    answers = recall_measures.ask_one_by_one(index, material.vectors[rows], 11)
    truth = [truth[position] for position in np.searchsorted(material.query_rows, rows)]
    values = recall_measures.recalls(answers.neighbors, truth, rows, material.vectors, material.space, 10)
    baseline = {
        "recall_at_10": _mean(values),
        "candidate_fraction": round(answers.candidate_fraction(len(material.vectors)), 6),
        "n_queries": len(rows),
        "n_bits": config.lshash3_n_bits,
        "n_tables": config.lshash3_n_tables,
    }
    return baseline, _latency(answers)


def _latency(answers: recall_measures.Answers) -> dict[str, float] | None:
    return latency_summary(answers.seconds) if len(answers.seconds) else None


def _mean(values: NDArray[np.float64]) -> float:
    return round(float(np.mean(values)), 6) if len(values) else 0.0
