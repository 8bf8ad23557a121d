"""Cosine k-means as the published code computes it, without its random start: vectors one by one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tests.reference.lpcam import cosine

Array = NDArray[np.float64]


def kmeans(vectors: Array, start: Array, iterations: int) -> tuple[Array, list[int]]:
    """Return the raw-mean centres and the assignments; no cluster may become empty."""
    centres = start.copy()
    assignments: list[int] = []
    for _ in range(iterations):
        assignments = nearest(vectors, centres)
        for index in range(len(centres)):
            members = [vectors[i] for i, assigned in enumerate(assignments) if assigned == index]
            centres[index] = sum(members) / len(members)
    return centres, nearest(vectors, centres)


def nearest(vectors: Array, centres: Array) -> list[int]:
    """Return the centre of highest cosine of every vector."""
    return [int(np.argmax([cosine(vector, centre) for centre in centres])) for vector in vectors]
