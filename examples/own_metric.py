"""A metric of one's own, computed from a published build: see docs/extending.md.

python examples/own_metric.py artifacts
"""

import json
import sys
from pathlib import Path

import numpy as np

from lookalike.embedding.table import load_embeddings
from lookalike.lsh import ExactIndex


def mean_similarity_to_nearest(root: Path) -> float:
    """The mean cosine similarity of each image to its nearest other image: near 1 with many near-duplicates."""
    published = json.loads((root / "current.json").read_text(encoding="utf-8"))
    vectors = load_embeddings(root / published["artifacts"]["embed_all"]).vectors
    index = ExactIndex.build(vectors, metric="cosine")
    # Each image is its own nearest neighbor, so the second one counts.
    answers = index.query_batch(vectors, 2)
    return float(np.mean([1.0 - answer.distances[1] for answer in answers]))


if __name__ == "__main__":
    print(f"{mean_similarity_to_nearest(Path(sys.argv[1])):.4f}")  # noqa: T201
