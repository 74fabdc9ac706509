"""`VectorIndex`: what all engines share, from the checks of a query to storage."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Self

from numpy.typing import ArrayLike, NDArray

from lookalike.lsh import steps
from lookalike.lsh.base import Float32Array, Int64Array, Metric, Neighbors
from lookalike.lsh.checks import checked_int, checked_query, checked_vectors
from lookalike.lsh.content import Content
from lookalike.lsh.space import VectorSpace
from lookalike.lsh.storage import read_arrays, read_description, write_index_folder


class VectorIndex(ABC):
    """Vectors with ids, searched by one metric around one mean.

    Each engine also has the class method `build(vectors, ids=None, **parameters)`; vectors are float32
    (n, dim), ids int64 (n,).
    """

    engine: ClassVar[str]

    def __init__(self, content: Content) -> None:
        self._content = content

    @abstractmethod
    def query(self, vector: ArrayLike, k: int) -> Neighbors:
        """The min(k, len) nearest to `vector` (dim,), nearest first, equal distances by id."""

    def query_batch(self, vectors: ArrayLike, k: int) -> list[Neighbors]:
        """The answer of `query` for each row of `vectors` (n_queries, dim)."""
        return [self.query(vector, k) for vector in checked_vectors(vectors, self.dim, "queries")]

    def search_exact(self, vector: ArrayLike, k: int) -> Neighbors:
        """The min(k, len) nearest to `vector` (dim,) of all vectors, by the same metric and mean."""
        query, k = checked_query(vector, self.dim), checked_int("k", k, 1)
        content = self._content
        return steps.scan(content, content.space.prepare(query), k)

    def save(self, folder: Path | str) -> None:
        """Write the index to `folder`: `.npy` files, and `index.json` last."""
        content, parameters, arrays = self._stored()
        common = {"vectors": content.main.vectors, "ids": content.ids, "mean": self.mean}
        write_index_folder(Path(folder), self.engine, {"metric": self.metric, **parameters}, {**common, **arrays})

    @classmethod
    def load(cls, folder: Path | str, mmap: bool = True) -> Self:
        """The index that `save` wrote; with `mmap`, arrays stay on disk until they are needed.

        Raises:
            IndexFormatError: a file is missing, truncated or altered, or of an unknown format.
        """
        description = read_description(Path(folder), cls.engine)
        arrays, parameters = read_arrays(Path(folder), description, mmap), description["parameters"]
        return cls._restored(VectorSpace(parameters["metric"], arrays["mean"]), parameters, arrays)

    @abstractmethod
    def _stored(self) -> tuple[Content, dict[str, Any], dict[str, NDArray[Any]]]:
        """Content in one segment, and the parameters and arrays that only this engine stores."""

    @classmethod
    @abstractmethod
    def _restored(cls, space: VectorSpace, parameters: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Self:
        """The index with what was stored."""

    def stats(self) -> dict[str, Any]:
        """Figures about the index, fit for JSON."""
        return {"engine": self.engine, "n_vectors": len(self), "dim": self.dim, "metric": self.metric}

    def __len__(self) -> int:
        return len(self._content)

    @property
    def ids(self) -> Int64Array:
        """The ids (len,) of all vectors, in no order."""
        return self._content.living_ids()

    @property
    def dim(self) -> int:
        """Length of the vectors."""
        return self._content.space.dim

    @property
    def metric(self) -> Metric:
        """The distance that neighbors are ranked by."""
        return self._content.space.metric

    @property
    def mean(self) -> Float32Array:
        """What is subtracted from every vector (dim,); zeros without centring."""
        return self._content.space.mean
