"""Stage 2 for Fisher in a workspace: ``lpcam cluster --method fisher``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lpcam.corridor.classes import making, refuse
from lpcam.corridor.clustering import made_from, made_otherwise
from lpcam.discriminants import (
    DiscriminantProvenance,
    Discriminants,
    FisherProfile,
    Lines,
    Moments,
    Scatter,
    Seen,
    fit,
    moments_of,
)
from lpcam.engines import Placement, Runner, Tick, map_shards, runs_here
from lpcam.forward import resolve_device
from lpcam.records import Progress, silent
from lpcam.store import FeatureStore
from lpcam.workspace import Workspace

BLOCKS = 8
"""The photos are summed in so many runs, whatever does them: more processes than these have nothing to do."""


@dataclass(frozen=True)
class DiscriminantReport:
    """What the discriminants were made of.

    Attributes:
        classes: For every class name the object and rest vectors of the last pass.
        seconds: Wall time.
        notices: Classes that are doubtful, one line each.
    """

    classes: dict[str, dict[str, int]]
    seconds: float
    notices: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return the object that ``--json`` prints."""
        return {**asdict(self), "notices": list(self.notices)}


def cluster_discriminants(
    workspace: Workspace,
    *,
    profile: FisherProfile = FisherProfile(),
    device: str = "auto",
    placement: Placement = Placement(),
    overwrite: bool = False,
    progress: Progress = silent,
) -> DiscriminantReport:
    """Build the discriminant of every class from the workspace's features.

    The features are read once a pass, photo by photo; in memory are the sums of eight blocks of photos, at most
    8 · C² · 8 bytes. The file is the same whatever the shards of the features and the number of processes.

    Args:
        workspace: Of the run.
        profile: Hyper-parameters.
        device: Where the sums are made.
        placement: Engine and processes; blocks of photos are what is divided. A share is refused.
        overwrite: Replace other discriminants.
        progress: Told as the work goes on.

    Raises:
        LpcamError: there are no features, an option cannot be used, or the workspace holds other discriminants.
    """
    refuse("auto", placement)
    started = time.perf_counter()
    with making(workspace, workspace.discriminants):
        store = FeatureStore(workspace.features)
        provenance = DiscriminantProvenance(**made_from(store.description, 0), profile=profile)
        if workspace.discriminants.exists() and not overwrite:
            made = _same_discriminants(workspace.discriminants, provenance)
        else:
            lines, counts = _fitted(store, workspace.features.resolve(), profile, placement, device, progress)
            made = Discriminants(lines, counts, provenance)
            made.save(workspace.discriminants)
    return _report(made, time.perf_counter() - started)


@dataclass(frozen=True)
class SumJob:
    """What another process needs to know to sum over photos.

    Attributes:
        features: Folder of the store.
        tau: Between object and rest.
        lines: Whose maps split the positions; None for the first pass, which takes the CAM and the scatter too.
    """

    features: Path
    tau: float
    lines: Lines | None

    def open(self, device: str) -> Runner:
        """Open the store and return the function that sums over a block."""
        return self.of(FeatureStore(self.features), resolve_device(device))

    def of(self, store: FeatureStore, device: str) -> Runner:
        """Return the function that sums over a block of photos, first to last, of a store that is open."""
        classes, channels = len(store.description.classes), store.channels

        def summed(block: range, tick: Tick) -> Moments:
            return moments_of(_seen(store, block, tick), classes, channels, self.tau, self.lines, device)

        return summed


def _fitted(
    store: FeatureStore, folder: Path, profile: FisherProfile, placement: Placement, device: str, progress: Progress
) -> tuple[Lines, Tensor]:
    """Return the discriminants of the last pass, and the positions they were made of."""

    def summed(job: SumJob) -> Moments:
        here = job.of(store, resolve_device(device) if runs_here(placement, device) else "cpu")
        sizes = [len(block) for block in blocks]
        return Moments.of(
            map_shards(job, blocks, sizes, placement, device=device, here=here, stage="cluster", progress=progress)
        )

    blocks = _blocks(len(store.photos))
    moments = summed(SumJob(folder, profile.tau, None))
    scatter = moments.scatter or Scatter.none(store.channels)
    lines = fit(scatter, moments.sides, profile.ridge, Lines.none(len(store.description.classes), store.channels))
    for _ in range(profile.passes - 1):
        moments = summed(SumJob(folder, profile.own_tau, lines))
        lines = fit(scatter, moments.sides, profile.ridge, lines)
    return lines, moments.sides.counts


def _blocks(photos: int) -> list[range]:
    """Return the runs of photos that are summed by themselves: of the number of photos alone."""
    edges = [photos * block // BLOCKS for block in range(BLOCKS + 1)]
    return [range(*edge) for edge in pairwise(edges)]


def _seen(store: FeatureStore, block: range, tick: Tick) -> Iterator[Seen]:
    """Yield the photos of a block, read lazily."""
    photos = [store.photos[index] for index in block]
    for done, (photo, rows) in enumerate(zip(photos, store.rows(photos), strict=True), start=1):
        cams = [next(store.cams([photo], label)) for label in photo.labels]
        yield Seen(rows, photo.labels, torch.stack(cams) if cams else torch.zeros(0, photo.rows))
        tick(done)


def _same_discriminants(path: Path, provenance: DiscriminantProvenance) -> Discriminants:
    made = Discriminants.load(path)
    if made.provenance != provenance:
        raise made_otherwise(path, made.provenance, provenance)
    return made


def _report(made: Discriminants, seconds: float) -> DiscriminantReport:
    counts = made.class_counts()
    known = made.lines.vectors.any(dim=1).tolist()
    notices = [
        f"{name}: no position has a CAM above tau, so its maps will be zero"
        for name, found in zip(counts, known, strict=True)
        if not found
    ]
    return DiscriminantReport(counts, seconds, tuple(notices))
