"""Parts of an index: the content with some of its rows, and the cheapest way to query them as surely as all rows."""

from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from lookalike.limits import MAX_PROBES
from lookalike.lsh.checks import checked_ids
from lookalike.lsh.content import Content, rows_of_ids
from lookalike.lsh.costs import all_sketches_cost, bucket_cost, probing_cost

Plan = Literal["probe", "sketches", "scan"]

# A subset this small is ranked as a whole: that takes about 1 ms.
_RANKED_AS_A_WHOLE = 10_000
# The rows of a subset can be far from the query, where sketches tell distances less well.
_MORE_RANKED = 4
# Sketches of every third row or so cost as much as those of all rows in order.
_SPARSE_FACTOR = 3


def subset_content(content: Content, where: ArrayLike) -> Content:
    """The content with only some of its rows alive, on the same arrays.

    `where` is a mask (len,) over the living rows in the order of `living_ids`, or ids, which may repeat.

    Raises:
        TypeError, ValueError: neither a mask of that length nor ids that are in the content.
    """
    chosen = np.asarray(where)
    if chosen.dtype == np.bool_:
        if chosen.shape != (len(content),):
            raise ValueError(f"a mask must have shape ({len(content)},), one element per vector, got {chosen.shape}")
        rows = content.living_rows()[chosen]
    else:
        distinct = np.unique(chosen)
        rows = rows_of_ids(content, checked_ids(distinct, len(distinct)))
    alive = np.zeros(len(content.ids), np.bool_)
    alive[rows] = True
    return replace(content, alive=alive)


def plan_of_subset(subset: Content, n_rows: int, probes: int, rerank: int) -> tuple[Plan, int, int]:
    """Plan, probes and ranked candidates for the rows of a subset of `n_rows`, by the model of `costs`.

    The whole subset is ranked; or its sketches are compared, which loses no neighbor in the buckets; or it is probed,
    with so many more probes that the buckets hold as many of its rows as they would of all.
    """
    n_searched, planes = subset.n_searched, subset.planes
    more_probes = min(round(probes * n_rows / max(n_searched, 1)), MAX_PROBES)
    rows_met = planes.n_tables * more_probes * n_rows / 2.0**planes.n_bits
    by_probing = probing_cost(planes.n_tables, more_probes) + bucket_cost(rows_met)
    if n_searched <= _RANKED_AS_A_WHOLE:
        return "sketches", probes, max(rerank, n_searched)
    if by_probing < all_sketches_cost(min(n_rows, _SPARSE_FACTOR * n_searched)):
        return "probe", more_probes, rerank
    return "sketches", probes, _MORE_RANKED * rerank
