"""Drawings of things in a household: each draws one object with its own variation."""

import math

import numpy as np

from lookalike.dataset.synthetic.canvas import Canvas, hsv, shade
from lookalike.dataset.synthetic.palette import Palette


def mug(canvas: Canvas, colors: Palette, rng: np.random.Generator) -> None:
    """A straight or tapered cup with a handle, a band, sometimes steam."""
    top, bottom, half = rng.uniform(-0.6, -0.3), rng.uniform(0.6, 0.9), rng.uniform(0.42, 0.62)
    foot, middle = half * rng.uniform(0.65, 1.05), 0.5 * (top + bottom)
    canvas.arc(
        half + 0.05, middle, rng.uniform(0.22, 0.33), -0.28, 0.28, rng.uniform(0.1, 0.16), shade(colors.main, 0.85)
    )
    canvas.polygon([(-half, top), (half, top), (foot, bottom), (-foot, bottom)], colors.surface(rng))
    canvas.ellipse(0.0, bottom, foot, 0.1, shade(colors.main, 0.8), start=0.0, end=0.5)
    canvas.ellipse(0.0, top, half, 0.15, colors.light)
    canvas.ellipse(0.0, top + 0.02, half * 0.85, 0.1, hsv(0.07, rng.uniform(0.5, 0.8), rng.uniform(0.2, 0.5)))
    if rng.random() < 0.5:
        canvas.circle(-0.05, middle + 0.05, 0.2, colors.accent)
    if rng.random() < 0.5:
        for x in (-0.2, 0.1):
            wave = [(x + 0.06 * math.sin(9 * t), top - 0.15 - 0.4 * t) for t in np.linspace(0, 1, 12)]
            canvas.line(wave, 0.05, colors.light)


def key(canvas: Canvas, colors: Palette, rng: np.random.Generator) -> None:
    """A ring or plate, a shaft, and two to four teeth."""
    metal = hsv(rng.choice([0.12, 0.1, 0.6, 0.05]), rng.uniform(0.1, 0.7), rng.uniform(0.55, 0.95))
    color = metal if rng.random() < 0.6 else colors.main
    radius, thickness = rng.uniform(0.28, 0.42), rng.uniform(0.09, 0.16)
    kind = rng.integers(3)
    if kind == 0:
        canvas.arc(-0.6, 0.0, radius * 0.8, 0.0, 1.0, thickness, color)
    elif kind == 1:
        for turn in (0.25, 0.5, 0.75):
            x, y = -0.5 + 0.28 * math.cos(turn * 2 * math.pi), 0.28 * math.sin(turn * 2 * math.pi)
            canvas.arc(x, y, 0.17, 0.0, 1.0, thickness * 0.8, color)
    else:
        canvas.blob(
            [(-0.95, -0.3), (-0.4, -0.35), (-0.25, 0.0), (-0.4, 0.35), (-0.95, 0.3)], colors.surface(rng, color)
        )
        canvas.circle(-0.75, 0.0, 0.1, colors.backdrop)
    canvas.line([(-0.3, 0.0), (0.95, 0.0)], thickness, color)
    for x in np.linspace(0.9, 0.9 - 0.17 * 3, int(rng.integers(2, 5))):
        canvas.line([(float(x), 0.0), (float(x), rng.uniform(0.18, 0.4))], thickness * 0.85, color)


def umbrella(canvas: Canvas, colors: Palette, rng: np.random.Generator) -> None:
    """An open umbrella with panels, a pole and a hooked handle."""
    height, rim, n_panels = rng.uniform(0.55, 0.9), rng.uniform(-0.1, 0.1), int(rng.integers(4, 8))
    canvas.line([(0.0, rim - height - 0.12), (0.0, 0.8)], 0.05, colors.dark)
    canvas.arc(0.14, 0.8, 0.14, 0.0, 0.5, 0.07, colors.dark)
    edges = np.linspace(-0.95, 0.95, n_panels + 1)
    first, second = colors.surface(rng), colors.surface(rng, colors.second)
    for panel in range(n_panels):
        left, right = float(edges[panel]), float(edges[panel + 1])
        dome = [(x, rim - height * math.sqrt(max(0.0, 1 - x * x))) for x in np.linspace(left, right, 6)]
        sag = (0.5 * (left + right), rim - 0.1)
        lower = [(right, rim), sag, (left, rim)]
        apex = (0.0, rim - height)
        outline = (
            [(float(x), float(y)) for x, y in dome] if panel in (0, n_panels - 1) else [(left, rim), apex, (right, rim)]
        )
        canvas.polygon([*outline, *lower], first if panel % 2 == 0 else second)
        if panel in (0, n_panels - 1):
            inner = left if panel else right
            canvas.polygon(
                [(inner, rim), apex, *outline[:: -1 if panel else 1][-1:]], first if panel % 2 == 0 else second
            )
