"""Indexes that earlier versions wrote must load for ever, and answer as they did."""

import json
from pathlib import Path

import numpy as np
import pytest

from lookalike.lsh import load_index

STORED = Path(__file__).parents[2] / "data" / "index-v1"


@pytest.mark.parametrize("engine", ["lookalike", "exact", "lshash3"])
@pytest.mark.parametrize("mmap", [True, False])
def test_format_1_still_loads_and_answers_alike(engine, mmap):
    if engine == "lshash3":
        pytest.importorskip("lshash", reason="lshash3 installs on Python 3.11 only")
    expected = json.loads((STORED / "expected.json").read_text())
    index = load_index(STORED / engine, mmap=mmap)
    for query, answer in zip(np.array(expected["queries"], np.float32), expected[engine], strict=True):
        found = index.query(query, 5)
        assert found.ids.tolist() == answer["ids"]
        np.testing.assert_allclose(found.distances, answer["distances"], rtol=1e-6)
        assert found.candidates == answer["candidates"]


def test_a_stored_index_can_grow():
    index = load_index(STORED / "lookalike")
    vector = np.arange(8, dtype=np.float32)
    index.add(vector[None, :], [10_000])
    assert index.query(vector, 1).ids.tolist() == [10_000]
