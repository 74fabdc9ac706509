"""The layers on top of the body: pooling, the fully connected layer that becomes the embedding, the classifier."""

from typing import Literal

import torch
from torch import Tensor, nn

from lookalike.errors import ModelError

FeatureLayout = Literal["channels_first", "channels_last", "tokens", "vector"]
# The number of axes of a body's output, and which of them are the channels.
_LAYOUTS: tuple[tuple[int, int, FeatureLayout], ...] = (
    (4, 1, "channels_first"),
    (4, 3, "channels_last"),
    (3, 2, "tokens"),
    (2, 1, "vector"),
)
# Logits of a cosine classifier lie in [-scale, scale]; 16 lets softmax reach 0.99 for a few hundred classes.
COSINE_SCALE = 16.0
# 0 takes principal components as they are, of which a few outweigh all others; 1 gives each the same variance, and
# most of them are noise. Beside what was learned the middle was best, alone the lower quarter: docs/model.md.
_WHITENING, _WHITENING_ALONE = 0.5, 0.25
_NO_VARIANCE = 1e-12


class FeaturePool(nn.Module):
    """Averages a body's output over places: (n, C, h, w), (n, h, w, C), (n, tokens, C) or (n, C) to (n, C)."""

    def __init__(self, layout: FeatureLayout) -> None:
        super().__init__()
        self.layout = layout

    def forward(self, features: Tensor) -> Tensor:
        """Pooled features (n, C)."""
        places = {"channels_first": (2, 3), "channels_last": (1, 2), "tokens": (1,), "vector": ()}[self.layout]
        return features.mean(dim=places, dtype=torch.float32) if places else features.float()


class SeededDropout(nn.Module):
    """Dropout with a separate random generator.

    Copies of a network that are trained in several threads would otherwise draw from one generator in an order that
    differs from run to run.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share
        self.reseed(int(torch.randint(2**31, ())))

    def reseed(self, seed: int) -> None:
        """Start the sequence of masks again."""
        self._generator = torch.Generator().manual_seed(seed)

    def forward(self, features: Tensor) -> Tensor:
        """Features with a random share set to zero and the rest scaled up while training; unchanged otherwise."""
        if not self.training or self.share == 0.0:
            return features
        kept = torch.rand(features.shape, generator=self._generator) >= self.share
        return features * kept.to(features.device) / (1.0 - self.share)


class CosineClassifier(nn.Module):
    """Class scores as scaled cosines between the embedding and one direction per class (NormFace, Wang et al. 2017).

    Training it with cross-entropy pulls the embeddings of a class together in angle, which is what
    cosine search ranks by.
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_features, in_features))
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Scores (n, classes) in [-COSINE_SCALE, COSINE_SCALE]."""
        return COSINE_SCALE * _cosines(embeddings, self.weight)


def _cosines(vectors: Tensor, directions: Tensor) -> Tensor:
    """Return the cosines (n, m) of vectors (n, dim) to directions (m, dim); 0 for vectors of length 0."""
    return nn.functional.linear(nn.functional.normalize(vectors, dim=1), nn.functional.normalize(directions, dim=1))


class Embedding(nn.Module):
    """Trained dimensions, scaled by the confidence of the classifier, and principal components of the pooled features.

    The activation of the fully connected layer separates the trained classes, and discards what does not. Principal
    components of the pooled features keep it, so that images of other classes and from other sources are found as
    well. `fit` sets the weights of both parts; before it the components are zero. Without labels there is no
    activation, and the embedding consists of the components.

    The activation is multiplied by `Head.confidence`. It is low for images of classes that were not trained, which
    therefore stay near each other instead of near the trained class that resembles them most.
    """

    gain: Tensor
    projection: Tensor
    shift: Tensor

    def __init__(self, in_features: int, pretrained_components: int) -> None:
        super().__init__()
        # Buffers, not parameters: they are computed, not learned.
        self.register_buffer("gain", torch.ones(()))
        self.register_buffer("projection", torch.zeros(pretrained_components, in_features))
        self.register_buffer("shift", torch.zeros(pretrained_components))

    def forward(self, pooled: Tensor, activation: Tensor | None = None, confidence: Tensor | None = None) -> Tensor:
        """Embeddings (n, units + components) of pooled features (n, C), activations (n, units), confidences (n, 1).

        Without components they are the activations, without activations the components.
        """
        if activation is not None and len(self.shift) == 0:
            return activation
        kept = nn.functional.linear(pooled, self.projection, self.shift)
        if activation is None or confidence is None:
            return kept
        return torch.cat([self.gain * confidence * activation, kept], dim=1)

    def fit(self, pooled: Tensor, activation: Tensor, confidence: Tensor, pretrained_share: float) -> None:
        """Set the components, scaled to make `pretrained_share` of the variance over these images."""
        self._fit_components(pooled, _WHITENING, pretrained_share)
        self.gain = ((1 - pretrained_share) / _variance(confidence * activation)) ** 0.5

    def fit_alone(self, pooled: Tensor) -> None:
        """Set the components that make an embedding without activations."""
        self._fit_components(pooled, _WHITENING_ALONE, 1.0)

    def _fit_components(self, pooled: Tensor, whitening: float, share: float) -> None:
        projection = principal_projection(pooled, len(self.shift), whitening)
        projection *= (share / _variance(pooled @ projection.T)) ** 0.5
        self.projection = projection
        self.shift = -projection @ pooled.mean(dim=0)


def principal_projection(pooled: Tensor, count: int, whitening: float) -> Tensor:
    """Return the projection (count, C) of features (n, C) on their `count` first principal components, scaled.

    Each is divided by its standard deviation to the power of `whitening`. Few images show some directions too large
    and most not at all, so the variances are drawn towards their mean first, by the share that suits the number of
    images: features of later images are measured in every direction. With fewer than `count` features the last rows
    are zero.
    """
    # The largest come last.
    variances, directions = torch.linalg.eigh(torch.cov(pooled.T.double(), correction=0))
    variances = shrunk_variances(variances.clamp(min=0), len(pooled))[-count:]
    projection = torch.zeros(count, pooled.shape[1], device=pooled.device)
    projection[: len(variances)] = (directions[:, -count:] * variances ** (-whitening / 2)).T
    return projection


def shrunk_variances(variances: Tensor, images: int) -> Tensor:
    """Return the variances (C,) along principal components, drawn towards their mean; all 1 if all are 0.

    The share is that of the oracle approximating shrinkage (Chen et al. 2010), which assumes normal features.
    """
    mean, square = variances.mean(), (variances**2).mean()
    if mean <= 0:
        return torch.ones_like(variances)
    share = (square + len(variances) * mean**2) / ((images + 1) * (square - mean**2))
    return torch.lerp(variances, mean.expand_as(variances), share.clamp(max=1))


def _variance(vectors: Tensor) -> Tensor:
    """Return the mean squared distance of vectors (n, dim) to their mean; 1 where it is nothing but rounding."""
    variance = (vectors - vectors.mean(dim=0)).square().sum(dim=1).mean()
    is_real = variance > _NO_VARIANCE * vectors.square().sum(dim=1).mean()
    return torch.where(is_real, variance, torch.ones_like(variance))


class Head(nn.Module):
    """Pooling, BatchNorm, dropout, a fully connected layer, its activation, BatchNorm, the classifier.

    Every step is a named layer, so that the configuration can hook any of them:
    `head.pool`, `head.norm`, `head.dropout`, `head.linear`, `head.activation`, `head.norm2`, `head.classifier`;
    and `head.embedding`, which is the activation, weighted by its confidence, and `pretrained_components` components of
    the pooled features. With no `units` there are only `head.pool` and `head.embedding`,
    which consists of components and is what the head returns.
    """

    def __init__(
        self,
        in_features: int,
        units: int,
        classes: int,
        *,
        pretrained_components: int = 0,
        layout: FeatureLayout = "channels_first",
        activation: Literal["relu", "none"] = "relu",
        classifier: Literal["linear", "cosine"] = "linear",
        dropout: float = 0.25,
    ) -> None:
        super().__init__()
        self.classes = classes
        self.pool = FeaturePool(layout)
        self.embedding = Embedding(in_features, pretrained_components)
        self.is_alone = units == 0
        if self.is_alone:
            return
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
        if self.is_alone:
            embeddings: Tensor = self.embedding(pooled)
            return embeddings
        activation = self.activate(pooled)
        scored = self.norm2(activation)
        if not self.training:
            # For whoever has hooked it; the scores do not depend on it.
            self.embedding(pooled, activation, self.confidence(scored))
        scores: Tensor = self.classifier(scored)
        return scores

    def fit_embedding(self, pooled: Tensor, pretrained_share: float) -> None:
        """Set the components of the embedding from pooled features (n, C); see `Embedding.fit`."""
        if self.is_alone:
            self.embedding.fit_alone(pooled)
            return
        activation = self.activate(pooled)
        self.embedding.fit(pooled, activation, self.confidence(self.norm2(activation)), pretrained_share)

    def activate(self, pooled: Tensor) -> Tensor:
        """Activations (n, units) of features (n, C) that are pooled already."""
        activation: Tensor = self.activation(self.linear(self.dropout(self.norm(pooled))))
        return activation

    def confidence(self, scored: Tensor) -> Tensor:
        """Return the confidence (n, 1), from 0 to 1: the cosine of the scored input (n, units) to the nearest class."""
        return _cosines(scored, self.classifier.weight).amax(dim=1, keepdim=True).clamp(min=0)


def feature_layout(shape: tuple[int, ...], features: int) -> FeatureLayout:
    """Return how a body that has `features` channels lays out its output of this shape; ModelError if unknown."""
    for axes, channel_axis, layout in _LAYOUTS:
        if len(shape) == axes and shape[channel_axis] == features:
            return layout
    raise ModelError(f"the body's output has shape {shape}, in which no axis can be its {features} features")
