"""Levels of a network: where its strides end, and that their features are the network's own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lpcam.backbones.levels import Level, features_at, levels_before_last
from lpcam.backbones.loading import load_trunk


class Transposed(nn.Module):
    """A convolution that leaves its channels last, as Swin's stages do."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 5, 2, 2)

    def forward(self, images):
        return self.convolution(images).movedim(1, -1)


class Returned(nn.Module):
    def forward(self, features):
        return features.movedim(-1, 1)


@pytest.mark.parametrize(
    ("arch", "channels"),
    [
        ("resnet50", (256, 512, 1024, 2048)),
        ("torchvision/mobilenet_v2", (24, 32, 96, 1280)),
        ("torchvision/swin_t", (96, 192, 384, 768)),
        ("torchvision/vgg11", (256, 512, 512, 4096)),
        ("resnet38d", (64, 128, 256, 4096)),
        ("demo", (16, 32, 512)),
        ("mctformer", (384,)),
    ],
)
@torch.no_grad()
def test_levels_are_the_last_features_at_the_last_four_strides(arch, channels):
    trunk = load_trunk(arch, None).eval()
    images = torch.randn(1, 3, 64, 96)
    levels = trunk.levels(images)
    assert trunk.level_channels == tuple(level.shape[1] for level in levels) == channels
    sides = [level.shape[2] for level in levels]
    assert sides == sorted(sides, reverse=True)
    torch.testing.assert_close(levels[-1], trunk(images), rtol=0, atol=0)


@torch.no_grad()
def test_no_later_stage_overwrites_a_level():
    trunk = load_trunk("torchvision/densenet121", None).eval()  # full of operations in place
    images = torch.randn(1, 3, 64, 64)
    first = trunk._blueprint[0].levels[0]
    alone = features_at((), list(trunk.stages)[: first.stage + 1], images)[0]
    torch.testing.assert_close(trunk.levels(images)[0], alone, rtol=0, atol=0)


def test_channels_may_come_last_inside():
    with torch.device("meta"):
        levels = levels_before_last([Transposed(), nn.Sequential(Returned(), nn.Conv2d(5, 7, 2, 2))])
    assert levels == (Level(0, 5, channels_last=True),)
    first, last = features_at(levels, [Transposed(), Returned()], torch.randn(2, 3, 8, 12))
    assert torch.equal(first, last)
    assert first.shape == (2, 5, 4, 6)
