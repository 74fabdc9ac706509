"""Every metric is judged in a form whose inner product ranks as its distance does, and shown as a similarity."""

import numpy as np
import pytest

from lookalike.config.sections import IndexConfig
from lookalike.evaluation.ranking import as_inner_products
from lookalike.lsh import ExactIndex
from lookalike.lsh.base import METRICS
from lookalike.lsh.space import space_of_rows
from lookalike.search.results import similarity_of


@pytest.mark.parametrize("metric", METRICS)
def test_inner_products_and_similarities_rank_as_distances_do(metric):
    rng = np.random.default_rng(0)
    vectors, query = rng.standard_normal((50, 8)).astype(np.float32), rng.standard_normal(8).astype(np.float32)
    space = space_of_rows(metric, vectors, center=True)
    answer = ExactIndex.build(vectors, metric=metric, mean=space.mean).query(query, 50)
    queries, rows = as_inner_products(space, query[None], vectors)
    np.testing.assert_array_equal(np.argsort(-(rows @ queries[0])), answer.ids)
    similarities = [similarity_of(float(distance), metric) for distance in answer.distances]
    assert similarities == sorted(similarities, reverse=True)


def test_lshash3_has_no_inner_product():
    with pytest.raises(ValueError, match="lshash3 has no metric inner_product"):
        IndexConfig(engine="lshash3", metric="inner_product")
