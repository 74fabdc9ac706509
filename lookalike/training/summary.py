"""What the stage fine_tune reports."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TrainingSummary:
    """Held-out top-1 accuracy, the seconds of each part, the epochs of all stages together, and the precision used.

    `step_seconds` are the seconds of one training step in each precision that `training.precision=auto` timed; empty
    if none was.
    """

    accuracy: float
    seconds: dict[str, float]
    epochs: int
    precision: str
    step_seconds: dict[str, float]
