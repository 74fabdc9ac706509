"""Bodies by name: any network of torchvision or timm, without its pooling and its classifier.

A plain name is looked up in torchvision first, then in timm; `torchvision:NAME` and `timm:NAME` choose one, and
`python:package.module.function` names a function of the user's that returns the body.
"""

import difflib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from lookalike.config.extensions import PREFIX, call_extension, is_extension, load_extension
from lookalike.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn

LIBRARIES = ("torchvision", "timm")
_KEY = "training.backbone"
# The networks of the shipped configurations: known without importing their libraries, which takes seconds.
_KNOWN = {"resnet34": "torchvision", "tf_efficientnet_lite0": "timm"}
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_NORMALIZATION = (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD))


@dataclass(frozen=True)
class Backbone:
    """A network's name and the library that builds it."""

    library: str
    name: str

    def __str__(self) -> str:
        return f"{self.library}:{self.name}"


@dataclass(frozen=True)
class Body:
    """A network up to its feature map, and the input normalization that its weights expect."""

    backbone: Backbone
    module: "nn.Module"
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@cache
def backbone_names(library: str) -> frozenset[str]:
    """Return the names of a library's networks; timm's also with the tag of their weights (resnet34.a1_in1k)."""
    if library == "torchvision":
        from torchvision import models

        # Without the module, networks for segmentation, detection and video would be among them.
        return frozenset(models.list_models(module=models))
    import timm

    return frozenset(timm.list_models()) | frozenset(timm.list_models(pretrained=True))


def find_backbone(text: str) -> Backbone:
    """Return the backbone that `text` names; ConfigError with close matches if there is none.

    Imports torch and the library, unless `text` is the network of a shipped configuration.
    """
    if text in _KNOWN:
        return Backbone(_KNOWN[text], text)
    if is_extension(text):
        load_extension(_KEY, text)
        return Backbone("python", text.removeprefix(PREFIX))
    library, separator, name = text.rpartition(":")
    if separator and library not in LIBRARIES:
        raise ConfigError(
            f"training.backbone: unknown library {library!r} in {text!r}; use torchvision:, timm: or python:"
        )
    for candidate in (library,) if separator else LIBRARIES:
        if name in backbone_names(candidate):
            return Backbone(candidate, name)
    raise ConfigError(_unknown_backbone_message(text, name))


def _unknown_backbone_message(text: str, name: str) -> str:
    names = sorted(backbone_names("torchvision") | backbone_names("timm"))
    close = difflib.get_close_matches(name, names, n=5, cutoff=0.6)
    hint = f"did you mean {', '.join(close)}? " if close else ""
    return (
        f"training.backbone: {text!r} is no network of torchvision or timm; {hint}"
        'All names: python -c "import timm, torchvision; print(timm.list_models(), torchvision.models.list_models())"'
    )


def build_body(backbone: Backbone, load_weights: Callable[["nn.Module"], None] | None = None) -> Body:
    """Return a body, randomly initialized, after `load_weights` was called with the whole network."""
    builder = _BUILDERS[backbone.library]
    return builder(backbone, load_weights or (lambda network: None))


def _own_body(backbone: Backbone, load_weights: Callable[["nn.Module"], None]) -> Body:
    """What the user's function returns: a module from normalized pixels to a feature map (n, channels, h, w).

    Its attributes `mean` and `std` are the normalization; without them it is that of ImageNet.
    """
    from torch import nn

    module = call_extension(_KEY, str(backbone))
    if not isinstance(module, nn.Module):
        raise ConfigError(f"{_KEY}: {backbone} must return a torch.nn.Module, got {type(module).__name__}")
    load_weights(module)
    mean, std = (getattr(module, name, default) for name, default in _NORMALIZATION)
    return Body(backbone, module, tuple(mean), tuple(std))


def _torchvision_body(backbone: Backbone, load_weights: Callable[["nn.Module"], None]) -> Body:
    from torchvision import models

    options: dict[str, Any] = {"weights": None}
    if backbone.name in {"googlenet", "inception_v3"}:
        # Otherwise they warn that their initialization will change one day.
        options |= {"init_weights": False, "aux_logits": False}
    network: nn.Module = models.get_model(backbone.name, **options)
    load_weights(network)
    return Body(backbone, _cut_before_pooling(network, backbone), IMAGENET_MEAN, IMAGENET_STD)


def _cut_before_pooling(network: "nn.Module", backbone: Backbone) -> "nn.Module":
    """Return the direct children of a torchvision network up to its last pooling, in a row."""
    from torch import nn

    children = dict(network.named_children())
    pools = [position for position, child in enumerate(children.values()) if "Pool" in type(child).__name__]
    if pools and pools[-1] > 0:
        return nn.Sequential(OrderedDict(list(children.items())[: pools[-1]]))
    if "features" in children:
        # These apply a ReLU after the features inside their forward method, which is cut off.
        return nn.Sequential(OrderedDict(features=children["features"], relu=nn.ReLU()))
    raise ConfigError(
        f"training.backbone: torchvision's {backbone.name} cannot be cut before its pooling; try timm:{backbone.name}"
    )


def _timm_body(backbone: Backbone, load_weights: Callable[["nn.Module"], None]) -> Body:
    import timm

    network: Any = timm.create_model(backbone.name, pretrained=False)
    load_weights(network)
    settings = network.pretrained_cfg
    network.reset_classifier(0, global_pool="")
    return Body(backbone, network, tuple(settings["mean"]), tuple(settings["std"]))


_BUILDERS = {"torchvision": _torchvision_body, "timm": _timm_body, "python": _own_body}
