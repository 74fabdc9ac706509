"""Several configurations side by side: what `lookalike experiment` prints and draws.

A row is what the experiment flow returns for one configuration: name, error, build_id, steps, seconds, metrics.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lookalike.files import replacing

Row = Mapping[str, Any]
_Column = Callable[[Mapping[str, Any]], float | None]

# Columns that no configuration has a figure for are left out.
QUALITY: Mapping[str, _Column] = {
    "accuracy": lambda metrics: metrics.get("accuracy"),
    "precision@1": lambda metrics: metrics.get("precision_at_1"),
    "precision@10": lambda metrics: metrics.get("precision_at_10"),
    "map": lambda metrics: metrics.get("map"),
    "precision@10, unseen labels": lambda metrics: _within(metrics, "unseen_labels", "among_all", "precision_at_10"),
    "among themselves": lambda metrics: _within(metrics, "unseen_labels", "among_unseen", "precision_at_10"),
    "precision@10, distorted": lambda metrics: _within(metrics, "distorted", "precision_at_10"),
    "copy recall@10": lambda metrics: metrics.get("copy_recall_at_10"),
    "recall@10": lambda metrics: metrics["recall_at_10"],
}
_TIMED = ("fine_tune", "embed_all")
_NOT_DRAWN = ("recall@10",)


def error_of(config_file: Path, error: Exception) -> str:
    """What went wrong with one of several configurations, with the name of its file."""
    return str(error) if str(config_file) in str(error) else f"{config_file}: {error}"


def comparison_table(rows: Sequence[Row]) -> str:
    """A Markdown table, one configuration a line; seconds are those of the stage's own building, now or earlier."""
    columns = [name for name in QUALITY if any(_figure(row, name) is not None for row in rows)]
    lines = [_line("configuration", [*columns, *(f"{step} s" for step in _TIMED)])]
    lines.append("|---" * (1 + len(columns) + len(_TIMED)) + "|")
    for row in rows:
        if row["error"] is not None:
            lines.append(_line(row["name"], ["failed", *[""] * (len(columns) + len(_TIMED) - 1)]))
            continue
        figures = [_shown(_figure(row, name)) for name in columns]
        lines.append(_line(row["name"], [*figures, *(f"{row['seconds'][step]:.0f}" for step in _TIMED)]))
    return "\n".join(lines)


def save_comparison(rows: Sequence[Row], path: Path) -> None:
    """Draw every quality figure of every configuration as a PNG at `path`, whole or not at all.

    One line per configuration, in order from the top; one mark per figure. Failed ones are left out.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    done = [row for row in rows if row["error"] is None]
    figure = Figure(figsize=(9, 1.6 + 0.42 * max(len(done), 1)), layout="constrained")
    axes = figure.add_subplot()
    lines = range(len(done), 0, -1)
    for name, marker in zip((name for name in QUALITY if name not in _NOT_DRAWN), "os^Dv<PX", strict=True):
        points = [(value, line) for row, line in zip(done, lines, strict=True) if (value := _figure(row, name))]
        if points:
            axes.plot(*zip(*points, strict=True), marker, label=name, markersize=6, alpha=0.85)
    axes.set(yticks=list(lines), yticklabels=[row["name"] for row in done], ylim=(0.4, len(done) + 0.6))
    if done:
        # Not by the accuracy: that of a classifier that was never trained, near 0, would squeeze all else together.
        drawn = [_figure(row, name) for row in done for name in QUALITY if name not in (*_NOT_DRAWN, "accuracy")]
        axes.set_xlim(min((value for value in drawn if value is not None), default=0.02) - 0.02, 1.01)
    axes.grid(visible=True, alpha=0.3)
    if done:
        axes.legend(fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=4)
    with replacing(path) as temporary:
        FigureCanvasAgg(figure).print_png(str(temporary))  # type: ignore[no-untyped-call]


def _figure(row: Row, name: str) -> float | None:
    return None if row["error"] is not None else QUALITY[name](row["metrics"])


def _within(metrics: Mapping[str, Any], *names: str) -> float | None:
    value: Any = metrics
    for name in names:
        value = value.get(name, {})
    return value or None


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _line(name: str, cells: Sequence[str]) -> str:
    return f"| {name} | {' | '.join(cells)} |"
