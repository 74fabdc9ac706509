"""The embedding function without torch, for the first images of a process."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from lookalike.network.description import fingerprint, read_description, read_tensors
from lookalike.network.numpy_graph import NumpyBody, NumpyUnsupportedError
from lookalike.network.preprocessing import Preprocessing

_BATCH_NORM_EPSILON = 1e-5
_SMALLEST_LENGTH = 1e-12
# The head's layers in order; dropout does nothing outside training.
_LAYERS = ("pool", "norm", "dropout", "linear", "activation", "norm2")


class LightModel:
    """Embeds pixels with NumPy; equal, up to rounding, to `EmbeddingModel` in fp32. See `open_light_model`."""

    def __init__(self, description: Mapping[str, Any], tensors: Mapping[str, NDArray[np.float32]], layer: str) -> None:
        prefix, _, self._layer = layer.partition(".")
        head = description["head"]
        if description["graph"] is None or prefix != "head" or self._layer not in {*_LAYERS, "embedding"}:
            raise NumpyUnsupportedError(layer)
        if head["layout"] != "channels_first":
            raise NumpyUnsupportedError(head["layout"])
        self.preprocessing = Preprocessing.from_json(description["preprocessing"])
        self.fingerprint = fingerprint(description, layer)
        self._tensors = tensors
        self._threads = ThreadpoolController()
        self._is_alone = head["units"] == 0
        self._relu = head["activation"] == "relu"
        body = {name.removeprefix("body."): tensor for name, tensor in tensors.items() if name.startswith("body.")}
        self._body = NumpyBody(description["graph"], body)

    def embed(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the embeddings (n, dim) fp32 of pixels (n, size, size, 3)."""
        # The products of one image are small: several threads would wait for each other longer than they compute.
        with self._threads.limit(limits=1, user_api="blas"):
            return np.stack([self._embed_one(image) for image in pixels])

    def _embed_one(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        mean, std = (np.array(values, np.float32) for values in (self.preprocessing.mean, self.preprocessing.std))
        normalized = ((pixels.astype(np.float32) / 255 - mean) / std).astype(np.float32, copy=False)
        pooled: NDArray[np.float32] = self._body(normalized).mean(axis=(0, 1))
        return self._embedding(pooled) if self._layer == "embedding" else self._run_head(pooled, self._layer)

    def _embedding(self, pooled: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `lookalike.network.head.Embedding`."""
        if self._is_alone:
            return self._tensors["head.embedding.projection"] @ pooled + self._tensors["head.embedding.shift"]
        activation = self._run_head(pooled, "activation")
        gain, projection, shift = (self._tensors[f"head.embedding.{name}"] for name in ("gain", "projection", "shift"))
        if len(shift) == 0:
            return activation
        scored, directions = self._head_layer("norm2", activation), self._tensors["head.classifier.weight"]
        lengths = np.linalg.norm(directions, axis=1) * np.linalg.norm(scored)
        confidence = np.max(directions @ scored / np.maximum(lengths, _SMALLEST_LENGTH)).clip(min=0)
        return np.concatenate([gain * confidence * activation, projection @ pooled + shift])

    def _run_head(self, pooled: NDArray[np.float32], last_layer: str) -> NDArray[np.float32]:
        values = pooled
        for layer in _LAYERS[1 : _LAYERS.index(last_layer) + 1]:
            values = self._head_layer(layer, values)
        return values

    def _head_layer(self, layer: str, values: NDArray[np.float32]) -> NDArray[np.float32]:
        if layer == "linear":
            scores: NDArray[np.float32] = self._tensors["head.linear.weight"] @ values
            return scores + self._tensors["head.linear.bias"]
        if layer in {"norm", "norm2"}:
            names = ("running_mean", "running_var", "weight", "bias")
            mean, variance, gain, shift = (self._tensors[f"head.{layer}.{name}"] for name in names)
            scale: NDArray[np.float32] = gain / np.sqrt(variance + np.float32(_BATCH_NORM_EPSILON))
            return (values - mean) * scale + shift
        return np.maximum(values, 0) if layer == "activation" and self._relu else values


def open_light_model(model_folder: Path, layer: str) -> LightModel | None:
    """Return the model of a folder, or None if only torch can run it; ModelError if it is damaged."""
    from safetensors.numpy import load_file

    description = read_description(model_folder)
    tensors = read_tensors(model_folder, description, load_file)
    try:
        return LightModel(description, tensors, layer)
    except NumpyUnsupportedError:
        return None
