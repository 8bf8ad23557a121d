"""Peak memory of extract-features, cluster and generate as the number of photos grows.

Each stage runs in a process of its own, whose peak resident memory is reset when its libraries are loaded. What may
grow is said by the documents: extract-features not at all, cluster by the float32 vectors of the class side being
clustered, generate not at all, of photos of many sizes a few times (what is kept of every size splits the heap).
Resident memory holds mapped pages of the feature store too.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.isolated import in_new_process, peak_growth
from benchmarks.photos import VOC_SIZE, write_classifier, write_photos
from benchmarks.record import Check, Findings, command
from lpcam.corridor import cluster, extract_features
from lpcam.forward import Forward
from lpcam.generate import generate
from lpcam.methods.cam import Cam
from lpcam.records import Execution
from lpcam.refiners import get_refiner
from lpcam.sources import ClassifierSource, DataSource
from lpcam.store import FeatureStore, shard_files
from lpcam.views import PUBLISHED_SCALES
from lpcam.workspace import Workspace


@dataclass(frozen=True)
class Settings:
    """Sizes of the benchmark.

    Attributes:
        arch: Backbone.
        counts: Numbers of photos, rising.
        size: (H, W) of each.
        classes: How many occur; few, so that the vectors of one are large beside the allocator's own leftovers.
        scales: Of the views.
        shard_size: Photos a shard; below the first count, so that a shard is full in every run.
        many_counts: Numbers of photos of many sizes; the first is enough for the largest to be among them.
        many_size: (H, W) of the largest of them.
        many_spread: Share of a side by which they differ at most.
        many_scales: Of the views in generate.
    """

    arch: str = "torchvision/mobilenet_v2"
    counts: tuple[int, ...] = (16, 144)
    size: tuple[int, int] = VOC_SIZE
    classes: int = 2
    scales: tuple[float, ...] = (1.0,)
    shard_size: int = 8
    many_counts: tuple[int, ...] = (12, 36)
    many_size: tuple[int, int] = (240, 320)
    many_spread: float = 0.4
    many_scales: tuple[float, ...] = PUBLISHED_SCALES


DRY = Settings(counts=(2, 4), size=(48, 64), shard_size=2, many_counts=(2, 3), many_size=(48, 64))


def run(settings: Settings) -> Findings:
    """Measure the stages for every number of photos."""
    with tempfile.TemporaryDirectory() as folder:
        rows = [_of_count(count, settings, Path(folder) / str(count)) for count in settings.counts]
        many = [_of_many_sizes(count, settings, Path(folder) / f"many_{count}") for count in settings.many_counts]
    slopes = {
        "extract-features": _slope(rows, lambda row: row["extract_bytes"]),
        "cluster, beyond the vectors of a class side": _slope(
            rows, lambda row: row["cluster_bytes"] - row["side_bytes"]
        ),
    }
    checks = tuple(
        Check(f"{stage}: growth a photo, share of a photo's stored features", slope, 0.1, "at most")
        for stage, slope in slopes.items()
    )
    growth = many[-1]["generate_bytes"] / many[0]["generate_bytes"]
    title = f"generate, photos of many sizes: peak of {many[-1]['photos']} over that of {many[0]['photos']}"
    results = {"runs": rows, "growth_a_photo_over_its_features": slopes, "many_sizes": many}
    return Findings(results, (*checks, Check(title, growth, 2.0, "at most")))


def extract_peak(root: str, arch: str, scales: list[float], shard_size: int) -> dict[str, Any]:
    """Return how far extract-features raises this process's peak memory: bytes."""
    data = DataSource("voc", Path(root), "train", labels=Path(root) / "labels.csv")
    classifier = ClassifierSource(arch, Path(root) / "weights.pth", stride=16)
    execution = Execution(device="cpu")

    def call() -> object:
        return extract_features(
            Workspace(Path(root) / "work"),
            data,
            classifier,
            scales=scales,
            shard_size=shard_size,
            execution=execution,
        )

    return {"bytes": peak_growth(call)}


def cluster_peak(root: str) -> dict[str, Any]:
    """Return how far cluster raises this process's peak memory, and the vectors of the largest class side: bytes."""
    workspace = Workspace(Path(root) / "work")
    channels = FeatureStore(workspace.features).manifest.description.channels
    reports = []
    growth = peak_growth(lambda: reports.append(cluster(workspace, device="cpu")))
    counts = reports[0].classes.values()
    largest = max(max(int(found["object_vectors"]), int(found["rest_vectors"])) for found in counts)
    return {"bytes": growth, "side_bytes": largest * channels * 4}


def generate_peak(root: str, arch: str, scales: list[float]) -> dict[str, Any]:
    """Return how far generate raises this process's peak memory, with CAM and IRN seeds: bytes."""
    split = DataSource("voc", Path(root), "train", labels=Path(root) / "labels.csv").open()
    net = ClassifierSource(arch, Path(root) / "weights.pth", stride=16).load(len(split.classes), "cpu")
    forward, seeds = Forward(net, scales), Path(root) / "seeds"
    sink = partial(get_refiner("irn").write, seeds)
    method = {"cam": Cam(net.class_weights)}
    return {"bytes": peak_growth(lambda: generate(split.photos, forward, method, {"cam": sink}))}


def _of_many_sizes(count: int, settings: Settings, root: Path) -> dict[str, Any]:
    write_photos(root, count, size=settings.many_size, spread=settings.many_spread)
    write_classifier(settings.arch, root / "weights.pth")
    found = in_new_process(generate_peak, root=str(root), arch=settings.arch, scales=list(settings.many_scales))
    return {"photos": count, "generate_bytes": found["bytes"]}


def _of_count(count: int, settings: Settings, root: Path) -> dict[str, Any]:
    write_photos(root, count, size=settings.size, classes=settings.classes)
    write_classifier(settings.arch, root / "weights.pth")
    extracted = in_new_process(
        extract_peak,
        root=str(root),
        arch=settings.arch,
        scales=list(settings.scales),
        shard_size=settings.shard_size,
    )
    clustered = in_new_process(cluster_peak, root=str(root))
    return {
        "photos": count,
        "store_bytes": sum(path.stat().st_size for path in shard_files(root / "work" / "features")),
        "extract_bytes": extracted["bytes"],
        "cluster_bytes": clustered["bytes"],
        "side_bytes": clustered["side_bytes"],
    }


def _slope(rows: list[dict[str, Any]], measured: Callable[[dict[str, Any]], int]) -> float:
    """Return the growth from the first run to the last, a photo, over the stored bytes of a photo."""
    first, last = rows[0], rows[-1]
    photos = last["photos"] - first["photos"]
    return float((measured(last) - measured(first)) / photos / (last["store_bytes"] / last["photos"]))


if __name__ == "__main__":
    command("memory", __doc__ or "", run, full=Settings(), dry=DRY)
