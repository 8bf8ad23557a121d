"""One call on a CUDA machine, with or without FAISS: rooflines, k-means beside them, generate beside its backbone.

    PYTHONPATH=. python3 -m benchmarks.gpu --out "$OUT"

- Roofline: copy bandwidth (bytes read and written) and the rate of a matrix product.
- Backbone alone: forwards on images that lie on the device already, in every precision and batch size: the limit.
- The host: how many photos a second its threads decode, and how long the device takes to resize one to all scales; what
  it makes of a photo is held equal to Pillow's bytes.
- Generate: the library call behind the command, from JPEG files to seed files, in the same precisions and batch sizes.
- One at a time: `tests/reference/one_at_a_time.py`, the published way, on the device. It is timed as the published code
  runs there, with TensorFloat-32 in convolutions, torch's default, and photos read ahead by four workers; its seeds are
  held equal in float32.
- k-means of a VOC-sized problem: a class side of the mean size for every class, beside the floor of one read of the
  data an iteration; assignments held against those of the same engine on the CPU.
- From these, what PASCAL VOC's 10,582 photos would take.

A dry run does everything on the CPU.
"""

from __future__ import annotations

import importlib
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks import kmeans_speed
from benchmarks.generate_speed import difference
from benchmarks.photos import VOC_SIZE, write_classifier, write_photos, write_prototypes
from benchmarks.record import Check, Findings, conclude, environment, measure, parser
from lpcam.backbones.classifier import Classifier
from lpcam.corridor import MethodSettings, cluster_discriminants, cluster_support, extract_features, generate
from lpcam.datasets import read_photo
from lpcam.errors import LpcamError
from lpcam.forward import Forward, Loaded
from lpcam.kmeans import kmeans
from lpcam.precision import computing_in
from lpcam.propagation import Propagation, Walk
from lpcam.records import Execution, Photo
from lpcam.resampling import bicubic
from lpcam.sources import ClassifierSource, DataSource
from lpcam.views import view_size
from lpcam.workspace import Workspace

VOC_TRAIN_AUG = 10_582


@dataclass(frozen=True)
class Settings:
    """Sizes of the benchmark.

    Attributes:
        device: ``cuda``, or ``cpu`` in a dry run.
        copied_bytes: Of the copy that gives the bandwidth.
        matrix: Side of the matrix product.
        dtypes: Of the matrix product.
        vectors: M of a class side in k-means.
        class_sides: How many are clustered one after the other; two for each of 20 classes are VOC's.
        channels: C of k-means.
        centres: K of k-means.
        iterations: Updates of the centres.
        arch: Backbone of generate.
        photos: How many.
        slow_photos: Of these, how many go one at a time.
        slow_readers: Threads that read ahead for them.
        size: (H, W) of each.
        scales: Of the views.
        precisions: Of the forwards; float32 first, in the smallest and the largest batch only.
        batch_sizes: Photos a forward, the smallest first.
        workers: Threads that read photos ahead.
        repeats: Calls that are timed.
    """

    device: str = "cuda"
    copied_bytes: int = 4 << 30
    matrix: int = 8192
    dtypes: tuple[str, ...] = ("float32", "bfloat16")
    vectors: int = 55_000
    class_sides: int = 40
    channels: int = 2048
    centres: int = 12
    iterations: int = 25
    arch: str = "resnet50"
    photos: int = 480
    slow_photos: int = 24
    slow_readers: int = 4
    size: tuple[int, int] = VOC_SIZE
    scales: tuple[float, ...] = (1.0, 0.5, 1.5, 2.0)
    precisions: tuple[str, ...] = ("float32", "bfloat16", "float16")
    batch_sizes: tuple[int, ...] = (1, 8, 16)
    workers: int = 12
    repeats: int = 5


DRY = Settings(
    device="cpu",
    copied_bytes=1 << 16,
    matrix=32,
    vectors=3000,
    class_sides=2,
    channels=32,
    centres=4,
    iterations=2,
    arch="torchvision/shufflenet_v2_x0_5",
    photos=2,
    slow_photos=1,
    slow_readers=2,
    size=(64, 80),
    scales=(1.0, 0.5),
    precisions=("float32", "bfloat16"),
    batch_sizes=(1, 2),
    workers=1,
    repeats=1,
)


def run(settings: Settings) -> Findings:
    """Measure all of it."""
    roofline = _roofline(settings)
    clustering, equal = _kmeans(settings, roofline["copy_bytes_per_second"])
    with tempfile.TemporaryDirectory() as folder:
        rates = _Rates(settings, Path(folder)).measure()
    best = max(rates["generate"].values(), key=_rate)
    backbone = max(_rate(found) for found in rates["backbone alone"].values())
    exact = max(_rate(found) for name, found in rates["generate"].items() if name.startswith(settings.precisions[0]))
    slow = _rate(rates["one at a time"])
    apart = rates["host"]["values_that_differ_from_pillow"]
    projected = {
        "photos": VOC_TRAIN_AUG,
        "extract_seconds": VOC_TRAIN_AUG / rates["extract-features"]["images_per_second"],
        "kmeans_seconds": clustering["seconds"],
        "generate_seconds": VOC_TRAIN_AUG / _rate(best),
    }
    return Findings(
        {"roofline": roofline, "kmeans": clustering, **rates, "projected for VOC": projected},
        (
            Check("k-means: share of assignments equal to the CPU's", equal, 0.999, "at least", equality=True),
            Check("resizing on the device: values that differ from Pillow's", apart, 0, "at most", equality=True),
            Check(
                "generate, float32: largest difference of the seeds from one at a time",
                rates["one at a time"]["largest_difference"],
                1e-4,
                "at most",
                equality=True,
            ),
            Check("generate: images/s over those of the best backbone alone", _rate(best) / backbone, 0.85, "at least"),
            Check("generate, float32: times faster than one at a time", exact / slow, 1, "at least"),
            Check("generate, best precision: times faster than one at a time", _rate(best) / slow, 10, "at least"),
        ),
    )


def _rate(found: Mapping[str, Any]) -> float:
    return float(found["images_per_second"])


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
    """Cluster one class side again and again from other starts: as many as a data set has."""
    sizes = kmeans_speed.Settings(settings.vectors, settings.channels, settings.centres)
    vectors = kmeans_speed.make_vectors(sizes)
    start = kmeans_speed.make_start(vectors, sizes)
    resident, first = vectors.to(settings.device), start.to(settings.device)

    def from_start(iterations: int) -> Tensor:
        return kmeans(resident, settings.centres, start=first, iterations=iterations, engine="torch").assignments

    def every_side() -> None:
        for seed in range(settings.class_sides):
            kmeans(resident, settings.centres, seed=seed, iterations=settings.iterations, engine="torch")

    few = min(5, settings.iterations)
    whole = measure(lambda: from_start(few), repeats=settings.repeats, device=settings.device)
    single = measure(lambda: from_start(1), repeats=settings.repeats, device=settings.device)
    everything = measure(every_side, repeats=1, warmup=0, device=settings.device)
    on_cpu = kmeans(vectors, settings.centres, start=start, iterations=few, engine="torch").assignments
    equal = float((from_start(few).cpu() == on_cpu).double().mean())
    further = (whole.median - single.median) / (few - 1)
    floor = vectors.numel() * vectors.element_size() / bandwidth
    return {
        "vectors": settings.class_sides * settings.vectors,
        "seconds": everything.median,
        "least_seconds_at_the_bandwidth": settings.class_sides * settings.iterations * floor,
        "seconds_per_further_iteration": further,
        "floor_seconds_per_iteration": floor,
        "share_of_the_bandwidth_limit": floor / further,
    }, equal


class _Rates:
    """Images a second of every side, on the same photos, network and prototypes."""

    def __init__(self, settings: Settings, root: Path) -> None:
        self.settings, self.root = settings, root
        self.data: DataSource = write_photos(root, settings.photos, size=settings.size)
        self.source: ClassifierSource = write_classifier(settings.arch, root / "weights.pth")
        self.photos: Sequence[Photo] = self.data.open().photos
        self.workspace = Workspace(root / "work")

    def measure(self) -> dict[str, Any]:
        """Return the rates of extraction, the backbone alone, generate and one at a time."""
        settings = self.settings
        execution = Execution(settings.device, workers=settings.workers, batch_size=max(settings.batch_sizes))
        extracted = extract_features(
            self.workspace, self.data, self.source, scales=settings.scales, execution=execution
        )
        prototypes = write_prototypes(self.workspace, 12, 9)
        ends = (settings.batch_sizes[0], settings.batch_sizes[-1])
        combinations = [(settings.precisions[0], size) for size in ends]
        combinations += [(precision, size) for precision in settings.precisions[1:] for size in settings.batch_sizes]
        alone = {f"{name}, batch {size}": self._backbone(name, size) for name, size in combinations}
        generated = {f"{name}, batch {size}": self._generate(name, size) for name, size in combinations}
        return {
            "extract-features": {
                "images_per_second": extracted.images / extracted.seconds,
                "backbone_images_per_second": extracted.images / extracted.backbone_seconds,
            },
            "host": self._host(),
            "backbone alone": alone,
            "generate": generated,
            "methods": self._methods(),
            "one at a time": self._one_at_a_time(prototypes),
        }

    def _network(self) -> Classifier:
        return self.source.load(len(self.data.open().classes), self.settings.device)

    def _backbone(self, precision: str, batch_size: int) -> dict[str, float]:
        """Time forwards of one batch that lies on the device, at every scale."""
        forward = Forward(self._network(), self.settings.scales, precision=precision)
        loaded = forward.load(self.photos[:1])
        if not isinstance(loaded, Loaded):
            raise LpcamError(f"{loaded.name} cannot be read ({loaded.reason}): this is a bug of the benchmark")
        batches = [
            views.repeat(2 * batch_size, 1, 1, 1).to(forward.device).to(memory_format=torch.channels_last)
            for views in forward.views(loaded)
        ]

        def every_scale() -> None:
            with torch.inference_mode(), computing_in(forward.precision, self.settings.device):
                for images in batches:
                    forward.classifier.features(images)

        timing = measure(every_scale, repeats=self.settings.repeats, warmup=3, device=self.settings.device)
        return {"images_per_second": batch_size / timing.median}

    def _host(self) -> dict[str, float]:
        """Time what the host does for a photo, and the device's resizing; compare that with Pillow's."""
        settings, forward = self.settings, Forward(self._network(), self.settings.scales)
        with ThreadPoolExecutor(settings.workers) as pool:
            decoding = measure(lambda: list(pool.map(read_photo, [photo.path for photo in self.photos])), repeats=2)
        photos = np.stack([read_photo(self.photos[0].path)] * max(settings.batch_sizes))
        planes = torch.from_numpy(photos).to(settings.device).permute(0, 3, 1, 2).contiguous()
        sizes = [view_size(settings.size, scale, forward.classifier.minimum_side) for scale in settings.scales]
        resizing = measure(
            lambda: [bicubic(planes, size) for size in sizes], repeats=settings.repeats, device=settings.device
        )
        differing = 0
        for size in sizes:
            expected = Image.fromarray(photos[0]).resize((size[1], size[0]), Image.Resampling.BICUBIC)
            found = bicubic(planes, size)[0].permute(1, 2, 0).cpu().numpy()
            differing += int((found != np.asarray(expected)).sum())
        return {
            "threads": settings.workers,
            "photos_decoded_per_second": len(self.photos) / decoding.median,
            "photos_resized_per_second": len(photos) / resizing.median,
            "values_that_differ_from_pillow": differing,
        }

    def _methods(self) -> dict[str, dict[str, float]]:
        """Return the rates of generate under every method, in the last precision, at the largest batch."""
        precision, size = self.settings.precisions[-1], max(self.settings.batch_sizes)
        cluster_support(self.workspace, device=self.settings.device, overwrite=True)
        cluster_discriminants(self.workspace, device=self.settings.device, overwrite=True)
        plain = ("cam", "lpcam", "iscam", "pacam", "fisher")
        asked: dict[str, dict[str, Any]] = {name: {"methods": (name,)} for name in plain}
        asked["iscam from lpcam"] = {"methods": ("iscam",), "settings": MethodSettings(iscam_from="lpcam")}
        for title, propagation in (("walk", Propagation(Walk())), ("walk, PAMR", Propagation(Walk(), "pamr"))):
            asked[f"lpcam, {title}"] = {"methods": ("lpcam",), "settings": MethodSettings(propagation=propagation)}
        return {name: self._generate(precision, size, **choice) for name, choice in asked.items()}

    def _generate(self, precision: str, batch_size: int, **choice: Any) -> dict[str, float]:
        settings = self.settings
        execution = Execution(settings.device, workers=settings.workers, batch_size=batch_size, precision=precision)
        out = self.root / "methods" if choice else self._seeds(precision, batch_size)
        for _ in range(min(2, settings.repeats)):  # the first warms up
            report = generate(self.workspace, out=out, execution=execution, overwrite=True, **choice)
        return {
            "images_per_second": report.images / report.seconds,
            "backbone_images_per_second": report.images / report.backbone_seconds,
        }

    def _one_at_a_time(self, prototypes: Mapping[int, tuple[Tensor, Tensor]]) -> dict[str, float]:
        reference = importlib.import_module("tests.reference.one_at_a_time")
        settings, network, folder = self.settings, self._network(), self.root / "one at a time"
        on_device = {
            label: (pair[0].to(settings.device), pair[1].to(settings.device)) for label, pair in prototypes.items()
        }
        photos, fed = self.photos[: settings.slow_photos], _Fed(network, settings.device)
        with computing_in("float32", settings.device):
            reference.write_lpcam(fed, photos, settings.scales, on_device, folder)
        largest, _ = difference(self._seeds(settings.precisions[0], settings.batch_sizes[0]), folder)
        started = time.perf_counter()
        reference.write_lpcam(fed, photos, settings.scales, on_device, folder, readers=settings.slow_readers)
        return {"images_per_second": len(photos) / (time.perf_counter() - started), "largest_difference": largest}

    def _seeds(self, precision: str, batch_size: int) -> Path:
        return self.root / "seeds" / f"{precision}-{batch_size}"


class _Fed:
    """A classifier on a device that is fed from the host, one blocking copy a view, as the published code does."""

    def __init__(self, network: Classifier, device: str) -> None:
        self.mean, self.std, self.class_weights = network.mean, network.std, network.class_weights
        self._network, self._device = network, device

    def features(self, images: Tensor) -> Tensor:
        return self._network.features(images.to(self._device))


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
