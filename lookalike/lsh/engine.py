"""HyperplaneLSH: an index by random hyperplanes, with query-directed probing and exact ranking of the candidates.

A query has four steps:

1. hash: one bit per hyperplane; `n_bits` of them form the key in each of `n_tables` tables,
2. probe: the buckets most likely to hold neighbors, in order (`probing.py`),
3. filter: of the rows found, those that are nearest by an estimate from their sketches (`sketches.py`),
4. rank: exact distances of these, nearest first.

If the buckets hold too few rows, more buckets are probed, and in the end all rows are scanned.
"""

import time
from dataclasses import replace
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lookalike.limits import MAX_PROBES, MAX_ROWS
from lookalike.lsh import steps
from lookalike.lsh.base import Float32Array, Int64Array, Metric, Neighbors, nearest_first
from lookalike.lsh.batch import answer_batch
from lookalike.lsh.changes import compacted
from lookalike.lsh.checks import (
    checked_choice,
    checked_confidence,
    checked_ids,
    checked_int,
    checked_mean,
    checked_metric,
    checked_query,
    checked_vectors,
)
from lookalike.lsh.content import Content, new_content, rows_of_ids
from lookalike.lsh.contract import sure_answer
from lookalike.lsh.explain import explain_match, index_stats
from lookalike.lsh.growing import GrowingIndex
from lookalike.lsh.hyperplanes import checked_hyperplanes, hash_query
from lookalike.lsh.kernels import loading, runner
from lookalike.lsh.probing import hamming_ball, probe_sequence
from lookalike.lsh.space import VectorSpace, space_of_rows
from lookalike.lsh.stored_content import restored_content, stored_content
from lookalike.lsh.subsets import Plan, plan_of_subset, subset_content
from lookalike.lsh.vectors import Storage, as_stored, dtype_of, widened
from lookalike.threads import available_cores

Probes = int | Literal["hamming"]

DEFAULT_PROBES = 8
DEFAULT_RERANK = 128
# In place of a number of probes: the sketches of all rows are compared.
_ALL = 0


class HyperplaneLSH(GrowingIndex):
    """Approximate nearest neighbors by random hyperplanes; make one with `build` or `load`.

    Queries may run in several threads, also during `add`, `remove` and `compact`; those must not run concurrently.
    """

    engine = "lookalike"

    def __init__(self, content: Content, *, probes: int, rerank: int, seed: int, plan: Plan = "probe") -> None:
        super().__init__(content)
        self._kernel_runner: runner.KernelRunner | None = None
        self.probes = probes
        self.rerank = rerank
        self.seed = seed
        self.plan = plan

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
        plan: Plan = "probe",
        storage: Storage = "fp32",
        hyperplanes: ArrayLike | None = None,
    ) -> Self:
        """An index over `vectors` (n, dim), which are referred to, not copied, if they are C-ordered float32.

        Args:
            vectors: float32 (n, dim); n may be 0. They must not change while the index lives.
            ids: distinct integers (n,), by default the row numbers.
            n_bits: hyperplanes per table, 1 to 32; `tune_lsh` chooses a good number.
            n_tables: number of tables.
            seed: seed of the hyperplanes; the same input and seed give the same index.
            metric: cosine (1 - similarity), euclidean (not squared) or inner_product (its negative; not centred).
            center: subtract the mean first, as vectors that lie on one side of the origin need.
            mean: subtract this (dim,) instead of the mean of `vectors`; not for inner_product.
            probes: buckets probed per table, on average.
            rerank: at least this many candidates are ranked exactly; more for k above 64.
            sketch_bits: bits of the filter's sketches, a multiple of 64, by default `dim` of them, but 256 to 512.
            plan: "probe" looks into buckets; "sketches" compares those of all vectors; "scan" ranks all vectors, and
                finds every neighbor.
            storage: precision of the stored vectors, fp32 or fp16 (half the memory); distances are those of the
                stored vectors.
            hyperplanes: normals (n_tables, n_bits, dim) to use instead of random ones; dim + 1 for inner_product.

        Raises:
            TypeError, ValueError: see `checked_vectors` and `checked_ids`; parameters out of range.
        """
        checked_choice("storage", storage, Storage)
        rows = as_stored(checked_vectors(vectors), dtype_of(storage))
        row_ids = checked_ids(ids, len(rows))
        probes, rerank = checked_int("probes", probes, 1, MAX_PROBES), checked_int("rerank", rerank, 1, MAX_ROWS)
        seed = checked_int("seed", seed, 0)
        checked_choice("plan", plan, Plan)
        given_mean = None if mean is None else checked_mean(mean, rows.shape[1])
        space = space_of_rows(checked_metric(metric), rows, center, given_mean)
        planes = checked_hyperplanes(hyperplanes, len(space.hash_mean), n_tables, n_bits, sketch_bits, seed)
        content = new_content(rows, row_ids, space, planes, follows_mean=center and mean is None)
        return cls(content, probes=probes, rerank=rerank, seed=seed, plan=plan)

    def query(
        self,
        vector: ArrayLike,
        k: int,
        *,
        probes: int | None = None,
        confidence: float | None = None,
        where: ArrayLike | None = None,
    ) -> Neighbors:
        """The min(k, len) nearest to `vector` (dim,) among those that the buckets hold; nearest first.

        As long as both are at most 64 (then 256, 1024, ...), the top k is a prefix of the top k + 1.
        With `confidence`, from 0 to below 1, as many buckets and rows are looked at as it takes to find all of the
        k nearest with at least that chance; the answer's own `confidence` says with which.
        With `where`, the answer of `subset(where)`.
        """
        if where is not None:
            return self.subset(where).query(vector, k, probes=probes, confidence=confidence)
        query, k, probes = checked_query(vector, self.dim), checked_int("k", k, 1), self._checked_probes(probes)
        if confidence is None:
            return self._query(query, k, probes)
        return self._sure_query(query, k, probes, checked_confidence(confidence))

    def query_batch(
        self, vectors: ArrayLike, k: int, *, probes: int | None = None, threads: int | None = None
    ) -> list[Neighbors]:
        """The answer of `query` for each row of `vectors` (n_queries, dim), on all cores or in `threads` threads.

        A large batch loads the compiled code (see `warm_up`) if that takes less time than it saves.
        """
        queries = checked_vectors(vectors, self.dim, "queries")
        k, probes = checked_int("k", k, 1), self._checked_probes(probes)
        threads = available_cores() if threads is None else checked_int("threads", threads, 1)
        return answer_batch(queries, lambda query: self._query(query, k, probes), self.warm_up, threads)

    def subset(self, where: ArrayLike) -> Self:
        """An index of some of the vectors, on the same arrays; it stays as it is when this one changes.

        `where` is a mask (len,) in the order of `ids`, or ids. A small subset is ranked as a whole; of a larger one all
        sketches are compared; a large one is probed. It takes a pass over all ids: make it once for many queries.

        Raises:
            TypeError, ValueError: `where` is neither a mask of that length nor ids that are in the index.
        """
        content = subset_content(self._content, where)
        plan, probes, rerank = plan_of_subset(content, self._content.n_searched, self.probes, self.rerank)
        if self.plan == "scan":
            plan, rerank = "sketches", max(self.rerank, content.n_searched)
        return type(self)(content, probes=probes, rerank=rerank, seed=self.seed, plan=plan)

    def warm_up(self) -> None:
        """Load the compiled code now (1 s; about 10 s the first time on a machine), not during the first queries.

        Unasked, it is loaded in a thread once queries have taken NumPy long enough.
        """
        loading.load_kernels(lambda kernels: self._runner(self._content).query(kernels, self.mean + 1, 1, 1, 1))

    def candidates(self, vector: ArrayLike, *, probes: Probes | None = None) -> Int64Array:
        """The ids, ascending, of all vectors in the buckets that a query probes first.

        `probes="hamming"` probes every bucket that differs from the query's in at most one bit.
        """
        query, content = checked_query(vector, self.dim), self._content
        keys, _, margins = hash_query(content.space.prepare(query), content.space, content.planes)
        if probes == "hamming":
            tables, buckets = hamming_ball(keys, self.n_bits)
        else:
            tables, buckets, _ = probe_sequence(keys, margins, self._checked_probes(probes) * self.n_tables)
        return np.sort(content.ids_of_copies(steps.rows_in_buckets(content, tables, buckets))[0])

    def rank(self, vector: ArrayLike, ids: ArrayLike, k: int) -> Neighbors:
        """The min(k, n) nearest of the vectors with the given ids (n,), whatever buckets they are in."""
        query, k = checked_query(vector, self.dim), checked_int("k", k, 1)
        wanted = checked_ids(ids, np.size(np.asarray(ids)))
        content = self._content
        rows = np.sort(rows_of_ids(content, wanted))
        near, distances = steps.rank_rows(content, rows, content.space.prepare(query), k)
        return nearest_first(content.ids[near], distances, k, len(rows))

    def stats(self) -> dict[str, Any]:
        """Figures about the index, fit for JSON; see `explain.index_stats`."""
        return {**super().stats(), **self._options(), **index_stats(self._content)}

    def explain(self, vector: ArrayLike, id: int, *, probes: int | None = None) -> dict[str, Any]:
        """Why a query finds or misses the vector `id`, fit for JSON; see `explain.explain_match`."""
        content = self._content
        prepared = content.space.prepare(checked_query(vector, self.dim))
        row = int(rows_of_ids(content, np.array([checked_int("id", id, -(2**63))]))[0])
        n_probes = self._checked_probes(probes) * self.n_tables
        return {"id": id, **explain_match(content, prepared, row, n_probes)}

    @property
    def n_bits(self) -> int:
        """Hyperplanes per table."""
        return self._content.planes.n_bits

    @property
    def n_tables(self) -> int:
        """Number of tables."""
        return self._content.planes.n_tables

    @property
    def hyperplanes(self) -> Float32Array:
        """Normals (n_tables, n_bits, dim) of the tables' hyperplanes; dim + 1 for inner product."""
        planes = self._content.planes
        return planes.normals[: planes.n_keyed].reshape(planes.n_tables, planes.n_bits, -1)

    def _options(self) -> dict[str, Any]:
        return {"probes": self.probes, "rerank": self.rerank, "seed": self.seed, "plan": self.plan}

    def _checked_probes(self, probes: int | None) -> int:
        return self.probes if probes is None else checked_int("probes", probes, 1, MAX_PROBES)

    def query_without_themselves(self, rows: Int64Array, k: int) -> list[Neighbors]:
        """For each of some rows, by number, the answer of `query` if the index did not hold it; by the buckets."""
        content = self._content

        def answer(row: int) -> Neighbors:
            alive = np.ones(len(content.ids), np.bool_) if content.alive is None else content.alive.copy()
            alive[row] = False
            return self._probing_query(
                replace(content, alive=alive), widened(content.main.vectors[row]), k, self.probes
            )

        return answer_batch(rows, answer, self.warm_up, available_cores())

    def _query(self, query: Float32Array, k: int, probes: int) -> Neighbors:
        content = self._content
        if self.plan == "scan" or steps.needs_scan(k, content.n_searched):
            return steps.scan(content, content.space.prepare(query), k)
        return self._probing_query(content, query, k, _ALL if self.plan == "sketches" else probes)

    def _probing_query(self, content: Content, query: Float32Array, k: int, probes: int) -> Neighbors:
        kernels, started = loading.loaded_kernels(), time.perf_counter()
        answer = None
        for factor in steps.PROBE_FACTORS:
            if kernels is None:
                answer = steps.nearest_in_buckets(content, query, k, factor * probes, self.rerank)
            else:
                answer = self._runner(content).query(kernels, query, k, factor * probes, self.rerank)
            if answer is not None:
                break
        if kernels is None:
            loading.note_numpy_seconds(time.perf_counter() - started, self.warm_up)
        return steps.scan(content, content.space.prepare(query), k) if answer is None else answer

    def _sure_query(self, query: Float32Array, k: int, probes: int, confidence: float) -> Neighbors:
        content, kernels, started = self._content, loading.loaded_kernels(), time.perf_counter()
        prepared = content.space.prepare(query)
        if self.plan == "scan" or steps.needs_scan(k, content.n_searched):
            return replace(steps.scan(content, prepared, k), confidence=1.0)
        compiled = None if kernels is None else (kernels, self._runner(content))
        answer = sure_answer(content, prepared, k, confidence, probes, compiled)
        if kernels is None:
            loading.note_numpy_seconds(time.perf_counter() - started, self.warm_up)
        return answer

    def _runner(self, content: Content) -> runner.KernelRunner:
        current = self._kernel_runner
        if current is None or current.content is not content:
            current = runner.kernel_runner(content)
            self._kernel_runner = current
        return current

    def _stored(self) -> tuple[Content, dict[str, Any], dict[str, NDArray[Any]]]:
        content = compacted(self._content)
        parameters, arrays = stored_content(content)
        return content, {**parameters, **self._options()}, arrays

    @classmethod
    def _restored(cls, space: VectorSpace, parameters: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Self:
        options = {name: parameters[name] for name in ("probes", "rerank", "seed", "plan") if name in parameters}
        return cls(restored_content(space, parameters, arrays), **options)
