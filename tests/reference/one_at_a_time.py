"""CAM's and LPCAM's seeds as the published code generates them: one photo at a time, one step after the other.

A photo is read and resized to every scale (PIL, bicubic); image and mirror go through the network as a batch of two in
torch's default layout, without gradients. CAM adds the maps of both, LPCAM their features; LPCAM then makes one cosine
map for every class prototype and every context prototype of each class. Maps are resized to both sizes, merged over
the scales, divided by their maximum and saved by NumPy as one pickled dictionary. Nothing is shared, and nothing
overlaps but the reading of the next photos, where that is asked for.

Transcribed from the description of the method; the baseline of the benchmark of generate, and an oracle of its seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from lpcam.backbones.classifier import Classifier
from lpcam.records import Photo
from tests.reference.one_by_one import prototype_maps

Prototypes = Mapping[int, tuple[Tensor, Tensor]]
"""For every class index its class prototypes [P, C] and its context prototypes [P', C]."""

Views = tuple[list[Tensor], tuple[int, int]]
"""Image and mirror [2, 3, h, w] at every scale, and the photo's (H, W)."""


def write_cam(net: Classifier, photos: Sequence[Photo], scales: Sequence[float], folder: Path) -> None:
    """Write CAM's seeds of photos."""
    folder.mkdir(parents=True, exist_ok=True)
    for photo in photos:
        np.save(folder / f"{photo.name}.npy", cam_seeds(net, photo, scales))


def write_lpcam(
    net: Classifier,
    photos: Sequence[Photo],
    scales: Sequence[float],
    prototypes: Prototypes,
    folder: Path,
    readers: int = 0,
) -> None:
    """Write LPCAM's seeds of photos; that many threads read ahead, as the published code's processes do, or none."""
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(max(readers, 1)) as pool:
        read = pool.map if readers else map
        for photo, views in zip(photos, read(lambda photo: read_views(net, photo, scales), photos), strict=True):
            np.save(folder / f"{photo.name}.npy", lpcam_seeds(net, photo, views, prototypes))


@torch.no_grad()
def cam_seeds(net: Classifier, photo: Photo, scales: Sequence[float]) -> dict[str, Any]:
    """Return CAM's dictionary of one photo: the maps of all classes are merged, those of its own are kept."""
    images, size = read_views(net, photo, scales)
    kernel = net.class_weights[:, :, None, None]
    maps = []
    for image_and_mirror in images:
        both = F.relu(F.conv2d(net.features(image_and_mirror), kernel))
        maps.append(both[0] + both[1].flip(-1))
    own = list(photo.labels)
    strided = torch.sum(torch.stack(resized(maps, strided_size(size))), 0)[own]
    high_res = torch.sum(torch.stack(resized(maps, padded_size(size))), 0)[own, : size[0], : size[1]]
    strided /= strided.amax(dim=(1, 2), keepdim=True) + 1e-5
    high_res /= high_res.amax(dim=(1, 2), keepdim=True) + 1e-5
    return {"keys": torch.tensor(own), "cam": strided.cpu(), "high_res": high_res.cpu().numpy()}


@torch.no_grad()
def lpcam_seeds(net: Classifier, photo: Photo, views: Views, prototypes: Prototypes) -> dict[str, Any]:
    """Return LPCAM's dictionary of one photo; as published, a map that is zero everywhere becomes NaN."""
    images, size = views
    maps = []
    for image_and_mirror in images:
        both = net.features(image_and_mirror)
        features = both[0] + both[1].flip(-1)
        maps.append(torch.stack([localise(features, *prototypes[label]) for label in photo.labels]))
    strided = torch.mean(torch.stack(resized(maps, strided_size(size))), 0)
    high_res = torch.mean(torch.stack(resized(maps, padded_size(size))), 0)[:, : size[0], : size[1]]
    strided /= strided.amax(dim=(1, 2), keepdim=True)
    high_res /= high_res.amax(dim=(1, 2), keepdim=True)
    return {"keys": torch.tensor(list(photo.labels)), "cam": strided.cpu(), "high_res": high_res.cpu().numpy()}


def localise(features: Tensor, classes: Tensor, context: Tensor) -> Tensor:
    """Return ReLU(FG − BG), or FG alone, without ReLU, for a class without context prototypes: [h, w]."""
    foreground = prototype_maps(features, classes)
    return F.relu(foreground - prototype_maps(features, context)) if len(context) else foreground


def read_views(net: Classifier, photo: Photo, scales: Sequence[float]) -> Views:
    """Return image and mirror [2, 3, h, w] at every scale, and the photo's (H, W)."""
    image = Image.open(photo.path).convert("RGB")
    size = (image.height, image.width)
    views = []
    for scale in scales:
        target = (round(size[1] * scale), round(size[0] * scale))
        view = image if scale == 1 else image.resize(target, Image.Resampling.BICUBIC)
        pixels = ((np.asarray(view) / 255 - net.mean) / net.std).astype(np.float32).transpose(2, 0, 1)
        views.append(torch.from_numpy(np.stack([pixels, np.flip(pixels, -1)])))
    return views, size


def resized(maps: Sequence[Tensor], size: tuple[int, int]) -> list[Tensor]:
    """Resize the maps [K, h, w] of every scale to one size."""
    return [F.interpolate(scale[None], size, mode="bilinear", align_corners=False)[0] for scale in maps]


def strided_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return every fourth pixel's grid."""
    return (size[0] - 1) // 4 + 1, (size[1] - 1) // 4 + 1


def padded_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return the next multiples of 16."""
    return ((size[0] - 1) // 16 + 1) * 16, ((size[1] - 1) // 16 + 1) * 16
