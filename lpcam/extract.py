"""Stage 1: local features of scale 1, and the multi-scale CAM sampled at their grid, in one pass over the photos."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lpcam.errors import LpcamError
from lpcam.forward import Forward, Loaded, load_ahead, plan_batches, release_memory
from lpcam.methods.cam import Cam
from lpcam.records import DataSplit, Execution, Failure, Photo, Progress, StageReport, silent
from lpcam.store import DTYPES, Description, PhotoFeatures, is_complete, shard_is_complete, write_manifest, write_shard
from lpcam.views import normalise, sum_high_res

DEFAULT_SHARD_SIZE = 32
DEFAULT_DTYPE = "float16"


def describe(split: DataSplit, forward: Forward, dtype: str) -> Description:
    """Return what the features of a split under a classifier are."""
    net = forward.classifier
    return Description(
        classes=split.classes,
        dataset=split.dataset,
        split=split.split,
        photos=split.fingerprint,
        weights_sha256=net.sha256,
        arch=net.arch,
        layer=net.layer,
        stride=net.stride,
        channels=net.channels,
        scales=forward.scales,
        dtype=dtype,
        precision=forward.precision,
    )


def extract(
    split: DataSplit,
    forward: Forward,
    folder: Path,
    *,
    dtype: str = DEFAULT_DTYPE,
    shard_size: int = DEFAULT_SHARD_SIZE,
    execution: Execution = Execution(),
    sources: dict[str, Any] | None = None,
    progress: Progress = silent,
) -> StageReport:
    """Write the feature store of a split; shards that are already whole are kept.

    Memory: one shard of features in the store's dtype, twice while it is written, and the views of
    one more batch than there are workers. It does not grow with the number of photos.

    Args:
        split: Photos and labels.
        forward: Classifier and scales; scale 1 must be among them.
        folder: Of the store.
        dtype: ``float16``, ``bfloat16`` or ``float32``.
        shard_size: Photos a shard.
        execution: Batch size and workers; device and precision are those of ``forward``.
        sources: Stored in the manifest.
        progress: Told after every batch.

    Raises:
        LpcamError: scale 1 is missing, the features do not fit the dtype, or the folder cannot be written.
    """
    if 1.0 not in forward.scales:
        raise LpcamError(f"scales {list(forward.scales)} lack 1, the scale the features come from: add it")
    if shard_size < 1:
        raise LpcamError(f"shard size is {shard_size}: choose 1 or more")
    started, before = time.perf_counter(), forward.seconds
    description = describe(split, forward, dtype)
    if is_complete(folder, description):
        return StageReport(0, len(split.photos), (), time.perf_counter() - started, 0.0, split.notices)
    shards = [split.photos[first : first + shard_size] for first in range(0, len(split.photos), shard_size)]
    failures: list[Failure] = []
    done = skipped = 0
    for index, photos in enumerate(shards):
        names = [photo.name for photo in photos]
        before_shard = index * shard_size
        progress("extract-features", before_shard, len(split.photos))
        if shard_is_complete(folder, index, description, names):
            skipped += len(photos)
            continue
        extracted, failed = _extract_shard(
            photos,
            forward,
            dtype,
            execution,
            _counted_on(progress, before_shard, len(split.photos)),
        )
        write_shard(folder, index, extracted, failed, description, names)
        release_memory()
        failures += failed
        done += len(extracted)
    progress("extract-features", len(split.photos), len(split.photos))
    write_manifest(folder, description, len(shards), forward.classifier.class_weights, sources or {})
    return StageReport(
        done, skipped, tuple(failures), time.perf_counter() - started, forward.seconds - before, split.notices
    )


@torch.inference_mode()
def photo_features(forward: Forward, loaded: Loaded) -> list[PhotoFeatures]:
    """Return what the store keeps of each photo of a batch.

    The CAM is the published split criterion: the normalised multi-scale high-res CAM, nearest-sampled at the grid.
    """
    cam = Cam(forward.classifier.class_weights)
    kept: list[Tensor] = []
    maps: list[list[Tensor]] = [[] for _ in loaded.photos]
    for scale, features in zip(forward.scales, forward.features(loaded), strict=True):
        for index, photo in enumerate(loaded.photos):
            maps[index].append(cam.view_maps(features[:, index], photo.labels))
            if scale == 1.0:
                kept.append(features[0, index])
    return [
        PhotoFeatures(
            photo.name, photo.labels, loaded.size, kept[index], _grid_cam(maps[index], loaded.size, kept[index])
        )
        for index, photo in enumerate(loaded.photos)
    ]


def _grid_cam(maps: Sequence[Tensor], size: tuple[int, int], features: Tensor) -> Tensor:
    grid = (features.shape[1], features.shape[2])
    high_res = normalise(sum_high_res(maps, size), Cam.epsilon)
    if high_res.shape[0] == 0:
        return high_res.new_zeros(0, *grid, device="cpu")
    return F.interpolate(high_res[None], grid, mode="nearest")[0].cpu()


def _extract_shard(
    photos: Sequence[Photo], forward: Forward, dtype: str, execution: Execution, counted: Callable[[int], None]
) -> tuple[list[PhotoFeatures], list[Failure]]:
    extracted: dict[str, PhotoFeatures] = {}
    failures: list[Failure] = []
    for loaded in load_ahead(forward.load, plan_batches(photos, execution.batch_size), execution.workers):
        if isinstance(loaded, Failure):
            failures.append(loaded)
        else:
            extracted |= {entry.name: _stored(entry, dtype) for entry in photo_features(forward, loaded)}
        counted(len(extracted) + len(failures))
    return [extracted[photo.name] for photo in photos if photo.name in extracted], failures


def _counted_on(progress: Progress, first: int, total: int) -> Callable[[int], None]:
    return lambda done: progress("extract-features", first + done, total)


def _stored(entry: PhotoFeatures, dtype: str) -> PhotoFeatures:
    features = entry.features.cpu().to(DTYPES[dtype])
    if not bool(features.isfinite().all()):
        raise LpcamError(
            f"the features of {entry.name} are not finite in {dtype}: try --dtype float32, and check the weights"
        )
    return PhotoFeatures(entry.name, entry.labels, entry.size, features, entry.cam)
