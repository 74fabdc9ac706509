"""The per-epoch table as CSV, and as a picture."""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING

from lookalike.files import replacing, write_bytes_atomic
from lookalike.training.loop import EpochRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HISTORY_NAME = "history.csv"
CURVE_NAME = "training_curve.png"


def write_history(folder: Path, epochs: Sequence[EpochRecord]) -> None:
    """Write `history.csv` and, if there was an epoch, `training_curve.png` into `folder`."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [column.name for column in fields(EpochRecord)], lineterminator="\n")
    writer.writeheader()
    for record in epochs:
        writer.writerow({name: _short(value) for name, value in asdict(record).items()})
    write_bytes_atomic(folder / HISTORY_NAME, text.getvalue().encode())
    if epochs:
        _plot_curve(folder / CURVE_NAME, epochs)


def _short(value: object) -> object:
    return f"{value:.6g}" if isinstance(value, float) else value


def _plot_curve(path: Path, epochs: Sequence[EpochRecord]) -> None:
    """Draw loss and accuracy by epoch, one after another, with a line where a phase begins."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    losses, accuracies = figure.subplots(1, 2)
    numbers = range(1, len(epochs) + 1)
    losses.plot(numbers, [record.train_loss for record in epochs], "o-", markersize=3, label="training")
    losses.plot(numbers, [record.valid_loss for record in epochs], "o-", markersize=3, label="held-out")
    losses.legend(frameon=False)
    accuracies.plot(numbers, [record.accuracy for record in epochs], "o-", markersize=3)
    for axes, title in ((losses, "loss"), (accuracies, "held-out accuracy")):
        axes.set(title=title, xlabel="epoch")
        _mark_phases(axes, epochs)
    with replacing(path) as temporary:
        FigureCanvasAgg(figure).print_png(str(temporary))  # type: ignore[no-untyped-call]


def _mark_phases(axes: "Axes", epochs: Sequence[EpochRecord]) -> None:
    for number, record in enumerate(epochs):
        if record.epoch == 1:
            axes.axvline(number + 0.5, color="0.8", linewidth=1)
            place = axes.get_xaxis_transform()
            axes.text(number + 0.6, 0.01, record.phase, transform=place, fontsize=8, color="0.4")
