"""The check that nothing stays changed notices what it is there for."""

import logging
import os
import random
import signal
import threading
import warnings
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch

from tests.state import unchanged_state


def enter_autocast(undo):
    context = torch.autocast("cpu", dtype=torch.bfloat16)
    context.__enter__()
    undo(lambda: context.__exit__(None, None, None))


def enter_inference_mode(undo):
    context = torch.inference_mode()
    context.__enter__()
    undo(lambda: context.__exit__(None, None, None))


def forbid_gradients(undo):
    torch.set_grad_enabled(False)
    undo(lambda: torch.set_grad_enabled(True))


def change_default_dtype(undo):
    torch.set_default_dtype(torch.float64)
    undo(lambda: torch.set_default_dtype(torch.float32))


def change_threads(undo):
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    undo(lambda: torch.set_num_threads(before))


def change_threads_of_new_threads(undo):
    before = torch.get_num_threads()
    thread = threading.Thread(target=lambda: torch.set_num_threads(before + 1))
    thread.start()
    thread.join()
    undo(lambda: torch.set_num_threads(before))


def draw_from_torch(undo):
    torch.rand(1)


def draw_from_numpy(undo):
    np.random.rand()  # noqa: NPY002


def draw_from_random(undo):
    random.random()


def add_a_filter(undo):
    warnings.filterwarnings("ignore", message="only here")
    undo(lambda: warnings.filters.pop(0))


def handle_a_signal(undo):
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    undo(lambda: signal.signal(signal.SIGUSR1, before))


def set_a_variable(undo):
    os.environ["LOOKALIKE_TEST_OF_STATE"] = "1"
    undo(lambda: os.environ.pop("LOOKALIKE_TEST_OF_STATE"))


def leave_a_file_open(undo):
    stream = Path(os.devnull).open()  # noqa: SIM115
    undo(stream.close)


def add_a_log_handler(undo):
    logging.getLogger("lookalike").addHandler(handler := logging.NullHandler())
    undo(lambda: logging.getLogger("lookalike").removeHandler(handler))


def change_a_log_level(undo):
    logging.getLogger("lookalike.of_this_test").setLevel(logging.DEBUG)
    undo(lambda: logging.getLogger("lookalike.of_this_test").setLevel(logging.NOTSET))


def style_matplotlib(undo):
    before = matplotlib.rcParams["font.size"]
    matplotlib.rcParams["font.size"] = before + 1
    undo(lambda: matplotlib.rcParams.update({"font.size": before}))


@pytest.mark.parametrize(
    ("leak", "name"),
    [
        (enter_autocast, "torch: autocast on cpu: False is now True"),
        (enter_inference_mode, "torch: inference mode"),
        (forbid_gradients, "torch: gradients"),
        (change_default_dtype, "torch: default dtype: torch.float32 is now torch.float64"),
        (change_threads, "torch: threads"),
        (change_threads_of_new_threads, "torch: threads of new threads"),
        (draw_from_torch, "torch: random"),
        (draw_from_numpy, "numpy.random"),
        (draw_from_random, "random"),
        (add_a_filter, "warnings.filters"),
        (handle_a_signal, "signal handlers"),
        (set_a_variable, "os.environ: LOOKALIKE_TEST_OF_STATE"),
        (leave_a_file_open, f"open files: .*{os.devnull}"),
        (add_a_log_handler, "logging: lookalike: .*NullHandler"),
        (change_a_log_level, "logging: lookalike.of_this_test"),
        (style_matplotlib, "matplotlib: font.size"),
    ],
)
def test_what_stays_changed_is_named(warm, request, leak, name):
    with pytest.raises(AssertionError, match=f"(?m)^{name}"), unchanged_state():
        leak(request.addfinalizer)


def test_a_thread_that_stays_is_named(monkeypatch):
    monkeypatch.setattr("tests.state._SECONDS_FOR_THREADS_TO_END", 0.01)
    end = threading.Event()
    with pytest.raises(AssertionError, match="the thread of this test still runs"), unchanged_state():
        threading.Thread(target=end.wait, name="of this test").start()
    end.set()


def test_what_is_put_back_passes(warm):
    with unchanged_state():
        with torch.autocast("cpu", dtype=torch.bfloat16), torch.random.fork_rng(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.rand(1)
        with Path(os.devnull).open() as stream:
            stream.read()
