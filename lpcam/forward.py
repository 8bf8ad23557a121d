"""The forward pass: photos of a split through a classifier, every scale with its mirror, while the next are read."""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from lpcam.backbones.classifier import Classifier
from lpcam.datasets import photo_size, read_photo
from lpcam.errors import LpcamError
from lpcam.memory import unless_exhausted
from lpcam.precision import computing_in, resolve_precision
from lpcam.records import Attention, Failure, Photo, ViewFeatures
from lpcam.resampling import bicubic, is_settled
from lpcam.runtime import networks_of
from lpcam.views import check_scales, normalised, view, view_size, with_mirror

Result = TypeVar("Result")

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Loaded:
    """Photos of one size, read, and resized where the device does not do that.

    Attributes:
        photos: B photos.
        size: Their (H, W).
        images: For every scale float32 [B, 3, H_s, W_s], normalised; or, for a device that resizes, uint8
            [B, H, W, 3] alone.
    """

    photos: tuple[Photo, ...]
    size: tuple[int, int]
    images: tuple[Tensor, ...]

    @property
    def pixels(self) -> int:
        """Of all photos."""
        return len(self.photos) * math.prod(self.size)

    @property
    def is_resized(self) -> bool:
        """Whether the images are views of every scale."""
        return all(entry.is_floating_point() for entry in self.images)

    def halves(self) -> tuple[Loaded, Loaded]:
        """Return the first half of the photos and the rest, as views of the same memory."""
        middle = len(self.photos) // 2
        first, second = (
            Loaded(self.photos[part], self.size, tuple(entry[part] for entry in self.images))
            for part in (slice(middle), slice(middle, None))
        )
        return first, second


class Forward:
    """Sends photos through a classifier and keeps count of the seconds that took.

    On CUDA nothing here waits for the device: photos are copied as they were read, asynchronously, from pinned memory,
    and resized there; the seconds come from events that are read when they are asked for.

    Attributes:
        classifier: The frozen classifier, on its device.
        scales: S scales, see `lpcam.views`.
        device: Of the classifier.
        precision: Number format of the forward passes; features come out as float32 from all of them.
        halved: How often a batch was halved so far, for want of memory.

    Raises:
        LpcamError: scales, precision or runtime are unknown, or the runtime cannot be used.
    """

    def __init__(
        self, classifier: Classifier, scales: Sequence[float], *, precision: str = "float32", runtime: str = "fused"
    ) -> None:
        """Take a classifier.

        Args:
            classifier: Made channels-last in place.
            scales: Of the views.
            precision: One of `lpcam.precision.PRECISIONS`.
            runtime: What carries the network out, see `lpcam.runtime`.
        """
        self.classifier = classifier.to(memory_format=torch.channels_last)
        self.scales = check_scales(scales)
        self.device = classifier.class_weights.device
        self.precision = resolve_precision(precision, str(self.device))
        self._networks = networks_of(self.classifier, runtime, self.precision)
        self._clock = _CudaClock() if self.device.type == "cuda" else _Clock()
        self.halved = 0
        self._too_many_pixels = math.inf  # of a batch that did not fit
        scaled = ", ".join(f"{scale:g}" for scale in self.scales)
        _LOG.info("%s on %s by %s, scales %s with mirrors", self.precision, self.device, runtime, scaled)

    @property
    def resizes(self) -> bool:
        """Whether the device resizes photos, to the bytes the host would give it; a CPU leaves that to who reads."""
        return self.device.type == "cuda"

    @property
    def nearest(self) -> int:
        """Index of the scale nearest to 1, which what guides the maps is seen at."""
        return min(range(len(self.scales)), key=lambda index: abs(math.log(self.scales[index])))

    @property
    def seconds(self) -> float:
        """Time spent in the backbone alone so far; on CUDA this waits for what is under way."""
        return self._clock.seconds()

    def load(self, photos: Sequence[Photo]) -> Loaded | Failure:
        """Read photos of one size and make their views; a photo that cannot be read, or held, is a `Failure`."""
        try:
            loaded = unless_exhausted(lambda: self._read(photos))
            return loaded or self._too_large(photos[0], photo_size(photos[0].path))
        except LpcamError as error:
            return Failure(photos[0].name, str(error))

    def each(
        self, batches: Sequence[tuple[Photo, ...]], readers: int, work: Callable[[Loaded], Result]
    ) -> Iterator[tuple[Loaded, Result] | Failure]:
        """Yield what ``work`` makes of every batch, in order, while the next are read.

        Where host or device are out of memory, the batch is halved and both halves are tried; from then on a batch of
        as many pixels is halved at once. A single photo is tried twice, and is then a `Failure`.

        Args:
            batches: Photos of one size each.
            readers: Threads that read ahead, see `load_ahead`.
            work: Sends photos through the classifier.
        """
        for loaded in load_ahead(self.load, batches, readers):
            if isinstance(loaded, Failure):
                yield loaded
            else:
                yield from self._fitted(loaded, work)

    def _fitted(self, loaded: Loaded, work: Callable[[Loaded], Result]) -> Iterator[tuple[Loaded, Result] | Failure]:
        alone = len(loaded.photos) == 1
        if alone or loaded.pixels < self._too_many_pixels:
            result = unless_exhausted(lambda: work(loaded))
            if result is None and alone:
                result = unless_exhausted(lambda: work(loaded))
            if result is not None:
                yield loaded, result
                return
            if alone:
                yield self._too_large(loaded.photos[0], loaded.size)
                return
            self._too_many_pixels = loaded.pixels
        self.halved += 1
        for half in loaded.halves():
            yield from self._fitted(half, work)

    def _too_large(self, photo: Photo, size: tuple[int, int]) -> Failure:
        height, width = size
        scales = ",".join(f"{scale:g}" for scale in self.scales)
        return Failure(
            photo.name,
            f"out of memory: a photo of {height}×{width} px at the scales {scales} does not fit into what is free of "
            f"{self.device}: free some, leave out the largest of --scales, or scale the photo down",
        )

    def _read(self, photos: Sequence[Photo]) -> Loaded:
        pixels = [read_photo(photo.path) for photo in photos]
        height, width = pixels[0].shape[:2]
        sizes = self._sizes((height, width))
        if self.resizes and all(is_settled((height, width), size) for size in sizes):
            arrays = [np.stack(pixels)]
        else:
            net = self.classifier
            arrays = [np.stack([view(photo, size, net.mean, net.std).numpy() for photo in pixels]) for size in sizes]
        images = tuple(map(torch.from_numpy, arrays))
        if self.device.type == "cuda":
            images = tuple(entry.pin_memory() for entry in images)
        return Loaded(tuple(photos), (height, width), images)

    def _sizes(self, size: tuple[int, int]) -> list[tuple[int, int]]:
        return [view_size(size, scale, self.classifier.minimum_side) for scale in self.scales]

    def views(self, loaded: Loaded) -> Iterator[Tensor]:
        """Yield the photos at every scale: float32 [B, 3, H_s, W_s], normalised, on the device."""
        images = (entry.to(self.device, non_blocking=True) for entry in loaded.images)  # one scale at a time
        if loaded.is_resized:
            yield from images
            return
        planes = next(images).permute(0, 3, 1, 2).contiguous()
        for size in self._sizes(loaded.size):
            yield normalised(bicubic(planes, size), self.classifier.mean, self.classifier.std)

    def pixels(self, loaded: Loaded, index: int) -> Tensor:
        """Return a photo as it is seen at the scale nearest to 1: float32 [3, H_s, W_s] in 0..1, on the device."""
        net, seen = self.classifier, next(islice(self.views(loaded), self.nearest, None))[index]
        mean, std = (torch.tensor(values).to(seen.device, non_blocking=True) for values in (net.mean, net.std))
        return seen.mul(std[:, None, None]).add_(mean[:, None, None]).clamp_(0, 1)

    @torch.inference_mode()
    def features(self, loaded: Loaded) -> Iterator[Tensor]:
        """Yield, for every scale, the features of images and mirrors: float32 [2, B, C, h, w]."""
        for views in self.views(loaded):
            images = with_mirror(views).flatten(0, 1)
            features = self._timed(images.to(memory_format=torch.channels_last))
            yield features.view(2, len(loaded.photos), *features.shape[1:])

    @torch.inference_mode()
    def seen(
        self, loaded: Loaded, *, levels: Collection[int] = (), attention: bool = False
    ) -> Iterator[list[ViewFeatures]]:
        """Yield, for every scale, what the classifier makes of each of the B photos and its mirror.

        Where attention is asked for, torch carries the network out, whatever the runtime; a network that has attention
        has one level.

        Args:
            loaded: B photos.
            levels: Indices of the scales at which the features of all levels are wanted.
            attention: Whether what was attended to is wanted.

        Raises:
            LpcamError: the classifier has no attention.
        """
        count = len(loaded.photos)
        for scale, views in enumerate(self.views(loaded)):
            look = self._attended if attention else self._levels if scale in levels else self._features
            images = with_mirror(views).flatten(0, 1)
            found, seen = look(images.to(memory_format=torch.channels_last))
            of_photos = [level.float().view(2, count, *level.shape[1:]) for level in found]
            yield [
                ViewFeatures(
                    of_photos[-1][:, index],
                    tuple(level[:, index] for level in of_photos) if scale in levels else (),
                    seen and seen.of((index, count + index)),
                )
                for index in range(count)
            ]

    def _features(self, images: Tensor) -> tuple[tuple[Tensor, ...], None]:
        return (self._timed(images),), None

    def _levels(self, images: Tensor) -> tuple[tuple[Tensor, ...], None]:
        with self._clock:
            return self._networks.levels(images), None

    def _attended(self, images: Tensor) -> tuple[tuple[Tensor, ...], Attention]:
        with self._clock, computing_in(self.precision, str(self.device)):
            features, seen = self.classifier.attend(images)
        return (features,), Attention(seen.to_patches.float(), seen.among_patches.float())

    def _timed(self, images: Tensor) -> Tensor:
        with self._clock:
            features = self._networks.features(images)
        return features.float()


class _Clock:
    """Adds up the seconds spent inside ``with``."""

    def __init__(self) -> None:
        self._seconds = self._started = 0.0

    def __enter__(self) -> None:
        self._started = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._seconds += time.perf_counter() - self._started

    def seconds(self) -> float:
        return self._seconds


class _CudaClock(_Clock):
    """The same by events on the device's own time line, without waiting for it."""

    def __init__(self) -> None:
        super().__init__()
        self._open: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    def __enter__(self) -> None:
        pair = tuple(torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        pair[0].record()
        self._open.append((pair[0], pair[1]))

    def __exit__(self, *_: object) -> None:
        self._open[-1][1].record()

    def seconds(self) -> float:
        for start, end in self._open:
            end.synchronize()
            self._seconds += start.elapsed_time(end) / 1000
        self._open.clear()
        return self._seconds


def resolve_device(device: str) -> str:
    """Return ``cuda`` where ``auto`` finds a CUDA device, else ``cpu``; other names are kept.

    Raises:
        LpcamError: there is no such device, or not on this machine.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        asked = torch.device(device)
    except RuntimeError as error:
        raise LpcamError(f"unknown device '{device}': choose from auto, cpu, cuda, cuda:i") from error
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if asked.type == "cuda" and (asked.index or 0) >= there:
        raise LpcamError(f"there is no device '{device}' here ({there} CUDA devices): give --device cpu or auto")
    return device


def halving_notices(halved: int) -> tuple[str, ...]:
    """Return what a user should know of batches that were halved for want of memory."""
    again = "once" if halved == 1 else f"{halved} times"
    return (f"out of memory: batches were halved {again}; a smaller --batch-size fits",) if halved else ()


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

    At most ``workers`` + 1 batches are in memory. A batch that fails is loaded again when it is its turn, photo by
    photo: one broken photo takes no other with it, and one that found no room beside the batch before may find it then.
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
    if isinstance(result, Loaded):
        yield result
    else:
        for photo in batch:
            yield load([photo])


def _size_or_name(photo: Photo) -> object:
    try:
        return photo_size(photo.path)
    except LpcamError:
        return photo.name
