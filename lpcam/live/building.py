"""Prototypes of a user's model from a loader: the corridor's stages 1 and 2 in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, IterableDataset

from lpcam.backbones.classifier import Classifier
from lpcam.corridor.clustering import settled_profile
from lpcam.corridor.gathering import gatherer
from lpcam.errors import LpcamError
from lpcam.extract import DEFAULT_DTYPE, features_and_cam, require_kept, stored
from lpcam.live.heads import ClassWeights, Head, find_head, identity
from lpcam.live.images import Normalisation, ViewMaker, as_batches, as_image
from lpcam.live.labels import labels_of, labels_of_batch
from lpcam.live.layers import ReshapeTransform
from lpcam.live.matching import check_channels
from lpcam.live.models import TappedModel
from lpcam.methods.cam import Cam
from lpcam.profiles import DEFAULT_PROFILE, Profile, get_profile
from lpcam.prototypes import Prototypes, Provenance, build_class
from lpcam.records import Photo, Progress, silent
from lpcam.store import MemoryFeatures, PhotoFeatures
from lpcam.views import PUBLISHED_SCALES

Loader = Iterable[Any] | Dataset[Any]
"""Batches (images, labels), as a DataLoader gives them, or a torch Dataset of single (image, labels)."""


def build_prototypes(
    model: nn.Module,
    loader: Loader,
    *,
    target_layer: str | nn.Module | None = None,
    class_weights: ClassWeights = None,
    classes: Sequence[str] | None = None,
    profile: Profile | str = DEFAULT_PROFILE,
    seed: int = 0,
    scales: Sequence[float] = PUBLISHED_SCALES,
    mirror: bool = True,
    dtype: str = DEFAULT_DTYPE,
    reshape_transform: ReshapeTransform | None = None,
    normalisation: Normalisation | None = None,
    progress: Progress = silent,
) -> Prototypes:
    """Build the prototypes of every class (LPCAM, Eq. 2 to 4) from labelled images, without a disk.

    The same pieces run as in ``lpcam extract-features`` and ``lpcam cluster``; on the same photos the same prototypes
    come out. All features of the images stay in memory: C·h·w values of ``dtype`` an image.

    Args:
        model: The classifier; it keeps its device, number format, modes and gradients.
        loader: Batches (images, labels), or a torch Dataset of (image, labels). Images as `lpcam.LPCAM` takes them,
            from a Dataset also PIL images. Labels: a tensor is multi-hot [N, K] (one image: [K]), a tensor of whole
            numbers [N] holds one class an image, lists hold class indices: ``[[11], [3, 14]]``.
        target_layer: Name or module whose output [N, C, h, w] the features are.
        class_weights: Matrix [K, C], or the layer that holds it, or its name; None for the model's last linear layer
            or 1×1 convolution.
        classes: K class names; None for ``class 0`` and so on.
        profile: Hyper-parameters: ``voc``, ``coco`` or `lpcam.get_profile` with changes.
        seed: Of the k-means starts and of the image draw.
        scales: Of the CAM that splits the features; 1 is among them. A model that takes one size only needs ``(1,)``.
        mirror: Whether the CAM sees the mirrors too.
        dtype: Of the features in memory: ``float16``, ``bfloat16`` or ``float32``.
        reshape_transform: Takes the layer's output to [N, C, h, w], for transformers.
        normalisation: Mean and standard deviation of uint8 photos in 0..1; None for ImageNet's.
        progress: Told after every batch and every class.

    Returns:
        The prototypes, ``save``-able; ``centres[n].counts()`` says what was found for class n.

    Raises:
        LpcamError: there is no image, the class weights are not found or do not fit, or an option cannot be used.
    """
    require_kept(scales, dtype)
    profile = get_profile(profile) if isinstance(profile, str) else profile
    tapped = TappedModel(model, target_layer, reshape_transform)
    head = find_head(model, class_weights, tapped.layer)
    names = _class_names(classes, len(head.weights))
    views = tapped.view_maker(scales, mirror, normalisation)
    entries = tuple(_collected(tapped, head, loader, views, dtype, progress))
    if not entries:
        raise LpcamError("the loader gives no image: check the data set, and give a loader that can be iterated again")
    features = MemoryFeatures(entries, {entry.name: entry for entry in entries}, head.weights.shape[1])
    profile = settled_profile(features, len(names), profile, seed)
    gather = gatherer(features, profile, seed, str(tapped.device))
    centres, weights = [], head.weights.double()  # once: a copy for each of many classes tears the heap apart
    for label in range(len(names)):
        centres.append(build_class(partial(gather, label), weights, label, profile, seed=seed))
        progress("cluster", label + 1, len(names))
    provenance = Provenance(
        classes=names,
        weights_sha256=identity(model, head),
        arch=model.arch if isinstance(model, Classifier) else type(model).__name__,
        layer=tapped.layer_name,
        stride=model.stride if isinstance(model, Classifier) else _stride(entries),
        profile=profile,
        seed=seed,
    )
    return Prototypes(tuple(centres), provenance)


def _stride(entries: Sequence[PhotoFeatures]) -> int:
    """Return the output stride in px, as the largest image shows it."""
    largest = max(entries, key=lambda photo: max(photo.size))
    return round(max(largest.size) / max(largest.features.shape[1:]))


def _class_names(classes: Sequence[str] | None, count: int) -> tuple[str, ...]:
    names = tuple(f"class {index}" for index in range(count)) if classes is None else tuple(classes)
    if len(names) != count:
        raise LpcamError(
            f"{len(names)} class names are given, the class weights are for {count}: "
            "name every class, or give class_weights"
        )
    return names


def _collected(
    tapped: TappedModel, head: Head, loader: Loader, views: ViewMaker, dtype: str, progress: Progress
) -> Iterator[PhotoFeatures]:
    """Yield what is kept of every image, on the CPU."""
    cam = Cam(head.weights.to(tapped.device))
    done = 0
    for batch, labels in _batches(loader, len(head.weights)):
        photos = [Photo(f"image {done + index}", Path(), of_image) for index, of_image in enumerate(labels)]
        for entry in _batch_features(tapped, cam, batch, photos, views):
            yield stored(entry, dtype)
        done += len(photos)
        progress("extract-features", done, done)


@torch.no_grad()
def _batch_features(
    tapped: TappedModel, cam: Cam, batch: Tensor, photos: list[Photo], views: ViewMaker
) -> list[PhotoFeatures]:
    def features() -> Iterator[tuple[float, Tensor]]:
        for scale, images in views.views(batch):
            found, _ = tapped.features(images)
            check_channels(cam.weights.shape[1], found, tapped.layer_name)
            yield scale, found

    return features_and_cam(photos, (batch.shape[2], batch.shape[3]), features(), cam)


def _batches(loader: Loader, num_classes: int) -> Iterator[tuple[Tensor, list[tuple[int, ...]]]]:
    """Yield images of one size with the labels of each."""
    if isinstance(loader, Dataset):
        for image, labels in _samples(loader):
            yield as_image(image)[None], [labels_of(labels, num_classes)]
        return
    for images, labels in loader:
        batches = as_batches(images)
        waiting = iter(labels_of_batch(labels, sum(map(len, batches)), num_classes))
        for batch in batches:
            yield batch, [next(waiting) for _ in range(len(batch))]


def _samples(dataset: Dataset[Any]) -> Iterator[Any]:
    if isinstance(dataset, IterableDataset):
        yield from dataset
    else:
        yield from (dataset[index] for index in range(len(dataset)))  # type: ignore[arg-type]
