"""A trained network as an embedding function: its definition by torch and a hook, and the forms that run it fast."""

import logging
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from lookalike.embedding.hook import HookedNetwork
from lookalike.network.arithmetic import ResolvedPrecision, best_device, one_thread
from lookalike.network.description import fingerprint
from lookalike.network.embedding_network import TorchRunner
from lookalike.network.inference import Graph, OpenVINORunner, UnsupportedNetworkError, convert
from lookalike.network.model_folder import load_model

logger = logging.getLogger(__name__)


class Runner(Protocol):
    """Embeds batches of pixels (n, size, size, 3) uint8 as (n, dim) float32; several threads may call it at once.

    `precision` is what it computes in, `batch_size` the number of images that it is fastest with.
    """

    precision: ResolvedPrecision
    batch_size: int

    def __call__(self, pixels: NDArray[np.uint8], /) -> NDArray[np.float32]:
        """Return the embeddings of some images."""
        ...


class EmbeddingModel:
    """The model of a folder with one layer hooked.

    Raises ModelError if the folder is damaged, ConfigError if the layer does not exist or gives no vectors.
    """

    def __init__(self, model_folder: Path, layer: str) -> None:
        stored = load_model(model_folder)
        self.layer = layer
        self.preprocessing = stored.preprocessing
        self.fingerprint = fingerprint(stored.description, layer)
        self._hooked = HookedNetwork(stored.network, layer)
        self.dim = int(self.reference(_example(1, self.preprocessing.image_size)).shape[1])

    def reference(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the embeddings as they are defined: by torch and a forward hook, in fp32."""
        with one_thread():
            return TorchRunner(self._hooked, best_device(), "fp32")(pixels)

    def convert(self) -> Graph | None:
        """Return the function as OpenVINO's graph, or None, and a line in the log, if it cannot express it."""
        example = torch.from_numpy(_example(3, self.preprocessing.image_size))
        try:
            return convert(self._hooked.cpu(), example)
        except UnsupportedNetworkError as reason:
            logger.warning("OpenVINO cannot run this network, so that torch does, more slowly: %s", reason)
            return None

    def runner(self, graph: Graph | None, precision: ResolvedPrecision) -> Runner:
        """Return what embeds a collection: torch on a GPU or if there is no graph, else OpenVINO."""
        if graph is None or _has_gpu():
            return TorchRunner(self._hooked, best_device(), precision)
        return OpenVINORunner(graph, precision, many=True)


def _has_gpu() -> bool:
    return best_device().type == "cuda"


def _example(count: int, side: int) -> NDArray[np.uint8]:
    """Return images of noise, each brighter than the one before."""
    step = 256 // count
    noise = np.random.default_rng(0).integers(0, step, (count, side, side, 3))
    return (noise + step * np.arange(count)[:, None, None, None]).astype(np.uint8)
