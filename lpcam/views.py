"""Views of a photo (its scales, each with its mirror) and the way their maps are merged back.

The field's multi-scale form (IRN, Ahn & Kwak, CVPR 2019): a photo is resized to every scale, sent through the
classifier together with its mirror, and the maps of all scales are resized to two common sizes and summed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from lpcam.errors import LpcamError
from lpcam.records import ActivationMaps

PUBLISHED_SCALES = (1.0, 0.5, 1.5, 2.0)
CAM_EPSILON = 1e-5


def check_scales(scales: Sequence[float]) -> tuple[float, ...]:
    """Return the scales as a tuple.

    Raises:
        LpcamError: there is none, one is not in (0, 8], or one comes twice.
    """
    valid = tuple(float(scale) for scale in scales)
    if not valid or any(not 0 < scale <= 8 for scale in valid) or len(set(valid)) != len(valid):
        raise LpcamError(f"scales must be different numbers in (0, 8], got {list(valid)}: try 1,.5,1.5,2")
    return valid


def view_size(size: tuple[int, int], scale: float, minimum_side: int = 1) -> tuple[int, int]:
    """Return the (height, width) of a photo at a scale: round half to even, as the reference does.

    >>> view_size((375, 500), 0.5), view_size((1, 90), 0.5, minimum_side=32)
    ((188, 250), (32, 45))
    """
    height, width = (max(round(side * scale), minimum_side) for side in size)
    return height, width


def view(photo: NDArray[np.uint8], size: tuple[int, int], mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Resize a photo (PIL bicubic, as the reference) and normalise it.

    Args:
        photo: uint8 [H, W, 3], RGB.
        size: (height, width) of the view.
        mean: Per channel, of values in 0..1.
        std: Per channel, of values in 0..1.

    Returns:
        float32 [3, height, width].
    """
    resized = photo
    if photo.shape[:2] != tuple(size):
        image = Image.fromarray(photo).resize((size[1], size[0]), Image.Resampling.BICUBIC)
        resized = np.asarray(image)
    # By NumPy: torch in a thread that reads ahead starts workers of its own, which slow the forwards beside it down.
    pixels = np.array(resized.transpose(2, 0, 1), dtype=np.float32, order="C")
    zero, step = _zero_and_step(mean, std)
    pixels -= zero
    pixels *= step
    return torch.from_numpy(pixels)


def normalised(pixels: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Return resized pixels as `view` does, on any device.

    Args:
        pixels: uint8 [..., 3, height, width], RGB.
        mean: Per channel, of values in 0..1.
        std: Per channel, of values in 0..1.

    Returns:
        float32 of the same shape, on the same device.
    """
    zero, step = (torch.from_numpy(entry).to(pixels.device, non_blocking=True) for entry in _zero_and_step(mean, std))
    return pixels.float().sub_(zero).mul_(step)


def _zero_and_step(mean: Sequence[float], std: Sequence[float]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return, float32 [3, 1, 1] each, the grey value that becomes 0 and what one grey value more comes to."""
    zero, spread = (np.asarray(values, np.float32)[:, None, None] * 255 for values in (mean, std))
    return zero, np.reciprocal(spread)


def with_mirror(image: Tensor) -> Tensor:
    """Stack a view and its mirror: [..., H, W] → [2, ..., H, W]."""
    return torch.stack([image, image.flip(-1)])


def mirror_added(views: Tensor) -> Tensor:
    """Add what came of a view and, un-mirrored, of its mirror: [V, ..., W] → [..., W], V = 2, or 1 without a mirror.

    >>> mirror_added(torch.tensor([[1.0, 2.0], [20.0, 10.0]])).tolist()
    [11.0, 22.0]
    """
    return views[0] if len(views) == 1 else views[0] + views[1].flip(-1)


def strided_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return the size of IRN's strided maps: one value for every fourth pixel.

    >>> strided_size((375, 500)), strided_size((1, 1))
    ((94, 125), (1, 1))
    """
    return (size[0] - 1) // 4 + 1, (size[1] - 1) // 4 + 1


def padded_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return the next multiples of 16, the size high-res maps are made at before they are cropped."""
    return ((size[0] - 1) // 16 + 1) * 16, ((size[1] - 1) // 16 + 1) * 16


def sum_resized(maps: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    """Resize the maps of all scales to one size and sum them: S × [K, h, w] → [K, *size]."""
    if maps[0].shape[0] == 0:
        return maps[0].new_zeros(0, *size)
    resized = [F.interpolate(scale_maps[None], size, mode="bilinear", align_corners=False)[0] for scale_maps in maps]
    return torch.stack(resized).sum(dim=0)


def sum_strided(maps: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    """Resize the maps of all scales to the strided size and sum them: S × [K, h, w] → [K, H', W']."""
    return sum_resized(maps, strided_size(size))


def sum_high_res(maps: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    """Resize the maps of all scales to the padded size, sum, crop: S × [K, h, w] → [K, H, W]."""
    return sum_resized(maps, padded_size(size))[:, : size[0], : size[1]]


def normalise(maps: Tensor, epsilon: float = 0.0) -> Tensor:
    """Divide every map by its maximum (+ epsilon); a map that is zero everywhere stays zero.

    Args:
        maps: float [K, H, W], ≥ 0.
        epsilon: 1e-5 for CAM, 0 for LPCAM, as published.

    Departs from the paper: the published LPCAM code turns an all-zero map into NaN.
    """
    if maps.shape[0] == 0:
        return maps
    peak = maps.amax(dim=(1, 2), keepdim=True) + epsilon
    return maps / torch.where(peak > 0, peak, torch.ones_like(peak))


def merge_scales(
    maps: Sequence[Tensor], labels: tuple[int, ...], size: tuple[int, int], epsilon: float
) -> ActivationMaps:
    """Merge the maps of all scales into normalised activation maps of both sizes.

    Averaging (LPCAM's code) and summing (CAM's) differ by a factor that the division by the maximum takes away.

    Args:
        maps: One float32 [K, h_s, w_s] a scale, image and mirror already merged.
        labels: The K class indices.
        size: (H, W) of the photo.
        epsilon: Added to the maximum before the division.
    """
    return ActivationMaps(
        labels=labels,
        strided=normalise(sum_strided(maps, size), epsilon),
        high_res=normalise(sum_high_res(maps, size), epsilon),
    )
