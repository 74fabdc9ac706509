"""The nodes of a stored graph as plain data: what they refer to, and BatchNorm folded away.

A BatchNorm that follows a convolution becomes part of it (Jacob et al. 2018, section 3.2): the same function in
evaluation mode with one pass less over the feature map. Tensors may be torch's or NumPy's; this module needs neither.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

Graph = dict[str, Any]
CONVOLUTION, BATCH_NORM = "aten.conv2d.default", "aten.batch_norm.default"


def references(argument: Any, kind: str) -> list[str]:
    """Return the names that an argument refers to as `kind`, "node" or "tensor", however deep they stand."""
    if isinstance(argument, dict):
        return [argument[kind]] if kind in argument else []
    if isinstance(argument, list):
        return [name for item in argument for name in references(item, kind)]
    return []


def tensor_names(graph: Graph) -> list[str]:
    """Return the names of all stored tensors that the nodes refer to, each once."""
    names = (references([*node["args"], *node["kwargs"].values()], "tensor") for node in graph["nodes"])
    return list(dict.fromkeys(name for found in names for name in found))


def last_uses(nodes: Sequence[dict[str, Any]], output: str) -> list[list[str]]:
    """Return, for each node, the values that nothing after it needs, so that their memory can go."""
    seen = {output}
    result: list[list[str]] = []
    for node in reversed(nodes):
        used = dict.fromkeys([*references([*node["args"], *node["kwargs"].values()], "node"), node["name"]])
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
