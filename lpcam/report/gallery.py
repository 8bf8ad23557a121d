"""The gallery: photo, truth and every method's maps as a page holds them, in a given number of bytes.

What a page draws at a threshold is drawn from small pictures; the numbers beside it are those of the seed files.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from lpcam.datasets import read_mask, read_photo
from lpcam.records import ActivationMaps, DataSplit, Photo, Progress, silent
from lpcam.report.seeds import Scored, map_of, rank
from lpcam.report.thumbnails import Fitter, Pixels, Size, encoded, png, shrunk, webp

SIZES = (
    Size(440, 74),
    Size(360, 70),
    Size(300, 66),
    Size(250, 62),
    Size(208, 58),
    Size(168, 54),
    Size(136, 48),
    Size(104, 40),
)


def choose(photos: Sequence[Photo], methods: Sequence[Scored], count: int) -> list[Photo]:
    """Choose photos for the gallery, in the order of the split.

    Of more than ``count`` a quarter are those of the largest gain of the best method over the first one, a quarter
    those of the smallest, and the rest lie evenly between; without masks all lie evenly in the list.

    Args:
        photos: Those with a seed.
        methods: The first is the baseline.
        count: ≥ 1.
    """
    if len(photos) <= count:
        return list(photos)
    scored = best_of(methods).curve is not None
    ranked = rank(photos, methods[0], best_of(methods)) if scored else list(photos)
    ends = count // 4 if scored else 0
    between = ranked[ends : len(ranked) - ends]
    places = np.linspace(0, len(between) - 1, count - 2 * ends).round().astype(int).tolist()
    shown = (*ranked[:ends], *(between[place] for place in places), *ranked[len(ranked) - ends :])
    names = {photo.name for photo in shown}
    return [photo for photo in photos if photo.name in names]


def best_of(methods: Sequence[Scored]) -> Scored:
    """Return the method of the highest mIoU; without masks the last."""
    scored = [method for method in methods if method.curve]
    return max(scored, key=lambda method: method.curve.best.miou if method.curve else 0) if scored else methods[-1]


def draw(
    split: DataSplit, photos: Sequence[Photo], methods: Sequence[Scored], allowance: int, progress: Progress = silent
) -> list[dict[str, Any]]:
    """Return what the page knows of every photo, JSON values only.

    Args:
        split: Whose classes the masks name.
        photos: Of the gallery.
        methods: Left to right.
        allowance: Bytes for all of them.
        progress: Told after every photo, stage ``gallery``.

    Raises:
        LpcamError: a photo, a mask or a seed cannot be read.
    """
    entries: list[dict[str, Any]] = []
    left, fitter = allowance, Fitter(SIZES, _weight)
    for index, photo in enumerate(photos):
        entry = _entry(split, photo, methods, left // (len(photos) - index), fitter)
        left -= _weight(entry)
        entries.append(entry)
        progress("gallery", index + 1, len(photos))
    return entries


def _entry(
    split: DataSplit, photo: Photo, methods: Sequence[Scored], allowance: int, fitter: Fitter[Size]
) -> dict[str, Any]:
    curves = [
        [encoded(row.numpy().tobytes()) for row in method.halves[photo.name]] if photo.name in method.halves else None
        for method in methods
    ]
    facts = {"name": photo.name, "labels": list(photo.labels), "iou": curves}
    pixels = read_photo(photo.path)
    truth = None if photo.mask is None else read_mask(photo, len(split.classes))
    planes = [_planes(photo, method.seeds.read(photo)) for method in methods]
    pictures = partial(_pictures, pixels, truth, planes)
    return {**facts, **fitter.fit(allowance - _weight(facts), pictures)}


def _planes(photo: Photo, maps: ActivationMaps | None) -> list[Pixels] | None:
    """Return the maps of a photo's classes as shades: uint8 [H, W] each."""
    if maps is None:
        return None
    return [map_of(maps, label).mul(255).round().byte().numpy() for label in photo.labels]


def _pictures(
    pixels: Pixels, truth: Pixels | None, planes: Sequence[list[Pixels] | None], size: Size
) -> dict[str, Any]:
    small = shrunk(pixels, size.side)
    return {
        "size": [small.shape[1], small.shape[0]],
        "photo": webp(small, size.quality),
        "truth": None if truth is None else png(shrunk(truth, size.side, names=True)),
        "maps": [_stacked(each, size) if each else None for each in planes],
    }


def _stacked(planes: list[Pixels], size: Size) -> str:
    """Return the maps of one method, one above the other, as one picture."""
    return webp(np.concatenate([shrunk(plane, size.side // 2) for plane in planes]), min(90, size.quality + 16))


def _weight(entry: dict[str, Any]) -> int:
    return len(json.dumps(entry))
