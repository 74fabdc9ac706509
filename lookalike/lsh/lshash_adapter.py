"""lshash3, the reference engine, behind the common interface and with our seeded hyperplanes."""

import contextlib
import io
import warnings
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lookalike.errors import ConfigError
from lookalike.limits import MAX_BITS, MAX_TABLES
from lookalike.lsh.base import Float32Array, Float64Array, Int64Array, Metric, Neighbors, nearest_first
from lookalike.lsh.checks import (
    checked_choice,
    checked_ids,
    checked_int,
    checked_mean,
    checked_metric,
    checked_query,
    checked_vectors,
)
from lookalike.lsh.content import Content, new_content
from lookalike.lsh.hyperplanes import draw_hyperplanes, given_hyperplanes, no_hyperplanes
from lookalike.lsh.index import VectorIndex
from lookalike.lsh.space import VectorSpace, mean_of_rows
from lookalike.lsh.vectors import widened

Probe = Literal["plain", "hamming"]
# lshash3's names: "hamming" looks into buckets at Hamming distance 0 and 1, every other name into one bucket;
# both rank by squared Euclidean distance.
_DISTANCE_FUNCTIONS: dict[str, str] = {"plain": "euclidean", "hamming": "hamming"}


class LSHashIndex(VectorIndex):
    """An index by lshash3; make one with `build` or `load`. It holds vectors as Python floats: about 16 KB each."""

    engine = "lshash3"

    def __init__(self, content: Content, normals: Float32Array, *, probe: Probe, seed: int) -> None:
        super().__init__(content)
        self._normals = normals
        self._probe = probe
        self._seed = seed
        self._hashes = _new_lshash(normals)
        for row, point in enumerate(self._points(widened(content.main.vectors))):
            # lshash3 drops extra data that is false, such as 0.
            self._hashes.index(point, extra_data=row + 1)

    @classmethod
    def build(
        cls,
        vectors: ArrayLike,
        ids: ArrayLike | None = None,
        *,
        n_bits: int | None = None,
        n_tables: int | None = None,
        seed: int = 0,
        metric: Metric = "cosine",
        center: bool = True,
        mean: ArrayLike | None = None,
        probe: Probe = "plain",
        hyperplanes: ArrayLike | None = None,
    ) -> Self:
        """An index over `vectors` (n, dim) with the hyperplanes that `HyperplaneLSH` draws from the same seed.

        `probe` is "plain" (the query's own bucket in each table) or "hamming" (also those that differ in one bit).

        Raises:
            ConfigError: lshash3 is not installed.
        """
        rows = checked_vectors(vectors)
        row_ids, seed = checked_ids(ids, len(rows)), checked_int("seed", seed, 0)
        centre = mean_of_rows(rows) if center and mean is None else checked_mean(mean, rows.shape[1])
        normals = _normals(hyperplanes, rows.shape[1], n_tables, n_bits, seed)
        checked_choice("probe", probe, Probe)
        checked_choice("metric of lshash3", metric, ("cosine", "euclidean"))
        space = VectorSpace(checked_metric(metric), centre)
        content = new_content(rows, row_ids, space, no_hyperplanes(space.dim))
        return cls(content, normals, probe=probe, seed=seed)

    def query(self, vector: ArrayLike, k: int) -> Neighbors:
        """The min(k, len) nearest in the buckets, nearest first; of all vectors if the buckets hold too few."""
        query, k = checked_query(vector, self.dim), checked_int("k", k, 1)
        rows = self._candidate_rows(query)
        prepared = self._content.space.prepare(query)
        if len(rows) < min(k, len(self)):
            return self.search_exact(query, k)
        # lshash3 returns candidates in order; only the near ones need our exact distances.
        near = rows[: k + 64]
        distances = self._content.space.distances(self._content.main.vectors[near], prepared)
        return nearest_first(self._content.ids[near], distances, k, len(rows))

    def candidates(self, vector: ArrayLike) -> Int64Array:
        """The ids of all vectors that lshash3 finds, in its order of distance."""
        return self._content.ids[self._candidate_rows(checked_query(vector, self.dim))]

    def _candidate_rows(self, query: Float32Array) -> Int64Array:
        point = next(iter(self._points(query[None, :])))
        found = self._hashes.query(point, distance_func=_DISTANCE_FUNCTIONS[self._probe])
        return np.array([extra - 1 for (_, extra), _ in found], dtype=np.int64)

    def _points(self, vectors: Float32Array) -> Any:
        """Rows as lshash3 gets them: centred, and of unit length for cosine, so that it ranks as we do."""
        for vector in vectors:
            point: Float64Array = self._content.space.prepare(vector).direction
            yield point

    def stats(self) -> dict[str, Any]:
        """Figures about the index, fit for JSON."""
        return {
            **super().stats(),
            "n_bits": self._normals.shape[1],
            "n_tables": self._normals.shape[0],
            "probe": self._probe,
            "seed": self._seed,
            "occupied_buckets": [len(table.keys()) for table in self._hashes.hash_tables],
        }

    def _stored(self) -> tuple[Content, dict[str, Any], dict[str, NDArray[Any]]]:
        # Not lshash3's own format, which is a pickle.
        return self._content, {"probe": self._probe, "seed": self._seed}, {"normals": self._normals}

    @classmethod
    def _restored(cls, space: VectorSpace, parameters: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Self:
        # The tables are built again, about a millisecond per vector.
        content = new_content(arrays["vectors"], arrays["ids"], space, no_hyperplanes(space.dim))
        return cls(content, arrays["normals"], probe=parameters["probe"], seed=parameters["seed"])

    @property
    def hyperplanes(self) -> Float32Array:
        """Normals (n_tables, n_bits, dim) of the hyperplanes."""
        return self._normals


def _normals(
    hyperplanes: ArrayLike | None, dim: int, n_tables: int | None, n_bits: int | None, seed: int
) -> Float32Array:
    if hyperplanes is None:
        if n_tables is None or n_bits is None:
            raise ValueError("n_bits and n_tables are needed")
        n_tables = checked_int("n_tables", n_tables, 1, MAX_TABLES)
        n_bits = checked_int("n_bits", n_bits, 1, MAX_BITS)
        planes = draw_hyperplanes(dim, n_tables, n_bits, n_tables * n_bits, seed)
    else:
        planes = given_hyperplanes(hyperplanes, dim, None, seed)
    return planes.normals[: planes.n_keyed].reshape(planes.n_tables, planes.n_bits, dim)


def _new_lshash(normals: Float32Array) -> Any:
    """An empty lshash3 index with the given hyperplanes (n_tables, n_bits, dim)."""
    lshash = import_lshash()
    n_tables, n_bits, dim = normals.shape
    # Planes that are already there keep lshash3 from drawing its own from NumPy's global state.
    hashes = lshash.__new__(lshash)
    hashes.uniform_planes = [np.asarray(table, np.float64) for table in normals]
    hashes.__init__(n_bits, dim, n_tables)
    return hashes


def import_lshash() -> Any:
    """The class of lshash3; the warnings and output of its import are suppressed.

    Raises:
        ConfigError: lshash3 is not installed.
    """
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            from lshash.lshash import LSHash
    except ImportError as cause:
        raise ConfigError(
            f"index.engine: lshash3 cannot be used here ({cause}); it installs on Python 3.11 only: choose lookalike"
        ) from cause
    return LSHash
