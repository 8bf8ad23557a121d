"""CAM beside LPCAM on real photos with true masks: both yardsticks of ``LPCAM_REAL_DATA`` (default ../shared).

Features and prototypes are made by the commands' own library calls, from the ``train`` photos, for every profile and
seed. The maps of all methods then come from one pass over the photos and are counted at every threshold in memory; on
the first photos the same is done by writing IRN seeds and evaluating them, and both must agree exactly.

"VOC animals" is the mean over background, cat, cow, dog, horse, person and sheep on voc_animals; "COCO subset, 20 VOC
classes" the mean over all classes of coco20. mIoU is one confusion over all photos, 255 ignored, NaN-mean over classes.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record import ROOT, Check, Findings, conclude, environment, parser
from lpcam.corridor import cluster, evaluate, extract_features, generate
from lpcam.datasets import read_mask
from lpcam.errors import LpcamError, unknown
from lpcam.evaluation import Curve, Score, SeedScores, compute, parse_thresholds
from lpcam.forward import Forward
from lpcam.generate import Sink
from lpcam.generate import generate as generate_maps
from lpcam.methods import Method
from lpcam.methods.cam import Cam
from lpcam.methods.lpcam import Lpcam
from lpcam.profiles import get_profile
from lpcam.prototypes import Prototypes
from lpcam.records import ActivationMaps, DataSplit, Execution
from lpcam.sources import ClassifierSource, DataSource
from lpcam.views import PUBLISHED_SCALES
from lpcam.workspace import Workspace

ARCH = "torchvision/mobilenet_v2"
METHODS = ("cam", "lpcam", "class-prototypes")
WEIGHTS = "mobilenet_v2_voc20.pth"


@dataclass(frozen=True)
class Yardstick:
    """A set of real photos and how its results are called.

    Attributes:
        folder: Under ``data``.
        title: Of the results.
        mean_over: Class names the mean is taken over; all when empty.
        held_out: A split the prototypes do not come from.
    """

    folder: str
    title: str
    mean_over: tuple[str, ...] = ()
    held_out: str | None = None


YARDSTICKS = {
    "real_voc_animals": Yardstick(
        "voc_animals",
        "VOC animals",
        ("background", "cat", "cow", "dog", "horse", "person", "sheep"),
        held_out="aug",
    ),
    "real_coco_subset": Yardstick("coco20", "COCO subset, 20 VOC classes"),
}


@dataclass(frozen=True)
class Settings:
    """What is run.

    Attributes:
        title: Of the results.
        splits: Whose photos are scored; the prototypes come from the first.
        scales: Of the views.
        profiles: Of the clustering.
        seeds: Of the clustering.
        thresholds: Of the background.
        mean_over: Class names the mean is taken over; all when empty.
        written: Photos on which seeds are written and evaluated too.
        limit: Photos a split; 0 for all.
    """

    title: str
    splits: tuple[str, ...]
    mean_over: tuple[str, ...]
    scales: tuple[float, ...] = PUBLISHED_SCALES
    profiles: tuple[str, ...] = ("voc", "coco")
    seeds: tuple[int, ...] = (0, 1, 2)
    thresholds: str = "0:1:.01"
    written: int = 40
    limit: int = 0


@dataclass
class Counters:
    """The counts of one split: by method, over all photos and over those whose seeds are written too.

    Attributes:
        split: The photos.
        whole: Counts over all of them.
        part: Counts over the photos named in ``written``.
        written: Names.
    """

    split: DataSplit
    whole: dict[str, SeedScores]
    part: dict[str, SeedScores]
    written: frozenset[str] = field(default_factory=frozenset)

    def sink(self, method: str) -> Sink:
        """Return what counts the maps of a method."""
        photos = {photo.name: photo for photo in self.split.photos}

        def count(name: str, maps: ActivationMaps) -> None:
            truth = read_mask(photos[name])
            self.whole[method].update(maps, truth, name)
            if name in self.written:
                self.part[method].update(maps, truth, name)

        return count


def real_data() -> Path:
    """Return the folder of the real photos.

    Raises:
        LpcamError: it is not there.
    """
    folder = Path(os.environ.get("LPCAM_REAL_DATA", ROOT.parent / "shared"))
    if not (folder / "data" / "weights" / WEIGHTS).is_file():
        raise LpcamError(
            f"{folder} has no data/weights/{WEIGHTS}: set LPCAM_REAL_DATA to the folder of the real photos"
        )
    return folder / "data"


def run(yardstick: Yardstick, settings: Settings, folder: Path, classifier: ClassifierSource | None = None) -> Findings:
    """Score every method on every split.

    Args:
        yardstick: The photos.
        settings: What is run.
        folder: For workspace and lists.
        classifier: By default the one beside the photos.
    """
    data, workspace = real_data(), Workspace(folder / "work")
    root = data / yardstick.folder
    sources = {split: source_of(root, split, settings.limit, folder) for split in settings.splits}
    train = sources[settings.splits[0]]
    classifier = classifier or ClassifierSource(ARCH, data / "weights" / WEIGHTS, stride=16)
    extract_features(workspace, train, classifier, scales=settings.scales, execution=Execution("cpu"))
    net = classifier.load(len(train.open().classes), "cpu")
    methods, clusters = _methods(workspace, settings)
    methods = {"cam": Cam(net.class_weights), **methods}
    counted = {
        name: count_maps(source.open(), Forward(net, settings.scales), methods, settings)
        for name, source in sources.items()
    }
    names = ("background", *train.open().classes)
    results = {name: _summary(counters, names, settings) for name, counters in counted.items()}
    difference = _written_difference(workspace, train, counted[settings.splits[0]], settings, folder)
    return Findings(
        {"title": settings.title, "splits": results, "clusters": clusters},
        (
            Check(
                "largest difference of the mIoU: written seeds, counted maps", difference, 0, "at most", equality=True
            ),
            *_gains(results, settings),
        ),
    )


def source_of(root: Path, split: str, limit: int, folder: Path) -> DataSource:
    """Return a split, or a list of its first photos written into ``folder``; ``limit`` 0 is all."""
    source = DataSource("voc", root, split, labels=root / "labels.csv")
    return source.with_split(str(_shortened(source, limit, folder / f"{split}.txt"))) if limit else source


def _shortened(source: DataSource, count: int, path: Path) -> Path:
    names = [photo.name for photo in source.open().photos[:count]]
    path.write_text("\n".join(names) + "\n", encoding="utf-8")
    return path


def _methods(workspace: Workspace, settings: Settings) -> tuple[dict[str, Method], dict[str, Any]]:
    """Cluster with every profile and seed; return LPCAM with and without context for each, and what was found."""
    methods: dict[str, Method] = {}
    clusters: dict[str, Any] = {}
    for profile in settings.profiles:
        for seed in settings.seeds:
            report = cluster(workspace, profile=get_profile(profile), seed=seed, device="cpu", overwrite=True)
            prototypes = Prototypes.load(workspace.prototypes)
            methods[_key("lpcam", profile, seed)] = Lpcam(prototypes.folded())
            methods[_key("class-prototypes", profile, seed)] = Lpcam(prototypes.folded(context=False))
            clusters[f"{profile} {seed}"] = report.classes
    return methods, clusters


def _key(method: str, profile: str, seed: int) -> str:
    return f"{method} {profile} {seed}"


def count_maps(
    split: DataSplit,
    forward: Forward,
    methods: Mapping[str, Method],
    settings: Settings,
    execution: Execution = Execution("cpu"),
) -> Counters:
    """Make the maps of every method in one pass over the photos and count them at every threshold.

    Raises:
        LpcamError: a photo cannot be read.
    """
    thresholds = parse_thresholds(settings.thresholds)
    classes = len(split.classes)
    counters = Counters(
        split,
        {name: SeedScores(classes, thresholds) for name in methods},
        {name: SeedScores(classes, thresholds) for name in methods},
        frozenset(photo.name for photo in split.photos[: settings.written]),
    )
    sinks = {name: counters.sink(name) for name in methods}
    report = generate_maps(split.photos, forward, methods, sinks, execution=execution)
    if report.failures:
        raise LpcamError(f"{report.failures[0].name} failed ({report.failures[0].reason}): repair the photo")
    return counters


def _summary(counters: Counters, names: tuple[str, ...], settings: Settings) -> dict[str, Any]:
    groups = {"cam": ["cam"]}
    for profile in settings.profiles:
        for method in ("lpcam", "class-prototypes"):
            groups[f"{method} {profile}"] = [_key(method, profile, seed) for seed in settings.seeds]
    return {
        "images": counters.whole["cam"].images,
        "methods": {
            group: _of_seeds([scored(counters.whole[key], names, settings.mean_over) for key in keys])
            for group, keys in groups.items()
        },
    }


def _of_seeds(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return mean and standard deviation over seeds (n − 1; 0 for a single run), and every run."""
    mious = [run["miou"] for run in runs]
    spread = float(np.std(mious, ddof=1)) if len(mious) > 1 else 0.0
    return {"miou": float(np.mean(mious)), "miou_std": spread, "runs": list(runs)}


def scored(scores: SeedScores, names: tuple[str, ...], mean_over: tuple[str, ...]) -> dict[str, Any]:
    """Return the best score, the IoU of every class at its threshold, and the whole curve."""
    curve = compute(scores, [names.index(name) for name in mean_over] or None)
    every = compute(scores).best
    return {
        **_numbers(curve.best),
        "per_class": {
            name: value for name, value in zip(names, curve.best.per_class, strict=True) if value is not None
        },
        "all_classes": _numbers(every),
        "curve": {field: _column(curve, field) for field in ("threshold", "miou", "precision", "recall")},
    }


def _numbers(score: Score) -> dict[str, float | None]:
    return {field: getattr(score, field) for field in ("miou", "threshold", "precision", "recall")}


def _column(curve: Curve, field: str) -> list[float | None]:
    values = [getattr(score, field) for score in curve.scores]
    return [None if value is None else round(value, 6) for value in values]


def _written_difference(
    workspace: Workspace, train: DataSource, counters: Counters, settings: Settings, folder: Path
) -> float:
    """Write and evaluate seeds of the first photos as the commands do; return the largest difference of the mIoU."""
    profile, seed = settings.profiles[0], settings.seeds[0]
    cluster(workspace, profile=get_profile(profile), seed=seed, device="cpu", overwrite=True)
    few = train.with_split(str(_shortened(train, settings.written, folder / "written.txt")))
    generate(workspace, methods=METHODS, data=few, execution=Execution("cpu"))
    differences = []
    for method in METHODS:
        report = evaluate(workspace, method=method, data=few, thresholds=settings.thresholds)
        key = method if method == "cam" else _key(method, profile, seed)
        in_memory = compute(counters.part[key])
        differences += [abs(a.miou - b.miou) for a, b in zip(report.curve.scores, in_memory.scores, strict=True)]
    return max(differences)


def _gains(results: Mapping[str, Any], settings: Settings) -> list[Check]:
    checks = []
    for split, found in results.items():
        for profile in settings.profiles:
            ours = found["methods"][f"lpcam {profile}"]["miou"]
            for other in ("cam", f"class-prototypes {profile}"):
                gain = ours - found["methods"][other]["miou"]
                checks.append(Check(f"{split}: mIoU of lpcam {profile} − {other}", gain, 0, "at least"))
    return checks


def settings_of(yardstick: Yardstick, arguments: argparse.Namespace) -> Settings:
    """Return the settings that the command line asks for."""
    held_out = (yardstick.held_out,) if yardstick.held_out and arguments.held_out else ()
    scales = tuple(float(scale) for scale in arguments.scales.split(",")) if arguments.scales else PUBLISHED_SCALES
    settings = Settings(yardstick.title, ("train", *held_out), yardstick.mean_over, scales)
    if not arguments.dry_run:
        return settings
    return Settings(
        yardstick.title,
        ("train", *held_out),
        yardstick.mean_over,
        scales=(1.0, 0.5),
        seeds=(0, 1),
        thresholds="0:1:.1",
        written=2,
        limit=3,
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Be the command line."""
    options = options_of(__doc__ or "")
    options.add_argument("--yardstick", action="append", help=f"{' or '.join(YARDSTICKS)} (default both)")
    arguments = options.parse_args(argv)
    for name in arguments.yardstick or list(YARDSTICKS):
        if name not in YARDSTICKS:
            raise unknown("yardstick", name, YARDSTICKS)
        _record(name, arguments)


def options_of(description: str) -> argparse.ArgumentParser:
    """Return a parser with the options of a benchmark on real photos."""
    options = parser(description)
    options.add_argument("--scales", default="", help="of the views, such as 1,.5,1.5 (default the published)")
    options.add_argument(
        "--held-out", action=argparse.BooleanOptionalAction, default=True, help="score held-out photos too"
    )
    options.add_argument(
        "--folder", type=Path, default=None, help="keep features here, to continue (default temporary)"
    )
    return options


def _record(name: str, arguments: argparse.Namespace) -> None:
    before = environment()
    settings = settings_of(YARDSTICKS[name], arguments)
    with tempfile.TemporaryDirectory() as temporary:
        folder = (arguments.folder or Path(temporary)) / name
        folder.mkdir(parents=True, exist_ok=True)
        findings = run(YARDSTICKS[name], settings, folder)
    conclude(name + suffix_of(settings, arguments), before, settings, findings, arguments)


def suffix_of(settings: Settings, arguments: argparse.Namespace) -> str:
    """Return what a file's name says of scales that are not the published ones."""
    if settings.scales == PUBLISHED_SCALES or arguments.dry_run:
        return ""
    return "_scales_" + "_".join(f"{scale:g}" for scale in settings.scales)


if __name__ == "__main__":
    main()
