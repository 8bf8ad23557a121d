"""lpcam generate beside the backbone's forward passes alone, and beside the published way, one photo at a time.

Synthetic photos of VOC's size, a network with random weights, and for every class as many prototypes as the published
hyper-parameters leave on VOC: local features of the photos themselves. The sides take turns, each round on photos
of its own:

- `lpcam generate`: the library call behind the command, from JPEG files to seed files;
- the forwards alone: the same batches in the same memory layout, made before the clock starts; nobody can avoid them;
- large matrix products: the time in which the machine carries out as many operations as the forwards have, at the rate
  of one product of large square matrices, measured in the same round. It is short, so that a busy moment shows;
- one at a time: `tests/reference/one_at_a_time.py`, the published way, from JPEG files to seed files, in a process of
  its own, as the published code runs: nothing that generate sets up in its process helps or hinders it. What its own
  forwards take, in torch's default layout, is counted on the way.

Loading the classifier and the prototypes happens once a run and is left out on every side. The seeds of generate and of
one at a time are held equal. Other precisions and runtimes are timed too.
"""

from __future__ import annotations

import importlib
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.photos import VOC_SIZE, write_classifier, write_photos, write_prototypes
from benchmarks.record import Check, Findings, Timing, command, measure
from lpcam.backbones import load_trunk
from lpcam.backbones.classifier import Classifier
from lpcam.corridor import extract_features, generate
from lpcam.forward import Forward, Loaded
from lpcam.memory import reused_memory
from lpcam.records import Execution, Photo
from lpcam.refiners import get_refiner
from lpcam.runtime import networks_of
from lpcam.runtime.equality import Network
from lpcam.sources import ClassifierSource, DataSource
from lpcam.views import view_size
from lpcam.workspace import Workspace

FORWARDS = "forwards alone"
FUSED = "forwards alone, fused"
COMPILED = "forwards alone, torch.compile"
PRODUCTS = "as many operations in large matrix products"
ONE_AT_A_TIME = "one at a time"
ITS_FORWARDS = "forwards within one at a time"
_WARM_UP = "warm-up"  # a list of one photo
_MAIN = "resnet50"


@dataclass(frozen=True)
class Settings:
    """Sizes of the benchmark.

    Attributes:
        archs: Backbones; the targets are for resnet50.
        photos: How many, shared out evenly to the rounds.
        size: (H, W) of each.
        scales: Of the views.
        class_prototypes: P of a class.
        context_prototypes: P' of a class.
        variants: Precision and runtime of generate; the first is compared with the fused forwards alone. bfloat16
            is left out where the processor has no units for it.
        rounds: Times every side is run, each time on other photos.
        workers: Threads that read photos ahead.
        square: Side of the large matrices.
        compiled: Whether the forwards alone go through torch.compile too, which takes long to begin.
    """

    archs: tuple[str, ...] = (_MAIN,)
    photos: int = 2
    size: tuple[int, int] = VOC_SIZE
    scales: tuple[float, ...] = (1.0, 0.5, 1.5, 2.0)
    class_prototypes: int = 12
    context_prototypes: int = 9
    variants: tuple[tuple[str, str], ...] = (
        ("float32", "fused"),
        ("bfloat16", "torch"),
    )
    rounds: int = 2
    workers: int = 1
    square: int = 4096
    compiled: bool = False


DRY = Settings(
    archs=("torchvision/mobilenet_v2",),
    photos=2,
    size=(64, 80),
    scales=(1.0, 0.5),
    variants=(("float32", "fused"), ("float32", "torch"), ("bfloat16", "torch")),
    rounds=2,
    square=64,
)


def run(settings: Settings) -> Findings:
    """Compare the sides for every backbone."""
    results: dict[str, Any] = {}
    checks: list[Check] = []
    for index, arch in enumerate(settings.archs):
        with tempfile.TemporaryDirectory() as folder:
            results[arch] = _Bench(arch, settings, Path(folder) / str(index)).measure()
        checks += _checks(arch, results[arch])
    return Findings(results, tuple(checks))


def has_bfloat16_units() -> bool:
    """Return whether the processor multiplies bfloat16 itself, as Linux says it."""
    try:
        words = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    except OSError:
        return False
    return bool(words & {"avx512_bf16", "amx_bf16"})


def operations(arch: str, size: tuple[int, int], scales: Sequence[float]) -> int:
    """Return the floating-point operations of a photo's forwards: all scales with their mirrors, at output stride 16.

    Args:
        arch: As ``load_classifier`` takes it.
        size: (H, W) of the photo.
        scales: Of the views.
    """
    trunk = load_trunk(arch, None, stride=16).to("meta").eval()
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        for scale in scales:
            trunk(torch.empty(2, 3, *view_size(size, scale, trunk.minimum_side), device="meta"))
    return int(counter.get_total_flops())


def difference(ours: Path, theirs: Path) -> tuple[float, float]:
    """Return the largest and the mean difference of the seeds in two folders, both sizes; NaN counts as zero."""
    irn = get_refiner("irn")
    largest, means = 0.0, []
    for path in sorted(theirs.glob("*.npy")):
        left, right = irn.read(ours, path.stem), np.load(path, allow_pickle=True).item()
        if left.labels != tuple(right["keys"].tolist()):
            raise ValueError(f"{path.name} holds other classes")
        for a, b in ((left.strided, right["cam"]), (left.high_res, right["high_res"])):
            apart = np.abs(np.asarray(a) - np.nan_to_num(np.asarray(b)))
            largest = max(largest, float(apart.max()))
            means.append(float(apart.mean()))
    return largest, float(np.mean(means))


class _Bench:
    """The sides of one backbone: everything they need, made before the clock starts."""

    def __init__(self, arch: str, settings: Settings, root: Path) -> None:
        self.settings, self.root = settings, root
        data = write_photos(root, settings.photos, size=settings.size)
        source = write_classifier(arch, root / "weights.pth")
        self.photos = data.open().photos
        share = settings.photos // settings.rounds
        self.turns = {
            _WARM_UP: self.photos[:1],
            **{f"turn-{turn}": self.photos[turn * share :][:share] for turn in range(settings.rounds)},
        }
        for name, photos in self.turns.items():
            names = "".join(f"{photo.name}\n" for photo in photos)
            (root / "ImageSets" / "Segmentation" / f"{name}.txt").write_text(names, encoding="utf-8")
        self.executions = {
            _name(*variant): Execution("cpu", workers=settings.workers, precision=variant[0], runtime=variant[1])
            for variant in settings.variants
            if variant[0] != "bfloat16" or has_bfloat16_units()
        }
        self.workspace = Workspace(root / "work")
        extract_features(self.workspace, data, source, scales=(1.0,), execution=Execution("cpu"))
        prototypes = write_prototypes(self.workspace, settings.class_prototypes, settings.context_prototypes)
        self.published = _Published(source, data, settings.scales, prototypes)
        self.forward = Forward(source.load(len(data.open().classes), "cpu"), settings.scales)
        self.its_forwards: list[float] = []
        self.alone: dict[str, Network] = {
            name: networks_of(self.forward.classifier, runtime, "float32").features
            for name, runtime in ((FORWARDS, "torch"), (FUSED, "fused"), (COMPILED, "compile"))
            if name != COMPILED or settings.compiled
        }
        self.operations = operations(arch, settings.size, settings.scales)
        self.square = torch.rand(settings.square, settings.square)

    def measure(self) -> dict[str, Any]:
        """Return the seconds of every side, the ratios and how far the seeds are apart."""
        sides: dict[str, Callable[[str], float]] = {
            **{name: partial(self._forwards, network) for name, network in self.alone.items()},
            PRODUCTS: self._products,
            **{f"generate {name}": self._generator(name) for name in self.executions},
            ONE_AT_A_TIME: self._one_at_a_time,
        }
        for side in sides.values():
            side(_WARM_UP)
        self.its_forwards.clear()
        seconds: dict[str, list[float]] = {name: [] for name in sides}
        for turn in self._measured():
            for name, side in sides.items():
                seconds[name].append(side(turn))
        seconds[ITS_FORWARDS] = self.its_forwards
        self.published.close()
        return {
            "images": len(self.photos),
            "images_a_round": self._share,
            "operations_a_photo": self.operations,
            "prototypes": {"class": self.settings.class_prototypes, "context": self.settings.context_prototypes},
            **self._compared({name: Timing(tuple(times), 1) for name, times in seconds.items()}),
        }

    def _compared(self, timings: Mapping[str, Timing]) -> dict[str, Any]:
        variants = {}
        for name, execution in self.executions.items():
            apart = [difference(self._seeds(name, turn), self._seeds(ONE_AT_A_TIME, turn)) for turn in self._measured()]
            median = timings[f"generate {name}"].median
            variants[name] = {
                "precision": execution.precision,
                "runtime": execution.runtime,
                "images_per_second": self._share / median,
                "over_float32_forwards": median / timings[FORWARDS].median,
                "over_fused_forwards": median / timings[FUSED].median,
                "times_faster_than_one_at_a_time": timings[ONE_AT_A_TIME].median / median,
                "largest_difference_of_the_seeds": max(largest for largest, _ in apart),
                "mean_difference_of_the_seeds": float(np.mean([mean for _, mean in apart])),
            }
        return {
            "sides": {name: timing.as_json() for name, timing in timings.items()},
            "generate": variants,
            "one_at_a_time_over_float32_forwards": timings[ONE_AT_A_TIME].median / timings[FORWARDS].median,
        }

    @property
    def _share(self) -> int:
        return self.settings.photos // self.settings.rounds

    def _measured(self) -> list[str]:
        return [turn for turn in self.turns if turn != _WARM_UP]

    def _forwards(self, network: Network, turn: str) -> float:
        batches = list(self._batches(self.turns[turn]))
        with torch.inference_mode(), reused_memory(self.forward.device):  # as generate does: the limit is the best case
            started = time.perf_counter()
            for images in batches:
                network(images)
            return time.perf_counter() - started

    def _products(self, turn: str) -> float:
        seconds = measure(lambda: self.square @ self.square, repeats=1, warmup=0).median
        return seconds * self.operations * len(self.turns[turn]) / (2 * self.settings.square**3)

    def _batches(self, photos: Sequence[Photo]) -> Iterator[Tensor]:
        for photo in photos:
            loaded = self.forward.load([photo])
            for views in self.forward.views(loaded) if isinstance(loaded, Loaded) else ():
                yield torch.cat([views, views.flip(-1)]).contiguous(memory_format=torch.channels_last)

    def _generator(self, name: str) -> Callable[[str], float]:
        return lambda turn: (
            generate(
                self.workspace,
                scales=self.settings.scales,
                split=turn,
                out=self._seeds(name, turn),
                execution=self.executions[name],
            ).seconds
        )

    def _one_at_a_time(self, turn: str) -> float:
        seconds, forwards = self.published.write(self.turns[turn], self._seeds(ONE_AT_A_TIME, turn))
        self.its_forwards.append(forwards)
        return seconds

    def _seeds(self, name: str, turn: str) -> Path:
        return self.root / "seeds" / name / turn


class _Published:
    """The published way in a process of its own, which waits between the rounds."""

    def __init__(
        self,
        source: ClassifierSource,
        data: DataSource,
        scales: Sequence[float],
        prototypes: Mapping[int, tuple[Tensor, Tensor]],
    ) -> None:
        arrays = {label: (classes.numpy(), context.numpy()) for label, (classes, context) in prototypes.items()}
        self._process = ProcessPoolExecutor(
            1,
            get_context("spawn"),
            initializer=_open_published,
            initargs=(source, len(data.open().classes), scales, arrays),
        )

    def write(self, photos: Sequence[Photo], folder: Path) -> tuple[float, float]:
        """Write the seeds of photos; return the seconds and those of the forwards among them."""
        return self._process.submit(_write_published, tuple(photos), folder).result()

    def close(self) -> None:
        """End the process."""
        self._process.shutdown()


def _open_published(
    source: ClassifierSource,
    classes: int,
    scales: Sequence[float],
    arrays: Mapping[int, tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]],
) -> None:
    net = _Timed(source.load(classes, "cpu"))  # in torch's default layout
    prototypes = {label: tuple(map(torch.from_numpy, pair)) for label, pair in arrays.items()}
    reference = importlib.import_module("tests.reference.one_at_a_time")

    def write(photos: Sequence[Photo], folder: Path) -> tuple[float, float]:
        before, started = net.seconds, time.perf_counter()
        reference.write_lpcam(net, photos, scales, prototypes, folder)
        return time.perf_counter() - started, net.seconds - before

    _opened.append(write)


def _write_published(photos: Sequence[Photo], folder: Path) -> tuple[float, float]:
    return _opened[0](photos, folder)


_opened: list[Callable[[Sequence[Photo], Path], tuple[float, float]]] = []  # in the published way's process


class _Timed:
    """A classifier as `tests.reference.one_at_a_time` uses it, which counts the seconds of its forwards."""

    def __init__(self, net: Classifier) -> None:
        self.net, self.mean, self.std = net, net.mean, net.std
        self.seconds = 0.0

    def features(self, images: Tensor) -> Tensor:
        started = time.perf_counter()
        features = self.net.features(images)
        self.seconds += time.perf_counter() - started
        return features


def _checks(arch: str, found: Mapping[str, Any]) -> list[Check]:
    generated = found["generate"]
    exact = {name: entry for name, entry in generated.items() if entry["precision"] == "float32"}
    largest = max(entry["largest_difference_of_the_seeds"] for entry in exact.values())
    checks = [
        Check(
            f"{arch}: largest difference of the float32 seeds from one at a time",
            largest,
            1e-4,
            "at most",
            equality=True,
        )
    ]
    if arch != _MAIN:
        return checks
    first, best = next(iter(generated.values())), min(exact.values(), key=_over)
    faster, alone = best["times_faster_than_one_at_a_time"], first["over_fused_forwards"]
    checks += [
        Check(f"{arch}: seconds of generate over those of the fused forwards alone", alone, 1.1, "at most"),
        Check(f"{arch}: times faster than one at a time, both in float32 ({best['runtime']})", faster, 2, "at least"),
    ]
    if len(exact) < len(generated) and has_bfloat16_units():
        quickest = min(generated.values(), key=_over)
        faster = quickest["times_faster_than_one_at_a_time"]
        of = f"{quickest['precision']} ({quickest['runtime']})"
        checks += [
            Check(
                f"{arch}: times faster in {of} than in float32 ({best['runtime']})",
                _over(best) / _over(quickest),
                1.6,
                "at least",
            ),
            Check(f"{arch}: times faster in {of} than one at a time", faster, 2, "at least"),
        ]
    return checks


def _over(found: Mapping[str, Any]) -> float:
    return float(found["over_float32_forwards"])


def _name(precision: str, runtime: str) -> str:
    return precision if runtime == "fused" else f"{precision} {runtime}"


if __name__ == "__main__":
    command("generate_speed", __doc__ or "", run, full=Settings(), dry=DRY)
