"""How the cost grows with the number of photos, of classes and of prototypes, and with the side of a photo.

A small backbone (MobileNetV2 with random weights) and small photos, so that what is not the backbone shows. One sweep
an axis, everything else fixed:

- images: seconds of extract-features and generate;
- classes of the data set: seconds a photo of generate, whose photos keep the classes they have;
- classes of a photo: seconds a photo of generate, beside the published way;
- prototypes of a class on either side: likewise, and seconds of k-means with as many centres;
- side of a photo: seconds a photo of generate.

The published way makes one cosine map a prototype (`tests/reference/one_at_a_time.py`). Folding the prototypes, once a
data set, stands beside both. The limit is the backbone's forwards, as generate counts them while reading and writing go
on beside them. In every sweep the values take turns, and the least of the rounds counts: what else a machine does can
only add. A slope is that of the straight line through the logarithms: 1 is proportional, 0 is flat.
"""

from __future__ import annotations

import importlib
import itertools
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.photos import write_classifier, write_photos, write_prototypes
from benchmarks.record import Check, Findings, command
from lpcam.corridor import extract_features, generate
from lpcam.forward import Forward
from lpcam.generate import generate as generate_maps
from lpcam.kmeans import kmeans
from lpcam.methods.lpcam import Lpcam, fold
from lpcam.records import Execution, Photo
from lpcam.refiners import get_refiner
from lpcam.sources import ClassifierSource, DataSource
from lpcam.workspace import Workspace

LIMIT = "forwards of generate"
FOLDING = "folding, once a data set"
_EXECUTION = Execution(device="cpu")
_CLASSES = 5  # that occur in the photos

Seconds = dict[str, float]
"""Of one call: a name for every series."""


@dataclass(frozen=True)
class Settings:
    """Sizes of the benchmark.

    Attributes:
        arch: Backbone.
        size: (H, W) of the photos, but for the last sweep.
        scales: Of the views.
        images: Numbers of photos.
        classes: Numbers of classes of the data set.
        labels: Numbers of classes of a photo.
        prototypes: Numbers of class prototypes, and of context prototypes, of a class.
        sides: Of square photos.
        photos: In the sweeps of classes, labels and prototypes.
        side_photos: In the sweep of sides.
        vectors: M of k-means.
        iterations: Of k-means.
        rounds: Every value is measured, after one that warms up.
    """

    arch: str = "torchvision/mobilenet_v2"
    size: tuple[int, int] = (128, 160)
    scales: tuple[float, ...] = (1.0, 0.5, 1.5, 2.0)
    images: tuple[int, ...] = (2, 4, 8, 16)
    classes: tuple[int, ...] = (5, 20, 80, 320)
    labels: tuple[int, ...] = (1, 2, 4, 8)
    prototypes: tuple[int, ...] = (3, 6, 12, 24, 48)
    sides: tuple[int, ...] = (96, 128, 192, 256, 384)
    photos: int = 3
    side_photos: int = 2
    vectors: int = 20_000
    iterations: int = 5
    rounds: int = 2


DRY = Settings(
    size=(64, 80),
    scales=(1.0, 0.5),
    images=(2, 4),
    classes=(5, 10),
    labels=(1, 2),
    prototypes=(2, 4),
    sides=(64, 96),
    photos=2,
    side_photos=1,
    vectors=200,
    iterations=2,
    rounds=1,
)


def run(settings: Settings) -> Findings:
    """Measure every sweep."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        data = write_photos(root, max(settings.images), size=settings.size, classes=_CLASSES)
        source = write_classifier(settings.arch, root / "weights.pth")
        bench = _Bench(settings, root, source)
        results = {
            "images": _series("photos", settings.images, "seconds", _by_images(settings, root, data, source)),
            "classes": _series("classes of the data set", settings.classes, "seconds a photo", bench.by_classes(data)),
            "labels": _series("classes of a photo", settings.labels, "seconds a photo", bench.by_labels(data)),
            "prototypes": _series(
                "prototypes on either side (K)", settings.prototypes, "seconds a photo", bench.by_prototypes(data)
            ),
            "kmeans": _series("centres (K)", settings.prototypes, "seconds", bench.by_centres()),
            "sides": _series("side of a photo, px", settings.sides, "seconds a photo", bench.by_sides()),
        }
    return Findings(results, _checks(results))


def slope(values: Sequence[float], seconds: Sequence[float]) -> float:
    """Return the slope of the straight line through the logarithms.

    >>> round(slope([1, 2, 4], [3, 12, 48]), 6)
    2.0
    """
    return float(np.polyfit(np.log(values), np.log(seconds), 1)[0])


def _by_images(settings: Settings, root: Path, data: DataSource, source: ClassifierSource) -> list[Seconds]:
    """Run both stages for every number of photos, each in its own workspace."""
    names = [photo.name for photo in data.open().photos]
    workspaces = (Workspace(root / f"work{number}") for number in itertools.count())

    def both(count: int) -> Seconds:
        listed = root / "ImageSets" / "Segmentation" / f"first{count}.txt"
        listed.write_text("\n".join(names[:count]) + "\n", encoding="utf-8")
        workspace, some = next(workspaces), data.with_split(f"first{count}")
        extracted = extract_features(workspace, some, source, scales=settings.scales, execution=_EXECUTION)
        write_prototypes(workspace, 12, 9)
        generated = generate(workspace, execution=_EXECUTION)
        return {
            "extract-features": extracted.seconds,
            "generate": generated.seconds,
            LIMIT: generated.backbone_seconds,
        }

    return _in_turns({count: partial(both, count) for count in settings.images}, settings.rounds)


class _Bench:
    """The generate room without a workspace: photos, a classifier, prototypes made up, seed files."""

    def __init__(self, settings: Settings, root: Path, source: ClassifierSource) -> None:
        self.settings, self.root = settings, root
        self.plain = source.load(20, "cpu")  # in torch's default layout, for the published way
        self.forward = Forward(source.load(20, "cpu"), settings.scales)
        self.random = torch.Generator().manual_seed(0)

    def by_classes(self, data: DataSource) -> list[Seconds]:
        """Generate with ever more classes in the data set."""
        photos = data.open().photos[: self.settings.photos]
        pairs = {count: [self._pair(12) for _ in range(count)] for count in self.settings.classes}
        return _in_turns(
            {count: partial(self._generate, photos, pair) for count, pair in pairs.items()}, self.settings.rounds
        )

    def by_labels(self, data: DataSource) -> list[Seconds]:
        """Generate of photos that show ever more classes, ours and the published way."""
        photos, most = data.open().photos[: self.settings.photos], max(self.settings.labels)
        pairs = [self._pair(12) for _ in range(most)]

        def showing(count: int) -> Seconds:
            return self._both([replace(photo, labels=tuple(range(count))) for photo in photos], pairs)

        return _in_turns({count: partial(showing, count) for count in self.settings.labels}, self.settings.rounds)

    def by_prototypes(self, data: DataSource) -> list[Seconds]:
        """Generate with ever more prototypes, ours and the published way."""
        photos = data.open().photos[: self.settings.photos]
        pairs = {count: [self._pair(count) for _ in range(_CLASSES)] for count in self.settings.prototypes}
        return _in_turns(
            {count: partial(self._both, photos, pair) for count, pair in pairs.items()}, self.settings.rounds
        )

    def by_centres(self) -> list[Seconds]:
        """Cluster with ever more centres, the number of iterations fixed."""
        settings = self.settings
        vectors = torch.rand(settings.vectors, self.forward.classifier.channels, generator=self.random)

        def call(count: int) -> Seconds:
            started = time.perf_counter()
            kmeans(vectors, count, seed=0, iterations=settings.iterations)
            return {"k-means": time.perf_counter() - started}

        return _in_turns({count: partial(call, count) for count in settings.prototypes}, self.settings.rounds)

    def by_sides(self) -> list[Seconds]:
        """Generate with ever larger photos."""
        calls: dict[int, Callable[[], Seconds]] = {}
        for side in self.settings.sides:
            split = write_photos(
                self.root / str(side), self.settings.side_photos, size=(side, side), classes=_CLASSES
            ).open()
            pairs = [self._pair(12) for _ in range(_CLASSES)]
            calls[side] = partial(self._generate, split.photos, pairs)
        return _in_turns(calls, self.settings.rounds)

    def _pair(self, count: int) -> tuple[Tensor, Tensor]:
        """Return made-up class prototypes and context prototypes; what they are does not change the cost."""
        channels = self.forward.classifier.channels
        classes, context = torch.rand(2, count, channels, generator=self.random)
        return classes, context * 0.1

    def _both(self, photos: Sequence[Photo], pairs: Sequence[tuple[Tensor, Tensor]]) -> Seconds:
        reference = importlib.import_module("tests.reference.one_at_a_time")
        found, by_label = self._generate(photos, pairs), dict(enumerate(pairs))
        started = time.perf_counter()
        reference.write_lpcam(self.plain, photos, self.settings.scales, by_label, self.root / "published")
        return {**found, "one at a time": (time.perf_counter() - started) / len(photos)}

    def _generate(self, photos: Sequence[Photo], pairs: Sequence[tuple[Tensor, Tensor]]) -> Seconds:
        writer, folder = get_refiner("irn"), self.root / "seeds"
        started = time.perf_counter()
        method = Lpcam(torch.stack([fold(*pair) for pair in pairs]))
        folding = time.perf_counter() - started
        report = generate_maps(
            photos,
            self.forward,
            {"lpcam": method},
            {"lpcam": lambda name, maps: writer.write(folder, name, maps)},
            execution=_EXECUTION,
        )
        return {
            "generate": report.seconds / len(photos),
            FOLDING: folding,
            LIMIT: report.backbone_seconds / len(photos),
        }


def _in_turns(calls: Mapping[int, Callable[[], Seconds]], rounds: int) -> list[Seconds]:
    """Return the least of every series of every call, in rounds after one that warms up.

    Every other round goes the other way, so that no value is always the first.
    """
    found: dict[int, list[Seconds]] = {value: [] for value in calls}
    for turn in range(1 + rounds):
        for value in sorted(calls, reverse=turn % 2 == 1):
            found[value].append(calls[value]())
    return [{name: min(seconds[name] for seconds in every[1:]) for name in every[0]} for every in found.values()]


def _series(axis: str, values: Sequence[int], unit: str, rows: Sequence[Seconds]) -> dict[str, Any]:
    series = {}
    for name in rows[0]:
        seconds = [row[name] for row in rows]
        series[name] = {"seconds": seconds, "slope": slope(values, seconds), "limit": name == LIMIT}
    return {"axis": axis, "values": list(values), "unit": unit, "series": series}


def _checks(results: Mapping[str, Any]) -> tuple[Check, ...]:
    images = results["images"]["series"]
    checks = [
        Check(f"{stage}: distance of the slope in images from 1", abs(images[stage]["slope"] - 1), 0.15, "at most")
        for stage in ("extract-features", "generate")
    ]
    for sweep in ("classes", "labels", "prototypes"):
        values, series = results[sweep]["values"], results[sweep]["series"]
        over = [
            ours / forwards for ours, forwards in zip(*(series[n]["seconds"] for n in ("generate", LIMIT)), strict=True)
        ]
        name = f"generate: seconds over its forwards, {results[sweep]['axis']} {values[-1]} over {values[0]}"
        checks.append(Check(name, over[-1] / over[0], 1.15, "at most"))
    return tuple(checks)


if __name__ == "__main__":
    command("cost", __doc__ or "", run, full=Settings(), dry=DRY)
