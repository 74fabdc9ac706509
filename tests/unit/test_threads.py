import os
import threading

import pytest

from lookalike import threads
from lookalike.threads import available_cores, ordered_map, resolve_workers


@pytest.mark.parametrize(("workers", "ahead"), [("auto", None), (1, 1), (3, 2), (2, 50)])
def test_ordered_map_gives_every_result_in_order(workers, ahead):
    assert list(ordered_map(lambda item: item * item, iter(range(30)), workers=workers, ahead=ahead)) == [
        item * item for item in range(30)
    ]
    assert list(ordered_map(str, [], workers=workers, ahead=ahead)) == []


def test_ordered_map_begins_no_more_than_allowed():
    begun = []
    results = ordered_map(lambda item: begun.append(item) or item, range(100), workers=2, ahead=5)
    assert next(results) == 0
    assert len(begun) <= 5
    assert list(results) == list(range(1, 100))


def test_ordered_map_raises_in_turn_and_ends_its_threads():
    def fail_at_three(item):
        if item == 3:
            raise ValueError("three")
        return item

    results = ordered_map(fail_at_three, range(10), workers=2, ahead=4)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(results)
    for thread in threading.enumerate():
        if thread.name.startswith("lookalike-worker"):
            thread.join(timeout=10)
            assert not thread.is_alive()


@pytest.mark.parametrize("cores", [1, 5])
def test_workers_are_one_per_core_that_this_process_may_use(monkeypatch, cores):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(cores)), raising=False)
    assert available_cores() == resolve_workers("auto") == cores
    assert resolve_workers(3) == 3


@pytest.mark.parametrize(("found", "cores"), [(7, 7), (None, 1)])
def test_cores_are_counted_where_the_system_knows_no_affinity(monkeypatch, found, cores):
    monkeypatch.delattr(threads.os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: found)
    assert available_cores() == cores
