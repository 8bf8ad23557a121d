"""The nearest patches of a prototype as one strip of pictures, in a given number of bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from lpcam.datasets import read_photo
from lpcam.records import Photo
from lpcam.report.sights import ClassSight, Patch, Plane, Sight
from lpcam.report.thumbnails import Fitter, Pixels, encoded, webp

_CELLS = 7
_GAP = 3
_PHOTOS_KEPT = 64


@dataclass(frozen=True)
class Strip:
    """How patches are shown: how many, how large (px), and how good (WebP, 0..100)."""

    count: int
    side: int
    quality: int


STRIPS = (
    Strip(8, 92, 66),
    Strip(8, 76, 60),
    Strip(6, 76, 56),
    Strip(6, 60, 52),
    Strip(5, 52, 46),
    Strip(4, 44, 40),
    Strip(3, 36, 34),
    Strip(0, 0, 0),
)
"""From the heaviest to the lightest; the last shows none."""


class Cutter:
    """Cuts patches out of photos.

    Args:
        photos: By name.
    """

    def __init__(self, photos: Mapping[str, Photo]) -> None:
        self._photos = photos
        self._fitter = Fitter(STRIPS, lambda strips: sum(map(len, strips)))
        self._read = lru_cache(_PHOTOS_KEPT)(lambda name: read_photo(photos[name].path))

    def entry(self, name: str, sight: ClassSight, allowance: int) -> dict[str, Any]:
        """Return what the page knows of the prototypes of a class, JSON values only.

        Args:
            name: Of the class.
            sight: What its prototypes see.
            allowance: Bytes for its strips.

        Raises:
            LpcamError: a photo cannot be read.
        """
        strips = self._fitter.fit(allowance, self._strips(sight.sights))
        shown = [_sight_entry(each, strip) for each, strip in zip(sight.sights, strips, strict=True)]
        return {"name": name, "photos": sight.photos, "sights": shown, "plane": _plane_entry(sight.plane)}

    def _strips(self, sights: Sequence[Sight]) -> Callable[[Strip], list[str]]:
        return lambda strip: [self._strip(sight.patches[: strip.count], strip) for sight in sights]

    def _strip(self, patches: Sequence[Patch], strip: Strip) -> str:
        there = [patch for patch in patches if patch.photo in self._photos]
        if not there:
            return ""
        sheet = Image.new("RGB", (len(there) * (strip.side + _GAP) - _GAP, strip.side), "white")
        for place, patch in enumerate(there):
            sheet.paste(_cut(self._read(patch.photo), patch, strip.side), (place * (strip.side + _GAP), 0))
        return webp(np.array(sheet), strip.quality)


def _cut(photo: Pixels, patch: Patch, side: int) -> Image.Image:
    """Return the surroundings of a position, square, within the photo as far as it is large enough, its cell framed."""
    cell = [length / cells for length, cells in zip(photo.shape, patch.grid, strict=False)]  # high, wide
    middle = [(place + 0.5) * length for place, length in zip((patch.row, patch.column), cell, strict=True)]
    reach = _CELLS * max(cell)
    top, left = (max(0.0, min(at - reach / 2, length - reach)) for at, length in zip(middle, photo.shape, strict=False))
    box = round(left), round(top), round(left + reach), round(top + reach)
    tile = Image.fromarray(photo).crop(box).resize((side, side), Image.Resampling.LANCZOS)
    draw, zoom = ImageDraw.Draw(tile), side / reach
    y, x = (zoom * (at - start) for at, start in zip(middle, (top, left), strict=True))
    for half, ink in ((side / (2 * _CELLS) + 1, "black"), (side / (2 * _CELLS), "white")):
        draw.rectangle([x - half, y - half, x + half, y + half], outline=ink)
    return tile


def _sight_entry(sight: Sight, strip: str) -> dict[str, Any]:
    shades = sight.places * (255 / max(1, int(sight.places.max())))
    return {
        "name": sight.name,
        "object": sight.is_object,
        "score": round(sight.score, 4),
        "size": sight.size,
        "share": None if sight.share is None else round(sight.share, 4),
        "places": encoded(shades.round().astype(np.uint8).tobytes()),
        "alike": [[each.name, round(each.cosine, 3)] for each in sight.alike],
        "patches": [[patch.photo, round(patch.cosine, 3)] for patch in sight.patches],
        "strip": strip,
    }


def _plane_entry(plane: Plane) -> dict[str, Any]:
    """Return the plane in 256 steps a side."""
    everything = np.concatenate([plane.points.numpy(), plane.prototypes.numpy()])
    least = everything.min(axis=0, initial=0)
    spans = np.maximum(everything.max(axis=0, initial=0) - least, 1e-9)
    steps = ((everything - least) / spans * 255).round().astype(np.uint8)
    points, prototypes = steps[: len(plane.points)], steps[len(plane.points) :]
    columns = np.column_stack([points, plane.is_object.numpy().astype(np.uint8)])
    return {
        "points": encoded(columns.tobytes()),
        "prototypes": prototypes.tolist(),
        "explained": [round(share, 4) for share in plane.explained],
    }
