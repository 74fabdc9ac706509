import itertools
import platform
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from lookalike.network import arithmetic
from lookalike.network.arithmetic import keep_freed_memory, one_thread, parallel_batches
from lookalike.network.preprocessing import Preprocessing, center_square


@pytest.mark.parametrize(("speedup", "expected"), [(0.004, False), (0.1, False), (0.5, True), (3.0, True)])
def test_bf16_may_pay_unless_it_is_emulated(monkeypatch, speedup, expected):
    """Whatever else the machine does: one product of each in five is undisturbed."""
    disturbances = itertools.cycle([40.0, 1.0, 7.0, 300.0, 2.0])

    def seconds(matrix):
        return next(disturbances) / (speedup if matrix.dtype == torch.bfloat16 else 1.0)

    monkeypatch.setattr(arithmetic, "_product_seconds", seconds)
    assert arithmetic.bf16_may_pay(torch.device("cpu")) is expected


def test_freed_memory_is_kept_where_glibc_is():
    has_glibc = platform.libc_ver()[0] == "glibc"
    assert keep_freed_memory() is has_glibc


def test_one_thread_restores_the_setting():
    before = torch.get_num_threads()
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


def test_parallel_batches_keep_their_order_on_one_torch_thread_each():
    before = torch.get_num_threads()
    found = list(parallel_batches(lambda batch: (batch, torch.get_num_threads()), range(20), workers=3))
    assert found == [(batch, 1) for batch in range(20)]
    assert torch.get_num_threads() == before


def test_abandoned_parallel_batches_leave_the_threads_as_they_were():
    before = torch.get_num_threads()
    batches = parallel_batches(lambda batch: batch, range(20), workers=2)
    assert next(batches) == 0
    assert torch.get_num_threads() == before
    batches.close()
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(torch.get_num_threads).result() == before


@pytest.mark.parametrize(
    ("size", "box"), [((10, 10), (0, 0, 10, 10)), ((30, 10), (10, 0, 20, 10)), ((3, 8), (0, 2.5, 3, 5.5))]
)
def test_center_square(size, box):
    assert center_square(*size) == box


def test_preprocessing_survives_json():
    preprocessing = Preprocessing(224, "crop", (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert Preprocessing.from_json(preprocessing.to_json()) == preprocessing
