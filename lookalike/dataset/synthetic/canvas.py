"""Drawing in the coordinates of an object: polygons, ellipses and curves, filled with colours or patterns.

An object lies in the square from (-1, -1) to (1, 1), y downwards. A `View` puts it on the picture,
so that rotation, size, stretching and shearing come to every drawing for nothing.
"""

import colorsys
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw

Color = tuple[int, int, int]
Points = Sequence[tuple[float, float]]

# Pixels drawn for each pixel kept, along one side: edges come out smooth.
SUPERSAMPLING = 2
_CURVE_STEPS = 6
_ELLIPSE_POINTS = 48


def hsv(hue: float, saturation: float, value: float) -> Color:
    """Return the colour of a hue (in turns, any number), saturation and value (0 to 1)."""
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, min(max(saturation, 0.0), 1.0), min(max(value, 0.0), 1.0))
    return round(red * 255), round(green * 255), round(blue * 255)


def shade(color: Color, factor: float) -> Color:
    """Return `color` darker (factor below 1) or lighter (above 1)."""
    red, green, blue = (min(255, round(channel * factor)) for channel in color)
    return red, green, blue


@dataclass(frozen=True)
class Pattern:
    """A fill of two colours: stripes, dots, checks or a gradient; `period` in units of the object."""

    kind: str
    color: Color
    second: Color
    period: float
    angle: float


Paint = Color | Pattern


@dataclass(frozen=True)
class View:
    """Where an object stands on the picture: a point (x, y) goes to matrix @ (x, y) + center, in pixels."""

    matrix: NDArray[np.float64]
    center: tuple[float, float]

    @property
    def scale(self) -> float:
        """Pixels a unit, on average over directions."""
        return math.sqrt(abs(float(np.linalg.det(self.matrix))))

    def apply(self, points: Points) -> list[tuple[float, float]]:
        """Return `points` of the object in pixels."""
        moved = np.asarray(points, dtype=np.float64) @ self.matrix.T + self.center
        return [(float(x), float(y)) for x, y in moved]


class Canvas:
    """A transparent layer on which objects are drawn through a view, optionally with outlines."""

    def __init__(self, width: int, height: int, view: View, outline: Color | None) -> None:
        # Every stroke is opaque, so colours are the same with alpha multiplied in, and shrinking is faster.
        self._image = Image.new("RGBa", (width, height), (0, 0, 0, 0))
        self._draw = ImageDraw.Draw(self._image)
        self._view = view
        self._outline = outline

    def shrunk(self) -> Image.Image:
        """Return the layer, RGBA, at the size of the picture."""
        return self._image.reduce(SUPERSAMPLING).convert("RGBA")

    def polygon(self, points: Points, paint: Paint) -> None:
        """Fill a polygon."""
        pixels = self._view.apply(points)
        if isinstance(paint, Pattern):
            self._paste_pattern(pixels, paint)
        else:
            self._draw.polygon(pixels, fill=(*paint, 255))
        if self._outline is not None:
            width = max(2, round(self._view.scale * 0.03))
            self._draw.line([*pixels, pixels[0], pixels[1]], fill=(*self._outline, 255), width=width, joint="curve")

    def blob(self, points: Points, paint: Paint) -> None:
        """Fill the smooth closed curve through `points`."""
        self.polygon(_smooth_closed(points), paint)

    def ellipse(
        self, x: float, y: float, radius_x: float, radius_y: float, paint: Paint, start: float = 0.0, end: float = 1.0
    ) -> None:
        """Fill an ellipse, or the part of it from `start` to `end` in turns, clockwise from the right."""
        angles = np.linspace(start, end, _ELLIPSE_POINTS) * 2 * math.pi
        points = [(x + radius_x * math.cos(angle), y + radius_y * math.sin(angle)) for angle in angles]
        self.polygon(points, paint)

    def circle(self, x: float, y: float, radius: float, paint: Paint) -> None:
        """Fill a circle."""
        self.ellipse(x, y, radius, radius, paint)

    def rectangle(self, left: float, top: float, right: float, bottom: float, paint: Paint) -> None:
        """Fill a rectangle."""
        self.polygon([(left, top), (right, top), (right, bottom), (left, bottom)], paint)

    def line(self, points: Points, width: float, color: Color) -> None:
        """Draw a line with round joints and ends, `width` in units of the object."""
        pixels = self._view.apply(points)
        thickness = max(2, round(width * self._view.scale))
        self._draw.line(pixels, fill=(*color, 255), width=thickness, joint="curve")
        radius = thickness / 2
        for x, y in (pixels[0], pixels[-1]):
            self._draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(*color, 255))

    def arc(self, x: float, y: float, radius: float, start: float, end: float, width: float, color: Color) -> None:
        """Draw a part of a circle's line, from `start` to `end` in turns, clockwise from the right."""
        angles = np.linspace(start, end, _ELLIPSE_POINTS) * 2 * math.pi
        self.line([(x + radius * math.cos(angle), y + radius * math.sin(angle)) for angle in angles], width, color)

    def _paste_pattern(self, pixels: Points, pattern: Pattern) -> None:
        self._draw.polygon(pixels, fill=(*pattern.color, 255))
        left, top, right, bottom = _bounds(pixels, self._image.size)
        if right <= left or bottom <= top:
            return
        mask = Image.new("L", (right - left, bottom - top), 0)
        ImageDraw.Draw(mask).polygon([(x - left, y - top) for x, y in pixels], fill=255)
        share = pattern_mask(mask.size, pattern.kind, pattern.angle, max(4.0, pattern.period * self._view.scale))
        self._image.paste((*pattern.second, 255), (left, top), ImageChops.multiply(mask, share))


def _bounds(pixels: Points, size: tuple[int, int]) -> tuple[int, int, int, int]:
    xs, ys = zip(*pixels, strict=True)
    return (
        max(0, math.floor(min(xs))),
        max(0, math.floor(min(ys))),
        min(size[0], math.ceil(max(xs)) + 1),
        min(size[1], math.ceil(max(ys)) + 1),
    )


def _smooth_closed(points: Points) -> list[tuple[float, float]]:
    """Return a Catmull-Rom curve through `points`, closed."""
    before = np.asarray(points, dtype=np.float64)
    p0, p1, p2, p3 = (np.roll(before, shift, axis=0)[:, None, :] for shift in (1, 0, -1, -2))
    t = np.linspace(0.0, 1.0, _CURVE_STEPS, endpoint=False)[None, :, None]
    curve = 0.5 * (2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3)
    return [(float(x), float(y)) for x, y in curve.reshape(-1, 2)]


def pattern_mask(size: tuple[int, int], kind: str, angle: float, period: float) -> Image.Image:
    """Return the share of the second colour at each pixel, as an image of mode L."""
    if kind == "gradient":
        # A gradient is smooth, so a coarse one will do, enlarged.
        coarse = (max(2, size[0] // 16), max(2, size[1] // 16))
        along, _ = _turned_grid(coarse, angle)
        low, high = float(along.min()), float(along.max())
        weight = (along - low) * (255 / max(high - low, 1.0))
        return Image.fromarray(weight.astype(np.uint8)).resize(size, Image.Resampling.BILINEAR)
    along, across = _turned_grid(size, angle)
    along *= np.float32(1 / period)
    along -= np.floor(along)
    if kind == "stripes":
        return _mask(along < 0.5)
    across *= np.float32(1 / period)
    across -= np.floor(across)
    if kind == "dots":
        return _mask((along - 0.5) ** 2 + (across - 0.5) ** 2 < 0.09)
    return _mask((along < 0.5) != (across < 0.5))


def _mask(inside: NDArray[np.bool_]) -> Image.Image:
    return Image.fromarray(inside.view(np.uint8) * np.uint8(255))


def _turned_grid(size: tuple[int, int], angle: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Coordinates of all pixels along and across a direction."""
    x = np.arange(size[0], dtype=np.float32)[None, :]
    y = np.arange(size[1], dtype=np.float32)[:, None]
    cosine, sine = np.float32(math.cos(angle)), np.float32(math.sin(angle))
    return x * cosine + y * sine, y * cosine - x * sine
