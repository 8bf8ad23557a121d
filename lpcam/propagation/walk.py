"""The random walk: a map spreads over positions that look alike to the classifier.

    a_ij = max(0, cos(g_i, g_j))^p     A = D⁻¹ a, D_ii = Σ_j a_ij     x_0 = m, x_t = (1 − r) A x_{t−1} + r m

g are features of a middle layer, m a map on their grid. With restarts, r > 0, the walk converges to the personalised
PageRank r (1 − (1 − r) A)⁻¹ m (Page et al., 1999; for segmentation: Vernaza & Chandraker, CVPR 2017; PSA and IRN learn
A, here nothing is learned): r is the length, 1/r steps on average, and a position never forgets where it started.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

BOUND = 64 * 2**20
"""Bytes of affinities that are held at a time: 4096 positions' (a photo of a megapixel at stride 16)."""

_SAMPLE = 256  # rows the power is calibrated on
_LEAST = 1e-6  # of a cosine, before its logarithm
_POWERS = (-2.0, 8.0)  # powers of two: p in 1/4..256
_HALVINGS = 12


def random_walk(
    vectors: Tensor, maps: Tensor, *, power: float, restart: float, steps: int, bound: int = BOUND
) -> Tensor:
    """Return the maps after a walk.

    Where the affinities of all positions fit into the bound they are made once; where they do not, a stripe at a time,
    again at every step.

    Args:
        vectors: float [M, C] of length 1, from `directions`, M = h·w.
        maps: float [K, h, w], K ≥ 0.
        power: p, > 0: the larger, the fewer positions belong together.
        restart: r, in 0..1; 1 leaves the maps as they are, 0 is the walk without restarts.
        steps: t, ≥ 0.
        bound: Bytes of affinities held at a time; a single row is always held.

    Returns:
        float [K, h, w]; each value is a weighted mean of the map's values, so that a constant map stays what it is.
    """
    start = maps.flatten(1).mT  # [M, K]
    stripes = _Stripes(vectors, power, max(1, bound // (len(vectors) * vectors.element_size())))
    walked = start
    for _ in range(steps if len(maps) else 0):
        walked = torch.lerp(stripes.mean_of(walked), start, restart)
    return walked.mT.reshape(maps.shape)


def calibrated_power(vectors: Tensor, neighbours: float) -> float:
    """Return the power p at which a position belongs together with a given share of all positions, on average.

    How many positions i belongs together with is the effective number (Σ_j a_ij)² / Σ_j a_ij²; it falls as p rises,
    whatever the network's cosines are like, so that neither centring nor a network's own power is needed. It is
    found by bisection on a sample of rows.

    Args:
        vectors: float [M, C] of length 1.
        neighbours: Share of the positions, in 0..1.

    Returns:
        p, in 1/4..256.
    """
    sample = vectors[:: -(-len(vectors) // _SAMPLE)]
    logarithms = (sample @ vectors.mT).clamp_(_LEAST, 1).log_()
    low, high = _POWERS
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        affinities = (logarithms * 2**middle).exp_()
        share = affinities.sum(dim=1).square_().div_(affinities.square_().sum(dim=1)).mean() / len(vectors)
        low, high = (middle, high) if share > neighbours else (low, middle)
    return float(2**low)


def directions(levels: Sequence[Tensor]) -> Tensor:
    """Return a unit vector for every position of the first level's grid: float [M, Σ (C_l + 1)].

    The cosine of two of them is the weighted mean of the cosines at every level; a level counts half of the one before.

    Args:
        levels: float [C_l, h_l, w_l] each, the first on the grid of the walk; finer ones are averaged onto it.
            Positions without features, all zero, are alike.
    """
    height, width = levels[0].shape[1:]
    weights = [0.5**index for index in range(len(levels))]
    parts = [
        _unit(F.adaptive_avg_pool2d(level, (height, width))) * (weight / sum(weights)) ** 0.5
        for level, weight in zip(levels, weights, strict=True)
    ]
    return torch.cat(parts, dim=1)


def _unit(level: Tensor) -> Tensor:
    """Return [C, h, w] as [M, C + 1] of length 1."""
    vectors = F.normalize(level.flatten(1).mT, dim=1)
    return torch.cat([vectors, (vectors == 0).all(dim=1, keepdim=True).to(vectors.dtype)], dim=1)


class _Stripes:
    """Rows of A, some at a time."""

    def __init__(self, vectors: Tensor, power: float, rows: int) -> None:
        self._vectors, self._power, self._rows = vectors, power, rows
        self._kept = tuple(self._made()) if rows >= len(vectors) else ()

    def mean_of(self, values: Tensor) -> Tensor:
        """Return A x of x [M, K]."""
        return torch.cat([stripe @ values for stripe in self._kept or self._made()])

    def _made(self) -> Iterator[Tensor]:
        for part in torch.split(self._vectors, self._rows):
            stripe = (part @ self._vectors.mT).clamp_(0, 1).pow_(self._power)
            yield stripe.div_(stripe.sum(dim=1, keepdim=True))
