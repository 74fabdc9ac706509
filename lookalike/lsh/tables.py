"""Hash tables as arrays: the rows of each bucket side by side, and where each bucket starts.

A table of few possible keys has one start a key (found in one step); a table with far more possible
keys than rows keeps only the keys that occur (found by bisection). Nothing else differs.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lookalike.lsh.base import Int64Array
from lookalike.lsh.hyperplanes import Keys

# Starts may take this many times as many entries as there are rows before only occurring keys are kept.
_DENSE_STARTS_PER_ROW = 1
_DENSE_KEYS_ALWAYS = 1 << 10


@dataclass(frozen=True, slots=True)
class Tables:
    """All tables of some rows.

    `rows` is int32 (n_tables, n), each table's rows in order of key. `starts` is int32, one after the other the
    starts of each table's buckets and its n. `keys` is uint32, the keys that occur, one table after the other,
    and empty when every possible key has a start. `table_offsets` is int64 (n_tables + 1,): where each
    table's buckets begin, counted in buckets.
    """

    rows: NDArray[np.int32]
    starts: NDArray[np.int32]
    keys: Keys
    table_offsets: Int64Array

    @property
    def n_tables(self) -> int:
        """Number of tables."""
        return len(self.rows)

    @property
    def is_dense(self) -> bool:
        """Whether every possible key has a start."""
        return len(self.keys) == 0 and self.table_offsets[-1] > 0

    def bucket_ranges(self, tables: Int64Array, keys: Keys) -> tuple[Int64Array, Int64Array]:
        """First position and size, within the table's rows, of the bucket of each (table, key) pair."""
        positions = self._bucket_positions(tables, keys)
        present = positions >= 0
        places = (positions + tables)[present]
        firsts, sizes = np.zeros((2, len(tables)), np.int64)
        firsts[present] = self.starts[places]
        sizes[present] = self.starts[places + 1] - self.starts[places]
        return firsts, sizes

    def _bucket_positions(self, tables: Int64Array, keys: Keys) -> Int64Array:
        if self.is_dense:
            return self.table_offsets[tables] + keys
        positions = np.full(len(tables), -1, np.int64)
        for index, (table, key) in enumerate(zip(tables.tolist(), keys, strict=True)):
            first, last = int(self.table_offsets[table]), int(self.table_offsets[table + 1])
            position = first + int(np.searchsorted(self.keys[first:last], key))
            if position < last and self.keys[position] == key:
                positions[index] = position
        return positions

    def rows_of_buckets(self, tables: Int64Array, keys: Keys) -> NDArray[np.int32]:
        """The rows of each bucket in turn: a row comes as often as it lies in one of the buckets."""
        firsts, sizes = self.bucket_ranges(tables, keys)
        used = np.flatnonzero(sizes)
        if not len(used):
            return np.empty(0, np.int32)
        pieces = [self.rows[tables[i], firsts[i] : firsts[i] + sizes[i]] for i in used.tolist()]
        return np.concatenate(pieces)

    def bucket_sizes(self, table: int) -> Int64Array:
        """Sizes of one table's buckets that hold anything."""
        first, last = self.table_offsets[table] + table, self.table_offsets[table + 1] + table
        sizes = np.diff(self.starts[first : last + 1]).astype(np.int64)
        return sizes[sizes > 0]


def build_tables(keys: Keys, n_bits: int) -> Tables:
    """Tables of the rows whose keys are given: (n_tables, n)."""
    n_tables, n_rows = keys.shape
    rows = np.empty((n_tables, n_rows), np.int32)
    buckets = []
    for table in range(n_tables):
        rows[table], found = sort_table(keys[table], n_bits)
        buckets.append(found)
    return Tables(rows, *joined_buckets(buckets))


@dataclass(frozen=True, slots=True)
class Buckets:
    """The buckets of one table: `starts` int32, where each begins and where the last ends; keys as in `Tables`."""

    starts: NDArray[np.int32]
    keys: Keys


def sort_table(keys: Keys, n_bits: int) -> tuple[NDArray[np.int32], Buckets]:
    """The rows (n,) of one table in order of their keys (n,), equal ones by row; and the buckets."""
    n_rows, n_possible = len(keys), 1 << n_bits
    # Pairs of key and row as one number sort far faster than an index by keys.
    pairs = keys.astype(np.uint64) << np.uint64(32) | np.arange(n_rows, dtype=np.uint64)
    pairs.sort()
    rows = (pairs & np.uint64(0xFFFFFFFF)).astype(np.int32)
    occurring = np.empty(0, np.uint32)
    if n_possible <= max(_DENSE_KEYS_ALWAYS, _DENSE_STARTS_PER_ROW * n_rows):
        sizes = np.bincount(keys, minlength=n_possible)
    else:
        occurring, sizes = np.unique((pairs >> np.uint64(32)).astype(np.uint32), return_counts=True)
    return rows, Buckets(np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32), occurring)


def joined_buckets(buckets: list[Buckets]) -> tuple[NDArray[np.int32], Keys, Int64Array]:
    """`starts`, `keys` and `table_offsets` of `Tables`, from the buckets of each table."""
    starts = np.concatenate([np.empty(0, np.int32), *(each.starts for each in buckets)])
    keys = np.concatenate([np.empty(0, np.uint32), *(each.keys for each in buckets)])
    offsets = np.concatenate([[0], np.cumsum([len(each.starts) - 1 for each in buckets])])
    return starts, keys, offsets.astype(np.int64)


@dataclass(frozen=True, slots=True)
class BucketCounts:
    """How many rows have each key: by key, or for the keys that occur, ascending."""

    counts: Int64Array
    keys: Keys | None

    def of(self, keys: Keys) -> Int64Array:
        """The number of rows of each key."""
        if self.keys is None:
            return self.counts[keys]
        places = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[places] == keys, self.counts[places], 0)


def bucket_counts(keys: Keys, n_bits: int) -> BucketCounts:
    """Counts of the keys (n,), of which there must be at least one."""
    if 1 << n_bits <= max(_DENSE_KEYS_ALWAYS, 4 * len(keys)):
        return BucketCounts(np.bincount(keys, minlength=1 << n_bits), None)
    occurring, counts = np.unique(keys, return_counts=True)
    return BucketCounts(counts.astype(np.int64), occurring)
