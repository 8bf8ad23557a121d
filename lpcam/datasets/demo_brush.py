"""What the demo's scenes are painted with: curves, textures and light on a fine canvas.

A canvas is ``FINE`` times finer than the photo it becomes. Photo and mask are filled with the same
regions; the photo is averaged down (so its edges are smooth), the mask is sampled at pixel centres
(so it stays exact).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from lpcam.errors import LpcamError

Array = NDArray[np.float32]
Mask = NDArray[np.uint8]
Colour = tuple[float, float, float]
Coat = Callable[[np.random.Generator, int, int, float], Array]
"""``coat(rng, height, width, unit)`` → float32 [height, width, 3] in 0..1; ``unit`` is pixels a unit."""

FINE = 2


@dataclass(frozen=True)
class Frame:
    """Where an object stands: its own units (x forwards, y up, ground at 0) → fine pixels.

    Attributes:
        x: Fine pixel column of the origin.
        y: Fine pixel row of the origin (the ground).
        unit: Fine pixels a unit.
        forward: 1 looks right, -1 looks left.
        tilt: Radians, anticlockwise when it looks right.
    """

    x: float
    y: float
    unit: float
    forward: int = 1
    tilt: float = 0.0

    def pixels(self, points: Array) -> Array:
        """Map points [P, 2] in units to fine pixels [P, 2].

        >>> Frame(10, 20, 2, forward=-1).pixels(np.array([[1, 3]], np.float32)).tolist()
        [[8.0, 14.0]]
        """
        cos, sin = np.cos(self.tilt), np.sin(self.tilt)
        x = points[:, 0] * cos - points[:, 1] * sin
        y = points[:, 0] * sin + points[:, 1] * cos
        return np.stack([self.x + self.forward * self.unit * x, self.y - self.unit * y], axis=1).astype(np.float32)

    def joint(self, x: float, y: float, *, scale: float = 1.0, tilt: float = 0.0) -> Frame:
        """Return the frame of a part that hangs at (x, y), ``scale`` times as large and turned by ``tilt``."""
        column, row = self.pixels(np.array([[x, y]], np.float32))[0]
        return Frame(float(column), float(row), self.unit * scale, self.forward, self.tilt + tilt)


@dataclass
class Canvas:
    """A photo and its mask while they are painted.

    Attributes:
        rgb: float32 [FINE·H, FINE·W, 3] in 0..1.
        mask: uint8 [FINE·H, FINE·W]: 0 background, k+1 class k.
        rng: Where all textures come from.
    """

    rgb: Array
    mask: Mask
    rng: np.random.Generator = field(repr=False)

    @classmethod
    def blank(cls, height: int, width: int, rng: np.random.Generator) -> Canvas:
        """Return a black canvas for a photo of ``height`` × ``width``."""
        shape = (height * FINE, width * FINE)
        return cls(np.zeros((*shape, 3), np.float32), np.zeros(shape, np.uint8), rng)

    def paint(self, frame: Frame, outline: Array, coat: Coat, value: int | None = None, *, relief: float = 0.3) -> None:
        """Fill a closed curve with a coat, lit from above.

        Args:
            frame: Where the object stands.
            outline: The curve, [P, 2] in the object's units.
            coat: Colours of the region.
            value: Mask value to write, or ``None`` to leave the mask alone.
            relief: How round it looks; 0 is flat.
        """
        cv2 = opencv()
        points = np.round(frame.pixels(outline)).astype(np.int32)
        height, width = self.mask.shape
        left, top = np.maximum(points.min(axis=0), 0)
        right, bottom = np.minimum(points.max(axis=0) + 1, (width, height))
        if left >= right or top >= bottom:
            return
        region = np.zeros((bottom - top, right - left), np.uint8)
        cv2.fillPoly(region, [points - (left, top)], 1)
        colour = coat(self.rng, bottom - top, right - left, frame.unit)
        if relief:
            colour = colour * lit(region, relief)[..., None]
        inside = region.astype(bool)
        self.rgb[top:bottom, left:right][inside] = colour[inside]
        if value is not None:
            self.mask[top:bottom, left:right][inside] = value

    def shade(self, frame: Frame, outline: Array, strength: float, softness: float = 0.08) -> None:
        """Darken (or, below 0, lighten) a softly bordered region; the mask is left alone."""
        cv2 = opencv()
        soft = np.zeros(self.mask.shape, np.float32)
        cv2.fillPoly(soft, [np.round(frame.pixels(outline)).astype(np.int32)], 1.0)
        soft = cv2.GaussianBlur(soft, (0, 0), max(1.0, softness * frame.unit))
        self.rgb *= 1 - strength * soft[..., None]

    def develop(self) -> tuple[Mask, Mask]:
        """Return the photo, uint8 [H, W, 3], and its exact mask, uint8 [H, W]."""
        cv2 = opencv()
        height, width = self.mask.shape[0] // FINE, self.mask.shape[1] // FINE
        small = cv2.resize(self.rgb, (width, height), interpolation=cv2.INTER_AREA)
        photo = np.clip(np.round(small * 255), 0, 255).astype(np.uint8)
        return photo, np.ascontiguousarray(self.mask[FINE // 2 :: FINE, FINE // 2 :: FINE])


def lit(region: Mask, relief: float) -> Array:
    """Return the light on a region as if it were a cushion lit from above: [h, w] around 1."""
    cv2 = opencv()
    size = max(2.0, 0.16 * min(region.shape))
    padded = np.pad(region.astype(np.float32), 2)
    height = cv2.GaussianBlur(padded, (0, 0), size)
    slope = cv2.Sobel(height, cv2.CV_32F, 0, 1, ksize=3) * size
    slope_x = cv2.Sobel(height, cv2.CV_32F, 1, 0, ksize=3) * size
    light: Array = (1 + relief * np.clip(0.55 * slope + 0.2 * slope_x, -1.2, 0.7))[2:-2, 2:-2].astype(np.float32)
    return light


def noise(rng: np.random.Generator, height: int, width: int, cell: float, *, stretch: float = 1.0) -> Array:
    """Return smooth noise [height, width], about -1..1, with bumps of ``cell`` pixels (``stretch`` × as wide)."""
    cv2 = opencv()
    rows = max(2, round(height / max(cell, 1)) + 1)
    columns = max(2, round(width / max(cell * stretch, 1)) + 1)
    grid = rng.uniform(-1, 1, (rows, columns)).astype(np.float32)
    smooth: Array = cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
    return smooth


def fractal(rng: np.random.Generator, height: int, width: int, cell: float, *, stretch: float = 1.0) -> Array:
    """Return noise of three octaves, about -1..1."""
    octaves = [noise(rng, height, width, cell / 2**n, stretch=stretch) / 1.8**n for n in range(3)]
    total: Array = octaves[0] + octaves[1] + octaves[2]
    return total / np.float32(1.5)


def plain(colour: Colour, grain: float = 0.05) -> Coat:
    """Return a coat of one colour with a fine grain."""

    def coat(rng: np.random.Generator, height: int, width: int, unit: float) -> Array:
        grains = 1 + grain * noise(rng, height, width, max(2, 0.04 * unit))
        return grains[..., None] * np.asarray(colour, np.float32)

    return coat


def fur(colour: Colour, *, depth: float = 0.16) -> Coat:
    """Return short lying hair: noise drawn out along the body."""

    def coat(rng: np.random.Generator, height: int, width: int, unit: float) -> Array:
        hair = 1 + depth * fractal(rng, height, width, 0.05 * unit, stretch=3)
        return hair[..., None] * np.asarray(colour, np.float32)

    return coat


def fleece(colour: Colour) -> Coat:
    """Return curls: round bumps with dark gaps between them."""

    def coat(rng: np.random.Generator, height: int, width: int, unit: float) -> Array:
        curls = np.abs(noise(rng, height, width, 0.11 * unit)) + 0.5 * np.abs(noise(rng, height, width, 0.06 * unit))
        light = 0.5 + 0.55 * np.sqrt(np.clip(curls, 0, 0.9))
        return light[..., None].astype(np.float32) * np.asarray(colour, np.float32)

    return coat


def patches(colour: Colour, other: Colour, share: float) -> Coat:
    """Return a coat of ``colour`` with hard-edged patches of ``other`` over about ``share`` of it."""

    def coat(rng: np.random.Generator, height: int, width: int, unit: float) -> Array:
        field_ = noise(rng, height, width, 0.42 * unit) + 0.25 * noise(rng, height, width, 0.12 * unit)
        patch = (field_ > np.quantile(field_, 1 - share))[..., None]
        hair = 1 + 0.08 * fractal(rng, height, width, 0.05 * unit, stretch=3)
        mixed = np.where(patch, np.asarray(other, np.float32), np.asarray(colour, np.float32))
        coloured: Array = (mixed * hair[..., None]).astype(np.float32)
        return coloured

    return coat


def feathers(colour: Colour, rim: Colour) -> Coat:
    """Return rows of overlapping feathers, each with a rim of another colour."""

    def coat(rng: np.random.Generator, height: int, width: int, unit: float) -> Array:
        size = 0.13 * unit
        bend = 0.25 * noise(rng, height, width, 0.5 * unit)
        y, x = np.arange(height, dtype=np.float32)[:, None], np.arange(width, dtype=np.float32)[None]
        row = y / (0.7 * size) + bend
        across = x / size + 0.5 * (np.floor(row) % 2)
        depth = row - np.floor(row) + 1.6 * (across - np.round(across)) ** 2
        at_rim = (np.abs(depth - 0.75) < 0.2)[..., None]
        light = 1 + 0.08 * noise(rng, height, width, 0.05 * unit)
        mixed = np.where(at_rim, np.asarray(rim, np.float32), np.asarray(colour, np.float32))
        coloured: Array = mixed * light[..., None].astype(np.float32)
        return coloured

    return coat


def planks(colour: Colour, pitch: float) -> Coat:
    """Return lying planks, ``pitch`` units high."""

    def coat(rng: np.random.Generator, height: int, width: int, unit: float) -> Array:
        rows = np.arange(height, dtype=np.float32) / (pitch * unit)
        seam = 1 - 0.25 * (np.abs(rows - np.round(rows)) < 0.1)
        grain = 1 + 0.08 * noise(rng, height, width, 0.03 * unit, stretch=8)
        coloured: Array = (seam[:, None] * grain)[..., None].astype(np.float32) * np.asarray(colour, np.float32)
        return coloured

    return coat


def ellipse(x: float, y: float, rx: float, ry: float, turn: float = 0.0) -> Array:
    """Return an ellipse around (x, y), turned by ``turn`` radians, as 48 points [48, 2]."""
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    across, up = rx * np.cos(angle), ry * np.sin(angle)
    points = [x + across * np.cos(turn) - up * np.sin(turn), y + across * np.sin(turn) + up * np.cos(turn)]
    return np.stack(points, axis=1).astype(np.float32)


def woolly(x: float, y: float, rx: float, ry: float, bumps: int) -> Array:
    """Return an ellipse with a scalloped rim, [144, 2]."""
    angle = np.linspace(0, 2 * np.pi, 144, endpoint=False)
    rim = 0.95 + 0.07 * np.abs(np.sin(angle * bumps / 2))
    return np.stack([x + rx * rim * np.cos(angle), y + ry * rim * np.sin(angle)], axis=1).astype(np.float32)


def smooth(*corners: tuple[float, float]) -> Array:
    """Return the closed Catmull-Rom curve through the corners, ten points a corner.

    >>> smooth((0, 0), (1, 0), (1, 1), (0, 1)).shape
    (40, 2)
    """
    p = np.asarray(corners, np.float32)
    before, after, later = np.roll(p, 1, axis=0), np.roll(p, -1, axis=0), np.roll(p, -2, axis=0)
    t = np.linspace(0, 1, 10, endpoint=False, dtype=np.float32)[None, :, None]
    a, b, c, d = (q[:, None] for q in (before, p, after, later))
    curve = b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
    return curve.reshape(-1, 2).astype(np.float32)


def polygon(*corners: tuple[float, float]) -> Array:
    """Return straight-edged corners as an array [P, 2]."""
    return np.asarray(corners, np.float32)


def limb(start: tuple[float, float], end: tuple[float, float], wide: float, narrow: float) -> Array:
    """Return a tapered bar with round ends, [24, 2]."""
    a, b = np.asarray(start, np.float32), np.asarray(end, np.float32)
    heading = float(np.arctan2(*(b - a)[::-1]))
    half = np.linspace(-np.pi / 2, np.pi / 2, 12)
    front = b + narrow / 2 * np.stack([np.cos(heading + half), np.sin(heading + half)], axis=1)
    back = a + wide / 2 * np.stack([np.cos(heading + np.pi + half), np.sin(heading + np.pi + half)], axis=1)
    return np.concatenate([front, back]).astype(np.float32)


def opencv() -> ModuleType:
    """Import cv2.

    Raises:
        LpcamError: it is not installed, or the system lacks libGL.
    """
    try:
        import cv2
    except ImportError as error:
        raise LpcamError(
            f"the demo paints its photos with OpenCV, which does not import ({error}): pip install opencv-python, "
            "or opencv-python-headless where libGL is missing"
        ) from error
    return cv2
