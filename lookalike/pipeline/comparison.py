"""Several configurations side by side: what `lookalike experiment` prints and draws.

A row is what the experiment flow returns for one configuration: name, error, build_id, steps, seconds, metrics.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from lookalike.files import replacing

Row = Mapping[str, Any]

# The figures of the table by their place in the metrics; columns without any figure are left out.
_FIGURES = {
    "accuracy": "accuracy",
    "precision@1": "precision_at_1",
    "precision@10": "precision_at_10",
    "map": "map",
    "precision@10, unseen labels": "unseen_labels.among_all.precision_at_10",
    "among themselves": "unseen_labels.among_unseen.precision_at_10",
    "precision@10, distorted": "distorted.precision_at_10",
    "copy recall@10": "copy_recall_at_10",
    "recall@10": "recall_at_10",
}
_MARKERS = dict(zip(_FIGURES, "os^Dv<PX", strict=False))  # Recall is not drawn: it is about the index.
_TIMED = ("fine_tune", "embed_all")


def error_of(config_file: Path, error: Exception) -> str:
    """Return what went wrong with one of several configurations, with the name of its file."""
    return str(error) if str(config_file) in str(error) else f"{config_file}: {error}"


def comparison_table(rows: Sequence[Row]) -> str:
    """Return a Markdown table, one line per configuration; seconds are those of when a stage was built."""
    figures = _figures(rows)
    columns = [*figures.columns, *(f"{step} s" for step in _TIMED)]
    lines = [_line("configuration", columns), "|---" * (1 + len(columns)) + "|"]
    for row, values in zip(rows, figures.to_numpy(), strict=True):
        cells = ["failed", *[""] * (len(columns) - 1)]
        if row["error"] is None:
            seconds = [f"{row['seconds'][step]:.0f}" for step in _TIMED]
            cells = [*("" if pd.isna(value) else f"{value:.4f}" for value in values), *seconds]
        lines.append(_line(row["name"], cells))
    return "\n".join(lines)


def save_comparison(rows: Sequence[Row], path: Path) -> None:
    """Draw every quality figure of every configuration as a PNG at `path`, whole or not at all.

    One line per configuration, in order from the top; one mark per figure. Failed ones are left out.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    done = [row for row in rows if row["error"] is None]
    figures = _figures(done).drop(columns="recall@10", errors="ignore")
    figure = Figure(figsize=(9, 1.6 + 0.42 * max(len(done), 1)), layout="constrained")
    axes = figure.add_subplot()
    lines = range(len(done), 0, -1)
    for name in figures.columns:
        axes.plot(figures[name], lines, _MARKERS[name], label=name, markersize=6, alpha=0.85)
    axes.set(yticks=list(lines), yticklabels=[row["name"] for row in done], ylim=(0.4, len(done) + 0.6))
    axes.grid(visible=True, alpha=0.3)
    if not figures.empty:
        # Not from the accuracy: that of an untrained classifier, near 0, would squeeze all else together.
        lowest = figures.drop(columns="accuracy", errors="ignore").min().min()
        axes.set_xlim(0.0 if pd.isna(lowest) else lowest - 0.02, 1.01)
        axes.legend(fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=4)
    with replacing(path) as temporary:
        FigureCanvasAgg(figure).print_png(str(temporary))  # type: ignore[no-untyped-call]


def _figures(rows: Sequence[Row]) -> pd.DataFrame:
    """Return one row per configuration, in order, and one column per figure that any of them has; the others NaN."""
    metrics = pd.json_normalize([{} if row["error"] is not None else row["metrics"] for row in rows])
    table = metrics.reindex(columns=list(_FIGURES.values())).set_axis(list(_FIGURES), axis="columns")
    return table.astype(float).dropna(axis="columns", how="all")


def _line(name: str, cells: Sequence[str]) -> str:
    return f"| {name} | {' | '.join(cells)} |"
