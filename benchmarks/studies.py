"""Photos with a classifier, as several benchmarks study them: their sources, what was clustered, whose a folder is."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.real_photos import ARCH, WEIGHTS, YARDSTICKS, real_data, source_of
from benchmarks.record import environment
from lpcam.backbones.demo import build
from lpcam.corridor import cluster, cluster_discriminants, cluster_support, extract_features
from lpcam.datasets.demo import write_demo
from lpcam.discriminants import FisherProfile
from lpcam.errors import LpcamError
from lpcam.files import write_atomically, write_json
from lpcam.profiles import Profile
from lpcam.records import DataSplit, Execution
from lpcam.sources import ClassifierSource, DataSource
from lpcam.training.checkpoint import save_classifier
from lpcam.training.demo import DemoRecipe, train_demo_classifier
from lpcam.workspace import Workspace

DEMO = "demo"


@dataclass(frozen=True)
class Study:
    """Photos with a classifier.

    Attributes:
        folder: Of workspace and counts.
        sources: By split; prototypes come from the first.
        classifier: Of the photos.
        seeds: Of the clusterings.
        scales: Of the views.
        mean_over: Class names the mean is taken over; all when empty.
    """

    folder: Path
    sources: dict[str, DataSource]
    classifier: ClassifierSource
    seeds: tuple[int, ...]
    scales: tuple[float, ...]
    mean_over: tuple[str, ...] = ()

    @property
    def workspace(self) -> Workspace:
        """Features, and what was clustered last."""
        return Workspace(self.folder / "work")

    @property
    def train(self) -> DataSource:
        """The photos that prototypes come from."""
        return next(iter(self.sources.values()))

    def prototypes(self, seed: int, clustering: str) -> Path:
        """Return LPCAM's prototypes of a seed and of a clustering that goes by that name."""
        return self.folder / f"prototypes-{clustering}-{seed}.safetensors"

    def support(self, seed: int) -> Path:
        """Return CPAL's context of a seed."""
        return self.folder / f"support-{seed}.safetensors"

    def discriminants(self, clustering: str) -> Path:
        """Return Fisher's vectors by the name of what they were made with."""
        return self.folder / f"discriminants-{clustering}.safetensors"

    def listed(self, part: DataSplit, name: str) -> DataSource:
        """Return some of the ``train`` photos as a list of that name."""
        path = self.folder / f"{name}.txt"
        path.write_text("".join(f"{photo.name}\n" for photo in part.photos), encoding="utf-8")
        return self.train.with_split(str(path))


def real_study(
    name: str, folder: Path, *, seeds: tuple[int, ...], scales: tuple[float, ...], limit: int = 0
) -> tuple[str, Study]:
    """Return the title and the photos of a yardstick of `real_photos`, with the classifier that lies beside them.

    Args:
        name: Of the yardstick.
        folder: Of the study.
        seeds: Of the clusterings.
        scales: Of the views.
        limit: Photos a split; 0 for all.

    Raises:
        LpcamError: the real photos are not there.
    """
    yardstick, data = YARDSTICKS[name], real_data()
    folder.mkdir(parents=True, exist_ok=True)
    splits = ("train", *((yardstick.held_out,) if yardstick.held_out else ()))
    sources = {split: source_of(data / yardstick.folder, split, limit, folder) for split in splits}
    classifier = ClassifierSource(ARCH, data / "weights" / WEIGHTS, stride=16)
    return yardstick.title, Study(folder, sources, classifier, seeds, scales, yardstick.mean_over)


def demo_study(
    seed: int, folder: Path, *, painted: tuple[int, int], recipe: DemoRecipe, scales: tuple[float, ...]
) -> Study:
    """Return the demo data set of a seed with its classifier, painted and trained where they are not there.

    Args:
        seed: Of scenes, classifier and clustering.
        folder: Of the study.
        painted: Photos, train and val.
        recipe: Of the classifier.
        scales: Of the views.

    Raises:
        LpcamError: OpenCV, which paints, is missing.
    """
    data, weights = folder / "data", folder / "classifier.pth"
    sources = {split: DataSource(DEMO, data, split) for split in ("train", "val")}
    if not weights.exists():
        train, val = painted
        write_demo(data, seed=seed, train=train, val=val)
        state = train_demo_classifier(build("demo"), sources["train"].open(), recipe=recipe, seed=seed)
        save_classifier(weights, state)
    return Study(folder, sources, ClassifierSource("demo", weights), (seed,), scales)


def extract(study: Study, device: str) -> None:
    """Extract the features that are clustered, where they are not there."""
    extract_features(study.workspace, study.train, study.classifier, scales=study.scales, execution=Execution(device))


def cluster_once(study: Study, seed: int, clustering: str, profile: Profile, device: str) -> None:
    """Make LPCAM's prototypes, where they are not there."""
    if not study.prototypes(seed, clustering).exists():
        cluster(study.workspace, profile=profile, seed=seed, device=device, overwrite=True)
        copy_whole(study.workspace.prototypes, study.prototypes(seed, clustering))


def support_once(study: Study, seed: int, device: str) -> None:
    """Make CPAL's context, where it is not there."""
    if not study.support(seed).exists():
        cluster_support(study.workspace, seed=seed, device=device, overwrite=True)
        copy_whole(study.workspace.support, study.support(seed))


def discriminants_once(study: Study, clustering: str, profile: FisherProfile, device: str) -> None:
    """Make Fisher's vectors, where they are not there."""
    if not study.discriminants(clustering).exists():
        cluster_discriminants(study.workspace, profile=profile, device=device, overwrite=True)
        copy_whole(study.workspace.discriminants, study.discriminants(clustering))


def copy_whole(source: Path, target: Path) -> None:
    """Copy a file; the copy is whole or not there."""

    def write(partial: Path) -> None:
        shutil.copyfile(source, partial)

    write_atomically(target, write)


def parts(split: DataSplit, first: int, size: int) -> Iterator[DataSplit]:
    """Yield the ``first`` photos, and the others in blocks."""
    edges = [0, *range(first, len(split.photos), size), len(split.photos)]
    for start, stop in itertools.pairwise(edges):
        yield replace(split, photos=split.photos[start:stop])


def claim(folder: Path, settings: Any) -> None:
    """Make a folder the one of these settings and this commit.

    Raises:
        LpcamError: it is another's.
    """
    asked = json.loads(json.dumps({"settings": asdict(settings), "commit": environment()["commit"]}))
    path = folder / "claim.json"
    if path.exists() and json.loads(path.read_text(encoding="utf-8")) != asked:
        raise LpcamError(f"{folder} is of a run with other settings or another commit: choose another --folder")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(path, asked)


def over_runs(runs: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Return mean and standard deviation of the three measures (n − 1; 0 for a single run; None where one has none)."""
    found: dict[str, float | None] = {}
    for measure in ("miou", "precision", "recall"):
        values = [run[measure] for run in runs]
        whole = None not in values
        found[measure] = float(np.mean(values)) if whole else None
        found[f"{measure}_std"] = (float(np.std(values, ddof=1)) if len(values) > 1 else 0.0) if whole else None
    return found
