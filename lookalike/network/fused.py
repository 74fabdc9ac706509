"""A convolution that pads, adds and clips in the same pass over the feature map.

By itself torch writes the convolution's output to memory, reads it again for a ReLU of one operation a number, and
arranges the weights anew for oneDNN at every call. oneDNN can do all of it in one pass, with weights arranged
once. The two operators are those that `torch.compile` turns convolutions into; they are no public interface, so
`GraphBody.fuse` tries them before it relies on them.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lookalike.network.graph_nodes import FUSED_CONVOLUTION, used_nodes


class FusedConvolution:
    """One convolution of a network; arranges its weights for the processor at the first call, and keeps them."""

    def __init__(self) -> None:
        self._weight: Tensor | None = None

    def __call__(
        self,
        images: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: Sequence[int],
        padding: Sequence[int],
        dilation: Sequence[int],
        groups: int,
        addend: Tensor | None,
        activation: Sequence[Any] | None,
    ) -> Tensor:
        """Return `activation(convolution + addend)`; see `graph_nodes.fuse_convolutions`."""
        library = torch.ops.mkldnn
        if self._weight is None:
            self._weight = library._reorder_convolution_weight(
                weight, padding, stride, dilation, groups, list(images.shape)
            )
        geometry = (self._weight, bias, padding, stride, dilation, groups)
        name, *numbers = activation or (None,)
        if addend is None:
            plain: Tensor = library._convolution_pointwise(images, *geometry, name or "none", numbers, "")
            return plain
        summed: Tensor = library._convolution_pointwise.binary(
            images, addend, *geometry, "add", None, name, numbers, ""
        )
        return summed


def fold_padding(
    nodes: Sequence[dict[str, Any]], tensors: Mapping[str, Tensor]
) -> tuple[list[dict[str, Any]], dict[str, Tensor]]:
    """Return the nodes with zero padding before depthwise fused convolutions left to these, and their new weights.

    Padding that is larger at the end, as TensorFlow pads a stride of two, becomes even padding and a kernel that
    begins with zeros: cheaper than to copy the feature map, where a kernel has one channel.
    """
    uses = Counter(name for node in nodes for name in used_nodes(node))
    by_name = {node["name"]: node for node in nodes}
    kept, made = {node["name"]: node for node in nodes}, {}
    for node in nodes:
        padding = by_name.get(node["args"][0]["node"]) if node["op"] == FUSED_CONVOLUTION else None
        if padding is None or uses[padding["name"]] != 1 or not _is_foldable(padding, node, tensors):
            continue
        left, right, top, bottom = padding["args"][1]
        weight_name = f"{node['name']}.padded_weight"
        weight = tensors[node["args"][1]["tensor"]]
        made[weight_name] = torch.nn.functional.pad(weight, (right - left, 0, bottom - top, 0))
        _, _, bias, stride, _, *others = node["args"]
        arguments = [padding["args"][0], {"tensor": weight_name}, bias, stride, [bottom, right], *others]
        kept[node["name"]] = {**node, "args": arguments}
        del kept[padding["name"]]
    return list(kept.values()), made


def _is_foldable(padding: Mapping[str, Any], convolution: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> bool:
    if padding["op"] != "aten.pad.default" or padding["kwargs"]:
        return False
    _, sizes, *how = padding["args"]
    if len(sizes) != 4 or not all(isinstance(size, int) for size in sizes):
        return False
    left, right, top, bottom = sizes
    _, weight, _, _, own_padding, dilation, _ = convolution["args"][:7]
    return (
        how in ([], ["constant"], ["constant", None], ["constant", 0])
        and 0 <= left <= right
        and 0 <= top <= bottom
        and not any(own_padding)
        and set(dilation) == {1}
        and tensors[weight["tensor"]].shape[1] == 1
    )
