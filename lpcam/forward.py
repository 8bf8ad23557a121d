"""The forward pass: photos of a split through a classifier, every scale with its mirror, while the next are read."""

from __future__ import annotations

import ctypes
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lpcam.backbones.classifier import Classifier
from lpcam.datasets import photo_size, read_photo
from lpcam.errors import LpcamError
from lpcam.records import Failure, Photo
from lpcam.views import check_scales, view, view_size, with_mirror


@dataclass(frozen=True)
class Loaded:
    """Photos of one size, read and resized.

    Attributes:
        photos: B photos.
        size: Their (H, W).
        views: For every scale float32 [B, 3, H_s, W_s], normalised.
    """

    photos: tuple[Photo, ...]
    size: tuple[int, int]
    views: tuple[Tensor, ...]


class Forward:
    """Sends photos through a classifier and keeps count of the seconds that took.

    Attributes:
        classifier: The frozen classifier, on its device.
        scales: S scales, see `lpcam.views`.
        seconds: Time spent in the backbone alone so far.
    """

    def __init__(self, classifier: Classifier, scales: Sequence[float]) -> None:
        self.classifier = classifier.to(memory_format=torch.channels_last)
        self.scales = check_scales(scales)
        self.seconds = 0.0

    def load(self, photos: Sequence[Photo]) -> Loaded | Failure:
        """Read photos of one size and make their views; a photo that cannot be read is a `Failure`."""
        try:
            pixels = [read_photo(photo.path) for photo in photos]
        except LpcamError as error:
            return Failure(photos[0].name, str(error))
        height, width = pixels[0].shape[:2]
        net = self.classifier
        sizes = [view_size((height, width), scale, net.minimum_side) for scale in self.scales]
        views = (np.stack([view(photo, size, net.mean, net.std).numpy() for photo in pixels]) for size in sizes)
        return Loaded(tuple(photos), (height, width), tuple(map(torch.from_numpy, views)))

    @torch.inference_mode()
    def features(self, loaded: Loaded) -> Iterator[Tensor]:
        """Yield, for every scale, the features of images and mirrors: float32 [2, B, C, h, w].

        Raises:
            LpcamError: the features are not finite.
        """
        for views in loaded.views:
            images = with_mirror(views).flatten(0, 1).to(memory_format=torch.channels_last)
            features = self._timed(images)
            yield features.view(2, len(loaded.photos), *features.shape[1:])

    def _timed(self, images: Tensor) -> Tensor:
        started = time.perf_counter()
        features = self.classifier.features(images.to(self.classifier.class_weights.device, non_blocking=True))
        if features.is_cuda:
            torch.cuda.synchronize(features.device)
        self.seconds += time.perf_counter() - started
        return features


def resolve_device(device: str) -> str:
    """Return ``cuda`` where ``auto`` finds a CUDA device, else ``cpu``; other names are kept."""
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"


def release_memory() -> None:
    """Give freed memory back to the system, where the C library can do that.

    Views of many sizes fragment the heap of glibc, which otherwise keeps what was freed: resident memory would grow
    with the number of photo sizes seen. Costs a few milliseconds.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def plan_batches(photos: Sequence[Photo], batch_size: int) -> list[tuple[Photo, ...]]:
    """Put photos of one size together, at most ``batch_size`` a batch; their order is kept otherwise.

    A photo whose header cannot be read is alone in its batch; loading it will say why.
    """
    if batch_size == 1:
        return [(photo,) for photo in photos]
    groups: dict[object, list[Photo]] = {}
    for photo in photos:
        groups.setdefault(_size_or_name(photo), []).append(photo)
    return [
        tuple(group[first : first + batch_size])
        for group in groups.values()
        for first in range(0, len(group), batch_size)
    ]


def load_ahead(
    load: Callable[[Sequence[Photo]], Loaded | Failure], batches: Sequence[tuple[Photo, ...]], workers: int
) -> Iterator[Loaded | Failure]:
    """Yield every batch loaded, in order, while ``workers`` threads load the next ones.

    At most ``workers`` + 1 batches are in memory. A batch that fails is loaded again photo by photo, so that one
    broken photo takes no other with it.
    """
    if workers == 0:
        for batch in batches:
            yield from _one_by_one(load, batch, load(batch))
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="lpcam-load") as pool:
        waiting: deque[tuple[tuple[Photo, ...], Future[Loaded | Failure]]] = deque()
        upcoming = iter(batches)
        try:
            for batch in upcoming:
                waiting.append((batch, pool.submit(load, batch)))
                if len(waiting) > workers:
                    first, future = waiting.popleft()
                    yield from _one_by_one(load, first, future.result())
            while waiting:
                first, future = waiting.popleft()
                yield from _one_by_one(load, first, future.result())
        finally:
            for _, future in waiting:
                future.cancel()


def _one_by_one(
    load: Callable[[Sequence[Photo]], Loaded | Failure], batch: tuple[Photo, ...], result: Loaded | Failure
) -> Iterator[Loaded | Failure]:
    if isinstance(result, Loaded) or len(batch) == 1:
        yield result
    else:
        for photo in batch:
            yield load([photo])


def _size_or_name(photo: Photo) -> object:
    try:
        return photo_size(photo.path)
    except LpcamError:
        return photo.name
