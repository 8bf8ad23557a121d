"""Stage 3 in a workspace: ``lpcam generate``."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from lpcam.backbones.classifier import Classifier
from lpcam.corridor.extraction import settled
from lpcam.engines import Placement, Runner, Tick, map_shards, own_device, runs_here
from lpcam.errors import LpcamError, unknown
from lpcam.extract import shards_of
from lpcam.files import sweep
from lpcam.forward import Forward
from lpcam.generate import SHARD_SIZE, Sink, empty_notices
from lpcam.generate import generate as generate_maps
from lpcam.methods import Method
from lpcam.methods.attention import GUIDES
from lpcam.methods.cam import Cam
from lpcam.methods.lpcam import Lpcam
from lpcam.prototypes import Prototypes
from lpcam.records import DataSplit, Execution, Photo, Progress, StageReport, silent
from lpcam.refiners import DEFAULT_REFINER, Refiner, get_refiner
from lpcam.sources import ClassifierSource, DataSource
from lpcam.store import Description, read_manifest
from lpcam.views import check_scales
from lpcam.workspace import Workspace, claim_seeds

DEFAULT_METHOD = "lpcam"
_CUDA_WRITERS = 4  # a GPU makes maps faster than one thread writes them

_METHODS: dict[str, Callable[[Tensor, Callable[[], Prototypes]], Method]] = {
    "cam": lambda weights, _: Cam(weights),
    "lpcam": lambda weights, prototypes: Lpcam(prototypes().folded().to(weights.device)),
    "class-prototypes": lambda weights, prototypes: Lpcam(prototypes().folded(context=False).to(weights.device)),
}
METHODS = tuple(_METHODS)
"""``class-prototypes`` is LPCAM without the context prototypes, the paper's ablation."""


def generate(
    workspace: Workspace,
    *,
    methods: Sequence[str] = (DEFAULT_METHOD,),
    refiner: str = DEFAULT_REFINER,
    scales: Sequence[float] | None = None,
    out: Path | None = None,
    data: DataSource | None = None,
    split: str | None = None,
    attention: str | None = None,
    execution: Execution = Execution(),
    placement: Placement = Placement(),
    overwrite: bool = False,
    progress: Progress = silent,
) -> StageReport:
    """Write the seeds of every photo in a refiner's format; seeds that are there are kept.

    Args:
        workspace: Of the run.
        methods: Names of `METHODS`; all come from one forward pass.
        refiner: Family whose format is written.
        scales: Of the views; those of the features when None.
        out: Folder of the seeds in place of the workspace's (a sub-folder a method if there are several).
        data: Other photos than the prototypes came from.
        split: Another split of the same data set.
        attention: One of `lpcam.methods.attention.GUIDES`, put on the maps; the classifier must have class tokens.
        execution: Device, batch size, workers.
        placement: Engine, processes, and this process's share of the photos.
        overwrite: Replace seeds of another run.
        progress: Told as the work goes on.

    Raises:
        LpcamError: features or prototypes are missing or do not belong to the classifier, or an option cannot be
            used.
    """
    get_refiner(refiner)  # an unknown one is refused before anything is read
    if attention is not None and attention not in GUIDES:
        raise unknown("attention", attention, GUIDES)
    placement.refuse_overwrite(overwrite, out or workspace.root / "seeds")
    manifest = read_manifest(workspace.features)
    source = data or DataSource.from_json(manifest.sources["data"])
    photos = source.with_split(split).open()
    _check_classes(photos, manifest.description.classes)
    names = tuple(dict.fromkeys(methods))
    execution = settled(execution, placement)
    here = runs_here(placement, execution.device)
    job = GenerationJob(
        classifier=ClassifierSource.from_json(manifest.sources["classifier"]),
        description=manifest.description,
        prototypes=workspace.prototypes.resolve(),
        folders={name: _seed_folder(workspace, name, refiner, out, len(names)).resolve() for name in names},
        refiner=refiner,
        scales=check_scales(scales or manifest.description.scales),
        execution=execution,
        attention=attention,
    )
    opened = _Opened(job, own_device(placement, execution.device) if here else "cpu")
    for name, folder in job.folders.items():
        made_by = _made_by(name, refiner, opened.forward, photos, opened.prototypes)
        if attention is not None:
            made_by["attention"] = attention
        claim_seeds(folder, made_by, photos.split, photos.fingerprint, overwrite=overwrite)
        sweep(folder)
    mine = [of for _, of in placement.share().of(shards_of(photos.photos, SHARD_SIZE))]
    left = [sum(map(job.is_waiting, of)) for of in mine]
    waiting = [(of, count) for of, count in zip(mine, left, strict=True) if count]
    if here:  # one pipeline over all of them: the next photos are read across shards
        waiting = [(tuple(photo for of, _ in waiting for photo in of), sum(left))] if waiting else []
    started = time.perf_counter()
    reports = map_shards(
        job,
        [of for of, _ in waiting],
        [count for _, count in waiting],
        placement,
        device=execution.device,
        here=opened.run,
        stage="generate",
        progress=progress,
    )
    report = StageReport.merged(reports, time.perf_counter() - started)
    workspace.record_failures("generate", report.failures, {photo.name for of in mine for photo in of})
    skipped = sum(map(len, mine)) - report.images - len(report.failures)
    return replace(report, skipped=skipped, notices=(*photos.notices, *empty_notices(report.empty_maps)))


@dataclass(frozen=True)
class GenerationJob:
    """What another process needs to know to write seeds.

    Attributes:
        classifier: Where the classifier comes from.
        description: What the features are that the prototypes were made from.
        prototypes: The prototype file.
        folders: Of the seeds, by method.
        refiner: Family whose format is written.
        scales: Of the views.
        execution: Batch size, workers, precision.
        attention: Put on the maps, if any.
    """

    classifier: ClassifierSource
    description: Description
    prototypes: Path
    folders: dict[str, Path]
    refiner: str
    scales: tuple[float, ...]
    execution: Execution
    attention: str | None = None

    def open(self, device: str) -> Runner:
        """Load classifier and prototypes and return the function that writes the seeds of a shard."""
        return _Opened(self, device).run

    def is_waiting(self, photo: Photo) -> bool:
        """Return whether seeds of a photo are missing."""
        refiner = get_refiner(self.refiner)
        return not all(refiner.path(folder, photo.name).is_file() for folder in self.folders.values())


class _Opened:
    """A job with its classifier on a device.

    Attributes:
        forward: Classifier and scales.
        prototypes: Loads and checks the prototype file when it is first called.
    """

    def __init__(self, job: GenerationJob, device: str) -> None:
        self._job = job
        net = job.classifier.load_again(len(job.description.classes), device, job.description.weights_sha256)
        if job.attention is not None:
            net.require_attention()
        self.forward = Forward(net, job.scales, precision=job.execution.precision, compiled=job.execution.compiled)
        self.prototypes = _PrototypesOnce(job.prototypes, net, job.description.fingerprint)
        self._methods = {name: _method(name, net.class_weights, self.prototypes) for name in job.folders}
        writer = get_refiner(job.refiner)
        self._sinks = {name: _sink(writer, folder) for name, folder in job.folders.items()}

    def run(self, photos: tuple[Photo, ...], tick: Tick) -> StageReport:
        """Write the seeds of the photos that have none."""
        return generate_maps(
            photos,
            self.forward,
            self._methods,
            self._sinks,
            is_waiting=self._job.is_waiting,
            execution=self._job.execution,
            writers=_CUDA_WRITERS if self.forward.device.type == "cuda" else 1,
            attention=self._job.attention,
            progress=lambda _stage, done, _total: tick(done),
        )


class _PrototypesOnce:
    """Loads the prototype file when a method first asks for it, and checks that it belongs to the classifier."""

    def __init__(self, path: Path, net: Classifier, features: str) -> None:
        self._path, self._net, self._features = path, net, features
        self._loaded: Prototypes | None = None

    def __call__(self) -> Prototypes:
        if self._loaded is None:
            self._loaded = self._checked(Prototypes.load(self._path))
        return self._loaded

    def _checked(self, loaded: Prototypes) -> Prototypes:
        made, net = loaded.provenance, self._net
        if (made.weights_sha256, made.layer, made.stride) != (net.sha256, net.layer, net.stride):
            raise LpcamError(
                f"{self._path} was made with other weights, layer or stride than this classifier's: "
                "run 'lpcam cluster --overwrite', or use its own workspace"
            )
        if made.features != self._features:
            raise LpcamError(
                f"{self._path} was made from other features than the workspace's: run 'lpcam cluster --overwrite'"
            )
        return loaded


def _check_classes(split: DataSplit, classes: tuple[str, ...]) -> None:
    if split.classes != classes:
        raise LpcamError(
            f"the classes of these photos ({', '.join(split.classes[:3])}, …) are not those of the features "
            f"({', '.join(classes[:3])}, …): give the list the features were extracted with by --classes"
        )


def _method(name: str, weights: Tensor, prototypes: Callable[[], Prototypes]) -> Method:
    if name not in _METHODS:
        raise unknown("method", name, _METHODS)
    return _METHODS[name](weights, prototypes)


def _seed_folder(workspace: Workspace, method: str, refiner: str, out: Path | None, methods: int) -> Path:
    if out is None:
        return workspace.seeds(method, refiner)
    return out if methods == 1 else out / method


def _made_by(
    method: str, refiner: str, forward: Forward, split: DataSplit, prototypes: _PrototypesOnce
) -> dict[str, Any]:
    net = forward.classifier
    return {
        "method": method,
        "refiner": refiner,
        "weights_sha256": net.sha256,
        "layer": net.layer,
        "stride": net.stride,
        "scales": list(forward.scales),
        "precision": forward.precision,
        "prototypes": None if method == "cam" else prototypes().sha256,
        "dataset": split.dataset,
        "classes": list(split.classes),
    }


def _sink(refiner: Refiner, folder: Path) -> Sink:
    return lambda name, maps: refiner.write(folder, name, maps)
