"""CAM in IRN's multi-view form, pixel by pixel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def activation(features: Array, weight: Array) -> Array:
    """Return ReLU(w · f) of features [C, h, w]: [h, w]."""
    _, height, width = features.shape
    return np.array([[max(0.0, float(np.dot(weight, features[:, y, x]))) for x in range(width)] for y in range(height)])


def view_map(image: Array, mirror: Array, weight: Array) -> Array:
    """Return the maps of an image and its un-mirrored mirror, added."""
    return activation(image, weight) + activation(mirror, weight)[:, ::-1]


def bilinear(source: Array, size: tuple[int, int]) -> Array:
    """Resize [h, w] with half-pixel centres (align_corners=False), clamped at the border."""
    result = np.zeros(size)
    for y in range(size[0]):
        for x in range(size[1]):
            sy = min(max((y + 0.5) * source.shape[0] / size[0] - 0.5, 0), source.shape[0] - 1)
            sx = min(max((x + 0.5) * source.shape[1] / size[1] - 0.5, 0), source.shape[1] - 1)
            y0, x0 = int(sy), int(sx)
            y1, x1 = min(y0 + 1, source.shape[0] - 1), min(x0 + 1, source.shape[1] - 1)
            fy, fx = sy - y0, sx - x0
            result[y, x] = (1 - fy) * ((1 - fx) * source[y0, x0] + fx * source[y0, x1]) + fy * (
                (1 - fx) * source[y1, x0] + fx * source[y1, x1]
            )
    return result


def high_res(maps: Sequence[Array], size: tuple[int, int]) -> Array:
    """Sum the scales' maps at the next multiples of 16, crop to (H, W), divide by (max + 1e-5)."""
    padded = (-(-size[0] // 16) * 16, -(-size[1] // 16) * 16)
    total = sum(bilinear(scale_map, padded) for scale_map in maps)[: size[0], : size[1]]
    return total / (total.max() + 1e-5)
