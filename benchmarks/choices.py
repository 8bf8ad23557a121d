"""LPCAM on real photos over K, τ and μ, one changed at a time, the rest as in the ``voc`` profile.

Prototypes of every choice come from the ``train`` photos of VOC animals (one k-means seed); the maps of all choices
come from one pass over the same photos and are counted at every threshold, as in `benchmarks.real_photos`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import real_photos
from benchmarks.record import Findings, conclude, environment, parser
from lpcam.corridor import cluster, extract_features
from lpcam.forward import Forward
from lpcam.methods import Method
from lpcam.methods.cam import Cam
from lpcam.methods.lpcam import Lpcam
from lpcam.profiles import Profile, get_profile
from lpcam.prototypes import Prototypes
from lpcam.records import Execution
from lpcam.sources import ClassifierSource
from lpcam.workspace import Workspace

YARDSTICK = "real_voc_animals"


@dataclass(frozen=True)
class Settings:
    """What is tried.

    Attributes:
        k: K, centres on each side of a class.
        tau: τ, the CAM threshold between object and rest.
        class_threshold: μ, the least z of a class prototype.
        scales: Of the views, each with its mirror.
        seed: Of the clustering.
        thresholds: Of the background.
        limit: Photos; 0 for all.
    """

    k: tuple[int, ...] = (3, 6, 12, 24, 48)
    tau: tuple[float, ...] = (0.05, 0.1, 0.2, 0.3, 0.4)
    class_threshold: tuple[float, ...] = (0.5, 0.7, 0.9, 0.99)
    scales: tuple[float, ...] = (1.0, 0.5)
    seed: int = 0
    thresholds: str = "0:1:.01"
    limit: int = 0

    def profiles(self) -> dict[str, dict[str, Profile]]:
        """Return every choice by the name of its field and its value."""
        values: dict[str, Sequence[float]] = {"k": self.k, "tau": self.tau, "class_threshold": self.class_threshold}
        return {
            field: {f"{value:g}": get_profile("voc", **{field: value}) for value in of_field}
            for field, of_field in values.items()
        }


def run(settings: Settings, folder: Path) -> Findings:
    """Score every choice.

    Args:
        settings: What is tried.
        folder: For the workspace.
    """
    data, yardstick = real_photos.real_data(), real_photos.YARDSTICKS[YARDSTICK]
    source = real_photos.source_of(data / yardstick.folder, "train", settings.limit, folder)
    classifier = ClassifierSource(real_photos.ARCH, data / "weights" / real_photos.WEIGHTS, stride=16)
    workspace, split = Workspace(folder / "work"), source.open()
    extract_features(workspace, source, classifier, scales=settings.scales, execution=Execution("cpu"))
    methods, clusters = _methods(workspace, settings)
    net = classifier.load(len(split.classes), "cpu")
    counting = real_photos.Settings(yardstick.title, (), (), thresholds=settings.thresholds, written=0)
    counted = real_photos.count_maps(
        split, Forward(net, settings.scales), {"cam": Cam(net.class_weights), **methods}, counting
    )
    names = ("background", *split.classes)
    scores = {name: real_photos.scored(of_one, names, yardstick.mean_over) for name, of_one in counted.whole.items()}
    choices = {
        field: {value: {**scores[_key(profile)], **clusters[_key(profile)]} for value, profile in of_field.items()}
        for field, of_field in settings.profiles().items()
    }
    return Findings({"title": yardstick.title, "images": len(split.photos), "cam": scores["cam"], "choices": choices})


def _methods(workspace: Workspace, settings: Settings) -> tuple[dict[str, Method], dict[str, dict[str, float]]]:
    """Cluster with every choice; return LPCAM of each, and how many prototypes a class has on average."""
    methods: dict[str, Method] = {}
    clusters: dict[str, dict[str, float]] = {}
    for profile in {_key(one): one for of_field in settings.profiles().values() for one in of_field.values()}.values():
        report = cluster(workspace, profile=profile, seed=settings.seed, device="cpu", overwrite=True)
        found = [counts for counts in report.classes.values() if counts["object_vectors"]]
        clusters[_key(profile)] = {
            kind: sum(int(counts[kind]) for counts in found) / max(len(found), 1)
            for kind in ("class_prototypes", "context_prototypes")
        }
        methods[_key(profile)] = Lpcam(Prototypes.load(workspace.prototypes).folded())
    return methods, clusters


def _key(profile: Profile) -> str:
    return str(sorted(asdict(profile).items()))


def main(argv: Sequence[str] | None = None) -> None:
    """Be the command line."""
    options = parser(__doc__ or "")
    options.add_argument("--limit", type=int, default=0, help="the first N photos; 0 for all")
    arguments = options.parse_args(argv)
    dry: dict[str, Any] = {"k": (2, 3), "tau": (0.1,), "class_threshold": (0.9,), "thresholds": "0:1:.1", "limit": 3}
    settings = Settings(**dry) if arguments.dry_run else Settings(limit=arguments.limit)
    before = environment()
    with tempfile.TemporaryDirectory(prefix="lpcam-choices-") as folder:
        conclude("choices", before, settings, run(settings, Path(folder)), arguments)


if __name__ == "__main__":
    main()
