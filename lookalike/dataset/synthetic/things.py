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


def clock(canvas: Canvas, colors: Palette, rng: np.random.Generator) -> None:
    """A round or square dial with marks and hands, sometimes with bells and feet."""
    is_round = rng.random() < 0.65
    if is_round and rng.random() < 0.5:
        for side in (-1, 1):
            canvas.ellipse(side * 0.5, -0.72, 0.25, 0.2, colors.second)
            canvas.line([(side * 0.4, 0.6), (side * 0.6, 0.95)], 0.1, colors.dark)
    if is_round:
        canvas.circle(0.0, 0.0, 0.85, colors.surface(rng))
        canvas.circle(0.0, 0.0, rng.uniform(0.62, 0.74), colors.light)
    else:
        canvas.rectangle(-0.85, -0.85, 0.85, 0.85, colors.surface(rng))
        canvas.rectangle(-0.68, -0.68, 0.68, 0.68, colors.light)
    n_marks = int(rng.choice([4, 12]))
    for mark in range(n_marks):
        turn = 2 * math.pi * mark / n_marks
        canvas.circle(0.55 * math.cos(turn), 0.55 * math.sin(turn), 0.04, colors.dark)
    for length, width in ((0.33, 0.07), (0.5, 0.045)):
        turn = rng.uniform(0, 2 * math.pi)
        canvas.line([(0.0, 0.0), (length * math.cos(turn), length * math.sin(turn))], width, colors.dark)
    canvas.circle(0.0, 0.0, 0.06, colors.accent)


def star(canvas: Canvas, colors: Palette, rng: np.random.Generator) -> None:
    """A star of 5 to 8 points, sharp or blunt, sometimes with a smaller one inside."""
    n_points, inner = int(rng.integers(5, 9)), rng.uniform(0.35, 0.6)
    canvas.polygon(_star_points(n_points, 0.95, 0.95 * inner), colors.surface(rng))
    if rng.random() < 0.5:
        canvas.polygon(_star_points(n_points, 0.5, 0.5 * inner), colors.second)


def _star_points(n_points: int, outer: float, inner: float) -> list[tuple[float, float]]:
    turns = [math.pi * index / n_points - math.pi / 2 for index in range(2 * n_points)]
    return [
        (radius * math.cos(turn), radius * math.sin(turn))
        for index, turn in enumerate(turns)
        for radius in ((outer, inner)[index % 2],)
    ]


def lamp(canvas: Canvas, colors: Palette, rng: np.random.Generator) -> None:
    """A table lamp: shade, stem, foot."""
    top, rim, split = rng.uniform(0.2, 0.45), rng.uniform(0.55, 0.9), rng.uniform(-0.2, 0.1)
    stem = colors.second
    if rng.random() < 0.5:
        canvas.line([(0.0, split), (0.0, 0.85)], 0.09, stem)
    else:
        canvas.blob(
            [(0.0, split), (0.22, 0.3), (0.15, 0.6), (0.28, 0.85), (-0.28, 0.85), (-0.15, 0.6), (-0.22, 0.3)],
            colors.surface(rng, stem),
        )
    canvas.ellipse(0.0, 0.88, rng.uniform(0.35, 0.55), 0.1, colors.dark)
    canvas.ellipse(0.0, split, rim, 0.1, hsv(0.14, 0.4, 1.0))
    canvas.polygon([(-top, -0.9), (top, -0.9), (rim, split), (-rim, split)], colors.surface(rng))


def guitar(canvas: Canvas, colors: Palette, rng: np.random.Generator) -> None:
    """A guitar upright: body with a waist, sound hole, neck, head, strings."""
    waist, hip, wood = (
        rng.uniform(0.22, 0.34),
        rng.uniform(0.45, 0.6),
        hsv(rng.normal(0.08, 0.03), 0.7, rng.uniform(0.35, 0.9)),
    )
    shoulder = hip * rng.uniform(0.7, 0.95)
    neck = shade(wood, 0.6)
    canvas.rectangle(-0.12, -0.98, 0.12, -0.76, colors.dark)
    body = wood if rng.random() < 0.5 else colors.main
    canvas.blob(
        [
            (0.0, -0.12),
            (shoulder * 0.8, -0.1),
            (shoulder, 0.12),
            (waist, 0.34),
            (hip, 0.65),
            (hip * 0.6, 0.95),
            (0.0, 0.98),
            (-hip * 0.6, 0.95),
            (-hip, 0.65),
            (-waist, 0.34),
            (-shoulder, 0.12),
            (-shoulder * 0.8, -0.1),
        ],
        colors.surface(rng, body),
    )
    canvas.rectangle(-0.07, -0.8, 0.07, 0.15, neck)
    canvas.circle(0.0, 0.28, rng.uniform(0.12, 0.17), colors.dark)
    canvas.rectangle(-0.2, 0.68, 0.2, 0.75, colors.dark)
    for x in (-0.04, 0.0, 0.04):
        canvas.line([(x, -0.9), (x, 0.7)], 0.012, colors.light)


def bicycle(canvas: Canvas, colors: Palette, rng: np.random.Generator) -> None:
    """Two wheels with spokes, a frame, handlebars and a saddle."""
    radius, y = rng.uniform(0.34, 0.44), 0.4
    for x in (-0.55, 0.55):
        for turn in np.linspace(0, math.pi, int(rng.integers(3, 7)), endpoint=False):
            dx, dy = radius * math.cos(turn), radius * math.sin(turn)
            canvas.line([(x - dx, y - dy), (x + dx, y + dy)], 0.018, colors.light)
        canvas.arc(x, y, radius, 0.0, 1.0, rng.uniform(0.05, 0.09), colors.dark)
    crank, seat, head = (-0.05, y), (-0.2, rng.uniform(-0.35, -0.2)), (0.38, rng.uniform(-0.4, -0.25))
    width = rng.uniform(0.06, 0.1)
    for points in ([(-0.55, y), crank, head], [(-0.55, y), seat, crank], [(0.55, y), head]):
        canvas.line(points, width, colors.main)
    if rng.random() < 0.6:
        canvas.line([seat, head], width, colors.main)
    canvas.line([(seat[0] - 0.15, seat[1] - 0.06), (seat[0] + 0.14, seat[1] - 0.06)], 0.1, colors.dark)
    canvas.line(
        [head, (head[0] - 0.02, head[1] - 0.2), (head[0] + rng.uniform(-0.2, 0.2), head[1] - 0.25)], 0.06, colors.dark
    )
    canvas.circle(*crank, 0.09, colors.accent)
