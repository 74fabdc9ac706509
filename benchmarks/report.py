"""The results as JSON, as a Markdown table and as a plot of recall against speed."""

import json
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import Any

COLUMNS = (
    "engine",
    "recall@10",
    "recall@100",
    "ms p50",
    "ms p50 for 100",
    "ms p95",
    "times exact",
    "queries/s in batch",
    "candidates",
    "build s",
    "bytes a vector",
    "build peak MB",
)


def write_report(folder: Path, rows: list[dict[str, Any]], machine: dict[str, str]) -> None:
    """Write search.json, search.md and search.png to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "search.json").write_text(json.dumps({"machine": machine, "rows": rows}, indent=2) + "\n")
    (folder / "search.md").write_text(markdown(rows, machine))
    plot(rows, folder / "search.png")


def markdown(rows: list[dict[str, Any]], machine: dict[str, str]) -> str:
    """One table for each set of vectors and kind of queries."""
    parts = [", ".join(f"{name} {value}" for name, value in machine.items()) + "\n"]
    for (data, queries), some in _groups(rows):
        parts.append(f"\n**{data}, {queries} queries**\n\n")
        parts.append("| " + " | ".join(COLUMNS) + " |\n" + "| --- " * len(COLUMNS) + "|\n")
        parts += ["| " + " | ".join(_cells(row)) + " |\n" for row in some]
    return "".join(parts)


def _groups(rows: list[dict[str, Any]]) -> Iterable[tuple[tuple[str, str], list[dict[str, Any]]]]:
    def key(row: dict[str, Any]) -> tuple[int, str, str]:
        return row["n"], row["data"], row["queries"]

    for (_, data, queries), some in groupby(sorted(rows, key=key), key=key):
        yield (data, queries), list(some)


def _cells(row: dict[str, Any]) -> list[str]:
    def shown(value: float | None, digits: int) -> str:
        return "" if value is None else f"{value:,.{digits}f}"

    fraction = row["candidate_fraction"]
    return [
        row["engine"],
        f"{row['recall_at_10']:.4f}",
        f"{row['recall_at_100']:.4f}",
        shown(row["p50_ms"], 3),
        shown(row["p50_ms_for_100"], 3),
        shown(row["p95_ms"], 3),
        shown(row["times_exact"], 2 if row["times_exact"] < 1 else 1),
        shown(row["batch_per_second"], 0),
        "" if fraction is None else f"{100 * fraction:.2f} %",
        shown(row["build_seconds"], 1),
        shown(row["overhead_bytes_per_vector"], 0),
        "" if row["build_peak_bytes"] is None else f"{row['build_peak_bytes'] / 1e6:,.0f}",
    ]


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Recall against queries a second, one panel for each set of vectors and kind of queries."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    groups = list(_groups(rows))
    n_columns = 2
    n_rows = -(-len(groups) // n_columns)
    figure = Figure(figsize=(6.5 * n_columns, 4.2 * n_rows), layout="constrained")
    for number, ((data, queries), some) in enumerate(groups):
        axes = figure.add_subplot(n_rows, n_columns, number + 1)
        ours = sorted((r["recall_at_10"], 1e3 / r["p50_ms"]) for r in some if _is_ours(r))
        axes.plot(*zip(*ours, strict=True), "o-", label="lookalike")
        for row in some:
            if not _is_ours(row):
                axes.plot(row["recall_at_10"], 1e3 / row["p50_ms"], "s", label=row["engine"])
        axes.set(yscale="log", xlabel="recall@10", ylabel="queries a second", title=f"{data}, {queries} queries")
        axes.grid(visible=True, alpha=0.3)
        axes.legend(fontsize=7)
    FigureCanvasAgg(figure).print_png(str(path))


def _is_ours(row: dict[str, Any]) -> bool:
    return row["engine"].startswith("lookalike") and "without" not in row["engine"]
