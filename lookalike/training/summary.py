"""What the stage fine_tune reports."""

from dataclasses import dataclass

# Principal components are taken of at most so many images: more change them little.
COMPONENT_IMAGES = 3000


@dataclass(frozen=True)
class TrainingSummary:
    """Held-out top-1 accuracy (None untrained), the seconds of each part, the epochs of all, and the precision used.

    `step_seconds` are the seconds of one training step in each precision that `training.precision=auto` timed; empty
    if none was.
    """

    accuracy: float | None
    seconds: dict[str, float]
    epochs: int
    precision: str
    step_seconds: dict[str, float]
