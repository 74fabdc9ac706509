"""Parameters for a target recall, chosen by measurement on a sample of the vectors themselves.

`bucket_model` predicts which numbers of bits, tables and probes reach the target at the least cost. An index with
them is built and asked real queries; where it finds too little, it gets more probes, more candidates to rank and
longer sketches. If nothing cheaper than a scan reaches the target, the plan is to scan. Nothing is timed: the same
vectors give the same parameters everywhere.
"""

import logging
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lookalike.limits import MAX_BITS, MAX_PROBES, MAX_TABLES
from lookalike.lsh.base import Int64Array, Metric
from lookalike.lsh.bucket_model import Choices, Sample, cheapest_plan
from lookalike.lsh.checks import checked_int, checked_metric, checked_vectors
from lookalike.lsh.content import new_content
from lookalike.lsh.costs import probing_cost, ranking_cost, scan_cost
from lookalike.lsh.engine import DEFAULT_PROBES, DEFAULT_RERANK, HyperplaneLSH
from lookalike.lsh.exact import ExactIndex
from lookalike.lsh.hyperplanes import checked_sketch_bits, draw_hyperplanes
from lookalike.lsh.recall import confidence_interval, recalls_at_k, without_row
from lookalike.lsh.space import VectorSpace, space_of_rows
from lookalike.lsh.steps import level_of, needs_scan, rerank_size
from lookalike.lsh.subsets import Plan

logger = logging.getLogger(__name__)

_TABLE_CHOICES = (4, 8, 12, 20)
PROBE_CHOICES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
# Beyond what the model of the buckets looks at.
MORE_PROBES = (192, 256, 384, 512, 768, 1024)
RERANK_CHOICES = (128, 256, 512, 1024)
_ALL_RERANK_CHOICES = (*RERANK_CHOICES, *(1 << power for power in range(11, 21)))
_MORE_SKETCH_BITS = (512, 1024)
# Numbers of probes that are tried before the filter is given more candidates.
_PROBE_TRIALS = 3
# A plan that costs more of a scan's cost is not worth its risk.
_WORTHWHILE_SHARE = 0.5
_ROWS_PER_BUCKET = (1, 2, 4, 8, 16, 32, 64)
_FEWEST_BITS = 4


@dataclass(frozen=True, slots=True)
class LSHParams:
    """Parameters of `HyperplaneLSH.build`, and the recall@k that they reached on the sample."""

    n_bits: int
    n_tables: int
    probes: int
    rerank: int = DEFAULT_RERANK
    sketch_bits: int | None = None
    plan: Plan = "probe"
    recall: float = float("nan")

    def as_kwargs(self) -> dict[str, Any]:
        """The arguments for `HyperplaneLSH.build`."""
        return {name: value for name, value in asdict(self).items() if name != "recall"}


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
    n_rows: int | None = None,
) -> LSHParams:
    """The parameters that reach `target_recall` at the least cost per query; those that are given stay as they are.

    Recall@k is the share of the k nearest by exact search that `query(vector, k)` finds, over `n_queries` of the
    vectors, each queried without itself. The lower end of its 95 % confidence interval reaches the target, for k and
    for the lower levels of candidates (64, 256, ...). Where no parameters do so at less than the cost of a scan, and
    for a target of 1, `plan` is "scan": the index then finds everything.

    `query_rows` are the rows (integers) to draw queries from, by default all: the promise is for queries like those,
    and images that a network was not trained on are harder to find than those that it was trained on.
    With `n_rows`, the vectors are a sample of so many, for which the parameters are planned but not measured: `recall`
    is NaN. Build the index, and let `built.tune_built` measure it.
    So few vectors that every query scans them (fewer than 256) give parameters without measurement.

    Raises:
        ValueError: `target_recall` is not in (0, 1], a parameter is out of range, or `query_rows` are no rows.
    """
    rows = checked_vectors(vectors)
    if not 0.0 < target_recall <= 1.0:
        raise ValueError(f"target_recall must be above 0 and at most 1, got {target_recall}")
    k, n_queries = checked_int("k", k, 1), checked_int("n_queries", n_queries, 1)
    choices = Choices(
        _choices("n_bits", n_bits, _bit_choices(n_rows or len(rows)), MAX_BITS),
        _choices("n_tables", n_tables, _TABLE_CHOICES, MAX_TABLES),
        _choices("probes", probes, PROBE_CHOICES, MAX_PROBES),
    )
    space = space_of_rows(checked_metric(metric), rows, center)
    if len(rows) < 2:
        return LSHParams(choices.bits[0], choices.tables[0], probes or DEFAULT_PROBES)
    params = None
    if target_recall < 1.0:
        exact = ExactIndex.build(rows, metric=space.metric, mean=space.mean)
        sample = drawn_sample(exact, k, n_queries, seed, query_rows, n_rows or len(rows))
        if n_rows is not None:
            plan = cheapest_plan(sample, space, target_recall, seed, choices)
            return LSHParams(plan.n_bits, plan.n_tables, plan.probes)
        params = _cheapest_that_reaches(Trials(sample, space, target_recall, k, seed), choices)
    if params is None:
        logger.info("a scan of all %d vectors is the cheapest plan for recall@%d of %.4f", len(rows), k, target_recall)
    return params or _scanning(choices)


def _scanning(choices: Choices) -> LSHParams:
    """The plan that finds everything; its tables only explain matches, so they are as small as may be."""
    return LSHParams(choices.bits[0], choices.tables[0], choices.probes[0], plan="scan", recall=1.0)


def _cheapest_that_reaches(trials: "Trials", choices: Choices) -> LSHParams | None:
    """The plan with the probes, ranked candidates and sketch bits that the target needs; None if a scan is better."""
    plan = cheapest_plan(trials.sample, trials.space, trials.target_recall, trials.seed, choices)
    if not trials.ks:
        return LSHParams(plan.n_bits, plan.n_tables, plan.probes, recall=1.0)
    start = LSHParams(plan.n_bits, plan.n_tables, plan.probes)
    more = MORE_PROBES if len(choices.probes) > 1 else ()
    rungs = [replace(start, probes=probes) for probes in (*choices.probes, *more) if probes >= plan.probes]
    for params in rungs[:_PROBE_TRIALS]:
        found = trials.with_fewest_ranked(params, RERANK_CHOICES)
        if found:
            return found
    # Either the filter loses neighbors that the buckets hold, or the buckets hold too few.
    furthest = rungs[:_PROBE_TRIALS][-1]
    least = checked_sketch_bits(None, plan.n_tables * plan.n_bits, trials.dim)
    longer = [None, *(bits for bits in _MORE_SKETCH_BITS if bits > least)]
    ways = [trials.with_fewest_ranked(replace(furthest, sketch_bits=bits), _ALL_RERANK_CHOICES) for bits in longer]
    reached = [params for params in ways if params]
    if reached:
        return min(reached, key=trials.cost)
    return _first_that_reaches(rungs[_PROBE_TRIALS:], trials)


def _first_that_reaches(rungs: list[LSHParams], trials: "Trials") -> LSHParams | None:
    """The first of some plans, each with more probes than the one before, that reaches the target; by bisection."""
    found, low, high = None, 0, len(rungs)
    while low < high:
        # The last one first: where it fails, all do.
        middle = (low + high) // 2 if found else high - 1
        trial = trials.with_fewest_ranked(rungs[middle], _ALL_RERANK_CHOICES)
        if trial:
            found, high = trial, middle
        elif found:
            low = middle + 1
        else:
            return None
    return found


def _choices(name: str, given: int | None, otherwise: tuple[int, ...], highest: int | None) -> tuple[int, ...]:
    return otherwise if given is None else (checked_int(name, given, 1, highest),)


def _bit_choices(n_rows: int) -> tuple[int, ...]:
    """Numbers of bits that give from one to some dozens of rows per bucket."""
    most = np.log2(max(n_rows, 2))
    choices = {int(np.clip(round(most - np.log2(size)), _FEWEST_BITS, MAX_BITS)) for size in _ROWS_PER_BUCKET}
    return tuple(sorted(choices))


def _checked_rows(query_rows: ArrayLike | None, n_rows: int) -> Int64Array:
    """Distinct row numbers, ascending, by default all; raises ValueError for others than from 0 to n_rows - 1."""
    if query_rows is None:
        return np.arange(n_rows)
    checked = np.unique(np.asarray(query_rows))
    if not (checked.ndim == 1 and len(checked) and np.issubdtype(checked.dtype, np.integer)):
        raise ValueError("query_rows must be row numbers, at least one")
    if checked[0] < 0 or checked[-1] >= n_rows:
        raise ValueError(f"query_rows must be from 0 to {n_rows - 1}, got {checked[0]} to {checked[-1]}")
    return checked.astype(np.int64)


def drawn_sample(
    exact: ExactIndex, k: int, n_queries: int, seed: int, query_rows: ArrayLike | None, n_rows: int
) -> Sample:
    """Up to `n_queries` of the rows of an exact index as queries, with their true neighbors; a sample of `n_rows`.

    The ids of the index must be its row numbers. Raises ValueError for `query_rows` that are no rows of it.
    """
    rows = _checked_rows(query_rows, len(exact))
    chosen = np.sort(np.random.default_rng(seed).choice(rows, min(n_queries, len(rows)), replace=False))
    answers = exact.query_batch(exact.get(chosen), k + 1)
    truth = [without_row(answer, row, k) for answer, row in zip(answers, chosen, strict=True)]
    return Sample(exact._content.main.vectors, chosen, truth, n_rows)


class Trials:
    """Indexes over the sample's vectors that are asked its queries; or one that is built already."""

    def __init__(
        self,
        sample: Sample,
        space: VectorSpace,
        target_recall: float,
        k: int,
        seed: int,
        index: HyperplaneLSH | None = None,
    ) -> None:
        self.sample, self.space, self.target_recall, self.seed = sample, space, target_recall, seed
        self.ks = measured_ks(k, len(sample.vectors))
        self._built: tuple[tuple[int, int, int | None], HyperplaneLSH] | None = None
        if index is not None:
            same = HyperplaneLSH(index._content, probes=index.probes, rerank=index.rerank, seed=index.seed)
            self._built = (index.n_bits, index.n_tables, index._content.planes.sketch_bits), same

    @property
    def dim(self) -> int:
        """Length of what is hashed."""
        return len(self.space.hash_mean)

    def with_fewest_ranked(self, params: LSHParams, rerank_choices: tuple[int, ...]) -> LSHParams | None:
        """The parameters with the fewest ranked candidates that reach the target; None if the most do not."""
        trials = [replace(params, rerank=rerank) for rerank in rerank_choices]
        trials = [trial for trial in trials if self.is_worthwhile(trial)]
        found = self._run(trials[-1]) if trials else None
        low, high = 0, len(trials) - 1
        while found and low < high:
            middle = (low + high) // 2
            fewer = self._run(trials[middle])
            low, high, found = (low, middle, fewer) if fewer else (middle + 1, high, found)
        return found

    def cost(self, params: LSHParams) -> float:
        """Cost of a query by the fixed model, without that of comparing sketches."""
        ranked = min(rerank_size(params.rerank, self.ks[-1]), len(self.sample.vectors))
        sketch_bits = checked_sketch_bits(params.sketch_bits, params.n_tables * params.n_bits, self.dim)
        return probing_cost(params.n_tables, params.probes) + ranking_cost(ranked, sketch_bits, self.space.dim)

    def is_worthwhile(self, params: LSHParams) -> bool:
        """Whether a query costs clearly less than a scan."""
        return self.cost(params) <= _WORTHWHILE_SHARE * scan_cost(len(self.sample.vectors), self.space.dim)

    def _run(self, params: LSHParams) -> LSHParams | None:
        """The parameters with the recall that they reach, the lowest over the levels; None if that is not enough."""
        index, recall = self._index(params), 1.0
        index.probes, index.rerank = params.probes, params.rerank
        for k in self.ks:
            answers = index.query_without_themselves(self.sample.chosen, k)
            shares = recalls_at_k(answers, self.sample.truth, k)
            if confidence_interval(shares)[0] < self.target_recall:
                return None
            recall = min(recall, float(shares.mean()))
        return replace(params, recall=recall)

    def _index(self, params: LSHParams) -> HyperplaneLSH:
        numbers = params.n_bits, params.n_tables, params.sketch_bits
        if self._built is None or self._built[0] != numbers:
            n_bits, n_tables, sketch_bits = numbers
            sketch_bits = checked_sketch_bits(sketch_bits, n_tables * n_bits, self.dim)
            planes = draw_hyperplanes(self.dim, n_tables, n_bits, sketch_bits, self.seed)
            rows = self.sample.vectors
            content = new_content(rows, np.arange(len(rows)), self.space, planes)
            index = HyperplaneLSH(content, probes=params.probes, rerank=params.rerank, seed=self.seed)
            self._built = numbers, index
        return self._built[1]


def measured_ks(k: int, n_rows: int) -> list[int]:
    """`k` and the largest number of neighbors of each lower level, as far as such queries use the buckets."""
    edges, level = [], level_of(1)
    while level < k:
        edges.append(level)
        level = level_of(level + 1)
    return [edge for edge in (*edges, k) if not needs_scan(edge, n_rows)]
