"""A convolution that adds and clips in the same pass over the feature map.

By itself torch writes the convolution's output to memory, reads it again for a ReLU of one operation a number, and
arranges the weights anew for oneDNN at every call. oneDNN can do all of it in one pass, with weights arranged
once. The two operators are those that `torch.compile` turns convolutions into; they are no public interface, so
`GraphBody.fuse` tries them before it relies on them.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


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
