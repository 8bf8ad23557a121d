"""Stage 3 in a workspace: ``lpcam generate``."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from lpcam.checksums import journal, keep_sound, settle
from lpcam.corridor.basis import Basis, photos_of_basis, read_basis
from lpcam.corridor.extraction import settled
from lpcam.corridor.methods import DEFAULT_METHOD, Means, MethodSettings, make_method
from lpcam.engines import Placement, Runner, Tick, map_shards, own_device, runs_here
from lpcam.errors import LpcamError, unknown
from lpcam.extract import shards_of
from lpcam.files import process_token
from lpcam.forward import Forward, halving_notices
from lpcam.generate import SHARD_SIZE, Sink, empty_notices
from lpcam.generate import generate as generate_maps
from lpcam.locks import folder_lock, working_on
from lpcam.methods.attention import GUIDES
from lpcam.records import DataSplit, Execution, Photo, Progress, StageReport, silent
from lpcam.refiners import DEFAULT_REFINER
from lpcam.refiners.next_step import Origin
from lpcam.refiners.parts import PartOptions
from lpcam.refiners.writing import Writing, write_next_step
from lpcam.sources import DataSource
from lpcam.views import check_scales
from lpcam.workspace import Workspace, claim_seeds

SCHEMA = 1
"""Of the seeds: raised whenever the same inputs make other maps, so that seeds of two versions are not mixed."""

_CUDA_WRITERS = 4  # a GPU makes maps faster than one thread writes them

_LOG = logging.getLogger(__name__)


def generate(
    workspace: Workspace,
    *,
    methods: Sequence[str] = (DEFAULT_METHOD,),
    settings: MethodSettings = MethodSettings(),
    refiner: str = DEFAULT_REFINER,
    parts: PartOptions = PartOptions(),
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

    Beside the seeds lies ``refine.sh``, which says how the refiner's repository goes on.

    Args:
        workspace: Of the run.
        methods: Names of `METHODS`; all come from one forward pass.
        settings: Choices about the methods.
        refiner: Family whose format is written.
        parts: What the family reads beside its seeds, in sub-folders of theirs.
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
        LpcamError: features or prototypes are missing or do not belong to the classifier, an option cannot be
            used, or a package or file that a part needs is missing.
    """
    Writing.of(refiner, parts, Origin())  # what is unknown or missing is refused before anything is read
    if attention is not None and attention not in GUIDES:
        raise unknown("attention", attention, GUIDES)
    placement.refuse_overwrite(overwrite, out or workspace.root / "seeds")
    basis = read_basis(workspace)
    source = data or photos_of_basis(workspace)
    photos = source.with_split(split).open()
    _check_classes(photos, basis.classes)
    names = tuple(dict.fromkeys(methods))
    execution = settled(execution, placement)
    here = runs_here(placement, execution.device)
    job = GenerationJob(
        basis=basis,
        workspace=workspace.root.resolve(),
        settings=settings,
        folders={name: _seed_folder(workspace, name, refiner, out, len(names)).resolve() for name in names},
        refiner=refiner,
        parts=parts,
        dataset=source.dataset,
        scales=check_scales(scales or basis.scales),
        execution=execution,
        attention=attention,
    )
    for writing in job.writings.values():
        writing.check(photos.photos)
    opened = _Opened(job, own_device(placement, execution.device) if here else "cpu")
    mine = [of for _, of in placement.share().of(shards_of(photos.photos, SHARD_SIZE))]
    with working_on(*map(folder_lock, job.folders.values()), stage="lpcam generate", share=placement.share().name):
        next_steps = tuple(line for name in job.folders for line in _claimed(job, opened, name, photos, overwrite))
        damages = tuple(line for name in job.folders for line in _checked(job, name, mine, progress))
        try:
            report = _written(job, mine, placement, opened.run, here, progress)
        finally:
            for folder in job.folders.values():
                settle(folder, None if placement.share().is_all else job.token)
    workspace.record_failures("generate", report.failures, {photo.name for of in mine for photo in of})
    skipped = sum(map(len, mine)) - report.images - len(report.failures)
    notices = (*photos.notices, *damages, *empty_notices(report.empty_maps), *halving_notices(report.halved))
    return replace(report, skipped=skipped, notices=notices, next_steps=next_steps)


@dataclass(frozen=True)
class GenerationJob:
    """What another process needs to know to write seeds.

    Attributes:
        basis: The classifier, and the features that the prototypes were made from.
        workspace: Of the run; its prototypes and context are what methods are made of.
        settings: The user's choices about the methods.
        folders: Of the seeds, by method.
        refiner: Family whose format is written.
        parts: What is written beside the seeds.
        dataset: Kind of the photos' data set.
        scales: Of the views.
        execution: Batch size, workers, precision.
        attention: Put on the maps, if any.
        token: Of this run, by which its processes note what they wrote.
    """

    basis: Basis
    workspace: Path
    settings: MethodSettings
    folders: dict[str, Path]
    refiner: str
    parts: PartOptions
    dataset: str
    scales: tuple[float, ...]
    execution: Execution
    attention: str | None = None
    token: str = field(default_factory=process_token)

    def open(self, device: str) -> Runner:
        """Load classifier and prototypes and return the function that writes the seeds of a shard."""
        return _Opened(self, device).run

    def origin(self, method: str) -> Origin:
        """Return what a method's maps are."""
        return Origin(method, self.dataset, walked=self.settings.propagation.walk is not None)

    @cached_property
    def writings(self) -> dict[str, Writing]:
        """What is written of a photo, by method."""
        return {name: Writing.of(self.refiner, self.parts, self.origin(name)) for name in self.folders}

    def is_waiting(self, photo: Photo) -> bool:
        """Return whether seeds or parts of a photo are missing."""
        return not all(self.writings[name].is_written(folder, photo.name) for name, folder in self.folders.items())


class _Opened:
    """A job with its classifier on a device.

    Attributes:
        forward: Classifier and scales.
        means: What the methods are made of.
    """

    def __init__(self, job: GenerationJob, device: str) -> None:
        self._job = job
        basis = job.basis
        net = basis.classifier.load_again(len(basis.classes), device, basis.weights_sha256)
        if job.attention is not None:
            net.require_attention()
        self.forward = Forward(net, job.scales, precision=job.execution.precision, runtime=job.execution.runtime)
        self.means = Means.of(Workspace(job.workspace), net, basis.features, job.settings)
        self._methods = {name: make_method(name, self.means) for name in job.folders}

    def run(self, photos: tuple[Photo, ...], tick: Tick) -> StageReport:
        """Write the seeds of the photos that have none."""
        job, by_name = self._job, {photo.name: photo for photo in photos}
        return generate_maps(
            photos,
            self.forward,
            self._methods,
            {name: _sink(job, name, by_name) for name in job.folders},
            is_waiting=job.is_waiting,
            execution=job.execution,
            writers=_CUDA_WRITERS if self.forward.device.type == "cuda" else 1,
            attention=job.attention,
            propagation=job.settings.propagation,
            progress=lambda _stage, done, _total: tick(done),
        )


def _check_classes(split: DataSplit, classes: tuple[str, ...]) -> None:
    if split.classes != classes:
        raise LpcamError(
            f"the classes of these photos ({', '.join(split.classes[:3])}, …) are not those of the features "
            f"({', '.join(classes[:3])}, …): give the list the features were extracted with by --classes"
        )


def _seed_folder(workspace: Workspace, method: str, refiner: str, out: Path | None, methods: int) -> Path:
    if out is None:
        return workspace.seeds(method, refiner)
    return out if methods == 1 else out / method


def _written(
    job: GenerationJob,
    shards: Sequence[tuple[Photo, ...]],
    placement: Placement,
    run: Runner,
    here: bool,
    progress: Progress,
) -> StageReport:
    """Write the seeds that are waiting in some shards, here or by the processes of a placement."""
    left = [sum(map(job.is_waiting, of)) for of in shards]
    waiting = [(of, count) for of, count in zip(shards, left, strict=True) if count]
    _LOG.info(
        "seeds of %d photos are to be written, those of %d are kept", sum(left), sum(map(len, shards)) - sum(left)
    )
    if here:  # one pipeline over all of them: the next photos are read across shards
        waiting = [(tuple(photo for of, _ in waiting for photo in of), sum(left))] if waiting else []
    started = time.perf_counter()
    reports = map_shards(
        job,
        [of for of, _ in waiting],
        [count for _, count in waiting],
        placement,
        device=job.execution.device,
        here=run,
        stage="generate",
        progress=progress,
    )
    return StageReport.merged(reports, time.perf_counter() - started)


def _claimed(job: GenerationJob, opened: _Opened, method: str, split: DataSplit, overwrite: bool) -> tuple[str, ...]:
    """Make the folder of a method's seeds ready, or refuse it; return how to go on with the seeds."""
    folder, writing = job.folders[method], job.writings[method]
    made_by = _made_by(job, opened, method, split)
    suffix = writing.refiner.suffix
    claim_seeds(folder, made_by, split.split, split.fingerprint, suffix=suffix, overwrite=overwrite)
    writing.sweep(folder)
    return write_next_step(writing.refiner, folder, job.origin(method), journal(folder, job.token))


def _made_by(job: GenerationJob, opened: _Opened, method: str, split: DataSplit) -> dict[str, Any]:
    forward, writing = opened.forward, job.writings[method]
    net = forward.classifier
    return {
        "schema": SCHEMA,
        "method": method,
        "refiner": writing.refiner.name,
        "weights_sha256": net.sha256,
        "layer": net.layer,
        "stride": net.stride,
        "scales": list(forward.scales),
        "precision": forward.precision,
        **opened.means.made_by(method),
        "dataset": split.dataset,
        "classes": list(split.classes),
        **({"parts": writing.settings} if writing.parts else {}),
        **({"attention": job.attention} if job.attention else {}),
    }


def _checked(
    job: GenerationJob, method: str, shards: Sequence[tuple[Photo, ...]], progress: Progress
) -> tuple[str, ...]:
    """Remove the seeds of some shards that are not what was written; return what a user should know of it."""
    folder, writing = job.folders[method], job.writings[method]
    files = [path for photos in shards for photo in photos for path in writing.files(folder, photo.name)]
    damaged = keep_sound(folder, files, lambda done, total: progress("check seeds", done, total))
    if not damaged:
        return ()
    return (f"{len(damaged)} files of {folder} were damaged, and are made again; the first was {damaged[0]}",)


def _sink(job: GenerationJob, method: str, photos: Mapping[str, Photo]) -> Sink:
    writing, folder = job.writings[method], job.folders[method]
    note = journal(folder, job.token)
    return lambda name, maps: writing.write(folder, photos[name], maps, note)
