"""What the stage fine_tune reports."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TrainingSummary:
    """Held-out top-1 accuracy, the seconds of each step, the epochs of all stages together, the precision used."""

    accuracy: float
    seconds: dict[str, float]
    epochs: int
    precision: str
