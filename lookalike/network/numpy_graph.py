"""A stored body run with NumPy alone, for one image: slower than torch, but there at once.

Importing torch takes longer than everything else that a single query does, this included. Only the operations of
plain convolutional networks are here; `NumpyBody` refuses others, and torch runs those. Feature maps are
(h, w, C).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from lookalike.network.graph_nodes import Graph, convolution_arguments, fold_batch_norms, last_uses

FeatureMap = NDArray[np.float32]


class NumpyUnsupportedError(Exception):
    """Raised for a graph with operations that are not here."""


class NumpyBody:
    """Runs a stored graph on one normalized image (h, w, 3); raises NumpyUnsupportedError if it cannot."""

    def __init__(self, graph: Graph, tensors: Mapping[str, NDArray[np.float32]]) -> None:
        nodes, self._tensors = fold_batch_norms(graph["nodes"], tensors)
        self._input, self._output = graph["input"], graph["output"]
        for node in nodes:
            _check(node, self._tensors)
        self._steps = list(zip(nodes, last_uses(nodes, self._output), strict=True))

    def __call__(self, image: FeatureMap) -> FeatureMap:
        """Return the feature map (h, w, C) of a normalized image (h, w, 3)."""
        values: dict[str, FeatureMap] = {self._input: image}
        for node, finished in self._steps:
            arguments = [self._resolve(argument, values) for argument in node["args"]]
            values[node["name"]] = _OPERATIONS[node["op"]](*arguments)
            for name in finished:
                del values[name]
        return values[self._output]

    def _resolve(self, argument: Any, values: Mapping[str, FeatureMap]) -> Any:
        if isinstance(argument, dict):
            return values[argument["node"]] if "node" in argument else self._tensors[argument["tensor"]]
        return argument


def _check(node: Mapping[str, Any], tensors: Mapping[str, Any]) -> None:
    if node["op"] not in _OPERATIONS or node["kwargs"]:
        raise NumpyUnsupportedError(node["op"])
    if _OPERATIONS[node["op"]] is not convolution:
        return
    padding, dilation, groups = convolution_arguments(node)[4:]
    weight = tensors[node["args"][1]["tensor"]]
    plain, depthwise = groups == 1, groups == weight.shape[0] and weight.shape[1] == 1
    if dilation != [1, 1] or isinstance(padding, str) or not (plain or depthwise):
        raise NumpyUnsupportedError("convolution with dilation or several groups")


def convolution(
    image: FeatureMap,
    weight: NDArray[np.float32],
    bias: NDArray[np.float32] | None = None,
    stride: Sequence[int] = (1, 1),
    padding: Sequence[int] = (0, 0),
    _dilation: Sequence[int] = (1, 1),
    groups: int = 1,
) -> FeatureMap:
    """Return a convolution of (h, w, C) with a weight (out, C / groups, height, width)."""
    image = _padded(image, padding[0], padding[0], padding[1], padding[1])
    if groups > 1:
        result = _depthwise(image, weight[:, 0], stride)
    elif weight.shape[2:] == (1, 1):
        result = image[:: stride[0], :: stride[1]] @ weight[:, :, 0, 0].T
    else:
        windows = sliding_window_view(image, weight.shape[2:], axis=(0, 1))[:: stride[0], :: stride[1]]
        result = windows.reshape(*windows.shape[:2], -1) @ weight.reshape(len(weight), -1).T
    if bias is not None:
        result += bias
    return result


def _depthwise(image: FeatureMap, weight: NDArray[np.float32], stride: Sequence[int]) -> FeatureMap:
    """Return the sum over the kernel's places of the shifted image times one number a channel."""
    height = (image.shape[0] - weight.shape[1]) // stride[0] + 1
    width = (image.shape[1] - weight.shape[2]) // stride[1] + 1
    result = np.zeros((height, width, image.shape[2]), dtype=np.float32)
    for row in range(weight.shape[1]):
        for column in range(weight.shape[2]):
            shifted = image[row : row + height * stride[0] : stride[0], column : column + width * stride[1] : stride[1]]
            result += shifted[:height, :width] * weight[:, row, column]
    return result


def _padded(image: FeatureMap, top: int, bottom: int, left: int, right: int, value: float = 0.0) -> FeatureMap:
    if not any((top, bottom, left, right)):
        return image
    return np.pad(image, ((top, bottom), (left, right), (0, 0)), constant_values=value)


def _pad(image: FeatureMap, sizes: Sequence[int], mode: str = "constant", value: float | None = None) -> FeatureMap:
    if mode != "constant" or len(sizes) != 4:
        raise NumpyUnsupportedError(f"padding {mode}")
    left, right, top, bottom = sizes
    return _padded(image, top, bottom, left, right, value or 0.0)


def _max_pool(
    image: FeatureMap, kernel: Sequence[int], stride: Sequence[int] = (), padding: Sequence[int] = (0, 0)
) -> FeatureMap:
    padding = (padding[0], padding[-1])
    image = _padded(image, padding[0], padding[0], padding[1], padding[1], -np.inf)
    step = tuple(stride) or tuple(kernel)
    windows = sliding_window_view(image, (kernel[0], kernel[-1]), axis=(0, 1))[:: step[0], :: step[-1]]
    found: FeatureMap = windows.max(axis=(-2, -1))
    return found


def _clip_in_place(image: FeatureMap, low: float = -1.0, high: float = 1.0) -> FeatureMap:
    return np.clip(image, low, high, out=image)


def _relu_in_place(image: FeatureMap) -> FeatureMap:
    return np.maximum(image, 0, out=image)


def _add_in_place(image: FeatureMap, other: FeatureMap) -> FeatureMap:
    # The graph's own later references to `image` mean the sum.
    image += other
    return image


_OPERATIONS: dict[str, Callable[..., FeatureMap]] = {
    "aten.conv2d.default": convolution,
    "aten.hardtanh.default": lambda image, low=-1.0, high=1.0: np.clip(image, low, high),
    "aten.hardtanh_.default": _clip_in_place,
    "aten.relu.default": lambda image: np.maximum(image, 0),
    "aten.relu_.default": _relu_in_place,
    "aten.add.Tensor": lambda image, other: image + other,
    "aten.add_.Tensor": _add_in_place,
    "aten.pad.default": _pad,
    "aten.max_pool2d.default": _max_pool,
}
