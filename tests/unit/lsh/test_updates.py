import threading

import numpy as np
import pytest

from lookalike.lsh import HyperplaneLSH, load_index

from .test_engine import assert_equal_answers

OPTIONS = {"n_bits": 7, "n_tables": 6}


@pytest.fixture
def index(vectors):
    return HyperplaneLSH.build(vectors[:2000], **OPTIONS)


def fresh(index, vectors, ids):
    return HyperplaneLSH.build(vectors, ids, **OPTIONS, mean=index.mean)


def test_added_vectors_are_found_like_in_a_fresh_index(index, vectors, queries):
    index.add(vectors[2000:2500], np.arange(2000, 2500))
    index.add(vectors[2500:2600], np.arange(2500, 2600))
    whole = fresh(index, vectors[:2600], np.arange(2600))
    for k in (5, 70):
        assert_equal_answers(index.query_batch(queries, k), whole.query_batch(queries, k))
    assert index.stats()["n_in_tail"] == 600


def test_removed_vectors_are_gone_like_in_a_fresh_index(index, vectors, queries):
    gone = np.arange(0, 2000, 7)
    index.remove(gone)
    kept = np.setdiff1d(np.arange(2000), gone)
    whole = fresh(index, vectors[kept], kept)
    assert len(index) == len(kept)
    assert_equal_answers(index.query_batch(queries, 10), whole.query_batch(queries, 10))
    assert_equal_answers(
        [index.search_exact(query, 10) for query in queries], [whole.search_exact(query, 10) for query in queries]
    )
    np.testing.assert_array_equal(np.sort(index.ids), kept)


@pytest.mark.parametrize("compact", ["by itself", "by hand"])
def test_compaction_changes_no_answer(index, vectors, queries, compact):
    if compact == "by itself":
        index.add(vectors[2000:], np.arange(2000, 3000))
        index.add(vectors[:100] + 1, np.arange(3000, 3100))
        index.remove(np.arange(0, 3100, 2))
        assert index.stats()["n_removed"] == 0
    else:
        index.add(vectors[2000:2100], np.arange(2000, 2100))
        index.remove(np.arange(1990, 2050))
        before = index.query_batch(queries, 10)
        index.compact()
        assert_equal_answers(index.query_batch(queries, 10), before)
    assert index.stats()["n_in_tail"] == 0
    rows = np.array([index.query(queries[0], 1).ids[0]])
    assert index.rank(queries[0], rows, 1).ids == rows


def test_an_id_can_return_with_another_vector(index, vectors):
    index.remove([5])
    index.add(vectors[2500:2501], [5])
    assert index.query(vectors[2500], 1).ids.tolist() == [5]
    index.remove([5])
    assert index.query(vectors[2500], 1).ids.tolist() != [5]


def test_everything_can_be_removed(index, queries, tmp_path):
    index.remove(np.arange(2000))
    assert len(index) == len(index.query(queries[0], 5)) == 0
    index.save(tmp_path)
    assert len(load_index(tmp_path)) == 0


def test_refused_changes_change_nothing(index, vectors, queries):
    before = index.query_batch(queries, 10)
    with pytest.raises(ValueError, match="3 is in the index"):
        index.add(vectors[:2], [5000, 3])
    with pytest.raises(ValueError, match="id 9999 is not in the index"):
        index.remove([1, 9999])
    with pytest.raises(ValueError, match="7 occurs more than once"):
        index.remove([7, 7])
    assert_equal_answers(index.query_batch(queries, 10), before)


def test_changed_index_is_saved_and_can_change_again(index, vectors, queries, tmp_path):
    index.add(vectors[2000:2300], np.arange(2000, 2300))
    index.remove(np.arange(0, 500))
    index.save(tmp_path)
    loaded = load_index(tmp_path)
    assert_equal_answers(loaded.query_batch(queries, 10), index.query_batch(queries, 10))
    loaded.add(vectors[:500], np.arange(500))
    loaded.save(tmp_path)
    assert len(load_index(tmp_path)) == 2300


def test_queries_run_while_vectors_come_and_go(index, vectors, queries):
    failures = []

    def ask():
        for query in queries:
            answer = index.query(query, 5)
            if len(answer) != 5 or len(set(answer.ids.tolist())) != 5:
                failures.append(answer)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for start in range(2000, 2900, 100):
        index.add(vectors[start : start + 100], np.arange(start, start + 100))
        index.remove(np.arange(start, start + 50))
    for thread in threads:
        thread.join()
    assert failures == []
