"""PAMR, pixel-adaptive mask refinement (Araslanov & Roth, CVPR 2020): a map settles on the edges of the photo.

    k_ij = mean_c −|I_i − I_j| / (0.1 σ_i)     α_i = softmax_j k_ij     m_i ← Σ_j α_ij m_j

I are colours, j the eight neighbours of i at every dilation, σ_i the standard deviation of their colours, a channel at
a time, so that neither brightness nor contrast matters.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

DILATIONS = (1, 2, 4, 8)
ITERATIONS = 5
_SHARPNESS = 0.1
_EPSILON = 1e-8
"""Added to σ for colours in 0..1."""


def pamr(pixels: Tensor, maps: Tensor, *, iterations: int = ITERATIONS) -> Tensor:
    """Return maps that follow the photo's edges.

    Args:
        pixels: float [3, h, w] in 0..1.
        maps: float [K, h, w].
        iterations: ≥ 0.

    Returns:
        float [K, h, w]; every value is a weighted mean of its neighbours'. Beyond the border lies the border again.

    A map of the first of four pixels, two of a colour:

    >>> pixels = torch.tensor([0.0, 0.0, 1.0, 1.0]).expand(3, 1, 4)
    >>> [f"{value:.2f}" for value in pamr(pixels, torch.tensor([[[1.0, 0.0, 0.0, 0.0]]]), iterations=1)[0, 0]]
    ['0.87', '0.60', '0.00', '0.00']

    Departs from the paper: five iterations, not ten.
    """
    weights = neighbour_weights(pixels).unbind(dim=-1)
    for _ in range(iterations if len(maps) else 0):
        mean = torch.zeros_like(maps)
        for weight, neighbour in zip(weights, _neighbours(maps), strict=True):
            mean.addcmul_(neighbour, weight)
        maps = mean
    return maps


def neighbour_weights(pixels: Tensor) -> Tensor:
    """Return α of pixels [3, h, w]: float [h, w, 32], summing to 1 at every pixel."""
    around = torch.stack(_neighbours(pixels))  # [32, 3, h, w]
    # The same as std(dim=0), which is five times slower over the first dimension.
    deviation = (around - around.mean(dim=0)).square_().sum(dim=0).div_(len(around) - 1).sqrt_()
    contrast = (around - pixels).abs_() / (_SHARPNESS * deviation + _EPSILON)
    return contrast.mean(dim=1).neg_().softmax(dim=0).movedim(0, -1)


def _neighbours(maps: Tensor) -> list[Tensor]:
    """Return maps of the 32 neighbours' values: views [K, h, w] of [K, h, w]."""
    height, width = maps.shape[1:]
    reach = max(DILATIONS)
    padded = F.pad(maps[None], (reach,) * 4, mode="replicate")[0]
    return [
        padded[:, reach + dy : reach + dy + height, reach + dx : reach + dx + width]
        for dilation in DILATIONS
        for dy in (-dilation, 0, dilation)
        for dx in (-dilation, 0, dilation)
        if dy or dx
    ]
