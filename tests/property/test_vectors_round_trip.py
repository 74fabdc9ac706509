"""Vectors that are exported and indexed again have the neighbors that they had."""

import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lookalike.search import Searcher
from lookalike.search.export import export
from tests.tiny_build import run_build

GIVEN_INDEX = ["index.n_bits=4", "index.n_tables=2", "index.probes=2"]


def neighbors(root: Path, rows: list[int]) -> list[list[str]]:
    """The paths of the five nearest of some rows, by exact search."""
    with Searcher.open(root) as searcher:
        ids = [searcher._rows["image_id"][row].as_py() for row in rows]
        answers = searcher.query_many([f"id:{image_id}" for image_id in ids], 5, exact=True)
    return [[neighbor.path for neighbor in answer.neighbors] for answer in answers]


@pytest.mark.parametrize("kind", ["parquet", "npy"])
@settings(max_examples=4)
@given(
    n=st.integers(12, 60),
    dim=st.integers(2, 20),
    seed=st.integers(0, 999),
    metric=st.sampled_from(["cosine", "euclidean", "inner_product"]),
)
def test_exported_vectors_have_the_same_neighbors_when_they_come_back(kind, n, dim, seed, metric):
    vectors = np.random.default_rng(seed).normal(3.0, 1.0, (n, dim)).astype(np.float32)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        columns = {"id": [str(row) for row in range(n)], "embedding": pa.array(list(vectors), pa.list_(pa.float32()))}
        pq.write_table(pa.table(columns), folder / "given.parquet", row_group_size=7)
        settings_of_index = [*GIVEN_INDEX, f"index.metric={metric}"]
        source = ["dataset.source=vectors", f"dataset.vectors={folder / 'given.parquet'}"]
        assert run_build(folder / "first", [*source, *settings_of_index])["published"]
        output = folder / ("exported.parquet" if kind == "parquet" else "exported")
        assert export(folder / "first", kind, output) == n
        again = ["dataset.source=vectors", f"dataset.vectors={output if kind == 'parquet' else output / 'vectors.npy'}"]
        assert run_build(folder / "second", [*again, *settings_of_index, "index.center=false"])["published"]
        asked = [0, n // 2, n - 1]
        assert neighbors(folder / "second", asked) == neighbors(folder / "first", asked)
