"""Training SIPE (Chen et al., CVPR 2022): ``lpcam train sipe``.

A classifier learns to make CAMs that agree with the maps of its own image-specific prototypes (General-Specific
Consistency); `lpcam.methods.iscam` has the arithmetic:

    L = multi-label soft margin + mean |M − IS-CAM / (max + 1e-5)|

The hierarchical features F come from all levels of the network, each through a 1×1 convolution of its own that is
trained with it (side convolutions). The levels are detached: consistency teaches the sides and, by way of M, the
classifier, but no level through F.

Fixed by the paper: the loss, equally weighted; sides of 128, 128, 256 and 256 channels over a ResNet-50; structure from
f(x); the background's map among the maps of all classes, absent classes then left out; SGD with polynomial rate .1, ten
times that for what is new, five epochs, crops of 512 px, batches of 16. That is IRN's recipe, our default.

Departs from the paper:

- Any architecture has as many levels as `lpcam.backbones.levels` finds; the sides of fewer levels are the last of the
  published widths, and no side is wider than its level, which for ResNet-50 gives the published ones.
- Class weights of a checkpoint for the same number of classes are kept and learn at the rate of the backbone; the
  published training starts from ImageNet's weights with a new head, and so does ours where there are none.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lpcam.backbones import Classifier
from lpcam.backbones.extras import Extras
from lpcam.methods import Method
from lpcam.methods.cam import Cam
from lpcam.methods.iscam import IsCam, consistency, hierarchy, training_maps
from lpcam.prototypes import derived_seed
from lpcam.records import Progress, silent
from lpcam.sources import DataSource
from lpcam.training.learner import Learner, Start
from lpcam.training.loop import train
from lpcam.training.recipe import Recipe
from lpcam.training.run import TrainingReport

PUBLISHED_WIDTHS = (128, 128, 256, 256)
"""D_l of the levels of a ResNet-50."""
_SIDES = 4  # purpose of a derived seed


def train_sipe(
    data: DataSource,
    arch: str,
    out: Path,
    *,
    weights: str | Path | None = "imagenet",
    stride: int | None = None,
    recipe: Recipe = Recipe(),
    val_split: str | None = None,
    seed: int = 0,
    device: str = "auto",
    workers: int = 2,
    overwrite: bool = False,
    progress: Progress = silent,
) -> TrainingReport:
    """Train SIPE; the arguments, files and errors are those of `lpcam.training.train_classifier`.

    The checkpoint is that of a classifier with ``side1.weight`` … beside it, which `lpcam.backbones.load_classifier`
    reads for every method of the corridor. Where ``weights`` hold class weights for the same number of classes, they
    are kept and go on learning, and a notice of the report says so. The validation's mIoU is that of IS-CAM.
    """
    return train(
        Sipe,
        data,
        arch,
        out,
        weights=weights,
        stride=stride,
        recipe=recipe,
        val_split=val_split,
        seed=seed,
        device=device,
        workers=workers,
        overwrite=overwrite,
        progress=progress,
        system={"system": "sipe"},
    )


def side_widths(channels: Sequence[int]) -> tuple[int, ...]:
    """Return D_l of levels with C_l channels: the last of the published widths, but no more than C_l.

    >>> side_widths((256, 512, 1024, 2048)), side_widths((24, 96, 1280))
    ((128, 128, 256, 256), (24, 96, 256))
    """
    return tuple(map(min, PUBLISHED_WIDTHS[-len(channels) :], channels))


def sipe_losses(logits: Tensor, features: Tensor, hierarchical: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Return the two losses of a batch, whose sum SIPE is trained on.

    Args:
        logits: float [N, K, h, w], w_k · f(x).
        features: float [N, C, h, w], f(x).
        hierarchical: float [N, D, h, w], F.
        targets: float [N, K], 0 and 1.
    """
    general, specific = training_maps(logits, features, hierarchical, targets)
    return {
        "classification": F.multilabel_soft_margin_loss(logits.mean(dim=(2, 3)), targets),
        "consistency": consistency(general, specific),
    }


class Sipe(Learner):
    """A classifier with side convolutions.

    Attributes:
        sides: A 1×1 convolution without bias for every level, finest first.
    """

    loss_names = ("classification", "consistency")

    def __init__(self, start: Start) -> None:
        super().__init__(start)
        channels = start.trunk.level_channels
        with torch.random.fork_rng(devices=[]):  # the initialisers draw from the global generator
            torch.manual_seed(derived_seed(start.seed, 0, _SIDES))
            widths = zip(channels, side_widths(channels), strict=True)
            self.sides = nn.ModuleList(nn.Conv2d(*pair, 1, bias=False) for pair in widths)

    def losses(self, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Return classification and consistency of a batch, see `Learner.losses`."""
        levels = self.trunk.levels(images)
        logits = F.conv2d(levels[-1], self.head.weight[:, :, None, None])
        hierarchical = hierarchy([level.detach() for level in levels], self._matrices())
        return sipe_losses(logits, levels[-1], hierarchical, targets)

    def fast_parameters(self) -> list[nn.Parameter]:
        """Return the sides, and the head where it is new."""
        return [*super().fast_parameters(), *self.sides.parameters()]

    def extras(self) -> Extras:
        """Return the sides."""
        return Extras(sides=tuple(side.detach().clone() for side in self._matrices()))

    def method(self, classifier: Classifier) -> Method:
        """Return IS-CAM with the sides, as published."""
        return IsCam(Cam(classifier.class_weights), classifier.extras.sides)

    def _matrices(self) -> list[Tensor]:
        return [side.flatten(1) for side in self.sides.parameters()]
