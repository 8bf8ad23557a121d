"""Normalisations of maps that some families keep in their files; NumPy only, for they run in writer threads."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Planes = NDArray[np.float32]


def stretched(maps: Planes) -> Planes:
    """Return every map stretched from its minimum..maximum to 0..1.

    A map that is the same everywhere has nothing to stretch: it is divided by its value, and zero stays zero.

    Args:
        maps: float32 [K, H, W], ≥ 0.

    >>> stretched(np.array([[[0.2, 0.6]], [[0.5, 0.5]], [[0.0, 0.0]]], np.float32)).tolist()
    [[[0.0, 1.0]], [[1.0, 1.0]], [[0.0, 0.0]]]
    """
    low = maps.min(axis=(1, 2), keepdims=True, initial=np.inf)
    flat = low == maps.max(axis=(1, 2), keepdims=True, initial=-np.inf)
    return peaked(maps - np.where(flat, 0, low).astype(np.float32))


def peaked(maps: Planes) -> Planes:
    """Return every map divided by its maximum; a map that is zero everywhere stays zero.

    Args:
        maps: float32 [K, H, W], ≥ 0.
    """
    peak = maps.max(axis=(1, 2), keepdims=True, initial=0)
    return (maps / np.where(peak > 0, peak, 1)).astype(np.float32)
