"""One picture from a label and a seed: backdrop, object, shadow, light, grain."""

import math
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageChops, ImageFilter

from lookalike.dataset.synthetic import nature, outdoors, things
from lookalike.dataset.synthetic.backdrops import Size, add_grey, draw_backdrop, smooth
from lookalike.dataset.synthetic.canvas import SUPERSAMPLING, Canvas, View
from lookalike.dataset.synthetic.palette import Palette, pick_palette

_Drawing = Callable[[Canvas, Palette, np.random.Generator], None]

# The first ones are the labels of small sets, so neighbours in this list differ much.
DRAWINGS: dict[str, _Drawing] = {
    "sailboat": outdoors.sailboat,
    "cat": nature.cat,
    "house": outdoors.house,
    "flower": nature.flower,
    "car": outdoors.car,
    "mug": things.mug,
    "fish": nature.fish,
    "tree": outdoors.tree,
    "butterfly": nature.butterfly,
    "key": things.key,
    "mushroom": nature.mushroom,
    "umbrella": things.umbrella,
}

_SIZES = ((256, 192), (256, 192), (256, 192), (240, 180), (288, 192), (192, 256), (224, 224))
_SECOND_OBJECT_CHANCE = 0.15
_TILT = math.radians(14)


def draw_picture(label: str, rng: np.random.Generator, *, transparent: bool = False) -> Image.Image:
    """Return a picture of `label`, RGB, or RGBA with nothing behind the object if `transparent`."""
    size = _SIZES[int(rng.integers(len(_SIZES)))]
    palette = pick_palette(rng)
    backdrop = draw_backdrop(size, palette, rng)
    layer = _object_layer(label, size, palette, rng)
    return layer if transparent else _develop(_composite(backdrop, layer, rng), rng)


def _object_layer(label: str, picture_size: Size, palette: Palette, rng: np.random.Generator) -> Image.Image:
    """The object, or sometimes a smaller second one behind it, on a transparent layer."""
    outline = palette.dark if rng.random() < 0.4 else None
    size = (picture_size[0] * SUPERSAMPLING, picture_size[1] * SUPERSAMPLING)
    canvas = Canvas(*size, _random_view(*size, rng), outline)
    if rng.random() >= _SECOND_OBJECT_CHANCE:
        DRAWINGS[label](canvas, palette, rng)
        return canvas.shrunk()
    far = Canvas(*size, _random_view(*size, rng, shrink=0.55), outline)
    DRAWINGS[label](far, palette, rng)
    DRAWINGS[label](canvas, palette, rng)
    return Image.alpha_composite(far.shrunk(), canvas.shrunk())


def _random_view(width: int, height: int, rng: np.random.Generator, shrink: float = 1.0) -> View:
    """A view that keeps most of the object on the picture: any side, some tilt, stretch and shear."""
    half = 0.5 * min(width, height)
    scale = half * shrink * rng.uniform(0.55, 0.98)
    angle = rng.normal(0, _TILT)
    rotation = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    mirror = -1.0 if rng.random() < 0.5 else 1.0
    stretch = np.array(
        [[mirror * rng.uniform(0.85, 1.25), rng.normal(0, 0.1)], [rng.normal(0, 0.05), rng.uniform(0.85, 1.1)]]
    )
    room_x, room_y = max(0.0, width / 2 - scale), max(0.0, height / 2 - scale)
    center = (width / 2 + rng.uniform(-1, 1) * room_x * 0.9, height / 2 + rng.uniform(-1, 1) * room_y * 0.9)
    return View(scale * rotation @ stretch, center)


def _composite(backdrop: Image.Image, layer: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Lay the object over the backdrop, with a soft shadow behind it and light from one side."""
    alpha = layer.getchannel("A")
    offset = (int(rng.integers(-9, 10)), int(rng.integers(2, 10)))
    strength = float(rng.uniform(0.1, 0.5))
    shadow = ImageChops.offset(alpha, *offset).filter(ImageFilter.BoxBlur(float(rng.uniform(2, 5))))
    backdrop.paste((0, 0, 0), (0, 0), shadow.point(lambda value: value * strength))
    slope = rng.uniform(-50, 50, 2)
    side = np.linspace(-1, 1, 4)
    light = smooth(128 + side[None, :] * slope[0] + side[:, None] * slope[1], layer.size)
    backdrop.paste(add_grey(layer.convert("RGB"), light), (0, 0), alpha)
    return backdrop


def _develop(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Colour cast, exposure, grain, and sometimes a soft focus."""
    cast = rng.normal(1.0, 0.035, 3) * rng.uniform(0.88, 1.08)
    curves = np.clip(np.arange(256) * cast[:, None], 0, 255).astype(np.uint8)
    amplitude = int(rng.integers(2, 15))
    grain = rng.integers(128 - amplitude, 129 + amplitude, picture.size[::-1], dtype=np.uint8)
    developed = add_grey(picture.point(curves.ravel().tolist()), Image.fromarray(grain))
    if rng.random() < 0.12:
        return developed.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.6, 1.4))))
    return developed
