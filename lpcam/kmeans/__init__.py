"""Cosine k-means behind one seam: a torch engine that runs where the vectors are, and FAISS.

Vectors are assigned by cosine, centres are arithmetic means of the RAW vectors: the norm of a centre is what the
classifier-weight filter of LPCAM reads. Spherical k-means on raw vectors is the same algorithm: the direction of a
raw mean is what both move, and a vector's own norm does not change which direction is nearest to it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lpcam.kmeans.joined import Add, Holder, Joined, Read, Take
from lpcam.kmeans.lloyd import TOLERANCE, best_of, descend
from lpcam.kmeans.sources import BLOCK_ROWS, Blocks, Tally, VectorSource, block_rows_on, placed, resident, total

__all__ = [
    "ENGINES",
    "Add",
    "Blocks",
    "Clusters",
    "Holder",
    "Joined",
    "Read",
    "Take",
    "Tally",
    "VectorSource",
    "assign",
    "block_rows_on",
    "kmeans",
    "placed",
    "resident",
]

ENGINES = ("auto", "faiss", "torch")


@dataclass(frozen=True)
class Clusters:
    """What k-means found.

    Attributes:
        centres: float32 [P, C], P ≤ K: raw mean of every cluster that is not empty.
        sizes: int64 [P], vectors in each, ≥ 1.
        assignments: int64 [M], the cluster of each vector; −1 for a vector without a direction.
        objective: Mean cosine of a vector to its centre, −1..1; NaN without vectors.
    """

    centres: Tensor
    sizes: Tensor
    assignments: Tensor
    objective: float


def kmeans(
    vectors: Tensor | VectorSource,
    k: int,
    *,
    seed: int = 0,
    restarts: int = 1,
    iterations: int = 100,
    start: Tensor | None = None,
    engine: str = "auto",
) -> Clusters:
    """Cluster vectors by cosine.

    Maximises Σ_i x_i · ĉ_a(i) over assignments a and unit centres ĉ; stops when it no longer grows, or after
    ``iterations``. Vectors that are zero or not finite have no direction and are left out. With no more vectors than
    K every vector is its own centre. A cluster that ends empty is dropped, so P may be below K.

    Args:
        vectors: float32 [M, C], contiguous; read in place, never copied whole. Or a `VectorSource`, for vectors that
            are not one tensor.
        k: K ≥ 1.
        seed: Chooses the random start; the same seed gives the same bytes, whatever the number of threads.
        restarts: Starts; the best objective is kept. Ignored where ``start`` is given.
        iterations: Most iterations of a start, ≥ 1.
        start: float32 [K, C], the first centres.
        engine: ``torch`` (wherever the vectors are), ``faiss`` (one tensor on the CPU) or ``auto``: torch, which is
            the faster one on both.

    Raises:
        ValueError: shapes, K, iterations or the engine do not fit.

    Departs from the paper: the published code (kmeans_pytorch 0.3) starts unseeded, stops when (Σ‖shift‖)² < 5
    without any other bound, and turns an empty cluster into NaN.

    >>> found = kmeans(torch.tensor([[2.0, 0.0], [4.0, 0.0], [0.0, 1.0]]), 2)
    >>> sorted(found.centres.tolist()), round(found.objective, 6)
    ([[0.0, 1.0], [3.0, 0.0]], 1.0)
    """
    _check(vectors, k, iterations, start, engine)
    source = resident(vectors) if isinstance(vectors, Tensor) else vectors
    count = int(source.usable.sum())
    if count == 0 or (count <= k and start is None):
        return _own_centres(source)
    if engine == "faiss" and isinstance(vectors, Tensor):
        rows = vectors if bool(source.usable.all()) else vectors[source.usable]
        directions = _faiss_lloyd(rows, k, seed=seed, restarts=restarts, iterations=iterations, start=start)
    elif start is not None:
        directions, _ = descend(source, start, iterations)
    else:
        directions = best_of(source, k, seed=seed, restarts=restarts, iterations=iterations)
    return _summarise(source, directions)


def assign(vectors: Tensor, centres: Tensor) -> Tensor:
    """Return the nearest centre by cosine of every vector: int64 [M]; ties go to the first.

    Args:
        vectors: float32 [M, C].
        centres: float32 [K, C].
    """
    directions = F.normalize(centres, dim=1)
    blocks = (vectors[first : first + BLOCK_ROWS] for first in range(0, len(vectors), BLOCK_ROWS))
    return torch.cat([(directions @ block.T).argmax(dim=0) for block in blocks])


def _check(vectors: Tensor | VectorSource, k: int, iterations: int, start: Tensor | None, engine: str) -> None:
    if isinstance(vectors, Tensor) and (vectors.ndim != 2 or vectors.dtype != torch.float32):
        raise ValueError(f"expected float32 vectors [M, C], got {vectors.dtype} {list(vectors.shape)}")
    if k < 1 or iterations < 1:
        raise ValueError(f"expected k and iterations of 1 or more, got {k} and {iterations}")
    channels = vectors.shape[1] if isinstance(vectors, Tensor) else vectors.channels
    if start is not None and start.shape != (k, channels):
        raise ValueError(f"expected start [{k}, {channels}], got {list(start.shape)}")
    if engine not in ENGINES:
        raise ValueError(f"expected an engine of {ENGINES}, got '{engine}'")
    if engine == "faiss" and not (isinstance(vectors, Tensor) and vectors.device.type == "cpu"):
        raise ValueError("expected one tensor on the CPU for the engine 'faiss'")


def _own_centres(source: VectorSource) -> Clusters:
    """Every usable vector is its own centre."""
    rows = source.usable.nonzero()[:, 0]
    centres = source.take(rows.tolist()) if len(rows) else torch.empty(0, source.channels, device=source.device)
    assignments = torch.full((len(source.usable),), -1, device=source.device)
    assignments[rows.to(source.device)] = torch.arange(len(rows), device=source.device)
    sizes = torch.ones(len(rows), dtype=torch.int64, device=source.device)
    return Clusters(centres, sizes, assignments, 1.0 if len(rows) else float("nan"))


def _summarise(source: VectorSource, directions: Tensor) -> Clusters:
    """Assign every vector, take raw means, and the mean of x_i · ĉ_a(i) / ‖x_i‖ from sums of x_i / ‖x_i‖."""
    found = total(source.tallies(directions, final=True))
    kept = found.counts > 0
    means = found.sums[kept] / found.counts[kept, None]
    numbers = torch.where(found.labels < 0, -1, (kept.cumsum(0) - 1)[found.labels])
    cosines = (F.normalize(means, dim=1) * found.unit_sums[kept]).sum()
    return Clusters(means.float(), found.counts[kept], numbers, float(cosines / found.counts.sum()))


def _faiss_lloyd(vectors: Tensor, k: int, *, seed: int, restarts: int, iterations: int, start: Tensor | None) -> Tensor:
    import faiss

    rows = np.ascontiguousarray(vectors.numpy())
    search = faiss.Kmeans(
        rows.shape[1],
        k,
        niter=iterations,
        nredo=1 if start is not None else restarts,
        seed=seed,
        spherical=True,
        min_points_per_centroid=1,
        max_points_per_centroid=len(rows),  # the default silently clusters a sample of 256·K
    )
    if hasattr(search.cp, "early_stop_threshold"):
        search.cp.early_stop_threshold = TOLERANCE
    search.train(rows, init_centroids=None if start is None else F.normalize(start, dim=1).numpy())
    return torch.tensor(search.centroids)
