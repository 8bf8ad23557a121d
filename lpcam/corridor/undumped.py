"""Stages 1 and 2 in one, ``lpcam run --no-dump``: photos are clustered straight from memory, no feature is written."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from lpcam.backbones.classifier import Classifier
from lpcam.corridor.clustering import ClusterReport, cluster, provenance_of, report_of, same_prototypes
from lpcam.corridor.extraction import settled
from lpcam.corridor.gathering import draw
from lpcam.datasets import photo_size
from lpcam.engines import Placement, own_device, runs_here
from lpcam.errors import LpcamError
from lpcam.extract import DEFAULT_DTYPE, describe, extract_photos, require_kept
from lpcam.forward import Forward, halving_notices
from lpcam.locks import folder_lock, working_on
from lpcam.profiles import Profile
from lpcam.records import DataSplit, Execution, Failure, Photo, Progress, StageReport, silent
from lpcam.sources import ClassifierSource, DataSource
from lpcam.store import DTYPES, Description, MemoryFeatures, PhotoFeatures, clear, shard_files, write_manifest
from lpcam.views import PUBLISHED_SCALES
from lpcam.workspace import Workspace

Extract = Callable[[Sequence[Photo]], tuple[list[PhotoFeatures], list[Failure]]]


def cluster_photos(
    workspace: Workspace,
    data: DataSource,
    classifier: ClassifierSource,
    *,
    scales: Sequence[float] = PUBLISHED_SCALES,
    dtype: str = DEFAULT_DTYPE,
    profile: Profile = Profile(),
    seed: int = 0,
    execution: Execution = Execution(),
    placement: Placement = Placement(),
    overwrite: bool = False,
    progress: Progress = silent,
) -> tuple[StageReport, ClusterReport]:
    """Build the prototypes of every class from photos; their features stay in memory and are gone afterwards.

    The prototypes are those of `extract_features` and `cluster`, byte for byte. Where the profile draws images for
    each class, photos that no class draws are not looked at; so a broken one among those is not found and not left
    out of the draw, the only case in which the prototypes differ.

    Args:
        workspace: Of the run; it remembers where the photos came from, as after `extract_features`.
        data: The training photos and their image-level labels.
        classifier: The pretrained classifier.
        scales: Of the CAM that splits the features; must hold 1.
        dtype: Of the features in memory.
        profile: Hyper-parameters.
        seed: Of the k-means starts and of the image draw.
        execution: Device, batch size, workers.
        placement: Must be this process: memory is not shared.
        overwrite: Replace what belongs to another run, features on disk included.
        progress: Told as the work goes on.

    Raises:
        LpcamError: data, classifier or options cannot be used, the workspace holds features or other prototypes, or
            the features do not fit into memory.
    """
    started = time.perf_counter()
    require_kept(scales, dtype)
    _refuse(workspace, execution, placement, overwrite)
    split, execution = data.open(), settled(execution, placement)
    net = classifier.load(len(split.classes), own_device(placement, execution.device))
    forward = Forward(net, scales, precision=execution.precision, runtime=execution.runtime)
    description = describe(split, forward, dtype)
    with working_on(folder_lock(workspace.features), stage="lpcam run --no-dump"):
        if workspace.prototypes.exists() and not overwrite:
            known = same_prototypes(workspace.prototypes, provenance_of(description, profile, seed))
            seconds = time.perf_counter() - started
            return StageReport(0, len(split.photos), (), seconds, 0.0, split.notices), report_of(known, 0.0, profile)
        _require_memory(_needed(split.photos, split, profile, seed), net, dtype)

        def extracted(photos: Sequence[Photo]) -> tuple[list[PhotoFeatures], list[Failure]]:
            count = len(photos)
            return extract_photos(
                photos, forward, dtype, execution, lambda done: progress("extract-features", done, count)
            )

        features, failures = _collect(split, description, net, profile, seed, extracted)
        seconds = time.perf_counter() - started
        if overwrite:
            clear(workspace.features)
        sources: dict[str, Any] = {"data": data.as_json(), "classifier": classifier.as_json()}
        write_manifest(workspace.features, description, 0, net.class_weights, sources, dumped=False)
        workspace.record_failures("extract-features", tuple(failures))
        clustered = cluster(
            workspace,
            profile=profile,
            seed=seed,
            device=execution.device,
            features=features,
            overwrite=overwrite,
            progress=progress,
        )
    notices = (*split.notices, *halving_notices(forward.halved))
    return StageReport(features.count, 0, tuple(failures), seconds, forward.seconds, notices), clustered


def _refuse(workspace: Workspace, execution: Execution, placement: Placement, overwrite: bool) -> None:
    if not runs_here(placement, execution.device):
        raise LpcamError(
            "--no-dump keeps the features in the memory of one process: leave --processes and --engine out, or dump"
        )
    if shard_files(workspace.features) and not overwrite:
        raise LpcamError(
            f"{workspace.features} holds features on disk: leave --no-dump out to use them, "
            "or add --overwrite to delete them"
        )


def _collect(
    split: DataSplit, description: Description, net: Classifier, profile: Profile, seed: int, extracted: Extract
) -> tuple[_Undumped, list[Failure]]:
    """Extract what the classes draw; where a photo cannot be read they draw again from the others."""
    readable, failures = split.photos, list[Failure]()
    entries: dict[str, PhotoFeatures] = {}
    while left := [photo for photo in _needed(readable, split, profile, seed) if photo.name not in entries]:
        found, failed = extracted(left)
        entries |= {entry.name: entry for entry in found}
        failures += failed
        broken = {failure.name for failure in failed}
        readable = tuple(photo for photo in readable if photo.name not in broken)
    return _Undumped(readable, entries, description, net.class_weights.cpu()), failures


class _Undumped(MemoryFeatures[Photo]):
    """The features of a run that are not dumped."""

    def __init__(
        self,
        photos: Sequence[Photo],
        entries: Mapping[str, PhotoFeatures],
        description: Description,
        class_weights: Tensor,
    ) -> None:
        super().__init__(photos, entries, description.channels)
        self.count = len(entries)
        self.description = description
        self._class_weights = class_weights

    def class_weights(self) -> Tensor:
        return self._class_weights


def _needed(photos: Sequence[Photo], split: DataSplit, profile: Profile, seed: int) -> tuple[Photo, ...]:
    """Return the photos whose features some class clusters, in their order."""
    drawn = {photo.name for label in range(len(split.classes)) for photo in draw(photos, profile, seed, label)}
    return tuple(photo for photo in photos if photo.name in drawn)


def _require_memory(photos: Sequence[Photo], net: Classifier, dtype: str) -> None:
    free = _free_bytes()
    wanted = sum(_positions(photo, net.stride) for photo in photos) * net.channels * DTYPES[dtype].itemsize
    if free is not None and wanted > free:
        raise LpcamError(
            f"the features of {len(photos)} photos take about {wanted / 1e9:.1f} GB of memory and {free / 1e9:.1f} GB "
            "are free: leave --no-dump out, or cluster fewer with --images-per-class"
        )


def _positions(photo: Photo, stride: int) -> int:
    try:
        height, width = photo_size(photo.path)
    except LpcamError:  # reading it will say why
        return 0
    return -(-height // stride) * -(-width // stride)


def _free_bytes() -> int | None:
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):  # not every system says
        return None
