"""The network as an embedding function: pixels in, the hooked layer's output out."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lookalike.embedding.hook import LayerOutput, find_layer, hooked
from lookalike.network.arithmetic import ResolvedPrecision, best_device, keep_freed_memory
from lookalike.network.model_folder import load_model
from lookalike.network.network import Network
from lookalike.network.preprocessing import Preprocessing

# Feature maps of a few images fit the processor's caches; a GPU needs many to be busy, from several threads.
_AUTO_BATCH_SIZE = 8
_AUTO_GPU_BATCH_SIZE = 64


@dataclass(frozen=True)
class ModelReference:
    """Everything that another process needs to embed: small, hashable, and sent instead of the model."""

    model_folder: Path
    layer: str
    precision: ResolvedPrecision


class EmbeddingModel:
    """An opened model that embeds batches of pixels; see `open_model`."""

    def __init__(
        self, network: Network, reference: ModelReference, preprocessing: Preprocessing, fingerprint: str
    ) -> None:
        self.reference = reference
        self.preprocessing = preprocessing
        self.fingerprint = fingerprint
        self._network = network
        self._device = best_device()
        self._lock = threading.Lock()

    @cached_property
    def dim(self) -> int:
        """Length of an embedding, found by embedding a black image."""
        side = self.preprocessing.image_size
        return int(self.embed(np.zeros((1, side, side, 3), dtype=np.uint8)).shape[1])

    @property
    def auto_batch_size(self) -> int:
        """Images that one forward pass should take on this device."""
        return _AUTO_GPU_BATCH_SIZE if self._device.type == "cuda" else _AUTO_BATCH_SIZE

    def embed(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the embeddings (n, dim) fp32 of pixels (n, size, size, 3)."""
        with self._lock, self.session() as embed:
            return embed(pixels)

    @contextmanager
    def session(self) -> Iterator[Callable[[NDArray[np.uint8]], NDArray[np.float32]]]:
        """Yield a function like `embed` that several threads may call at once, until the block ends."""
        with hooked(self._network, self.reference.layer) as output:
            yield lambda pixels: self._embed(pixels, output)

    def _embed(self, pixels: NDArray[np.uint8], output: LayerOutput) -> NDArray[np.float32]:
        # Inference mode is a setting of each thread.
        with torch.inference_mode():
            batch = torch.from_numpy(pixels)
            if self._device.type == "cuda":
                batch = batch.pin_memory().to(self._device, non_blocking=True)
            # A view, not a copy: pixels as images come are channels-last already.
            self._network(batch.permute(0, 3, 1, 2))
            return output.take().cpu().numpy()


@lru_cache(maxsize=2)
def open_model(reference: ModelReference) -> EmbeddingModel:
    """Return the model of a reference, opened once in each process.

    Raises ModelError if the folder is damaged, ConfigError if the layer does not exist.
    """
    keep_freed_memory()
    stored = load_model(reference.model_folder, inner_layers=reference.layer.startswith("body."))
    network = stored.network
    find_layer(network, reference.layer)
    device = best_device()
    network.to(device)
    network.body.to(memory_format=torch.channels_last)
    if reference.precision == "bf16":
        network.use_bf16_body()
    if device.type == "cpu":
        network.fuse_body(stored.preprocessing.image_size)
    return EmbeddingModel(network, reference, stored.preprocessing, stored.fingerprint(reference.layer))
