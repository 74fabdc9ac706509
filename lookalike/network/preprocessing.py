"""Preprocessing of images, the same for training, indexing and queries."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Resize = Literal["squish", "crop"]


@dataclass(frozen=True)
class Preprocessing:
    """Resize to a square, then normalize each channel with the statistics the weights were trained with.

    `squish` keeps the whole image and changes its aspect ratio; `crop` keeps the ratio and cuts the middle.
    """

    image_size: int
    resize: Resize
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def pixels(self, image: Image.Image) -> NDArray[np.uint8]:
        """Pixels of an RGB image at the network's input size, (image_size, image_size, 3)."""
        side = self.image_size
        box = None if self.resize == "squish" else center_square(image.width, image.height)
        resized = image.resize((side, side), Image.Resampling.BILINEAR, box=box)
        return np.array(resized, dtype=np.uint8)

    def to_json(self) -> dict[str, Any]:
        """Return plain values from which `from_json` makes an equal object."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Preprocessing":
        """Return the object that `to_json` was called on."""
        return cls(**(values | {"mean": tuple(values["mean"]), "std": tuple(values["std"])}))


def center_square(width: int, height: int) -> tuple[float, float, float, float]:
    """Left, upper, right and lower edge of the largest centered square of an image."""
    side = min(width, height)
    left, upper = (width - side) / 2, (height - side) / 2
    return left, upper, left + side, upper + side
