"""The whole network: pixels to normalized input, body, head."""

import torch
from torch import Tensor, nn

from lookalike.network.head import Head
from lookalike.network.preprocessing import Preprocessing


class Normalize(nn.Module):
    """Turns 8-bit pixels into the numbers that the body was trained on.

    It is part of the network, so that training, indexing and querying cannot differ in it.
    """

    def __init__(self, mean: tuple[float, float, float], std: tuple[float, float, float]) -> None:
        super().__init__()
        # Not buffers: they must stay fp32 when the network is turned to bf16.
        self._scale = torch.tensor([1 / (255 * channel) for channel in std])
        self._shift = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)])

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the normalized fp32 input of pixels (n, 3, h, w) between 0 and 255, best channels-last in memory."""
        by_row = pixels.permute(0, 2, 3, 1)
        # Whole rows at once: numbers for three channels over and over are slow to apply (measured: ten times).
        scale, shift = (values.to(pixels.device).repeat(by_row.shape[2]) for values in (self._scale, self._shift))
        rows = torch.addcmul(shift, by_row.float().flatten(2), scale)
        return rows.reshape(by_row.shape).permute(0, 3, 1, 2)


class Network(nn.Module):
    """`normalize`, `body` and `head` in a row; pixels (n, 3, h, w) in, class scores (n, classes) out."""

    def __init__(self, preprocessing: Preprocessing, body: nn.Module, head: Head) -> None:
        super().__init__()
        self.normalize = Normalize(preprocessing.mean, preprocessing.std)
        self.body = body
        self.head = head
        self._body_dtype = torch.float32

    def use_bf16_body(self) -> None:
        """Store and run the body in bf16; the head, a thousandth of the work, stays fp32."""
        self.body.bfloat16()
        self._body_dtype = torch.bfloat16

    def forward(self, pixels: Tensor) -> Tensor:
        """Class scores (n, classes)."""
        scores: Tensor = self.head(self.body(self.normalize(pixels).to(self._body_dtype)))
        return scores
