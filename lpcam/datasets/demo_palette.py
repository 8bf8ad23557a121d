"""The demo's colours, and how a scene picks among them."""

from __future__ import annotations

import numpy as np

from lpcam.datasets.demo_brush import Colour

DARK: Colour = (0.13, 0.11, 0.11)
WHITE: Colour = (0.93, 0.91, 0.87)
CREAM: Colour = (0.87, 0.79, 0.64)
GREY: Colour = (0.55, 0.54, 0.54)
BROWN: Colour = (0.47, 0.30, 0.18)
TAN: Colour = (0.72, 0.52, 0.31)
PINK: Colour = (0.86, 0.60, 0.56)


def pick(rng: np.random.Generator, *choices: Colour) -> Colour:
    """Return one of the colours, a little changed."""
    colour = choices[int(rng.integers(len(choices)))]
    return tinted(rng, colour)


def tinted(rng: np.random.Generator, colour: Colour) -> Colour:
    """Return the colour a little lighter, darker or of another tint."""
    red, green, blue = np.clip(np.asarray(colour) * rng.uniform(0.92, 1.06) + rng.uniform(-0.02, 0.02, 3), 0.03, 1)
    return (float(red), float(green), float(blue))
