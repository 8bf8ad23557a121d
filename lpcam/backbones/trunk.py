"""A network without its head, to be trained: what `lpcam.backbones.load_trunk` returns."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import torch
from torch import Tensor, nn

from lpcam.backbones.classifier import Blueprint, Classifier
from lpcam.backbones.extras import Extras
from lpcam.backbones.levels import features_at
from lpcam.errors import LpcamError


class Trunk(nn.Module):
    """The stages of an architecture that end in the feature map, with weights that learn.

    Attributes:
        arch: Name as given to ``load_trunk``.
        stride: Output stride in px.
        channels: C.
        mean: Subtracted from an RGB image in 0..1, one a colour.
        std: Then divides it.
        minimum_side: An image needs at least so many px on each side.
        level_channels: C_l of every level, the last is C.
    """

    def __init__(self, arch: str, blueprint: Blueprint, channels: int, stride: int) -> None:
        super().__init__()
        self.arch = arch
        self.stride = stride
        self.channels = channels
        self.mean = blueprint.mean
        self.std = blueprint.std
        self.minimum_side = blueprint.minimum_side
        self.stages = nn.ModuleList(blueprint.network.get_submodule(name) for name in blueprint.stages)
        self.level_channels = (*(level.channels for level in blueprint.levels), channels)
        self._blueprint = [blueprint]  # in a list: its network is no further module of this one

    def forward(self, images: Tensor) -> Tensor:
        """Return f(x): normalised images float [N, 3, H, W] → float [N, C, h, w]."""
        return features_at((), self.stages, images)[0]

    def levels(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the features of every level, finest first, float [N, C_l, h_l, w_l]; the last is f(x)."""
        return features_at(self._blueprint[0].levels, self.stages, images)

    def checkpoint(self, class_weights: Tensor, extras: Extras = Extras()) -> dict[str, Tensor]:
        """Return the state dict of a whole classifier, as `lpcam.backbones.load_classifier` reads it.

        The names are those of the architecture's own checkpoints, with a bias of zeros beside the class weights: the
        library that the network comes from reads the file too.

        Args:
            class_weights: float [K, C].
            extras: What the training of SIPE or CPAL adds; other tools find names they do not know.

        Returns:
            Tensors on the CPU that share no memory with the network.
        """
        blueprint = self._blueprint[0]
        prefix = blueprint.head.removesuffix("weight")
        state = blueprint.network.state_dict()
        tensors = {name: tensor for name, tensor in state.items() if not name.startswith(prefix)}
        tensors |= {blueprint.head: class_weights, f"{prefix}bias": torch.zeros(len(class_weights))}
        named = {file_name(blueprint, name): tensor for name, tensor in tensors.items()} | extras.tensors()
        return {
            name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in named.items()
        }

    def classifier(self, class_weights: Tensor, extras: Extras = Extras()) -> Classifier:
        """Return a frozen classifier with a copy of the stages, as `checkpoint` and `load_classifier` would make it.

        Args:
            class_weights: float [K, C].
            extras: As `checkpoint` takes them.
        """
        blueprint = replace(self._blueprint[0], network=deepcopy(self._blueprint[0].network))
        matrix = class_weights.detach().clone()
        return Classifier(self.arch, blueprint, blueprint.stages[-1], self.stride, matrix, sha256="", extras=extras)

    def require_matrix_head(self) -> None:
        """Raise where a head of class weights would not be read again.

        Raises:
            LpcamError: more than a matrix stands behind the features of this architecture.
        """
        problem = self._blueprint[0].no_matrix
        if problem:
            raise LpcamError(
                f"a checkpoint of {self.arch} cannot hold class weights of its features ({problem}): "
                "fit them alone with --freeze-backbone and --out head.safetensors"
            )


def file_name(blueprint: Blueprint, name: str) -> str:
    """Return the shortest name that ``blueprint.rename`` takes to the canonical ``name``: itself less what leads it.

    >>> blueprint = Blueprint(nn.Identity(), (), "fc.weight", rename=lambda key: f"trunk.{key.removeprefix('trunk.')}")
    >>> file_name(blueprint, "trunk.conv1.weight")
    'conv1.weight'
    """
    parts = name.split(".")
    shorter = (".".join(parts[first:]) for first in reversed(range(len(parts))))
    return next((key for key in shorter if blueprint.rename(key) == name), name)
