"""Vision transformers seen as feature maps: patch tokens on their grid, prefix tokens left out.

A transformer of patch size p sees whole patches only. A view whose sides are no multiples of p is resized (bicubic) to
the nearest multiples, at most p / 2 px a side, before it is cut into patches. The grid then covers exactly the
view, and the mirror's grid is the mirror of the grid. Padding, the other way, would cover more than the view on one
side only: maps would be shifted by up to p px when they are resized to the photo, and image and mirror against
each other.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lpcam.records import Attention


class PatchGrid(nn.Module):
    """A transformer whose patch tokens come out as a feature map.

    Attributes:
        net: Takes images [N, 3, H, W] of whole patches to tokens [N, T, C], prefix tokens first.
        patch: Its patch size p in px.
        prefix_tokens: Class, distillation and register tokens that stand before the patch tokens.
    """

    def __init__(self, net: nn.Module, patch: int, prefix_tokens: int) -> None:
        super().__init__()
        self.net = net
        self.patch = patch
        self.prefix_tokens = prefix_tokens

    def forward(self, images: Tensor) -> Tensor:
        """Return float [N, C, h, w], h about H / p, of normalised images [N, 3, H, W]."""
        images = whole_patches(images, self.patch)
        return token_grid(self.net(images)[:, self.prefix_tokens :], images.shape[2] // self.patch)

    @property
    def attends(self) -> bool:
        """Whether the network has class tokens whose attention it can tell."""
        return hasattr(self.net, "attend")

    def attend(self, images: Tensor) -> tuple[Tensor, Attention]:
        """Return what ``forward`` does, and what the tokens of the K classes and the patches attended to."""
        images = whole_patches(images, self.patch)
        net: Any = self.net
        tokens, attention = net.attend(images)
        height, patches = images.shape[2] // self.patch, tokens.shape[1]
        to_patches = attention[:, :-patches, -patches:].unflatten(2, (height, patches // height))
        return token_grid(tokens, height), Attention(to_patches, attention[:, -patches:, -patches:])


class ChannelsFirst(nn.Module):
    """A network whose feature map has its channels last, as those of the Swin family.

    Attributes:
        net: Takes images [N, 3, H, W] of whole patches to features [N, h, w, C].
        patch: Its patch size p in px.
    """

    def __init__(self, net: nn.Module, patch: int) -> None:
        super().__init__()
        self.net = net
        self.patch = patch

    def forward(self, images: Tensor) -> Tensor:
        """Return float [N, C, h, w] of normalised images [N, 3, H, W]."""
        features: Tensor = self.net(whole_patches(images, self.patch)).movedim(-1, 1)
        return features


def whole_patches(images: Tensor, patch: int) -> Tensor:
    """Return images resized to the nearest multiples of the patch size, the same images where they are.

    Args:
        images: Float [N, 3, H, W].
        patch: p in px; a side shorter than that becomes p.

    >>> import torch
    >>> [tuple(whole_patches(torch.zeros(1, 3, *size), 16).shape[2:]) for size in ((32, 40), (33, 41), (5, 16))]
    [(32, 32), (32, 48), (16, 16)]
    """
    size = [max(round(side / patch), 1) * patch for side in images.shape[2:]]
    if size == list(images.shape[2:]):
        return images
    return F.interpolate(images, size, mode="bicubic", align_corners=False)


def token_grid(tokens: Tensor, height: int) -> Tensor:
    """Return patch tokens [N, h·w, C], row by row, as a feature map [N, C, h, w].

    Args:
        tokens: Without prefix tokens.
        height: h.
    """
    count, positions, channels = tokens.shape
    return tokens.mT.reshape(count, channels, height, positions // height)


def with_positions(patches: Tensor, positions: Tensor, prefix: Tensor) -> Tensor:
    """Return the tokens a transformer starts from: prefix tokens, then patches, positions added.

    Args:
        patches: Embedded patches, float [N, C, h, w].
        positions: Position embedding of prefix tokens and a square grid, [1, P + g·g, C].
        prefix: Prefix tokens, [1, P, C].

    Returns:
        Float [N, P + h·w, C]. Positions of another grid are resampled (bicubic), those of the prefix tokens are not.
    """
    count, prefixed = prefix.shape[1], (prefix + positions[:, : prefix.shape[1]]).expand(len(patches), -1, -1)
    side = math.isqrt(positions.shape[1] - count)
    grid = token_grid(positions[:, count:], side)
    if grid.shape[2:] != patches.shape[2:]:
        grid = F.interpolate(grid, patches.shape[2:], mode="bicubic", align_corners=False)
    return torch.cat([prefixed, (patches + grid).flatten(2).mT], dim=1)
