"""Stage 1: local features of scale 1, and the multi-scale CAM sampled at their grid, in one pass over the photos."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lpcam.engines import Job, Placement, Tick, map_shards, runs_here
from lpcam.errors import LpcamError, unknown
from lpcam.files import sweep
from lpcam.forward import Forward, Loaded, halving_notices, plan_batches
from lpcam.interrupts import stop_here
from lpcam.memory import Heap, release_memory, reused_memory
from lpcam.methods.cam import Cam
from lpcam.records import DataSplit, Execution, Failure, Photo, Progress, StageReport, ViewFeatures, silent
from lpcam.store import (
    DTYPES,
    Description,
    FeatureStore,
    PhotoFeatures,
    is_complete,
    shard_is_complete,
    shard_is_written,
    write_manifest,
    write_shard,
)
from lpcam.transfer import arrival, to_host
from lpcam.views import normalise, sum_high_res

DEFAULT_SHARD_SIZE = 32
DEFAULT_DTYPE = "float16"

_LOG = logging.getLogger(__name__)


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


def require_kept(scales: Sequence[float], dtype: str) -> None:
    """Refuse scales without 1, the scale that features come from, and a dtype that a store does not hold.

    Raises:
        LpcamError: so it is.
    """
    if 1.0 not in scales:
        raise LpcamError(f"scales {list(scales)} lack 1, the scale the features come from: add it")
    if dtype not in DTYPES:
        raise unknown("dtype", dtype, DTYPES)


Shard = tuple[int, tuple[Photo, ...]]
"""Index of a shard of the store, and its photos."""


def extract(
    split: DataSplit,
    forward: Forward,
    folder: Path,
    *,
    dtype: str = DEFAULT_DTYPE,
    shard_size: int = DEFAULT_SHARD_SIZE,
    execution: Execution = Execution(),
    placement: Placement = Placement(),
    job: Job | None = None,
    sources: dict[str, Any] | None = None,
    progress: Progress = silent,
) -> StageReport:
    """Write the feature store of a split; shards that are already whole are kept.

    Memory: two shards of features in the store's dtype, one that is made and one that is written, this one twice, and
    the views of one more batch than there are workers. It does not grow with the number of photos.

    Of several processes, each with its share of the shards, the one that finds all of them written
    writes the manifest; it does not matter if two do.

    Args:
        split: Photos and labels.
        forward: Classifier and scales; scale 1 must be among them.
        folder: Of the store.
        dtype: ``float16``, ``bfloat16`` or ``float32``.
        shard_size: Photos a shard.
        execution: Batch size and workers; device and precision are those of ``forward``.
        placement: Engine, processes, and this process's share.
        job: What other processes open; it may be None where the shards are done here.
        sources: Stored in the manifest.
        progress: Told after every batch.

    Raises:
        LpcamError: scale 1 is missing, the features do not fit the dtype, or the folder cannot be written.
    """
    require_kept(forward.scales, dtype)
    if shard_size < 1:
        raise LpcamError(f"shard size is {shard_size}: choose 1 or more")
    started = time.perf_counter()
    description = describe(split, forward, dtype)
    damage = ""
    if is_complete(folder, description):
        damage = _damage(folder, progress)
        if not damage:
            _LOG.info("%s is complete and kept", folder)
            return StageReport(0, len(split.photos), (), time.perf_counter() - started, 0.0, split.notices)
    sweep(folder)
    shards = shards_of(split.photos, shard_size)
    mine = placement.share().of(shards)
    here = runs_here(placement, execution.device)
    units = [mine] if here and mine else [[shard] for shard in mine]  # here one pipeline goes over all of them
    reports = map_shards(
        job,
        units,
        [sum(len(photos) for _, photos in unit) for unit in units],
        placement,
        device=execution.device,
        here=lambda unit, tick: extract_shards(unit, forward, folder, description, execution, tick),
        stage="extract-features",
        progress=progress,
    )
    report = StageReport.merged(reports, time.perf_counter() - started)
    notices = (*split.notices, *((damage,) if damage else ()), *halving_notices(report.halved))
    missing = 0 if placement.share().is_all else _missing(folder, description, shards)
    if missing:
        notices = (
            *notices,
            f"{missing} of {len(shards)} shards are with other processes; the last writes the manifest",
        )
    else:
        write_manifest(folder, description, len(shards), forward.classifier.class_weights, sources or {})
    return replace(report, notices=notices)


def shards_of(photos: Sequence[Photo], shard_size: int = DEFAULT_SHARD_SIZE) -> list[Shard]:
    """Return the shards of a list of photos; they depend on nothing else."""
    firsts = range(0, len(photos), shard_size)
    return [(index, tuple(photos[first : first + shard_size])) for index, first in enumerate(firsts)]


def extract_shards(
    shards: Sequence[Shard], forward: Forward, folder: Path, description: Description, execution: Execution, tick: Tick
) -> StageReport:
    """Write shards of the store, those that are complete apart.

    Photos are read ahead across shards, and a shard is written while the next is computed.
    """
    started, before, halved = time.perf_counter(), forward.seconds, forward.halved
    waiting = [shard for shard in shards if not _is_whole(shard, folder, description)]
    skipped = sum(len(photos) for _, photos in shards) - sum(len(photos) for _, photos in waiting)
    tick(skipped)
    images, failures = 0, list[Failure]()
    runs = extract_runs(
        [photos for _, photos in waiting],
        forward,
        description.dtype,
        execution,
        lambda done: tick(skipped + done),
    )
    with closing(runs), ThreadPoolExecutor(1, thread_name_prefix="lpcam-write") as writer:
        writing: Future[None] | None = None
        for (index, photos), (entries, failed) in zip(waiting, runs, strict=True):
            if writing is not None:
                writing.result()
            names = [photo.name for photo in photos]
            writing = writer.submit(_write, folder, index, entries, failed, description, names)
            images += len(entries)
            failures += failed
            release_memory()
            stop_here()  # what was handed on is written when the block is left
        if writing is not None:
            writing.result()
    seconds = time.perf_counter() - started
    backbone = forward.seconds - before
    return StageReport(images, skipped, tuple(failures), seconds, backbone, halved=forward.halved - halved)


def _write(
    folder: Path,
    index: int,
    entries: Sequence[PhotoFeatures],
    failed: Sequence[Failure],
    description: Description,
    names: Sequence[str],
) -> None:
    write_shard(folder, index, entries, failed, description, names)
    _LOG.info("shard %d is written: %d photos, %d failed", index, len(entries), len(failed))


def _is_whole(shard: Shard, folder: Path, description: Description) -> bool:
    index, photos = shard
    whole = shard_is_complete(folder, index, description, [photo.name for photo in photos])
    if whole:
        _LOG.info("shard %d is whole and kept", index)
    return whole


@torch.inference_mode()
def photo_features(forward: Forward, loaded: Loaded) -> list[PhotoFeatures]:
    """Return what the store keeps of each photo of a batch."""
    views = zip(forward.scales, forward.features(loaded), strict=True)
    return features_and_cam(loaded.photos, loaded.size, views, Cam(forward.classifier.class_weights))


def features_and_cam(
    photos: Sequence[Photo], size: tuple[int, int], views: Iterable[tuple[float, Tensor]], cam: Cam
) -> list[PhotoFeatures]:
    """Return the features of scale 1, and the CAM that splits them, of photos of one size.

    The CAM is the published split criterion: the normalised multi-scale high-res CAM, nearest-sampled at the grid.

    Args:
        photos: B photos; of them names and labels are read.
        size: Their (H, W).
        views: Every scale, 1 among them, with its features: float32 [V, B, C, h, w], V = 2 with the mirror, else 1.
        cam: Of the classifier.
    """
    kept: list[Tensor] = []
    maps: list[list[Tensor]] = [[] for _ in photos]
    for scale, features in views:
        for index, photo in enumerate(photos):
            maps[index].append(cam.view_maps(ViewFeatures(features[:, index]), photo.labels))
            if scale == 1.0:
                kept.append(features[0, index])
    return [
        PhotoFeatures(photo.name, photo.labels, size, kept[index], _grid_cam(maps[index], size, kept[index]))
        for index, photo in enumerate(photos)
    ]


def stored(entry: PhotoFeatures, dtype: str) -> PhotoFeatures:
    """Return the entry as it is kept: features and CAM on the CPU, features in that dtype.

    Raises:
        LpcamError: a value is not finite, or not in that dtype.
    """
    sent = _sent(entry, dtype)
    arrival(entry.features.device)()
    return _received(sent, dtype)


@dataclass(frozen=True)
class _Sent:
    """What a device hands over of a photo.

    Attributes:
        entry: On the CPU, or on its way there.
        is_finite: bool [], of the features, likewise.
        is_pinned: Whether the entry lies in memory that the device will want again.
    """

    entry: PhotoFeatures
    is_finite: Tensor
    is_pinned: bool


def _sent(entry: PhotoFeatures, dtype: str) -> _Sent:
    features = entry.features.to(DTYPES[dtype], copy=True)  # a view would keep its whole batch in memory
    is_finite = to_host(features.isfinite().all())
    on_host = replace(entry, features=to_host(features), cam=to_host(entry.cam))
    return _Sent(on_host, is_finite, features.device.type != "cpu")


def _received(sent: _Sent, dtype: str) -> PhotoFeatures:
    entry = sent.entry
    if not bool(sent.is_finite):
        raise LpcamError(
            f"the features of {entry.name} are not finite in {dtype}: try --dtype float32, and check the weights"
        )
    return replace(entry, features=entry.features.clone(), cam=entry.cam.clone()) if sent.is_pinned else entry


def _grid_cam(maps: Sequence[Tensor], size: tuple[int, int], features: Tensor) -> Tensor:
    grid = (features.shape[1], features.shape[2])
    high_res = normalise(sum_high_res(maps, size), Cam.epsilon)
    if high_res.shape[0] == 0:
        return high_res.new_zeros(0, *grid)
    return F.interpolate(high_res[None], grid, mode="nearest")[0]


def extract_photos(
    photos: Sequence[Photo], forward: Forward, dtype: str, execution: Execution, tick: Tick
) -> tuple[list[PhotoFeatures], list[Failure]]:
    """Return what the store keeps of photos, features in its dtype, and those that could not be read.

    Args:
        photos: In any number; all their features are in memory at the end.
        forward: Classifier and scales.
        dtype: ``float16``, ``bfloat16`` or ``float32``.
        execution: Batch size and workers.
        tick: Told how many are done after every photo.

    Raises:
        LpcamError: features are not finite in that dtype.
    """
    with closing(extract_runs([photos], forward, dtype, execution, tick)) as runs:
        return next(runs)


def extract_runs(
    runs: Sequence[Sequence[Photo]], forward: Forward, dtype: str, execution: Execution, tick: Tick
) -> Generator[tuple[list[PhotoFeatures], list[Failure]]]:
    """Yield for one run of photos after the other what `extract_photos` returns; photos are read ahead across runs.

    Args:
        runs: Of photos; no batch goes across two of them.
        forward: As `extract_photos` takes it.
        dtype: Likewise.
        execution: Likewise.
        tick: Told how many photos of all runs are done, after every photo.

    Raises:
        LpcamError: features are not finite in that dtype.
    """
    _LOG.info("%d photos, %s", sum(map(len, runs)), execution.on(forward.device.type))
    done = 0
    with closing(_outcomes(runs, forward, dtype, execution)) as outcomes:
        for photos in runs:
            entries: dict[str, PhotoFeatures] = {}
            failures: list[Failure] = []
            for outcome in islice(outcomes, len(photos)):
                if isinstance(outcome, Failure):
                    failures.append(outcome)
                else:
                    entries[outcome.name] = outcome
                done += 1
                tick(done)
            yield [entries[photo.name] for photo in photos if photo.name in entries], failures


_Made = tuple[Loaded, tuple[list[_Sent], Callable[[], None]]] | Failure
"""A batch, what is on its way to the host and the call that waits for it; or a photo that could not be read."""


def _outcomes(
    runs: Sequence[Sequence[Photo]], forward: Forward, dtype: str, execution: Execution
) -> Generator[PhotoFeatures | Failure]:
    """Yield what becomes of every photo, run by run; a GPU has the next batch in hand before the last is looked at."""
    kind = forward.device.type
    batches = [batch for photos in runs for batch in plan_batches(photos, execution.batch_on(kind))]

    def work(loaded: Loaded) -> tuple[list[_Sent], Callable[[], None]]:
        return [_sent(entry, dtype) for entry in photo_features(forward, loaded)], arrival(forward.device)

    def settle(batch: _Made) -> Iterator[PhotoFeatures | Failure]:
        if isinstance(batch, Failure):
            yield execution.tolerate(batch)
            return
        _, (sent, arrived) = batch
        arrived()
        yield from (_received(of_photo, dtype) for of_photo in sent)

    made, heap, late = deque[_Made](), Heap(), 0 if kind == "cpu" else 1
    with reused_memory(forward.device):
        for batch in forward.each(batches, execution.readers_on(kind), work):
            made.append(batch)
            heap.photo_done()
            while len(made) > late:
                yield from settle(made.popleft())
        for batch in made:
            yield from settle(batch)


def _damage(folder: Path, progress: Progress) -> str:
    """Return what is wrong with a store that looks complete, or nothing: every checksum is checked."""
    try:
        store = FeatureStore(folder)
        for index, _ in enumerate(store.require_shards()):
            progress("check features", index + 1, len(store.manifest.shards))
        store.class_weights()
    except LpcamError as error:
        return f"was damaged, and is made again: {str(error).partition(':')[0]}"
    return ""


def _missing(folder: Path, description: Description, shards: Sequence[Shard]) -> int:
    return sum(
        not shard_is_written(folder, index, description, [photo.name for photo in photos]) for index, photos in shards
    )
