"""Samples that are compared between builds change as little as the collection does."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lookalike.evaluation.evaluation_set import draw_rows

IMAGES = st.lists(st.uuids().map(str), min_size=1, max_size=60, unique=True)


def drawn(image_ids, count, seed):
    ids = np.array(image_ids, np.str_)
    rows = draw_rows(np.arange(len(ids)), ids, count, seed)
    assert len(rows) == min(count, len(ids))
    assert (np.diff(rows) > 0).all()
    return set(ids[rows].tolist())


@given(IMAGES, st.integers(1, 40), st.integers(0, 2**32), st.data())
def test_a_changed_collection_keeps_its_sample_but_for_the_images_that_changed(images, count, seed, data):
    removed = data.draw(st.sets(st.sampled_from(images), max_size=len(images) - 1))
    before = drawn(images, count, seed)
    left = [image for image in images if image not in removed]
    after = drawn(data.draw(st.permutations(left)), count, seed)
    assert before - removed <= after
    assert len(after - before) <= len(removed & before)


def test_another_seed_draws_another_sample():
    images = [str(number) for number in range(1000)]
    assert 20 < len(drawn(images, 200, 0) & drawn(images, 200, 1)) < 60
