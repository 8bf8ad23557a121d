"""Stage 2 in a workspace: ``lpcam cluster``."""

from __future__ import annotations

import logging
import time
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from lpcam.corridor.classes import ClassJob, by_class, making, one_by_one, parts_of, refuse, remove_parts
from lpcam.corridor.gathering import draw, gatherer
from lpcam.corridor.spreading import SpreadJob, refuse_spread, spread_gatherer
from lpcam.engines import Placement, Runner, Tick, begun_again, crew_for
from lpcam.errors import LpcamError
from lpcam.profiles import Profile
from lpcam.prototypes import Centres, Gather, MadeFrom, Prototypes, Provenance, build_class, filter_for
from lpcam.records import Progress, silent
from lpcam.store import Described, Description, Features, FeatureStore, Kind
from lpcam.workspace import Workspace

_NONE = torch.zeros(0)

_LOG = logging.getLogger(__name__)


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
    spread: bool = False,
    features: Described | None = None,
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
        spread: Divide the rows of every class over the workers, one class after the other, and not the classes: each
            has a part of a class in memory. On the CPU the same bytes come out.
        features: In place of the workspace's, in memory; then the classes are done in this process.
        overwrite: Replace other prototypes.
        progress: Told as the work goes on.

    Raises:
        LpcamError: there are no features, an option cannot be used, or the workspace holds other prototypes.
        ValueError: features in memory are to be spread.
    """
    refuse(kmeans, placement)
    if spread:
        refuse_spread(kmeans, placement, device)
    if spread and features is not None:
        raise ValueError("expected the features of the workspace to be spread, got features in memory")
    started = time.perf_counter()
    with making(workspace, workspace.prototypes, reads=features is None):
        store = features or FeatureStore(workspace.features)
        if workspace.prototypes.exists() and not overwrite:
            prototypes = same_prototypes(workspace.prototypes, provenance_of(store.description, profile, seed))
            _LOG.info("%s was made so and is kept", workspace.prototypes)
        else:
            settled = settled_profile(store, len(store.description.classes), profile, seed)
            _LOG.info("filter %s, k %d, tau %g, %d starts", settled.filter, settled.k, settled.tau, settled.restarts)
            provenance = provenance_of(store.description, settled, seed)
            parts = parts_of(workspace.prototypes.absolute(), kmeans) if features is None else None
            job = ClusterJob(workspace.features.resolve(), settled, seed, kmeans, provenance, parts)
            done = (_spread if spread else by_class)(job, store, placement, device, progress)
            prototypes = Prototypes(done, provenance)
            prototypes.save(workspace.prototypes)
            remove_parts(workspace.prototypes)
    return report_of(prototypes, time.perf_counter() - started, profile)


def report_of(prototypes: Prototypes, seconds: float, asked: Profile) -> ClusterReport:
    """Return what is to be said of prototypes that a profile asked for."""
    made = prototypes.provenance
    counts = {name: centres.counts() for name, centres in zip(made.classes, prototypes.centres, strict=True)}
    notices = (*_filter_notices(asked, made.profile), *_class_notices(counts))
    return ClusterReport(counts, seconds, notices, made.profile.filter)


class ClusterJob(ClassJob[Profile]):
    """Builds the centres of classes."""

    def builder(self, store: Described, device: str) -> Runner:
        """Return the function that builds the centres of a class."""
        return self.of_rows(store, gatherer(store, self.profile, self.seed, self.place(device)))

    def of_rows(self, store: Described, gather: Gather) -> Runner:
        """Return the function that builds the centres of a class from its rows, wherever they are."""
        weights = store.class_weights().double()  # once: a copy for each of many classes tears the heap apart

        def build(label: int, tick: Tick) -> Centres:
            return build_class(partial(gather, label), weights, label, self.profile, seed=self.seed, engine=self.kmeans)

        return build

    def keep(self, path: Path, found: Centres, made: Provenance) -> None:
        """Write the centres of one class as a prototype file."""
        Prototypes((found,), made).save(path)

    def read(self, path: Path) -> tuple[Centres, Provenance]:
        """Read such a file."""
        loaded = Prototypes.load(path)
        return loaded.centres[0], loaded.provenance


def _spread(
    job: ClusterJob, store: Described, placement: Placement, device: str, progress: Progress
) -> tuple[Centres, ...]:
    """Return the centres of every class, one after the other, each by all workers of a placement."""
    with crew_for(SpreadJob(job.features, job.profile, job.seed), placement, device=device) as crew:
        build = job.of_rows(store, spread_gatherer(store, job.profile, job.seed, crew))
        return one_by_one(job, lambda label, tick: begun_again(lambda: build(label, tick)), store, progress)


def provenance_of(description: Description, profile: Profile, seed: int) -> Provenance:
    """Return what prototypes of these features say of themselves."""
    return Provenance(**made_from(description, seed), profile=profile)


def made_from(description: Description, seed: int) -> dict[str, Any]:
    """Return the fields of `lpcam.prototypes.MadeFrom` for these features."""
    return {
        "classes": description.classes,
        "weights_sha256": description.weights_sha256,
        "arch": description.arch,
        "layer": description.layer,
        "stride": description.stride,
        "dataset": description.dataset,
        "split": description.split,
        "features": description.fingerprint,
        "seed": seed,
    }


def same_prototypes(path: Path, provenance: Provenance) -> Prototypes:
    """Return the prototypes of a file that were made so; the filter ``auto`` of these features is always the same.

    Raises:
        LpcamError: they were made otherwise, or cannot be read.
    """
    prototypes = Prototypes.load(path)
    made = prototypes.provenance.profile.filter
    asked = provenance.profile
    if asked.filter == "auto":
        provenance = replace(provenance, profile=replace(asked, filter=made))
    if prototypes.provenance != provenance:
        raise made_otherwise(path, prototypes.provenance, provenance)
    return prototypes


def made_otherwise(path: Path, made: MadeFrom, asked: MadeFrom) -> LpcamError:
    """Return what is to be said of a file that another run made: what differs, and what to do.

    Args:
        path: The file.
        made: What made it.
        asked: What should have.
    """
    return LpcamError(
        f"{path} was made with {_differences(asdict(made), asdict(asked))}: "
        "add --overwrite to replace it, or choose another --workspace"
    )


def _differences(made: dict[str, Any], asked: dict[str, Any]) -> str:
    """Return in words what is not the same; identities and lists are only said to be others."""
    of_made, of_asked = ({**values, **values["profile"]} for values in (made, asked))
    others = [name for name in of_made if name != "profile" and of_made[name] != of_asked.get(name)]
    told = {"weights_sha256": "other weights", "features": "other features", "classes": "other classes"}
    return ", ".join(
        told.get(name) or f"{name.replace('_', '-')} {of_made[name]}, not {of_asked.get(name)}" for name in others
    )


def settled_profile(features: Features[Kind], classes: int, profile: Profile, seed: int) -> Profile:
    """Return the profile with the filter ``auto`` means for these features, by those of the first photo clustered.

    Args:
        features: Of the split.
        classes: K.
        profile: Hyper-parameters.
        seed: Of the data set.
    """
    drawn = (photo for label in range(classes) for photo in draw(features.photos, profile, seed, label))
    first = next(drawn, None)
    return replace(profile, filter=filter_for(profile.filter, next(iter(features.rows([first]))) if first else _NONE))


def _filter_notices(asked: Profile, made: Profile) -> tuple[str, ...]:
    if asked.filter != "auto" or made.filter == "softmax":
        return ()
    return (
        f"centres are filtered by {made.filter}: these features have negative values, and the paper's filter "
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
