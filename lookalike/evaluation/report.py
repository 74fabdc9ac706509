"""The figures as a Markdown page: a file of the stage, and the artifact shown in Prefect's pages."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lookalike.embedding.table import NO_LAYER
from lookalike.evaluation.figures import absences

_ENGINE_COLUMNS = (
    *("engine", "recall@1", "recall@10", "recall@100"),
    *("share of the collection compared", "p50 ms", "p95 ms"),
)


def render_report(metrics: Mapping[str, Any], index_stats: Mapping[str, Any], embeddings: Mapping[str, Any]) -> str:
    """Return `metrics` (as in `metrics.json`), the parameters of the index and the precision as a Markdown page."""
    low, high = metrics["recall_at_10_interval"]
    parameters = {name: value for name, value in index_stats.items() if isinstance(value, str | int | float)}
    paragraphs = [
        "# Evaluation",
        f"{metrics['n_images']:,} images; {metrics['n_queries']:,} held-out queries.",
        "## The index against exact search",
        _table(_ENGINE_COLUMNS, _engine_rows(metrics)),
        f"95 % interval of recall@10: {low:.4f} to {high:.4f}.",
        "## The embedding, by exact search",
        *_label_paragraphs(metrics),
        *_copy_paragraphs(metrics),
        *(f"No {names}: {reason}." for names, reason in absences(metrics)),
        _precision_line(embeddings),
        "## Index parameters",
        "\n".join(f"- {name}: {value}" for name, value in parameters.items()),
    ]
    return "\n\n".join(paragraphs) + "\n"


def _engine_rows(metrics: Mapping[str, Any]) -> Iterator[list[Any]]:
    latency, baseline = metrics["latency_ms"], metrics["baselines"]["lshash3"]
    recalls = [metrics[f"recall_at_{k}"] for k in (1, 10, 100)]
    yield ["this index", *recalls, f"{metrics['candidate_fraction']:.2%}", *_times(latency["lsh"])]
    yield ["exact search (NumPy)", 1, 1, 1, f"{1:.2%}", *_times(latency["exact"])]
    if baseline is not None:
        name = f"lshash3 ({baseline['n_bits']} bits, {baseline['n_tables']} tables, neighboring buckets)"
        recalls = [None, baseline["recall_at_10"], None]
        yield [name, *recalls, f"{baseline['candidate_fraction']:.2%}", *_times(latency["lshash3"])]


def _times(latency: Mapping[str, float] | None) -> list[float | None]:
    return [latency["p50"], latency["p95"]] if latency else [None, None]


def _label_paragraphs(metrics: Mapping[str, Any]) -> Iterator[str]:
    if "precision_at_10" in metrics:
        measures = ("precision_at_1", "precision_at_10", "map")
        rows = ([name, *(figures[measure] for measure in measures)] for name, figures in _rankings(metrics))
        yield "Held-out images query the training images:"
        yield _table(("labels", "precision@1", "precision@10", "map"), rows)
        if "accuracy" in metrics:
            yield f"Classifier accuracy on the held-out images: {metrics['accuracy']:.4g}."


def _rankings(metrics: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the name and the figures of each ranking by labels."""
    yield "as they are", metrics
    if adjusted := metrics.get("adjusted"):
        names = [" = ".join(group) for group in adjusted["same_labels"]]
        yield ", ".join([*names, *(f"without {label}" for label in adjusted["background_labels"])]), adjusted
    if unseen := metrics.get("unseen_labels"):
        name = f"{unseen['n_labels']} labels that the network was not trained on"
        yield f"{name}, among themselves", unseen["among_unseen"]
        yield f"{name}, among all images", unseen["among_all"]
    if distorted := metrics.get("distorted"):
        yield f"as they are; {distorted['n_queries']} queries strongly distorted", distorted


def _copy_paragraphs(metrics: Mapping[str, Any]) -> Iterator[str]:
    if "copy_recall_at_10" in metrics:
        yield (
            f"Of {metrics['n_copy_queries']} held-out images, strongly distorted (cut out, turned, relit, blurred, "
            f"badly compressed), {metrics['copy_recall_at_1']:.1%} find themselves first among all images, and "
            f"{metrics['copy_recall_at_10']:.1%} among the first ten."
        )


def _precision_line(embeddings: Mapping[str, Any]) -> str:
    if embeddings["layer"] == NO_LAYER:
        return "Vectors computed elsewhere."
    line, check = f"Vectors computed in {embeddings['precision']}.", embeddings["bf16_check"]
    if check is None:
        return line
    return (
        f"{line} On {check['images']:,} images bf16 finds {check['overlap']:.4g} of the ten nearest neighbors of fp32 "
        f"(at least {check['min_overlap']} is required), and precision@10 falls by {check['precision_drop']:.4f} "
        f"(at most {check['max_precision_drop']})."
    )


def _table(columns: Sequence[str], rows: Iterator[list[Any]]) -> str:
    """Return a Markdown table; numbers have four digits, and None is an empty cell."""
    header, *body = (f"| {' | '.join(map(_cell, row))} |" for row in (columns, *rows))
    return "\n".join([header, "|" + "---|" * len(columns), *body])


def _cell(value: str | float | None) -> str:
    return value if isinstance(value, str) else "" if value is None else f"{value:.4g}"
