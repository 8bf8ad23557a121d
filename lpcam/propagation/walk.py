"""The random walk: a map spreads over positions that look alike to the classifier.

    a_ij = max(0, cos(g_i, g_j))^p     A = D⁻¹ a, D_ii = Σ_j a_ij     x_0 = m, x_t = (1 − r) A x_{t−1} + r m

g are features of a middle layer, m a map on their grid. With restarts, r > 0, the walk converges to the personalised
PageRank r (1 − (1 − r) A)⁻¹ m (Page et al., 1999; for segmentation: Vernaza & Chandraker, CVPR 2017; PSA and IRN learn
A, here nothing is learned): r is the length, 1/r steps on average, and a position never forgets where it started.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

_SAMPLE = 128  # rows the power is calibrated on
_LEAST = 1e-6  # of a cosine, before its logarithm
_POWERS = (-2.0, 8.0)  # powers of two: p in 1/4..256
_HALVINGS = 10


def random_walk(vectors: Tensor, maps: Tensor, *, power: float | Tensor, restart: float, steps: int) -> Tensor:
    """Return the maps after a walk.

    Args:
        vectors: float [M, C] of length 1, from `directions`, M = h·w.
        maps: float [K, h, w], K ≥ 0.
        power: p, > 0: the larger, the fewer positions belong together.
        restart: r, in 0..1; 1 leaves the maps as they are, 0 is the walk without restarts.
        steps: t, ≥ 0.

    Returns:
        float [K, h, w]; each value is a weighted mean of the map's values, so that a constant map stays what it is.

    Two positions that look alike and one that does not:

    >>> vectors = directions([torch.tensor([[[1.0, 1.0, 0.0]], [[0.0, 0.0, 1.0]]])], (1, 3))
    >>> random_walk(vectors, torch.tensor([[[1.0, 0.0, 0.0]]]), power=2, restart=0.5, steps=1).tolist()
    [[[0.75, 0.25, 0.0]]]
    """
    if len(maps) == 0 or steps == 0:
        return maps
    step = transitions(vectors, power)
    start = walked = maps.flatten(1).mT  # [M, K]
    for _ in range(steps):
        walked = torch.lerp(step @ walked, start, restart)
    return walked.mT.reshape(maps.shape)


def transitions(vectors: Tensor, power: float | Tensor) -> Tensor:
    """Return A of directions [M, C]: float [M, M], rows summing to 1."""
    if vectors.device.type == "cpu":
        power = float(power)  # half the time of a tensor's
    affinities = (vectors @ vectors.mT).clamp_(0, 1).pow_(power)
    return affinities.div_(affinities.sum(dim=1, keepdim=True))


def calibrated_power(vectors: Tensor, neighbours: float) -> Tensor:
    """Return the power p at which a position belongs together with a given share of all positions, on average.

    How many positions i belongs together with is the effective number (Σ_j a_ij)² / Σ_j a_ij²; it falls as p rises,
    whatever the network's cosines are like, so that neither centring nor a network's own power is needed. It is
    found by bisection on a sample of rows.

    Args:
        vectors: float [M, C] of length 1.
        neighbours: Share of the positions, in 0..1.

    Returns:
        p, float64 [], in 1/4..256.
    """
    sample = vectors[:: -(-len(vectors) // _SAMPLE)]
    logarithms = (sample @ vectors.mT).clamp_(_LEAST, 1).log_()
    low, high = (torch.full((), end, dtype=torch.float64, device=vectors.device) for end in _POWERS)
    for _ in range(_HALVINGS):  # on the device: nothing waits for it
        middle = (low + high) / 2
        affinities = (logarithms * 2**middle).exp_()
        share = affinities.sum(dim=1).square_().div_(affinities.square_().sum(dim=1)).mean() / len(vectors)
        low, high = torch.where(share > neighbours, middle, low), torch.where(share > neighbours, high, middle)
    return torch.exp2(low)


def directions(levels: Sequence[Tensor], grid: tuple[int, int]) -> Tensor:
    """Return a unit vector for every position of a grid: float [h·w, Σ (C_l + 1)].

    The cosine of two of them is the weighted mean of the cosines at every level; a level counts half of the one before.

    Args:
        levels: float [C_l, h_l, w_l] each, averaged onto the grid. Positions without features, all zero, are alike.
        grid: (h, w).
    """
    weights = [0.5**index for index in range(len(levels))]
    parts = [
        _unit(F.adaptive_avg_pool2d(level, grid)) * (weight / sum(weights)) ** 0.5
        for level, weight in zip(levels, weights, strict=True)
    ]
    return torch.cat(parts, dim=1)


def _unit(level: Tensor) -> Tensor:
    """Return [C, h, w] as [M, C + 1] of length 1."""
    vectors = F.normalize(level.flatten(1).mT, dim=1)
    return torch.cat([vectors, (vectors == 0).all(dim=1, keepdim=True).to(vectors.dtype)], dim=1)
