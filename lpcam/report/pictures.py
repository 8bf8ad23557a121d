"""Arrays in, pictures out: photo, truth, activation map and seed as tiles a person can read.

Colour never speaks alone: class names are written on the tiles, seeds have outlines, and heat goes from dark to
light in a perceptually uniform map (matplotlib's inferno).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from lpcam.errors import LpcamError

Pixels = NDArray[np.uint8]
Plane = NDArray[np.float32]

IGNORED = 255
HEAT = "inferno"

_COLOURS = (  # Okabe and Ito's palette: told apart by colour-blind eyes
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (213, 94, 0),
    (204, 121, 167),
    (0, 114, 178),
)
COLOURS = len(_COLOURS)
_INK = (20, 20, 24)
_PAPER = (255, 255, 255)


@dataclass(frozen=True)
class Frame:
    """The size of all tiles of a row.

    Attributes:
        height: Of the photo, px.
        width: Of the photo, px.
        zoom: Whole number of tile pixels a photo pixel, or a share below 1 for large photos.
    """

    height: int
    width: int
    zoom: float

    @classmethod
    def of(cls, photo: Pixels, longest: int = 440) -> Frame:
        """Return the frame for a photo [H, W, 3], its longer side near ``longest`` pixels.

        >>> Frame.of(np.zeros((100, 200, 3), np.uint8))
        Frame(height=100, width=200, zoom=2.0)
        """
        zoom = longest / max(photo.shape[:2])
        return cls(photo.shape[0], photo.shape[1], float(int(zoom)) if zoom >= 1 else zoom)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of a tile."""
        return max(1, round(self.width * self.zoom)), max(1, round(self.height * self.zoom))


def photo_tile(photo: Pixels, longest: int = 440) -> Pixels:
    """Return a photo [H, W, 3] at the size of a tile."""
    return _enlarged(photo, Frame.of(photo, longest), Image.Resampling.LANCZOS)


def heat_tile(photo: Pixels, activation: Plane, name: str, longest: int = 440) -> Pixels:
    """Return an activation map in colour over a grey photo, with the name of its class.

    Args:
        photo: uint8 [H, W, 3].
        activation: float32 [H, W] in 0..1.
        name: Of the class.
        longest: Longer side of the tile, px.

    Raises:
        ValueError: photo and map differ in size.
    """
    _check_fit(photo, activation)
    colours = colormaps[HEAT](np.clip(activation, 0, 1))[..., :3]
    grey = photo.astype(np.float64).mean(axis=2, keepdims=True) / 255
    mixed = 0.78 * colours + 0.22 * grey * (0.35 + 0.65 * colours)
    frame = Frame.of(photo, longest)
    tile = _enlarged((255 * np.clip(mixed, 0, 1)).astype(np.uint8), frame, Image.Resampling.BICUBIC)
    return write_names(tile, [(name, (0.0, 0.0))])


def mask_tile(photo: Pixels, mask: Pixels, classes: Sequence[str], longest: int = 440) -> Pixels:
    """Return a mask in colour with outlines over a dimmed photo, each class with its name.

    Args:
        photo: uint8 [H, W, 3].
        mask: uint8 [H, W]: 0 background, k+1 class k, 255 ignored (drawn white).
        classes: The K class names.
        longest: Longer side of the tile, px.

    Raises:
        ValueError: photo and mask differ in size, or the mask has other classes.
    """
    _check_fit(photo, mask)
    present = [value for value in np.unique(mask).tolist() if value not in (0, IGNORED)]
    if present and present[-1] > len(classes):
        raise ValueError(f"expected mask values up to {len(classes)}, got {present[-1]}")
    frame = Frame.of(photo, longest)
    ground = _enlarged(photo, frame, Image.Resampling.LANCZOS)
    large = np.asarray(Image.fromarray(mask).resize(frame.size, Image.Resampling.NEAREST))
    tile = _coloured(ground, large)
    places = [(classes[value - 1], _middle(mask == value)) for value in present]
    return write_names(tile, places or [("background only", (0.0, 0.0))])


def seed(activations: Plane, labels: Sequence[int], threshold: float) -> Pixels:
    """Return the seed mask: the class of the highest map where that is above the threshold, else background.

    Args:
        activations: float32 [K, H, W] of the image's own classes.
        labels: Their K class indices.
        threshold: In 0..1.

    Returns:
        uint8 [H, W]: 0 background, k+1 class k.

    >>> seed(np.array([[[0.9, 0.2]], [[0.1, 0.4]]], np.float32), [4, 7], 0.3).tolist()
    [[5, 8]]
    """
    if not labels:
        return np.zeros(activations.shape[1:], np.uint8)
    values = np.asarray(labels, np.uint8)[activations.argmax(axis=0)] + np.uint8(1)
    return np.where(activations.max(axis=0) > np.float32(threshold), values, np.uint8(0))


def colour_of(index: int) -> tuple[int, int, int]:
    """Return the colour of class ``index``; beyond seven classes colours repeat, names do not."""
    return _COLOURS[index % len(_COLOURS)]


def heat_colours() -> Pixels:
    """Return the colours of an activation from 0 to 1 in 256 steps: uint8 [256, 3]."""
    return (255 * colormaps[HEAT](np.arange(256))[:, :3]).round().astype(np.uint8)


def write_names(tile: Pixels, places: Sequence[tuple[str, tuple[float, float]]]) -> Pixels:
    """Write names on a tile, each on a dark plate.

    Args:
        tile: uint8 [h, w, 3].
        places: Names, and where (x, y) their middles lie, as shares of width and height from the upper left.
    """
    image = Image.fromarray(tile)
    draw = ImageDraw.Draw(image)
    font = _font(max(12, round(0.062 * max(image.size))))
    for name, (x, y) in places:
        left, top, right, bottom = draw.textbbox((0, 0), name, font=font)
        wide, high, rim = right - left, bottom - top, 5
        corner_x = _clamped(x * image.width - wide / 2, rim + 2, image.width - wide - rim - 2)
        corner_y = _clamped(y * image.height - high / 2, rim + 2, image.height - high - rim - 2)
        plate = (corner_x - rim, corner_y - rim, corner_x + wide + rim, corner_y + high + rim)
        draw.rounded_rectangle(plate, radius=4, fill=_INK)
        draw.text((corner_x - left, corner_y - top), name, font=font, fill=_PAPER)
    return np.array(image)


def grid(
    rows: Sequence[Sequence[Pixels]],
    columns: Sequence[str],
    captions: Sequence[Sequence[str]],
    title: str,
    cell: int = 184,
) -> Image.Image:
    """Lay tiles out as one picture with a heading a column and a caption under each tile.

    Args:
        rows: Tiles, uint8 [h, w, 3]; every row as long as ``columns``.
        columns: Headings.
        captions: A line under each tile, may be empty.
        title: Over all.
        cell: Width of a tile, px.
    """
    gap, head, foot = 8, 66, 22
    heights = [max(round(tile.shape[0] * cell / tile.shape[1]) for tile in row) for row in rows]
    width = gap + len(columns) * (cell + gap)
    sheet = Image.new("RGB", (width, head + sum(heights) + len(rows) * (foot + gap)), _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((gap, 8), title, font=_font(18), fill=_INK)
    for column, heading in enumerate(columns):
        draw.text((gap + column * (cell + gap), 42), heading, font=_font(14), fill=_INK)
    top = head
    for row, lines, height in zip(rows, captions, heights, strict=True):
        for column, (tile, line) in enumerate(zip(row, lines, strict=True)):
            left = gap + column * (cell + gap)
            size = (cell, round(tile.shape[0] * cell / tile.shape[1]))
            sheet.paste(Image.fromarray(tile).resize(size, Image.Resampling.LANCZOS), (left, top))
            draw.text((left, top + height + 3), line, font=_font(13, bold=False), fill=(80, 80, 88))
        top += height + foot + gap
    return sheet


def _check_fit(photo: Pixels, plane: NDArray[np.generic]) -> None:
    if photo.ndim != 3 or photo.shape[:2] != plane.shape:
        raise ValueError(f"expected a photo [H, W, 3] and a plane [H, W], got {photo.shape} and {plane.shape}")


def _enlarged(pixels: Pixels, frame: Frame, how: Image.Resampling) -> Pixels:
    return np.array(Image.fromarray(pixels).resize(frame.size, how))


def _coloured(ground: Pixels, mask: Pixels) -> Pixels:
    """Blend a mask over a photo of the same size, inside strong, outside dimmed, with a two-pixel outline."""
    table = np.array([(0, 0, 0), *(colour_of(index) for index in range(254)), (255, 255, 255)], np.float32)
    inside = (mask > 0)[..., None]
    dimmed = 0.42 * ground + 0.14 * ground.mean(axis=2, keepdims=True)
    tile = np.where(inside, 0.38 * ground + 0.62 * table[mask], dimmed)
    tile[_outline(mask)] = _PAPER
    return np.clip(tile, 0, 255).astype(np.uint8)


def _outline(mask: Pixels) -> NDArray[np.bool_]:
    edge = np.zeros(mask.shape, bool)
    edge[:, 1:] |= mask[:, 1:] != mask[:, :-1]
    edge[1:] |= mask[1:] != mask[:-1]
    thick = edge.copy()
    thick[:, :-1] |= edge[:, 1:]
    thick[:-1] |= edge[1:]
    return thick


def _middle(region: NDArray[np.bool_]) -> tuple[float, float]:
    rows, columns = np.nonzero(region)
    return (float(np.median(columns)) + 0.5) / region.shape[1], (float(np.median(rows)) + 0.5) / region.shape[0]


def _clamped(value: float, low: float, high: float) -> float:
    return max(low, min(value, high))


@cache
def _font(size: int, *, bold: bool = True) -> ImageFont.FreeTypeFont:
    """Return DejaVu Sans, which comes with matplotlib."""
    path = Path(mpl.get_data_path()) / "fonts" / "ttf" / ("DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf")
    try:
        return ImageFont.truetype(path, size)
    except OSError as error:
        raise LpcamError(
            f"cannot read matplotlib's font {path} ({error}): pip install --force-reinstall matplotlib"
        ) from error
