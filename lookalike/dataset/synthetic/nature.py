"""Drawings of animals, plants and fruit: each draws one object with its own variation."""

import math

import numpy as np

from lookalike.dataset.synthetic.canvas import Canvas, hsv, shade
from lookalike.dataset.synthetic.palette import Palette


def fish(canvas: Canvas, colors: Palette, rng: np.random.Generator) -> None:
    """A slim or round fish with tail, fins, an eye and often bands."""
    height, tail = rng.uniform(0.28, 0.62), rng.uniform(0.25, 0.5)
    canvas.polygon(
        [(0.5, 0.0), (0.95, -tail), (rng.uniform(0.7, 0.85), 0.0), (0.95, tail)], colors.surface(rng, colors.second)
    )
    canvas.polygon(
        [(-0.3, -height * 0.7), (rng.uniform(-0.1, 0.3), -height - 0.28), (0.35, -height * 0.5)], colors.second
    )
    if rng.random() < 0.6:
        canvas.polygon([(-0.1, height * 0.7), (0.15, height + 0.2), (0.25, height * 0.5)], colors.second)
    canvas.blob(
        [
            (-0.9, 0.0),
            (-0.5, -height * 0.8),
            (0.0, -height),
            (0.62, -0.08),
            (0.62, 0.08),
            (0.0, height),
            (-0.5, height * 0.8),
        ],
        colors.surface(rng),
    )
    for x in np.linspace(-0.3, 0.25, int(rng.integers(0, 4))):
        reach = height * 0.75 * (1 - abs(x))
        canvas.line([(float(x), -reach), (float(x) + 0.05, reach)], 0.08, colors.accent)
    canvas.circle(-0.62, -height * 0.2, 0.1, colors.light)
    canvas.circle(-0.64, -height * 0.2, 0.05, colors.dark)


def flower(canvas: Canvas, colors: Palette, rng: np.random.Generator) -> None:
    """A blossom of 5 to 13 petals on a stem with leaves."""
    green = hsv(rng.normal(0.32, 0.03), 0.65, rng.uniform(0.35, 0.65))
    bend = rng.uniform(-0.3, 0.3)
    canvas.line([(float(bend * t * t), float(-0.3 + 1.28 * t)) for t in np.linspace(0, 1, 8)], 0.07, green)
    for side in (-1, 1)[: int(rng.integers(0, 3))]:
        canvas.blob([(bend * 0.4, 0.6), (side * 0.3, 0.35), (side * 0.6, 0.4), (side * 0.3, 0.6)], shade(green, 1.15))
    n_petals, length = int(rng.integers(5, 14)), rng.uniform(0.42, 0.62)
    half = min(length * math.sin(math.pi / n_petals) * rng.uniform(0.9, 1.4), 0.26)
    paint = colors.surface(rng)
    for petal in range(n_petals):
        turn = 2 * math.pi * petal / n_petals
        along, across = (math.cos(turn), math.sin(turn)), (-math.sin(turn), math.cos(turn))
        shape = [(0.1, 0.0), (length * 0.6, half), (length, 0.0), (length * 0.6, -half)]
        canvas.blob([(u * along[0] + v * across[0], -0.35 + u * along[1] + v * across[1]) for u, v in shape], paint)
    canvas.circle(0.0, -0.35, rng.uniform(0.13, 0.24), colors.accent)


def cat(canvas: Canvas, colors: Palette, rng: np.random.Generator) -> None:
    """A cat's face: ears, eyes, nose, whiskers, sometimes stripes."""
    width, ear, fur = rng.uniform(0.7, 0.88), rng.uniform(0.35, 0.6), colors.surface(rng)
    for side in (-1, 1):
        canvas.polygon([(side * width * 0.95, -0.2), (side * width * 0.85, -0.4 - ear), (side * 0.15, -0.5)], fur)
        canvas.polygon(
            [(side * width * 0.8, -0.3), (side * width * 0.78, -0.25 - ear), (side * 0.35, -0.45)], colors.second
        )
    canvas.blob(
        [
            (0.0, -0.6),
            (width * 0.8, -0.4),
            (width, 0.15),
            (0.5, 0.65),
            (0.0, 0.75),
            (-0.5, 0.65),
            (-width, 0.15),
            (-width * 0.8, -0.4),
        ],
        fur,
    )
    if rng.random() < 0.5:
        for x in (-0.16, 0.0, 0.16):
            canvas.line([(x, -0.55), (x * 0.8, -0.3)], 0.06, colors.dark)
    eye, pupil = rng.uniform(0.13, 0.19), rng.uniform(0.03, 0.1)
    for side in (-1, 1):
        canvas.ellipse(side * 0.36, -0.05, eye, eye * rng.uniform(0.7, 1.1), colors.light)
        canvas.ellipse(side * 0.36, -0.05, pupil, eye * 0.75, colors.dark)
        for y in (0.22, 0.32):
            canvas.line([(side * 0.3, y), (side * 1.0, y + rng.uniform(-0.12, 0.12))], 0.025, colors.dark)
    canvas.polygon([(-0.1, 0.2), (0.1, 0.2), (0.0, 0.32)], colors.accent)
    canvas.line([(-0.15, 0.47), (0.0, 0.38), (0.15, 0.47)], 0.035, colors.dark)


def butterfly(canvas: Canvas, colors: Palette, rng: np.random.Generator) -> None:
    """Two pairs of wings with spots, a body and feelers."""
    upper, lower, spread = rng.uniform(0.6, 0.95), rng.uniform(0.4, 0.7), rng.uniform(0.75, 1.0)
    wing, second = colors.surface(rng), colors.surface(rng, colors.second)
    spot = rng.uniform(0.06, 0.14)
    for side in (-1, 1):
        reach = side * spread
        canvas.blob(
            [
                (0.0, 0.05),
                (reach * 0.5, 0.1),
                (reach * 0.75, lower * 0.6),
                (reach * 0.45, lower + 0.15),
                (side * 0.08, 0.35),
            ],
            second,
        )
        canvas.blob(
            [(0.0, 0.1), (side * 0.1, -0.2), (reach * 0.7, -upper), (reach, -upper * 0.75), (reach * 0.75, 0.05)], wing
        )
        canvas.circle(reach * 0.65, -upper * 0.5, spot, colors.accent)
        canvas.circle(reach * 0.45, lower * 0.6, spot * 0.7, colors.light)
        canvas.line([(0.0, -0.3), (side * 0.1, -0.55), (side * 0.25, -0.7)], 0.025, colors.dark)
    canvas.ellipse(0.0, 0.05, 0.07, 0.42, colors.dark)


def mushroom(canvas: Canvas, colors: Palette, rng: np.random.Generator) -> None:
    """A flat or high cap with spots on a stem, sometimes a small one beside it."""
    if rng.random() < 0.4:
        _toadstool(canvas, colors, rng, float(rng.choice([-0.6, 0.6])), 0.45)
    _toadstool(canvas, colors, rng, 0.0, 1.0)


def _toadstool(canvas: Canvas, colors: Palette, rng: np.random.Generator, x: float, size: float) -> None:
    half, height, stem = size * rng.uniform(0.6, 0.9), size * rng.uniform(0.5, 0.95), size * rng.uniform(0.12, 0.25)
    base, rim = 0.9, 0.9 - size * 0.9
    canvas.blob(
        [(x - stem, rim), (x + stem, rim), (x + stem * 1.3, base), (x, base + 0.05), (x - stem * 1.3, base)],
        colors.light,
    )
    canvas.ellipse(x, rim, half, height, colors.surface(rng), start=0.5, end=1.0)
    canvas.ellipse(x, rim, half, size * 0.12, shade(colors.light, 0.85))
    for _ in range(int(rng.integers(3, 8))):
        turn, distance = rng.uniform(0.55, 0.95) * 2 * math.pi, rng.uniform(0.3, 0.8)
        center = (x + half * distance * math.cos(turn), rim + height * distance * math.sin(turn))
        canvas.circle(*center, size * rng.uniform(0.05, 0.12), colors.light)
