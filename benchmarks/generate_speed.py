"""lpcam generate beside the backbone's forward passes alone, and beside the published way, one photo at a time.

Synthetic photos of VOC's size, a network with random weights, and for every class as many prototypes as the published
hyper-parameters leave on VOC: local features of the photos themselves. Three sides take turns on the same photos:

- `lpcam generate`: the library call behind the command, from JPEG files to seed files;
- the forwards alone: the same batches in the same memory layout, made before the clock starts; nobody can avoid them;
- one at a time: `tests/reference/one_at_a_time.py`, the published way, from JPEG files to seed files. What its own
  forwards take, in torch's default layout, is counted on the way.

Loading the classifier and the prototypes happens once a run and is left out on every side. The seeds of generate and of
one at a time are held equal. Other precisions are timed too, where `Execution` knows them.
"""

from __future__ import annotations

import importlib
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.photos import VOC_SIZE, write_classifier, write_photos, write_prototypes
from benchmarks.record import Check, Findings, Timing, command
from lpcam.backbones.classifier import Classifier
from lpcam.corridor import extract_features, generate
from lpcam.forward import Forward, Loaded, reused_memory
from lpcam.records import Execution, Photo
from lpcam.refiners import get_refiner
from lpcam.workspace import Workspace

FORWARDS = "forwards alone"
ONE_AT_A_TIME = "one at a time"
ITS_FORWARDS = "forwards within one at a time"
_WARM_UP = "warm-up"  # a list of one photo
_MAIN = "resnet50"


@dataclass(frozen=True)
class Settings:
    """Sizes of the benchmark.

    Attributes:
        archs: Backbones; the targets are for resnet50.
        photos: How many.
        size: (H, W) of each.
        scales: Of the views.
        class_prototypes: P of a class.
        context_prototypes: P' of a class.
        precisions: Of generate; the first is compared with the other sides.
        rounds: Times every side is run.
        workers: Threads that read photos ahead.
    """

    archs: tuple[str, ...] = (_MAIN, "torchvision/mobilenet_v2")
    photos: int = 3
    size: tuple[int, int] = VOC_SIZE
    scales: tuple[float, ...] = (1.0, 0.5, 1.5, 2.0)
    class_prototypes: int = 12
    context_prototypes: int = 9
    precisions: tuple[str, ...] = ("float32", "bfloat16")
    rounds: int = 2
    workers: int = 1


DRY = Settings(archs=("torchvision/mobilenet_v2",), photos=2, size=(64, 80), scales=(1.0, 0.5), rounds=1)


def run(settings: Settings) -> Findings:
    """Compare the sides for every backbone."""
    results: dict[str, Any] = {}
    checks: list[Check] = []
    for index, arch in enumerate(settings.archs):
        with tempfile.TemporaryDirectory() as folder:
            results[arch] = _Bench(arch, settings, Path(folder) / str(index)).measure()
        checks += _checks(arch, results[arch], settings.precisions)
    return Findings(results, tuple(checks))


def executions(precisions: Sequence[str], workers: int) -> dict[str, Execution]:
    """Return how generate is run for every precision; without a choice of precision only float32 is left."""
    execution = Execution(device="cpu", workers=workers)
    if "precision" not in {field.name for field in fields(Execution)}:
        return {"float32": execution} if "float32" in precisions else {}
    choose: Any = replace  # mypy knows only the fields of today
    return {precision: choose(execution, precision=precision) for precision in precisions}


def has_bfloat16_units() -> bool:
    """Return whether the processor multiplies bfloat16 itself, as Linux says it."""
    try:
        words = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    except OSError:
        return False
    return bool(words & {"avx512_bf16", "amx_bf16"})


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
        warm_up = root / "ImageSets" / "Segmentation" / f"{_WARM_UP}.txt"
        warm_up.write_text(f"{self.photos[0].name}\n", encoding="utf-8")
        self.executions = executions(settings.precisions, settings.workers)
        self.workspace = Workspace(root / "work")
        first = next(iter(self.executions.values()))
        extract_features(self.workspace, data, source, scales=(1.0,), execution=first)
        self.prototypes = write_prototypes(self.workspace, settings.class_prototypes, settings.context_prototypes)
        self.plain = _Timed(source.load(len(data.open().classes), "cpu"))  # in torch's default layout
        self.forward = Forward(source.load(len(data.open().classes), "cpu"), settings.scales)
        self.loaded = [loaded for photo in self.photos if isinstance(loaded := self.forward.load([photo]), Loaded)]

    def measure(self) -> dict[str, Any]:
        """Return the seconds of every side, the ratios and how far the seeds are apart."""
        sides: dict[str, Callable[[str | None], float]] = {
            FORWARDS: self._forwards,
            **{f"generate {name}": self._generator(name) for name in self.executions},
            ONE_AT_A_TIME: self._one_at_a_time,
        }
        for side in sides.values():
            side(_WARM_UP)
        seconds: dict[str, list[float]] = {name: [] for name in (*sides, ITS_FORWARDS)}
        for _ in range(self.settings.rounds):
            self.plain.seconds = 0.0
            for name, side in sides.items():
                seconds[name].append(side(None))
            seconds[ITS_FORWARDS].append(self.plain.seconds)
        return {
            "images": len(self.photos),
            "prototypes": {"class": self.settings.class_prototypes, "context": self.settings.context_prototypes},
            **self._compared({name: Timing(tuple(times), 1) for name, times in seconds.items()}),
        }

    def _compared(self, timings: Mapping[str, Timing]) -> dict[str, Any]:
        precisions = {}
        for precision in self.executions:
            largest, mean = difference(self._seeds(precision), self.root / ONE_AT_A_TIME)
            median = timings[f"generate {precision}"].median
            precisions[precision] = {
                "images_per_second": len(self.photos) / median,
                "over_float32_forwards": median / timings[FORWARDS].median,
                "times_faster_than_one_at_a_time": timings[ONE_AT_A_TIME].median / median,
                "largest_difference_of_the_seeds": largest,
                "mean_difference_of_the_seeds": mean,
            }
        return {
            "sides": {name: timing.as_json() for name, timing in timings.items()},
            "generate": precisions,
            "one_at_a_time_over_float32_forwards": timings[ONE_AT_A_TIME].median / timings[FORWARDS].median,
        }

    def _forwards(self, split: str | None) -> float:
        batches = list(self._batches(self.loaded[:1] if split else self.loaded))
        with torch.inference_mode(), reused_memory(self.forward.device):  # as generate does: the limit is the best case
            started = time.perf_counter()
            for images in batches:
                self.forward.classifier.features(images)
            return time.perf_counter() - started

    def _batches(self, loaded: Sequence[Loaded]) -> Iterator[Tensor]:
        for one in loaded:
            for views in one.views:
                yield torch.cat([views, views.flip(-1)]).contiguous(memory_format=torch.channels_last)

    def _generator(self, precision: str) -> Callable[[str | None], float]:
        def side(split: str | None) -> float:
            return generate(
                self.workspace,
                scales=self.settings.scales,
                split=split,
                out=self._seeds(precision) if split is None else self.root / _WARM_UP / precision,
                execution=self.executions[precision],
                overwrite=True,
            ).seconds

        return side

    def _one_at_a_time(self, split: str | None) -> float:
        reference = importlib.import_module("tests.reference.one_at_a_time")
        photos: Sequence[Photo] = self.photos[:1] if split else self.photos
        started = time.perf_counter()
        reference.write_lpcam(self.plain, photos, self.settings.scales, self.prototypes, self.root / ONE_AT_A_TIME)
        return time.perf_counter() - started

    def _seeds(self, precision: str) -> Path:
        return self.root / "seeds" / precision


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


def _checks(arch: str, found: Mapping[str, Any], precisions: Sequence[str]) -> list[Check]:
    generated = found["generate"]
    first = generated[precisions[0]]
    largest = first["largest_difference_of_the_seeds"]
    checks = [
        Check(f"{arch}: largest difference of the seeds from one at a time", largest, 1e-4, "at most", equality=True)
    ]
    if arch != _MAIN:
        return checks
    faster = first["times_faster_than_one_at_a_time"]
    checks += [
        Check(f"{arch}: seconds of generate over those of the forwards alone", _over(first), 1.1, "at most"),
        Check(f"{arch}: times faster than one at a time, both in float32", faster, 2, "at least"),
    ]
    if len(generated) > 1 and has_bfloat16_units():
        best = min(generated.values(), key=_over)
        faster = best["times_faster_than_one_at_a_time"]
        checks += [
            Check(
                f"{arch}: times faster in the best precision than in float32",
                _over(first) / _over(best),
                1.6,
                "at least",
            ),
            Check(f"{arch}: times faster in the best precision than one at a time", faster, 2, "at least"),
        ]
    return checks


def _over(found: Mapping[str, float]) -> float:
    return found["over_float32_forwards"]


if __name__ == "__main__":
    command("generate_speed", __doc__ or "", run, full=Settings(), dry=DRY)
