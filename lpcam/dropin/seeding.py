"""The work behind every drop-in: from a repository's photos and checkpoint to the seeds its next step reads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lpcam import corridor
from lpcam.backbones.recognition import recognise
from lpcam.corridor import ClusterReport
from lpcam.dropin.knobs import Knobs
from lpcam.engines import Placement
from lpcam.errors import LpcamError, unknown
from lpcam.records import Execution, Progress, StageReport
from lpcam.refiners.next_step import Origin
from lpcam.refiners.parts import PartOptions
from lpcam.refiners.writing import Writing
from lpcam.sources import ClassifierSource, DataSource
from lpcam.views import PUBLISHED_SCALES
from lpcam.workspace import Workspace

LABELS = "cls_labels.npy"


@dataclass(frozen=True)
class Order:
    """What a repository's arguments ask for.

    Attributes:
        weights: The checkpoint.
        root: Folder in the VOC layout.
        photos: List of the photos.
        out: Folder of the seeds.
        refiner: Family of seeds its next step reads.
        scales: Of the views of the photos.
        workers: Threads that read photos ahead, of all processes together.
        parts: What the family reads beside its seeds.
        attention: Put on the maps, see `lpcam.corridor.generate`.
        labels: File of image-level labels, where an argument names it.
        workspace: Folder of the run; None for one beside the seeds.
    """

    weights: Path
    root: Path
    photos: Path
    out: Path
    refiner: str
    scales: tuple[float, ...] = PUBLISHED_SCALES
    workers: int = 1
    parts: PartOptions = PartOptions()
    attention: str | None = None
    labels: Path | None = None
    workspace: Path | None = None


@dataclass(frozen=True)
class SeedingReport:
    """What a drop-in did.

    Attributes:
        arch: Architecture of the checkpoint.
        workspace: Folder of features and prototypes.
        out: Folder of the seeds.
        extracted: Report of stage 1.
        clustered: Report of stage 2.
        generated: Report of stage 3.
    """

    arch: str
    workspace: Path
    out: Path
    extracted: StageReport
    clustered: ClusterReport
    generated: StageReport


def make_seeds(order: Order, knobs: Knobs, progress: Progress) -> SeedingReport:
    """Go down the corridor and leave the seeds in the repository's folder; what is complete is kept.

    Args:
        order: What the repository's arguments ask for.
        knobs: What they have no name for.
        progress: Told as the work goes on.

    Raises:
        LpcamError: as the stages.
    """
    profile, methods = knobs.as_profile(), _methods(knobs)  # what is wrong is refused before hours of features
    data = DataSource("voc", order.root, str(order.photos), labels_of(order, knobs), knobs.classes)
    Writing.of(order.refiner, order.parts, Origin()).check(data.open().photos)
    weights = knobs.weights or order.weights
    arch = knobs.arch or recognise(weights)
    workspace = Workspace(knobs.workspace or order.workspace or workspace_of(order.out))
    placement = Placement(engine="local", **knobs.given("processes"))
    execution = Execution(workers=order.workers, **knobs.given("device", "batch_size", "precision"))
    again = knobs.given("overwrite")
    extracted = corridor.extract_features(
        workspace,
        data,
        ClassifierSource(arch, weights, **knobs.given("stride")),
        scales=_with_one(order.scales),
        execution=execution,
        placement=placement,
        progress=progress,
        **again,
    )
    clustered = corridor.cluster(
        workspace,
        profile=profile,
        placement=placement,
        progress=progress,
        **knobs.given("seed", "device"),
        **again,
    )
    generated = corridor.generate(
        workspace,
        refiner=order.refiner,
        parts=order.parts,
        attention=order.attention,
        scales=order.scales,
        out=order.out,
        execution=execution,
        placement=placement,
        progress=progress,
        **methods,
        **again,
    )
    return SeedingReport(arch, workspace.root, order.out, extracted, clustered, generated)


def workspace_of(out: Path) -> Path:
    """Return the workspace of an output folder: beside it, so that the next step finds nothing but seeds there.

    >>> workspace_of(Path("result/cam")).as_posix()
    'result/cam.lpcam'
    """
    absolute = out.resolve()
    return (
        absolute.with_name(f"{absolute.name}.lpcam") if out.name in ("", "..") else out.with_name(f"{out.name}.lpcam")
    )


def labels_of(order: Order, knobs: Knobs) -> Path | None:
    """Return the file of image-level labels: the one asked for, or the ``cls_labels.npy`` the repository would read.

    It is looked for beside the list of photos, where the repositories keep it (``voc12/cls_labels.npy``), and in
    ``voc12`` of the folder the script was started in. None means the data set's own annotations.
    """
    places = (order.photos.parent / LABELS, Path("voc12") / LABELS)
    return knobs.labels or order.labels or next((path for path in places if path.is_file()), None)


def list_of(path: Path, name: str) -> Path:
    """Return a list of photos.

    Raises:
        LpcamError: it is not there.
    """
    if not path.is_file():
        raise LpcamError(
            f"{name}: the list {path} does not exist: start in the repository's folder, or give --{name} a full path"
        )
    return path


def _methods(knobs: Knobs) -> dict[str, Any]:
    if knobs.method is None:
        return {}
    if knobs.method not in corridor.METHODS:
        raise unknown("method", knobs.method, corridor.METHODS)
    return {"methods": (knobs.method,)}


def _with_one(scales: tuple[float, ...]) -> tuple[float, ...]:
    """Return the scales of the split, which must hold the one the features come from."""
    return scales if 1.0 in scales else (1.0, *scales)
