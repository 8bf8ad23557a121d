"""The demo's actors: each paints itself and writes its mask value."""

from __future__ import annotations

import numpy as np

from lpcam.datasets.demo_brush import (
    Canvas,
    Colour,
    Frame,
    ellipse,
    feathers,
    fleece,
    fur,
    limb,
    patches,
    plain,
    planks,
    polygon,
    smooth,
    woolly,
)
from lpcam.datasets.demo_land import tall_grass
from lpcam.datasets.demo_palette import BROWN, CREAM, DARK, GREY, PINK, TAN, WHITE, pick, tinted

HEADLESS = 0.08
"""Share of animals and trains whose head is out of the picture, and of birds that sleep with it under a wing."""

_OVERGROWN = 0.25
"""Share of trains whose rails are hidden in tall grass."""

_LIVERIES: tuple[Colour, ...] = ((0.72, 0.16, 0.15), (0.15, 0.29, 0.60), (0.80, 0.42, 0.12))
_TRIMS: tuple[Colour, ...] = (CREAM, (0.93, 0.78, 0.20), (0.30, 0.32, 0.35), (0.12, 0.30, 0.24))
_PANE: Colour = (0.70, 0.79, 0.86)
_HULLS: tuple[Colour, ...] = (
    (0.62, 0.20, 0.18),
    (0.14, 0.42, 0.44),
    (0.84, 0.66, 0.22),
    (0.88, 0.87, 0.83),
    (0.50, 0.34, 0.20),
)


def _shadow(canvas: Canvas, frame: Frame, half: float) -> None:
    canvas.shade(frame, ellipse(0, 0.0, half, 0.09), 0.5)


def _legs(canvas: Canvas, frame: Frame, value: int, spread: tuple[float, float], top: float) -> None:
    """Paint four legs, alike for all animals, each pair a little apart as in walking."""
    rng = canvas.rng
    step, width = rng.uniform(0.03, 0.12), rng.uniform(0.11, 0.14)
    coat = fur(pick(rng, DARK, GREY, BROWN, TAN))
    for x in spread:
        for side in (-1, 1):
            foot = (x + side * step + 0.02, 0.02)
            canvas.paint(frame, limb((x + side * 0.05, top), foot, width * 1.25, width * 0.8), coat, value)
            canvas.paint(frame, ellipse(foot[0] + 0.01, 0.03, width * 0.55, 0.05), plain(DARK), value)


def _eye(canvas: Canvas, frame: Frame, value: int, x: float, y: float, size: float = 0.04) -> None:
    canvas.paint(frame, ellipse(x, y, size * 1.35, size * 1.35), plain(WHITE, 0), value, relief=0)
    canvas.paint(frame, ellipse(x + 0.008, y, size, size), plain((0.04, 0.03, 0.03), 0), value, relief=0)


def _nod(rng: np.random.Generator) -> float:
    """Return how a head is held, in radians: mostly up, sometimes down to the grass."""
    return rng.uniform(-0.25, 0.2) if rng.random() < 0.8 else rng.uniform(-0.85, -0.55)


def sheep(canvas: Canvas, frame: Frame, value: int) -> None:
    """Paint a woolly body with a dark face."""
    rng = canvas.rng
    colour = pick(rng, WHITE, CREAM, CREAM)
    coat = fleece(colour)
    _shadow(canvas, frame, 0.75)
    _legs(canvas, frame, value, (-0.38, 0.36), 0.55)
    canvas.paint(frame, ellipse(-0.66, 0.78, 0.1, 0.14), coat, value)
    canvas.paint(frame, woolly(0, 0.7, 0.68, 0.4, 17), coat, value, relief=0.35)
    neck = frame.joint(0.52, 0.86, scale=1.15, tilt=_nod(rng))
    face = plain(pick(rng, DARK, DARK, (0.22, 0.18, 0.17)), 0.08)
    canvas.paint(neck, woolly(0.04, 0.06, 0.2, 0.19, 9), coat, value)
    canvas.paint(neck, ellipse(-0.04, 0.15, 0.13, 0.055, 0.5), face, value)
    canvas.paint(
        neck, smooth((0.04, 0.22), (0.2, 0.24), (0.37, -0.02), (0.32, -0.14), (0.2, -0.11), (0.04, 0.06)), face, value
    )
    canvas.paint(neck, ellipse(0.24, 0.17, 0.13, 0.055, -0.2), face, value)
    canvas.paint(neck, woolly(0.1, 0.26, 0.12, 0.08, 7), fleece(tinted(rng, CREAM)), value)
    _eye(canvas, neck, value, 0.19, 0.11)


def cow(canvas: Canvas, frame: Frame, value: int) -> None:
    """Paint a patched body with horns and a pink muzzle."""
    rng = canvas.rng
    base = WHITE
    coat = patches(base, pick(rng, DARK, BROWN), 0.45)
    _shadow(canvas, frame, 0.8)
    canvas.paint(frame, limb((-0.7, 0.92), (-0.78, 0.42), 0.07, 0.05), coat, value)
    canvas.paint(frame, ellipse(-0.78, 0.38, 0.06, 0.1), plain(DARK), value)
    _legs(canvas, frame, value, (-0.5, 0.46), 0.5)
    canvas.paint(frame, ellipse(-0.3, 0.42, 0.14, 0.1), plain(PINK), value)
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
        canvas.paint(neck, limb((x, 0.36), (tip, 0.56), 0.09, 0.035), plain(CREAM), value)
    canvas.paint(neck, smooth((0.1, 0.38), (0.34, 0.38), (0.46, 0.1), (0.4, -0.04), (0.24, 0.02)), fur(base), value)
    canvas.paint(neck, ellipse(0.38, 0.3, 0.12, 0.055, -0.3), fur(base), value)
    canvas.paint(neck, ellipse(0.4, 0.02, 0.14, 0.11, -0.5), plain(PINK), value)
    canvas.paint(neck, ellipse(0.45, 0.04, 0.025, 0.03), plain(DARK), value, relief=0)
    _eye(canvas, neck, value, 0.27, 0.24)


def dog(canvas: Canvas, frame: Frame, value: int) -> None:
    """Paint a furry body with hanging ears, a collar and a tongue."""
    rng = canvas.rng
    colour = pick(rng, (0.52, 0.29, 0.14), (0.74, 0.48, 0.22), (0.74, 0.48, 0.22), (0.26, 0.16, 0.11))
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
    canvas.paint(neck, smooth((0.24, 0.39), (0.52, 0.3), (0.54, 0.2), (0.26, 0.15)), fur(tinted(rng, CREAM)), value)
    canvas.paint(neck, ellipse(0.52, 0.29, 0.07, 0.055), plain((0.05, 0.04, 0.04)), value)
    canvas.paint(neck, smooth((0.39, 0.18), (0.49, 0.18), (0.48, 0.02), (0.41, 0.02)), plain((0.85, 0.32, 0.33)), value)
    ear = fur(pick(rng, DARK, (0.3, 0.18, 0.1)))
    canvas.paint(neck, smooth((-0.02, 0.46), (0.12, 0.46), (0.1, 0.12), (-0.02, 0.06), (-0.08, 0.22)), ear, value)
    _eye(canvas, neck, value, 0.28, 0.37)


def bird(canvas: Canvas, frame: Frame, value: int) -> None:
    """Paint a bird that stands on two legs."""
    _shadow(canvas, frame, 0.4)
    for x in (-0.08, 0.1):
        canvas.paint(frame, limb((x, 0.4), (x + 0.03, 0.03), 0.06, 0.04), plain((0.82, 0.5, 0.16)), value)
        canvas.paint(frame, limb((x - 0.03, 0.02), (x + 0.14, 0.02), 0.05, 0.04), plain((0.82, 0.5, 0.16)), value)
    _plumage(canvas, Frame(frame.x, frame.y - 0.3 * frame.unit, frame.unit, frame.forward, frame.tilt), value)


def swimming_bird(canvas: Canvas, frame: Frame, value: int) -> None:
    """Paint a bird that lies on water."""
    canvas.shade(frame, ellipse(0, -0.06, 0.75, 0.1), 0.4)
    _plumage(canvas, frame, value)


def _plumage(canvas: Canvas, frame: Frame, value: int) -> None:
    rng = canvas.rng
    body = pick(rng, WHITE, BROWN, TAN)
    wing = pick(rng, BROWN, TAN, (0.34, 0.36, 0.42))
    plumes = feathers(body, tinted(rng, DARK if body[0] < 0.6 else BROWN))
    canvas.paint(
        frame,
        smooth((-0.62, 0.5), (-0.3, 0.42), (0.2, 0.46), (0.5, 0.36), (0.42, 0.1), (0, 0.0), (-0.4, 0.1)),
        plumes,
        value,
        relief=0.35,
    )
    canvas.paint(
        frame, polygon((-0.5, 0.3), (-0.86, 0.52), (-0.78, 0.36), (-0.84, 0.28), (-0.45, 0.16)), fur(wing), value
    )
    canvas.paint(
        frame,
        smooth((-0.56, 0.4), (-0.1, 0.44), (0.24, 0.3), (0.05, 0.14), (-0.3, 0.18)),
        feathers(wing, tinted(rng, CREAM)),
        value,
    )
    if rng.random() < HEADLESS:
        canvas.paint(frame, ellipse(0.3, 0.42, 0.2, 0.14), plumes, value)
        return
    lift = rng.uniform(-0.05, 0.12)
    head = pick(rng, body, (0.12, 0.36, 0.24), DARK)
    canvas.paint(frame, smooth((0.2, 0.42), (0.34, 0.66 + lift), (0.54, 0.66 + lift), (0.5, 0.24)), plumes, value)
    canvas.paint(frame, ellipse(0.46, 0.7 + lift, 0.17, 0.16), fur(head), value)
    canvas.paint(
        frame,
        smooth((0.58, 0.78 + lift), (0.86, 0.68 + lift), (0.84, 0.62 + lift), (0.58, 0.62 + lift)),
        plain((0.93, 0.55, 0.12)),
        value,
    )
    _eye(canvas, frame, value, 0.51, 0.75 + lift, 0.032)


def boat(canvas: Canvas, frame: Frame, value: int) -> None:
    """Paint a hull under sails, or under a cabin."""
    rng = canvas.rng
    hull = pick(rng, *_HULLS)
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
    canvas.paint(frame, limb((-0.84, 0.3), (0.94, 0.38), 0.05, 0.04), plain(CREAM), value)


def _rigging(canvas: Canvas, frame: Frame, value: int) -> None:
    rng = canvas.rng
    sail = pick(rng, WHITE, WHITE, CREAM, (0.78, 0.25, 0.2))
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
        plain(tinted(rng, sail), 0.04),
        value,
        relief=0.25,
    )


def _cabin(canvas: Canvas, frame: Frame, value: int) -> None:
    rng = canvas.rng
    canvas.paint(
        frame, polygon((-0.55, 0.2), (-0.5, 0.68), (0.25, 0.68), (0.42, 0.2)), plain(tinted(rng, WHITE)), value
    )
    for x in (-0.36, -0.08, 0.18):
        canvas.paint(frame, ellipse(x, 0.5, 0.08, 0.08), plain((0.2, 0.26, 0.33)), value, relief=0)
    canvas.paint(frame, limb((-0.3, 0.66), (-0.32, 1.0), 0.17, 0.17), planks(pick(rng, *_HULLS[:2]), 0.14), value)


def train(canvas: Canvas, frame: Frame, value: int) -> None:
    """Paint a locomotive and its carriages to the end of the photo, sometimes behind tall grass."""
    rng = canvas.rng
    paint, trim = pick(rng, *_LIVERIES), pick(rng, *_TRIMS)
    far = canvas.mask.shape[1] / frame.unit + 1
    canvas.shade(frame, polygon((0.2, 0.02), (-far, 0.02), (-far, -0.12), (0.2, -0.12)), 0.55)
    for start in np.arange(-1.72, -far, -1.66):
        _carriage(canvas, frame, value, float(start), paint, trim)
    _locomotive(canvas, frame, value, paint, trim)
    if rng.random() < _OVERGROWN:
        tall_grass(canvas, frame.y)


def _wheels(canvas: Canvas, frame: Frame, value: int, places: tuple[float, ...]) -> None:
    for x in places:
        canvas.paint(frame, ellipse(x, 0.09, 0.1, 0.1), plain(DARK), value)
        canvas.paint(frame, ellipse(x, 0.09, 0.04, 0.04), plain(GREY), value, relief=0)


def _carriage(canvas: Canvas, frame: Frame, value: int, start: float, paint: Colour, trim: Colour) -> None:
    a, b = start - 0.78, start + 0.78
    canvas.paint(frame, limb((b - 0.1, 0.25), (b + 0.2, 0.25), 0.08, 0.08), plain(DARK), value)
    _wheels(canvas, frame, value, (a + 0.22, a + 0.46, b - 0.46, b - 0.22))
    body = smooth(
        (a, 0.2), (a, 0.86), (a + 0.07, 0.98), (b - 0.07, 0.98), (b, 0.86), (b, 0.2), (b - 0.06, 0.14), (a + 0.06, 0.14)
    )
    canvas.paint(frame, body, plain(paint, 0.06), value, relief=0.3)
    canvas.paint(frame, polygon((a, 0.3), (b, 0.3), (b, 0.38), (a, 0.38)), plain(trim), value, relief=0)
    for x in np.linspace(a + 0.22, b - 0.22, 5):
        pane = polygon((x - 0.1, 0.52), (x - 0.1, 0.8), (x + 0.1, 0.8), (x + 0.1, 0.52))
        canvas.paint(frame, pane, plain(_PANE), value, relief=0)


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
        plain(_PANE),
        value,
        relief=0,
    )
    canvas.paint(frame, limb((-0.6, 1.0), (-0.3, 1.22), 0.05, 0.04), plain(DARK), value)
