"""A network and a loss of one's own: see docs/extending.md."""

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy


def small_network() -> nn.Module:
    """A body: normalized pixels (n, 3, h, w) in, a feature map (n, 64, h / 8, w / 8) out."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for before, after in ((3, 16), (16, 32), (32, 64)):
        layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers)


def focal_loss(scores: Tensor, labels: Tensor) -> Tensor:
    """The mean focal loss with gamma 2 (Lin et al. 2017, equation 4): hard images count more."""
    per_image = cross_entropy(scores, labels, reduction="none")
    return ((1 - torch.exp(-per_image)) ** 2 * per_image).mean()
