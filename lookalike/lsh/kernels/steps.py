"""The steps of a query in compiled code, with the results of `lsh/steps.py`.

Importing this module imports numba, which takes half a second: only `loading.py` does it, when it pays.
"""

from typing import Any

import numpy as np

from lookalike.lsh.kernels.filtering import filter_by_sketch, penalties_of_rows, weigh_query
from lookalike.lsh.kernels.jit import jit, prefetch
from lookalike.lsh.kernels.probing import kth_smallest, probe_sequence
from lookalike.lsh.kernels.ranking import COSINE, EUCLIDEAN, bound_segment, exact_distance, read_ahead, sum_products
from lookalike.lsh.space import SMALLEST_NORM
from lookalike.lsh.steps import ALL_ROWS_FACTOR

__all__ = ["find_candidates", "find_nearest", "penalties_of_rows", "probe_sequence", "weigh_query"]

# In place of the number of ranked candidates.
TOO_FEW = -1
IS_ZERO = -2


@jit()
def _bucket_position(table_keys: Any, table_offsets: Any, table: int, key: Any) -> int:
    """Where a bucket stands among all buckets, or -1."""
    low, end = table_offsets[table], table_offsets[table + 1]
    if len(table_keys) == 0:
        return int(low + key) if end > low else -1
    high = end
    while low < high:
        middle = (low + high) // 2
        if table_keys[middle] < key:
            low = middle + 1
        else:
            high = middle
    return int(low) if low < end and table_keys[low] == key else -1


@jit()
def bucket_ranges(tables: Any, keys: Any, segment: Any, firsts: Any, lasts: Any) -> int:
    """Write where each bucket begins and ends within its table's rows; the number of rows in all of them."""
    _vectors, _scales, _sketches, _alignments, rows, starts, table_keys, table_offsets = segment
    total, n_rows = 0, rows.shape[1]
    for probe in range(len(tables)):
        position = _bucket_position(table_keys, table_offsets, tables[probe], keys[probe])
        firsts[probe], lasts[probe] = 0, 0
        if position >= 0:
            place = position + tables[probe]
            firsts[probe], lasts[probe] = starts[place], starts[place + 1]
            total += lasts[probe] - firsts[probe]
            prefetch(rows, tables[probe] * n_rows + firsts[probe])
    return total


@jit()
def count_searched(tables: Any, ranges: Any, segment: Any, searched: Any, first: int) -> int:
    """How many searched rows the buckets hold, counted as often as they occur."""
    rows, (firsts, lasts), total = segment[4], ranges, 0
    for probe in range(len(tables)):
        for position in range(firsts[probe], lasts[probe]):
            total += searched[first + rows[tables[probe], position]]
    return total


@jit()
def collect_rows(tables: Any, ranges: Any, segment: Any, searched: Any, first: int, found: Any) -> int:
    """Write the distinct searched rows in the buckets of one segment to `found`; their number."""
    rows, (firsts, lasts) = segment[4], ranges
    seen = np.zeros((len(segment[0]) >> 6) + 1, np.uint64)
    one, count = np.uint64(1), 0
    for probe in range(len(tables)):
        for position in range(firsts[probe], lasts[probe]):
            row = rows[tables[probe], position]
            bit = one << np.uint64(row & 63)
            if seen[row >> 6] & bit == np.uint64(0):
                seen[row >> 6] |= bit
                if len(searched) == 0 or searched[first + row]:
                    found[count] = row
                    count += 1
    return count


@jit()
def searched_rows(n_rows: int, searched: Any, first: int, found: Any) -> int:
    """Write all searched rows of one segment to `found`; their number."""
    count = 0
    for row in range(n_rows):
        if len(searched) == 0 or searched[first + row]:
            found[count] = row
            count += 1
    return count


@jit()
def _product_with_normal(centered: Any, normal: Any) -> float:
    return sum_products(centered, normal.astype(np.float64))


@jit()
def hash_projections(projections: Any, centered: Any, planes: Any, error: float, n_tables: int, n_bits: int) -> Any:
    """Keys, bits of the sketch and squared margins of a query, as `hyperplanes.hash_query` gives them."""
    normals, plane_norms = planes
    keys, sketch = np.zeros(n_tables, np.uint32), np.zeros(len(projections) // 64, np.uint64)
    margins = np.empty((n_tables, n_bits), np.float64)
    for plane in range(len(projections)):
        above = projections[plane] > 0
        if abs(projections[plane]) <= error * plane_norms[plane]:
            above = _product_with_normal(centered, normals[plane]) > 0
        if above:
            sketch[plane >> 6] |= np.uint64(1) << np.uint64(plane & 63)
        table = plane // n_bits
        if table < n_tables:
            bit = plane - table * n_bits
            margin = np.float64(projections[plane]) / plane_norms[plane]
            margins[table, bit] = margin * margin
            if above:
                keys[table] |= np.uint32(1) << np.uint32(bit)
    return keys, sketch, margins


@jit()
def find_candidates(tables: Any, keys: Any, segments: Any, searched: Any, n_searched: int) -> Any:
    """Rows, how many of them are of the main segment, and how many in all, as `steps.candidate_rows`.

    Rows of the tail come after those of the main segment and count from 0.
    """
    main, tail = segments
    n_main, n_tail = len(main[0]), len(tail[0])
    main_ranges = np.empty(len(tables), np.int64), np.empty(len(tables), np.int64)
    tail_ranges = np.empty(len(tables), np.int64), np.empty(len(tables), np.int64)
    total = bucket_ranges(tables, keys, main, main_ranges[0], main_ranges[1])
    total += bucket_ranges(tables, keys, tail, tail_ranges[0], tail_ranges[1])
    rows = np.empty(max(total, n_main + n_tail), np.int32)
    if len(searched) > 0:
        total = count_searched(tables, main_ranges, main, searched, 0)
        total += count_searched(tables, tail_ranges, tail, searched, n_main)
    if ALL_ROWS_FACTOR * total >= n_searched:
        in_main = searched_rows(n_main, searched, 0, rows)
        return rows, in_main, in_main + searched_rows(n_tail, searched, n_main, rows[in_main:])
    in_main = collect_rows(tables, main_ranges, main, searched, 0, rows)
    return rows, in_main, in_main + collect_rows(tables, tail_ranges, tail, searched, n_main, rows[in_main:])


@jit()
def find_nearest(
    query: Any, mean: Any, hashed: Any, planes: Any, settings: Any, segments: Any, searched: Any, limits: Any
) -> Any:
    """Rows and distances, in no order, of all that can be among the k nearest candidates; how many were ranked.

    That number is negative when there is no answer: TOO_FEW candidates, or IS_ZERO. `hashed` are the projections of
    the query's point, the point, and the mean of points.
    """
    metric, error, mean_norm, n_tables, n_bits = settings
    projections, point, hash_mean = hashed
    n_probes, level, rerank, k, n_searched, reads_disk = limits
    centered = query - mean
    norm = np.sqrt(sum_products(centered, centered))
    if norm < SMALLEST_NORM:
        return np.empty(0, np.int64), np.empty(0, np.float32), IS_ZERO
    offset = point - hash_mean
    hash_error = 2.0 * error * np.sqrt(sum_products(offset, offset))
    keys, words, margins = hash_projections(projections, offset, planes[:2], hash_error, n_tables, n_bits)
    tables, buckets = probe_sequence(keys, margins, n_probes)
    rows, in_main, n_rows = find_candidates(tables, buckets, segments, searched, n_searched)
    if n_rows < level:
        return np.empty(0, np.int64), np.empty(0, np.float32), TOO_FEW
    sketch, by_angle = weigh_query(projections, words, segments[0][3].shape[1] > 0), metric != EUCLIDEAN
    in_main, n_rows = filter_by_sketch(rows, in_main, n_rows, sketch, planes[2], by_angle, segments, rerank)
    if reads_disk:
        read_ahead(rows[:in_main], segments[0][0])
    direction = centered / norm if metric == COSINE else centered
    ranking = (metric, error, mean_norm, sum_products(direction, mean), norm)
    fast_direction = direction.astype(np.float32)
    lows, highs, work = np.empty(n_rows), np.empty(n_rows), np.empty(len(query))
    bound_segment(rows[:in_main], segments[0], fast_direction, ranking, lows[:in_main], highs[:in_main])
    bound_segment(rows[in_main:n_rows], segments[1], fast_direction, ranking, lows[in_main:], highs[in_main:])
    limit = kth_smallest(highs, k)
    near, distances, count = np.empty(n_rows, np.int64), np.empty(n_rows, np.float32), 0
    for position in range(n_rows):
        if lows[position] <= limit:
            segment = segments[0] if position < in_main else segments[1]
            row = np.int64(rows[position])
            near[count] = row if position < in_main else len(segments[0][0]) + row
            distances[count] = exact_distance(segment[0][row], query, mean, direction, metric, work)
            count += 1
    return near[:count], distances[:count], n_rows
