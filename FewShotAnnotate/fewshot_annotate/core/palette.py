"""Distinct colours for labels that come without one."""

from __future__ import annotations

from functools import cache

import numpy as np

Colour = tuple[float, float, float]

# The first colours, a qualitative palette; further ones are generated.
FIRST_COLOURS: tuple[Colour, ...] = (
    (0.90, 0.30, 0.24),
    (0.20, 0.60, 0.86),
    (0.18, 0.80, 0.44),
    (0.95, 0.77, 0.06),
    (0.61, 0.35, 0.71),
    (0.90, 0.49, 0.13),
    (0.10, 0.74, 0.61),
    (0.93, 0.55, 0.75),
)
# Colours repeat after this many; more could not be told apart.
COLOUR_COUNT = 128
# Candidates: a grid of this many steps of red, green and blue, limited to the CIELAB lightness and chroma that stand
# out on grey images.
_STEPS = 11
_LIGHTNESS = (35.0, 90.0)
MIN_CHROMA = 30.0


def label_colour(value: int) -> Colour:
    """Colour of a label value (1, 2, ...), as red, green and blue in 0..1."""
    return _colours()[(value - 1) % COLOUR_COUNT]


@cache
def _colours() -> tuple[Colour, ...]:
    """The first colours, then repeatedly the candidate that is farthest in CIELAB from all colours chosen so far."""
    steps = np.linspace(0, 1, _STEPS)
    candidates = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    lab = cielab(candidates)
    chroma = np.hypot(lab[:, 1], lab[:, 2])
    usable = (lab[:, 0] >= _LIGHTNESS[0]) & (lab[:, 0] <= _LIGHTNESS[1]) & (chroma >= MIN_CHROMA)
    candidates, lab = candidates[usable], lab[usable]
    chosen = list(FIRST_COLOURS)
    distance = np.min([np.linalg.norm(lab - colour, axis=1) for colour in cielab(np.array(chosen))], axis=0)
    while len(chosen) < COLOUR_COUNT:
        farthest = int(distance.argmax())
        red, green, blue = candidates[farthest].round(2).tolist()
        chosen.append((red, green, blue))
        distance = np.minimum(distance, np.linalg.norm(lab - lab[farthest], axis=1))
    return tuple(chosen)


def cielab(rgb: np.ndarray) -> np.ndarray:
    """CIELAB (D65) of sRGB colours [n, 3] in 0..1 (IEC 61966-2-1, CIE 15)."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    ratio = linear @ to_xyz.T / np.array([0.9505, 1.0, 1.089])
    cube_root = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = cube_root.T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)
