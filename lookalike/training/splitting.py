"""Splitting a body into the earlier layers, which stay frozen, and the later ones, which are trained."""

from collections.abc import Iterator

import torch
from torch import nn

from lookalike.errors import ConfigError

_PROBE_SIDE = 64


def split_body(body: nn.Module, first_trained: str) -> tuple[nn.Sequential, nn.Sequential]:
    """Return the layers before the one named `first_trained`, and those from it on; in sequence they are the body.

    The layers are the body's own, not copies. ConfigError if the body is no plain sequence of layers, or has none
    of that name.
    """
    layers = list(_layers_in_a_row(body))
    starts = [at for at, (name, _) in enumerate(layers) if f"{name}.".startswith(f"{first_trained}.")]
    if not starts or not _is_row_of(body, [layer for _, layer in layers]):
        known = ", ".join(dict.fromkeys(".".join(name.split(".")[:2]) for name, _ in layers))
        raise ConfigError(
            f"training.first_trained_layer: {first_trained!r} does not name a layer at which this network can be cut"
            + (f"; it has {known}" if known else "; leave it out, so that all layers are trained")
        )
    before, after = layers[: starts[0]], layers[starts[0] :]
    return nn.Sequential(*(layer for _, layer in before)), nn.Sequential(*(layer for _, layer in after))


def _layers_in_a_row(body: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    names = {id(module): name for name, module in body.named_modules()}
    # timm's networks that are a row of layers say so by this method.
    row = body if isinstance(body, nn.Sequential) else getattr(body, "as_sequential", nn.Sequential)()
    for layer in _flattened(row):
        if id(layer) in names:
            yield names[id(layer)], layer


def _flattened(module: nn.Module) -> Iterator[nn.Module]:
    if type(module) is not nn.Sequential:
        yield module
        return
    for child in module:
        yield from _flattened(child)


def _is_row_of(body: nn.Module, layers: list[nn.Module]) -> bool:
    """Whether the layers, one after another, compute what the body computes."""
    was_training = body.training
    images = torch.linspace(-1, 1, 3 * _PROBE_SIDE**2).reshape(1, 3, _PROBE_SIDE, _PROBE_SIDE)
    with torch.inference_mode():
        row = nn.Sequential(*layers).eval()
        body.eval()
        images = images.to(next(body.parameters()).device)
        same = bool(torch.allclose(row(images), body(images), rtol=1e-3, atol=1e-4))
    body.train(was_training)
    return same
