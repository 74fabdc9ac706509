"""ICC profiles: what an image's numbers mean as colours, so that equal colours become equal pixels."""

import io
from functools import lru_cache
from typing import TYPE_CHECKING

from PIL import Image, ImageChops

if TYPE_CHECKING:
    from PIL.ImageCms import ImageCmsTransform

# The colour space that a profile must describe to belong to pixels of a mode.
_SPACES = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}
# The largest profiles in use, those of printing presses, have 3 MB.
MAX_PROFILE_BYTES = 4 * 2**20
# Profiles that are called sRGB differ from each other by this much, of 255.
_NO_DIFFERENCE = 2
_CACHED_PROFILES = 16


def to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Return an image of mode L, RGB or CMYK as RGB, its colours taken as the ICC `profile` says.

    A profile that is damaged, or of another colour space than the image, is left out of account.
    """
    transform = _transform(profile, image.mode) if len(profile) <= MAX_PROFILE_BYTES else None
    converted = transform.apply(image) if transform is not None else image
    return converted.convert("RGB")


@lru_cache(maxsize=_CACHED_PROFILES)
def _transform(profile: bytes, mode: str) -> "ImageCmsTransform | None":
    """How pixels of a mode become sRGB; None if nothing is to be done, or the profile cannot be used."""
    from PIL import ImageCms

    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if opened.profile.xcolor_space.strip() != _SPACES[mode]:
            return None
        # Without its cache of the last pixel, several threads may use a transform at once.
        transform = ImageCms.buildTransform(
            opened, ImageCms.createProfile("sRGB"), mode, "RGB", flags=ImageCms.Flags.NOCACHE
        )
        return transform if _changes_colors(transform, mode) else None
    except Exception:
        # A damaged profile raises nearly anything, and says nothing against the pixels.
        return None


def _changes_colors(transform: "ImageCmsTransform", mode: str) -> bool:
    """Whether a transform does more than Pillow's own conversion to RGB, on a grid of colours."""
    colors = _color_grid(mode)
    difference = ImageChops.difference(transform.apply(colors), colors.convert("RGB"))
    return max(high for _, high in difference.getextrema()) > _NO_DIFFERENCE  # type: ignore[misc]


def _color_grid(mode: str) -> Image.Image:
    """An image of mode L, RGB or CMYK with evenly spaced values in each channel."""
    ramp = Image.linear_gradient("L").resize((256, 256))
    if mode == "L":
        return ramp
    channels = [ramp, ramp.rotate(90), ramp.point([value * 5 % 256 for value in range(256)]), Image.new("L", ramp.size)]
    return Image.merge(mode, channels[: len(mode)])
