"""The wide ResNet-38 of PSA, SEAM and EDAM (Wu et al., "Wider or Deeper", model A), dense: stride 8, 4096 channels.

    conv1a                3×3, 64 channels
    b2, b2_1, b2_2        residual units of two 3×3 convolutions, 128 channels, stride 2
    b3, b3_1, b3_2        256 channels, stride 4
    b4, b4_1 … b4_5       512 channels, stride 8
    b5, b5_1, b5_2        512 → 1024 channels, dilation 2 (1 in the first convolution)
    b6                    bottleneck 512, 1024, 2048 channels, dilation 4
    b7                    bottleneck 1024, 2048, 4096 channels, dilation 4
    bn7, ReLU             the features

Units are pre-activated: batch norm and ReLU come before every convolution, and a unit that changes channels or stride
takes its shortcut, a 1×1 convolution, from its activated input. Pixels are normalised with ImageNet's mean and std of
RGB in 0..1.

The class weights are ``fc8`` (PSA, [K, 4096, 1, 1]), ``fc9`` (SEAM), or a 3×3 layer whose name holds ``mask`` (EDAM, 21
channels, background first). No matrix multiplies the features in a 3×3 layer: what stands for w is its response to
a constant map, the sum over the kernel. Everything else in a checkpoint (further layers of SEAM and EDAM) is left
unread.

Departs from the papers: a head with one row more than there are classes is taken to hold the background first,
and that row is left out.
"""

from __future__ import annotations

import re
from itertools import pairwise

from torch import Tensor, nn

from lpcam.backbones.classifier import Blueprint

CHANNELS = 4096

_UNITS = (  # name of the first, how many, channels inside, channels out, stride
    ("b2", 3, 128, 128, 2),
    ("b3", 3, 256, 256, 2),
    ("b4", 6, 512, 512, 2),
    ("b5", 3, 512, 1024, 1),
)
_DILATED = "b5"
_TRUNK = re.compile(r"(conv1a|b[2-7](_\d)?|bn7)\.")
_MASK = re.compile(r"(^|[._])(\w*mask\w*)\.weight$")


def build(name: str) -> Blueprint:
    """Return the blueprint; ``name`` is ``resnet38d``."""
    del name
    network = ResNet38()
    stages = tuple(path for path, _ in network.named_children())
    heads = ("fc9.weight", "mask.weight")
    return Blueprint(
        network, stages, "fc8.weight", stride=8, rename=canonical_name, other_heads=heads, matrix=class_matrix
    )


def canonical_name(key: str) -> str | None:
    """Return the name of a key of PSA, SEAM or EDAM, None for one that is not read.

    >>> [canonical_name(key) for key in ("b4_5.conv_branch2a.weight", "fc9.weight", "f8_3.weight")]
    ['b4_5.conv_branch2a.weight', 'fc9.weight', None]
    """
    if _TRUNK.match(key) or key in ("fc8.weight", "fc9.weight"):
        return key
    return "mask.weight" if _MASK.search(key) else None


def class_matrix(head: Tensor, num_classes: int | None) -> Tensor:
    """Return the class weights [K, C] of a head [K, C, k, k] or, with the background first, [1 + K, C, k, k].

    Args:
        head: Of a convolution; the rows of a 3×3 mask layer begin with the background.
        num_classes: K, if it is known.
    """
    matrix = head.flatten(2).sum(2) if head.ndim == 4 else head
    has_background = (head.ndim == 4 and head.shape[2] > 1) or matrix.shape[0] - 1 == num_classes
    return matrix[1:] if has_background else matrix


class ResNet38(nn.Module):
    """The trunk, under the names of PSA's checkpoints."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1a = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        channels = 64
        for name, count, inside, outputs, stride in _UNITS:
            for index in range(count):
                first, dilation = (1 if index == 0 else 2, 2) if name == _DILATED else (1, 1)
                unit = Unit(channels, inside, outputs, stride if index == 0 else 1, (first, dilation))
                self.add_module(name if index == 0 else f"{name}_{index}", unit)
                channels = outputs
        self.b6 = Bottleneck(channels, 2048)
        self.b7 = Bottleneck(2048, CHANNELS)
        self.bn7 = nn.BatchNorm2d(CHANNELS)
        self.relu7 = nn.ReLU()


class Unit(nn.Module):
    """Two 3×3 convolutions beside a shortcut, each after batch norm and ReLU."""

    def __init__(self, inputs: int, inside: int, outputs: int, stride: int, dilations: tuple[int, int]) -> None:
        super().__init__()
        first, second = dilations
        self.bn_branch2a = nn.BatchNorm2d(inputs)
        self.conv_branch2a = nn.Conv2d(inputs, inside, 3, stride, padding=first, dilation=first, bias=False)
        self.bn_branch2b1 = nn.BatchNorm2d(inside)
        self.conv_branch2b1 = nn.Conv2d(inside, outputs, 3, padding=second, dilation=second, bias=False)
        changes = inputs != outputs or stride > 1
        self.conv_branch1 = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if changes else None

    def forward(self, grid: Tensor) -> Tensor:
        """Return [N, outputs, h', w'] of a grid [N, inputs, h, w]."""
        active = self.bn_branch2a(grid).relu()
        shortcut = grid if self.conv_branch1 is None else self.conv_branch1(active)
        branch: Tensor = self.conv_branch2b1(self.bn_branch2b1(self.conv_branch2a(active)).relu())
        return shortcut + branch


class Bottleneck(nn.Module):
    """1×1, 3×3 (dilation 4) and 1×1 convolutions to a quarter, half and all of the channels, beside a shortcut."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        sizes = (inputs, outputs // 4, outputs // 2, outputs)
        norms = [nn.BatchNorm2d(size) for size in sizes[:-1]]
        convolutions = [
            nn.Conv2d(*pair, kernel, padding=4 * (kernel // 2), dilation=4 if kernel > 1 else 1, bias=False)
            for pair, kernel in zip(pairwise(sizes), (1, 3, 1), strict=True)
        ]
        self.bn_branch2a, self.bn_branch2b1, self.bn_branch2b2 = norms
        self.conv_branch2a, self.conv_branch2b1, self.conv_branch2b2 = convolutions
        self.conv_branch1 = nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, grid: Tensor) -> Tensor:
        """Return [N, outputs, h, w] of a grid [N, inputs, h, w]."""
        active = self.bn_branch2a(grid).relu()
        inside = self.conv_branch2b1(self.bn_branch2b1(self.conv_branch2a(active)).relu())
        branch: Tensor = self.conv_branch2b2(self.bn_branch2b2(inside).relu())
        shortcut: Tensor = self.conv_branch1(active)
        return shortcut + branch
