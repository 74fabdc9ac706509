import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lookalike.dataset.records import Row
from lookalike.dataset.split import held_out_ids


def row(label, content, copy=0):
    image_id = hashlib.sha256(content.encode()).hexdigest()
    return Row(image_id, f"{label}/{content}-{copy}.jpg", label, 10, 10, 100)


def label_rows(label, n_images):
    return [row(label, f"{label} {number}") for number in range(n_images)]


files = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 30)), max_size=60)


@pytest.mark.parametrize(
    ("n_images", "expected"), [(1, 0), (2, 1), (3, 1), (5, 1), (7, 1), (8, 2), (31, 6), (50, 10), (800, 160)]
)
def test_a_fifth_of_each_label_is_held_out(n_images, expected):
    assert len(held_out_ids(label_rows("a", n_images), 0.2, 0)) == expected


@given(files, st.floats(0.01, 0.99), st.integers(0, 3))
def test_every_label_trains_and_ambiguous_images_are_never_held_out(pairs, fraction, seed):
    rows = [row(label, str(content), copy) for copy, (label, content) in enumerate(pairs)]
    held_out = held_out_ids(rows, fraction, seed)
    labels_of = {}
    for entry in rows:
        labels_of.setdefault(entry.image_id, set()).add(entry.label)
    assert all(len(labels_of[image_id]) == 1 for image_id in held_out)
    for label in {entry.label for entry in rows}:
        assert any(entry.image_id not in held_out for entry in rows if entry.label == label)


@given(files, st.randoms(use_true_random=False))
def test_order_of_files_and_copies_do_not_matter(pairs, random):
    rows = [row(label, f"{label}{content}") for label, content in pairs]
    shuffled = [row(label, f"{label}{content}", 1) for label, content in pairs] + rows
    random.shuffle(shuffled)
    assert held_out_ids(shuffled, 0.2, 0) == held_out_ids(rows, 0.2, 0)


@given(st.integers(2, 60), st.integers(0, 5))
def test_added_image_moves_at_most_one_other(n_images, seed):
    before = held_out_ids(label_rows("a", n_images), 0.2, seed)
    rows = label_rows("a", n_images + 1)
    after = held_out_ids(rows, 0.2, seed)
    added = rows[-1].image_id
    assert len((before ^ after) - {added}) <= 1


def test_added_label_moves_nothing():
    rows = label_rows("a", 50)
    assert held_out_ids(rows, 0.2, 0) == held_out_ids(rows + label_rows("b", 9), 0.2, 0) & {r.image_id for r in rows}


def test_another_seed_gives_another_split_of_the_same_size():
    rows = label_rows("a", 100)
    first, second = held_out_ids(rows, 0.2, 0), held_out_ids(rows, 0.2, 1)
    assert first != second
    assert len(first) == len(second) == 20


def test_split_is_that_of_every_other_run_and_machine():
    rows = label_rows("a", 10)
    numbers = sorted(rows.index(entry) for entry in rows if entry.image_id in held_out_ids(rows, 0.3, 0))
    assert numbers == [0, 2, 9]


def test_no_rows_give_no_split():
    assert held_out_ids([], 0.2, 0) == set()
