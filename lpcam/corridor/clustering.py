"""Stage 2 in a workspace: ``lpcam cluster``."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lpcam.engines import Placement, Runner, Tick, map_shards
from lpcam.errors import LpcamError, unknown
from lpcam.forward import resolve_device
from lpcam.kmeans import ENGINES
from lpcam.profiles import Profile
from lpcam.prototypes import (
    Centres,
    Gather,
    Prototypes,
    Provenance,
    build_class,
    derived_seed,
    filter_for,
    split_positions,
)
from lpcam.records import Progress, silent
from lpcam.store import FeatureStore, StoredPhoto
from lpcam.workspace import Workspace

_DRAW = 2  # purpose of a derived seed; 0 and 1 are the k-means of the two sides


@dataclass(frozen=True)
class ClusterReport:
    """What clustering found.

    Attributes:
        classes: For every class name what `lpcam.prototypes.Centres.counts` says.
        seconds: Wall time.
        notices: Classes that are doubtful, and a filter that is not the paper's, one line each.
        filter: The filter that chose the prototypes.
    """

    classes: dict[str, dict[str, int | bool]]
    seconds: float
    notices: tuple[str, ...] = ()
    filter: str = "softmax"

    def as_json(self) -> dict[str, Any]:
        """Return the object that ``--json`` prints."""
        fallbacks = sum(bool(counts["fallback"]) for counts in self.classes.values())
        return {**asdict(self), "notices": list(self.notices), "fallback_classes": fallbacks}


def cluster(
    workspace: Workspace,
    *,
    profile: Profile = Profile(),
    seed: int = 0,
    kmeans: str = "auto",
    device: str = "auto",
    placement: Placement = Placement(),
    overwrite: bool = False,
    progress: Progress = silent,
) -> ClusterReport:
    """Build the prototypes of every class from the workspace's features.

    Args:
        workspace: Of the run.
        profile: Hyper-parameters, see `lpcam.profiles.get_profile`.
        seed: Of the k-means starts and of the image draw.
        kmeans: Engine of the k-means: ``faiss``, ``torch`` or ``auto``, see `lpcam.kmeans.kmeans`.
        device: Where the torch engine clusters.
        placement: Engine and processes; the classes are what is divided. A share is refused.
        overwrite: Replace other prototypes.
        progress: Told as the work goes on.

    Raises:
        LpcamError: there are no features, an option cannot be used, or the workspace holds other prototypes.
    """
    if kmeans not in ENGINES:
        raise unknown("k-means engine", kmeans, ENGINES)
    placement.refuse_shard(
        "lpcam cluster", "run it once, when all features are there; --processes or --engine ray divide the classes"
    )
    started = time.perf_counter()
    store = FeatureStore(workspace.features)
    notices = _filter_notices(store, profile)
    profile = replace(profile, filter=_filter(store, profile))
    provenance = _provenance(store, profile, seed)
    if workspace.prototypes.exists() and not overwrite:
        prototypes = _same_prototypes(workspace.prototypes, provenance)
    else:
        job = ClusterJob(workspace.features.resolve(), profile, seed, kmeans)
        labels = range(len(provenance.classes))
        centres = map_shards(
            job,
            labels,
            [1] * len(labels),
            placement,
            device=device,
            here=job.of(store, resolve_device(device)),
            stage="cluster",
            progress=progress,
        )
        prototypes = Prototypes(tuple(centres), provenance)
        prototypes.save(workspace.prototypes)
    counts = {name: centres.counts() for name, centres in zip(provenance.classes, prototypes.centres, strict=True)}
    return ClusterReport(
        counts, time.perf_counter() - started, (*notices, *_class_notices(counts)), prototypes.provenance.profile.filter
    )


@dataclass(frozen=True)
class ClusterJob:
    """What another process needs to know to cluster classes.

    Attributes:
        features: Folder of the store.
        profile: Hyper-parameters.
        seed: Of the data set; each class derives its own.
        kmeans: Engine of the k-means.
    """

    features: Path
    profile: Profile
    seed: int
    kmeans: str

    def open(self, device: str) -> Runner:
        """Open the store and return the function that builds the centres of a class."""
        return self.of(FeatureStore(self.features), resolve_device(device))

    def of(self, store: FeatureStore, device: str) -> Runner:
        """Return the function that builds the centres of a class from a store that is open."""
        gather, weights = _gatherer(store, self.profile, self.seed, device), store.class_weights()

        def build(label: int, tick: Tick) -> Centres:
            return build_class(partial(gather, label), weights, label, self.profile, seed=self.seed, engine=self.kmeans)

        return build


def _provenance(store: FeatureStore, profile: Profile, seed: int) -> Provenance:
    description = store.manifest.description
    return Provenance(
        classes=description.classes,
        weights_sha256=description.weights_sha256,
        arch=description.arch,
        layer=description.layer,
        stride=description.stride,
        dataset=description.dataset,
        split=description.split,
        features=description.fingerprint,
        profile=profile,
        seed=seed,
    )


def _same_prototypes(path: Path, provenance: Provenance) -> Prototypes:
    prototypes = Prototypes.load(path)
    if prototypes.provenance != provenance:
        raise LpcamError(
            f"{path} was made with other features, hyper-parameters or seed: "
            "add --overwrite to replace it, or choose another --workspace"
        )
    return prototypes


def _gatherer(store: FeatureStore, profile: Profile, seed: int, device: str) -> Gather:
    """Return the source of one class's local features: rows in the order of the photos, whatever the shards."""

    def gather(label: int, side: str) -> Tensor:
        photos = _draw([photo for photo in store.photos if label in photo.labels], profile, seed, label)
        masks = [split_positions(cam, profile.tau, side) for cam in store.cams(photos, label)]
        vectors = torch.empty(sum(int(mask.sum()) for mask in masks), store.manifest.description.channels)
        filled = 0
        for mask, rows in zip(masks, store.rows(photos), strict=True):
            kept = rows[mask]
            kept = kept[kept.any(dim=1)]  # a zero vector has no direction to cluster
            vectors[filled : filled + len(kept)] = kept
            filled += len(kept)
        return vectors[:filled].to(device)

    return gather


def _draw(photos: list[StoredPhoto], profile: Profile, seed: int, label: int) -> list[StoredPhoto]:
    """Draw the profile's number of images with replacement, as the COCO code does; all of them when it is 0."""
    if profile.images_per_class == 0 or not photos:
        return photos
    generator = torch.Generator().manual_seed(derived_seed(seed, label, _DRAW))
    drawn = torch.randint(len(photos), (profile.images_per_class,), generator=generator)
    return [photos[index] for index in sorted(drawn.tolist())]


def _filter(store: FeatureStore, profile: Profile) -> str:
    """Return the filter ``auto`` means for the features of the store, by those of its first photo."""
    return filter_for(profile.filter, next(iter(store.rows(store.photos[:1])), torch.zeros(0)))


def _filter_notices(store: FeatureStore, profile: Profile) -> tuple[str, ...]:
    chosen = _filter(store, profile)
    if profile.filter != "auto" or chosen == "softmax":
        return ()
    return (
        f"centres are filtered by {chosen}: these features have negative values, and the paper's filter "
        "(--filter softmax) was made for features after a ReLU",
    )


def _class_notices(counts: dict[str, dict[str, int | bool]]) -> tuple[str, ...]:
    lines = []
    for name, found in counts.items():
        if found["object_vectors"] == 0:
            lines.append(f"{name}: no position has a CAM above tau, so it has no prototypes and its maps will be zero")
        elif found["fallback"]:
            lines.append(f"{name}: no centre passed the filter, the one of highest z was taken")
    return tuple(lines)
