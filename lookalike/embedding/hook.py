"""The definition of an embedding: the output of one layer, by its dotted name, as a forward hook receives it."""

import difflib
import threading
from typing import Any

import torch
from torch import Tensor, nn

from lookalike.errors import ConfigError

# The axes of a layer's output that are places, by its number of axes; embeddings are means over them.
PLACES: dict[int, tuple[int, ...]] = {2: (), 3: (1,), 4: (2, 3)}


class HookedNetwork(nn.Module):
    """A network in evaluation mode whose output is that of one of its layers; pixels (n, h, w, 3) in, (n, dim) out.

    A layer that still has places is averaged over them. Several threads may run it at once.
    Raises ConfigError if there is no such layer, or, when run, if the layer does not give one vector or feature map
    per image.
    """

    def __init__(self, network: nn.Module, layer: str) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)
        self._layer = layer
        # One per thread.
        self._outputs = threading.local()
        find_layer(network, layer).register_forward_hook(self._keep)

    def _keep(self, _module: nn.Module, _inputs: Any, output: Any) -> None:
        if not isinstance(output, Tensor) or output.ndim not in PLACES:
            raise self._unusable(output)
        places = PLACES[output.ndim]
        # A copy in any case: the next layer may work in place.
        self._outputs.last = output.mean(dim=places, dtype=torch.float32) if places else output.float().clone()

    def forward(self, pixels: Tensor) -> Tensor:
        """Embeddings (n, dim) fp32."""
        self._outputs.last = None
        # A view, not a copy: pixels as images come are channels-last already.
        self.network(pixels.permute(0, 3, 1, 2))
        vectors: Tensor | None = self._outputs.last
        if vectors is None or vectors.shape[0] != pixels.shape[0]:
            raise self._unusable(vectors)
        return vectors

    def _unusable(self, output: Any) -> ConfigError:
        found = f"a tensor of shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
        return ConfigError(
            f"embedding.layer: {self._layer} must give one vector or feature map per image, and gives "
            f"{'nothing' if output is None else found}; choose another layer"
        )


def find_layer(network: nn.Module, layer: str) -> nn.Module:
    """Return the module of a dotted name; ConfigError with the list of layers if there is none."""
    modules: dict[str, nn.Module] = {name: module for name, module in network.named_modules() if name}
    if layer in modules:
        return modules[layer]
    close = difflib.get_close_matches(layer, modules, n=3)
    hint = f" (did you mean {' or '.join(close)}?)" if close else ""
    # A body has some hundred layers; its children say what they are called.
    known = ", ".join(name for name in modules if name.count(".") < 2)
    raise ConfigError(f"embedding.layer: there is no layer {layer!r}{hint}; the layers are {known}, and those within")
