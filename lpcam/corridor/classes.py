"""Stage 2 is done class by class: one job for every kind of centres, its classes kept while it works."""

from __future__ import annotations

import logging
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from lpcam.engines import Placement, Runner, Tick, map_shards, runs_here
from lpcam.errors import LpcamError, unknown
from lpcam.forward import resolve_device
from lpcam.kmeans import ENGINES
from lpcam.locks import file_lock, folder_lock, reading, working_on
from lpcam.records import Progress
from lpcam.store import Described, FeatureStore
from lpcam.workspace import Workspace

Hyper = TypeVar("Hyper")

_LOG = logging.getLogger(__name__)


@contextmanager
def making(workspace: Workspace, result: Path, *, reads: bool = True) -> Iterator[None]:
    """Wait for the features to be written, where they are read, and for whoever makes the same file."""
    features = reading(folder_lock(workspace.features), stage="lpcam cluster") if reads else nullcontext()
    with features, working_on(file_lock(result), stage="lpcam cluster"):
        yield


def refuse(kmeans: str, placement: Placement) -> None:
    """Refuse a k-means engine that is unknown, and a share of the classes.

    Raises:
        LpcamError: so it is.
    """
    if kmeans not in ENGINES:
        raise unknown("k-means engine", kmeans, ENGINES)
    placement.refuse_shard(
        "lpcam cluster", "run it once, when all features are there; --processes or --engine ray divide the classes"
    )


@dataclass(frozen=True)
class ClassJob(ABC, Generic[Hyper]):
    """What another process needs to know to do classes.

    Attributes:
        features: Folder of the store.
        profile: Hyper-parameters.
        seed: Of the data set; each class derives its own.
        kmeans: Engine of the k-means.
        made: What the result will say of itself.
        parts: Folder of the classes that are done, so that a run that was interrupted goes on; None keeps none.
    """

    features: Path
    profile: Hyper
    seed: int
    kmeans: str
    made: Any
    parts: Path | None

    def open(self, device: str) -> Runner:
        """Open the store and return the function that does a class."""
        return self.of(FeatureStore(self.features), resolve_device(device))

    def of(self, store: Described, device: str) -> Runner:
        """Return the function that does a class from a store that is open, unless an earlier run did it."""
        return self.unless_kept(self.builder(store, device))

    def unless_kept(self, build: Runner) -> Runner:
        """Return the function that builds a class and keeps it, unless an earlier run did."""

        def run(label: int, tick: Tick) -> Any:
            if self.parts is None:
                return build(label, tick)
            path, made = self.parts / f"{label:05d}.safetensors", _of_one(self.made, label)
            found = self.kept(path, made)
            if found is None:
                found = build(label, tick)
                self.keep(path, found, made)
            return found

        return run

    @abstractmethod
    def builder(self, store: Described, device: str) -> Runner:
        """Return the function that builds a class."""

    @abstractmethod
    def keep(self, path: Path, found: Any, made: Any) -> None:
        """Write what was built of one class."""

    @abstractmethod
    def read(self, path: Path) -> tuple[Any, Any]:
        """Return what was written of one class, and what made it; raises LpcamError where it cannot be read."""

    def kept(self, path: Path, made: Any) -> Any:
        """Return what was written of one class, if it was made so."""
        try:
            found, made_by = self.read(path)
        except LpcamError:
            return None
        return found if made_by == made else None

    def place(self, device: str) -> str:
        """Return where the vectors of a class lie: FAISS has them on the CPU."""
        return "cpu" if self.kmeans == "faiss" else device


def by_class(
    job: ClassJob[Any], store: Described, placement: Placement, device: str, progress: Progress
) -> tuple[Any, ...]:
    """Return what a job makes of every class, done here or by the processes of a placement."""
    labels = range(len(store.description.classes))
    own = resolve_device(device) if runs_here(placement, device) else "cpu"
    _LOG.info("k-means by %s, vectors of this process on %s", "faiss" if job.kmeans == "faiss" else "torch", own)
    here = job.of(store, own)
    counts = [1] * len(labels)
    return tuple(
        map_shards(job, labels, counts, placement, device=device, here=here, stage="cluster", progress=progress)
    )


def one_by_one(job: ClassJob[Any], build: Runner, store: Described, progress: Progress) -> tuple[Any, ...]:
    """Return what a function makes of every class, done in this process; classes are kept while it works.

    Args:
        job: Keeps them.
        build: Builds a class.
        store: Of the features.
        progress: Told as the work goes on.
    """
    labels, here = range(len(store.description.classes)), job.unless_kept(build)
    sizes = [1] * len(labels)
    place = Placement()
    return tuple(map_shards(None, labels, sizes, place, device="cpu", here=here, stage="cluster", progress=progress))


def parts_of(result: Path, kmeans: str) -> Path:
    """Return the folder of the classes that are done while a file is being made by a k-means engine."""
    return result.with_name(f".{result.name}.{kmeans}-parts")


def remove_parts(result: Path) -> None:
    """Remove the classes that were kept while a file was being made, of all engines."""
    for folder in result.parent.glob(f".{result.name}.*-parts"):
        shutil.rmtree(folder, ignore_errors=True)


def _of_one(made: Any, label: int) -> Any:
    """Return what the file of one class says of itself."""
    return replace(made, classes=(made.classes[label],))
