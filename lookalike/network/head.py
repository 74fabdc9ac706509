"""The layers on top of the body: pooling, the fully connected layer that becomes the embedding, the classifier."""

from typing import Literal

import torch
from torch import Tensor, nn

from lookalike.errors import ModelError

FeatureLayout = Literal["channels_first", "channels_last", "tokens", "vector"]
# Logits of a cosine classifier lie in [-scale, scale]; 16 lets softmax reach 0.99 for a few hundred classes.
COSINE_SCALE = 16.0


class FeaturePool(nn.Module):
    """Averages a body's output over places: (n, C, h, w), (n, h, w, C), (n, tokens, C) or (n, C) to (n, C)."""

    def __init__(self, layout: FeatureLayout) -> None:
        super().__init__()
        self.layout = layout

    def forward(self, features: Tensor) -> Tensor:
        """Pooled features (n, C)."""
        places = {"channels_first": (2, 3), "channels_last": (1, 2), "tokens": (1,), "vector": ()}[self.layout]
        return features.mean(dim=places, dtype=torch.float32) if places else features.float()

    def extra_repr(self) -> str:
        """Text inside the brackets of the module's printed form."""
        return self.layout


class SeededDropout(nn.Module):
    """Dropout with a random generator of its own.

    Copies of a network that learn in several threads would otherwise draw from one generator in an order
    that differs from run to run.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share
        self.reseed(int(torch.randint(2**31, ())))

    def reseed(self, seed: int) -> None:
        """Start the sequence of masks anew."""
        self._generator = torch.Generator().manual_seed(seed)

    def forward(self, features: Tensor) -> Tensor:
        """Features with a random share set to zero and the rest scaled up while training; unchanged otherwise."""
        if not self.training or self.share == 0.0:
            return features
        kept = torch.rand(features.shape, generator=self._generator) >= self.share
        return features * kept.to(features.device) / (1.0 - self.share)


class CosineClassifier(nn.Module):
    """Class scores as scaled cosines between the embedding and one direction a class (NormFace, Wang et al. 2017).

    Training it with cross-entropy pulls the embeddings of a class together in angle, which is what
    cosine search ranks by.
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_features, in_features))
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Scores (n, classes) in [-COSINE_SCALE, COSINE_SCALE]."""
        directions = nn.functional.normalize(self.weight, dim=1)
        return COSINE_SCALE * nn.functional.linear(nn.functional.normalize(embeddings, dim=1), directions)


class Head(nn.Module):
    """Pooling, BatchNorm, dropout, a fully connected layer, its activation, BatchNorm, the classifier.

    Every step is a named layer, so that the configuration can hook any of them:
    `head.pool`, `head.norm`, `head.dropout`, `head.linear`, `head.activation`, `head.norm2`, `head.classifier`.
    """

    def __init__(
        self,
        in_features: int,
        units: int,
        classes: int,
        *,
        layout: FeatureLayout = "channels_first",
        activation: Literal["relu", "none"] = "relu",
        classifier: Literal["linear", "cosine"] = "linear",
        dropout: float = 0.25,
    ) -> None:
        super().__init__()
        self.classes = classes
        self.pool = FeaturePool(layout)
        self.norm = nn.BatchNorm1d(in_features)
        self.dropout = SeededDropout(dropout)
        self.linear = nn.Linear(in_features, units)
        self.activation = nn.ReLU() if activation == "relu" else nn.Identity()
        self.norm2 = nn.BatchNorm1d(units)
        self.classifier = nn.Linear(units, classes) if classifier == "linear" else CosineClassifier(units, classes)

    def forward(self, features: Tensor) -> Tensor:
        """Class scores (n, classes) of a body's output."""
        return self.classify(self.pool(features))

    def classify(self, pooled: Tensor) -> Tensor:
        """Class scores (n, classes) of features (n, C) that are pooled already."""
        hidden = self.activation(self.linear(self.dropout(self.norm(pooled))))
        scores: Tensor = self.classifier(self.norm2(hidden))
        return scores


def feature_layout(shape: tuple[int, ...], features: int) -> FeatureLayout:
    """How a body that has `features` channels lays out its output of this shape; ModelError if unknown."""
    if len(shape) == 4 and shape[1] == features:
        return "channels_first"
    if len(shape) == 4 and shape[3] == features:
        return "channels_last"
    if len(shape) == 3 and shape[2] == features:
        return "tokens"
    if len(shape) == 2 and shape[1] == features:
        return "vector"
    raise ModelError(f"the body's output has shape {shape}, in which no axis can be its {features} features")
