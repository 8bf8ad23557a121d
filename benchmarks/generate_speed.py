"""What extract-features and generate cost beyond the backbone's forward passes, which nobody can avoid.

Synthetic photos of VOC's size go through the corridor with random weights; the seconds of the stage and of its forward
passes alone are those the stage itself reports. The baseline beside LPCAM is CAM: the same corridor without prototypes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.photos import VOC_SIZE, write_classifier, write_photos
from benchmarks.record import Check, Findings, command
from lpcam.corridor import cluster, extract_features, generate
from lpcam.records import Execution, StageReport
from lpcam.workspace import Workspace


@dataclass(frozen=True)
class Settings:
    """Sizes of the benchmark.

    Attributes:
        archs: Backbones.
        photos: How many.
        size: (H, W) of each.
        scales: Of the views.
        rounds: Times generate is run for each method.
        workers: Threads that read photos ahead.
    """

    archs: tuple[str, ...] = ("resnet50", "torchvision/mobilenet_v2")
    photos: int = 4
    size: tuple[int, int] = VOC_SIZE
    scales: tuple[float, ...] = (1.0, 0.5, 1.5, 2.0)
    rounds: int = 2
    workers: int = 1


DRY = Settings(archs=("torchvision/mobilenet_v2",), photos=2, size=(48, 64), scales=(1.0, 0.5), rounds=1)


def run(settings: Settings) -> Findings:
    """Run the corridor once for every backbone, generate several times."""
    with tempfile.TemporaryDirectory() as folder:
        results = {arch: _of_backbone(arch, settings, Path(folder) / str(i)) for i, arch in enumerate(settings.archs)}
    checks = [
        Check(f"{arch}: seconds of generate over those of its forwards", result["lpcam"]["ratio"], 1.25, "at most")
        for arch, result in results.items()
        if arch == "resnet50"
    ]
    return Findings(results, tuple(checks))


def _of_backbone(arch: str, settings: Settings, folder: Path) -> dict[str, Any]:
    data = write_photos(folder, settings.photos, size=settings.size)
    classifier = write_classifier(arch, folder / "weights.pth")
    workspace = Workspace(folder / "work")
    execution = Execution(device="cpu", workers=settings.workers)
    extracted = extract_features(workspace, data, classifier, scales=settings.scales, execution=execution)
    cluster(workspace, device="cpu")
    rounds: dict[str, list[StageReport]] = {"cam": [], "lpcam": []}
    for _ in range(settings.rounds + 1):
        for method, reports in rounds.items():
            _remove_seeds(workspace.seeds(method, "irn"))
            reports.append(generate(workspace, methods=[method], execution=execution))
    return {
        "extract-features": _summary([extracted]),
        **{method: _summary(reports[1:]) for method, reports in rounds.items()},  # the first warms up
    }


def _remove_seeds(folder: Path) -> None:
    for path in folder.glob("*.npy"):
        path.unlink()


def _summary(reports: Sequence[StageReport]) -> dict[str, Any]:
    """Return the medians over rounds; the ratio is the median of the rounds' own ratios."""
    seconds = [report.seconds for report in reports]
    backbone = [report.backbone_seconds for report in reports]
    return {
        "images": reports[0].images,
        "seconds": float(np.median(seconds)),
        "backbone_seconds": float(np.median(backbone)),
        "ratio": float(np.median(np.divide(seconds, backbone))),
        "images_per_second": float(reports[0].images / np.median(seconds)),
        "rounds": [[report.seconds, report.backbone_seconds] for report in reports],
    }


if __name__ == "__main__":
    command("generate_speed", __doc__ or "", run, full=Settings(), dry=DRY)
