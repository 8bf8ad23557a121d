"""k-means of one class side: lpcam.kmeans beside kmeans_pytorch 0.3, which the published LPCAM code uses.

Both start from the same centres and do the same work: ``iterations`` updates, then the assignments and raw means that
belong to the last centres. kmeans_pytorch is driven one iteration a call (an endless tolerance stops it after one,
its random start is replaced by the centres of the call before), so its iterations are timed one by one; its progress
bar is silenced. The memory of each is measured in a process of its own.

The data stands for the object side of a VOC class under a ReLU network: non-negative and sparse. There are four
times as many parts (a sparse non-negative direction each) as centres; every vector is a blend of two of them at some
strength, with noise, clipped by the ReLU. Blends leave no gaps between the clusters, so assignments still move in the
last iteration, as they do in real features.
"""

from __future__ import annotations

import contextlib
import importlib
import io
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from benchmarks.isolated import in_new_process, peak_growth
from benchmarks.record import Check, Findings, command, measure, measure_in_turns
from lpcam.kmeans import kmeans


@dataclass(frozen=True)
class Settings:
    """Sizes of the benchmark.

    Attributes:
        vectors: M.
        channels: C.
        centres: K.
        iterations: Updates of the centres, ≥ 2.
        repeats: Times lpcam's call is timed; kmeans_pytorch is timed once for every iteration.
        engines: Of `lpcam.kmeans.kmeans`.
        seed: Of data and start.
    """

    vectors: int = 50_000
    channels: int = 2048
    centres: int = 12
    iterations: int = 5
    repeats: int = 5
    engines: tuple[str, ...] = ("faiss", "torch")
    seed: int = 0


DRY = Settings(vectors=3000, channels=32, centres=4, iterations=2, repeats=2)


def run(settings: Settings) -> Findings:
    """Compare speed, assignments, centres and memory."""
    vectors = make_vectors(settings)
    start = make_start(vectors, settings)
    peer = _peer_run(vectors, start, settings.iterations + 1)
    ours = {engine: _our_run(vectors, start, settings, engine) for engine in settings.engines}
    memory = {side: in_new_process(memory_of, side=side, **asdict(settings)) for side in ("peer", *settings.engines)}
    results = {"kmeans_pytorch": peer["numbers"], **{name: side["numbers"] for name, side in ours.items()}}
    # More moves in the last iteration than the equality below forgives: nobody can have stopped before it.
    checks = [Check("share of assignments that still move last", peer["moved"], 0.002, "at least", equality=True)]
    for engine, side in ours.items():
        equal = float((side["assignments"] == peer["assignments"]).double().mean())
        ratio = peer["numbers"]["seconds_per_iteration"] / side["numbers"]["seconds_per_iteration"]
        extra = memory[engine]["growth_bytes"] / memory[engine]["data_bytes"]
        results[engine].update(
            speedup=ratio, equal_assignments=equal, centre_difference=_difference(side["centres"], peer["centres"])
        )
        checks += [
            Check(f"{engine}: share of equal assignments", equal, 0.999, "at least", equality=True),
            Check(f"{engine}: times faster per iteration", ratio, 15, "at least"),
            Check(f"{engine}: extra memory, share of the data", extra, 0.1, "at most"),
        ]
    return Findings({**results, "memory": memory}, tuple(checks))


def make_vectors(settings: Settings) -> Tensor:
    """Return the data: float32 [M, C], ≥ 0, about half of it zero."""
    generator = torch.Generator().manual_seed(settings.seed)
    parts = torch.rand(4 * settings.centres, settings.channels, generator=generator)
    parts = torch.where(parts > 0.7, parts * 3, 0)
    vectors = torch.empty(settings.vectors, settings.channels)
    for first in range(0, settings.vectors, 4096):  # so that making the data takes no more memory than the data
        block = vectors[first : first + 4096]
        first_part, second_part = torch.randint(len(parts), (2, len(block)), generator=generator)
        share, strength = torch.rand(2, len(block), 1, generator=generator)
        block.normal_(generator=generator)
        block.add_((parts[first_part] * share + parts[second_part] * (1 - share)) * (strength + 0.5)).relu_()
    return vectors


def make_start(vectors: Tensor, settings: Settings) -> Tensor:
    """Return the first centres: K rows of the data, float32 [K, C]."""
    generator = torch.Generator().manual_seed(settings.seed + 1)
    rows = torch.randperm(len(vectors), generator=generator)[: settings.centres]
    return vectors[rows]


def memory_of(side: str, **sizes: Any) -> dict[str, Any]:
    """Return how far the peak memory of this process rises during one side's call.

    Args:
        side: ``peer`` or an engine.
        **sizes: Of `Settings`.
    """
    settings = Settings(**sizes)
    vectors = make_vectors(settings)
    start = make_start(vectors, settings)
    tiny = vectors[: 4 * settings.centres].clone()
    _call(side, tiny, tiny[: settings.centres])  # libraries load and threads start before the measurement
    growth = peak_growth(lambda: _call(side, vectors, start))
    return {"growth_bytes": growth, "data_bytes": vectors.numel() * vectors.element_size()}


def _call(side: str, vectors: Tensor, start: Tensor) -> object:
    if side == "peer":
        return _peer_iteration(vectors, start)
    return kmeans(vectors, len(start), start=start, iterations=2, engine=side)


def _our_run(vectors: Tensor, start: Tensor, settings: Settings, engine: str) -> dict[str, Any]:
    def call(iterations: int = settings.iterations) -> Any:
        return kmeans(vectors, settings.centres, start=start, iterations=iterations, engine=engine)

    timings = measure_in_turns({"whole": call, "one update": lambda: call(1)}, repeats=settings.repeats)
    found = call()
    whole, single = timings["whole"].median, timings["one update"].median
    numbers = {
        "whole_call": timings["whole"].as_json(),
        # the assignments and means after the last update are one more pass, as in the peer
        "seconds_per_iteration": whole / (settings.iterations + 1),
        "seconds_per_further_iteration": (whole - single) / (settings.iterations - 1),
        "objective": found.objective,
    }
    return {"numbers": numbers, "assignments": found.assignments, "centres": found.centres}


def _peer_run(vectors: Tensor, start: Tensor, iterations: int) -> dict[str, Any]:
    _peer_iteration(vectors, start)  # warm-up
    seconds: list[float] = []
    centres, assignments, moved = start, torch.empty(0), 1.0
    for _ in range(iterations):
        state: dict[str, tuple[Tensor, Tensor]] = {}
        timing = measure(_peer_step(vectors, centres, state), repeats=1, warmup=0)
        seconds += timing.seconds
        previous, (assignments, centres) = assignments, state["answer"]
        if len(previous):
            moved = float((previous != assignments).double().mean())
    numbers = {
        "seconds_per_iteration": sum(seconds) / len(seconds),
        "seconds": seconds,
        "moved_in_the_last_iteration": moved,
    }
    return {"numbers": numbers, "assignments": assignments, "centres": centres, "moved": moved}


def _peer_step(vectors: Tensor, centres: Tensor, state: dict[str, tuple[Tensor, Tensor]]) -> Any:
    def step() -> None:
        state["answer"] = _peer_iteration(vectors, centres)

    return step


def _peer_iteration(vectors: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """One iteration of kmeans_pytorch from given centres: assignments to them int64 [M], and the new centres."""
    with _silent_peer(centres) as peer:
        answer: tuple[Tensor, Tensor] = peer.kmeans(
            vectors, len(centres), distance="cosine", tol=float("inf"), device=torch.device("cpu")
        )
    return answer


@contextlib.contextmanager
def _silent_peer(centres: Tensor) -> Iterator[Any]:
    """Lend kmeans_pytorch with its random start replaced, and what it prints swallowed."""
    peer = importlib.import_module("kmeans_pytorch")
    with (
        mock.patch.object(peer, "initialize", return_value=centres.clone()),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        yield peer


def _difference(left: Tensor, right: Tensor) -> float:
    """Return the largest difference of two sets of centres over the largest value, 1 where their numbers differ."""
    if left.shape != right.shape:
        return 1.0
    return float((left - right).abs().max() / right.abs().max())


if __name__ == "__main__":
    command("kmeans_speed", __doc__ or "", run, full=Settings(), dry=DRY)
