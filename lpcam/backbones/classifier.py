"""A classifier seen as (features, class weights), and the blueprint an architecture hands over.

An architecture is one module of this package with one function ``build(name) -> Blueprint``; its
line in ``lpcam.backbones.loading`` makes it known. Everything else (reading the checkpoint, making the last
stages dense, choosing the layer, the checks) is the same for all of them:

    class Net(nn.Module):                                   # a whole architecture
        def __init__(self, num_classes: int) -> None:
            super().__init__()
            self.features = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU())
            self.fc = nn.Linear(8, num_classes)

    def build(name: str) -> Blueprint:
        return Blueprint(Net(1), stages=("features.0", "features.1"), head="fc.weight", stride=2)

Rules for a builder: the network is made of ordinary modules (it is built on torch's ``meta`` device, which takes
no memory; the parameters and buffers of the state dict are filled in later; a buffer that is in no state dict is
computed ``with torch.device("cpu")``); the number of classes it is
built with does not matter, because the class weights are read from the checkpoint and never put into the network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lpcam.backbones.extras import Extras
from lpcam.backbones.levels import Level, features_at
from lpcam.errors import LpcamError
from lpcam.records import Attention

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def same_name(key: str) -> str | None:
    """Return ``key``: the checkpoint's names are the network's own."""
    return key


def plain_matrix(head: Tensor, num_classes: int | None) -> Tensor:
    """Return ``head``: its rows are the classes and it is [K, C] or [K, C, 1, 1]."""
    return head


def as_it_is(network: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Leave the network as it was built."""


@dataclass(frozen=True)
class Blueprint:
    """What a builder says about its architecture.

    Attributes:
        network: Owns every parameter of the trunk under its canonical name.
        stages: Paths of sub-modules of ``network`` (``layer4``, ``features.18``) which, applied one after
            the other, take float32 [N, 3, H, W] to the feature map [N, C, h, w] that the class weights
            multiply: after the last non-linearity, before the pooling. Each may be named as the layer.
        head: Canonical state-dict name of the class weights, [K, C] or [K, C, 1, 1]; whatever stands
            beside it under the same prefix (its bias) is ignored.
        stride: Output stride in px when the user asks for none.
        rename: Takes a checkpoint's key to its canonical name; None where the key is to be ignored.
        imagenet: Returns the weights that the word ``imagenet`` means, if there are any.
        minimum_side: A view needs at least so many px on each side.
        mean: Pixel normalisation the network was trained with, see `Classifier`.
        std: The same.
        no_matrix: Why the network's own head is no matrix that multiplies its features, if so; class weights then
            come from a file of their own.
        projects: Whether the network's own head takes features to a space where they are compared with text by their
            cosine, as in CLIP; class weights of as many columns as that space has are compared there.
        other_heads: Canonical names that are read where ``head`` is missing, the first that is there.
        matrix: Takes a head of another form, and the K that is wanted (None: any), to [K, C] or [K, C, 1, 1].
        adapt: Gives the network, on the meta device, the sizes a checkpoint (by canonical names) has.
        constants: Buffers of the network that are in no state dict, by name; ``load_classifier`` fills this in.
        levels: Levels before the last, see `lpcam.backbones.levels`; ``load_classifier`` fills this in.
    """

    network: nn.Module
    stages: tuple[str, ...]
    head: str
    stride: int = 16
    rename: Callable[[str], str | None] = same_name
    imagenet: Callable[[], dict[str, Tensor]] | None = None
    minimum_side: int = 32
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    no_matrix: str = ""
    projects: bool = False
    other_heads: tuple[str, ...] = ()
    matrix: Callable[[Tensor, int | None], Tensor] = plain_matrix
    adapt: Callable[[nn.Module, dict[str, Tensor]], None] = as_it_is
    constants: dict[str, Tensor] = field(default_factory=dict)
    levels: tuple[Level, ...] = ()


Builder = Callable[[str], Blueprint]


class Classifier(nn.Module):
    """A frozen classifier: f(x) and w, so that A_k = w_k · f(x).

    In eval mode (batch norm fixed), without gradients. Biases of the head are not kept: no method uses them.

    Attributes:
        arch: Name as given to ``load_classifier``.
        layer: Path of the module whose output the features are.
        stride: Output stride in px: h is about H / stride.
        channels: C.
        num_classes: K.
        class_weights: float32 [K, C].
        sha256: Over names, shapes and bytes of the loaded tensors, class weights included; the same
            for every file the same tensors come from.
        mean: Subtracted from an RGB image in 0..1, one a colour.
        std: Then divides it.
        minimum_side: An image needs at least so many px on each side.
        levels_before_last: Where the levels of the network end, but for its last; see `lpcam.backbones.levels`.
        level_channels: C_l of every level, the last is C.
        extras: What the training of SIPE or CPAL added.

    >>> net = nn.Sequential(nn.Conv2d(3, 2, 1, bias=False), nn.ReLU())
    >>> blueprint = Blueprint(net, stages=("0", "1"), head="fc.weight", stride=1)
    >>> model = Classifier("tiny", blueprint, "1", 1, torch.eye(2), "0" * 64)
    >>> tuple(model.features(torch.zeros(1, 3, 4, 5)).shape)
    (1, 2, 4, 5)
    """

    class_weights: Tensor

    def __init__(
        self,
        arch: str,
        blueprint: Blueprint,
        layer: str,
        stride: int,
        class_weights: Tensor,
        sha256: str,
        extras: Extras = Extras(),
    ) -> None:
        super().__init__()
        self.arch = arch
        self.layer = layer
        self.stride = stride
        self.minimum_side = blueprint.minimum_side
        self.mean, self.std = blueprint.mean, blueprint.std
        self.sha256 = sha256
        self.num_classes, self.channels = class_weights.shape
        self.stages = nn.ModuleList(stages_up_to(blueprint, layer))
        self.extras = extras
        self.levels_before_last = blueprint.levels
        self.level_channels = (*(level.channels for level in blueprint.levels), self.channels)
        self.register_buffer("class_weights", class_weights)
        self.requires_grad_(False)
        self.eval()

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """Return f(x).

        Args:
            images: Float [N, 3, H, W], normalised with ``mean`` and ``std``.

        Returns:
            Float [N, C, h, w].

        Raises:
            ValueError: ``images`` is not [N, 3, H, W].
        """
        return self._at((), images)[0]

    @torch.no_grad()
    def levels(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the features of every level of the network, finest first; the last is f(x).

        Args:
            images: As `features` takes them.

        Returns:
            Float [N, C_l, h_l, w_l] each.

        Raises:
            ValueError: ``images`` is not [N, 3, H, W].
        """
        return self._at(self.levels_before_last, images)

    def require_attention(self) -> None:
        """Refuse a network that `attend` cannot be asked of.

        Raises:
            LpcamError: the network has no class tokens.
        """
        if not getattr(self.stages[-1], "attends", False):
            raise LpcamError(
                f"{self.arch} has no attention of classes to patches: leave --attention out, or use mctformer"
            )

    @torch.no_grad()
    def attend(self, images: Tensor) -> tuple[Tensor, Attention]:
        """Return f(x), and what the classes and places of the network attended to.

        Args:
            images: As `features` takes them.

        Raises:
            LpcamError: the network has no class tokens.
        """
        self.require_attention()
        last: Any = self.stages[-1]
        found: tuple[Tensor, Attention] = last.attend(images)
        return found

    def forward(self, images: Tensor) -> Tensor:
        """Return ``features(images)``."""
        return self.features(images)

    def _at(self, levels: Sequence[Level], images: Tensor) -> tuple[Tensor, ...]:
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"expected images [N, 3, H, W], got {list(images.shape)}")
        return features_at(levels, self.stages, images)


def stages_up_to(blueprint: Blueprint, layer: str) -> list[nn.Module]:
    """Return the modules that lead to ``layer``, itself included.

    Raises:
        ValueError: ``layer`` is no stage of the blueprint.
    """
    names = blueprint.stages[: blueprint.stages.index(layer) + 1]
    return [blueprint.network.get_submodule(name) for name in names]


class Projection(nn.Module):
    """The head of an image tower of CLIP at every position, then L2 normalisation over channels.

    Attributes:
        weight: Float [D, C].
        bias: Float [D].
    """

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)

    def forward(self, features: Tensor) -> Tensor:
        """Return float [N, D, h, w] of length 1 at every position, of features [N, C, h, w]."""
        return F.normalize(F.conv2d(features, self.weight[:, :, None, None], self.bias), dim=1)
