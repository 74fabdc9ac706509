"""Parameters for a target recall, chosen by measurement on a sample of the vectors themselves.

Whether a table finds a neighbor needs no search: the neighbor lies in a bucket that differs from the
query's in some bits, and it is found when the summed squared margins of these bits are among the
lowest. So one hashing of all vectors with the largest number of hyperplanes gives, for every number of bits,
tables and probes, the recall of the sample's true neighbors and the number of rows met. The cheapest
combination by a fixed model of costs is then built and measured with real queries, and its probes
raised until the target is met. Nothing is timed: the same vectors give the same parameters everywhere.
"""

import logging
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike

from lookalike.limits import MAX_BITS, MAX_PROBES, MAX_TABLES
from lookalike.lsh.base import Float32Array, Float64Array, Int64Array, Metric, Neighbors
from lookalike.lsh.checks import checked_int, checked_metric, checked_vectors
from lookalike.lsh.engine import DEFAULT_PROBES, DEFAULT_RERANK, HyperplaneLSH
from lookalike.lsh.exact import ExactIndex
from lookalike.lsh.hyperplanes import (
    Keys,
    checked_sketch_bits,
    draw_hyperplanes,
    hash_query,
    hash_rows,
)
from lookalike.lsh.probing import probe_sequence
from lookalike.lsh.recall import confidence_interval, recall_at_k, without_row
from lookalike.lsh.space import VectorSpace, mean_of_rows
from lookalike.lsh.steps import ALL_ROWS_FACTOR
from lookalike.lsh.tables import BucketCounts, bucket_counts

logger = logging.getLogger(__name__)

# Nanoseconds on the machine of docs/engine.md; only their ratios matter.
_NANOSECONDS_A_PROBE = 110.0
_NANOSECONDS_A_TABLE = 400.0
_NANOSECONDS_A_ROW = 20.0
_NANOSECONDS_A_ROW_IN_ORDER = 4.0

_TABLE_CHOICES = (4, 8, 12, 20)
_PROBE_CHOICES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
_RERANK_CHOICES = (128, 256, 512, 1024)
_ROWS_PER_BUCKET = (1, 2, 4, 8, 16, 32, 64)
_FEWEST_BITS = 4
_MODEL_QUERIES = 48


@dataclass(frozen=True, slots=True)
class LSHParams:
    """Parameters of `HyperplaneLSH.build`, and the recall@k that they reached on the sample."""

    n_bits: int
    n_tables: int
    probes: int
    rerank: int = DEFAULT_RERANK
    recall: float = float("nan")

    def as_kwargs(self) -> dict[str, int]:
        """The arguments for `HyperplaneLSH.build`."""
        return {name: value for name, value in asdict(self).items() if name != "recall"}


@dataclass(frozen=True, slots=True)
class _Sample:
    """Some of the vectors as queries, by row, and their true neighbors among the other vectors."""

    vectors: Float32Array
    chosen: Int64Array
    truth: list[Neighbors]

    def thinned(self, n_queries: int) -> "_Sample":
        """At most `n_queries` of the queries."""
        step = -(-len(self.chosen) // n_queries)
        return _Sample(self.vectors, self.chosen[::step], self.truth[::step])


def tune_lsh(
    vectors: ArrayLike,
    *,
    target_recall: float = 0.95,
    k: int = 10,
    metric: Metric = "cosine",
    center: bool = True,
    seed: int = 0,
    n_bits: int | None = None,
    n_tables: int | None = None,
    probes: int | None = None,
    n_queries: int = 400,
    query_rows: ArrayLike | None = None,
) -> LSHParams:
    """The parameters that reach `target_recall` at the least cost per query; those that are given stay as they are.

    Recall@k is the share of the k nearest by exact search that the index finds, over `n_queries` of the vectors,
    each queried without itself. `query_rows` are the rows (integers) to draw them from, by default all: the
    promise is for queries like those, and images that a network was not trained on are harder to find than those
    that it was. The parameters are raised until the lower end of its 95 % confidence
    interval reaches the target, or nothing more helps: then the best found is returned, with its recall.
    Fewer than two vectors give parameters without measurement.

    Raises:
        ValueError: `target_recall` is not in (0, 1], a parameter is out of range, or `query_rows` are no rows.
    """
    rows = checked_vectors(vectors)
    if not 0.0 < target_recall <= 1.0:
        raise ValueError(f"target_recall must be above 0 and at most 1, got {target_recall}")
    k, n_queries = checked_int("k", k, 1), checked_int("n_queries", n_queries, 1)
    bits = _choices("n_bits", n_bits, _bit_choices(len(rows)), MAX_BITS)
    tables = _choices("n_tables", n_tables, _TABLE_CHOICES, MAX_TABLES)
    all_probes = _choices("probes", probes, _PROBE_CHOICES, MAX_PROBES)
    space = VectorSpace(checked_metric(metric), mean_of_rows(rows) if center else np.zeros(rows.shape[1], np.float32))
    if len(rows) < 2:
        return LSHParams(bits[0], tables[0], probes or DEFAULT_PROBES)
    sample = _draw_sample(rows, space, k, n_queries, seed, _checked_rows(query_rows, len(rows)))
    plan = _cheapest_plan(sample.thinned(_MODEL_QUERIES), space, target_recall, seed, bits, tables, all_probes)
    return _confirmed(plan, sample, space, target_recall, k, seed, all_probes)


def _choices(name: str, given: int | None, otherwise: tuple[int, ...], highest: int | None) -> tuple[int, ...]:
    return otherwise if given is None else (checked_int(name, given, 1, highest),)


def _bit_choices(n_rows: int) -> tuple[int, ...]:
    """Numbers of bits that give from one to some dozens of rows per bucket."""
    most = np.log2(max(n_rows, 2))
    choices = {int(np.clip(round(most - np.log2(size)), _FEWEST_BITS, MAX_BITS)) for size in _ROWS_PER_BUCKET}
    return tuple(sorted(choices))


def _checked_rows(query_rows: ArrayLike | None, n_rows: int) -> Int64Array:
    if query_rows is None:
        return np.arange(n_rows)
    checked = np.unique(np.asarray(query_rows))
    if not (checked.ndim == 1 and len(checked) and np.issubdtype(checked.dtype, np.integer)):
        raise ValueError("query_rows must be row numbers, at least one")
    if checked[0] < 0 or checked[-1] >= n_rows:
        raise ValueError(f"query_rows must be from 0 to {n_rows - 1}, got {checked[0]} to {checked[-1]}")
    return checked.astype(np.int64)


def _draw_sample(
    rows: Float32Array, space: VectorSpace, k: int, n_queries: int, seed: int, query_rows: Int64Array
) -> _Sample:
    chosen = np.sort(np.random.default_rng(seed).choice(query_rows, min(n_queries, len(query_rows)), replace=False))
    answers = ExactIndex.build(rows, metric=space.metric, mean=space.mean).query_batch(rows[chosen], k + 1)
    truth = [without_row(answer, row, k) for answer, row in zip(answers, chosen, strict=True)]
    return _Sample(rows, chosen, truth)


def _cheapest_plan(
    sample: _Sample,
    space: VectorSpace,
    target_recall: float,
    seed: int,
    bits: tuple[int, ...],
    tables: tuple[int, ...],
    all_probes: tuple[int, ...],
) -> LSHParams:
    """The cheapest combination whose buckets hold the wanted share of neighbors, else the one that holds most."""
    planes = draw_hyperplanes(space.dim, tables[-1], bits[-1], checked_sketch_bits(None, tables[-1] * bits[-1]), seed)
    keys, _ = hash_rows(sample.vectors, space.mean, planes)
    prepared = [space.prepare(sample.vectors[row]) for row in sample.chosen]
    hashes = [(own, margins) for own, _, margins in (hash_query(q, space.mean, planes) for q in prepared)]
    plans = []
    for n_bits in bits:
        # The first bits of longer keys are keys of fewer bits.
        short = keys & np.uint32((1 << n_bits) - 1)
        sizes = [bucket_counts(table_keys, n_bits) for table_keys in short]
        short_hashes = [(own & np.uint32((1 << n_bits) - 1), margins[:, :n_bits]) for own, margins in hashes]
        for n_tables in tables:
            for probes, recall, cost in _model(sample, short_hashes, short[:n_tables], sizes, all_probes):
                enough = recall >= target_recall
                plans.append((not enough, cost if enough else -recall, n_bits, n_tables, probes))
    _, _, n_bits, n_tables, probes = min(plans)
    return LSHParams(n_bits, n_tables, probes)


def _model(
    sample: _Sample,
    hashes: list[tuple[Keys, Float64Array]],
    keys: Keys,
    sizes: list[BucketCounts],
    all_probes: tuple[int, ...],
) -> list[tuple[int, float, float]]:
    """(probes, recall of the buckets, nanoseconds per query) for each number of probes."""
    n_tables, n_rows = keys.shape
    all_probes = _worthwhile(all_probes, n_tables, n_rows)
    recalls, met = np.ones((len(hashes), len(all_probes))), np.zeros((len(hashes), len(all_probes)))
    for number, ((own, margins), true) in enumerate(zip(hashes, sample.truth, strict=True)):
        limits, met[number] = _rows_met(own[:n_tables], margins[:n_tables], sizes, all_probes)
        if len(true):
            scores = _lowest_scores(own[:n_tables], margins[:n_tables], keys[:, true.ids])
            recalls[number] = (scores[:, None] <= limits).mean(axis=0)
    everything = ALL_ROWS_FACTOR * met >= n_rows
    recall = np.where(everything, 1.0, recalls).mean(axis=0)
    comparing = np.where(everything, _NANOSECONDS_A_ROW_IN_ORDER * n_rows, _NANOSECONDS_A_ROW * met).mean(axis=0)
    costs = n_tables * (_NANOSECONDS_A_TABLE + _NANOSECONDS_A_PROBE * np.array(all_probes)) + comparing
    return list(zip(all_probes, recall.tolist(), costs.tolist(), strict=True))


def _worthwhile(all_probes: tuple[int, ...], n_tables: int, n_rows: int) -> tuple[int, ...]:
    """Numbers of probes that cost less than comparing all sketches would; the first one always."""
    limit = _NANOSECONDS_A_ROW_IN_ORDER * n_rows / (_NANOSECONDS_A_PROBE * n_tables)
    return tuple(probes for probes in all_probes if probes <= limit) or all_probes[:1]


def _rows_met(
    own: Keys, margins: Float64Array, sizes: list[BucketCounts], all_probes: tuple[int, ...]
) -> tuple[Float64Array, Int64Array]:
    """For each number of probes, the highest score that is still looked up, and the rows met."""
    n_tables = len(own)
    tables, keys, scores = probe_sequence(own, margins, n_tables * all_probes[-1])
    counts = np.zeros(len(tables), np.int64)
    for table in range(n_tables):
        here = tables == table
        counts[here] = sizes[table].of(keys[here])
    last = np.minimum(n_tables * np.array(all_probes), len(tables)) - 1
    return scores[last], np.cumsum(counts)[last]


def _lowest_scores(own: Keys, margins: Float64Array, stored: Keys) -> Float64Array:
    """For each neighbor, the lowest score of the buckets that it lies in; `stored` keys are (n_tables, k)."""
    differing = (own[:, None] ^ stored)[:, :, None] >> np.arange(margins.shape[1], dtype=np.uint32) & np.uint32(1)
    scores: Float64Array = np.einsum("tkb,tb->tk", differing.astype(np.float64), margins)
    # A sum in another order than that of the probe sequence.
    lowest: Float64Array = scores.min(axis=0) * (1.0 - 1e-12)
    return lowest


def _confirmed(
    plan: LSHParams,
    sample: _Sample,
    space: VectorSpace,
    target_recall: float,
    k: int,
    seed: int,
    all_probes: tuple[int, ...],
) -> LSHParams:
    """The plan with probes raised, and then the re-rank size lowered, until real queries reach the target surely."""
    index = HyperplaneLSH.build(
        sample.vectors,
        n_bits=plan.n_bits,
        n_tables=plan.n_tables,
        seed=seed,
        metric=space.metric,
        mean=space.mean,
    )
    queries = sample.vectors[sample.chosen]

    def measured(probes: int, rerank: int) -> tuple[LSHParams, bool]:
        index.rerank = rerank
        answers = zip(index.query_batch(queries, k + 1, probes=probes), sample.chosen, sample.truth, strict=True)
        shares = [recall_at_k(without_row(found, row, k).distances, true.distances, k) for found, row, true in answers]
        params = LSHParams(plan.n_bits, plan.n_tables, probes, rerank, float(np.mean(shares)))
        return params, confidence_interval(np.array(shares))[0] >= target_recall

    largest = _RERANK_CHOICES[-1]
    for probes in [choice for choice in all_probes if choice >= plan.probes]:
        best, enough = measured(probes, largest)
        if enough or best.recall == 1.0:
            break
    else:
        logger.warning("recall@%d reaches %.4f on the sample, %.4f was wanted", k, best.recall, target_recall)
        return best
    for rerank in _RERANK_CHOICES[:-1]:
        smaller, enough = measured(best.probes, rerank)
        if enough or smaller.recall == 1.0:
            return smaller
    return best
