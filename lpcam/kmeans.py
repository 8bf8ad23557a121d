"""Cosine k-means behind one seam: FAISS where it is installed, a torch engine that stays on the device otherwise.

Vectors are assigned by cosine, centres are arithmetic means of the RAW vectors: the norm of a centre is what the
classifier-weight filter of LPCAM reads. Spherical k-means on raw vectors is the same algorithm: the direction of a
raw mean is what both move, and a vector's own norm does not change which direction is nearest to it.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

BLOCK_ROWS = 4096
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
    vectors: Tensor,
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
        vectors: float32 [M, C], contiguous; read in place, never copied whole.
        k: K ≥ 1.
        seed: Chooses the random start; the same seed gives the same bytes.
        restarts: Starts; the best objective is kept. Ignored where ``start`` is given.
        iterations: Most iterations of a start, ≥ 1.
        start: float32 [K, C], the first centres.
        engine: ``faiss`` (CPU), ``torch`` (wherever the vectors are) or ``auto``: torch for vectors on a CUDA
            device or where FAISS is missing.

    Raises:
        ValueError: shapes, K, iterations or the engine do not fit.

    Departs from the paper: the published code (kmeans_pytorch 0.3) starts unseeded, stops when (Σ‖shift‖)² < 5
    without any other bound, and turns an empty cluster into NaN.

    >>> found = kmeans(torch.tensor([[2.0, 0.0], [4.0, 0.0], [0.0, 1.0]]), 2, engine="torch")
    >>> sorted(found.centres.tolist()), round(found.objective, 6)
    ([[0.0, 1.0], [3.0, 0.0]], 1.0)
    """
    _check(vectors, k, iterations, start, engine)
    usable = _directed_rows(vectors)
    if not bool(usable.all()):
        return _restore_rows(
            kmeans(
                vectors[usable],
                k,
                seed=seed,
                restarts=restarts,
                iterations=iterations,
                start=start,
                engine=engine,
            ),
            usable,
        )
    if len(vectors) <= k and start is None:
        return _own_centres(vectors)
    lloyd = _engine_for(vectors, engine)
    directions = lloyd(vectors, k, seed=seed, restarts=restarts, iterations=iterations, start=start)
    assignments = assign(vectors, directions)
    return _summarise(vectors, assignments, k)


def assign(vectors: Tensor, centres: Tensor) -> Tensor:
    """Return the nearest centre by cosine of every vector: int64 [M]; ties go to the first."""
    directions = F.normalize(centres, dim=1).T.contiguous()
    return torch.cat([(block @ directions).argmax(dim=1) for block in _blocks(vectors)])


class _Lloyd(Protocol):
    def __call__(
        self, vectors: Tensor, k: int, *, seed: int, restarts: int, iterations: int, start: Tensor | None
    ) -> Tensor: ...


def _blocks(rows: Tensor) -> Iterator[Tensor]:
    for first in range(0, len(rows), BLOCK_ROWS):
        yield rows[first : first + BLOCK_ROWS]


def _check(vectors: Tensor, k: int, iterations: int, start: Tensor | None, engine: str) -> None:
    if vectors.ndim != 2 or vectors.dtype != torch.float32:
        raise ValueError(f"expected float32 vectors [M, C], got {vectors.dtype} {list(vectors.shape)}")
    if k < 1 or iterations < 1:
        raise ValueError(f"expected k and iterations of 1 or more, got {k} and {iterations}")
    if start is not None and start.shape != (k, vectors.shape[1]):
        raise ValueError(f"expected start [{k}, {vectors.shape[1]}], got {list(start.shape)}")
    if engine not in ENGINES:
        raise ValueError(f"expected an engine of {ENGINES}, got '{engine}'")


def _directed_rows(vectors: Tensor) -> Tensor:
    if len(vectors) == 0:
        return torch.ones(0, dtype=torch.bool)
    norms = torch.cat([torch.linalg.vector_norm(block, dim=1) for block in _blocks(vectors)])
    return norms.isfinite() & (norms > 0)


def _restore_rows(clusters: Clusters, usable: Tensor) -> Clusters:
    assignments = torch.full((len(usable),), -1, dtype=torch.int64, device=usable.device)
    assignments[usable] = clusters.assignments
    return Clusters(clusters.centres, clusters.sizes, assignments, clusters.objective)


def _own_centres(vectors: Tensor) -> Clusters:
    count = len(vectors)
    order = torch.arange(count, device=vectors.device)
    return Clusters(vectors.clone(), torch.ones_like(order), order, 1.0 if count else float("nan"))


def _engine_for(vectors: Tensor, engine: str) -> _Lloyd:
    if engine == "auto":
        has_faiss = vectors.device.type == "cpu" and importlib.util.find_spec("faiss") is not None
        engine = "faiss" if has_faiss else "torch"
    return _faiss_lloyd if engine == "faiss" else _torch_lloyd


def _summarise(vectors: Tensor, assignments: Tensor, k: int) -> Clusters:
    sizes = torch.bincount(assignments, minlength=k)
    sums = _cluster_sums(vectors, assignments, k)
    kept = sizes > 0
    centres = (sums[kept] / sizes[kept, None]).float()
    renumbered = (kept.cumsum(0) - 1)[assignments]
    return Clusters(centres, sizes[kept], renumbered, _mean_cosine(vectors, renumbered, centres))


def _cluster_sums(vectors: Tensor, assignments: Tensor, k: int) -> Tensor:
    sums = torch.zeros(k, vectors.shape[1], dtype=torch.float64, device=vectors.device)
    for rows, labels in zip(_blocks(vectors), _blocks(assignments), strict=True):
        sums += (F.one_hot(labels, k).T.to(rows.dtype) @ rows).double()
    return sums


def _mean_cosine(vectors: Tensor, assignments: Tensor, centres: Tensor) -> float:
    directions = F.normalize(centres, dim=1)
    total = 0.0
    for rows, labels in zip(_blocks(vectors), _blocks(assignments), strict=True):
        products = (rows @ directions.T).gather(1, labels[:, None])[:, 0]
        total += float((products / torch.linalg.vector_norm(rows, dim=1)).double().sum())
    return total / len(vectors)


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
        search.cp.early_stop_threshold = 1e-7
    search.train(rows, init_centroids=None if start is None else F.normalize(start, dim=1).numpy())
    return torch.tensor(search.centroids)


def _torch_lloyd(vectors: Tensor, k: int, *, seed: int, restarts: int, iterations: int, start: Tensor | None) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    best, best_objective = torch.empty(0), -float("inf")
    for _ in range(1 if start is not None else restarts):
        first = vectors[torch.randperm(len(vectors), generator=generator)[:k].to(vectors.device)]
        centres, objective = _torch_descend(vectors, first if start is None else start, iterations)
        if objective > best_objective:
            best, best_objective = centres, objective
    return best


def _torch_descend(vectors: Tensor, centres: Tensor, iterations: int) -> tuple[Tensor, float]:
    directions, objective = F.normalize(centres, dim=1), -float("inf")
    for _ in range(iterations):
        sums, grown, worst = _torch_step(vectors, directions)
        empty = sums.abs().amax(dim=1) == 0
        sums[empty] = vectors[worst].to(sums.dtype)
        directions = F.normalize(sums, dim=1).float()
        if grown - objective <= 1e-7 * abs(grown) and not bool(empty.any()):
            return directions, grown
        objective = grown
    return directions, objective


def _torch_step(vectors: Tensor, directions: Tensor) -> tuple[Tensor, float, int]:
    """One read of the data: cluster sums, objective Σ x·ĉ, and the row that fits its centre worst."""
    sums = torch.zeros(directions.shape, dtype=torch.float64, device=vectors.device)
    objective, worst, worst_value = 0.0, 0, float("inf")
    for index, rows in enumerate(_blocks(vectors)):
        fits, labels = (rows @ directions.T).max(dim=1)
        sums += (F.one_hot(labels, len(directions)).T.to(rows.dtype) @ rows).double()
        objective += float(fits.double().sum())
        cosines = fits / torch.linalg.vector_norm(rows, dim=1)
        lowest = int(cosines.argmin())
        if float(cosines[lowest]) < worst_value:
            worst, worst_value = index * BLOCK_ROWS + lowest, float(cosines[lowest])
    return sums, objective, worst
