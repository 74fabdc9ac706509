"""The training history, one row per epoch, as CSV and as a plot."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from lookalike.files import replacing, write_bytes_atomic
from lookalike.training.loop import EpochRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HISTORY_NAME = "history.csv"
CURVE_NAME = "training_curve.png"


def write_history(folder: Path, epochs: Sequence[EpochRecord]) -> None:
    """Write `history.csv` and, if there was an epoch, `training_curve.png` into `folder`."""
    history = pd.DataFrame(epochs, columns=EpochRecord._fields)
    write_bytes_atomic(folder / HISTORY_NAME, history.to_csv(index=False, float_format="%.6g").encode())
    if epochs:
        _plot_curve(folder / CURVE_NAME, history)


def _plot_curve(path: Path, history: pd.DataFrame) -> None:
    """Draw loss and accuracy by epoch, one after another, with a line where a phase begins."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    losses, accuracies = figure.subplots(1, 2)
    numbers = history.index + 1
    losses.plot(numbers, history["train_loss"], "o-", markersize=3, label="training")
    losses.plot(numbers, history["valid_loss"], "o-", markersize=3, label="held-out")
    losses.legend(frameon=False)
    accuracies.plot(numbers, history["accuracy"], "o-", markersize=3)
    for axes, title in ((losses, "loss"), (accuracies, "held-out accuracy")):
        axes.set(title=title, xlabel="epoch")
        _mark_phases(axes, history)
    with replacing(path) as temporary:
        FigureCanvasAgg(figure).print_png(str(temporary))  # type: ignore[no-untyped-call]


def _mark_phases(axes: "Axes", history: pd.DataFrame) -> None:
    starts = history[history["epoch"] == 1]
    for start, phase in zip(starts.index.to_numpy(), starts["phase"], strict=True):
        axes.axvline(start + 0.5, color="0.8", linewidth=1)
        axes.text(start + 0.6, 0.01, phase, transform=axes.get_xaxis_transform(), fontsize=8, color="0.4")
