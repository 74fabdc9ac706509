"""Query-directed probing in compiled code, with the results of `probing.py`."""

from typing import Any

import numpy as np

from lookalike.limits import MAX_BITS
from lookalike.lsh.kernels.jit import jit

_TABLES_PER_SAMPLE = 5
_MOST_BISECTIONS = 100
_EVERYTHING = 1 << 40


@jit()
def kth_smallest(values: Any, k: int) -> float:
    """The k-th smallest value (Hoare's selection), infinite when there are not more than k."""
    if len(values) <= k:
        return np.inf
    work, low, high, place = values.copy(), 0, len(values) - 1, k - 1
    while low < high:
        pivot, left, right = work[(low + high) // 2], low, high
        while left <= right:
            while work[left] < pivot:
                left += 1
            while work[right] > pivot:
                right -= 1
            if left <= right:
                work[left], work[right] = work[right], work[left]
                left += 1
                right -= 1
        if place <= right:
            high = right
        elif place >= left:
            low = left
        else:
            break
    return float(work[place])


@jit()
def _sets_within(limit: float, scores: Any, bits: Any, own: Any, table: int, room: int, found: Any) -> int:
    """Number of sets of bits with summed score up to `limit`, counted up to `room`; written to `found` if it has room.

    `scores` of one table ascend, so when a bit does not fit, no later one does. `found` has columns for
    tables, keys and scores.
    """
    tables, keys, sums = found
    chosen, prefixes = np.empty(MAX_BITS + 1, np.int64), np.empty(MAX_BITS + 1, np.float64)
    depth, bit, key, count = 0, 0, own, 0
    prefixes[0] = 0.0
    n_bits = len(scores)
    while True:
        if bit < n_bits and prefixes[depth] + scores[bit] <= limit:
            if count == room:
                return count
            key ^= bits[bit]
            chosen[depth] = bit
            depth += 1
            prefixes[depth] = prefixes[depth - 1] + scores[bit]
            if len(keys) > 0:
                tables[count], keys[count], sums[count] = table, key, prefixes[depth]
            count += 1
            bit += 1
        elif depth == 0:
            return count
        else:
            depth -= 1
            key ^= bits[chosen[depth]]
            bit = chosen[depth] + 1


@jit()
def _count_within(limit: float, scores: Any, bits: Any, room: int, nothing: Any) -> int:
    """Number of sets of bits of all tables with summed score up to `limit`, counted up to about `room`."""
    count = 0
    for table in range(len(scores)):
        if count >= room:
            break
        count += _sets_within(limit, scores[table], bits[table], np.uint32(0), table, room - count, nothing)
    return count


@jit()
def _limit_for(wanted: int, scores: Any, bits: Any, guess: float) -> float:
    """A score that at least `wanted` sets of bits do not exceed, and few more where there are no ties."""
    nothing = np.empty(0, np.int64), np.empty(0, np.uint32), np.empty(0, np.float64)
    room = wanted + wanted // 2 + 16
    low, high, middle = 0.0, scores.sum(), guess
    for _ in range(_MOST_BISECTIONS):
        count = _count_within(middle, scores, bits, room, nothing)
        if count >= wanted:
            high = middle
            if count < room:
                break
            middle = 0.5 * (low + high)
        else:
            low = middle
            middle = min(1.2 * middle, 0.5 * (low + high))
    return float(high)


@jit()
def probe_sequence(keys: Any, margins: Any, n_probes: int) -> Any:
    """Tables and keys of the buckets to probe, as `probing.probe_sequence` gives them, in another order.

    In place of a heap: find by bisection a score that somewhat more than `n_probes` sets of bits stay
    below, list those, and drop the ones beyond the last place.
    """
    n_tables, n_bits = margins.shape
    bits, scores = np.empty((n_tables, n_bits), np.uint32), np.empty((n_tables, n_bits), np.float64)
    for table in range(n_tables):
        _sort_row(margins[table], bits[table], scores[table])
    wanted = max(n_probes - n_tables, 0)
    if n_bits < 20:
        wanted = min(wanted, n_tables * ((1 << n_bits) - 1))
    # A rough limit from a few tables, then a good one from all.
    few = max(n_tables // _TABLES_PER_SAMPLE, 1)
    limit = _limit_for(wanted * few // n_tables, scores[:few], bits, scores.sum() / (4 * n_tables))
    limit = _limit_for(wanted, scores, bits, limit)
    nothing = np.empty(0, np.int64), np.empty(0, np.uint32), np.empty(0, np.float64)
    total = _count_within(limit, scores, bits, _EVERYTHING, nothing)
    tables, found = np.empty(n_tables + total, np.int64), np.empty(n_tables + total, np.uint32)
    sums = np.zeros(n_tables + total)
    count = n_tables
    for table in range(n_tables):
        tables[table], found[table] = table, keys[table]
        space = (tables[count:], found[count:], sums[count:])
        count += _sets_within(limit, scores[table], bits[table], keys[table], table, _EVERYTHING, space)
    last = kth_smallest(sums, n_tables + wanted)
    kept = 0
    for position in range(n_tables + total):
        if sums[position] <= last:
            tables[kept], found[kept] = tables[position], found[position]
            kept += 1
    return tables[:kept], found[:kept]


@jit()
def _sort_row(margins: Any, bits: Any, sorted_margins: Any) -> None:
    """Write margins in ascending order, and the bit in the key that belongs to each."""
    for position in range(len(margins)):
        value, place = margins[position], position
        while place > 0 and sorted_margins[place - 1] > value:
            sorted_margins[place] = sorted_margins[place - 1]
            bits[place] = bits[place - 1]
            place -= 1
        sorted_margins[place] = value
        bits[place] = np.uint32(1) << np.uint32(position)
