"""From seeds and true masks to mIoU, over a whole threshold curve in one pass.

The convention, the only one used here: *one* confusion matrix over the whole data set, pixels whose
truth is 255 ignored, and the mean taken over the classes that occur in the truth or in the
prediction (a NaN-mean). Matrices are [truth, prediction] with the background at 0 and class k of the
data set at k+1. Averages of per-image IoU are another number and are not offered.

A seed at threshold t is made as IRN's ``eval_cam`` makes it: the constant t is put in front of the
image's own maps and the argmax is taken. So a pixel is background where t >= every map (in float32;
a tie goes to the background), and otherwise belongs to the class of its highest map (of equal maps,
the first). The winner among the classes therefore does not depend on t, only whether its value
exceeds t does: counting [truth, winner, number of thresholds below the value] once is enough, and
cumulative sums of it are the confusions at every threshold.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lpcam.errors import LpcamError
from lpcam.records import ActivationMaps

IGNORED = 255
"""The value of a true mask that says "not counted"."""

_MOST_THRESHOLDS = 10_001


@dataclass(frozen=True)
class Score:
    """How good the seeds at one threshold are; every number is a fraction in 0..1.

    Attributes:
        threshold: The background threshold, in the unit of the maps (0..1).
        miou: NaN-mean of the IoU over the classes asked for.
        precision: NaN-mean of the precision over them; None when none of them was predicted.
        recall: NaN-mean of the recall over them; None when none of them is in the truth.
        per_class: IoU of each of the K+1 classes, background first; None for a class that is neither
            in the truth nor predicted. Always all of them, whatever subset the means are over.
    """

    threshold: float
    miou: float
    precision: float | None
    recall: float | None
    per_class: tuple[float | None, ...]


@dataclass(frozen=True)
class Curve:
    """The scores at every threshold, in the order of the thresholds.

    Attributes:
        scores: One a threshold.
        images: How many images were counted.
    """

    scores: tuple[Score, ...]
    images: int

    @property
    def best(self) -> Score:
        """The score of the highest mIoU; of equal ones, that of the lowest threshold."""
        return self.scores[best_threshold([score.miou for score in self.scores])]


class SeedScores:
    """Counts that grow image by image and give the confusion at every threshold.

    Counts of disjoint sets of images add up: :meth:`merge` them in any order.

    Args:
        num_classes: K, the classes of the data set without the background; at most 254, because a
            true mask is uint8 and 255 is taken.
        thresholds: T background thresholds, not decreasing, compared with the maps in float32.

    Raises:
        LpcamError: more classes than a mask can name.
        ValueError: no class, no threshold, or thresholds that decrease or are not finite.

    >>> maps = ActivationMaps((1,), torch.zeros(1, 1, 1), torch.tensor([[[0.9, 0.2]]]))
    >>> scores = SeedScores(num_classes=2, thresholds=[0.1, 0.5])
    >>> scores.update(maps, np.array([[2, 0]], dtype=np.uint8))
    >>> [round(score.miou, 3) for score in compute(scores).scores]
    [0.25, 1.0]
    """

    def __init__(self, num_classes: int, thresholds: Sequence[float]) -> None:
        self.num_classes = _checked_classes(num_classes)
        self.thresholds = _checked_thresholds(thresholds)
        self.images = 0
        self._edges = torch.tensor(self.thresholds, dtype=torch.float32)
        self._counts = torch.zeros(num_classes + 1, num_classes, len(self.thresholds) + 1, dtype=torch.int64)

    def update(self, maps: ActivationMaps, truth: NDArray[np.uint8], name: str = "this photo") -> None:
        """Count one image.

        Args:
            maps: Its activation maps; only ``labels`` (n of them) and ``high_res`` float32 [n, H, W]
                are read. Without any label everything is predicted background, and [0, 0, 0] will do.
            truth: uint8 [H, W]; 0 background, k+1 class k, 255 not counted.
            name: What an error calls the image.

        Raises:
            LpcamError: mask and maps differ in size, the mask or the maps name a class that the data
                set does not have, or the maps hold NaN.
            TypeError: the mask is not uint8.
            ValueError: the mask is not [H, W], or there are not as many maps as labels.
        """
        _check_shapes(maps, truth, name)
        _check_values(maps, truth, self.num_classes, name)
        winner, value = _winners(maps.high_res, truth.shape)
        bins = torch.bucketize(value, self._edges)
        self._add(_histogram(truth, winner, bins, self._sizes(maps)), maps.labels)
        self.images += 1

    def merge(self, other: SeedScores) -> None:
        """Add the counts of other images.

        Raises:
            ValueError: the other counts are of other classes or thresholds.
        """
        if (self.num_classes, self.thresholds) != (other.num_classes, other.thresholds):
            raise ValueError("expected counts of the same classes and thresholds, got others")
        self._counts += other._counts
        self.images += other.images

    def confusions(self) -> Tensor:
        """Return the confusion at every threshold: int64 [T, K+1, K+1], [truth, prediction]."""
        above = self._counts.flip(-1).cumsum(-1).flip(-1)  # [truth, class, bins]: value in this bin or above
        foreground = above[:, :, 1:].permute(2, 0, 1)  # [T, truth, class]
        background = self._counts.sum(dim=(1, 2)) - foreground.sum(dim=-1)  # [T, truth]
        return torch.cat([background[..., None], foreground], dim=-1)

    def _sizes(self, maps: ActivationMaps) -> tuple[int, int, int]:
        return self.num_classes + 1, max(len(maps.labels), 1), len(self.thresholds) + 1

    def _add(self, counts: Tensor, labels: tuple[int, ...]) -> None:
        # Bin 0 is background at every threshold, so for an image without labels any class will do.
        self._counts.index_add_(1, torch.tensor(labels or (0,)), counts)


def image_ious(maps: ActivationMaps, truth: NDArray[np.uint8], thresholds: Sequence[float]) -> Tensor:
    """Return the IoU of each of an image's own classes at every threshold: how one photo did, not how good seeds are.

    Args:
        maps: Its activation maps; only ``labels`` (n of them) and ``high_res`` float32 [n, H, W] are read.
        truth: uint8 [H, W]; 0 background, k+1 class k, 255 not counted.
        thresholds: T background thresholds, not decreasing.

    Returns:
        float64 [n, T] in 0..1; NaN where a class is neither in the truth nor predicted.

    Raises:
        LpcamError: mask and maps differ in size.
        ValueError: the mask is not [H, W], or there are not as many maps as labels.

    >>> maps = ActivationMaps((1,), torch.zeros(1, 1, 1), torch.tensor([[[0.9, 0.2]]]))
    >>> image_ious(maps, np.array([[2, 0]], dtype=np.uint8), [0.1, 0.5, 0.95]).tolist()
    [[0.5, 1.0, 0.0]]
    """
    _check_shapes(maps, truth, "this photo")
    count, edges = len(maps.labels), torch.tensor(thresholds, dtype=torch.float32)
    own = np.zeros(IGNORED + 1, dtype=np.uint8)  # the image's classes from 1 on, every other one 0
    own[[label + 1 for label in maps.labels]] = range(1, count + 1)
    own[IGNORED] = count + 1
    winner, value = _winners(maps.high_res, truth.shape)
    counts = _histogram(own[truth], winner, torch.bucketize(value, edges), (count + 1, max(count, 1), len(edges) + 1))
    above = counts.flip(-1).cumsum(-1).flip(-1)[:, :count, 1:]  # [truth, class, T]
    hits = above[1:].diagonal(dim1=0, dim2=1).T.double()
    return hits / (above.sum(dim=0) + counts[1:].sum(dim=(1, 2))[:, None] - hits)


def compute(scores: SeedScores, classes: Sequence[int] | None = None) -> Curve:
    """Return the scores at every threshold.

    Args:
        scores: The counts.
        classes: Indices in 0..K (0 is the background) that the means are taken over; all when None.
            The confusion stays that of all classes: a cow seen as a sofa still costs the cow.

    Raises:
        LpcamError: nothing was counted for these classes.
        ValueError: an index outside 0..K.
    """
    confusions = scores.confusions()
    if not bool(confusions.any()):
        raise LpcamError("no pixel to evaluate: check that the split has photos and masks that are not all 255")
    per_class = iou(confusions)
    means = [_mean_over(values, classes) for values in (per_class, precision(confusions), recall(confusions))]
    if bool(means[0].isnan().any()):
        raise LpcamError("none of these classes is in the masks or the seeds: evaluate over other classes")
    rows = zip(scores.thresholds, *(mean.tolist() for mean in means), per_class.tolist(), strict=True)
    return Curve(
        tuple(
            Score(threshold, miou, _known(right), _known(found), tuple(map(_known, each)))
            for threshold, miou, right, found, each in rows
        ),
        scores.images,
    )


def iou(confusion: Tensor) -> Tensor:
    """Return the intersection over union of every class.

    IoU_k = n_kk / (Σ_j n_kj + Σ_i n_ik − n_kk).

    Args:
        confusion: Counts [..., K+1, K+1], [truth, prediction].

    Returns:
        float64 [..., K+1]; NaN for a class that is neither in the truth nor predicted.

    >>> iou(torch.tensor([[3, 1, 0], [0, 2, 0], [0, 0, 0]])).tolist()
    [0.75, 0.6666666666666666, nan]
    """
    hits = _hits(confusion)
    return hits / (confusion.sum(dim=-1) + confusion.sum(dim=-2) - hits)


def precision(confusion: Tensor) -> Tensor:
    """Return n_kk / Σ_i n_ik, the right share of what was predicted as class k.

    Args:
        confusion: Counts [..., K+1, K+1], [truth, prediction].

    Returns:
        float64 [..., K+1]; NaN for a class that was never predicted. Its NaN-mean over the classes,
        background included, is the precision reported.

    >>> precision(torch.tensor([[3, 1, 0], [0, 2, 0], [0, 0, 0]])).tolist()
    [1.0, 0.6666666666666666, nan]
    """
    return _hits(confusion) / confusion.sum(dim=-2)


def recall(confusion: Tensor) -> Tensor:
    """Return n_kk / Σ_j n_kj, the found share of what truly is class k.

    Args:
        confusion: Counts [..., K+1, K+1], [truth, prediction].

    Returns:
        float64 [..., K+1]; NaN for a class that is not in the truth. Its NaN-mean over the classes,
        background included, is the recall reported.

    >>> recall(torch.tensor([[3, 1, 0], [0, 2, 0], [0, 0, 0]])).tolist()
    [0.75, 1.0, nan]
    """
    return _hits(confusion) / confusion.sum(dim=-1)


def mean_iou(confusion: Tensor, classes: Sequence[int] | None = None) -> Tensor:
    """Return the mean IoU over the classes that occur.

    Args:
        confusion: Counts [..., K+1, K+1], [truth, prediction].
        classes: Indices in 0..K the mean is taken over; all when None.

    Returns:
        float64 [...]; NaN where none of the classes occurs.

    Raises:
        ValueError: an index outside 0..K.

    >>> round(mean_iou(torch.tensor([[3, 1, 0], [0, 2, 0], [0, 0, 0]])).item(), 4)
    0.7083
    """
    return _mean_over(iou(confusion), classes)


def best_threshold(mious: Sequence[float]) -> int:
    """Return the index of the highest mIoU: the first of equal ones, NaN never.

    Raises:
        ValueError: there is no number among them.

    >>> best_threshold([0.2, 0.5, math.nan, 0.5])
    1
    """
    known = [index for index, value in enumerate(mious) if not math.isnan(value)]
    if not known:
        raise ValueError("expected at least one mIoU that is a number, got none")
    return max(known, key=lambda index: mious[index])


def parse_thresholds(text: str) -> tuple[float, ...]:
    """Read thresholds as a command line gives them: ``start:stop:step``, or a list ``.1,.2``.

    The steps are exact decimals and ``stop`` is included when a step lands on it.

    Raises:
        LpcamError: the text is neither, or the thresholds are not rising within 0..1.

    >>> parse_thresholds("0:.3:.1")
    (0.0, 0.1, 0.2, 0.3)
    >>> parse_thresholds(".3")
    (0.3,)
    """
    values = _spread(text) if ":" in text else [_decimal(part, text) for part in text.split(",")]
    if any(not 0 <= value <= 1 for value in values) or any(b <= a for a, b in itertools.pairwise(values)):
        raise _bad_thresholds(text, "they must rise within 0 and 1")
    return tuple(float(value) for value in values)


def _checked_classes(num_classes: int) -> int:
    if num_classes < 1:
        raise ValueError(f"expected at least one class, got {num_classes}")
    if num_classes >= IGNORED:
        raise LpcamError(
            f"masks of one byte name at most 254 classes, but there are {num_classes}: "
            "evaluate with the class list of the masks"
        )
    return num_classes


def _checked_thresholds(thresholds: Sequence[float]) -> tuple[float, ...]:
    values = tuple(float(value) for value in thresholds)
    if not values or not all(math.isfinite(value) for value in values) or list(values) != sorted(values):
        raise ValueError(f"expected finite thresholds that do not decrease, got {values}")
    return values


def _check_shapes(maps: ActivationMaps, truth: NDArray[np.uint8], name: str) -> None:
    if truth.dtype != np.uint8:
        raise TypeError(f"expected a mask of uint8, got {truth.dtype}")
    if truth.ndim != 2 or maps.high_res.ndim != 3 or len(maps.labels) != len(maps.high_res):
        shapes = f"{truth.shape}, {len(maps.labels)} labels and {tuple(maps.high_res.shape)}"
        raise ValueError(f"expected a mask [H, W] and one map [H, W] a label, got {shapes}")
    if truth.shape != tuple(maps.high_res.shape[1:]) and not _is_unsized(maps):
        raise LpcamError(
            f"the mask of {name} is {_size(truth.shape)} pixels but its maps are "
            f"{_size(maps.high_res.shape[1:])}: use the mask of the photo the maps were made from"
        )


def _check_values(maps: ActivationMaps, truth: NDArray[np.uint8], num_classes: int, name: str) -> None:
    if any(not 0 <= label < num_classes for label in maps.labels):
        raise LpcamError(
            f"the maps of {name} are of classes {list(maps.labels)} but the data set has {num_classes}: "
            "generate them again with its class list"
        )
    highest = int(np.max(truth, initial=0, where=truth != IGNORED))
    if highest > num_classes:
        raise LpcamError(
            f"the mask of {name} holds the value {highest} but the data set has {num_classes} classes "
            f"(0 is background, 255 ignored): check the mask or the class list"
        )
    if bool(maps.high_res.isnan().any()):
        raise LpcamError(f"the maps of {name} hold NaN: generate them again")


def _size(shape: Sequence[int]) -> str:
    return f"{shape[1]}×{shape[0]}"


def _is_unsized(maps: ActivationMaps) -> bool:
    """Return whether these are maps of a photo without labels whose file did not keep its size."""
    return not maps.labels and tuple(maps.high_res.shape[1:]) == (0, 0)


def _winners(high_res: Tensor, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Return which map is highest, the first of equal ones, and how high: int64 and float32 [H, W]."""
    if len(high_res) == 0:
        return torch.zeros(shape, dtype=torch.int64), torch.full(shape, -math.inf)
    value, winner = high_res.float().max(dim=0)
    return winner, value


def _histogram(truth: NDArray[np.uint8], winner: Tensor, bins: Tensor, sizes: tuple[int, int, int]) -> Tensor:
    """Count [truth, winner, bin] in one go; what is ignored falls into a row that is cut off."""
    rows, columns, depth = sizes
    row = torch.from_numpy(np.minimum(truth, rows).astype(np.int64))
    index = row.mul_(columns).add_(winner).mul_(depth).add_(bins)
    return torch.bincount(index.flatten(), minlength=(rows + 1) * columns * depth).view(-1, columns, depth)[:rows]


def _hits(confusion: Tensor) -> Tensor:
    return confusion.diagonal(dim1=-2, dim2=-1).double()


def _mean_over(values: Tensor, classes: Sequence[int] | None) -> Tensor:
    if classes is None:
        return values.nanmean(dim=-1)
    count = values.shape[-1]
    if not classes or any(not 0 <= index < count for index in classes):
        raise ValueError(f"expected class indices in 0..{count - 1}, got {list(classes)}")
    return values[..., list(classes)].nanmean(dim=-1)


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _spread(text: str) -> list[Decimal]:
    parts = [_decimal(part, text) for part in text.split(":")]
    if len(parts) != 3:
        raise _bad_thresholds(text, "it takes three numbers")
    start, stop, step = parts
    if step <= 0 or stop < start or (stop - start) / step >= _MOST_THRESHOLDS:
        raise _bad_thresholds(text, f"the step must lead from start to stop, in at most {_MOST_THRESHOLDS} thresholds")
    return [start + index * step for index in range(int((stop - start) / step) + 1)]


def _decimal(part: str, text: str) -> Decimal:
    try:
        value = Decimal(part.strip())
    except InvalidOperation:
        raise _bad_thresholds(text, f"'{part}' is not a number") from None
    if not value.is_finite():
        raise _bad_thresholds(text, f"'{part}' is not a number")
    return value


def _bad_thresholds(text: str, why: str) -> LpcamError:
    return LpcamError(f"cannot read thresholds '{text}' ({why}): write start:stop:step, such as 0:1:.01, or a list")
