"""Networks on processors by OpenVINO: converted from torch once, stored as two files, run without torch.

A batch is cut up by no one: each of several threads hands over whole batches, and OpenVINO computes as many at once as
there are cores, each on one core. With one batch on all cores the threads would wait for each other at every layer.
"""

import errno
import logging
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lookalike.errors import ModelError
from lookalike.files import replacing, sha256_of_file, write_bytes_atomic
from lookalike.threads import available_cores

# On import OpenVINO reports to its maker, unless its telemetry package is not installed, which this pretends.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
import openvino  # noqa: E402
from openvino import Model as Graph  # noqa: E402

if TYPE_CHECKING:
    from torch import Tensor, nn

    from lookalike.network.arithmetic import ResolvedPrecision

GRAPH_NAME, WEIGHTS_NAME = "network.xml", "network.bin"
# Largest |converted - torch| / |torch| in fp32: conversion merges BatchNorm into weights and adds up in another order.
CONVERSION_TOLERANCE = 1e-3
# bf16 computes so fast that reading the weights again for every image would hold it up; fp32 gains from small feature
# maps, which stay in the caches.
_BATCH_SIZE: "dict[ResolvedPrecision, int]" = {"fp32": 1, "bf16": 8}
_TYPES = {"fp32": openvino.Type.f32, "bf16": openvino.Type.bf16}


__all__ = [
    "CONVERSION_TOLERANCE",
    "Graph",
    "OpenVINORunner",
    "UnsupportedNetworkError",
    "convert",
    "load_graph",
    "relative_difference",
    "save_graph",
]


class UnsupportedNetworkError(Exception):
    """Raised for a network that OpenVINO cannot express; torch can still run it."""


def convert(network: "nn.Module", example: "Tensor") -> Graph:
    """Return a network in evaluation mode as OpenVINO's graph, which takes batches of any size.

    `example` is a batch on which both must give the same, within `CONVERSION_TOLERANCE`; it should have more than two
    rows, since two are used to trace the network. Raises UnsupportedNetworkError if that fails.
    """
    import torch

    from lookalike.network.arithmetic import one_thread

    shape = openvino.PartialShape([-1, *example.shape[1:]])
    trace: Any = torch.jit.trace
    with one_thread(), torch.no_grad(), _fixed(network):
        expected = network(example).numpy()
        try:
            with _undisturbed():
                # As a function: as a module it takes five times as long. The comparison below is the check.
                traced = trace(lambda batch: network(batch), example[:2], check_trace=False)
                graph = openvino.convert_model(traced, example_input=example[:2], input=[shape])
            found = OpenVINORunner(graph, "fp32", many=False)(example.numpy())
        except Exception as cause:
            # The tracer and OpenVINO raise many kinds of exceptions on what they cannot follow.
            raise UnsupportedNetworkError(" ".join(str(cause).split())[:200] or type(cause).__name__) from cause
    if found.shape != expected.shape or relative_difference(expected, found) > CONVERSION_TOLERANCE:
        raise UnsupportedNetworkError("the converted network gives something else than the original")
    _drop_names(graph)
    return graph


def relative_difference(expected: NDArray[np.float32], found: NDArray[np.float32]) -> float:
    """Return |expected - found| / |expected|, where zeros count as having length one."""
    length = float(np.linalg.norm(expected))
    return float(np.linalg.norm(expected - found)) / (length or 1.0)


@contextmanager
def _fixed(network: "nn.Module") -> Iterator[None]:
    """Within the block no parameter requires a gradient, as tracing demands."""
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    try:
        for parameter in learning:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Hide the tracer's warnings, and put the root logger back, which a failed conversion leaves silenced."""
    root = logging.getLogger()
    level, filters, handlers = root.level, root.filters[:], root.handlers[:]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.setLevel(level)
        root.filters, root.handlers = filters, handlers


def _drop_names(graph: Graph) -> None:
    """Number all operations: their names count what this process converted before, and files would differ by them."""
    graph.set_friendly_name("network")
    for number, node in enumerate(graph.get_ordered_ops()):
        node.set_friendly_name(str(number))
        for output in node.outputs():
            output.get_tensor().set_names(set())


def save_graph(graph: Graph, folder: Path) -> dict[str, str]:
    """Write `network.xml` and `network.bin` in fp32, each whole or not at all; return their sha256 by file name.

    The same network gives the same bytes.
    """
    with TemporaryDirectory() as scratch, replacing(folder / WEIGHTS_NAME) as weights:
        description = Path(scratch) / GRAPH_NAME  # OpenVINO insists on its ending.
        try:
            openvino.serialize(graph, description, weights)
        except RuntimeError as cause:
            # It does not say why it could not write.
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from cause
        write_bytes_atomic(folder / GRAPH_NAME, description.read_bytes())
    return {name: sha256_of_file(folder / name) for name in (GRAPH_NAME, WEIGHTS_NAME)}


def load_graph(folder: Path, digests: dict[str, str]) -> Graph:
    """Return a stored graph; ModelError if one of its files is missing or does not have its sha256."""
    for name, digest in digests.items():
        try:
            found = sha256_of_file(folder / name)
        except OSError as cause:
            raise ModelError(f"cannot read {folder / name}: {cause.strerror or cause}; build again") from cause
        if found != digest:
            raise ModelError(f"{folder / name} was altered; run `lookalike build` again")
    core = openvino.Core()
    # Mapped, the file would stay open as long as the network lives.
    core.set_property({"ENABLE_MMAP": False})
    return core.read_model(folder / GRAPH_NAME, folder / WEIGHTS_NAME)


class OpenVINORunner:
    """A graph made ready for this processor; a function of one batch that several threads may call at once.

    `many` is for a caller that has several threads; otherwise each batch is computed on all cores.
    `precision` is what the processor really computes in: it may have no bf16.
    """

    def __init__(self, graph: Graph, precision: "ResolvedPrecision", *, many: bool) -> None:
        options: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": _TYPES[precision],
            "PERFORMANCE_HINT": "THROUGHPUT" if many else "LATENCY",
            "INFERENCE_NUM_THREADS": available_cores(),
            # The system knows better which core is free while others decode images.
            "ENABLE_CPU_PINNING": False,
        }
        self._model = openvino.Core().compile_model(graph, "CPU", options)
        self._local = threading.local()
        used = self._model.get_property("INFERENCE_PRECISION_HINT")
        self.precision: ResolvedPrecision = "bf16" if used == openvino.Type.bf16 else "fp32"
        self.batch_size = _BATCH_SIZE[self.precision]

    def __call__(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """Return the network's output for a batch."""
        request = getattr(self._local, "request", None)
        if request is None:
            request = self._local.request = self._model.create_infer_request()
        output: NDArray[np.float32] = request.infer([batch], share_inputs=True)[0]
        return output
