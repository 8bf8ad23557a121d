"""Activation maps for the tests of refiners."""

from __future__ import annotations

import numpy as np
import torch

from lpcam.records import ActivationMaps

SIZES = [(1, 1), (97, 130), (375, 500)]
LABELS = [(), (4,), (0, 7, 19)]


def make_maps(labels, size, seed: int = 0) -> ActivationMaps:
    """Return smooth maps in 0..1 whose maximum is a little below 1, as CAM's is (max / (max + 1e-5))."""
    height, width = size
    random = np.random.default_rng(seed)
    small = torch.from_numpy(random.random((len(labels), 5, 7), dtype=np.float32))
    if not labels:
        strided, high_res = torch.zeros(0, (height - 1) // 4 + 1, (width - 1) // 4 + 1), torch.zeros(0, height, width)
    else:
        strided, high_res = (
            torch.nn.functional.interpolate(small[None], of, mode="bilinear", align_corners=False)[0]
            for of in (((height - 1) // 4 + 1, (width - 1) // 4 + 1), size)
        )
        strided, high_res = (maps / (maps.amax(dim=(1, 2), keepdim=True) + 1e-4) for maps in (strided, high_res))
    return ActivationMaps(tuple(labels), strided, high_res)


def seeds_of(maps: ActivationMaps, threshold: float) -> np.ndarray:
    """Return the label image, pixel by pixel: the class of the highest map, background where none is above."""
    height, width = maps.high_res.shape[1:]
    values = maps.high_res.numpy()
    image = np.zeros((height, width), dtype=np.int64)
    best = np.full((height, width), threshold, dtype=np.float32)
    for label, value in zip(maps.labels, values, strict=True):
        image[value > best] = label + 1
        best = np.maximum(best, value)
    return image
