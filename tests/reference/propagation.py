"""The walk and PAMR, one position at a time; dense, no vectorisation on purpose. Features [C, h, w], maps [K, h, w]."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tests.reference.sipe import cosine, places

Array = NDArray[np.float64]


def on_grid(level: Array, grid: tuple[int, int]) -> Array:
    """Average a level over the cells of a coarser grid: cell y covers rows ⌊y H / h⌋ to ⌈(y + 1) H / h⌉."""
    height, width = level.shape[1:]
    found = np.zeros((len(level), *grid))
    for y in range(grid[0]):
        for x in range(grid[1]):
            rows = slice(y * height // grid[0], -(-(y + 1) * height // grid[0]))
            columns = slice(x * width // grid[1], -(-(x + 1) * width // grid[1]))
            found[:, y, x] = level[:, rows, columns].mean(axis=(1, 2))
    return found


def likeness(a: Array, b: Array) -> float:
    """Return the cosine; 1 of two zero vectors."""
    return 1.0 if not a.any() and not b.any() else cosine(a, b)


def affinities(levels: Sequence[Array], power: float) -> Array:
    """Return a [M, M] of levels, the first on the grid of the walk, each counting half of the one before."""
    grid = (levels[0].shape[1], levels[0].shape[2])
    levels = [on_grid(level, grid) for level in levels]
    where = places(levels[0])
    total = sum(0.5**index for index in range(len(levels)))
    found = np.zeros((len(where), len(where)))
    for i, (y, x) in enumerate(where):
        for j, (v, u) in enumerate(where):
            alike = sum(0.5**k / total * likeness(level[:, y, x], level[:, v, u]) for k, level in enumerate(levels))
            found[i, j] = max(0.0, alike) ** power
    return found


def walk(affinity: Array, start: Array, restart: float, steps: int) -> Array:
    """Return x_t of x_t = (1 − r) A x_{t−1} + r x_0 for every map [K, h, w]."""
    found = []
    for single in start:
        values = list(single.ravel())
        for _ in range(steps):
            values = [
                (1 - restart) * sum(row[j] * values[j] for j in range(len(row))) / row.sum() + restart * first
                for row, first in zip(affinity, single.ravel(), strict=True)
            ]
        found.append(np.reshape(values, single.shape))
    return np.stack(found)


def pamr(pixels: Array, maps: Array, iterations: int) -> Array:
    """Return maps [K, h, w] after iterations over pixels [3, h, w]; beyond the border lies the border again."""
    height, width = maps.shape[1:]
    shifts = [
        (dilation * dy, dilation * dx)
        for dilation in (1, 2, 4, 8)
        for dy in (-1, 0, 1)
        for dx in (-1, 0, 1)
        if (dy, dx) != (0, 0)
    ]
    for _ in range(iterations):
        moved = np.zeros_like(maps)
        for y, x in places(maps):
            around = [(min(max(y + dy, 0), height - 1), min(max(x + dx, 0), width - 1)) for dy, dx in shifts]
            colours = np.array([pixels[:, v, u] for v, u in around])
            deviation = 0.1 * colours.std(axis=0, ddof=1) + 1e-8
            scores = np.array([(-np.abs(colour - pixels[:, y, x]) / deviation).mean() for colour in colours])
            weights = np.exp(scores - scores.max())
            weights /= weights.sum()
            moved[:, y, x] = sum(weight * maps[:, v, u] for weight, (v, u) in zip(weights, around, strict=True))
        maps = moved
    return maps
