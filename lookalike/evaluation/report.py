"""The figures as a Markdown page: a file of the stage, and the artifact shown in Prefect's pages."""

from collections.abc import Mapping
from typing import Any

from lookalike.evaluation.figures import absences


def render_report(metrics: Mapping[str, Any], index_stats: Mapping[str, Any], embeddings: Mapping[str, Any]) -> str:
    """Return `metrics` (as in `metrics.json`), the parameters of the index and the precision as a Markdown page."""
    low, high = metrics["recall_at_10_interval"]
    lines = [
        "# Evaluation",
        "",
        f"{metrics['n_images']:,} images; {metrics['n_queries']:,} held-out queries.",
        "",
        "## The index against exact search",
        "",
        "| engine | recall@1 | recall@10 | recall@100 | share of the collection compared | p50 ms | p95 ms |",
        "|---|---|---|---|---|---|---|",
        _engine_row(
            "this index",
            [metrics["recall_at_1"], metrics["recall_at_10"], metrics["recall_at_100"]],
            metrics["candidate_fraction"],
            metrics["latency_ms"]["lsh"],
        ),
        _engine_row("exact search (NumPy)", [1, 1, 1], 1, metrics["latency_ms"]["exact"]),
        *_baseline_rows(metrics),
        "",
        f"95 % interval of recall@10: {low:.4f} to {high:.4f}.",
        "",
        "## The embedding, by exact search",
        "",
        *_label_lines(metrics),
        *_copy_lines(metrics),
        *(line for names, reason in absences(metrics) for line in (f"No {names}: {reason}.", "")),
        _precision_line(embeddings),
        "",
        "## Index parameters",
        "",
        *(f"- {name}: {value}" for name, value in index_stats.items() if isinstance(value, str | int | float)),
        "",
    ]
    return "\n".join(lines)


def _label_lines(metrics: Mapping[str, Any]) -> list[str]:
    if "precision_at_10" not in metrics:
        return []
    lines = [
        "Held-out images query the training images:",
        "",
        "| labels | precision@1 | precision@10 | map |",
        "|---|---|---|---|",
        _ranking_row("as they are", metrics),
        *_other_ranking_rows(metrics),
        "",
    ]
    if "accuracy" in metrics:
        lines += [f"Classifier accuracy on the held-out images: {_figure(metrics['accuracy'])}.", ""]
    return lines


def _copy_lines(metrics: Mapping[str, Any]) -> list[str]:
    if "copy_recall_at_10" not in metrics:
        return []
    return [
        f"Of {metrics['n_copy_queries']} held-out images, strongly distorted (cut out, turned, relit, blurred, badly "
        f"compressed), {metrics['copy_recall_at_1']:.1%} find themselves first among all images, and "
        f"{metrics['copy_recall_at_10']:.1%} among the first ten.",
        "",
    ]


def _other_ranking_rows(metrics: Mapping[str, Any]) -> list[str]:
    rows = []
    if "adjusted" in metrics:
        adjusted = metrics["adjusted"]
        names = [" = ".join(group) for group in adjusted["same_labels"]]
        names += [f"without {label}" for label in adjusted["background_labels"]]
        rows.append(_ranking_row(", ".join(names), adjusted))
    if "unseen_labels" in metrics:
        unseen = metrics["unseen_labels"]
        name = f"{unseen['n_labels']} labels that the network was not trained on"
        rows.append(_ranking_row(f"{name}, among themselves", unseen["among_unseen"]))
        rows.append(_ranking_row(f"{name}, among all images", unseen["among_all"]))
    if "distorted" in metrics:
        distorted = metrics["distorted"]
        rows.append(_ranking_row(f"as they are; {distorted['n_queries']} queries strongly distorted", distorted))
    return rows


def _precision_line(embeddings: Mapping[str, Any]) -> str:
    check = embeddings["bf16_check"]
    if check is None:
        return f"Vectors computed in {embeddings['precision']}."
    return (
        f"Vectors computed in {embeddings['precision']}. On {check['images']:,} images bf16 finds "
        f"{_figure(check['overlap'])} of the ten nearest neighbors that fp32 finds (at least {check['min_overlap']} is "
        f"required), and precision@10 falls by {check['precision_drop']:.4f} (at most {check['max_precision_drop']})."
    )


def _baseline_rows(metrics: Mapping[str, Any]) -> list[str]:
    baseline = metrics["baselines"]["lshash3"]
    if baseline is None:
        return []
    name = f"lshash3 ({baseline['n_bits']} bits, {baseline['n_tables']} tables, neighboring buckets)"
    recall = [None, baseline["recall_at_10"], None]
    return [_engine_row(name, recall, baseline["candidate_fraction"], metrics["latency_ms"]["lshash3"])]


def _engine_row(name: str, recall: list[float | None], fraction: float, latency: Mapping[str, float] | None) -> str:
    times = [latency["p50"], latency["p95"]] if latency else [None, None]
    cells = [name, *map(_figure, recall), f"{fraction:.2%}", *map(_figure, times)]
    return f"| {' | '.join(cells)} |"


def _ranking_row(name: str, figures: Mapping[str, Any]) -> str:
    cells = [name, *(_figure(figures[key]) for key in ("precision_at_1", "precision_at_10", "map"))]
    return f"| {' | '.join(cells)} |"


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
