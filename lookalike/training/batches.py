"""Batches for the training loop, with the interface that fastai expects of a data loader: `len` and iteration."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from lookalike.errors import DatasetError, ImageError
from lookalike.images.reading import open_image
from lookalike.network.preprocessing import Preprocessing
from lookalike.threads import ordered_map
from lookalike.training.augmentation import Augmentation, augmented_pixels


@dataclass(frozen=True)
class LabelledImages:
    """Images of one split: `paths` relative to `root`, and the class number of each, int64 (n,)."""

    root: Path
    paths: Sequence[str]
    labels: Tensor

    def __len__(self) -> int:
        return len(self.paths)

    def sample(self, count: int, seed: int) -> "LabelledImages":
        """Return `count` of the images drawn by a seed, or all of them, in their order."""
        rows = np.sort(np.random.default_rng(seed).permutation(len(self))[:count])
        return LabelledImages(self.root, [self.paths[row] for row in rows], self.labels[torch.from_numpy(rows)])

    def open(self, row: int, image_size: int) -> Image.Image:
        """Return one image, decoded at `image_size` or more; DatasetError if it can no longer be read."""
        try:
            # No limit on its pixels: the dataset has checked it.
            return open_image(self.root / self.paths[row], max_pixels=None, target_size=image_size)
        except ImageError as cause:
            raise DatasetError(f"{cause}; it could be read earlier: build the dataset again") from cause


@dataclass
class ImageBatches:
    """Pixels (n, 3, size, size) uint8, channels-last, and labels (n,) int64, decoded ahead by threads.

    `shuffle_seed` None keeps the order and every image; otherwise each pass is another seeded permutation,
    without the last incomplete batch. DatasetError when an image can no longer be read.
    """

    images: LabelledImages
    preprocessing: Preprocessing
    batch_size: int
    augmentation: Augmentation = "none"
    shuffle_seed: int | None = None
    _passes: int = field(default=0, init=False)

    def __len__(self) -> int:
        return len(_batch_edges(len(self.images), self.batch_size, drop_last=self.shuffle_seed is not None)) - 1

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order, seed = self._order()
        edges = _batch_edges(len(order), self.batch_size, drop_last=self.shuffle_seed is not None)
        jobs = [(int(row), (*seed, position)) for position, row in enumerate(order[: edges[-1]])]
        pixels = ordered_map(self._decode, jobs, ahead=3 * self.batch_size)
        for start, stop in pairwise(edges):
            batch = np.stack([next(pixels) for _ in range(stop - start)])
            yield torch.from_numpy(batch).permute(0, 3, 1, 2), self.images.labels[order[start:stop]]

    def _order(self) -> tuple[NDArray[np.int64], tuple[int, ...]]:
        rows = np.arange(len(self.images))
        if self.shuffle_seed is None:
            return rows, (0,)
        seed = (self.shuffle_seed, self._passes)
        self._passes += 1
        return np.random.default_rng(seed).permutation(rows), seed

    def _decode(self, job: tuple[int, tuple[int, ...]]) -> NDArray[np.uint8]:
        row, seed = job
        image = self.images.open(row, self.preprocessing.image_size)
        # A generator for each image, so that the order in which threads finish changes nothing.
        return augmented_pixels(image, self.preprocessing, self.augmentation, np.random.default_rng(seed))


@dataclass
class FeatureBatches:
    """Batches of stored outputs of frozen layers and their labels, shuffled like `ImageBatches`.

    `features` is (views, n, C), or (views, n, h, w, C) for feature maps, which come out as (batch, C, h, w).
    A shuffled pass takes one random view per image, any other pass the first.
    """

    features: Tensor | NDArray[np.float16]
    labels: Tensor
    batch_size: int
    shuffle_seed: int | None = None
    _passes: int = field(default=0, init=False)

    def __len__(self) -> int:
        return len(_batch_edges(len(self.labels), self.batch_size, drop_last=self.shuffle_seed is not None)) - 1

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        rows = np.arange(len(self.labels))
        views = np.zeros_like(rows)
        if self.shuffle_seed is not None:
            rng = np.random.default_rng((self.shuffle_seed, self._passes))
            rows = rng.permutation(rows)
            views = rng.integers(0, len(self.features), len(rows))
            self._passes += 1
        edges = _batch_edges(len(rows), self.batch_size, drop_last=self.shuffle_seed is not None)
        for start, stop in pairwise(edges):
            some = rows[start:stop]
            outputs = torch.as_tensor(self.features[views[start:stop], some]).float()
            yield outputs.permute(0, 3, 1, 2) if outputs.ndim == 4 else outputs, self.labels[some]


def _batch_edges(n: int, batch_size: int, *, drop_last: bool) -> list[int]:
    """Return the bounds of batches of n items; `drop_last` drops an incomplete last one unless it is the only one."""
    edges = list(range(0, n + 1, batch_size))
    if edges[-1] < n and (not drop_last or len(edges) == 1):
        edges.append(n)
    return edges
