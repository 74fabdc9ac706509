"""Conversion of every pixel layout that Pillow decodes to plain 8-bit RGB, as its colour profile says."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from PIL import Image

from lookalike.images.color_profiles import to_srgb

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_WHITE = (255, 255, 255)
# Pixels converted at a time: a large image then needs no more than its two whole copies.
_BAND_PIXELS = 4_000_000

_Conversion = Callable[[Image.Image], Image.Image]


def to_rgb(image: Image.Image, profile: bytes | None = None) -> Image.Image:
    """Return `image`, already decoded, as 8-bit RGB.

    Colours are those of the ICC `profile`, sRGB without one. Transparency is laid over white. 16-bit
    grey is scaled down (Pillow would clip it), floating point grey is stretched unless it fits a usual
    range, CMYK without a profile is converted by the plain formula.
    """
    if image.mode == "RGB" and "transparency" not in image.info and profile is None:
        return image
    convert = _conversion(image, profile)
    if image.width * image.height <= _BAND_PIXELS:
        return convert(image)
    converted = Image.new("RGB", image.size)
    rows = max(1, _BAND_PIXELS // image.width)
    for top in range(0, image.height, rows):
        band = image.crop((0, top, image.width, min(top + rows, image.height)))
        converted.paste(convert(band), (0, top))
    return converted


def to_eight_bits(values: "NDArray[Any]", black: float, white: float) -> "NDArray[np.uint8]":
    """Scale values (height, width) from black..white to 0..255; what is no number becomes black."""
    import numpy as np

    eight_bits = np.empty(values.shape, dtype=np.uint8)
    rows = max(1, _BAND_PIXELS // max(1, values.shape[1]))
    for top in range(0, len(values), rows):
        scaled = (values[top : top + rows].astype(np.float64) - black) * (255.0 / (white - black))
        numbers = np.nan_to_num(scaled, nan=0.0)
        eight_bits[top : top + rows] = np.clip(np.rint(numbers), 0, 255)
    return eight_bits


def value_range(*channels: "NDArray[Any]") -> tuple[float, float]:
    """The values that become black and white: a usual range if it holds all values, else their own extremes."""
    import numpy as np

    is_integer = channels[0].dtype.kind in "iu"
    finite = list(channels) if is_integer else [values[np.isfinite(values)] for values in channels]
    low = min((float(values.min()) for values in finite if values.size), default=0.0)
    high = max((float(values.max()) for values in finite if values.size), default=1.0)
    usual_maxima = (65535.0,) if is_integer else (1.0, 255.0, 65535.0)
    if low >= 0:
        for maximum in usual_maxima:
            if high <= maximum:
                return 0.0, maximum
    return low, high if high > low else low + 1.0


def _conversion(image: Image.Image, profile: bytes | None) -> _Conversion:
    """How to convert `image` or any part of it."""
    if image.mode == "LAB":
        return _lab_to_rgb
    if image.mode.startswith("I;16"):
        return partial(_deep_grey_to_rgb, black=0.0, white=65535.0, profile=profile)
    if image.mode in ("I", "F"):
        import numpy as np

        black, white = value_range(np.asarray(image))
        return partial(_deep_grey_to_rgb, black=black, white=white, profile=profile)
    return partial(_eight_bits_to_rgb, mode=_mode_of_values(image), profile=profile)


def _mode_of_values(image: Image.Image) -> str:
    """The mode in which an image's 8-bit values stand as a colour profile takes them, with their opacity."""
    if image.mode == "CMYK":
        return "CMYK"
    is_grey = image.mode in ("1", "L", "LA", "La")
    return ("L" if is_grey else "RGB") + "A" * image.has_transparency_data


def _eight_bits_to_rgb(image: Image.Image, *, mode: str, profile: bytes | None) -> Image.Image:
    values = image.convert(mode)
    has_alpha = mode.endswith("A")
    colors = values.convert(mode[:-1]) if has_alpha else values
    rgb = colors.convert("RGB") if profile is None else to_srgb(colors, profile)
    if not has_alpha:
        return rgb
    canvas = Image.new("RGB", rgb.size, _WHITE)
    canvas.paste(rgb, mask=values.getchannel("A"))
    return canvas


def _deep_grey_to_rgb(image: Image.Image, *, black: float, white: float, profile: bytes | None) -> Image.Image:
    import numpy as np

    values = np.asarray(image)
    grey = Image.fromarray(to_eight_bits(values, black, white))
    rgb = grey.convert("RGB") if profile is None else to_srgb(grey, profile)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        rgb.paste(_WHITE, mask=Image.fromarray(values == transparent))
    return rgb


def _lab_to_rgb(image: Image.Image) -> Image.Image:
    from PIL import ImageCms

    converted = ImageCms.profileToProfile(
        image, ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), outputMode="RGB"
    )
    if converted is None:
        raise ValueError("Lab colours could not be converted")
    return converted
