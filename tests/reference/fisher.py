"""Regularised Fisher discriminants, one position at a time, the inverse by eigenvectors; slow on purpose."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Photo = tuple[Array, Sequence[int], Sequence[Array]]
"""Features [M, C], labels, and the CAM [M] of each label."""


def unit(feature: Array) -> Array | None:
    """Return f̂, or None for a feature without a direction."""
    length = math.sqrt(sum(float(value) ** 2 for value in feature))
    return feature / length if math.isfinite(length) and length > 0 else None


def activation(features: Array, vector: Array, offset: float) -> list[float]:
    """Return ReLU(f̂ · v − b) at every position of [M, C], 0 without a direction."""
    found = []
    for feature in features:
        direction = unit(feature)
        found.append(0.0 if direction is None else max(0.0, float(np.dot(direction, vector)) - offset))
    return found


def localise(features: Array, vector: Array, offset: float) -> Array:
    """Return the same of [C, h, w]: [h, w]."""
    rows = features.reshape(len(features), -1).T
    return np.array(activation(rows, vector, offset)).reshape(features.shape[1:])


def whitened(difference: Array, positions: Sequence[Array], ridge: float) -> Array:
    """Return (Σ + λ s I)^-1 d at length 1, by the eigenvectors of Σ; zero for d = 0."""
    mean = sum(positions) / len(positions)
    covariance = sum(np.outer(position - mean, position - mean) for position in positions) / len(positions)
    spread = np.trace(covariance) / len(mean)
    values, axes = np.linalg.eigh(covariance)
    vector = np.zeros(len(mean))
    for value, axis in zip(values, axes.T, strict=True):
        vector += axis * float(axis @ difference) / (value + ridge * spread)
    length = math.sqrt(float(vector @ vector))
    return vector / length if length > 0 else vector


def discriminants(
    photos: Sequence[Photo], classes: int, *, tau: float, own_tau: float, ridge: float, passes: int
) -> list[tuple[Array, float]]:
    """Return v_n and b_n of every class after the last pass."""
    positions = [f for features, _, _ in photos for f in map(unit, features) if f is not None]
    mean = sum(positions) / len(positions)
    lines = [(np.zeros(len(mean)), 0.0) for _ in range(classes)]
    for turn in range(passes):
        after = []
        for label, line in enumerate(lines):
            objects, rest = [], []
            for features, labels, cams in photos:
                if label not in labels:
                    continue
                values = cams[list(labels).index(label)] if turn == 0 else activation(features, *line)
                highest = 1.0 if turn == 0 else max(*values, 1e-30)
                for feature, value in zip(features, values, strict=True):
                    direction = unit(feature)
                    if direction is not None:
                        (objects if value / highest > (own_tau if turn else tau) else rest).append(direction)
            if not objects:
                after.append(line)
                continue
            against = sum(rest) / len(rest) if rest else mean
            vector = whitened(sum(objects) / len(objects) - against, positions, ridge)
            after.append((vector, float(vector @ mean)))
        lines = after
    return lines
