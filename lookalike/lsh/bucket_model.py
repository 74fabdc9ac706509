"""Recall and cost of the buckets, for every number of bits, tables and probes, from one hashing of the collection.

Whether a table finds a neighbor needs no search: the neighbor lies in a bucket that differs from the
query's in some bits, and is found if the sum of the squared margins of these bits is among the lowest.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lookalike.lsh.base import Float64Array, Int64Array, Neighbors
from lookalike.lsh.costs import all_sketches_cost, bucket_cost, probing_cost
from lookalike.lsh.hyperplanes import Keys, checked_sketch_bits, draw_hyperplanes, hash_query, hash_rows
from lookalike.lsh.probing import probe_sequence
from lookalike.lsh.space import VectorSpace
from lookalike.lsh.steps import ALL_ROWS_FACTOR
from lookalike.lsh.tables import BucketCounts, bucket_counts
from lookalike.lsh.vectors import StoredVectors

_MODEL_QUERIES = 48


@dataclass(frozen=True, slots=True)
class Sample:
    """Rows of `vectors` as queries, and their true neighbors among the other rows.

    The vectors are a sample of `n_rows`, or all of them.
    """

    vectors: StoredVectors
    chosen: Int64Array
    truth: list[Neighbors]
    n_rows: int

    def thinned(self, n_queries: int) -> "Sample":
        """At most `n_queries` of the queries."""
        step = -(-len(self.chosen) // n_queries)
        return Sample(self.vectors, self.chosen[::step], self.truth[::step], self.n_rows)


@dataclass(frozen=True, slots=True)
class BucketPlan:
    """Numbers of bits, tables and probes."""

    n_bits: int
    n_tables: int
    probes: int


@dataclass(frozen=True, slots=True)
class Choices:
    """The numbers of bits, tables and probes to choose from, each ascending."""

    bits: tuple[int, ...]
    tables: tuple[int, ...]
    probes: tuple[int, ...]


def cheapest_plan(sample: Sample, space: VectorSpace, target_recall: float, seed: int, choices: Choices) -> BucketPlan:
    """The cheapest plan whose buckets hold the target share of neighbors, else the plan that holds most."""
    sample = sample.thinned(_MODEL_QUERIES)
    most = choices.tables[-1], choices.bits[-1]
    dim = len(space.hash_mean)
    planes = draw_hyperplanes(dim, *most, checked_sketch_bits(None, most[0] * most[1], dim), seed)
    keys = hash_rows(sample.vectors, space, planes)[0]
    prepared = [space.prepare(sample.vectors[row]) for row in sample.chosen]
    hashes = [(own, margins) for own, _, margins in (hash_query(q, space, planes) for q in prepared)]
    plans = []
    for n_bits in choices.bits:
        # The first bits of longer keys are keys of fewer bits.
        mask = np.uint32((1 << n_bits) - 1)
        short = keys & mask
        sizes = [bucket_counts(table_keys, n_bits) for table_keys in short]
        short_hashes = [(own & mask, margins[:, :n_bits]) for own, margins in hashes]
        for n_tables in choices.tables:
            for probes, recall, cost in _model(sample, short_hashes, short[:n_tables], sizes, choices.probes):
                enough = recall >= target_recall
                plans.append((not enough, cost if enough else -recall, n_bits, n_tables, probes))
    return BucketPlan(*min(plans)[2:])


def _model(
    sample: Sample,
    hashes: list[tuple[Keys, Float64Array]],
    keys: Keys,
    sizes: list[BucketCounts],
    all_probes: tuple[int, ...],
) -> list[tuple[int, float, float]]:
    """(probes, recall of the buckets, cost per query) for each number of probes."""
    n_tables, n_rows = len(keys), sample.n_rows
    all_probes = worthwhile(all_probes, n_tables, n_rows)
    recalls, met = np.ones((len(hashes), len(all_probes))), np.zeros((len(hashes), len(all_probes)))
    for number, ((own, margins), true) in enumerate(zip(hashes, sample.truth, strict=True)):
        limits, met[number] = _rows_met(own[:n_tables], margins[:n_tables], sizes, all_probes)
        if len(true):
            scores = _lowest_scores(own[:n_tables], margins[:n_tables], keys[:, true.ids])
            recalls[number] = (scores[:, None] <= limits).mean(axis=0)
    # Buckets of the whole hold as many times as many rows. Its nearest neighbors are nearer than those of the sample,
    # so that at least as many of them are found.
    met *= n_rows / keys.shape[1]
    everything = ALL_ROWS_FACTOR * met >= n_rows
    recall = np.where(everything, 1.0, recalls).mean(axis=0)
    comparing = np.where(everything, all_sketches_cost(n_rows), bucket_cost(met)).mean(axis=0)
    costs = [probing_cost(n_tables, probes) for probes in all_probes] + comparing
    return list(zip(all_probes, recall.tolist(), costs.tolist(), strict=True))


def worthwhile(all_probes: tuple[int, ...], n_tables: int, n_rows: int) -> tuple[int, ...]:
    """The numbers of probes that cost less than comparing all sketches; always the first one."""
    limit = all_sketches_cost(n_rows) + probing_cost(n_tables, 0)
    return tuple(probes for probes in all_probes if probing_cost(n_tables, probes) <= limit) or all_probes[:1]


def _rows_met(
    own: Keys, margins: Float64Array, sizes: list[BucketCounts], all_probes: tuple[int, ...]
) -> tuple[Float64Array, NDArray[np.int64]]:
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
    """For each neighbor, the lowest score of the buckets that hold it; `stored` keys are (n_tables, k)."""
    differing = (own[:, None] ^ stored)[:, :, None] >> np.arange(margins.shape[1], dtype=np.uint32) & np.uint32(1)
    scores: Float64Array = np.einsum("tkb,tb->tk", differing.astype(np.float64), margins)
    # These sums have another order than those of the probe sequence.
    lowest: Float64Array = scores.min(axis=0) * (1.0 - 1e-12)
    return lowest
