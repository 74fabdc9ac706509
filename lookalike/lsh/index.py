"""`VectorIndex`: what all engines share, from the checks of a query to storage."""

import io
import zipfile
from abc import ABC, abstractmethod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lookalike.lsh import steps
from lookalike.lsh.base import Float32Array, Int64Array, Metric, Neighbors
from lookalike.lsh.checks import checked_ids, checked_int, checked_query, checked_vectors
from lookalike.lsh.content import Content, rows_of_ids, take
from lookalike.lsh.space import VectorSpace
from lookalike.lsh.storage import read_arrays, read_description, unpack_index, write_index_folder
from lookalike.lsh.stored_checks import check_stored


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

    def range_search(self, vector: ArrayLike, radius: float) -> Neighbors:
        """All vectors at a distance of at most `radius` from `vector` (dim,), as far as `query` finds them; in order.

        More and more neighbors are asked for, until they lie beyond the radius.
        """
        k = steps.level_of(1)
        while True:
            answer = self.query(vector, k)
            n_within = int(np.searchsorted(answer.distances, np.float32(radius), "right"))
            if n_within < k or k >= len(self):
                return Neighbors(answer.ids[:n_within], answer.distances[:n_within], answer.candidates)
            k = steps.level_of(k + 1)

    def get(self, ids: ArrayLike) -> Float32Array:
        """The vectors (n, dim) with these ids (n,), in their order; a copy.

        Raises:
            ValueError: an id is not in the index, or occurs twice.
        """
        content = self._content
        rows = rows_of_ids(content, checked_ids(ids, np.size(np.asarray(ids))))
        order = np.argsort(rows)
        vectors: Float32Array = np.empty((len(rows), self.dim), np.float32)
        vectors[order] = take(content.segments, "vectors", rows[order])
        return vectors

    def __contains__(self, id: object) -> bool:
        return isinstance(id, int | np.integer) and bool((self.ids == id).any())

    def to_bytes(self) -> bytes:
        """The index as one string of bytes: a ZIP archive of what `save` writes."""
        stream = io.BytesIO()
        with TemporaryDirectory() as folder, zipfile.ZipFile(stream, "w") as archive:
            self.save(folder)
            for path in sorted(Path(folder).iterdir()):
                archive.write(path, path.name)
        return stream.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The index that `to_bytes` gave.

        Raises:
            IndexFormatError: not such bytes, or altered ones.
        """
        with TemporaryDirectory() as folder:
            unpack_index(data, Path(folder))
            return cls.load(folder, mmap=False)

    def save(self, folder: Path | str) -> None:
        """Write the index to `folder`: `.npy` files, and `index.json` last."""
        content, parameters, arrays = self._stored()
        common = {"vectors": content.main.vectors, "ids": content.ids, "mean": self.mean}
        write_index_folder(Path(folder), self.engine, {"metric": self.metric, **parameters}, {**common, **arrays})

    @classmethod
    def load(cls, folder: Path | str, mmap: bool = True) -> Self:
        """The index that `save` wrote; with `mmap`, arrays stay on disk until they are needed.

        Raises:
            IndexFormatError: a file is missing, truncated or altered, of an unknown format, or out of range.
        """
        description = read_description(Path(folder), cls.engine)
        arrays, parameters = read_arrays(Path(folder), description, mmap), description["parameters"]
        check_stored(Path(folder), cls.engine, parameters, arrays)
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
