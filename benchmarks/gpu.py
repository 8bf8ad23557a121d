"""One call on a CUDA machine, with or without FAISS: rooflines, k-means beside them, generate beside its backbone.

    PYTHONPATH=. python3 -m benchmarks.gpu --out "$OUT"

The copy bandwidth counts bytes read and written. k-means reads its data once an iteration at best, so the floor of an
iteration is bytes / bandwidth (the copy's, reading and writing alike); its assignments are held against those of the
same engine on the CPU. A dry run does everything on the CPU.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks import kmeans_speed
from benchmarks.photos import VOC_SIZE, write_classifier, write_photos
from benchmarks.record import Check, Findings, conclude, environment, measure, parser
from lpcam.corridor import cluster, extract_features, generate
from lpcam.errors import LpcamError
from lpcam.kmeans import kmeans
from lpcam.records import Execution
from lpcam.workspace import Workspace


@dataclass(frozen=True)
class Settings:
    """Sizes of the benchmark.

    Attributes:
        device: ``cuda``, or ``cpu`` in a dry run.
        copied_bytes: Of the copy that gives the bandwidth.
        matrix: Side of the matrix product.
        dtypes: Of the matrix product.
        vectors: M of k-means.
        channels: C of k-means.
        centres: K of k-means.
        iterations: Updates of the centres.
        arch: Backbone of generate.
        photos: How many.
        size: (H, W) of each.
        scales: Of the views.
        batch_sizes: Photos a forward.
        workers: Threads that read photos ahead.
        repeats: Calls that are timed.
    """

    device: str = "cuda"
    copied_bytes: int = 4 << 30
    matrix: int = 8192
    dtypes: tuple[str, ...] = ("float32", "bfloat16")
    vectors: int = 100_000
    channels: int = 2048
    centres: int = 12
    iterations: int = 5
    arch: str = "resnet50"
    photos: int = 128
    size: tuple[int, int] = VOC_SIZE
    scales: tuple[float, ...] = (1.0, 0.5, 1.5, 2.0)
    batch_sizes: tuple[int, ...] = (1, 8, 16)
    workers: int = 8
    repeats: int = 7


DRY = Settings(
    device="cpu",
    copied_bytes=1 << 16,
    matrix=32,
    vectors=3000,
    channels=32,
    centres=4,
    iterations=2,
    arch="torchvision/mobilenet_v2",
    photos=3,
    size=(48, 64),
    scales=(1.0, 0.5),
    batch_sizes=(1, 2),
    workers=1,
    repeats=2,
)


def run(settings: Settings) -> Findings:
    """Measure all three."""
    roofline = _roofline(settings)
    clustering, equal = _kmeans(settings, roofline["copy_bytes_per_second"])
    with tempfile.TemporaryDirectory() as folder:
        generating = _generate(settings, Path(folder))
    ratios = [found["ratio"] for found in generating["generate"].values()]
    return Findings(
        {"roofline": roofline, "kmeans": clustering, **generating},
        (
            Check("k-means: share of assignments equal to the CPU's", equal, 0.999, "at least", equality=True),
            Check("generate: seconds over those of its forwards, best batch size", min(ratios), 1.25, "at most"),
        ),
    )


def _roofline(settings: Settings) -> dict[str, Any]:
    device = settings.device
    source = torch.ones(settings.copied_bytes // 4, device=device)
    target = torch.empty_like(source)
    copying = measure(lambda: target.copy_(source), repeats=settings.repeats, warmup=3, device=device)
    products = {name: _product(settings, getattr(torch, name)) for name in settings.dtypes}
    return {
        "copy_bytes_per_second": 2 * settings.copied_bytes / copying.median,
        "copy": copying.as_json(),
        "matrix_product_flops_per_second": products,
    }


def _product(settings: Settings, dtype: torch.dtype) -> float:
    side, device = settings.matrix, settings.device
    left, right = torch.randn(2, side, side, device=device).to(dtype)
    timing = measure(lambda: left @ right, repeats=settings.repeats, warmup=3, device=device)
    return float(2 * side**3 / timing.median)


def _kmeans(settings: Settings, bandwidth: float) -> tuple[dict[str, Any], float]:
    sizes = kmeans_speed.Settings(settings.vectors, settings.channels, settings.centres)
    vectors = kmeans_speed.make_vectors(sizes)
    start = kmeans_speed.make_start(vectors, sizes)
    resident, first = vectors.to(settings.device), start.to(settings.device)

    def call(iterations: int) -> torch.Tensor:
        return kmeans(resident, settings.centres, start=first, iterations=iterations, engine="torch").assignments

    whole = measure(lambda: call(settings.iterations), repeats=settings.repeats, device=settings.device)
    single = measure(lambda: call(1), repeats=settings.repeats, device=settings.device)
    on_cpu = kmeans(vectors, settings.centres, start=start, iterations=settings.iterations, engine="torch")
    equal = float((call(settings.iterations).cpu() == on_cpu.assignments).double().mean())
    further = (whole.median - single.median) / (settings.iterations - 1)
    floor = vectors.numel() * vectors.element_size() / bandwidth
    return {
        "whole_call": whole.as_json(),
        "one_update": single.as_json(),
        "seconds_per_further_iteration": further,
        "floor_seconds_per_iteration": floor,
        "times_the_floor": further / floor,
    }, equal


def _generate(settings: Settings, folder: Path) -> dict[str, Any]:
    data = write_photos(folder, settings.photos, size=settings.size)
    classifier = write_classifier(settings.arch, folder / "weights.pth")
    workspace = Workspace(folder / "work")
    execution = Execution(settings.device, workers=settings.workers)
    largest = replace(execution, batch_size=max(settings.batch_sizes))
    extracted = extract_features(workspace, data, classifier, scales=settings.scales, execution=largest)
    clustered = cluster(workspace, device=settings.device, kmeans="torch")
    generated = {}
    for batch_size in settings.batch_sizes:
        batched = replace(execution, batch_size=batch_size)
        for _ in range(2):  # the first warms up
            report = generate(workspace, out=folder / f"seeds-{batch_size}", execution=batched, overwrite=True)
            _remove_seeds(folder / f"seeds-{batch_size}")
        generated[f"batch size {batch_size}"] = _numbers(report.images, report.seconds, report.backbone_seconds)
    return {
        "extract-features": _numbers(extracted.images, extracted.seconds, extracted.backbone_seconds),
        "cluster": {"seconds": clustered.seconds},
        "generate": generated,
    }


def _remove_seeds(folder: Path) -> None:
    for path in folder.glob("*.npy"):
        path.unlink()


def _numbers(images: int, seconds: float, backbone_seconds: float) -> dict[str, float]:
    return {
        "images": images,
        "images_per_second": images / seconds,
        "backbone_images_per_second": images / backbone_seconds,
        "seconds": seconds,
        "backbone_seconds": backbone_seconds,
        "ratio": seconds / backbone_seconds,
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Be the command line.

    Raises:
        LpcamError: there is no CUDA device.
    """
    arguments = parser(__doc__ or "").parse_args(argv)
    settings = DRY if arguments.dry_run else Settings()
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise LpcamError("there is no CUDA device here: run this benchmark on a machine with one, or with --dry-run")
    conclude("gpu", environment(settings.device), settings, run(settings), arguments)


if __name__ == "__main__":
    main()
