"""How good a network is in the middle of its training: mAP of its labels, and mIoU of its own seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lpcam.datasets import read_mask, read_photo
from lpcam.errors import LpcamError
from lpcam.evaluation import SeedScores, compute, parse_thresholds
from lpcam.forward import Forward
from lpcam.generate import activation_maps
from lpcam.records import DataSplit, Failure, Photo, Progress
from lpcam.training.crops import centred, read_ahead
from lpcam.training.learner import Learner
from lpcam.training.processes import Processes
from lpcam.training.recipe import Recipe
from lpcam.training.targets import label_matrix, mean_average_precision

THRESHOLDS = "0:1:.01"
_MOST_CLASSES = 254  # that a mask can name


@dataclass(frozen=True)
class Validation:
    """Photos that are measured after every epoch.

    Attributes:
        split: The photos.
        recipe: Side of the square they are seen on.
        processes: That divide them.
        workers: Threads that read them ahead.
        progress: Told of every photo, stages ``validate`` and ``validate-seeds``.
        scales: Of the views that seeds are made from; scale 1 alone is quick.
        notices: Why seeds were not measured, filled in by `scores`.
    """

    split: DataSplit
    recipe: Recipe
    processes: Processes
    workers: int
    progress: Progress
    scales: tuple[float, ...] = (1.0,)
    notices: list[str] = field(default_factory=list)

    @torch.no_grad()
    def scores(self, learner: Learner) -> tuple[float, float]:
        """Return mAP, and the mIoU at the best threshold of the system's own seeds; NaN where it cannot be said."""
        learner.eval()
        return self._mean_average_precision(learner), self._seed_miou(learner)

    def _mean_average_precision(self, learner: Learner) -> float:
        """Measure the labels, every photo whole on a square of the crop's size."""
        rows = self.processes.share.of(range(len(self.split.photos)))
        photos = [self.split.photos[row] for row in rows]
        longest = min(1.0, sum(self.recipe.resize) / 2) * self.recipe.crop
        look = partial(self._look, learner, longest)
        logits = [torch.zeros(0, len(self.split.classes))]
        self.progress("validate", 0, len(photos))
        for done, image in enumerate(read_ahead(look, photos, self.workers, 2 * self.recipe.batch_size), 1):
            logits.append(learner.logits(on_device(image[None], learner)).cpu())
            self.progress("validate", done, len(photos))
        found = torch.cat(self.processes.collected(torch.cat(logits)))
        order = torch.tensor([row for part in self.processes.collected(rows) for row in part], dtype=torch.long)
        score = mean_average_precision(found, label_matrix(self.split)[order]) if len(found) else None
        return math.nan if score is None else score

    def _look(self, learner: Learner, longest: float, photo: Photo) -> NDArray[np.float32]:
        trunk = learner.trunk
        return centred(read_photo(photo.path), self.recipe.crop, longest, (trunk.mean, trunk.std))

    def _seed_miou(self, learner: Learner) -> float:
        photos = [photo for photo in self.split.photos if photo.mask is not None]
        if not photos or self.notices or len(self.split.classes) > _MOST_CLASSES:
            return math.nan
        counted = self.processes.collected(self._counted_or_why_not(learner, self.processes.share.of(photos)))
        reasons = [part for part in counted if isinstance(part, str)]
        if reasons:
            self.notices.append(f"seeds of {self.split.split} are not measured: {reasons[0]}")
            return math.nan
        return _best([part for part in counted if isinstance(part, SeedScores)])

    def _counted_or_why_not(self, learner: Learner, photos: Sequence[Photo]) -> SeedScores | str:
        """Return the counts, or what is wrong with the masks: that is no reason to stop a training."""
        try:
            return self._counted(learner, photos)
        except LpcamError as error:
            return str(error)

    def _counted(self, learner: Learner, photos: Sequence[Photo]) -> SeedScores:
        classifier = learner.classifier()
        forward, methods = Forward(classifier, self.scales), {"own": learner.method(classifier)}
        scores = SeedScores(len(self.split.classes), parse_thresholds(THRESHOLDS))
        batches = [(photo,) for photo in photos]
        found = forward.each(batches, self.workers, lambda loaded: activation_maps(forward, loaded, methods))
        for done, of_photo in enumerate(found, 1):
            if isinstance(of_photo, Failure):
                raise LpcamError(of_photo.reason)
            loaded, made = of_photo
            (photo,), (maps,) = loaded.photos, made["own"]
            if forward.device.type == "cuda":  # the maps are still on their way
                torch.cuda.synchronize(forward.device)
            scores.update(maps, read_mask(photo, len(self.split.classes)), photo.name)
            self.progress("validate-seeds", done, len(photos))
        return scores


def _best(counted: Sequence[SeedScores]) -> float:
    """Return the mIoU at the best threshold of counts that belong together; NaN where no pixel counts."""
    total, *others = counted
    for other in others:
        total.merge(other)
    try:
        return compute(total).best.miou
    except LpcamError:
        return math.nan


def on_device(images: NDArray[np.float32], learner: Learner) -> Tensor:
    """Return images float32 [N, 3, H, W] where the learner is, channels last."""
    return torch.from_numpy(images).to(learner.head.weight.device, memory_format=torch.channels_last)
