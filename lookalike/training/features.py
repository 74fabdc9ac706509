"""What frozen layers make of the images, computed once: features for the head, activations for later layers."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lookalike.files import reserve_disk
from lookalike.network.arithmetic import ResolvedPrecision, autocast, parallel_batches
from lookalike.network.preprocessing import Preprocessing
from lookalike.progress import progress_bar
from lookalike.training.augmentation import Augmentation, pixels_of_view, view_count
from lookalike.training.batches import LabelledImages

# Small enough that the feature maps of one batch stay in the processor's cache for longer.
_BATCH_SIZE = 8
_GPU_BATCH_SIZE = 64


class FrozenLayers:
    """Runs layers in evaluation mode over images, one batch a core, each image in one or more views.

    View 0 is the image itself, view 1 its mirror image, later ones are random changes; `augmentation` decides
    how many there are.
    """

    def __init__(
        self, preprocessing: Preprocessing, device: torch.device, precision: ResolvedPrecision, seed: int
    ) -> None:
        self._preprocessing = preprocessing
        self._device = device
        self._precision: ResolvedPrecision = precision
        self._seed = seed

    def features(
        self, function: Callable[[Tensor], Tensor], images: LabelledImages, augmentation: Augmentation, name: str
    ) -> Tensor:
        """Return `function` of pixels (n, 3, h, w) for every view and image, (views, n, ...) fp32."""
        outputs = list(self._outputs(function, images, augmentation, name))
        # Cloned outside inference mode, so that training may use them.
        joined = torch.cat(outputs).clone()
        return joined.reshape(view_count(augmentation), len(images), *joined.shape[1:])

    def store_activations(
        self, layers: nn.Module, images: LabelledImages, augmentation: Augmentation, name: str, path: Path
    ) -> NDArray[np.float16]:
        """Return the output of `layers` for every view and image as a half-precision array on the disk.

        Feature maps come as (views, n, h, w, C), channels last; other outputs keep their axes.
        """
        stored: NDArray[np.float16] | None = None
        start, total = 0, view_count(augmentation) * len(images)
        for output in self._outputs(layers, images, augmentation, name):
            values = (output.permute(0, 2, 3, 1) if output.ndim == 4 else output).half().numpy()
            if stored is None:
                stored = np.lib.format.open_memmap(path, "w+", np.float16, (total, *values.shape[1:]))
                reserve_disk(path)
            stored[start : start + len(values)] = values
            start += len(values)
        if stored is None:
            raise ValueError("there are no images to run the layers over")
        return stored.reshape(view_count(augmentation), len(images), *stored.shape[1:])

    def _outputs(
        self, function: Callable[[Tensor], Tensor], images: LabelledImages, augmentation: Augmentation, name: str
    ) -> Iterator[Tensor]:
        def run(jobs: list[tuple[int, int]]) -> Tensor:
            pixels = np.stack([self._pixels(images, row, view) for view, row in jobs])
            with torch.inference_mode(), autocast(self._device, self._precision):
                return function(torch.from_numpy(pixels).permute(0, 3, 1, 2).to(self._device)).float().cpu()

        jobs = [(view, row) for view in range(view_count(augmentation)) for row in range(len(images))]
        size = _GPU_BATCH_SIZE if self._device.type == "cuda" else _BATCH_SIZE
        batches = [jobs[start : start + size] for start in range(0, len(jobs), size)]
        with progress_bar(name, len(jobs)) as bar:
            for output in parallel_batches(run, batches):
                yield output
                bar.update(len(output))

    def _pixels(self, images: LabelledImages, row: int, view: int) -> NDArray[np.uint8]:
        image = images.open(row, self._preprocessing.image_size)
        return pixels_of_view(image, self._preprocessing, view, np.random.default_rng((self._seed, row, view)))
