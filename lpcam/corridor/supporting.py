"""Stage 2 for PACAM in a workspace: ``lpcam cluster --method pacam``."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lpcam.corridor.classes import ClassJob, by_class, making, parts_of, refuse, remove_parts
from lpcam.corridor.clustering import made_from, made_otherwise
from lpcam.corridor.gathering import draw
from lpcam.engines import Placement, Runner, Tick
from lpcam.profiles import Profile
from lpcam.records import Progress, silent
from lpcam.store import Described, FeatureStore
from lpcam.support import (
    ClassContext,
    Support,
    SupportProfile,
    SupportProvenance,
    build_context,
    instance_of,
)
from lpcam.workspace import Workspace


@dataclass(frozen=True)
class SupportReport:
    """What clustering the banks found.

    Attributes:
        classes: For every class name what `lpcam.support.ClassContext.counts` says.
        seconds: Wall time.
        notices: Classes without a context, one line each.
    """

    classes: dict[str, dict[str, int]]
    seconds: float
    notices: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return the object that ``--json`` prints."""
        return {**asdict(self), "notices": list(self.notices)}


def cluster_support(
    workspace: Workspace,
    *,
    profile: SupportProfile = SupportProfile(),
    seed: int = 0,
    kmeans: str = "auto",
    device: str = "auto",
    placement: Placement = Placement(),
    overwrite: bool = False,
    progress: Progress = silent,
) -> SupportReport:
    """Build the context prototypes of every class from the workspace's features.

    Args:
        workspace: Of the run.
        profile: Hyper-parameters.
        seed: Of the k-means starts and of the images in the banks.
        kmeans: Engine of the k-means: ``faiss``, ``torch`` or ``auto``, see `lpcam.kmeans.kmeans`.
        device: Where the torch engine clusters.
        placement: Engine and processes; the classes are what is divided. A share is refused.
        overwrite: Replace another support.
        progress: Told as the work goes on.

    Raises:
        LpcamError: there are no features, an option cannot be used, or the workspace holds another support.
    """
    refuse(kmeans, placement)
    started = time.perf_counter()
    with making(workspace, workspace.support):
        store = FeatureStore(workspace.features)
        provenance = SupportProvenance(**made_from(store.description, seed), profile=profile)
        if workspace.support.exists() and not overwrite:
            support = _same_support(workspace.support, provenance)
        else:
            parts = parts_of(workspace.support.absolute(), kmeans)
            job = SupportJob(workspace.features.resolve(), profile, seed, kmeans, provenance, parts)
            support = Support(by_class(job, store, placement, device, progress), provenance)
            support.save(workspace.support)
            remove_parts(workspace.support)
    return _report(support, time.perf_counter() - started)


class SupportJob(ClassJob[SupportProfile]):
    """Clusters the banks of classes."""

    def builder(self, store: Described, device: str) -> Runner:
        """Return the function that clusters the bank of a class."""

        def build(label: int, tick: Tick) -> ClassContext:
            bank = bank_of(store, label, self.profile, self.seed).to(self.place(device))
            return build_context(bank, label, self.profile, seed=self.seed, engine=self.kmeans)

        return build

    def keep(self, path: Path, found: ClassContext, made: SupportProvenance) -> None:
        """Write the context of one class as a support file."""
        Support((found,), made).save(path)

    def read(self, path: Path) -> tuple[ClassContext, SupportProvenance]:
        """Read such a file."""
        loaded = Support.load(path)
        return loaded.context[0], loaded.provenance


def bank_of(store: Described, label: int, profile: SupportProfile, seed: int) -> Tensor:
    """Return the instance prototypes of a class: float32 [N, C], in the order of the photos."""
    photos = draw(store.photos, Profile(images_per_class=profile.bank, draw="without"), seed, label)
    views = zip(store.rows(photos), store.cams(photos, label), strict=True)
    rows = [instance_of(features, cam, profile.tau) for features, cam in views]
    return torch.stack(rows) if rows else torch.zeros(0, store.channels)


def _same_support(path: Path, provenance: SupportProvenance) -> Support:
    support = Support.load(path)
    if support.provenance != provenance:
        raise made_otherwise(path, support.provenance, provenance)
    return support


def _report(support: Support, seconds: float) -> SupportReport:
    names = support.provenance.classes
    counts = {name: entry.counts() for name, entry in zip(names, support.context, strict=True)}
    empty = [name for name, found in counts.items() if found["context_prototypes"] == 0]
    notices = [f"{name}: no photo, so its maps will come from the photo's own instance prototype" for name in empty]
    return SupportReport(counts, seconds, tuple(notices))
