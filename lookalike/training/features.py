"""What frozen layers make of the images, computed once: features for the head, activations for later layers."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lookalike.files import reserve_disk
from lookalike.network.arithmetic import ResolvedPrecision, autocast, one_thread, parallel_batches
from lookalike.network.graph import GraphBody, UnsupportedGraphError, export_graph
from lookalike.network.preprocessing import Preprocessing
from lookalike.progress import progress_bar
from lookalike.training.augmentation import Augmentation, pixels_of_view, view_count
from lookalike.training.batches import LabelledImages

# Small enough that the feature maps of one batch stay in the processor's cache for longer.
_BATCH_SIZE = 8
_GPU_BATCH_SIZE = 64
# Writing the layers down as a graph takes some seconds, as long as it saves on about so many images.
_WORTH_FUSING = 1000


class Views(Protocol):
    """Images in one or more views each: view 0 is the image itself, others are changed by chance."""

    @property
    def count(self) -> int:
        """Views of each image."""
        ...

    def __len__(self) -> int:
        """Images."""
        ...

    def batch(self, view: int, rows: Sequence[int]) -> Tensor:
        """The input of the layers for one view of some images."""
        ...


@dataclass(frozen=True)
class ImageViews:
    """Pixels (n, 3, size, size) uint8 of image files: as they are, mirrored, and at random by the augmentation."""

    images: LabelledImages
    preprocessing: Preprocessing
    augmentation: Augmentation
    seed: int

    @property
    def count(self) -> int:
        """See `Views`."""
        return view_count(self.augmentation)

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, view: int, rows: Sequence[int]) -> Tensor:
        """See `Views`."""
        pixels = np.stack([self._pixels(view, row) for row in rows])
        return torch.from_numpy(pixels).permute(0, 3, 1, 2)

    def _pixels(self, view: int, row: int) -> NDArray[np.uint8]:
        image = self.images.open(row, self.preprocessing.image_size)
        return pixels_of_view(image, self.preprocessing, view, np.random.default_rng((self.seed, row, view)))


@dataclass(frozen=True)
class Activations:
    """What earlier layers made of the views of images, (views, n, h, w, C) or (views, n, ...), half precision."""

    values: NDArray[np.float16]

    @property
    def count(self) -> int:
        """See `Views`."""
        return int(self.values.shape[0])

    def __len__(self) -> int:
        return int(self.values.shape[1])

    def batch(self, view: int, rows: Sequence[int]) -> Tensor:
        """See `Views`; fp32, feature maps as (n, C, h, w)."""
        values = torch.from_numpy(self.values[view, rows]).float()
        return values.permute(0, 3, 1, 2) if values.ndim == 4 else values


class FrozenLayers:
    """Runs layers in evaluation mode over all views of images, one batch a core."""

    def __init__(self, device: torch.device, precision: ResolvedPrecision) -> None:
        self._device = device
        self._precision: ResolvedPrecision = precision

    def ready(self, layers: nn.Module, example: Tensor, images: int) -> nn.Module:
        """Return the same layers in the form that is fastest for so many images like those of the batch `example`."""
        if self._device.type != "cpu" or self._precision != "fp32" or images < _WORTH_FUSING:
            return layers
        try:
            body = GraphBody(*export_graph(layers, example.shape[1:]))
        except UnsupportedGraphError:
            return layers
        body.to(memory_format=torch.channels_last)
        with one_thread():
            body.fuse(example)
        return body

    def features(self, function: Callable[[Tensor], Tensor], views: Views, name: str) -> Tensor:
        """Return `function` of every view of every image, (views, n, ...) fp32."""
        outputs = list(self._outputs(function, views, name))
        # Cloned outside inference mode, so that training may use them.
        joined = torch.cat(outputs).clone()
        return joined.reshape(views.count, len(views), *joined.shape[1:])

    def store_activations(self, layers: nn.Module, views: Views, name: str, path: Path) -> Activations:
        """Return the output of `layers` for every view of every image, as an array on the disk."""
        stored: NDArray[np.float16] | None = None
        start, total = 0, views.count * len(views)
        for output in self._outputs(layers, views, name):
            values = (output.permute(0, 2, 3, 1) if output.ndim == 4 else output).half().numpy()
            if stored is None:
                stored = np.lib.format.open_memmap(path, "w+", np.float16, (total, *values.shape[1:]))
                reserve_disk(path)
            stored[start : start + len(values)] = values
            start += len(values)
        if stored is None:
            raise ValueError("there are no images to run the layers over")
        return Activations(stored.reshape(views.count, len(views), *stored.shape[1:]))

    def _outputs(self, function: Callable[[Tensor], Tensor], views: Views, name: str) -> Iterator[Tensor]:
        def run(job: tuple[int, range]) -> Tensor:
            batch = views.batch(*job).to(self._device)
            with torch.inference_mode(), autocast(self._device, self._precision):
                return function(batch).float().cpu()

        size = _GPU_BATCH_SIZE if self._device.type == "cuda" else _BATCH_SIZE
        starts = range(0, len(views), size)
        jobs = [(view, range(start, min(start + size, len(views)))) for view in range(views.count) for start in starts]
        with progress_bar(name, views.count * len(views)) as bar:
            for output in parallel_batches(run, jobs):
                yield output
                bar.update(len(output))
