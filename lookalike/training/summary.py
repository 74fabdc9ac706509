"""What the stage fine_tune reports."""

from dataclasses import dataclass

# Principal components are taken of at most so many images: more change them little.
COMPONENT_IMAGES = 3000


@dataclass(frozen=True)
class TrainingSummary:
    """Held-out top-1 accuracy (None untrained), the seconds of each step, the epochs of all, the precision used."""

    accuracy: float | None
    seconds: dict[str, float]
    epochs: int
    precision: str
