"""The answer to a query, as plain values and as text."""

from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from lookalike.printable import printable


@dataclass(frozen=True)
class SimilarImage:
    """One answer to a query. `rank` counts from 1, `path` is relative to the dataset's root, `label` may be empty.

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
    if metric == "inner_product":
        return round(-distance, 6)
    return round(1.0 - distance if metric == "cosine" else 1.0 / (1.0 + distance), 6)


def describe_result(result: QueryResult) -> str:
    """One query's answer as a table, nearest first, or its error."""
    query = printable(result.query)
    if result.error is not None:
        return f"{query}: no answer"
    lines = [f"{query}: {len(result.neighbors)} most similar, {result.latency_ms:.0f} ms"]
    labels = [printable(neighbor.label) for neighbor in result.neighbors]
    # Two blanks after the longest label; nothing where there are no labels.
    width = max((len(label) + 2 for label in labels if label), default=0)
    lines += [
        f"  {neighbor.rank:>4}  {neighbor.similarity:6.3f}  {label:<{width}}{printable(neighbor.path)}"
        for neighbor, label in zip(result.neighbors, labels, strict=True)
    ]
    return "\n".join(lines)


def describe_failure(query: str, error: str) -> str:
    """Why a query has no answer, in one line that names the query."""
    return error if query in error else f"{query}: {error}"
