"""The demo's six classes and the land they stand in.

Each scene tells the paper's story. A head is what tells sheep, cow and dog apart best; their legs are alike, their
coats their own. A bird is a beak on a plain body, a boat a sail or a cabin over a hull, a train a face with lights
before carriages. Rails never come without a train, though grass may hide them. Water comes with every boat, and with
others too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lpcam.datasets.demo_brush import (
    Array,
    Canvas,
    Coat,
    Colour,
    Frame,
    Mask,
    ellipse,
    fleece,
    fractal,
    fur,
    limb,
    noise,
    patches,
    plain,
    planks,
    polygon,
    smooth,
    woolly,
)

CLASSES = ("bird", "boat", "cow", "dog", "sheep", "train")
"""Class names by index."""

ANIMALS = ("cow", "dog", "sheep", "bird")

_DARK: Colour = (0.13, 0.11, 0.11)
_WHITE: Colour = (0.93, 0.91, 0.87)
_CREAM: Colour = (0.87, 0.79, 0.64)
_GREY: Colour = (0.55, 0.54, 0.54)
_BROWN: Colour = (0.47, 0.30, 0.18)
_TAN: Colour = (0.72, 0.52, 0.31)
_PINK: Colour = (0.86, 0.60, 0.56)
_HEADLESS = 0.08
"""Share of animals and trains whose head is out of the picture, and of birds that sleep with it under a wing."""

_LAKES = 0.4
"""Share of scenes with a lake, where no boat needs one and no train is in the way."""

_OVERGROWN = 0.25
"""Share of trains whose rails are hidden in tall grass."""

_LIVERIES: tuple[Colour, ...] = ((0.72, 0.16, 0.15), (0.15, 0.29, 0.60), (0.80, 0.42, 0.12))
_HULLS: tuple[Colour, ...] = (
    (0.62, 0.20, 0.18),
    (0.14, 0.42, 0.44),
    (0.84, 0.66, 0.22),
    (0.88, 0.87, 0.83),
    (0.50, 0.34, 0.20),
)


def paint_scene(rng: np.random.Generator, wanted: tuple[str, ...]) -> tuple[Mask, Mask]:
    """Paint one photo that shows the wanted classes, and no others.

    Args:
        rng: Decides everything: the same generator state gives the same bytes.
        wanted: One or two names of ``CLASSES``; boat and train do not share a scene.

    Returns:
        The photo, uint8 [H, W, 3], sides of 136 to 192 pixels, and its exact mask, uint8 [H, W],
        0 background, k+1 class k.

    >>> photo, mask = paint_scene(np.random.default_rng(0), ("sheep",))
    >>> photo.shape[:2] == mask.shape, sorted({int(value) for value in mask.flat})
    (True, [0, 5])
    """
    height, width = _photo_size(rng, wanted)
    canvas = Canvas.blank(height, width, rng)
    land = _paint_land(canvas, wanted)
    for role in _cast(rng, land, wanted):
        role.actor(canvas, role.frame, CLASSES.index(role.name) + 1)
    _grade(canvas)
    return canvas.develop()


# -- where things stand ------------------------------------------------------------------------------


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


@dataclass(frozen=True)
class Stall:
    """The part of the photo's width that one wanted class gets: its middle (0..1), and one of how many."""

    middle: float
    of: int


@dataclass(frozen=True)
class Role:
    """One object of a scene: its class, who paints it, and where it stands."""

    name: str
    actor: Callable[[Canvas, Frame, int], None]
    frame: Frame


def _photo_size(rng: np.random.Generator, wanted: tuple[str, ...]) -> tuple[int, int]:
    long, short = int(rng.integers(168, 193)), int(rng.integers(136, 153))
    upright = "train" not in wanted and rng.random() < 0.15
    return (long, short) if upright else (short, long)


def _cast(rng: np.random.Generator, land: Land, wanted: tuple[str, ...]) -> list[Role]:
    """Decide who stands where, far ones first."""
    roles: list[Role] = []
    order = rng.permutation(len(wanted))
    for slot, name in zip(order, wanted, strict=True):
        stall = Stall((slot + 0.5) / len(wanted), len(wanted))
        roles += _PLACES[name](rng, land, name, stall)
    return sorted(roles, key=lambda role: role.frame.y)


def _place_animal(rng: np.random.Generator, land: Land, name: str, stall: Stall) -> list[Role]:
    count = 1 if stall.of > 1 else int(rng.choice([1, 1, 1, 2]))
    top = land.track if land.track is not None else (land.shore or land.horizon)
    leaves = stall.of == 1 and rng.random() < _HEADLESS
    roles = []
    for i in range(count):
        aside = (i - (count - 1) / 2) * 0.46 + rng.uniform(-0.07, 0.07)
        x = (stall.middle + aside / stall.of) * land.width
        y = rng.uniform(max(0.7 * top + 0.3 * land.height, 0.66 * land.height), 0.98 * land.height)
        room = min(land.height, land.width / (1.1 * stall.of))
        unit = _STATURE[name] * room * rng.uniform(0.42, 0.68) / (1.0 if count == 1 else 1.5)
        unit, forward = min(unit, 0.62 * y, land.width / 1.95), _side(rng)
        x = _leaving(unit, forward, land.width) if i == 0 and leaves else _within(x, unit, forward, land.width)
        roles.append(Role(name, _ACTORS[name], Frame(x, y, unit, forward, rng.uniform(-0.07, 0.07))))
    return roles


def _place_bird(rng: np.random.Generator, land: Land, name: str, stall: Stall) -> list[Role]:
    if land.shore is None or rng.random() < 0.25:
        return _place_animal(rng, land, name, stall)
    y = rng.uniform(0.45 * land.shore + 0.55 * land.horizon, land.shore - 4)
    unit = min(land.height, land.width / stall.of) * rng.uniform(0.46, 0.68)
    return [Role(name, _swimming_bird, Frame(stall.middle * land.width, y, unit, _side(rng)))]


def _place_boat(rng: np.random.Generator, land: Land, name: str, stall: Stall) -> list[Role]:
    bottom = land.shore or land.height
    y = rng.uniform(0.35 * bottom + 0.65 * land.horizon, 0.12 * land.horizon + 0.88 * bottom)
    unit = min(min(land.height, land.width / stall.of) * rng.uniform(0.32, 0.54), y / 1.85)
    x = (stall.middle + rng.uniform(-0.1, 0.1) / stall.of) * land.width
    return [Role(name, _boat, Frame(x, y, unit, _side(rng), rng.uniform(-0.06, 0.06)))]


def _place_train(rng: np.random.Generator, land: Land, name: str, stall: Stall) -> list[Role]:
    del stall  # a train takes the whole width
    forward = _side(rng)
    nose = 0.5 + forward * (rng.uniform(0.8, 1.1) if rng.random() < _HEADLESS else rng.uniform(0.12, 0.42))
    unit = land.height * rng.uniform(0.3, 0.46)
    return [Role(name, _train, Frame(nose * land.width, land.track or land.height // 2, unit, forward))]


def _within(x: float, unit: float, forward: int, width: int) -> float:
    """Keep an animal in the picture: its head reaches 1.08 units forwards, its tail 0.85 back."""
    left, right = (0.85, 1.14) if forward == 1 else (1.14, 0.85)
    return max(left * unit, min(x, width - right * unit))


def _leaving(unit: float, forward: int, width: int) -> float:
    """Let an animal walk out of the picture, its head outside already."""
    return width - 0.4 * unit if forward == 1 else 0.4 * unit


def _side(rng: np.random.Generator) -> int:
    return 1 if rng.random() < 0.5 else -1


# -- the land ----------------------------------------------------------------------------------------


def _paint_land(canvas: Canvas, wanted: tuple[str, ...]) -> Land:
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


def _tall_grass(canvas: Canvas, track: float) -> None:
    """Let grass grow over the rails and before the wheels; what it hides is background."""
    rng = canvas.rng
    blade = Frame(0, track, 0.075 * canvas.mask.shape[0])
    end = canvas.mask.shape[1] / blade.unit + 1
    tips = [(float(x), float(rng.uniform(-0.1, 0.45))) for x in np.arange(-1, end, 0.16)]
    green = _pick(rng, (0.33, 0.47, 0.18), (0.30, 0.42, 0.22), (0.56, 0.53, 0.27))
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
    """Add what any scene may have: trees, a house with windows, a fence, stones."""
    rng = canvas.rng
    for _ in range(int(rng.integers(0, 4))):
        _tree(canvas, Frame(rng.uniform(0, land.width), land.horizon + 3, land.height * rng.uniform(0.12, 0.28)))
    top = land.shore or land.track or land.horizon
    for _ in range(int(rng.integers(0, 4))):
        y = rng.uniform(top + 0.5 * (land.height - top), land.height)
        stone = Frame(rng.uniform(0, land.width), y, land.height * rng.uniform(0.03, 0.09))
        canvas.paint(stone, smooth((-0.6, 0), (-0.4, 0.5), (0.1, 0.65), (0.55, 0.35), (0.6, 0)), plain(_GREY, 0.2))


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


def _grade(canvas: Canvas) -> None:
    """Give the photo its own light: exposure, tint, a little grain and a darker rim."""
    rng = canvas.rng
    height, width = canvas.mask.shape
    tint = rng.uniform(0.95, 1.05, 3).astype(np.float32) * np.float32(rng.uniform(0.88, 1.1))
    y, x = np.linspace(-1, 1, height, dtype=np.float32), np.linspace(-1, 1, width, dtype=np.float32)
    rim = 1 - 0.1 * (y[:, None] ** 2 + x[None] ** 2)
    grain = rng.normal(0, 0.045, (height, width)).astype(np.float32)
    canvas.rgb *= tint * rim[..., None]
    canvas.rgb += grain[..., None]


# -- the actors: each paints itself and writes its mask value ----------------------------------------


def _pick(rng: np.random.Generator, *choices: Colour) -> Colour:
    colour = choices[int(rng.integers(len(choices)))]
    return _tinted(rng, colour)


def _tinted(rng: np.random.Generator, colour: Colour) -> Colour:
    red, green, blue = np.clip(np.asarray(colour) * rng.uniform(0.92, 1.06) + rng.uniform(-0.02, 0.02, 3), 0.03, 1)
    return (float(red), float(green), float(blue))


def _shadow(canvas: Canvas, frame: Frame, half: float) -> None:
    canvas.shade(frame, ellipse(0, 0.0, half, 0.09), 0.5)


def _legs(canvas: Canvas, frame: Frame, value: int, spread: tuple[float, float], top: float) -> None:
    """Paint four legs, alike for all animals, each pair a little apart as in walking."""
    rng = canvas.rng
    step, width = rng.uniform(0.03, 0.12), rng.uniform(0.11, 0.14)
    coat = fur(_pick(rng, _DARK, _GREY, _BROWN, _TAN))
    for x in spread:
        for side in (-1, 1):
            foot = (x + side * step + 0.02, 0.02)
            canvas.paint(frame, limb((x + side * 0.05, top), foot, width * 1.25, width * 0.8), coat, value)
            canvas.paint(frame, ellipse(foot[0] + 0.01, 0.03, width * 0.55, 0.05), plain(_DARK), value)


def _eye(canvas: Canvas, frame: Frame, value: int, x: float, y: float, size: float = 0.04) -> None:
    canvas.paint(frame, ellipse(x, y, size * 1.35, size * 1.35), plain(_WHITE, 0), value, relief=0)
    canvas.paint(frame, ellipse(x + 0.008, y, size, size), plain((0.04, 0.03, 0.03), 0), value, relief=0)


def _nod(rng: np.random.Generator) -> float:
    """Return how a head is held, in radians: mostly up, sometimes down to the grass."""
    return rng.uniform(-0.25, 0.2) if rng.random() < 0.8 else rng.uniform(-0.85, -0.55)


def _sheep(canvas: Canvas, frame: Frame, value: int) -> None:
    rng = canvas.rng
    colour = _pick(rng, _WHITE, _CREAM, _CREAM, _GREY)
    coat = fleece(colour)
    _shadow(canvas, frame, 0.75)
    _legs(canvas, frame, value, (-0.38, 0.36), 0.55)
    canvas.paint(frame, ellipse(-0.66, 0.78, 0.1, 0.14), coat, value)
    canvas.paint(frame, woolly(0, 0.7, 0.68, 0.4, 17), coat, value, relief=0.35)
    neck = frame.joint(0.52, 0.86, scale=1.15, tilt=_nod(rng))
    face = plain(_pick(rng, _DARK, _DARK, (0.22, 0.18, 0.17)), 0.08)
    canvas.paint(neck, woolly(0.04, 0.06, 0.2, 0.19, 9), coat, value)
    canvas.paint(neck, ellipse(-0.04, 0.15, 0.13, 0.055, 0.5), face, value)
    canvas.paint(
        neck, smooth((0.04, 0.22), (0.2, 0.24), (0.37, -0.02), (0.32, -0.14), (0.2, -0.11), (0.04, 0.06)), face, value
    )
    canvas.paint(neck, ellipse(0.24, 0.17, 0.13, 0.055, -0.2), face, value)
    canvas.paint(neck, woolly(0.1, 0.26, 0.12, 0.08, 7), fleece(_tinted(rng, _CREAM)), value)
    _eye(canvas, neck, value, 0.19, 0.11)


def _cow(canvas: Canvas, frame: Frame, value: int) -> None:
    rng = canvas.rng
    base = _WHITE
    coat = patches(base, _pick(rng, _DARK, _BROWN), 0.45)
    _shadow(canvas, frame, 0.8)
    canvas.paint(frame, limb((-0.7, 0.92), (-0.78, 0.42), 0.07, 0.05), coat, value)
    canvas.paint(frame, ellipse(-0.78, 0.38, 0.06, 0.1), plain(_DARK), value)
    _legs(canvas, frame, value, (-0.5, 0.46), 0.5)
    canvas.paint(frame, ellipse(-0.3, 0.42, 0.14, 0.1), plain(_PINK), value)
    canvas.paint(
        frame,
        smooth(
            (-0.74, 0.9),
            (-0.45, 1.02),
            (0.1, 0.97),
            (0.52, 1.05),
            (0.7, 0.8),
            (0.58, 0.5),
            (0.1, 0.4),
            (-0.45, 0.44),
            (-0.74, 0.6),
        ),
        coat,
        value,
        relief=0.35,
    )
    neck = frame.joint(0.54, 0.86, scale=1.1, tilt=_nod(rng))
    canvas.paint(neck, smooth((-0.1, 0.14), (0.14, 0.26), (0.3, 0.14), (0.06, -0.18)), coat, value)
    canvas.paint(neck, ellipse(0.08, 0.3, 0.12, 0.055, 0.4), fur(base), value)
    for x, tip in ((0.16, 0.06), (0.28, 0.38)):
        canvas.paint(neck, limb((x, 0.36), (tip, 0.56), 0.09, 0.035), plain(_CREAM), value)
    canvas.paint(neck, smooth((0.1, 0.38), (0.34, 0.38), (0.46, 0.1), (0.4, -0.04), (0.24, 0.02)), fur(base), value)
    canvas.paint(neck, ellipse(0.38, 0.3, 0.12, 0.055, -0.3), fur(base), value)
    canvas.paint(neck, ellipse(0.4, 0.02, 0.14, 0.11, -0.5), plain(_PINK), value)
    canvas.paint(neck, ellipse(0.45, 0.04, 0.025, 0.03), plain(_DARK), value, relief=0)
    _eye(canvas, neck, value, 0.27, 0.24)


def _dog(canvas: Canvas, frame: Frame, value: int) -> None:
    rng = canvas.rng
    colour = _pick(rng, (0.52, 0.29, 0.14), (0.74, 0.48, 0.22), (0.74, 0.48, 0.22), (0.26, 0.16, 0.11))
    coat = fur(colour, depth=0.22)
    _shadow(canvas, frame, 0.65)
    canvas.paint(frame, limb((-0.55, 0.85), (-0.8, 1.12 + rng.uniform(-0.3, 0.15)), 0.13, 0.06), coat, value)
    _legs(canvas, frame, value, (-0.44, 0.36), 0.6)
    canvas.paint(
        frame,
        smooth(
            (-0.6, 0.9),
            (-0.3, 0.98),
            (0.2, 0.96),
            (0.5, 1.04),
            (0.58, 0.76),
            (0.42, 0.46),
            (0.0, 0.52),
            (-0.4, 0.54),
            (-0.6, 0.62),
        ),
        coat,
        value,
        relief=0.35,
    )
    neck = frame.joint(0.44, 0.88, scale=1.12, tilt=0.6 * _nod(rng))
    canvas.paint(neck, smooth((-0.14, 0.04), (0.04, 0.28), (0.24, 0.22), (0.12, -0.14)), coat, value)
    canvas.paint(neck, limb((-0.08, 0.2), (0.17, 0.02), 0.09, 0.09), plain((0.78, 0.13, 0.13)), value)
    canvas.paint(neck, ellipse(0.18, 0.32, 0.22, 0.2), fur(colour), value)
    canvas.paint(neck, smooth((0.24, 0.39), (0.52, 0.3), (0.54, 0.2), (0.26, 0.15)), fur(_tinted(rng, _CREAM)), value)
    canvas.paint(neck, ellipse(0.52, 0.29, 0.07, 0.055), plain((0.05, 0.04, 0.04)), value)
    canvas.paint(neck, smooth((0.39, 0.18), (0.49, 0.18), (0.48, 0.02), (0.41, 0.02)), plain((0.85, 0.32, 0.33)), value)
    ear = fur(_pick(rng, _DARK, (0.3, 0.18, 0.1)))
    canvas.paint(neck, smooth((-0.02, 0.46), (0.12, 0.46), (0.1, 0.12), (-0.02, 0.06), (-0.08, 0.22)), ear, value)
    _eye(canvas, neck, value, 0.28, 0.37)


def _bird(canvas: Canvas, frame: Frame, value: int) -> None:
    _shadow(canvas, frame, 0.4)
    for x in (-0.08, 0.1):
        canvas.paint(frame, limb((x, 0.4), (x + 0.03, 0.03), 0.06, 0.04), plain((0.82, 0.5, 0.16)), value)
        canvas.paint(frame, limb((x - 0.03, 0.02), (x + 0.14, 0.02), 0.05, 0.04), plain((0.82, 0.5, 0.16)), value)
    _plumage(canvas, Frame(frame.x, frame.y - 0.3 * frame.unit, frame.unit, frame.forward, frame.tilt), value)


def _swimming_bird(canvas: Canvas, frame: Frame, value: int) -> None:
    canvas.shade(frame, ellipse(0, -0.06, 0.75, 0.1), 0.4)
    _plumage(canvas, frame, value)


def _plumage(canvas: Canvas, frame: Frame, value: int) -> None:
    rng = canvas.rng
    body = _pick(rng, _WHITE, _GREY, _BROWN, _TAN)
    wing = _pick(rng, _GREY, _BROWN, (0.34, 0.36, 0.42))
    canvas.paint(
        frame,
        smooth((-0.62, 0.5), (-0.3, 0.42), (0.2, 0.46), (0.5, 0.36), (0.42, 0.1), (0, 0.0), (-0.4, 0.1)),
        fur(body),
        value,
        relief=0.35,
    )
    canvas.paint(
        frame, polygon((-0.5, 0.3), (-0.86, 0.52), (-0.78, 0.36), (-0.84, 0.28), (-0.45, 0.16)), fur(wing), value
    )
    canvas.paint(
        frame, smooth((-0.56, 0.4), (-0.1, 0.44), (0.24, 0.3), (0.05, 0.14), (-0.3, 0.18)), fur(wing, depth=0.3), value
    )
    if rng.random() < _HEADLESS:
        canvas.paint(frame, ellipse(0.3, 0.42, 0.2, 0.14), fur(body), value)
        return
    lift = rng.uniform(-0.05, 0.12)
    head = _pick(rng, body, (0.12, 0.36, 0.24), _DARK)
    canvas.paint(frame, smooth((0.2, 0.42), (0.34, 0.66 + lift), (0.54, 0.66 + lift), (0.5, 0.24)), fur(body), value)
    canvas.paint(frame, ellipse(0.46, 0.7 + lift, 0.17, 0.16), fur(head), value)
    canvas.paint(
        frame,
        smooth((0.58, 0.78 + lift), (0.86, 0.68 + lift), (0.84, 0.62 + lift), (0.58, 0.62 + lift)),
        plain((0.93, 0.55, 0.12)),
        value,
    )
    _eye(canvas, frame, value, 0.51, 0.75 + lift, 0.032)


def _boat(canvas: Canvas, frame: Frame, value: int) -> None:
    rng = canvas.rng
    hull = _pick(rng, *_HULLS)
    canvas.shade(frame, ellipse(0, -0.1, 0.95, 0.14), 0.4)
    if rng.random() < 0.75:
        _rigging(canvas, frame, value)
    else:
        _cabin(canvas, frame, value)
    canvas.paint(
        frame,
        smooth((-0.85, 0.3), (-0.4, 0.26), (0.4, 0.28), (0.98, 0.42), (0.7, 0.02), (0.3, -0.04), (-0.65, -0.03)),
        planks(hull, 0.09),
        value,
        relief=0.3,
    )
    canvas.paint(frame, limb((-0.84, 0.3), (0.94, 0.38), 0.05, 0.04), plain(_CREAM), value)


def _rigging(canvas: Canvas, frame: Frame, value: int) -> None:
    rng = canvas.rng
    sail = _pick(rng, _WHITE, _WHITE, _CREAM, (0.78, 0.25, 0.2))
    top = rng.uniform(1.5, 1.85)
    canvas.paint(frame, limb((0.05, 0.2), (0.05, top + 0.06), 0.06, 0.04), plain((0.4, 0.29, 0.2)), value)
    canvas.paint(
        frame,
        smooth((0.0, top), (-0.12, 1.1), (-0.7, 0.5), (-0.3, 0.44), (0.0, 0.46), (0.0, 1.0)),
        plain(sail, 0.04),
        value,
        relief=0.25,
    )
    canvas.paint(
        frame,
        smooth((0.12, top - 0.15), (0.36, 0.9), (0.8, 0.5), (0.4, 0.5), (0.14, 0.56), (0.14, 1.0)),
        plain(_tinted(rng, sail), 0.04),
        value,
        relief=0.25,
    )


def _cabin(canvas: Canvas, frame: Frame, value: int) -> None:
    rng = canvas.rng
    canvas.paint(
        frame, polygon((-0.55, 0.2), (-0.5, 0.68), (0.25, 0.68), (0.42, 0.2)), plain(_tinted(rng, _WHITE)), value
    )
    for x in (-0.36, -0.08, 0.18):
        canvas.paint(frame, ellipse(x, 0.5, 0.08, 0.08), plain((0.2, 0.26, 0.33)), value, relief=0)
    canvas.paint(frame, limb((-0.3, 0.66), (-0.32, 1.0), 0.17, 0.17), planks(_pick(rng, *_HULLS[:2]), 0.14), value)


def _train(canvas: Canvas, frame: Frame, value: int) -> None:
    rng = canvas.rng
    paint, trim = _pick(rng, *_LIVERIES), _pick(rng, _CREAM, (0.88, 0.87, 0.83))
    far = canvas.mask.shape[1] / frame.unit + 1
    canvas.shade(frame, polygon((0.2, 0.02), (-far, 0.02), (-far, -0.12), (0.2, -0.12)), 0.55)
    for start in np.arange(-1.72, -far, -1.66):
        _carriage(canvas, frame, value, float(start), paint, trim)
    _locomotive(canvas, frame, value, paint, trim)
    if rng.random() < _OVERGROWN:
        _tall_grass(canvas, frame.y)


def _wheels(canvas: Canvas, frame: Frame, value: int, places: tuple[float, ...]) -> None:
    for x in places:
        canvas.paint(frame, ellipse(x, 0.09, 0.1, 0.1), plain(_DARK), value)
        canvas.paint(frame, ellipse(x, 0.09, 0.04, 0.04), plain(_GREY), value, relief=0)


def _carriage(canvas: Canvas, frame: Frame, value: int, start: float, paint: Colour, trim: Colour) -> None:
    a, b = start - 0.78, start + 0.78
    canvas.paint(frame, limb((b - 0.1, 0.25), (b + 0.2, 0.25), 0.08, 0.08), plain(_DARK), value)
    _wheels(canvas, frame, value, (a + 0.22, a + 0.46, b - 0.46, b - 0.22))
    body = smooth(
        (a, 0.2), (a, 0.86), (a + 0.07, 0.98), (b - 0.07, 0.98), (b, 0.86), (b, 0.2), (b - 0.06, 0.14), (a + 0.06, 0.14)
    )
    canvas.paint(frame, body, plain(paint, 0.06), value, relief=0.3)
    canvas.paint(frame, polygon((a, 0.3), (b, 0.3), (b, 0.38), (a, 0.38)), plain(trim), value, relief=0)
    for x in np.linspace(a + 0.22, b - 0.22, 5):
        pane = polygon((x - 0.1, 0.52), (x - 0.1, 0.8), (x + 0.1, 0.8), (x + 0.1, 0.52))
        canvas.paint(frame, pane, plain((0.22, 0.28, 0.34)), value, relief=0)


def _locomotive(canvas: Canvas, frame: Frame, value: int, paint: Colour, trim: Colour) -> None:
    _wheels(canvas, frame, value, (-0.7, -0.44, 0.0, 0.26))
    body = smooth(
        (-0.9, 0.2),
        (-0.9, 0.9),
        (-0.84, 1.02),
        (0.1, 1.02),
        (0.36, 0.84),
        (0.58, 0.46),
        (0.6, 0.2),
        (0.5, 0.1),
        (-0.84, 0.14),
    )
    canvas.paint(frame, body, plain(paint, 0.06), value, relief=0.3)
    canvas.paint(frame, polygon((-0.9, 0.3), (0.56, 0.3), (0.56, 0.38), (-0.9, 0.38)), plain(trim), value, relief=0)
    canvas.paint(
        frame,
        smooth((0.08, 0.92), (0.3, 0.84), (0.44, 0.58), (0.14, 0.58)),
        plain((0.16, 0.22, 0.3)),
        value,
        relief=0.2,
    )
    canvas.paint(
        frame, smooth((0.36, 0.46), (0.56, 0.42), (0.6, 0.14), (0.4, 0.1)), plain((0.92, 0.72, 0.16)), value, relief=0.2
    )
    canvas.paint(frame, ellipse(0.52, 0.36, 0.065, 0.065), plain((1.0, 0.97, 0.82), 0), value, relief=0)
    canvas.paint(
        frame,
        polygon((-0.6, 0.55), (-0.6, 0.82), (-0.34, 0.82), (-0.34, 0.55)),
        plain((0.22, 0.28, 0.34)),
        value,
        relief=0,
    )
    canvas.paint(frame, limb((-0.6, 1.0), (-0.3, 1.22), 0.05, 0.04), plain(_DARK), value)


_ACTORS: dict[str, Callable[[Canvas, Frame, int], None]] = {"bird": _bird, "cow": _cow, "dog": _dog, "sheep": _sheep}

_STATURE = {"cow": 1.0, "dog": 0.95, "sheep": 1.0, "bird": 1.15}

_PLACES: dict[str, Callable[[np.random.Generator, Land, str, Stall], list[Role]]] = {
    "bird": _place_bird,
    "boat": _place_boat,
    "cow": _place_animal,
    "dog": _place_animal,
    "sheep": _place_animal,
    "train": _place_train,
}
