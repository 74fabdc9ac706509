"""Colours and patterns of one picture, chosen together so that the object stands out from its backdrop."""

from dataclasses import dataclass

import numpy as np

from lookalike.dataset.synthetic.canvas import Color, Paint, Pattern, hsv, shade

_PATTERNS = ("stripes", "dots", "checks", "gradient")
_HUE_STEPS = (0.08, 0.33, 0.5, 0.58, 0.92)


@dataclass(frozen=True)
class Palette:
    """The object's colours and the backdrop's; `pattern_chance` says how often a surface is patterned."""

    main: Color
    second: Color
    accent: Color
    dark: Color
    light: Color
    backdrop: Color
    backdrop_second: Color
    pattern_chance: float

    def surface(self, rng: np.random.Generator, color: Color | None = None) -> Paint:
        """Return a fill for a large surface: plain, shaded, or patterned with a second colour."""
        base = self.main if color is None else color
        if rng.random() >= self.pattern_chance:
            return Pattern("gradient", shade(base, 1.12), shade(base, 0.78), 1.0, float(rng.uniform(0, 3.1)))
        kind = _PATTERNS[int(rng.integers(3))]
        other = self.second if rng.random() < 0.6 else shade(base, float(rng.choice([0.65, 1.4])))
        return Pattern(kind, base, other, float(rng.uniform(0.1, 0.35)), float(rng.uniform(0, 3.1)))


def pick_palette(rng: np.random.Generator) -> Palette:
    """Return random but matching colours: the object is light on dark, dark on light, or of another hue."""
    hue = float(rng.random())
    backdrop_hue = hue + float(rng.choice(_HUE_STEPS[1:4])) + float(rng.normal(0, 0.04))
    is_dark = rng.random() < 0.3
    backdrop_value = rng.uniform(0.16, 0.4) if is_dark else rng.uniform(0.78, 0.98)
    backdrop_saturation = float(rng.uniform(0.2, 0.6) if is_dark else rng.uniform(0.05, 0.42))
    value = float(rng.uniform(0.78, 0.98) if is_dark else rng.uniform(0.45, 0.86))
    second_hue = hue + float(rng.choice(_HUE_STEPS))
    return Palette(
        main=hsv(hue, float(rng.uniform(0.5, 0.92)), value),
        second=hsv(second_hue, float(rng.uniform(0.3, 0.85)), float(rng.uniform(0.6, 1.0))),
        accent=hsv(hue + 0.5, float(rng.uniform(0.6, 0.95)), float(rng.uniform(0.7, 1.0))),
        dark=hsv(hue + 0.05, float(rng.uniform(0.2, 0.6)), float(rng.uniform(0.12, 0.3))),
        light=hsv(second_hue, float(rng.uniform(0.03, 0.2)), float(rng.uniform(0.9, 1.0))),
        backdrop=hsv(backdrop_hue, backdrop_saturation, float(backdrop_value)),
        backdrop_second=hsv(
            backdrop_hue + float(rng.normal(0, 0.06)),
            backdrop_saturation * float(rng.uniform(0.5, 1.6)),
            float(backdrop_value) * float(rng.uniform(0.72, 1.05)),
        ),
        pattern_chance=float(rng.choice([0.0, 0.35, 0.8])),
    )
