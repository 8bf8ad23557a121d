"""What the page about a run costs: its size, the time to write it, and memory, for a hundred and for 500 photos.

Photos are noise of VOC's size with masks, weights are random: noise is what WebP shrinks worst. The page shows CAM,
class prototypes and LPCAM, every prototype and its patches. It is written in a process of its own; memory is how far
the peak rises above what the libraries take.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.isolated import in_new_process, peak_growth
from benchmarks.photos import VOC_SIZE, write_classifier, write_photos, write_prototypes
from benchmarks.record import Check, Findings, command
from lpcam import corridor
from lpcam.records import Execution
from lpcam.report.whole import MEGABYTES, ReportResult, write_report
from lpcam.sources import DataSource
from lpcam.workspace import Workspace


@dataclass(frozen=True)
class Settings:
    """Sizes of the benchmark.

    Attributes:
        arch: Backbone.
        counts: Numbers of photos, rising.
        size: (H, W) of each.
        prototypes: Class prototypes, and as many context prototypes, of each of the 20 classes.
    """

    arch: str = "torchvision/mobilenet_v2"
    counts: tuple[int, ...] = (100, 500)
    size: tuple[int, int] = VOC_SIZE
    prototypes: int = 8


DRY = Settings(counts=(2, 4), size=(48, 64), prototypes=1)


def run(settings: Settings) -> Findings:
    """Make one run of the largest number of photos, and pages of every number."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        _prepare(root, settings)
        rows = [in_new_process(page, root=folder, split=_list(root, count)) for count in settings.counts]
    last = rows[-1]
    limit = Check(f"{last['photos']} photos: megabytes of the page", last["bytes"] / 1e6, MEGABYTES, "at most")
    return Findings({"runs": rows}, (limit,))


def page(root: str, split: str) -> dict[str, Any]:
    """Write the page of a list of photos and return what it took: seconds and bytes."""
    results: list[ReportResult] = []
    started = time.perf_counter()
    workspace = Workspace(Path(root) / "work")
    growth = peak_growth(lambda: results.append(write_report(workspace, data=_source(root, split))))
    seconds = time.perf_counter() - started
    (result,) = results
    return {
        "photos": result.photos,
        "shown": result.shown,
        "methods": len(result.methods),
        "bytes": result.size,
        "seconds": seconds,
        "peak_bytes": growth,
    }


def _prepare(root: Path, settings: Settings) -> None:
    """Leave a run in the folder: photos, masks, features, prototypes and seeds."""
    data = write_photos(root / "data", settings.counts[-1], size=settings.size)
    _write_masks(root / "data", settings)
    classifier = write_classifier(settings.arch, root / "weights.pth")
    workspace, execution = Workspace(root / "work"), Execution(device="cpu")
    corridor.extract_features(workspace, data, classifier, scales=(1.0,), execution=execution)
    write_prototypes(workspace, settings.prototypes, settings.prototypes)
    corridor.generate(workspace, methods=("cam", "class-prototypes", "lpcam"), execution=execution)


def _write_masks(root: Path, settings: Settings) -> None:
    """Write a mask a photo: a block of its class in the middle, with a rim that is not counted."""
    (root / "SegmentationClass").mkdir()
    height, width = settings.size
    for line in (root / "labels.csv").read_text(encoding="utf-8").splitlines()[1:]:
        name, labels = line.split(",")
        mask = np.zeros(settings.size, np.uint8)
        mask[height // 4 - 2 : height // 2 + 2, width // 4 - 2 : width // 2 + 2] = 255
        mask[height // 4 : height // 2, width // 4 : width // 2] = int(labels.split(";")[0]) + 1
        Image.fromarray(mask).save(root / "SegmentationClass" / f"{name}.png")


def _list(root: Path, count: int) -> str:
    """Return the file that lists the first photos."""
    lists = root / "data" / "ImageSets" / "Segmentation"
    names = (lists / "train.txt").read_text(encoding="utf-8").splitlines()
    chosen = lists / f"first_{count}.txt"
    chosen.write_text("\n".join(names[:count]) + "\n", encoding="utf-8")
    return str(chosen)


def _source(root: str, split: str) -> DataSource:
    data = Path(root) / "data"
    return DataSource("voc", data, split, labels=data / "labels.csv")


if __name__ == "__main__":
    command("report", __doc__ or "", run, full=Settings(), dry=DRY)
