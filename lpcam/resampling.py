"""Pillow's bicubic resampling of 8-bit photos, to the byte, on any device.

A photo is resized along its rows, then along its columns, in whole numbers: every weight is rounded to 2⁻²², a sum of
weighted pixels is rounded to the nearest value of 0..255, half up. Sums stay below 2³¹ and whole numbers add up the
same in any order, so that a GPU gives the bytes that Pillow gives on the host, where resizing would take longer than
the GPU's forward passes.

The kernel is Keys' (1981) with a = −1/2; below scale 1 it is stretched over the pixels that it merges.

Pillow 13 resizes photos that lose many more rows than columns along the columns first, older versions do not:
`is_settled` says for which sizes all of them agree.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_BITS = 22  # of a weight's fraction
_SUPPORT = 2.0  # of the kernel, on either side
_A = -0.5


def is_settled(before: tuple[int, int], after: tuple[int, int]) -> bool:
    """Return whether every version of Pillow resizes a photo between two sizes along its rows first, as `bicubic` does.

    Args:
        before: (H, W).
        after: (height, width).

    >>> is_settled((375, 500), (188, 250)), is_settled((500, 200), (250, 100))
    (True, False)
    """
    rows, columns = before[0] - after[0], before[1] - after[1]
    return rows <= 0 or rows <= 2 * columns


def bicubic(photos: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize photos as ``PIL.Image.resize(…, Resampling.BICUBIC)`` does, see `is_settled`.

    Args:
        photos: uint8 [..., H, W], one colour after the other.
        size: (height, width) ≥ 1 px.

    Returns:
        uint8 [..., height, width] on the same device; the photos themselves where they have that size.

    Raises:
        TypeError: the photos are not uint8.
        ValueError: a side is below 1 px.

    >>> bicubic(torch.tensor([[0, 100, 200, 255]], dtype=torch.uint8), (1, 2)).tolist()
    [[60, 221]]
    """
    if photos.dtype != torch.uint8:
        raise TypeError(f"expected photos of torch.uint8, got {photos.dtype}")
    if min(*photos.shape[-2:], *size) < 1:
        raise ValueError(f"expected sides of 1 px or more, got {list(photos.shape[-2:])} to {list(size)}")
    return _along(_along(photos, -1, size[1]), -2, size[0])


def _along(photos: Tensor, dim: int, size: int) -> Tensor:
    """Resize along one dimension: the weighted sum of as many pixels as the kernel sees, one after the other."""
    if photos.shape[dim] == size:
        return photos
    shape = [*photos.shape]
    shape[dim] = size
    sums = torch.full(shape, 1 << (_BITS - 1), dtype=torch.int32, device=photos.device)
    across = [1] * -dim  # a weight for every place along the dimension, the same for all others
    across[0] = size
    for places, weights in zip(*_taps_on(photos.device, photos.shape[dim], size), strict=True):
        sums.addcmul_(photos.index_select(dim, places), weights.view(across))
    return sums.bitwise_right_shift_(_BITS).clamp_(0, 255).to(torch.uint8)


@lru_cache(maxsize=4096)
def _taps_on(device: torch.device, before: int, after: int) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Return `taps` as tensors: for every tap int32 [after] places and int32 [after] weights, on a device."""
    places, weights = (torch.from_numpy(table).to(device, non_blocking=True).unbind() for table in taps(before, after))
    return places, weights


def taps(before: int, after: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return which pixels of a line go into each pixel of the resized one, and with what weight.

    Args:
        before: Pixels of the line.
        after: Pixels of the resized line.

    Returns:
        Places int32 [T, after] in 0..before−1, and weights int32 [T, after] in units of 2⁻²²; a tap that a pixel does
        not have weighs nothing.

    >>> places, weights = taps(4, 2)
    >>> (weights.sum(axis=0) / 2**22).round(6).tolist()
    [1.0, 1.0]
    """
    scale = before / after
    stretch = max(scale, 1.0)
    centres = (np.arange(after) + 0.5) * scale
    first = np.maximum((centres - _SUPPORT * stretch + 0.5).astype(np.int64), 0)  # towards zero, as C does
    last = np.minimum((centres + _SUPPORT * stretch + 0.5).astype(np.int64), before)
    places = first + np.arange((last - first).max())[:, None]
    there = places < last
    shares = np.where(there, _kernel((places - centres + 0.5) * (1.0 / stretch)), 0.0)
    total = np.zeros(after)
    for tap in shares:  # one after the other: the last bit of a sum depends on the order
        total += tap
    scaled = shares / total * (1 << _BITS)
    return np.where(there, places, 0).astype(np.int32), np.trunc(scaled + np.copysign(0.5, scaled)).astype(np.int32)


def _kernel(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    x = np.abs(distance)
    near = ((_A + 2.0) * x - (_A + 3.0)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * _A
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))
