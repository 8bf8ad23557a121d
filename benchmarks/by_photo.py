"""Counts kept photo by photo: a threshold is chosen on some photos and told on others, and photos are drawn anew.

An entry is a class of a photo: the background, the photo's labels, and what else is in its mask. Of every row (a method
with what follows it) an entry has the pixels predicted as its class at every threshold, and the hits among them; the
pixels that truly are of the class depend on no row. Sums of entries over photos give the scores of `lpcam.evaluation`,
which is what counts here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from lpcam.evaluation import IGNORED, SeedScores, best_threshold
from lpcam.files import write_atomically
from lpcam.records import ActivationMaps

_ROW = "row "


@dataclass(frozen=True)
class Counts:
    """Pixels of P photos in E entries at T thresholds.

    Attributes:
        images: P.
        photo: int64 [E], each in 0..P−1.
        classes: int64 [E], the value of the class in a mask, 0 is the background.
        truth: int64 [E], pixels of the class in the mask.
        rows: By row int32 [2, E, T]: hits, and pixels predicted as the class.
    """

    images: int
    photo: Tensor
    classes: Tensor
    truth: Tensor
    rows: Mapping[str, Tensor]

    def save(self, path: Path) -> None:
        """Write them; the file is whole or not there."""
        tensors = {"photo": self.photo, "classes": self.classes, "truth": self.truth}
        tensors |= {_ROW + name: row.contiguous() for name, row in self.rows.items()}
        write_atomically(path, lambda partial: save_file({**tensors, "images": torch.tensor(self.images)}, partial))

    @classmethod
    def load(cls, path: Path) -> Counts:
        """Read what `save` wrote."""
        found = load_file(path)
        rows = {name.removeprefix(_ROW): row for name, row in found.items() if name.startswith(_ROW)}
        return cls(int(found["images"]), found["photo"], found["classes"], found["truth"], rows)

    @classmethod
    def joined(cls, parts: Sequence[Counts]) -> Counts:
        """Return the counts of one list of photos after another; all have the same rows."""
        before = np.cumsum([0, *(part.images for part in parts)]).tolist()
        return cls(
            before[-1],
            torch.cat([part.photo + first for part, first in zip(parts, before, strict=False)]),
            torch.cat([part.classes for part in parts]),
            torch.cat([part.truth for part in parts]),
            {name: torch.cat([part.rows[name] for part in parts], dim=1) for name in parts[0].rows},
        )

    def table(self, row: str, num_classes: int) -> Table:
        """Return the counts of a row by photo and class, K+1 with the background."""
        hits, predicted = self.rows[row]
        shape = (self.images, num_classes + 1)
        return Table(
            self._spread(hits, (*shape, hits.shape[1])),
            self._spread(predicted, (*shape, hits.shape[1])),
            self._spread(self.truth, shape),
        )

    def _spread(self, values: Tensor, shape: tuple[int, ...]) -> Tensor:
        spread = torch.zeros(shape, dtype=torch.float64)
        spread[self.photo, self.classes] = values.double()
        return spread


@dataclass(frozen=True)
class Table:
    """The counts of one row.

    Attributes:
        hits: float64 [P, K+1, T].
        predicted: float64 [P, K+1, T].
        truth: float64 [P, K+1].
    """

    hits: Tensor
    predicted: Tensor
    truth: Tensor

    def curve(self, classes: Sequence[int], photos: Tensor | None = None) -> Tensor:
        """Return the mIoU over these classes at every threshold, of some photos (bool [P]) or all: float64 [T]."""
        rows = slice(None) if photos is None else photos
        hits, predicted, truth = (each[rows].sum(dim=0) for each in (self.hits, self.predicted, self.truth))
        return mean_over(iou(torch.stack([hits.T, predicted.T, truth.expand_as(hits.T)])), classes)

    def best(self, classes: Sequence[int], photos: Tensor | None = None) -> int:
        """Return the index of the threshold of highest mIoU over some photos (bool [P]) or all."""
        return best_threshold(self.curve(classes, photos).tolist())

    def thresholds(self, classes: Sequence[int], others: Table | None = None) -> tuple[int, int]:
        """Return the thresholds of even and odd photos, chosen on the other half or, where given, on others."""
        if others is not None:
            return (others.best(classes),) * 2
        even = is_even(len(self.truth))
        return self.best(classes, ~even), self.best(classes, even)

    def at(self, thresholds: tuple[int, int]) -> Tensor:
        """Return hits, predictions and truth of every photo at the threshold of its half: float64 [3, P, K+1]."""
        even, odd = thresholds
        index = torch.where(is_even(len(self.truth)), even, odd)[:, None, None].expand(*self.truth.shape, 1)
        return torch.stack([self.hits.gather(2, index)[..., 0], self.predicted.gather(2, index)[..., 0], self.truth])


def is_even(images: int) -> Tensor:
    """Return which photos are the first, third, … of the list: the halves of the protocol."""
    return torch.arange(images) % 2 == 0


def count_photo(
    maps: Mapping[str, ActivationMaps],
    truth: NDArray[np.uint8],
    values: Sequence[int],
    thresholds: Sequence[float],
    name: str = "this photo",
) -> Counts:
    """Count the maps of one photo.

    Args:
        maps: By row; all have the photo's n labels.
        truth: uint8 [H, W], 255 not counted.
        values: Of the n labels in the mask.
        thresholds: T of them, see `lpcam.evaluation.SeedScores`.
        name: What an error calls the photo.
    """
    known = (0, *values)
    present = np.bincount(truth.ravel(), minlength=IGNORED + 1)[:IGNORED]
    classes = [*known, *(value for value in present.nonzero()[0].tolist() if value not in known)]
    places = np.full(IGNORED + 1, IGNORED, dtype=np.uint8)
    places[classes] = range(len(classes))
    compact = places[truth]

    def counted(own: ActivationMaps) -> Tensor:
        scores = SeedScores(max(1, len(classes) - 1), thresholds)
        scores.update(replace(own, labels=tuple(range(len(own.labels)))), compact, name)
        confusions = scores.confusions()
        both = torch.stack([confusions.diagonal(dim1=1, dim2=2), confusions.sum(dim=1)])
        return both[:, :, : len(classes)].transpose(1, 2).int()

    rows = {row: counted(own) for row, own in maps.items()}
    entries = torch.tensor(classes)
    return Counts(1, torch.zeros_like(entries), entries, torch.from_numpy(present[classes]), rows)


def iou(counts: Tensor) -> Tensor:
    """Return the IoU of hits, predictions and truth: float64 [3, ...] → [...]; NaN where there is neither.

    >>> iou(torch.tensor([[2.0, 0.0], [3.0, 0.0], [3.0, 0.0]])).tolist()
    [0.5, nan]
    """
    hits, predicted, truth = counts.unbind()
    return hits / (predicted + truth - hits)


def mean_over(values: Tensor, classes: Sequence[int]) -> Tensor:
    """Return the NaN-mean over some classes, which lie last."""
    chosen: Tensor = values[..., list(classes)]
    return chosen.nanmean(dim=-1)


def draws(images: int, count: int, seed: int) -> Tensor:
    """Return how often each photo is drawn in each of ``count`` samples of as many photos: float64 [count, P]."""
    random = np.random.default_rng(seed)
    return torch.from_numpy(random.multinomial(images, np.full(images, 1 / images), size=count)).double()


def resampled(runs: Sequence[Tensor], weights: Tensor, classes: Sequence[int]) -> Tensor:
    """Return the mIoU, the mean over runs, of every sample of photos.

    Args:
        runs: float64 [3, P, K+1] each, from `Table.at`.
        weights: float64 [R, P], from `draws`.
        classes: That the mean is over.

    Returns:
        float64 [R].
    """
    return torch.stack([mean_over(iou(weights @ run), classes) for run in runs]).mean(dim=0)


def interval(differences: Tensor, share: float = 0.95) -> tuple[float, float]:
    """Return the ends of the central interval that holds this share of the samples."""
    tail = (1 - share) / 2
    low, high = differences.quantile(torch.tensor([tail, 1 - tail], dtype=differences.dtype)).tolist()
    return low, high
