"""The answer to a query, as plain values."""

from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any


@dataclass(frozen=True)
class SimilarImage:
    """One answer. `path` is relative to the dataset's root; `rank` counts from 1; without labels `label` is empty.

    `similarity` is the cosine similarity (1 - distance) for the metric cosine, 1 / (1 + distance) for
    Euclidean, and the inner product for that: larger is more similar.
    """

    rank: int
    image_id: str
    path: str
    label: str
    distance: float
    similarity: float

    @property
    def caption(self) -> str:
        """What to call it in a picture: its label, or its file's name where there are no labels."""
        return self.label or PurePosixPath(self.path).name


@dataclass(frozen=True)
class QueryResult:
    """The answer to one query, nearest first; `error` is set and `neighbors` empty if it failed.

    `candidates` counts the images whose distance was computed, `latency_ms` the time for decoding,
    embedding and search together. `dataset_root` is where the neighbors' paths begin, and
    `query_image` the bytes of the query image as it was given.
    """

    query: str
    neighbors: tuple[SimilarImage, ...]
    candidates: int
    latency_ms: float
    error: str | None = None
    dataset_root: Path = Path()
    query_image: bytes = b""

    def as_json(self) -> dict[str, Any]:
        """The public form: plain values, without the image."""
        return {
            "query": self.query,
            "error": self.error,
            "neighbors": [asdict(neighbor) for neighbor in self.neighbors],
            "candidates": self.candidates,
            "latency_ms": self.latency_ms,
        }


def similarity_of(distance: float, metric: str) -> float:
    """The similarity that belongs to a distance, rounded for people; see SimilarImage."""
    if metric == "inner_product":
        return round(-distance, 6)
    return round(1.0 - distance if metric == "cosine" else 1.0 / (1.0 + distance), 6)
