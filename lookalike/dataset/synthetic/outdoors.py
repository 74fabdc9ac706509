"""Drawings of things outdoors: each draws one object with its own variation into the square from -1 to 1."""

import numpy as np

from lookalike.dataset.synthetic.canvas import Canvas, hsv, shade
from lookalike.dataset.synthetic.palette import Palette


def sailboat(canvas: Canvas, colors: Palette, rng: np.random.Generator) -> None:
    """A hull with one or two sails, and often waves."""
    depth, rake, mast_x = rng.uniform(0.25, 0.42), rng.uniform(0.1, 0.3), rng.uniform(-0.15, 0.15)
    top = rng.uniform(-0.98, -0.8)
    canvas.line([(mast_x, top), (mast_x, 0.45)], 0.06, colors.dark)
    canvas.polygon([(mast_x + 0.06, top + 0.05), (mast_x + 0.06, 0.3), (0.85, 0.3)], colors.surface(rng, colors.light))
    if rng.random() < 0.75:
        canvas.polygon(
            [(mast_x - 0.06, top + 0.2), (mast_x - 0.06, 0.3), (-0.7, 0.3)], colors.surface(rng, colors.second)
        )
    if rng.random() < 0.4:
        canvas.polygon([(mast_x, top), (mast_x - 0.25, top + 0.08), (mast_x, top + 0.16)], colors.accent)
    canvas.polygon(
        [(-0.9, 0.42), (0.95, 0.42), (0.95 - rake, 0.42 + depth), (-0.9 + rake * 1.5, 0.42 + depth)],
        colors.surface(rng),
    )
    if rng.random() < 0.6:
        _waves(canvas, colors, rng, 0.42 + depth)


def _waves(canvas: Canvas, colors: Palette, rng: np.random.Generator, level: float) -> None:
    water = hsv(rng.normal(0.56, 0.05), 0.55, rng.uniform(0.5, 0.9))
    phase = rng.uniform(0, 6)
    for row in range(2):
        xs = np.linspace(-1.3, 1.3, 30)
        crest = [(float(x), float(level - 0.06 + row * 0.12 + 0.04 * np.sin(7 * x + phase + row))) for x in xs]
        canvas.line(crest, 0.07, shade(water, 1.0 + 0.25 * row))


def house(canvas: Canvas, colors: Palette, rng: np.random.Generator) -> None:
    """Walls, a roof of two kinds, a door, windows, sometimes a chimney and a second floor."""
    half, top, roof_height = rng.uniform(0.5, 0.85), rng.uniform(-0.35, 0.1), rng.uniform(0.35, 0.65)
    roof = colors.surface(rng, shade(colors.second, 0.75))
    if rng.random() < 0.6:
        x = half * rng.uniform(0.3, 0.6)
        canvas.rectangle(x, top - roof_height, x + 0.2, top, colors.dark)
    canvas.rectangle(-half, top, half, 0.95, colors.surface(rng))
    over, flat = rng.uniform(0.05, 0.2), float(rng.choice([0.0, 0.35]))
    ridge = top - roof_height
    canvas.polygon([(-half - over, top), (-half * flat, ridge), (half * flat, ridge), (half + over, top)], roof)
    door = rng.uniform(-0.5, 0.2) * half
    canvas.rectangle(door, 0.45, door + 0.28, 0.95, colors.dark)
    floors = [top + 0.14] if top > -0.15 else [top + 0.12, top + 0.62]
    for y in floors:
        for x in np.linspace(-half + 0.12, half - 0.36, int(rng.integers(2, 4))):
            if not (y > 0.2 and abs(x - door) < 0.32):
                _window(canvas, colors, float(x), y)


def _window(canvas: Canvas, colors: Palette, x: float, y: float) -> None:
    canvas.rectangle(x, y, x + 0.24, y + 0.28, colors.light)
    canvas.line([(x + 0.12, y), (x + 0.12, y + 0.28)], 0.025, colors.dark)
    canvas.line([(x, y + 0.14), (x + 0.24, y + 0.14)], 0.025, colors.dark)


def tree(canvas: Canvas, colors: Palette, rng: np.random.Generator) -> None:
    """A broad-leaved tree, a conifer or a palm."""
    bark = hsv(rng.normal(0.07, 0.02), 0.55, rng.uniform(0.25, 0.5))
    leaf = hsv(
        rng.choice([0.3, 0.27, 0.36, 0.1, 0.04, 0.9]) + rng.normal(0, 0.02),
        rng.uniform(0.5, 0.85),
        rng.uniform(0.4, 0.85),
    )
    kind = rng.integers(3)
    if kind == 2:
        _palm(canvas, rng, bark, leaf)
        return
    canvas.polygon([(-0.1, 0.0), (0.1, 0.0), (0.15, 0.98), (-0.15, 0.98)], bark)
    if kind == 0:
        for _ in range(int(rng.integers(6, 11))):
            x, y = rng.normal(0, 0.35), rng.normal(-0.35, 0.25)
            canvas.circle(float(x), float(y), float(rng.uniform(0.25, 0.42)), shade(leaf, rng.uniform(0.8, 1.2)))
        return
    tiers = int(rng.integers(3, 6))
    for tier in range(tiers):
        y, half = 0.55 - tier * 1.2 / tiers, 0.75 * (1 - tier / (tiers + 0.8))
        canvas.polygon([(-half, y), (half, y), (0.0, y - 0.65)], colors.surface(rng, shade(leaf, 0.85 + 0.08 * tier)))


def _palm(canvas: Canvas, rng: np.random.Generator, bark: tuple[int, int, int], leaf: tuple[int, int, int]) -> None:
    lean = rng.uniform(-0.4, 0.4)
    trunk = [(float(lean * (1 - t) ** 2), float(-0.45 + 1.4 * t)) for t in np.linspace(0, 1, 10)]
    canvas.line(trunk, 0.13, bark)
    fronds = int(rng.integers(6, 10))
    for turn in np.linspace(0.45, 1.05, fronds):
        dx, dy = 0.85 * np.cos(turn * 2 * np.pi), 0.45 * np.sin(turn * 2 * np.pi)
        x, y = float(lean), -0.45
        tip = (x + float(dx), y + float(dy) + 0.35)
        canvas.blob(
            [(x, y), (x + float(dx) * 0.5, y + float(dy) - 0.12), tip, (x + float(dx) * 0.5, y + float(dy) + 0.1)],
            shade(leaf, rng.uniform(0.8, 1.2)),
        )


def car(canvas: Canvas, colors: Palette, rng: np.random.Generator) -> None:
    """A car, a van or a lorry from the side."""
    body, kind = colors.surface(rng), rng.integers(3)
    floor, belt = 0.45, rng.uniform(-0.05, 0.1)
    if kind == 0:
        roof, front, back = rng.uniform(-0.5, -0.35), rng.uniform(0.3, 0.45), rng.uniform(-0.75, -0.5)
        canvas.polygon([(back - 0.12, belt), (back + 0.1, roof), (front - 0.15, roof), (front + 0.2, belt)], body)
        canvas.polygon(
            [(back + 0.05, belt), (back + 0.17, roof + 0.09), (-0.12, roof + 0.09), (-0.12, belt)], colors.light
        )
        canvas.polygon(
            [(-0.02, belt), (-0.02, roof + 0.09), (front - 0.2, roof + 0.09), (front + 0.02, belt)], colors.light
        )
        canvas.blob(
            [
                (-0.98, belt + 0.02),
                (-0.3, belt - 0.03),
                (0.4, belt - 0.02),
                (0.92, belt + 0.14),
                (0.98, floor),
                (0.0, floor + 0.03),
                (-0.98, floor),
            ],
            body,
        )
    elif kind == 1:
        canvas.blob([(-0.95, -0.5), (0.3, -0.55), (0.7, -0.1), (0.97, 0.05), (0.97, floor), (-0.95, floor)], body)
        for x in np.arange(-0.8, 0.3, 0.37):
            canvas.rectangle(float(x), -0.38, float(x) + 0.3, -0.05, colors.light)
    else:
        canvas.rectangle(-0.98, -0.6, 0.3, floor, colors.surface(rng, colors.second))
        canvas.polygon([(0.36, -0.25), (0.75, -0.25), (0.97, 0.1), (0.97, floor), (0.36, floor)], body)
        canvas.polygon([(0.5, -0.15), (0.72, -0.15), (0.86, 0.08), (0.5, 0.08)], colors.light)
    radius = rng.uniform(0.17, 0.26)
    for x in (-0.58, 0.58):
        canvas.circle(x, floor, radius, colors.dark)
        canvas.circle(x, floor, radius * 0.5, colors.light)
