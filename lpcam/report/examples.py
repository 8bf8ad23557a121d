"""Which photos are worth a look: each class, the best, the usual and the worst, by what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lpcam.datasets import read_mask
from lpcam.records import ActivationMaps, DataSplit, Photo, Progress, silent
from lpcam.refiners import Refiner
from lpcam.report import pictures

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Gain:
    """How two methods did on one class of one photo.

    Attributes:
        photo: The photo.
        label: The class index.
        before: IoU of the baseline's seed on this class, 0..1.
        after: IoU of the method's seed.
    """

    photo: Photo
    label: int
    before: float
    after: float

    @property
    def difference(self) -> float:
        """After minus before."""
        return self.after - self.before


@dataclass(frozen=True)
class Seeds:
    """A method's seeds on disk, and the threshold that turns them into masks.

    Attributes:
        title: As a person reads it.
        folder: Of the seed files.
        threshold: Background threshold, 0..1.
        refiner: Reads the files.
    """

    title: str
    folder: Path
    threshold: float
    refiner: Refiner

    def read(self, photo: Photo) -> ActivationMaps:
        """Return the activation maps of a photo."""
        return self.refiner.read(self.folder, photo.name)

    def mask(self, maps: ActivationMaps) -> Pixels:
        """Return the seed mask at the threshold: uint8 [H, W]."""
        return pictures.seed(maps.high_res.numpy(), maps.labels, self.threshold)


def measure(split: DataSplit, before: Seeds, after: Seeds, progress: Progress = silent) -> list[Gain]:
    """Compare two methods class by class on every photo that has a mask, in the split's order.

    Args:
        split: The photos.
        before: The baseline.
        after: The method.
        progress: Told after every photo, stage ``choose``.
    """
    gains = []
    for index, photo in enumerate(split.photos):
        progress("choose", index, len(split.photos))
        if photo.mask is not None:
            truth = read_mask(photo)
            masks = [method.mask(method.read(photo)) for method in (before, after)]
            for label in photo.labels:
                scores = [iou(mask == label + 1, truth == label + 1) for mask in masks]
                gains.append(Gain(photo, label, scores[0], scores[1]))
    progress("choose", len(split.photos), len(split.photos))
    return gains


def iou(seed: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Return intersection over union of two regions [H, W]; 0 where both are empty.

    >>> iou(np.array([True, True, False]), np.array([False, True, True]))
    0.3333333333333333
    """
    union = int((seed | truth).sum())
    return int((seed & truth).sum()) / union if union else 0.0


def choose(
    gains: Sequence[Gain], classes: Sequence[str], *, median: int = 3, worst: int = 2
) -> Mapping[str, list[Gain]]:
    """Choose by rank, not by eye.

    Args:
        gains: Of all photos.
        classes: The K class names.
        median: How many from the middle of the ranking.
        worst: How many from its end.

    Returns:
        Under ``best`` the largest gain of every class, largest first; under ``median`` those around the middle; under
        ``worst`` the smallest, smallest first. No photo twice.
    """
    ranked = sorted(gains, key=lambda gain: (-gain.difference, gain.photo.name, gain.label))
    seen: set[str] = set()
    best = [gain for label in range(len(classes)) for gain in _fresh(_of_class(ranked, label), seen, 1)]
    lowest = _fresh(ranked[::-1], seen, worst)
    middle = sorted(range(len(ranked)), key=lambda place: abs(place - (len(ranked) - 1) / 2))
    usual = _fresh([ranked[place] for place in middle], seen, median)
    return {"best": sorted(best, key=lambda gain: -gain.difference), "median": usual, "worst": lowest}


def _of_class(gains: Sequence[Gain], label: int) -> list[Gain]:
    return [gain for gain in gains if gain.label == label]


def _fresh(gains: Sequence[Gain], seen: set[str], count: int) -> list[Gain]:
    """Take the first photos that were not taken yet, and remember them."""
    taken: list[Gain] = []
    for gain in gains:
        if len(taken) < count and gain.photo.name not in seen:
            seen.add(gain.photo.name)
            taken.append(gain)
    return taken
