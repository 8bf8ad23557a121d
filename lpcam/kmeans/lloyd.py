"""Lloyd's algorithm by cosine on a `VectorSource`: the torch engine."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from lpcam.kmeans.sources import VectorSource, total

TOLERANCE = 1e-7


def best_of(source: VectorSource, k: int, *, seed: int, restarts: int, iterations: int) -> Tensor:
    """Return the directions of the best of some random starts: float32 [K, C], unit vectors.

    Args:
        source: At least K usable vectors.
        k: K.
        seed: Chooses the starts, K rows each.
        restarts: Starts.
        iterations: Most iterations of each.
    """
    generator = torch.Generator().manual_seed(seed)
    usable = source.usable.nonzero()[:, 0]
    best, best_objective = torch.empty(0), -float("inf")
    for _ in range(restarts):
        rows = usable[torch.randperm(len(usable), generator=generator)[:k]]
        directions, objective = descend(source, source.take(rows.tolist()), iterations)
        if objective > best_objective:
            best, best_objective = directions, objective
    return best


def descend(source: VectorSource, centres: Tensor, iterations: int) -> tuple[Tensor, float]:
    """Move centres until Σ_i x_i · ĉ_a(i) grows by no more than 1e-7 of itself, or for ``iterations``.

    A cluster that becomes empty starts again at the vector of lowest cosine to its centre. The host waits for the
    device once an iteration.

    Args:
        source: At least one usable vector.
        centres: float32 [K, C], the start.
        iterations: Most updates, ≥ 1.

    Returns:
        Directions float32 [K, C], unit vectors, and the objective of those before the last update.
    """
    directions, objective = F.normalize(centres.to(source.device), dim=1), -float("inf")
    for _ in range(iterations):
        found = total(source.tallies(directions))
        sums = found.sums
        empty = sums.abs().amax(dim=1) == 0
        grown, any_empty = torch.stack([found.objective, empty.any().double()]).tolist()
        if any_empty:
            sums[empty] = source.take([int(found.worst_row)]).double()
        directions = F.normalize(sums, dim=1).float()
        if grown - objective <= TOLERANCE * abs(grown) and not any_empty:
            return directions, grown
        objective = grown
    return directions, objective
