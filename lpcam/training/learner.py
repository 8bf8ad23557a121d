"""A network in training: the stages of an architecture, average pooling, class weights. A system adds its losses.

A system is a subclass of `Learner` that answers `Learner.losses`; the loop over the steps, the files, the validation
and the division among processes are the same for all of them. What a system remembers from step to step (a bank, its
prototypes) is a buffer, so that an interrupted training goes on with it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lpcam.backbones import Classifier, Trunk
from lpcam.backbones.extras import Extras
from lpcam.methods import Method
from lpcam.methods.cam import Cam
from lpcam.training.processes import Processes


@dataclass(frozen=True)
class Start:
    """What a learner begins with.

    Attributes:
        trunk: With its first weights.
        num_classes: K.
        seed: Of what is new.
        fix_norms: Whether batch norm keeps the running statistics it came with.
        head: float32 [K, C], class weights to go on from; None for new ones.
        processes: That train together.
    """

    trunk: Trunk
    num_classes: int
    seed: int
    fix_norms: bool
    head: Tensor | None = None
    processes: Processes = Processes()


class Learner(nn.Module):
    """Stages, average pooling and a linear head without bias, as CAM and LPCAM use the class weights.

    Attributes:
        loss_names: What `losses` returns, in its order.
        trunk: The stages.
        head: Class weights [K, C].
        fix_norms: Whether batch norm keeps its running statistics.
    """

    loss_names: tuple[str, ...] = ()

    def __init__(self, start: Start) -> None:
        super().__init__()
        self.trunk = start.trunk
        self.fix_norms = start.fix_norms
        with torch.random.fork_rng(devices=[]):  # the initialiser draws from the global generator
            torch.manual_seed(start.seed)
            self.head = nn.Linear(start.trunk.channels, start.num_classes, bias=False)
        self._keeps_head = start.head is not None
        if start.head is not None:
            self.head.load_state_dict({"weight": start.head})

    def losses(self, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Return the losses of a batch by name; their sum is what is trained on.

        Every loss is a mean over the images, so that the mean over equal parts of a batch is that of the whole.

        Args:
            images: float [N, 3, H, W], normalised.
            targets: float [N, K], 0 or 1.
        """
        raise NotImplementedError

    def forward(self, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Return ``losses(images, targets)``; what torch's wrappers of a network call."""
        return self.losses(images, targets)

    def logits(self, images: Tensor) -> Tensor:
        """Return w_k · mean_{h,w} f(x): [N, K]."""
        logits: Tensor = self.head(self.trunk(images).mean(dim=(2, 3)))
        return logits

    def slow_parameters(self) -> list[nn.Parameter]:
        """Return what came with weights and learns at the rate of the recipe."""
        return [*self.trunk.parameters(), *(self.head.parameters() if self._keeps_head else ())]

    def fast_parameters(self) -> list[nn.Parameter]:
        """Return what is new and learns ``head_lr_factor`` times as fast."""
        return [] if self._keeps_head else list(self.head.parameters())

    def end_of_epoch(self, epoch: int) -> None:
        """Do what the system does after an epoch, before it is measured; the first is 0."""

    def extras(self) -> Extras:
        """Return what the system adds to a classifier, without gradients."""
        return Extras()

    def state(self) -> dict[str, Tensor]:
        """Return what a checkpoint of the architecture holds, see `lpcam.backbones.Trunk.checkpoint`."""
        return self.trunk.checkpoint(self.head.weight, self.extras())

    def classifier(self) -> Classifier:
        """Return a frozen copy, as `lpcam.backbones.load_classifier` reads it from `state`."""
        return self.trunk.classifier(self.head.weight, self.extras())

    def method(self, classifier: Classifier) -> Method:
        """Return the system's own localisation over such a copy."""
        return Cam(classifier.class_weights)

    def train(self, mode: bool = True) -> Learner:
        """Set the mode of every module; fixed batch norm stays in evaluation."""
        super().train(mode)
        for module in self.trunk.modules() if self.fix_norms else ():
            if isinstance(module, _BatchNorm):
                module.eval()
        return self
