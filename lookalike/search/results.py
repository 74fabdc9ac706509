"""The answer to a query, as plain values."""

from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any


@dataclass(frozen=True)
class SimilarImage:
    """One answer to a query. `rank` counts from 1, `path` is relative to the dataset's root, `label` may be empty.

    `similarity` is the cosine similarity (1 - distance) for the metric cosine, and
    1 / (1 + distance) for Euclidean: larger is more similar, at most 1.
    """

    rank: int
    image_id: str
    path: str
    label: str
    distance: float
    similarity: float

    @property
    def caption(self) -> str:
        """The label, or the file's name in a collection without labels."""
        return self.label or PurePosixPath(self.path).name


@dataclass(frozen=True)
class QueryResult:
    """The answer to one query, nearest first; `error` is set and `neighbors` empty if it failed.

    `candidates` counts the images whose distance was computed, `latency_ms` the time for decoding,
    embedding and search together. The neighbors' paths are relative to `dataset_root`;
    `query_image` is an image file that shows the query.
    """

    query: str
    neighbors: tuple[SimilarImage, ...] = ()
    candidates: int = 0
    latency_ms: float = 0.0
    error: str | None = None
    dataset_root: Path = Path()
    query_image: bytes = b""

    def as_json(self) -> dict[str, Any]:
        """Return the public form: plain values, without the image."""
        return {
            "query": self.query,
            "error": self.error,
            "neighbors": [asdict(neighbor) for neighbor in self.neighbors],
            "candidates": self.candidates,
            "latency_ms": self.latency_ms,
        }


def similarity_of(distance: float, metric: str) -> float:
    """Return the similarity that belongs to a distance, rounded to six digits; see `SimilarImage`."""
    return round(1.0 - distance if metric == "cosine" else 1.0 / (1.0 + distance), 6)
