"""Activation maps as seed files hold them: what is checked before writing, and what is rebuilt after reading."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from lpcam.errors import LpcamError
from lpcam.records import ActivationMaps
from lpcam.views import strided_size

UNKNOWN_SIZE = ActivationMaps((), torch.zeros(0, 0, 0), torch.zeros(0, 0, 0))
"""The maps of a photo without classes, of a family that keeps no size then."""


def check(maps: ActivationMaps, *, sized: bool = True) -> None:
    """Refuse maps that a reader would trip over.

    Args:
        maps: Of one photo.
        sized: Whether a photo without classes must have a size too.

    Raises:
        ValueError: types or shapes do not fit, a photo has no pixel, or a value is NaN or infinite.
    """
    strided, high_res = maps.strided, maps.high_res
    if strided.dtype != torch.float32 or high_res.dtype != torch.float32:
        raise ValueError(f"expected float32 maps, got {strided.dtype} and {high_res.dtype}")
    if high_res.ndim != 3 or len(maps.labels) != len(high_res):
        raise ValueError(f"expected high_res [{len(maps.labels)}, H, W], got {list(high_res.shape)}")
    expected = (len(maps.labels), *strided_size((high_res.shape[1], high_res.shape[2])))
    if tuple(strided.shape) != expected:
        raise ValueError(f"expected strided {list(expected)}, got {list(strided.shape)}")
    if 0 in high_res.shape[1:] and (sized or maps.labels):
        raise ValueError(f"expected the size of the photo, got maps of {list(high_res.shape)}")
    # By NumPy, for the reason given in `lpcam.views.view`.
    if not all(np.isfinite(as_numpy(tensor)).all() for tensor in (strided, high_res)):
        raise ValueError("expected finite maps, got NaN or infinity")


def strided_of(high_res: Tensor) -> Tensor:
    """Resize [K, H, W] to IRN's strided size, bilinear, align_corners=False, without smoothing before.

    For families whose files hold the full size only. The maps were made far smaller than the strided size, so
    every fourth value says what the others say; they differ a little from the strided maps of `lpcam generate`.
    """
    size = strided_size((high_res.shape[1], high_res.shape[2]))
    if len(high_res) == 0:
        return high_res.new_zeros(0, *size)
    return F.interpolate(high_res[None], size, mode="bilinear", align_corners=False)[0]


def from_high_res(labels: tuple[int, ...], high_res: NDArray[Any]) -> ActivationMaps:
    """Return the maps of a file that holds the full size only; float16 becomes float32."""
    full = torch.tensor(np.asarray(high_res), dtype=torch.float32)
    if full.ndim != 3:
        raise ValueError(f"expected maps [K, H, W], got {list(full.shape)}")
    return ActivationMaps(labels, strided_of(full), full)


def background_of(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what no class claims, 1 − max_k: [K, H, W] → [1, H, W] in 0..1; 1 everywhere without classes."""
    highest = maps.max(axis=0, keepdims=True, initial=0.0)
    background: NDArray[np.float32] = np.clip(1 - highest, 0, 1).astype(np.float32)
    return background


def as_numpy(tensor: Tensor) -> NDArray[Any]:
    """Return a tensor's values on the CPU."""
    array: NDArray[Any] = tensor.detach().cpu().numpy()
    return array


def class_keys(keys: Any) -> tuple[int, ...]:
    """Return the class indices of a file, whether a list, NumPy or torch holds them.

    Raises:
        ValueError: they are not whole numbers in a row, or one is below 0 or there twice.
    """
    array = np.asarray(keys)
    if array.ndim != 1 or (array.dtype.kind not in "iu" and array.size):
        raise ValueError(f"expected integer keys [K], got {array.dtype} {list(array.shape)}")
    labels = tuple(int(key) for key in array)
    if min(labels, default=0) < 0 or len(set(labels)) < len(labels):
        raise ValueError(f"expected keys from 0, each once, got {list(labels[:20])}")
    return labels


@contextmanager
def reading(path: Path, title: str) -> Iterator[None]:
    """Turn what goes wrong with a foreign dictionary into one line.

    Raises:
        LpcamError: in place of a missing key, a wrong type or a wrong shape.
    """
    try:
        yield
    except (AttributeError, KeyError, IndexError, TypeError, ValueError, RuntimeError, OverflowError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error).partition("\n")[0]
        raise LpcamError(
            f"{path} does not hold {title} seeds ({reason}): 'lpcam inspect {path}' says of which family it is; "
            "where it is damaged, delete it and run 'lpcam generate' again"
        ) from error
