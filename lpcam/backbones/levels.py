"""Levels of a network: its last features at each of its output strides, finest first.

A network that halves its grid five times is seen at its last four strides as published, before its last stages are made
dense: layer1 to layer4 of a ResNet. What has one stride only (ViT) has one level, its features.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from lpcam.backbones.probing import shapes_after

MOST = 4
_PROBE = (512, 384)  # px, not square, to tell the channels from the grid


@dataclass(frozen=True)
class Level:
    """Where a level ends.

    Attributes:
        stage: Index of its last stage.
        channels: C_l.
        channels_last: Whether that stage returns [N, h, w, C].
    """

    stage: int
    channels: int
    channels_last: bool = False


def levels_before_last(stages: Sequence[nn.Module]) -> tuple[Level, ...]:
    """Return the levels of a network but its last, which ends with the last stage.

    Args:
        stages: Modules in eval mode, applied one after the other, with the strides as published.

    >>> stages = [nn.Conv2d(3, 4, 2, 2), nn.ReLU(), nn.Conv2d(4, 8, 2, 2), nn.Conv2d(8, 9, 3, 1, 1)]
    >>> levels_before_last(stages)
    (Level(stage=1, channels=4, channels_last=False),)
    """
    finest_first = {round(_PROBE[0] / height): level for height, level in _seen(stages)}  # the last of each stride
    return tuple(finest_first.values())[-MOST:-1]


def features_at(levels: Sequence[Level], stages: Iterable[nn.Module], images: Tensor) -> tuple[Tensor, ...]:
    """Return the features [N, C_l, h_l, w_l] of each level, and of the last stage.

    Args:
        levels: Those before the last.
        stages: Of the network.
        images: Float [N, 3, H, W].
    """
    found = []
    wanted = {level.stage: level for level in levels}
    for index, stage in enumerate(stages):
        images = stage(images)
        if index in wanted:
            found.append(images.movedim(-1, 1) if wanted[index].channels_last else images)
    return (*found, images)


def _seen(stages: Sequence[nn.Module]) -> list[tuple[int, Level]]:
    """Return the height of the grid after every stage that makes one, and the level it would end."""
    found = []
    for index, shape in enumerate(shapes_after(stages, (3, *_PROBE))):
        for channels_last in (False, True):
            height, width = shape[:2] if channels_last else shape[1:]
            if len(shape) == 3 and height * _PROBE[1] == width * _PROBE[0]:
                found.append((height, Level(index, shape[2 if channels_last else 0], channels_last)))
                break
    return found
