"""Which photos are worth a look: each class, the best, the usual and the worst, by what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lpcam.records import DataSplit, Photo
from lpcam.report.seeds import Scored


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


def measure(split: DataSplit, before: Scored, after: Scored) -> list[Gain]:
    """Compare two methods class by class on every photo whose scores are known, in the split's order.

    Args:
        split: The photos.
        before: The baseline.
        after: The method.
    """
    gains = []
    for photo in split.photos:
        for label in photo.labels:
            scores = before.iou(photo, label), after.iou(photo, label)
            if scores[0] is not None and scores[1] is not None:
                gains.append(Gain(photo, label, scores[0], scores[1]))
    return gains


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
