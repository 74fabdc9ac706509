import json

import numpy as np
import pytest

from lookalike.lsh import HyperplaneLSH
from lookalike.lsh.explain import gini


@pytest.fixture
def index(vectors):
    return HyperplaneLSH.build(vectors, n_bits=7, n_tables=6, probes=3)


def test_stats_fit_json_and_add_up(index):
    stats = index.stats()
    assert json.loads(json.dumps(stats)) == stats
    assert stats["n_vectors"] == 3000
    for table in stats["tables"]:
        assert table["mean_size"] * table["occupied_buckets"] == pytest.approx(3000)
        assert table["largest_buckets"] == sorted(table["largest_buckets"], reverse=True)
        assert 0 <= table["gini"] < 1
    assert 0.2 < stats["bits"]["mean_share_of_ones"] < 0.8
    # 6 tables of 4 bytes, 32 bytes of sketch, 1 of alignment, 8 of id, 4 of scale, and the starts of 6 x 128 buckets of
    # both segments.
    assert stats["overhead_bytes_per_vector"] == pytest.approx(24 + 32 + 1 + 8 + 4 + 2 * 6 * 129 * 4 / 3000, abs=0.1)


def test_gini_of_known_sizes():
    assert gini(np.array([5, 5, 5])) == 0
    assert gini(np.array([1, 3])) == pytest.approx(0.25)


def test_explanation_agrees_with_the_candidates(index, vectors, queries):
    for query in queries[:10]:
        candidates = set(index.candidates(query).tolist())
        for row in range(0, 3000, 311):
            match = index.explain(query, row)
            assert match["found"] == (row in candidates)
            assert match["found"] == any(table["found_at_probe"] for table in match["tables"])
            assert match["distance"] == index.rank(query, [row], 1).distances[0]
            assert 0 <= match["chance_to_miss"] <= 1
            for table in match["tables"]:
                differing = bin(table["query_bucket"] ^ table["stored_bucket"]).count("1")
                assert table["bits_differing"] == differing
                assert differing > 0 or table["found_at_probe"] is not None


def test_a_vector_is_sure_to_find_itself(index, vectors):
    match = index.explain(vectors[17], 17)
    assert (match["found"], match["chance_to_miss"], match["distance"]) == (True, 0.0, 0.0)
    assert match["sketch_bits_differing"] == 0


def test_unknown_id_is_refused(index, vectors):
    with pytest.raises(ValueError, match="id 3000 is not in the index"):
        index.explain(vectors[0], 3000)
