"""Device, precision, threads and memory behavior of torch."""

import ctypes
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from typing import Literal, TypeVar

import torch

from lookalike.threads import ordered_map, resolve_workers

logger = logging.getLogger(__name__)

Batch = TypeVar("Batch")
Result = TypeVar("Result")
ResolvedPrecision = Literal["fp32", "bf16"]

# Emulated products of this side took 0.004 to 0.1 times the speed of fp32, those by instructions 0.5 and more.
_TRIAL_SIDE = 256
_TRIALS = 5
_EMULATED_SPEEDUP = 0.2
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_MALLOPT_VALUE = 2**31 - 1


def best_device() -> torch.device:
    """Return the GPU if there is one, else the processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def bf16_may_pay(device: torch.device) -> bool:
    """Return whether bf16 may be faster than fp32: False where it is emulated, a single step of which takes minutes."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    single = torch.ones(_TRIAL_SIDE, _TRIAL_SIDE)
    with one_thread():  # The fastest of a few on one thread tells even on a busy machine.
        fp32, bf16 = (min(_product_seconds(some) for _ in range(_TRIALS)) for some in (single, single.bfloat16()))
    return fp32 > _EMULATED_SPEEDUP * bf16


def _product_seconds(matrix: torch.Tensor) -> float:
    start = time.perf_counter()
    _ = matrix @ matrix
    return time.perf_counter() - start


def autocast(device: torch.device, precision: ResolvedPrecision) -> AbstractContextManager[object]:
    """Return a context in which layers compute in `precision`, whatever the caller has set; the weights stay fp32.

    Enter it around a single call by `with`: it is a setting of the thread, which would stay if it were never left.
    """
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


@contextmanager
def own_random_state() -> Iterator[None]:
    """Within the block torch's random numbers may be drawn and seeded; after it the caller's go on as before."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        yield


@contextmanager
def own_torch_state(seed: int) -> Iterator[None]:
    """Within the block torch trains in fp32 with random numbers of `seed`, whatever autocast or gradient mode is on."""
    with (
        own_random_state(),
        torch.inference_mode(mode=False),
        torch.enable_grad(),
        autocast(torch.device("cpu"), "fp32"),
        autocast(best_device(), "fp32"),
    ):
        torch.manual_seed(seed)
        yield


@contextmanager
def one_thread() -> Iterator[None]:
    """Within the block, torch computes each operation on one thread.

    Small operations gain nothing from more threads, and lose much when the threads have to wait for each other
    on cores that do other work too (measured: ten times).
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def parallel_batches(
    function: Callable[[Batch], Result], batches: Iterable[Batch], workers: int | Literal["auto"] = "auto"
) -> Iterator[Result]:
    """Yield `function(batch)` for each batch, in order: several batches at once, each on one thread.

    `function` decodes its images and runs the network. With one batch per core, threads need not synchronize at every
    layer, which is faster than one batch on all cores, and much faster when the cores are busy with other work.
    """
    count = resolve_workers(workers)
    try:
        yield from ordered_map(function, batches, workers=count, ahead=2 * count, initializer=_use_one_thread)
    finally:
        # The setting is one of each thread, but the last one made anywhere is the default of all new threads.
        torch.set_num_threads(torch.get_num_threads())


def _use_one_thread() -> None:
    torch.set_num_threads(1)


@cache
def keep_freed_memory() -> bool:
    """Tell glibc to keep freed memory instead of giving it back to the kernel; False where that is not possible.

    The setting is that of the whole process and cannot be undone: glibc does not report the earlier one.

    A forward pass allocates and frees the same large blocks repeatedly. By default each of them is mapped, zeroed page
    by page and unmapped again, which took half of the time of a pass in one measurement.
    """
    if os.name != "posix":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    done = [mallopt(option, _LARGEST_MALLOPT_VALUE) for option in (_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD)]
    return all(done)
