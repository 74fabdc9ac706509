"""A forward hook that keeps the output of one layer, by the layer's dotted name."""

import difflib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lookalike.errors import ConfigError


class LayerOutput:
    """What a hooked layer gave in the last forward pass; see `hooked`."""

    def __init__(self) -> None:
        # Of each thread its own, since several may run the network at once.
        self._outputs = threading.local()

    def keep(self, _module: nn.Module, _inputs: Any, output: Tensor) -> None:
        """Receive the output; the signature is that of a forward hook."""
        self._outputs.last = output.detach()

    def take(self) -> Tensor:
        """Return the output of this thread's last forward pass as (n, dim) fp32, and forget it.

        A layer that still has places is averaged over them. RuntimeError if none ran since the last call.
        """
        output: Tensor | None = getattr(self._outputs, "last", None)
        self._outputs.last = None
        if output is None:
            raise RuntimeError("the hooked layer has run in no forward pass since its output was last taken")
        places = {4: (2, 3), 3: (1,)}.get(output.ndim)
        return output.float() if places is None else output.mean(dim=places, dtype=torch.float32)


@contextmanager
def hooked(network: nn.Module, layer: str) -> Iterator[LayerOutput]:
    """Yield the output holder of a layer; inside, the network is in evaluation mode and records no gradients.

    The hook is removed at the end, whatever happens. ConfigError if there is no layer of that name.
    """
    module = find_layer(network, layer)
    output = LayerOutput()
    was_training = network.training
    network.eval()
    handle = module.register_forward_hook(output.keep)
    try:
        with torch.inference_mode():
            yield output
    finally:
        handle.remove()
        network.train(was_training)


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
