"""Peak memory of extract-features and cluster as the number of photos grows.

Each stage runs in a process of its own, whose peak resident memory is reset when its libraries are loaded. What may
grow is said by the documents: extract-features not at all, cluster by the float32 vectors of the class side being
clustered. Resident memory holds mapped pages of the feature store too.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.isolated import in_new_process, peak_growth
from benchmarks.photos import VOC_SIZE, write_classifier, write_photos
from benchmarks.record import Check, Findings, command
from lpcam.corridor import cluster, extract_features
from lpcam.records import Execution
from lpcam.sources import ClassifierSource, DataSource
from lpcam.store import FeatureStore, shard_files
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
    """

    arch: str = "torchvision/mobilenet_v2"
    counts: tuple[int, ...] = (20, 40, 80)
    size: tuple[int, int] = VOC_SIZE
    classes: int = 2
    scales: tuple[float, ...] = (1.0,)
    shard_size: int = 8


DRY = Settings(counts=(2, 4), size=(48, 64), shard_size=2)


def run(settings: Settings) -> Findings:
    """Measure both stages for every number of photos."""
    with tempfile.TemporaryDirectory() as folder:
        rows = [_of_count(count, settings, Path(folder) / str(count)) for count in settings.counts]
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
    return Findings({"runs": rows, "growth_a_photo_over_its_features": slopes}, checks)


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
