"""The nodes of a stored graph as plain data: what they refer to, and steps that become part of a convolution.

A BatchNorm that follows a convolution is merged into its weights (Jacob et al. 2018, section 3.2): the same function in
evaluation mode with one pass less over the feature map. A sum and an activation that follow it can be left to it.
Tensors may be torch's or NumPy's; this module needs neither.
"""

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from typing import Any

Graph = dict[str, Any]
CONVOLUTION, BATCH_NORM = "aten.conv2d.default", "aten.batch_norm.default"
FUSED_CONVOLUTION = "lookalike.fused_convolution"
# Each with the numbers that it has by default.
_ACTIVATIONS: dict[str, tuple[Any, ...]] = {
    "aten.relu.default": ("relu",),
    "aten.relu_.default": ("relu",),
    "aten.hardtanh.default": ("hardtanh", -1.0, 1.0),
    "aten.hardtanh_.default": ("hardtanh", -1.0, 1.0),
}
# Of image, weight, bias, stride, padding, dilation and groups; the first two are always there.
_CONVOLUTION_DEFAULTS: tuple[Any, ...] = (None, None, None, [1, 1], [0, 0], [1, 1], 1)


def references(argument: Any, kind: str) -> list[str]:
    """Return the names that an argument refers to as `kind`, "node" or "tensor", however deep they stand."""
    if isinstance(argument, dict):
        return [argument[kind]] if kind in argument else []
    if isinstance(argument, list):
        return [name for item in argument for name in references(item, kind)]
    return []


def used_nodes(node: Mapping[str, Any]) -> list[str]:
    """Return the names of the nodes whose values a node reads, as often as it reads them."""
    return references([*node["args"], *node["kwargs"].values()], "node")


def convolution_arguments(node: Mapping[str, Any]) -> list[Any]:
    """Return all seven arguments of an `aten.conv2d`; those that are left out have torch's defaults."""
    return [*node["args"], *_CONVOLUTION_DEFAULTS[len(node["args"]) :]]


def tensor_names(graph: Graph) -> list[str]:
    """Return the names of all stored tensors that the nodes refer to, each once."""
    names = (references([*node["args"], *node["kwargs"].values()], "tensor") for node in graph["nodes"])
    return list(dict.fromkeys(name for found in names for name in found))


def last_uses(nodes: Sequence[dict[str, Any]], output: str) -> list[list[str]]:
    """Return, for each node, the values that nothing after it needs, so that their memory can go."""
    seen = {output}
    result: list[list[str]] = []
    for node in reversed(nodes):
        used = dict.fromkeys([*used_nodes(node), node["name"]])
        result.append([name for name in used if name not in seen])
        seen.update(used)
    return result[::-1]


def fold_batch_norms(
    nodes: Sequence[dict[str, Any]], tensors: Mapping[str, Any]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the nodes with every BatchNorm that directly follows a convolution merged into it, and the tensors."""
    uses = Counter(name for node in nodes for name in references(node["args"], "node"))
    by_name = {node["name"]: node for node in nodes}
    kept, folded = {node["name"]: node for node in nodes}, dict(tensors)
    for node in nodes:
        source = by_name.get(node["args"][0]["node"]) if node["op"] == BATCH_NORM else None
        if source is None or source["op"] != CONVOLUTION or uses[source["name"]] != 1 or node["args"][5]:
            continue
        weight, bias = _folded_convolution(source["args"], node["args"], tensors)
        weight_name, bias_name = f"{node['name']}.weight", f"{node['name']}.bias"
        folded |= {weight_name: weight, bias_name: bias}
        arguments = [source["args"][0], {"tensor": weight_name}, {"tensor": bias_name}, *source["args"][3:]]
        kept[node["name"]] = {**source, "name": node["name"], "args": arguments}
        del kept[source["name"]]
    return list(kept.values()), folded


def _folded_convolution(
    convolution: Sequence[Any], batch_norm: Sequence[Any], tensors: Mapping[str, Any]
) -> tuple[Any, Any]:
    """Return weight and bias of one convolution that equals a convolution followed by a BatchNorm."""
    weight = tensors[convolution[1]["tensor"]]
    gain, shift, mean, variance = (tensors[argument["tensor"]] for argument in batch_norm[1:5])
    has_bias = len(convolution) > 2 and convolution[2] is not None
    bias = tensors[convolution[2]["tensor"]] if has_bias else 0.0
    scale = gain / (variance + batch_norm[7]) ** 0.5
    return weight * scale[:, None, None, None], (bias - mean) * scale + shift


def fuse_convolutions(nodes: Sequence[dict[str, Any]], output: str) -> list[dict[str, Any]]:
    """Return the nodes with every convolution turned into a `FUSED_CONVOLUTION`, and what directly follows merged in.

    Its arguments are image, weight, bias, stride, padding, dilation, groups; what to add to the result, or None;
    and the activation after that as a name and its numbers, or None. A value that something else needs too is left.
    """
    uses = Counter([output, *(name for node in nodes for name in used_nodes(node))])
    fused: list[dict[str, Any]] = []
    passing: set[str] = set()
    for node in nodes:
        merged = _merged(fused[-1], node, passing) if fused else None
        if merged is None:
            fused.append(_as_fused(node))
        else:
            fused[-1] = merged
        if fused[-1]["op"] == FUSED_CONVOLUTION and uses[node["name"]] == 1:
            passing.add(node["name"])
    return fused


def _as_fused(node: dict[str, Any]) -> dict[str, Any]:
    if node["op"] != CONVOLUTION or node["kwargs"]:
        return node
    arguments = convolution_arguments(node)
    if isinstance(arguments[4], str):
        return node
    return {**node, "op": FUSED_CONVOLUTION, "args": [*arguments, None, None]}


def _merged(convolution: dict[str, Any], node: Mapping[str, Any], passing: Set[str]) -> dict[str, Any] | None:
    """Return a fused convolution that does the work of `node` too, or None if it cannot.

    `passing` are the outputs of convolutions that only one node needs.
    """
    result = {"node": convolution["name"]}
    if convolution["name"] not in passing or node["kwargs"] or result not in node["args"]:
        return None
    *arguments, addend, activation = convolution["args"]
    if activation is None and node["op"] in _ACTIVATIONS:
        (name, *defaults), numbers = _ACTIVATIONS[node["op"]], node["args"][1:]
        activation = [name, *numbers, *defaults[len(numbers) :]]
    elif activation is None and addend is None and _adds(node, passing):
        (addend,) = (argument for argument in node["args"] if argument != result)
    else:
        return None
    return {**convolution, "name": node["name"], "args": [*arguments, addend, activation]}


def _adds(node: Mapping[str, Any], passing: Set[str]) -> bool:
    """Whether a node adds two different feature maps, and changes none in place that another node may read."""
    used = used_nodes(node)
    if len(node["args"]) != 2 or len(set(used)) != 2:
        return False
    return node["op"] == "aten.add.Tensor" or (node["op"] == "aten.add_.Tensor" and used[0] in passing)
