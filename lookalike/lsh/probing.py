"""Query-directed multi-probe: the buckets to probe, most promising first.

A neighbor lies in another bucket mostly because a hyperplane passes close to the query. A bucket that
differs from the query's own in some bits gets as score the sum of the query's squared distances to
those hyperplanes; buckets are looked up in order of score (Lv, Josephson, Wang, Charikar, Li:
Multi-probe LSH, VLDB 2007), here over all tables together, so that tables in which the query lies near
hyperplanes get more of the probes.
"""

import heapq

import numpy as np
from numpy.typing import NDArray

from lookalike.lsh.base import Float64Array
from lookalike.lsh.hyperplanes import Keys


def probe_sequence(
    keys: Keys, margins: Float64Array, n_probes: int
) -> tuple[NDArray[np.int64], NDArray[np.uint32], Float64Array]:
    """Tables, bucket keys and scores of the first `n_probes` buckets: each table's own first, then by score.

    `keys` is (n_tables,), `margins` (n_tables, n_bits) squared distances. At least every table's own bucket
    comes; more than `n_probes` when later ones have the score of the last; fewer when there are no more.
    """
    n_tables, n_bits = margins.shape
    order = np.argsort(margins, axis=1, kind="stable")
    scores = np.take_along_axis(margins, order, axis=1).tolist()
    flips = (np.uint32(1) << order.astype(np.uint32)).tolist()
    own = keys.tolist()
    tables, found, found_scores = list(range(n_tables)), list(own), [0.0] * n_tables
    # An entry is a set of bits of one table, made from its mask over the bits in order of margin. The score
    # without the last bit is kept, so that each score is a sum in order of margin, as in the compiled code.
    heap = [(scores[table][0], table, 1, 0, 0.0, own[table] ^ flips[table][0]) for table in range(n_tables)]
    heapq.heapify(heap)
    while heap and (len(found) < n_probes or heap[0][0] == found_scores[-1]):
        score, table, mask, last, prefix, key = heapq.heappop(heap)
        tables.append(table)
        found.append(key)
        found_scores.append(score)
        following = last + 1
        if following == n_bits:
            continue
        # Expand the set by the next bit, or shift its last bit to the next: every set is made exactly once.
        bit, next_score = 1 << following, scores[table][following]
        expanded = key ^ flips[table][following]
        heapq.heappush(heap, (score + next_score, table, mask | bit, following, score, expanded))
        shifted, shifted_mask = expanded ^ flips[table][last], mask ^ (1 << last) | bit
        heapq.heappush(heap, (prefix + next_score, table, shifted_mask, following, prefix, shifted))
    return np.array(tables, np.int64), np.array(found, np.uint32), np.array(found_scores)


def hamming_ball(keys: Keys, n_bits: int) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
    """Tables and keys of every bucket that differs from the query's own in at most one bit."""
    flips = np.concatenate([[0], 1 << np.arange(n_bits)]).astype(np.uint32)
    buckets = (keys[:, None] ^ flips[None, :]).ravel()
    return np.repeat(np.arange(len(keys)), len(flips)), buckets
