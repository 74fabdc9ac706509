"""Strong distortions of held-out images: a stand-in for photographs that come from elsewhere.

The images of a collection are often framed, lit and stored alike, and a network may rely on that unnoticed. A
distorted image has the same content without these similarities.
"""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

_CROP_AREA = (0.35, 0.7)
_MAX_LOG_ASPECT = np.log(3 / 2)
_MAX_ROTATION_DEGREES = 25.0
_MAX_LOG_ENHANCEMENT = 0.5
_MAX_LOG_WHITE_BALANCE = 0.25
# In pixels of an image whose shorter side is this long.
_BLUR_SIDE, _MAX_BLUR = 224, 2.0
_MAX_NOISE = 20.0
_JPEG_QUALITY = (10, 40)


def distorted(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return an RGB image cut out, turned, perhaps mirrored, relit, blurred, noisy and badly compressed."""
    image = _reframed(image, rng)
    for enhancement in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = enhancement(image).enhance(float(np.exp(rng.uniform(-_MAX_LOG_ENHANCEMENT, _MAX_LOG_ENHANCEMENT))))
    radius = rng.uniform(0, _MAX_BLUR) * min(image.size) / _BLUR_SIDE
    image = image.filter(ImageFilter.GaussianBlur(radius))
    return _recompressed(Image.fromarray(_relit(np.asarray(image, np.float32), rng)), rng)


def _reframed(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    scale = np.sqrt(rng.uniform(*_CROP_AREA))
    stretch = np.exp(rng.uniform(-_MAX_LOG_ASPECT, _MAX_LOG_ASPECT) / 2)
    width = max(1, min(image.width, round(image.width * scale * stretch)))
    height = max(1, min(image.height, round(image.height * scale / stretch)))
    left, upper = (int(rng.integers(0, room + 1)) for room in (image.width - width, image.height - height))
    turned = image.rotate(
        float(rng.uniform(-_MAX_ROTATION_DEGREES, _MAX_ROTATION_DEGREES)),
        Image.Resampling.BILINEAR,
        center=(left + width / 2, upper + height / 2),
        fillcolor=(128, 128, 128),
    )
    cut = turned.crop((left, upper, left + width, upper + height))
    return ImageOps.mirror(cut) if rng.random() < 0.5 else cut


def _relit(pixels: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.uint8]:
    gains = np.exp(rng.uniform(-_MAX_LOG_WHITE_BALANCE, _MAX_LOG_WHITE_BALANCE, 3))
    noise = rng.normal(0, rng.uniform(0, _MAX_NOISE), pixels.shape)
    return np.clip(pixels * gains + noise, 0, 255).astype(np.uint8)


def _recompressed(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=int(rng.integers(*_JPEG_QUALITY, endpoint=True)))
    return Image.open(buffer).convert("RGB")
