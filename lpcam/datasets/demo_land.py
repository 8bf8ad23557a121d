"""The land of the demo's scenes: sky, ground, water, rails, and what may stand anywhere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lpcam.datasets.demo_brush import (
    Array,
    Canvas,
    Coat,
    Colour,
    Frame,
    fractal,
    fur,
    limb,
    noise,
    plain,
    polygon,
    smooth,
    woolly,
)
from lpcam.datasets.demo_palette import GREY, pick

_LAKES = 0.4
"""Share of scenes with a lake, where no boat needs one and no train is in the way."""


@dataclass(frozen=True)
class Land:
    """The place of a scene, in fine pixels.

    Attributes:
        height: Of the canvas.
        width: Of the canvas.
        horizon: Row where the ground begins.
        shore: Row where water ends and ground begins again; ``None`` without water.
        track: Row of the rails; ``None`` without them.
    """

    height: int
    width: int
    horizon: int
    shore: int | None = None
    track: int | None = None


def paint_land(canvas: Canvas, wanted: tuple[str, ...]) -> Land:
    """Paint sky, ground and what the wanted classes need: rails for a train, water for a boat."""
    rng = canvas.rng
    height, width = canvas.mask.shape
    horizon = int(height * rng.uniform(0.24, 0.46))
    _sky(canvas, horizon)
    _ground(canvas, horizon, _GROUNDS[int(rng.integers(len(_GROUNDS)))])
    lake = "boat" in wanted or ("train" not in wanted and rng.random() < _LAKES)
    land = Land(height, width, horizon)
    if lake:
        deep = rng.uniform(0.72, 0.95) if set(wanted) <= {"bird", "boat"} else rng.uniform(0.25, 0.5)
        land = Land(height, width, horizon, shore=int(horizon + (height - horizon) * deep))
        _water(canvas, horizon, land.shore or height)
    if "train" in wanted:
        land = Land(height, width, horizon, track=int(height * rng.uniform(0.66, 0.82)))
        _rails(canvas, land.track or height)
    _haze(canvas, horizon)
    _scatter(canvas, land)
    return land


_GROUNDS: tuple[tuple[Colour, Colour], ...] = (
    ((0.30, 0.46, 0.17), (0.47, 0.58, 0.24)),
    ((0.25, 0.41, 0.20), (0.38, 0.50, 0.24)),
    ((0.58, 0.52, 0.25), (0.71, 0.64, 0.34)),
    ((0.33, 0.45, 0.27), (0.56, 0.60, 0.36)),
    ((0.56, 0.55, 0.51), (0.70, 0.69, 0.64)),
)


def _mixed(field: Array, low: Colour, high: Colour) -> Array:
    share = np.clip(0.5 + 0.5 * field, 0, 1)[..., None]
    mixed: Array = (1 - share) * np.asarray(low, np.float32) + share * np.asarray(high, np.float32)
    return mixed


def _sky(canvas: Canvas, horizon: int) -> None:
    rng = canvas.rng
    rows = max(horizon, 8)
    width = canvas.mask.shape[1]
    top, low = (
        ((0.36, 0.56, 0.82), (0.76, 0.86, 0.93)),
        ((0.62, 0.68, 0.74), (0.83, 0.85, 0.86)),
        ((0.55, 0.60, 0.78), (0.96, 0.82, 0.68)),
    )[int(rng.choice(3, p=[0.55, 0.3, 0.15]))]
    fall = np.linspace(-1, 1, rows, dtype=np.float32)[:, None].repeat(width, axis=1)
    sky = _mixed(fall, top, low)
    clouds = np.clip(fractal(rng, rows, width, 0.6 * rows, stretch=2.2) - 0.05, 0, 0.6)[..., None] * 1.1
    canvas.rgb[:rows] = sky * (1 - clouds) + clouds * 0.97


def _ground(canvas: Canvas, horizon: int, colours: tuple[Colour, Colour]) -> None:
    rng = canvas.rng
    height, width = canvas.mask.shape
    rows = height - horizon
    near = np.linspace(0.45, 1.0, rows, dtype=np.float32)[:, None]
    wide = noise(rng, rows, width, 0.25 * rows, stretch=2.5) * 0.7
    blades = noise(rng, rows, width, 4) * 0.55 + noise(rng, rows, width, 9, stretch=0.5) * 0.45
    ground = _mixed((wide + near * blades).astype(np.float32), *colours)
    canvas.rgb[horizon:] = ground * (0.86 + 0.14 * near)[..., None]


def _water(canvas: Canvas, top: int, bottom: int) -> None:
    rng = canvas.rng
    width = canvas.mask.shape[1]
    rows = bottom - top
    low, high = (
        ((0.13, 0.30, 0.42), (0.44, 0.62, 0.70)),
        ((0.16, 0.33, 0.34), (0.46, 0.62, 0.58)),
        ((0.30, 0.40, 0.48), (0.66, 0.73, 0.77)),
    )[int(rng.integers(3))]
    waves = noise(rng, rows, width, 5, stretch=5) * 0.6 + noise(rng, rows, width, 14, stretch=4) * 0.5
    rim = (4 * noise(rng, 2, width, 0.12 * width)[0]).astype(int)
    water = _mixed((waves - 0.15).astype(np.float32), low, high)
    glints = (noise(rng, rows, width, 4, stretch=4) > 0.72)[..., None]
    water = np.where(glints, 0.5 * water + 0.46, water)
    inside = np.arange(top, bottom)[:, None] < (bottom + rim - 4)[None]
    canvas.rgb[top:bottom][inside] = water[inside]


def _haze(canvas: Canvas, horizon: int) -> None:
    """Let the far ground fade into the sky, as air does: no sharp line runs through the photo."""
    rows = np.arange(canvas.mask.shape[0] - horizon, dtype=np.float32)[:, None, None]
    share = np.exp(-rows / (0.09 * canvas.mask.shape[0]))
    sky = canvas.rgb[max(horizon - 2, 0)]
    canvas.rgb[horizon:] = share * sky + (1 - share) * canvas.rgb[horizon:]


def _rails(canvas: Canvas, track: int) -> None:
    rng = canvas.rng
    width = canvas.mask.shape[1]
    bed = Frame(0, track, 0.075 * canvas.mask.shape[0])
    end = width / bed.unit
    canvas.paint(bed, polygon((-1, 0.1), (end + 1, 0.1), (end + 1, -0.7), (-1, -0.7)), _gravel, relief=0.15)
    pitch = rng.uniform(0.75, 0.95)
    for x in np.arange(-0.5, end + 1, pitch):
        skew = 0.2 * (x / end - 0.5)
        tie = polygon((x, -0.1), (x + 0.3, -0.1), (x + 0.34 + skew, -0.5), (x + skew, -0.5))
        canvas.paint(bed, tie, plain((0.33, 0.24, 0.17), 0.15), relief=0)
    for y in (-0.1, -0.38):
        rail = polygon((-1, y), (end + 1, y), (end + 1, y - 0.1), (-1, y - 0.1))
        canvas.paint(bed, rail, plain((0.66, 0.64, 0.62), 0.08), relief=0.5)


def tall_grass(canvas: Canvas, track: float) -> None:
    """Let grass grow over the rails and before the wheels; what it hides is background."""
    rng = canvas.rng
    blade = Frame(0, track, 0.075 * canvas.mask.shape[0])
    end = canvas.mask.shape[1] / blade.unit + 1
    tips = [(float(x), float(rng.uniform(-0.1, 0.45))) for x in np.arange(-1, end, 0.16)]
    green = pick(rng, (0.33, 0.47, 0.18), (0.30, 0.42, 0.22), (0.56, 0.53, 0.27))
    canvas.paint(blade, polygon((-1, -0.95), *tips, (end, -0.95)), _blades(green), 0, relief=0)


def _blades(green: Colour) -> Coat:
    def coat(rng: np.random.Generator, height: int, width: int, unit: float) -> Array:
        blades = 1 + 0.28 * noise(rng, height, width, 0.45 * unit, stretch=0.14) + 0.1 * noise(rng, height, width, 2)
        coloured: Array = (blades[..., None] * np.asarray(green)).astype(np.float32)
        return coloured

    return coat


def _gravel(rng: np.random.Generator, height: int, width: int, unit: float) -> Array:
    stones = 0.6 * noise(rng, height, width, 0.12 * unit) + 0.5 * noise(rng, height, width, 0.2 * unit)
    return _mixed(stones, (0.36, 0.33, 0.31), (0.66, 0.62, 0.58))


def _scatter(canvas: Canvas, land: Land) -> None:
    """Add what any scene may have: trees and stones."""
    rng = canvas.rng
    for _ in range(int(rng.integers(0, 4))):
        _tree(canvas, Frame(rng.uniform(0, land.width), land.horizon + 3, land.height * rng.uniform(0.12, 0.28)))
    top = land.shore or land.track or land.horizon
    for _ in range(int(rng.integers(0, 4))):
        y = rng.uniform(top + 0.5 * (land.height - top), land.height)
        stone = Frame(rng.uniform(0, land.width), y, land.height * rng.uniform(0.03, 0.09))
        canvas.paint(stone, smooth((-0.6, 0), (-0.4, 0.5), (0.1, 0.65), (0.55, 0.35), (0.6, 0)), plain(GREY, 0.2))


def _tree(canvas: Canvas, frame: Frame) -> None:
    canvas.paint(frame, limb((0, 0), (0, 0.4), 0.14, 0.1), fur((0.33, 0.24, 0.17)))
    green = ((0.20, 0.34, 0.15), (0.29, 0.42, 0.18), (0.50, 0.40, 0.16))[int(canvas.rng.integers(3))]
    canvas.paint(frame, woolly(0, 0.68, 0.36, 0.42, 11), _leaves(green), relief=0.45)


def _leaves(green: Colour) -> Coat:
    def coat(rng: np.random.Generator, height: int, width: int, unit: float) -> Array:
        leaf = 1 + 0.4 * fractal(rng, height, width, 0.13 * unit)
        coloured: Array = (leaf[..., None] * np.asarray(green)).astype(np.float32)
        return coloured

    return coat
