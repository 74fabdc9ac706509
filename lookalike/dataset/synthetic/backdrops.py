"""What is behind an object: sky and ground, walls, patterns, out-of-focus lights, clouds."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from lookalike.dataset.synthetic.canvas import Color, pattern_mask, shade
from lookalike.dataset.synthetic.palette import Palette

Size = tuple[int, int]


def draw_backdrop(size: Size, palette: Palette, rng: np.random.Generator) -> Image.Image:
    """Return a random backdrop of (width, height) pixels, RGB."""
    backdrop = _BACKDROPS[int(rng.integers(len(_BACKDROPS)))](size, palette, rng)
    return add_grey(backdrop, clouds(size, rng, float(rng.uniform(0, 26))))


def add_grey(image: Image.Image, grey: Image.Image) -> Image.Image:
    """Return `image` made brighter where `grey` is above 128, and darker where it is below."""
    return ImageChops.add(image, Image.merge("RGB", (grey, grey, grey)), scale=1, offset=-128)


def clouds(size: Size, rng: np.random.Generator, strength: float) -> Image.Image:
    """Return smooth noise around 128, up to `strength` away from it, of mode L."""
    shape = (int(rng.integers(3, 7)), int(rng.integers(3, 9)))
    return smooth(128 + strength * rng.uniform(-1, 1, shape), size)


def smooth(coarse: NDArray[np.float64], size: Size) -> Image.Image:
    """Return a few values (0 to 255) enlarged to a smooth picture of mode L."""
    rounded = np.clip(coarse, 0, 255).astype(np.uint8)
    return Image.fromarray(rounded).resize(size, Image.Resampling.BICUBIC)


def _mix(first: Color, second: Color, share: Image.Image, strength: float = 1.0) -> Image.Image:
    """Return `first` with as much of `second` as `share` says."""
    image = Image.new("RGB", share.size, first)
    image.paste(second, (0, 0), share.point(lambda value: value * strength))
    return image


def _gradient(size: Size, palette: Palette, rng: np.random.Generator) -> Image.Image:
    share = pattern_mask(size, "gradient", float(rng.uniform(0, 6.28)), 1.0)
    return _mix(palette.backdrop, palette.backdrop_second, share)


def _horizon(size: Size, palette: Palette, rng: np.random.Generator) -> Image.Image:
    """Sky above, ground below, with a wavy border."""
    width, height = size
    sky = _mix(palette.backdrop, palette.light, pattern_mask(size, "gradient", math.pi / 2, 1.0))
    ground = _mix(palette.backdrop_second, palette.second, pattern_mask(size, "gradient", math.pi / 2, 1.0), 0.6)
    level, swing = rng.uniform(0.45, 0.8) * height, rng.uniform(0, 0.06) * height
    xs = np.linspace(0, width, 33)
    ys = level + swing * np.sin(xs / width * rng.uniform(4, 14) + rng.uniform(0, 6))
    mask = Image.new("L", size, 0)
    border = [(float(x), float(y)) for x, y in zip(xs, ys, strict=True)]
    ImageDraw.Draw(mask).polygon([*border, (width, height), (0, height)], fill=255)
    sky.paste(ground, (0, 0), mask)
    return sky


def _room(size: Size, palette: Palette, rng: np.random.Generator) -> Image.Image:
    """A wall with a wallpaper and a table or floor."""
    width, height = size
    wallpaper = pattern_mask(size, "stripes", 0.0, float(width / rng.integers(6, 16)))
    wall = _mix(palette.backdrop, palette.backdrop_second, wallpaper, float(rng.uniform(0, 0.7)))
    top = round(height * rng.uniform(0.6, 0.8))
    planks = pattern_mask((width, height - top), "stripes", math.pi / 2, float(rng.uniform(8, 20)))
    wall.paste(_mix(shade(palette.backdrop, 0.75), palette.second, planks, float(rng.uniform(0.1, 0.5))), (0, top))
    return wall


def _lights(size: Size, palette: Palette, rng: np.random.Generator) -> Image.Image:
    """Out-of-focus discs of light."""
    image = _gradient(size, palette, rng)
    for color in (palette.light, palette.second):
        mask = Image.new("L", size, 0)
        draw = ImageDraw.Draw(mask)
        for _ in range(int(rng.integers(3, 9))):
            x, y = rng.uniform(0, size[0]), rng.uniform(0, size[1])
            radius, strength = rng.uniform(8, 32), int(rng.integers(25, 110))
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=strength)
        image.paste(color, (0, 0), mask.filter(ImageFilter.BoxBlur(1)))
    return image


def _weave(size: Size, palette: Palette, rng: np.random.Generator) -> Image.Image:
    """A cloth or tiles: checks or dots, turned by any angle."""
    kind = str(rng.choice(["checks", "dots", "stripes"]))
    share = pattern_mask(size, kind, float(rng.uniform(0, math.pi)), float(rng.uniform(10, 44)))
    return _mix(palette.backdrop, palette.backdrop_second, share, float(rng.uniform(0.25, 0.9)))


def _blurred_garden(size: Size, palette: Palette, rng: np.random.Generator) -> Image.Image:
    """Large soft patches of colour, as behind a close-up."""
    image = _mix(palette.backdrop, palette.backdrop_second, clouds(size, rng, 128))
    image.paste(palette.second, (0, 0), clouds(size, rng, 128).point(lambda value: value * 0.3))
    return image


_BACKDROPS: tuple[Callable[[Size, Palette, np.random.Generator], Image.Image], ...] = (
    _gradient,
    _horizon,
    _room,
    _lights,
    _weave,
    _blurred_garden,
)
