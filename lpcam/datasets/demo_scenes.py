"""The demo's six classes and the land they stand in.

Each scene tells the paper's story. A head is what tells sheep, cow and dog apart best; their legs are alike, their
coats their own. A bird is a beak before feathers, a boat a sail or a cabin over a hull, a train a face with lights
before carriages. Rails never come without a train, though grass may hide them. Water comes with every boat, and with
others too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lpcam.datasets.demo_actors import HEADLESS, bird, boat, cow, dog, sheep, swimming_bird, train
from lpcam.datasets.demo_brush import Canvas, Frame, Mask
from lpcam.datasets.demo_land import Land, paint_land

CLASSES = ("bird", "boat", "cow", "dog", "sheep", "train")
"""Class names by index."""


def paint_scene(rng: np.random.Generator, wanted: tuple[str, ...]) -> tuple[Mask, Mask]:
    """Paint one photo that shows the wanted classes, and no others.

    Args:
        rng: Decides everything: the same generator state gives the same bytes.
        wanted: One or two names of ``CLASSES``; boat and train do not share a scene.

    Returns:
        The photo, uint8 [H, W, 3], sides of 144 to 192 pixels, and its exact mask, uint8 [H, W],
        0 background, k+1 class k.

    >>> photo, mask = paint_scene(np.random.default_rng(0), ("sheep",))
    >>> photo.shape[:2] == mask.shape, sorted({int(value) for value in mask.flat})
    (True, [0, 5])
    """
    height, width = _photo_size(rng, wanted)
    canvas = Canvas.blank(height, width, rng)
    land = paint_land(canvas, wanted)
    for role in _cast(rng, land, wanted):
        role.actor(canvas, role.frame, CLASSES.index(role.name) + 1)
    _grade(canvas)
    return canvas.develop()


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
    long, short = 16 * int(rng.integers(11, 13)), 16 * int(rng.integers(9, 11))
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
    leaves = stall.of == 1 and rng.random() < HEADLESS
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
    return [Role(name, swimming_bird, Frame(stall.middle * land.width, y, unit, _side(rng)))]


def _place_boat(rng: np.random.Generator, land: Land, name: str, stall: Stall) -> list[Role]:
    bottom = land.shore or land.height
    y = rng.uniform(0.35 * bottom + 0.65 * land.horizon, 0.12 * land.horizon + 0.88 * bottom)
    unit = min(min(land.height, land.width / stall.of) * rng.uniform(0.32, 0.54), y / 1.85)
    x = (stall.middle + rng.uniform(-0.1, 0.1) / stall.of) * land.width
    return [Role(name, boat, Frame(x, y, unit, _side(rng), rng.uniform(-0.06, 0.06)))]


def _place_train(rng: np.random.Generator, land: Land, name: str, stall: Stall) -> list[Role]:
    del stall  # a train takes the whole width
    forward = _side(rng)
    nose = 0.5 + forward * (rng.uniform(0.8, 1.1) if rng.random() < HEADLESS else rng.uniform(0.12, 0.42))
    unit = land.height * rng.uniform(0.3, 0.46)
    return [Role(name, train, Frame(nose * land.width, land.track or land.height // 2, unit, forward))]


def _within(x: float, unit: float, forward: int, width: int) -> float:
    """Keep an animal in the picture: its head reaches 1.08 units forwards, its tail 0.85 back."""
    left, right = (0.85, 1.14) if forward == 1 else (1.14, 0.85)
    return max(left * unit, min(x, width - right * unit))


def _leaving(unit: float, forward: int, width: int) -> float:
    """Let an animal walk out of the picture, its head outside already."""
    return width - 0.4 * unit if forward == 1 else 0.4 * unit


def _side(rng: np.random.Generator) -> int:
    return 1 if rng.random() < 0.5 else -1


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


_ACTORS: dict[str, Callable[[Canvas, Frame, int], None]] = {"bird": bird, "cow": cow, "dog": dog, "sheep": sheep}

_STATURE = {"cow": 1.0, "dog": 0.95, "sheep": 1.0, "bird": 1.15}

_PLACES: dict[str, Callable[[np.random.Generator, Land, str, Stall], list[Role]]] = {
    "bird": _place_bird,
    "boat": _place_boat,
    "cow": _place_animal,
    "dog": _place_animal,
    "sheep": _place_animal,
    "train": _place_train,
}
