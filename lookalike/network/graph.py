"""A body as plain data: the list of its operations, from which it can be rebuilt without its library.

`export_graph` writes a network down with `torch.export` as JSON values: one node an operation, each the name
of an ATen operator and its arguments, where an argument may refer to an earlier node or to a stored tensor by
its name. `GraphBody` runs such a list. Importing timm and torchvision takes longer than everything else that a
query does, and a stored graph also does not change when those libraries do.
"""

import logging
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lookalike.errors import ModelError
from lookalike.network.fused import FusedConvolution, fold_padding
from lookalike.network.graph_nodes import (
    FUSED_CONVOLUTION,
    Graph,
    fold_batch_norms,
    fuse_convolutions,
    last_uses,
    tensor_names,
)

logger = logging.getLogger(__name__)

# Arithmetic on sizes, which the tracer leaves to Python.
_PYTHON_OPERATORS: dict[str, Callable[..., Any]] = {
    name: getattr(operator, name) for name in ("getitem", "add", "sub", "mul", "floordiv")
}


class UnsupportedGraphError(Exception):
    """Raised for a network that cannot be written down as a plain list of operations."""


def export_graph(body: nn.Module, shape: Sequence[int]) -> tuple[Graph, dict[str, Tensor]]:
    """Return the operations of a body in evaluation mode, and the tensors that they refer to, by name.

    `shape` is that of one image or feature map, without the batch.
    Raises UnsupportedGraphError for networks that torch.export or JSON cannot express; such bodies are
    rebuilt through their library.
    """
    example = torch.zeros(2, *shape)
    try:
        program = torch.export.export(body.eval(), (example,), dynamic_shapes=({0: torch.export.Dim.AUTO},))
    except Exception as cause:
        # The tracer raises many kinds of exceptions on code that it cannot follow.
        raise UnsupportedGraphError(str(cause)) from cause
    signature = program.graph_signature
    stored = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
    (input_name,) = signature.user_inputs
    (output_name,) = signature.user_outputs
    nodes = [_node_to_json(node, stored) for node in program.graph.nodes if node.op == "call_function"]
    graph = {"input": input_name, "output": output_name, "nodes": nodes}
    tensors = {**program.state_dict, **program.constants}
    return graph, {name: tensors[name].detach() for name in tensor_names(graph)}


def _node_to_json(node: torch.fx.Node, stored: Mapping[str, str]) -> dict[str, Any]:
    names = [name for name, function in _PYTHON_OPERATORS.items() if function is node.target]
    name = names[0] if names else str(node.target)
    if not names and not name.startswith("aten."):
        raise UnsupportedGraphError(f"operation {name}")
    arguments = [_argument_to_json(argument, stored) for argument in node.args]
    options = {key: _argument_to_json(value, stored) for key, value in node.kwargs.items()}
    return {"name": node.name, "op": name, "args": arguments, "kwargs": options}


def _argument_to_json(argument: Any, stored: Mapping[str, str]) -> Any:
    if isinstance(argument, torch.fx.Node):
        return {"tensor": stored[argument.name]} if argument.name in stored else {"node": argument.name}
    if isinstance(argument, list | tuple):
        return [_argument_to_json(item, stored) for item in argument]
    if argument is None or isinstance(argument, bool | int | float | str):
        return argument
    raise UnsupportedGraphError(f"argument {argument!r}")


class GraphBody(nn.Module):
    """A body that runs a stored graph; equal, up to rounding, to the exported module in evaluation mode."""

    def __init__(self, graph: Graph, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        nodes, folded = fold_batch_norms(graph["nodes"], tensors)
        self._input, self._output = graph["input"], graph["output"]
        self._attributes: dict[str, str] = {}
        self._store({name: folded[name] for name in tensor_names({"nodes": nodes})})
        self._set_steps(nodes)

    def _store(self, tensors: Mapping[str, Tensor]) -> None:
        for position, (name, tensor) in enumerate(tensors.items(), start=len(self._attributes)):
            self._attributes[name] = f"tensor_{position}"
            self.register_buffer(f"tensor_{position}", tensor, persistent=False)

    def _set_steps(self, nodes: list[dict[str, Any]]) -> None:
        self._steps = [(node, _operator(node["op"])) for node in nodes]
        self._last_uses = last_uses(nodes, self._output)

    def fuse(self, example: Tensor) -> bool:
        """Let convolutions pad, add and clip in their own pass; returns whether that works here.

        `example` is a batch like those to come. From then on the body stays where it is and in its precision.
        Where the processor or torch has no such convolutions, or they give something else, nothing changes.
        """
        steps, finished = self._steps, self._last_uses
        stored = {name: getattr(self, attribute) for name, attribute in self._attributes.items()}
        nodes, made = fold_padding(fuse_convolutions([node for node, _ in steps], self._output), stored)
        self._store(made)
        with torch.inference_mode():
            expected = self(example)
            self._set_steps(nodes)
            works = self._agrees(example, expected)
        if not works:
            self._steps, self._last_uses = steps, finished
        return works

    def _agrees(self, example: Tensor, expected: Tensor) -> bool:
        try:
            found = self(example)
        except (AttributeError, RuntimeError, TypeError) as cause:
            logger.debug("convolutions cannot be fused here: %s", cause)
            return False
        # Only rounding may differ: a share of 0.0003 in fp32 and of 0.09 in bf16.
        tolerance = torch.finfo(expected.dtype).eps ** 0.5 * float(expected.abs().max())
        return torch.allclose(found, expected, rtol=0, atol=tolerance)

    def forward(self, images: Tensor) -> Tensor:
        """Features of normalized images (n, 3, h, w), in the exported body's own layout."""
        values: dict[str, Any] = {self._input: images}
        for (node, function), finished in zip(self._steps, self._last_uses, strict=True):
            arguments = [self._resolve(argument, values) for argument in node["args"]]
            options = {key: self._resolve(value, values) for key, value in node["kwargs"].items()}
            values[node["name"]] = function(*arguments, **options)
            for name in finished:
                del values[name]
        output: Tensor = values[self._output]
        return output

    def _resolve(self, argument: Any, values: Mapping[str, Any]) -> Any:
        if isinstance(argument, dict):
            if "node" in argument:
                return values[argument["node"]]
            return getattr(self, self._attributes[argument["tensor"]])
        if isinstance(argument, list):
            return [self._resolve(item, values) for item in argument]
        return argument


def _operator(name: str) -> Callable[..., Any]:
    """Return the operator `aten.NAME.OVERLOAD`, or one of Python's or ours; ModelError for anything else."""
    if name == FUSED_CONVOLUTION:
        return FusedConvolution()
    if name in _PYTHON_OPERATORS:
        return _PYTHON_OPERATORS[name]
    parts = name.split(".")
    if len(parts) != 3 or parts[0] != "aten" or not hasattr(torch.ops.aten, parts[1]):
        raise ModelError(f"the stored network asks for an unknown operation {name!r}; train it again")
    overload: Callable[..., Any] = getattr(getattr(torch.ops.aten, parts[1]), parts[2])
    return overload
