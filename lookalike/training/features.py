"""Outputs of frozen layers, computed once: features for the head, activations for later layers."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lookalike.files import reserve_disk
from lookalike.network.arithmetic import parallel_batches
from lookalike.network.embedding_network import TorchRunner
from lookalike.network.inference import OpenVINORunner, UnsupportedNetworkError, convert
from lookalike.network.preprocessing import Preprocessing
from lookalike.progress import progress_bar
from lookalike.training.augmentation import Augmentation, pixels_of_view, view_count
from lookalike.training.batches import LabelledImages

logger = logging.getLogger(__name__)

# Converting the layers takes a second or two, as long as it saves on about so many images.
_WORTH_CONVERTING = 300
Layers = OpenVINORunner | TorchRunner


@dataclass(frozen=True)
class ImageViews:
    """Pixels (n, size, size, 3) uint8 of image files: as they are, mirrored, and at random by the augmentation."""

    images: LabelledImages
    preprocessing: Preprocessing
    augmentation: Augmentation
    seed: int

    @property
    def count(self) -> int:
        """Views of each image: view 0 is the image itself, the others are changed at random."""
        return view_count(self.augmentation)

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, view: int, rows: Sequence[int]) -> NDArray[np.uint8]:
        """Return the pixels of one view of some images, (n, size, size, 3)."""
        return np.stack([self._pixels(view, row) for row in rows])

    def _pixels(self, view: int, row: int) -> NDArray[np.uint8]:
        image = self.images.open(row, self.preprocessing.image_size)
        return pixels_of_view(image, self.preprocessing, view, np.random.default_rng((self.seed, row, view)))


@dataclass(frozen=True)
class Activations:
    """Outputs of earlier layers for the views of images, (views, n, h, w, C) or (views, n, ...), half precision."""

    values: NDArray[np.float16]

    @property
    def count(self) -> int:
        """Views of each image."""
        return int(self.values.shape[0])

    def __len__(self) -> int:
        return int(self.values.shape[1])

    def batch(self, view: int, rows: Sequence[int]) -> NDArray[np.float32]:
        """Return the activations of one view of some images, fp32."""
        return self.values[view, rows].astype(np.float32)


Views = ImageViews | Activations


class _ChannelsLast(nn.Module):
    """Layers that take images and feature maps as they are stored, (n, h, w, C), and also give them so."""

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, batch: Tensor) -> Tensor:
        output: Tensor = self.layers(batch.permute(0, 3, 1, 2) if batch.ndim == 4 else batch)
        return (output.permute(0, 2, 3, 1) if output.ndim == 4 else output).float()


def ready_layers(layers: nn.Module, views: Views, device: torch.device) -> Layers:
    """Return the layers as they are now, in evaluation mode, fp32, in the form that is fastest for all these views.

    On a processor that is OpenVINO's, except for few images, which would not make up for the conversion, and for layers
    that it cannot express.
    """
    layers = _ChannelsLast(layers).eval()
    if device.type == "cpu" and views.count * len(views) >= _WORTH_CONVERTING:
        example = torch.from_numpy(views.batch(0, range(3)))
        try:
            return OpenVINORunner(convert(layers, example), "fp32", many=True)
        except UnsupportedNetworkError as reason:
            logger.warning("OpenVINO cannot run the frozen layers, so that torch does, more slowly: %s", reason)
    return TorchRunner(layers, device, "fp32")


def compute_features(layers: Layers, views: Views, name: str) -> Tensor:
    """Return the outputs of `layers` for every view of every image, (views, n, ...) fp32."""
    joined = torch.from_numpy(np.concatenate(list(_outputs(layers, views, name))))
    return joined.reshape(views.count, len(views), *joined.shape[1:])


def store_activations(layers: Layers, views: Views, name: str, path: Path) -> Activations:
    """Return the outputs of `layers` for every view of every image, as an array on the disk."""
    outputs = _outputs(layers, views, name)
    first = next(outputs)
    stored = np.lib.format.open_memmap(path, "w+", np.float16, (views.count * len(views), *first.shape[1:]))
    reserve_disk(path)
    start = 0
    for values in chain([first], outputs):
        stored[start : start + len(values)] = values
        start += len(values)
    return Activations(stored.reshape(views.count, len(views), *stored.shape[1:]))


def _outputs(layers: Layers, views: Views, name: str) -> Iterator[NDArray[np.float32]]:
    """Yield the outputs of batches, view by view, one batch per core at a time."""
    size = layers.batch_size
    starts = range(0, len(views), size)
    jobs = [(view, range(start, min(start + size, len(views)))) for view in range(views.count) for start in starts]
    with progress_bar(name, views.count * len(views)) as bar:
        for output in parallel_batches(lambda job: layers(views.batch(*job)), jobs):
            yield output
            bar.update(len(output))
