"""Conversion of every pixel layout that Pillow decodes to plain 8-bit RGB."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from PIL import Image

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_WHITE = (255, 255, 255)
# Pixels converted at a time: a large image then needs no more than its two whole copies.
_BAND_PIXELS = 4_000_000

_Conversion = Callable[[Image.Image], Image.Image]


def to_rgb(image: Image.Image) -> Image.Image:
    """Return `image`, already decoded, as 8-bit RGB.

    Transparency is laid over white. 16-bit grey is scaled down (Pillow would clip it), floating
    point grey is stretched unless it fits a usual range, CMYK and other spaces are converted without
    colour profiles.
    """
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    convert = _conversion(image)
    if image.width * image.height <= _BAND_PIXELS:
        return convert(image)
    converted = Image.new("RGB", image.size)
    rows = max(1, _BAND_PIXELS // image.width)
    for top in range(0, image.height, rows):
        band = image.crop((0, top, image.width, min(top + rows, image.height)))
        converted.paste(convert(band), (0, top))
    return converted


def _conversion(image: Image.Image) -> _Conversion:
    """How to convert `image` or any part of it."""
    if image.mode.startswith("I;16"):
        return partial(_deep_grey_to_rgb, black=0.0, white=65535.0)
    if image.mode in ("I", "F"):
        black, white = _value_range(image)
        return partial(_deep_grey_to_rgb, black=black, white=white)
    if image.mode == "LAB":
        return _lab_to_rgb
    if image.has_transparency_data:
        return _over_white
    return lambda part: part.convert("RGB")


def _over_white(image: Image.Image) -> Image.Image:
    rgba = image.convert("LA").convert("RGBA") if image.mode == "La" else image.convert("RGBA")
    canvas = Image.new("RGB", rgba.size, _WHITE)
    canvas.paste(rgba, mask=rgba)
    return canvas


def _deep_grey_to_rgb(image: Image.Image, *, black: float, white: float) -> Image.Image:
    import numpy as np

    values = np.asarray(image)
    grey = _to_eight_bits(values, black, white)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey[values == transparent] = 255
    return Image.fromarray(grey).convert("RGB")


def _to_eight_bits(values: "NDArray[Any]", black: float, white: float) -> "NDArray[np.uint8]":
    """Scale grey values from black..white to 0..255; what is no number becomes black."""
    import numpy as np

    scaled = (values.astype(np.float64) - black) * (255.0 / (white - black))
    numbers = np.nan_to_num(scaled, nan=0.0)
    eight_bits: NDArray[np.uint8] = np.clip(np.rint(numbers), 0, 255).astype(np.uint8)
    return eight_bits


def _value_range(image: Image.Image) -> tuple[float, float]:
    """The values that become black and white: a usual range if it holds all values, else their own extremes."""
    import numpy as np

    values = np.asarray(image)
    is_integer = values.dtype.kind in "iu"
    finite = values if is_integer else values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    usual_maxima = (65535.0,) if is_integer else (1.0, 255.0, 65535.0)
    if low >= 0:
        for maximum in usual_maxima:
            if high <= maximum:
                return 0.0, maximum
    return low, high if high > low else low + 1.0


def _lab_to_rgb(image: Image.Image) -> Image.Image:
    from PIL import ImageCms

    converted = ImageCms.profileToProfile(
        image, ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), outputMode="RGB"
    )
    if converted is None:
        raise ValueError("Lab colours could not be converted")
    return converted
