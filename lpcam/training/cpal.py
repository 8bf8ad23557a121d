"""Training CPAL (Tang et al., CVPR 2024, arXiv 2403.07630): ``lpcam train cpal``.

A classifier learns to make CAMs that agree with prototype-aware CAMs (PACAM), which look an image's classes up among
prototypes of all images; `lpcam.methods.pacam` has the arithmetic:

    L = multi-label soft margin + mean over own classes and positions of |M_k − PACAM_k / (max + 1e-5)|

The paper's code was not published. What its sources agree on:

- an instance prototype for every class an image shows, its features averaged under the CAM;
- a support bank of the instance prototypes of all images, which k-means makes into context prototypes of every class;
- positiveness: a dot product between instance and context prototype, softmax, the top-K kept as neighbours;
- a shift towards the dense cluster of the neighbours (feature distribution alignment);
- classification and the self-supervised consistency of CAM and PACAM are trained together.

Departs from the paper, or where it is silent is chosen here:

- The bank holds the last 1000 instance prototypes of a class, the oldest leaves first, and k-means makes at most 50
  context prototypes of it: the sizes of a structure of the same kind found in public.
- Instance prototypes are those that the training sees, of random crops; one whose CAM is zero everywhere is left out.
- Context prototypes are made anew after every epoch, by cosine, as raw means. In the first epoch (``warm_up``) there
  are none and classification alone is learnt: a bank of features that still change much would teach nothing.
- PACAM is the teacher: no gradient passes through it, except to the matrix of the learned metric, which nothing else
  would teach. Otherwise features could collapse to where every cosine is 1, and CAM and PACAM agree.
- The consistency is averaged over the own classes of an image that have context prototypes, then over the images.
- The matrix of the learned metric begins as a random projection that keeps the dot product of the plain one.
- IRN's recipe; class weights of a checkpoint for the same number of classes are kept and learn at the rate of the
  backbone.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lpcam.backbones import Classifier
from lpcam.backbones.extras import Extras
from lpcam.errors import LpcamError
from lpcam.methods import Method
from lpcam.methods.iscam import general_maps
from lpcam.methods.pacam import Awareness, Pacam, instance_prototypes, prototype_aware
from lpcam.prototypes import derived_seed
from lpcam.records import Progress, silent
from lpcam.sources import DataSource
from lpcam.support import SupportProfile, build_context
from lpcam.training.learner import Learner, Start
from lpcam.training.loop import train
from lpcam.training.recipe import Recipe
from lpcam.training.run import TrainingReport

_CLUSTERS, _PROJECTION = 5, 6  # purposes of derived seeds
_WIDTH = 128  # of the learned metric, at most


@dataclass(frozen=True)
class CpalRecipe:
    """What CPAL adds to a recipe.

    Attributes:
        awareness: Metric and top-K of PACAM, and the ablations of the paper's Table 2; its τ is that of ``support``.
        support: Size of the bank, number of context prototypes, τ.
        warm_up: Epochs of classification alone, ≥ 1.

    Raises:
        LpcamError: a number is out of range.
    """

    awareness: Awareness = Awareness()
    support: SupportProfile = SupportProfile()
    warm_up: int = 1

    def __post_init__(self) -> None:
        if self.warm_up < 1:
            raise LpcamError(f"warm-up is {self.warm_up}: choose 1 or more")
        object.__setattr__(self, "awareness", replace(self.awareness, tau=self.support.tau))


def train_cpal(
    data: DataSource,
    arch: str,
    out: Path,
    *,
    cpal: CpalRecipe = CpalRecipe(),
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
    """Train CPAL; the arguments, files and errors are those of `lpcam.training.train_classifier`.

    The checkpoint is that of a classifier, with ``positiveness.weight`` beside it where the metric is learned:
    `lpcam.backbones.load_classifier` reads it, for every method of the corridor. Where ``weights`` hold class weights
    for the same number of classes, they are kept and go on learning, and a notice of the report says so. The
    validation's mIoU is that of PACAM. ``cpal`` is what CPAL adds to ``recipe``.
    """
    return train(
        partial(Cpal, recipe=cpal),
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
        system={"system": "cpal", "cpal": asdict(cpal)},
    )


class Bank(nn.Module):
    """The support bank: of every class the instance prototypes that came last, and their context prototypes.

    All of it is buffers, which a state dict keeps.

    Args:
        num_classes: K.
        profile: S (``bank``), instance prototypes of a class that are kept; P (``k``), context prototypes at most.
        channels: C.
    """

    instances: Tensor  # float32 [K, S, C]
    seen: Tensor  # int64 [K]: instance prototypes that ever came
    centres: Tensor  # float32 [K, P, C]
    made: Tensor  # int64 [K]: context prototypes there are

    def __init__(self, num_classes: int, profile: SupportProfile, channels: int) -> None:
        super().__init__()
        self._profile = profile
        self.register_buffer("instances", torch.zeros(num_classes, profile.bank, channels))
        self.register_buffer("seen", torch.zeros(num_classes, dtype=torch.int64))
        self.register_buffer("centres", torch.zeros(num_classes, profile.k, channels))
        self.register_buffer("made", torch.zeros(num_classes, dtype=torch.int64))

    def add(self, prototypes: Tensor, present: Tensor) -> None:
        """Take the instance prototypes of a batch, image by image; where a class is full its oldest leaves.

        Args:
            prototypes: float [N, K, C]; one of zeros is left out.
            present: bool [N, K].
        """
        seen = self.seen.tolist()
        for image, label in (present & prototypes.any(dim=2)).nonzero().tolist():
            self.instances[label, seen[label] % self.instances.shape[1]] = prototypes[image, label]
            seen[label] += 1
        self.seen.copy_(torch.tensor(seen))

    def held(self, label: int) -> Tensor:
        """Return the instance prototypes of a class: float32 [≤ S, C]."""
        return self.instances[label, : min(int(self.seen[label]), self.instances.shape[1])]

    def cluster(self, seed: int) -> None:
        """Make the context prototypes of every class anew from its instance prototypes."""
        for label in range(len(self.seen)):
            found = build_context(self.held(label), label, self._profile, seed=seed).vectors
            self.centres[label, : len(found)] = found
            self.made[label] = len(found)

    def context(self) -> tuple[Tensor, ...]:
        """Return the context prototypes of every class: K × float32 [≤ P, C]."""
        return tuple(rows[:count] for rows, count in zip(self.centres, self.made.tolist(), strict=True))


class Cpal(Learner):
    """A classifier with a support bank.

    Attributes:
        recipe: What CPAL adds to the training.
        bank: None where the recipe wants none.
        warm: int64 [], epochs done.
        projection: W [d, C] of the learned metric; None for another.
    """

    loss_names = ("classification", "consistency")
    warm: Tensor

    def __init__(self, start: Start, recipe: CpalRecipe) -> None:
        super().__init__(start)
        self.recipe = recipe
        channels = start.trunk.channels
        self.bank = Bank(start.num_classes, recipe.support, channels) if recipe.awareness.bank else None
        self.register_buffer("warm", torch.zeros((), dtype=torch.int64))
        learned = recipe.awareness.metric == "learned"
        self.projection = nn.Parameter(_projection(channels, start.seed)) if learned else None
        self._seed = start.seed
        self._processes = start.processes

    def losses(self, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Return classification and consistency of a batch, see `Learner.losses`; remember its instances."""
        features = self.trunk(images)
        logits = F.conv2d(features, self.head.weight[:, :, None, None])
        maps = general_maps(logits)
        self._remember(features.detach(), maps.detach(), targets)
        return {
            "classification": F.multilabel_soft_margin_loss(logits.mean(dim=(2, 3)), targets),
            "consistency": self._consistency(features, maps, targets),
        }

    def end_of_epoch(self, epoch: int) -> None:
        """Make the context prototypes anew, in the first process for all."""
        self.warm.fill_(epoch + 1)
        if self.bank is None:
            return
        if self._processes.is_first:
            self.bank.cluster(derived_seed(self._seed, epoch, _CLUSTERS))
        self._processes.spread(self.bank.centres)
        self._processes.spread(self.bank.made)

    def fast_parameters(self) -> list[nn.Parameter]:
        """Return the head where it is new, and W."""
        return [*super().fast_parameters(), *([] if self.projection is None else [self.projection])]

    def extras(self) -> Extras:
        """Return W."""
        return Extras(positiveness=None if self.projection is None else self.projection.detach().clone())

    def method(self, classifier: Classifier) -> Method:
        """Return PACAM over the context prototypes that the training has so far."""
        extras = classifier.extras
        return Pacam(classifier.class_weights, self._context(), self.recipe.awareness, extras.positiveness)

    def _context(self) -> tuple[Tensor, ...]:
        """Return the context prototypes of every class, K × [≤ P, C]; without a bank none."""
        if self.bank is None:
            return (self.head.weight.new_zeros(0, self.trunk.channels),) * self.head.out_features
        return self.bank.context()

    @torch.no_grad()
    def _remember(self, features: Tensor, maps: Tensor, targets: Tensor) -> None:
        """Put the instance prototypes of the whole batch, of all processes, into the bank."""
        if self.bank is None:
            return
        tau = self.recipe.awareness.tau
        found = torch.stack([instance_prototypes(*pair, tau) for pair in zip(features, maps, strict=True)])
        self.bank.add(self._processes.gathered(found), self._processes.gathered(targets) > 0)

    def _consistency(self, features: Tensor, maps: Tensor, targets: Tensor) -> Tensor:
        """Return mean |M − PACAM / (max + 1e-5)|; W belongs to it even where nothing is compared."""
        total: Tensor = maps.new_zeros(()) if self.projection is None else 0.0 * self.projection.sum()
        if int(self.warm) < self.recipe.warm_up:
            return total
        context = self._context()
        known = [self.bank is None or len(rows) > 0 for rows in context]
        for image, own in enumerate(targets > 0):
            labels = [label for label in own.nonzero()[:, 0].tolist() if known[label]]
            if labels:
                total = total + self._gap(features[image], maps[image, labels], [context[label] for label in labels])
        return total / len(features)

    def _gap(self, features: Tensor, maps: Tensor, context: list[Tensor]) -> Tensor:
        """Return the mean distance of the CAMs of an image to their teacher: [C, h, w], [n, h, w], n × [P, C] → []."""
        teacher = features.detach(), maps.detach()
        aware = prototype_aware(*teacher, context, self.recipe.awareness, self.projection)
        return (maps - general_maps(aware)).abs().mean()


def _projection(channels: int, seed: int) -> Tensor:
    """Return W [d, C], random, so that Wp · Wc / √d is p · c / √C on average."""
    generator = torch.Generator().manual_seed(derived_seed(seed, 0, _PROJECTION))
    width = min(_WIDTH, channels)
    return torch.randn(width, channels, generator=generator) / math.pow(width * channels, 0.25)
