"""The whole network (normalization, body and head), and how torch runs it."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lookalike.network.arithmetic import ResolvedPrecision, autocast
from lookalike.network.head import Head
from lookalike.network.preprocessing import Preprocessing


class Normalize(nn.Module):
    """Turns 8-bit pixels into the numbers that the body was trained on.

    It is part of the network, so that training, indexing and querying cannot differ in it.
    """

    def __init__(self, mean: tuple[float, float, float], std: tuple[float, float, float]) -> None:
        super().__init__()
        # Not buffers: they are part of the preprocessing, and not of the weights.
        self._scale = torch.tensor([1 / (255 * channel) for channel in std])
        self._shift = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)])

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the normalized fp32 input of pixels (n, 3, h, w) between 0 and 255, best channels-last in memory."""
        by_row = pixels.permute(0, 2, 3, 1)
        # Whole rows at once: numbers for three channels over and over are slow to apply (measured: ten times).
        scale, shift = (values.to(pixels.device).repeat(by_row.shape[2]) for values in (self._scale, self._shift))
        rows = torch.addcmul(shift, by_row.float().flatten(2), scale)
        return rows.reshape(by_row.shape).permute(0, 3, 1, 2)


class EmbeddingNetwork(nn.Module):
    """`normalize`, `body` and `head` in a row; pixels (n, 3, h, w) in, class scores (n, classes) out."""

    def __init__(self, preprocessing: Preprocessing, body: nn.Module, head: Head) -> None:
        super().__init__()
        self.normalize = Normalize(preprocessing.mean, preprocessing.std)
        self.body = body
        self.head = head

    def forward(self, pixels: Tensor) -> Tensor:
        """Class scores (n, classes)."""
        scores: Tensor = self.head(self.body(self.normalize(pixels)))
        return scores


class TorchRunner:
    """Runs a network by torch on arrays, as `inference.OpenVINORunner` does; several threads may call it at once."""

    def __init__(self, network: nn.Module, device: torch.device, precision: ResolvedPrecision) -> None:
        self._network = network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._device = device
        self.precision = precision
        # Feature maps of a few images fit the processor's caches; a GPU needs many to be busy.
        self.batch_size = 64 if device.type == "cuda" else 8

    def __call__(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """Return the network's output for a batch, fp32."""
        with torch.inference_mode(), autocast(self._device, self.precision):
            output: Tensor = self._network(torch.from_numpy(batch).to(self._device))
        return output.float().cpu().numpy()
