"""HyperplaneLSH: an index by random hyperplanes, with query-directed probing and exact ranking of what it finds.

A query goes through these stages:

1. hash: one bit a hyperplane; `n_bits` of them are a key in each of `n_tables` tables,
2. probe: the buckets most likely to hold neighbors, in order (`probing.py`),
3. filter: of the rows found, those whose sketches differ least from the query's,
4. rank: exact distances of these, nearest first.

When the buckets hold too few rows, more are looked up, and in the end everything is scanned.
"""

from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike

from lookalike.limits import MAX_PROBES
from lookalike.lsh import compiled, search
from lookalike.lsh.base import Float32Array, Int64Array, Metric, Neighbors
from lookalike.lsh.batch import answer_batch
from lookalike.lsh.checks import (
    checked_ids,
    checked_int,
    checked_mean,
    checked_metric,
    checked_query,
    checked_vectors,
)
from lookalike.lsh.content import Content, compacted, new_content, rows_of_ids, with_rows, without_rows
from lookalike.lsh.hyperplanes import Hyperplanes, checked_hyperplanes, hash_query
from lookalike.lsh.probing import hamming_ball, probe_sequence
from lookalike.lsh.space import PreparedQuery, VectorSpace, mean_of_rows
from lookalike.threads import available_cores

Probes = int | Literal["hamming"]

DEFAULT_PROBES = 8
DEFAULT_RERANK = 256
# When a query finds too few candidates, it looks into this many times as many buckets.
MORE_PROBES = (1, 4, 16)


class HyperplaneLSH:
    """Approximate nearest neighbors by random hyperplanes; make one with `build` or `load`.

    Queries may run in several threads, also during `add`, `remove` and `compact`, which may not run together.
    """

    def __init__(
        self, space: VectorSpace, planes: Hyperplanes, content: Content, *, probes: int, rerank: int, seed: int
    ) -> None:
        self._space = space
        self._planes = planes
        self._plane_norms = planes.norms()
        self._content = content
        self._compiled: compiled.CompiledSearch | None = None
        self.probes = probes
        self.rerank = rerank
        self.seed = seed

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
        probes: int = DEFAULT_PROBES,
        rerank: int = DEFAULT_RERANK,
        sketch_bits: int | None = None,
        hyperplanes: ArrayLike | None = None,
    ) -> Self:
        """An index over `vectors` (n, dim), which it refers to and does not copy when they are C-ordered float32.

        Args:
            vectors: float32 (n, dim); n may be 0. They must not change while the index lives.
            ids: distinct integers (n,), by default the row numbers.
            n_bits: hyperplanes a table, 1 to 32; `tune_lsh` chooses them well.
            n_tables: number of tables.
            seed: the hyperplanes' seed; same input and seed, same index.
            metric: cosine (1 - similarity) or euclidean (not squared).
            center: subtract the mean first; vectors that lie on one side of the origin need it.
            mean: subtract this one (dim,) instead of the mean of `vectors`.
            probes: buckets looked up for each table, on average.
            rerank: candidates whose exact distance is computed, at least; more for k above 64.
            sketch_bits: bits of the filter's sketches, by default 256 or what the tables need.
            hyperplanes: normals (n_tables, n_bits, dim) to use instead of drawn ones.

        Raises:
            TypeError, ValueError: see `checked_vectors` and `checked_ids`; parameters out of range.
        """
        rows = checked_vectors(vectors)
        row_ids = checked_ids(ids, len(rows))
        probes, rerank = checked_int("probes", probes, 1, MAX_PROBES), checked_int("rerank", rerank, 1)
        seed = checked_int("seed", seed, 0)
        planes = checked_hyperplanes(hyperplanes, rows.shape[1], n_tables, n_bits, sketch_bits, seed)
        centre = mean_of_rows(rows) if center and mean is None else checked_mean(mean, rows.shape[1])
        space = VectorSpace(checked_metric(metric), centre)
        content = new_content(rows, row_ids, space, planes)
        return cls(space, planes, content, probes=probes, rerank=rerank, seed=seed)

    def query(self, vector: ArrayLike, k: int, *, probes: int | None = None) -> Neighbors:
        """The min(k, len) nearest to `vector` (dim,), as far as the buckets hold them; nearest first.

        While k stays at or below 64 (then 256, 1024, ...), the top k is a prefix of the top k + 1.
        """
        query = checked_query(vector, self.dim)
        return self._query(query, checked_int("k", k, 1), self._checked_probes(probes))

    def query_batch(
        self, vectors: ArrayLike, k: int, *, probes: int | None = None, threads: int | None = None
    ) -> list[Neighbors]:
        """What `query` answers for each row of `vectors` (n_queries, dim); on all cores unless `threads` says less.

        A large batch loads the compiled code (see `warm_up`) when that takes less time than it saves.
        """
        queries = checked_vectors(vectors, self.dim, "queries")
        k, probes = checked_int("k", k, 1), self._checked_probes(probes)
        threads = available_cores() if threads is None else checked_int("threads", threads, 1)
        return answer_batch(queries, lambda query: self._query(query, k, probes), self.warm_up, threads)

    def warm_up(self) -> None:
        """Load the compiled code now (1 s; 10 s or so the first time on a machine)."""
        compiled.load_kernels()
        self._compiled_search(self._content).query(self._space.mean + 1, 1, 1, 1)

    def search_exact(self, vector: ArrayLike, k: int) -> Neighbors:
        """The min(k, len) nearest to `vector` (dim,) of all vectors, by the same metric and mean."""
        query, k = checked_query(vector, self.dim), checked_int("k", k, 1)
        return search.scan(self._space, self._content, self._space.prepare(query), k)

    def candidates(self, vector: ArrayLike, *, probes: Probes | None = None) -> Int64Array:
        """The ids, ascending, of all vectors in the buckets that a query looks into first.

        `probes="hamming"` looks into every bucket that differs from the query's in at most one bit.
        """
        query = checked_query(vector, self.dim)
        tables, keys, _ = self._probe(self._space.prepare(query), probes)
        return np.sort(self._content.ids[search.rows_in_buckets(self._content, tables, keys)])

    def rank(self, vector: ArrayLike, ids: ArrayLike, k: int) -> Neighbors:
        """The min(k, n) nearest of the vectors with the given ids (n,), whatever buckets they are in."""
        query, k = checked_query(vector, self.dim), checked_int("k", k, 1)
        wanted = checked_ids(ids, np.size(np.asarray(ids)))
        rows = np.sort(rows_of_ids(self._content, wanted))
        return search.rank_rows(self._space, self._content, rows, self._space.prepare(query), k)

    def add(self, vectors: ArrayLike, ids: ArrayLike) -> None:
        """Add vectors (n, dim) under new ids (n,); answers are then those of an index built with the same mean.

        Many at once are far cheaper than one by one.

        Raises:
            ValueError: an id is in the index already, or the vectors are bad; then nothing was added.
        """
        rows = checked_vectors(vectors, self.dim)
        self._content = with_rows(self._content, rows, checked_ids(ids, len(rows)), self._space, self._planes)

    def remove(self, ids: ArrayLike) -> None:
        """Remove the vectors with these ids (n,); they may be added again later.

        Raises:
            ValueError: an id is not in the index; then nothing was removed.
        """
        gone = checked_ids(ids, np.size(np.asarray(ids)))
        self._content = without_rows(self._content, gone, self._space, self._planes)

    def compact(self) -> None:
        """Free the room of removed vectors and merge added ones; happens by itself when they grow many."""
        self._content = compacted(self._content, self._space, self._planes)

    def save(self, folder: Path | str) -> None:
        """Write the index to `folder`: `.npy` files, and `index.json` last."""
        from lookalike.lsh.storage import save_index

        content = compacted(self._content, self._space, self._planes)
        save_index(Path(folder), self._space, self._planes, content, self._options())

    @classmethod
    def load(cls, folder: Path | str, mmap: bool = True) -> Self:
        """The index that `save` wrote; with `mmap`, vectors and tables stay on disk until they are needed.

        Raises:
            IndexFormatError: a file is missing, truncated or altered, or of an unknown format.
        """
        from lookalike.lsh.storage import read_index

        space, planes, content, options = read_index(Path(folder), mmap)
        return cls(space, planes, content, **options)

    def stats(self) -> dict[str, Any]:
        """Figures about the index, fit for JSON; see `explain.index_stats`."""
        from lookalike.lsh.explain import index_stats

        parameters = {"engine": "lookalike", "metric": self.metric, **self._options()}
        return {**parameters, **index_stats(self._content, self._planes)}

    def explain(self, vector: ArrayLike, id: int, *, probes: int | None = None) -> dict[str, Any]:
        """Why a query does or does not find the vector `id`, fit for JSON; see `explain.explain_match`."""
        from lookalike.lsh.explain import explain_match

        prepared = self._space.prepare(checked_query(vector, self.dim))
        row = int(rows_of_ids(self._content, np.array([checked_int("id", id, -(2**63))]))[0])
        n_probes = self._checked_probes(probes) * self.n_tables
        return {"id": id, **explain_match(self._space, self._planes, self._content, prepared, row, n_probes)}

    def __len__(self) -> int:
        return len(self._content)

    @property
    def dim(self) -> int:
        """Length of the vectors."""
        return self._space.dim

    @property
    def mean(self) -> Float32Array:
        """What is subtracted from every vector (dim,); zeros without centring."""
        return self._space.mean

    @property
    def metric(self) -> Metric:
        """The distance that neighbors are ranked by."""
        return self._space.metric

    @property
    def ids(self) -> Int64Array:
        """The ids (len,) of all vectors, in no order."""
        content = self._content
        return content.ids if content.alive is None else content.ids[content.alive]

    @property
    def n_bits(self) -> int:
        """Hyperplanes per table."""
        return self._planes.n_bits

    @property
    def n_tables(self) -> int:
        """Number of tables."""
        return self._planes.n_tables

    @property
    def hyperplanes(self) -> Float32Array:
        """Normals (n_tables, n_bits, dim) of the tables' hyperplanes."""
        return self._planes.normals[: self._planes.n_keyed].reshape(self.n_tables, self.n_bits, self.dim)

    def _options(self) -> dict[str, int]:
        return {"probes": self.probes, "rerank": self.rerank, "seed": self.seed}

    def _checked_probes(self, probes: int | None) -> int:
        return self.probes if probes is None else checked_int("probes", probes, 1, MAX_PROBES)

    def _query(self, query: Float32Array, k: int, probes: int) -> Neighbors:
        content = self._content
        if not search.needs_scan(k, len(content)):
            run = self._query_compiled if compiled.kernels_are_loaded() else self._query_numpy
            for factor in MORE_PROBES:
                answer = run(content, query, k, factor * probes)
                if answer is not None:
                    return answer
        return search.scan(self._space, content, self._space.prepare(query), k)

    def _query_compiled(self, content: Content, query: Float32Array, k: int, probes: int) -> Neighbors | None:
        return self._compiled_search(content).query(query, k, probes, self.rerank)

    def _query_numpy(self, content: Content, query: Float32Array, k: int, probes: int) -> Neighbors | None:
        """The k nearest candidates; None when there are too few, or the query is a zero vector."""
        prepared = self._space.prepare(query)
        if prepared.is_zero:
            return None
        tables, keys, sketch = self._probe(prepared, probes)
        rows = search.candidate_rows(content, tables, keys)
        if len(rows) < search.level_of(k):
            return None
        kept = search.filter_by_sketch(content, rows, sketch, search.rerank_size(self.rerank, k))
        return search.rank_rows(self._space, content, kept, prepared, k)

    def _probe(self, query: PreparedQuery, probes: Probes | None) -> tuple[Int64Array, Any, Any]:
        """Tables and keys of the buckets to look into, and the query's sketch."""
        keys, sketch, margins = hash_query(query, self._space.mean, self._planes, self._plane_norms)
        if probes == "hamming":
            return *hamming_ball(keys, self.n_bits), sketch
        n_probes = self._checked_probes(probes) * self.n_tables
        return *probe_sequence(keys, margins, n_probes)[:2], sketch

    def _compiled_search(self, content: Content) -> compiled.CompiledSearch:
        handle = self._compiled
        if handle is None or handle.content is not content:
            handle = compiled.compiled_search(content, self._space, self._planes, self._plane_norms)
            self._compiled = handle
        return handle
