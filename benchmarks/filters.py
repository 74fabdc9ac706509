"""Filtered queries: recall@10 and time for subsets of several shares, beside the unfiltered query.

.venv/bin/python -m benchmarks.filters [--rows 200000] [--kind clustered]
"""

import argparse
import time
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.vectors import KINDS, Float32Array
from lookalike.lsh import ExactIndex, HyperplaneLSH, tune_lsh
from lookalike.lsh.recall import recalls_at_k

K = 10
SHARES = (0.8, 0.5, 0.2, 0.05, 0.005, 0.0005)
ROUNDS = 3


def masks(vectors: Float32Array, share: float) -> dict[str, Any]:
    """Rows chosen at random, and rows on one side of a random direction, as a label would choose them."""
    rng = np.random.default_rng(int(1e6 * share))
    heights = vectors @ rng.standard_normal(vectors.shape[1], dtype=np.float32)
    return {
        "random": rng.random(len(vectors)) < share,
        "one side": heights > np.quantile(heights, 1.0 - share),
    }


def p50(index: HyperplaneLSH, queries: Float32Array) -> float:
    """Median milliseconds of a query; the best of some rounds."""
    medians = []
    for _ in range(ROUNDS):
        seconds = []
        for query in queries:
            started = time.perf_counter()
            index.query(query, K)
            seconds.append(time.perf_counter() - started)
        medians.append(1e3 * float(np.median(seconds)))
    return min(medians)


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--kind", choices=list(KINDS), default="clustered")
    parser.add_argument("--target", type=float, default=0.95)
    options = parser.parse_args()
    mixture = KINDS[options.kind](options.rows)
    vectors, queries = mixture.draw(options.rows, 0), mixture.draw(300, 1)
    with threadpool_limits(1):
        params = tune_lsh(vectors, target_recall=options.target)
        index = HyperplaneLSH.build(vectors, **params.as_kwargs())
        index.warm_up()
        truth = ExactIndex.build(vectors, mean=index.mean).query_batch(queries, K)
        recall, unfiltered = recalls_at_k(index.query_batch(queries, K), truth, K).mean(), p50(index, queries)
        print(params)
        print("| rows | share | plan | recall@10 | ms p50 | times unfiltered | ms to make |\n" + "| --- " * 7 + "|")
        print(f"| all | 1 | {index.plan} | {recall:.4f} | {unfiltered:.3f} | 1.0 | |")
        for share in SHARES:
            for name, mask in masks(vectors, share).items():
                started = time.perf_counter()
                subset = index.subset(mask)
                made = 1e3 * (time.perf_counter() - started)
                exact = ExactIndex.build(vectors[mask], np.flatnonzero(mask), mean=index.mean)
                truth = exact.query_batch(queries, K)
                recall = recalls_at_k(subset.query_batch(queries, K), truth, K).mean()
                each = p50(subset, queries)
                plan = subset.plan if subset.rerank < len(subset) else "whole"
                print(
                    f"| {name} | {share} | {plan} | {recall:.4f} | {each:.3f} | {each / unfiltered:.1f} | {made:.1f} |"
                )


if __name__ == "__main__":
    main()
