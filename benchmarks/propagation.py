"""What the walk and the edges cost a photo, beside the network's forward passes.

Photos are noise, weights are random: neither changes the cost. Forwards are those of all scales with their mirrors,
one photo at a time. The time of the walk is that of its affinities, their calibration among them, and of the maps; that
of PAMR and of the dense CRF (where its extra is installed) is that of settling. Memory is how far the peak of a fresh
process rises over a call, that of a large photo too, whose grid is averaged onto one that fits the stated bound. Two
runs must give the same bytes, and the affinities be those of the slow transcription in `tests/reference`.
"""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.isolated import in_new_process, peak_growth
from benchmarks.photos import VOC_SIZE, write_classifier, write_photos
from benchmarks.record import Check, Findings, command, measure_in_turns
from lpcam.errors import LpcamError
from lpcam.forward import Forward, Loaded
from lpcam.propagation import Propagation, Scene, Walk
from lpcam.propagation.walk import transitions
from lpcam.records import ActivationMaps
from lpcam.views import PUBLISHED_SCALES, mirror_added


@dataclass(frozen=True)
class Settings:
    """Sizes of the benchmark.

    Attributes:
        arch: Backbone; a light one, so that the shares are large.
        size: (H, W) of a photo.
        large: (H, W) of a large one, of which memory is measured.
        classes: Of a photo.
        scales: Of the views.
        rounds: Of the timing.
    """

    arch: str = "torchvision/mobilenet_v2"
    size: tuple[int, int] = VOC_SIZE
    large: tuple[int, int] = (1500, 2000)
    classes: tuple[int, ...] = (1, 3)
    scales: tuple[float, ...] = PUBLISHED_SCALES
    rounds: int = 2


DRY = Settings(size=(64, 80), large=(96, 128), classes=(2,), scales=(1.0,), rounds=1)
PIPELINES = {"walk": Propagation(Walk()), "PAMR": Propagation(edges="pamr"), "walk, PAMR": Propagation(Walk(), "pamr")}


def run(settings: Settings) -> Findings:
    """Time and weigh every step."""
    pipelines = {**PIPELINES, **_crf()}
    with tempfile.TemporaryDirectory() as folder:
        forward, loaded = photo(Path(folder), settings.arch, settings.size, settings.scales)
        results = {
            f"{classes} classes": _timed(forward, loaded, pipelines, classes, settings.rounds)
            for classes in settings.classes
        }
        checks = (
            Check("largest difference of two runs", _repeated(forward, loaded), 0.0, "at most", equality=True),
            Check("largest difference to the dense transcription", _to_dense(), 1e-5, "at most", equality=True),
        )
    memory = {name: _memory(settings, name) for name in PIPELINES}
    affinities = 4 * Walk().positions ** 2
    shares = [found["walk, PAMR"]["over_forwards"] for found in results.values()]
    return Findings(
        {"photos": results, "memory": memory, "affinities_bound_bytes": affinities},
        (
            *checks,
            Check("walk and PAMR: share of the forwards' time", max(shares), 0.1, "at most"),
            Check(
                "a large photo: peak memory of the walk over the bound of its affinities",
                memory["walk"]["large"] / affinities,
                4,
                "at most",
            ),
        ),
    )


def photo(folder: Path, arch: str, size: tuple[int, int], scales: tuple[float, ...]) -> tuple[Forward, Loaded]:
    """Return a network and a photo of noise.

    Raises:
        LpcamError: the photo cannot be read.
    """
    source = write_photos(folder, 1, size=size)
    forward = Forward(write_classifier(arch, folder / "weights.pth").load(20, "cpu"), scales)
    loaded = forward.load(source.open().photos)
    if not isinstance(loaded, Loaded):
        raise LpcamError(f"{loaded.name} failed ({loaded.reason}): repair the photo")
    return forward, loaded


def peaks_of(sizes: dict[str, tuple[int, int]], pipeline: str) -> dict[str, Any]:
    """Return how far propagating three maps raises this process's peak memory: bytes, for every size.

    Args:
        sizes: (H, W) of photos, the smallest first.
        pipeline: Of `PIPELINES`.
    """
    return {name: _peak_of(size, PIPELINES[pipeline]) for name, size in sizes.items()}


def _peak_of(size: tuple[int, int], propagation: Propagation) -> int:
    grid = (size[0] // 16, size[1] // 16)
    levels = [torch.rand(32, 2 * grid[0], 2 * grid[1]), torch.rand(96, *grid), torch.rand(8, *grid)]
    pixels, maps = torch.rand(3, *size), [torch.rand(3, *grid)]

    def call() -> object:
        return propagation.merge(maps, (0, 1, 2), (size[0], size[1]), 0.0, propagation.scene(levels, pixels))

    return peak_growth(call)


def _crf() -> dict[str, Propagation]:
    try:
        return {"CRF": Propagation(edges="crf")}
    except LpcamError:
        return {}


def _timed(
    forward: Forward, loaded: Loaded, pipelines: dict[str, Propagation], classes: int, rounds: int
) -> dict[str, Any]:
    levels, pixels = _levels(forward, loaded), forward.pixels(loaded, 0)
    maps = [torch.rand(classes, *(round(scale * side) for side in levels[-1].shape[1:])) for scale in forward.scales]

    def call(propagation: Propagation) -> Callable[[], object]:
        return lambda: _merged(propagation, maps, loaded, propagation.scene(levels, pixels))

    def forwards() -> None:
        for _ in forward.seen(loaded):
            pass

    calls = {name: call(propagation) for name, propagation in pipelines.items()}
    timings = measure_in_turns({"forwards": forwards, "nothing": call(Propagation()), **calls}, repeats=rounds)
    whole, nothing = timings["forwards"].median, timings["nothing"].median
    found: dict[str, Any] = {name: timing.as_json() for name, timing in timings.items()}
    for name in calls:
        found[name]["over_nothing_seconds"] = timings[name].median - nothing
        found[name]["over_forwards"] = (timings[name].median - nothing) / whole
    return found


def _levels(forward: Forward, loaded: Loaded) -> list[torch.Tensor]:
    for index, (seen,) in enumerate(forward.seen(loaded, levels=(forward.nearest,))):
        if index == forward.nearest:
            return [mirror_added(level).clone() for level in seen.levels]
    raise AssertionError("a Forward has a scale nearest to 1")


def _merged(propagation: Propagation, maps: list[torch.Tensor], loaded: Loaded, scene: Scene) -> ActivationMaps:
    return propagation.merge(maps, tuple(range(len(maps[0]))), loaded.size, 0.0, scene)


def _repeated(forward: Forward, loaded: Loaded) -> float:
    """Return the largest difference of two propagations of the same maps."""
    levels, pixels = _levels(forward, loaded), forward.pixels(loaded, 0)
    maps = [torch.rand(2, *levels[-1].shape[1:], generator=torch.Generator().manual_seed(0))]
    propagation = PIPELINES["walk, PAMR"]
    first, again = (_merged(propagation, maps, loaded, propagation.scene(levels, pixels)) for _ in range(2))
    return float((first.high_res - again.high_res).abs().max())


def _to_dense() -> float:
    """Return the largest difference of A, for a small grid of random features, to the transcription's."""
    reference = importlib.import_module("tests.reference.propagation")
    generator = torch.Generator().manual_seed(0)
    levels = [torch.randn(5, 8, 10, generator=generator), torch.randn(4, 4, 5, generator=generator)]
    ground = Walk(power=3.0).ground([*levels, torch.rand(3, 4, 5, generator=generator)])
    dense = torch.from_numpy(reference.affinities([level.double().numpy() for level in levels[::-1]], 3.0))
    expected = dense / dense.sum(dim=1, keepdim=True)
    return float((transitions(ground.vectors, ground.power) - expected).abs().max())


def _memory(settings: Settings, pipeline: str) -> dict[str, Any]:
    return in_new_process(peaks_of, sizes={"photo": settings.size, "large": settings.large}, pipeline=pipeline)


if __name__ == "__main__":
    command("propagation", __doc__ or "", run, full=Settings(), dry=DRY)
