"""Data augmentation: random changes to training images that keep their content."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from lookalike.network.preprocessing import Preprocessing

Augmentation = Literal["none", "flip", "moderate"]

# Milder than ImageNet training uses (crops of 8 % and more): few epochs, and embeddings that should keep
# telling a whole object from a part of it.
_MIN_CROP_AREA = 0.5
_MAX_LOG_ASPECT = np.log(4 / 3)
_MAX_ENHANCEMENT = 0.25


_VIEWS = {"none": 1, "flip": 2, "moderate": 4}


def view_count(augmentation: Augmentation) -> int:
    """Return the number of views per image that frozen layers see: the image, its mirror image, random changes."""
    return _VIEWS[augmentation]


def pixels_of_view(
    image: Image.Image, preprocessing: Preprocessing, view: int, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Return the pixels of view 0 (the image itself), 1 (mirrored) or another (a random change)."""
    if view > 1:
        return augmented_pixels(image, preprocessing, "moderate", rng)
    pixels = preprocessing.pixels(image)
    return np.ascontiguousarray(pixels[:, ::-1]) if view == 1 else pixels


def augmented_pixels(
    image: Image.Image, preprocessing: Preprocessing, augmentation: Augmentation, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Return the pixels of a randomly changed image at the network's input size, (size, size, 3)."""
    if augmentation == "moderate":
        image = image.crop(random_box(image.width, image.height, rng))
        for enhancement in (ImageEnhance.Brightness, ImageEnhance.Contrast):
            image = enhancement(image).enhance(rng.uniform(1 - _MAX_ENHANCEMENT, 1 + _MAX_ENHANCEMENT))
    pixels = preprocessing.pixels(image)
    mirrored = augmentation != "none" and rng.random() < 0.5
    return np.ascontiguousarray(pixels[:, ::-1]) if mirrored else pixels


def random_box(width: int, height: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Return left, upper, right, lower of a random part, at least half of the area unless a side limits it."""
    scale = np.sqrt(rng.uniform(_MIN_CROP_AREA, 1.0))
    stretch = np.exp(rng.uniform(-_MAX_LOG_ASPECT, _MAX_LOG_ASPECT) / 2)
    crop_width = max(1, min(width, round(width * scale * stretch)))
    crop_height = max(1, min(height, round(height * scale / stretch)))
    left = int(rng.integers(0, width - crop_width + 1))
    upper = int(rng.integers(0, height - crop_height + 1))
    return left, upper, left + crop_width, upper + crop_height
