"""Images as a program holds them (batches, lists of any sizes, 8 bits or normalised) and their views."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lpcam.backbones.classifier import IMAGENET_MEAN, IMAGENET_STD
from lpcam.errors import LpcamError
from lpcam.views import view, view_size, with_mirror

Images = Tensor | Sequence[Any]
"""One batch [N, 3, H, W], or a list of [3, H, W] of any sizes.

Float tensors are what the model takes, normalised already. uint8 is a photo as it was read: [3, H, W] tensors, and
in a list also PIL images and NumPy arrays [H, W, 3].
"""


Normalisation = tuple[Sequence[float], Sequence[float]]
"""Mean and standard deviation of photos in 0..1, per channel."""

IMAGENET: Normalisation = (IMAGENET_MEAN, IMAGENET_STD)


@dataclass(frozen=True)
class ViewMaker:
    """Makes the views of images.

    Attributes:
        scales: S scales.
        mirror: Whether every view is followed by its mirror.
        normalisation: Of uint8 images.
        minimum_side: Of a view, in px.
    """

    scales: tuple[float, ...] = (1.0,)
    mirror: bool = False
    normalisation: Normalisation = IMAGENET
    minimum_side: int = 1

    def views(self, batch: Tensor) -> Iterator[tuple[float, Tensor]]:
        """Yield every scale with its views: float32 [V, B, 3, h, w], V = 2 with the mirror, else 1.

        Args:
            batch: uint8 or float [B, 3, H, W].
        """
        size = (batch.shape[2], batch.shape[3])
        for scale in self.scales:
            resized = self._resized(batch, view_size(size, scale, self.minimum_side))
            yield scale, with_mirror(resized) if self.mirror else resized[None]

    def _resized(self, batch: Tensor, size: tuple[int, int]) -> Tensor:
        if batch.dtype == torch.uint8:
            photos = batch.cpu().permute(0, 2, 3, 1).numpy()
            return torch.stack([view(np.ascontiguousarray(photo), size, *self.normalisation) for photo in photos])
        if tuple(batch.shape[2:]) == size:
            return batch.float()
        return F.interpolate(batch.float(), size, mode="bicubic", antialias=True)


def as_batches(images: Images) -> list[Tensor]:
    """Return the batches that are sent through the model: one tensor whole, the images of a list one by one.

    Raises:
        LpcamError: something is no image.
    """
    if isinstance(images, Tensor) or not isinstance(images, Sequence):
        batch = _checked(images, 4, "images", "for one image give image[None]")
        return [batch] if len(batch) else []
    return [as_image(image)[None] for image in images]


def as_image(image: object) -> Tensor:
    """Return one image as a tensor [3, H, W].

    Args:
        image: Tensor [3, H, W], or a photo: a PIL image, or uint8 [H, W, 3].

    Raises:
        LpcamError: it is none of these.
    """
    if hasattr(image, "convert"):
        image = np.array(image.convert("RGB"))
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3:
        return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
    return _checked(image, 3, "an image of a list", "give tensors, or photos as uint8 [H, W, 3]")


def _checked(images: object, dimensions: int, what: str, advice: str) -> Tensor:
    if not isinstance(images, Tensor) or images.ndim != dimensions or 0 in images.shape[-2:]:
        found = list(images.shape) if hasattr(images, "shape") else type(images).__name__
        wanted = ["N", "3", "H", "W"][-dimensions:]
        raise LpcamError(f"{what} is {found}, not a tensor [{', '.join(wanted)}]: {advice}")
    if images.dtype != torch.uint8 and not images.is_floating_point():
        raise LpcamError(f"{what} is of {images.dtype}: give floats, or uint8 for photos as they were read")
    return images
