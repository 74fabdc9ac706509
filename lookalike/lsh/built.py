"""Parameters for a target recall that are measured on an index that is built already, however large it is.

Bits, tables and sketches stay as they are; only probes, the number of ranked candidates and the plan are chosen.
"""

import logging
from dataclasses import replace
from pathlib import Path

from numpy.typing import ArrayLike

from lookalike.lsh.engine import HyperplaneLSH
from lookalike.lsh.exact import ExactIndex
from lookalike.lsh.storage import read_description, write_description
from lookalike.lsh.tuning import (
    MORE_PROBES,
    PROBE_CHOICES,
    RERANK_CHOICES,
    LSHParams,
    Trials,
    drawn_sample,
)
from lookalike.lsh.vectors import release

logger = logging.getLogger(__name__)

# The sketches cannot get longer: more candidates are ranked instead.
_RERANK_CHOICES = (*RERANK_CHOICES, 2048)


def tune_built(
    index: HyperplaneLSH,
    *,
    target_recall: float = 0.95,
    k: int = 10,
    seed: int = 0,
    n_queries: int = 200,
    query_rows: ArrayLike | None = None,
    probes: int | None = None,
) -> LSHParams:
    """The parameters of an index with the fewest probes and ranked candidates that reach the target on it.

    The promise is that of `tune_lsh`, measured on the whole index, whose ids must be its row numbers; `probes` stay, if
    they are given. If nothing cheaper than a scan reaches the target, `plan` is "scan". The index is left as it is.
    """
    content, space = index._content, index._content.space
    sample = drawn_sample(ExactIndex(content), k, n_queries, seed, query_rows, len(index))
    trials = Trials(sample, space, target_recall, k, seed, index)
    start = LSHParams(index.n_bits, index.n_tables, index.probes, sketch_bits=content.planes.sketch_bits)
    more = [choice for choice in (*PROBE_CHOICES, *MORE_PROBES) if choice >= index.probes]
    for choice in more if probes is None else [probes]:
        release(content.main.vectors, slice(None))
        found = trials.with_fewest_ranked(replace(start, probes=choice), _RERANK_CHOICES)
        if found:
            return found
    logger.warning("no number of probes reaches recall@%d of %.4f at less than the cost of a scan", k, target_recall)
    return replace(start, plan="scan", recall=1.0)


def store_parameters(folder: Path | str, params: LSHParams) -> HyperplaneLSH:
    """The stored index with other probes, ranked candidates and plan."""
    description = read_description(Path(folder), HyperplaneLSH.engine)
    tuned = {"probes": params.probes, "rerank": params.rerank, "plan": params.plan}
    parameters = {**description["parameters"], **tuned}
    write_description(Path(folder), HyperplaneLSH.engine, parameters, description["files"])
    return HyperplaneLSH.load(folder)
