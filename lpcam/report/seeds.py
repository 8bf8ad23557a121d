"""The seeds a workspace holds, method by method, and how each did against the masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lpcam.datasets import read_mask
from lpcam.errors import LpcamError
from lpcam.evaluation import Curve, SeedScores, compute, image_ious, parse_thresholds
from lpcam.records import ActivationMaps, DataSplit, Photo, Progress, silent
from lpcam.refiners import DEFAULT_REFINER, Refiner, get_reader, readable
from lpcam.workspace import SEED_RECORD, Workspace, seeds_made_by

THRESHOLDS = parse_thresholds("0:1:.01")
UNSCORED = 0.3
"""The background threshold where no mask says which is best."""

_TITLES = {
    "cam": "CAM",
    "class-prototypes": "class prototypes only",
    "lpcam": "LPCAM",
    "iscam": "IS-CAM",
    "pacam": "PACAM",
    "fisher": "Fisher",
}
_UNKNOWN = 255


@dataclass(frozen=True)
class Seeds:
    """The seeds of one method.

    Attributes:
        title: As a person reads it.
        folder: Of the seed files.
        refiner: Reads them.
        made_by: What made them, as their folder's record says.
    """

    title: str
    folder: Path
    refiner: Refiner
    made_by: Mapping[str, Any] = field(default_factory=dict)

    def has(self, photo: Photo) -> bool:
        """Return whether a photo has a seed."""
        return self.refiner.path(self.folder, photo.name).is_file()

    def read(self, photo: Photo) -> ActivationMaps | None:
        """Return the activation maps of a photo; None where it has no seed."""
        return self.refiner.read(self.folder, photo.name) if self.has(photo) else None


@dataclass(frozen=True)
class Scored:
    """How the seeds of one method did.

    Attributes:
        seeds: The seeds.
        curve: Scores of the split at `THRESHOLDS`; None without masks.
        confusion: int64 [K+1, K+1], [truth, prediction], at the best threshold; None without masks.
        halves: By photo, uint8 [n, T]: the IoU of each of its n classes at every threshold in halves of a percent,
            255 where a class is neither in the mask nor in the seed.
        missing: Photos without a seed.
        empty: Photos and classes (names) whose map is zero everywhere.
    """

    seeds: Seeds
    curve: Curve | None
    confusion: Tensor | None
    halves: Mapping[str, Tensor]
    missing: int
    empty: tuple[tuple[str, str], ...]

    @property
    def threshold(self) -> float:
        """The best background threshold, or `UNSCORED`."""
        return self.curve.best.threshold if self.curve else UNSCORED

    @cached_property
    def column(self) -> int:
        """Place of the threshold among `THRESHOLDS`."""
        return place_of(self.threshold)

    def iou(self, photo: Photo, label: int) -> float | None:
        """Return the IoU of one class of one photo at the threshold, 0..1; None where it is not known."""
        if photo.name not in self.halves:
            return None
        half = int(self.halves[photo.name][photo.labels.index(label), self.column])
        return None if half == _UNKNOWN else half / 200


def place_of(threshold: float) -> int:
    """Return the place of the nearest of `THRESHOLDS`.

    >>> place_of(0.31)
    31
    """
    return min(range(len(THRESHOLDS)), key=lambda place: abs(THRESHOLDS[place] - threshold))


def find_seeds(workspace: Workspace, others: Mapping[str, Path], refiner: str | None = None) -> tuple[Seeds, ...]:
    """Return the seeds of every method in a workspace, CAM first, and those of other folders.

    Args:
        workspace: Of the run.
        others: Folders of seeds by the title they shall have.
        refiner: Family whose files are read; where a method has several, IRN's and then any that can be read.

    Raises:
        LpcamError: there are none, or a folder cannot be read.
    """
    families = (get_reader(refiner).name,) if refiner else (DEFAULT_REFINER, *readable())
    found = []
    for method in _in_order(workspace):
        folders = [workspace.seeds(method, family) for family in families]
        there = [folder for folder in folders if (folder / SEED_RECORD).is_file()]
        found += [_opened(folder, title=None) for folder in there[:1]]
    found += [_opened(folder, title) for title, folder in others.items()]
    if not found:
        raise LpcamError(f"{workspace.root} holds no seeds to look at: run 'lpcam generate -w {workspace.root}' first")
    return tuple(found)


def score(split: DataSplit, seeds: Seeds, progress: Progress = silent) -> Scored:
    """Read every seed of a split once and score those of photos with masks.

    Args:
        split: The photos.
        seeds: Of a method.
        progress: Told after every photo, the stage is the method's title.

    Raises:
        LpcamError: a seed or a mask is damaged, or they do not fit each other.
    """
    scores = SeedScores(len(split.classes), THRESHOLDS)
    halves, missing, empty = {}, 0, []
    for index, photo in enumerate(split.photos):
        maps = seeds.read(photo)
        if maps is None:
            missing += 1
        else:
            empty += [(photo.name, split.classes[label]) for label in _zero(maps)]
            if photo.mask is not None:
                halves[photo.name] = _score_photo(scores, photo, maps)
        progress(f"score {seeds.title}", index + 1, len(split.photos))
    curve = compute(scores) if halves else None
    best = scores.confusions()[[each is curve.best for each in curve.scores].index(True)] if curve else None
    return Scored(seeds, curve, best, halves, missing, tuple(empty))


def map_of(maps: ActivationMaps, label: int) -> Tensor:
    """Return the map of a class, zeros where the seed has none: float32 [H, W]."""
    if label in maps.labels:
        return maps.high_res[maps.labels.index(label)]
    return torch.zeros(maps.high_res.shape[1:])


def _in_order(workspace: Workspace) -> list[str]:
    folder = workspace.root / "seeds"
    known = {method: place for place, method in enumerate(_TITLES)}
    methods = [path.name for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    return sorted(methods, key=lambda method: (known.get(method, len(known)), method))


def _opened(folder: Path, title: str | None) -> Seeds:
    if not folder.is_dir():
        raise LpcamError(f"{folder} is no folder of seeds: give --seeds 'TITLE=FOLDER'")
    made_by = seeds_made_by(folder)
    return Seeds(title or _title(made_by, folder), folder, get_reader(made_by.get("refiner", DEFAULT_REFINER)), made_by)


def _title(made_by: Mapping[str, Any], folder: Path) -> str:
    """Return the method and what followed it, as the seeds' record says."""
    method = made_by.get("method", folder.parent.name)
    propagation = made_by.get("propagation", {})
    steps = (["walk"] if propagation.get("walk") else []) + [propagation.get("edges", "").upper()]
    return ", ".join([_TITLES.get(method, method), *filter(None, steps)])


def _zero(maps: ActivationMaps) -> list[int]:
    return [label for label, each in zip(maps.labels, maps.high_res, strict=True) if not bool(each.any())]


def _score_photo(scores: SeedScores, photo: Photo, maps: ActivationMaps) -> Tensor:
    truth = read_mask(photo, scores.num_classes)
    scores.update(maps, truth, photo.name)
    rows = dict(zip(maps.labels, _halves(image_ious(maps, truth, THRESHOLDS)), strict=True))
    unknown = torch.full((len(THRESHOLDS),), _UNKNOWN, dtype=torch.uint8)
    return torch.stack([rows.get(label, unknown) for label in photo.labels]) if photo.labels else unknown[:0, None]


def _halves(ious: Tensor) -> Tensor:
    return ious.mul(200).round().nan_to_num(nan=float(_UNKNOWN)).to(torch.uint8)


def rank(photos: Sequence[Photo], before: Scored, after: Scored) -> list[Photo]:
    """Return photos by what one method gains over another, the largest gain first; unscored ones last."""
    gains = {photo.name: gain(photo, before, after) for photo in photos}
    return sorted(photos, key=lambda photo: (-(gains[photo.name] or 0), gains[photo.name] is None, photo.name))


def gain(photo: Photo, before: Scored, after: Scored) -> float | None:
    """Return the mean over a photo's classes of the IoU's gain, each method at its threshold; None if not known."""
    pairs = [(before.iou(photo, label), after.iou(photo, label)) for label in photo.labels]
    known = [there - here for here, there in pairs if here is not None and there is not None]
    return sum(known) / len(known) if known else None
