"""Candidates that must be ranked exactly, by kind of sketch: `python -m benchmarks.sketches`.

For each kind, the smallest number of rows, first by their sketches, among which stands the target share of the ten
nearest. Clustered vectors, queries from the same mixture.
"""

import argparse

import numpy as np

from benchmarks.vectors import ClusteredVectors, Float32Array
from lookalike.lsh import ExactIndex
from lookalike.lsh.hyperplanes import Hyperplanes, draw_hyperplanes, hash_query, hash_rows
from lookalike.lsh.sketches import QuerySketch, penalties, sketch_ranks
from lookalike.lsh.space import VectorSpace, mean_of_rows

_K = 10


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=200_000)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--target", type=float, default=0.99)
    arguments = parser.parse_args()
    mixture = ClusteredVectors(arguments.size)
    vectors, queries = mixture.draw(arguments.size, 0), mixture.draw(arguments.queries, 1)
    space = VectorSpace("cosine", mean_of_rows(vectors))
    truth = ExactIndex.build(vectors, mean=space.mean).query_batch(queries, _K)
    true_rows = np.array([answer.ids for answer in truth])
    print("| bits | hyperplanes | by differing bits | by estimate |\n| --- | --- | --- | --- |")
    for bits in (256, 512):
        for is_orthogonal in (False, True):
            places = _places(vectors, queries, true_rows, space, _hyperplanes(space.dim, bits, is_orthogonal))
            needed = [int(np.quantile(some, arguments.target, method="higher")) + 1 for some in places]
            print(
                f"| {bits} | {'orthogonal' if is_orthogonal else 'Gaussian'} | {needed[0]} | {needed[1]} |", flush=True
            )


def _hyperplanes(dim: int, bits: int, is_orthogonal: bool) -> Hyperplanes:
    if is_orthogonal:
        return draw_hyperplanes(dim, 1, 1, bits, seed=0)
    normals = np.random.default_rng(0).standard_normal((bits, dim), dtype=np.float32) / np.float32(np.sqrt(dim))
    return Hyperplanes(normals, 1, 1, is_orthogonal=True)


def _places(
    vectors: Float32Array, queries: Float32Array, true_rows: np.ndarray, space: VectorSpace, planes: Hyperplanes
) -> tuple[np.ndarray, np.ndarray]:
    """For each true neighbor, how many rows come before it: by differing bits, and by the estimate."""
    _, sketches, alignments = hash_rows(vectors, space, planes)
    scales, by_bits, by_estimate = space.row_scales(vectors), [], []
    for query, true in zip(queries, true_rows, strict=True):
        sketch = hash_query(space.prepare(query), space, planes)[1]
        plain = penalties(sketches, QuerySketch(sketch.words, sketch.weights[:0], 0, 1.0))
        ranks = sketch_ranks(sketches, alignments, scales, sketch, space.dim, by_angle=True)
        by_bits.append([np.count_nonzero(plain <= plain[row]) - 1 for row in true])
        by_estimate.append([np.count_nonzero(ranks <= ranks[row]) - 1 for row in true])
    return np.array(by_bits), np.array(by_estimate)


if __name__ == "__main__":
    main()
