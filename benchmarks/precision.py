"""What a number format of the forward passes does to the seeds of real photos, and to the seconds they take.

Features and prototypes are made in float32 from the first ``train`` photos of a yardstick; the maps of CAM and LPCAM
are then made in every precision on the same photos, with the same prototypes, and counted at every threshold. The
baseline is float32. Reads LPCAM_REAL_DATA (default ../shared).
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.real_photos import ARCH, WEIGHTS, YARDSTICKS, Settings, count_maps, real_data, scored, source_of
from benchmarks.record import Check, Findings, command
from lpcam.corridor import cluster, extract_features
from lpcam.forward import Forward
from lpcam.methods import Method
from lpcam.methods.cam import Cam
from lpcam.methods.lpcam import Lpcam
from lpcam.profiles import get_profile
from lpcam.prototypes import Prototypes
from lpcam.records import Execution
from lpcam.sources import ClassifierSource
from lpcam.workspace import Workspace

EXACT = "float32"


@dataclass(frozen=True)
class Sizes:
    """Sizes of the benchmark.

    Attributes:
        photos: Of every yardstick, from the first.
        yardsticks: Names of `benchmarks.real_photos.YARDSTICKS`.
        scales: Of the views.
        precisions: Compared with float32.
        device: Where the forwards run.
    """

    photos: int = 120
    yardsticks: tuple[str, ...] = ("real_voc_animals",)
    scales: tuple[float, ...] = (1.0, 0.5, 1.5, 2.0)
    precisions: tuple[str, ...] = ("bfloat16",)
    device: str = "cpu"


DRY = Sizes(photos=6, scales=(1.0, 0.5))


def run(sizes: Sizes) -> Findings:
    """Score CAM and LPCAM in every precision on every yardstick."""
    with tempfile.TemporaryDirectory() as folder:
        results = {name: _of_yardstick(name, sizes, Path(folder) / name) for name in sizes.yardsticks}
    checks = tuple(
        Check(f"{title}, {precision}: points of mIoU that {method} moves", abs(moved), 0.2, "at most")
        for title, by_precision in results.items()
        for precision, found in by_precision.items()
        if precision != EXACT
        for method, moved in found["moved_points"].items()
    )
    return Findings(results, checks)


def _of_yardstick(name: str, sizes: Sizes, folder: Path) -> dict[str, Any]:
    yardstick, data = YARDSTICKS[name], real_data()
    folder.mkdir()
    source = source_of(data / yardstick.folder, "train", sizes.photos, folder)
    classifier = ClassifierSource(ARCH, data / "weights" / WEIGHTS, stride=16)
    workspace, execution = Workspace(folder / "work"), Execution(sizes.device)
    extract_features(workspace, source, classifier, scales=sizes.scales, execution=execution)
    cluster(workspace, profile=get_profile(), device=sizes.device)
    split = source.open()
    settings = Settings(yardstick.title, ("train",), yardstick.mean_over, scales=sizes.scales, written=0)
    found: dict[str, Any] = {}
    for precision in (EXACT, *sizes.precisions):
        net = classifier.load(len(split.classes), sizes.device)
        forward = Forward(net, sizes.scales, precision=precision)
        folded = Prototypes.load(workspace.prototypes).folded().to(net.class_weights.device)
        methods: dict[str, Method] = {"cam": Cam(net.class_weights), "lpcam": Lpcam(folded)}
        counters = count_maps(split, forward, methods, settings)
        names = ("background", *split.classes)
        miou = {method: scored(counters.whole[method], names, yardstick.mean_over)["miou"] for method in methods}
        found[precision] = {"miou": miou, "backbone_seconds": forward.seconds, "images": counters.whole["cam"].images}
    for entry in found.values():
        entry["moved_points"] = {
            method: 100 * (entry["miou"][method] - found[EXACT]["miou"][method]) for method in entry["miou"]
        }
        entry["times_faster"] = found[EXACT]["backbone_seconds"] / entry["backbone_seconds"]
    return found


if __name__ == "__main__":
    command("precision", __doc__ or "", run, full=Sizes(), dry=DRY)
