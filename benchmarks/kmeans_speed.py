"""k-means of one class side: lpcam.kmeans beside its peers, and beside what the arithmetic alone would take.

All start from the same centres:

- ``kmeans_pytorch`` 0.3, which the published LPCAM code uses. It is driven one iteration a call (an endless tolerance
  stops it after one, its random start is replaced by the centres of the call before), so its iterations are timed one
  by one; its progress bar is silenced.
- ``fast_pytorch_kmeans`` 0.2.2, cosine.
- ``textbook``: the loop anybody would write in torch; `textbook` below.
- ``sklearn``: Lloyd, Euclidean, another algorithm of the same cost.
- ``faiss`` and ``torch``: the engines of `lpcam.kmeans.kmeans`.

Apart from kmeans_pytorch an iteration is (a call of n iterations − a call of one) / (n − 1): what comes before and
after is not in it. The engines, whose iterations are short, have calls of more of them, which stand between the
iterations of kmeans_pytorch. Their whole calls are compared too: n updates, then the assignments and raw means that
belong to the last centres. The memory of each side is measured in a process of its own.

The floor of an iteration is the 4·M·C·K floating-point operations of its two matrix products at the rate of a large
square product, plus one read of the data (its sum). Beside it stand the two products themselves in the fastest layout.

The data stands for the object side of a VOC class under a ReLU network: non-negative and sparse. There are four
times as many parts (a sparse non-negative direction each) as centres; every vector is a blend of two of them at some
strength, with noise, clipped by the ReLU. Blends leave no gaps between the clusters, so assignments still move in the
last iteration, as they do in real features.
"""

from __future__ import annotations

import contextlib
import importlib
import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.isolated import in_new_process, peak_growth
from benchmarks.record import Check, Findings, Timing, command, measure_in_turns
from lpcam.kmeans import kmeans

ENGINES = ("faiss", "torch")
PEERS = ("fast_pytorch_kmeans", "textbook", "sklearn")


@dataclass(frozen=True)
class Settings:
    """Sizes of the benchmark.

    Attributes:
        vectors: M.
        channels: C.
        centres: K.
        iterations: Updates of the centres, ≥ 2.
        engine_iterations: Likewise in the longer of the timed calls of the engines.
        repeats: Times the floor is timed; kmeans_pytorch and the engines are timed once for each of its iterations.
        peer_repeats: Times a call of the other peers, and of the curves, is timed, without one that warms up: each
            takes seconds.
        peer_memory_vectors: M where the memory of kmeans_pytorch is measured, which takes many times the data.
        seed: Of data and start.
        many_centres: Every K of the curve over K.
        curve_vectors: M of the curve over K.
        many_vectors: Every M of the curve over M.
        square: Side of the matrix product that gives the floor's rate.
    """

    vectors: int = 100_000
    channels: int = 2048
    centres: int = 12
    iterations: int = 3
    engine_iterations: int = 7
    repeats: int = 3
    peer_repeats: int = 1
    peer_memory_vectors: int = 25_000
    seed: int = 0
    many_centres: tuple[int, ...] = (4, 12, 24, 48)
    curve_vectors: int = 25_000
    many_vectors: tuple[int, ...] = (12_500, 25_000, 50_000)
    square: int = 4096


DRY = Settings(
    vectors=3000,
    channels=32,
    centres=4,
    iterations=2,
    engine_iterations=3,
    repeats=2,
    peer_repeats=1,
    peer_memory_vectors=2000,
    many_centres=(2, 4),
    curve_vectors=500,
    many_vectors=(300, 500),
    square=64,
)


def run(settings: Settings) -> Findings:
    """Compare speed, assignments, centres and memory."""
    vectors = make_vectors(settings)
    start = make_start(vectors, settings)
    floor = _floor(vectors, start, settings)
    peer = _Peer(vectors, start)
    results = _time_sides(peer, start, settings)
    curves = {"over_centres": _over_centres(vectors, settings), "over_vectors": _over_vectors(vectors, settings)}
    ours = {engine: _found(vectors, start, settings, engine, peer) for engine in ENGINES}
    results["textbook"]["equal_assignments"] = _equal(textbook(vectors, start, settings.iterations), peer)
    results["fast_pytorch_kmeans"]["equal_assignments"] = _equal(_fast(vectors, start, settings.iterations + 1), peer)
    further = _moved_after(vectors, start, settings.engine_iterations)
    del vectors
    memory = {side: in_new_process(memory_of, side=side, **asdict(settings)) for side in ("kmeans_pytorch", *ENGINES)}
    # More moves in the last iteration than the equality below forgives: nobody can have stopped before it.
    checks = [
        Check("share of assignments that still move last", peer.moved, 0.002, "at least", equality=True),
        Check("torch: share that moves after the last timed iteration", further, 1e-5, "at least", equality=True),
    ]
    for engine in ENGINES:
        found, numbers = ours[engine], results[engine]
        found["speedup"] = results["kmeans_pytorch"]["seconds_per_iteration"] / numbers["seconds_per_iteration"]
        found["times_the_floor"] = numbers["seconds_per_iteration"] / floor["seconds_per_iteration"]
        numbers.update(found)
        extra = memory[engine]["growth_bytes"] / memory[engine]["data_bytes"]
        checks += [
            Check(f"{engine}: share of equal assignments", found["equal_assignments"], 0.999, "at least", True),
            Check(f"{engine}: extra memory, share of the data", extra, 0.1, "at most"),
        ]
    speedup, over_floor = ours["torch"]["speedup"], ours["torch"]["times_the_floor"]
    checks += [  # of the default engine; FAISS stands beside it as the others do
        Check("torch: times faster per iteration than kmeans_pytorch", speedup, 40, "at least"),
        Check("torch: an iteration over its arithmetic floor", over_floor, 2.5, "at most"),
    ]
    whole = results["torch"]["whole_call"]["median"] / results["faiss"]["whole_call"]["median"]
    checks.append(Check("torch: a whole call over that of faiss", whole, 1, "at most"))
    return Findings({**results, "floor": floor, "curves": curves, "memory": memory}, tuple(checks))


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
        side: ``kmeans_pytorch`` or an engine.
        **sizes: Of `Settings`.
    """
    settings = Settings(**sizes)
    vectors = make_vectors(settings if side in ENGINES else replace(settings, vectors=settings.peer_memory_vectors))
    start = make_start(vectors, settings)
    tiny = vectors[: 4 * settings.centres].clone()
    _call(side, tiny, tiny[: settings.centres])  # libraries load and threads start before the measurement
    growth = peak_growth(lambda: _call(side, vectors, start))
    return {"growth_bytes": growth, "data_bytes": vectors.numel() * vectors.element_size()}


def textbook(vectors: Tensor, start: Tensor, iterations: int) -> Tensor:
    """Return the assignments, int64 [M], after some updates by the loop of a textbook; no cluster may become empty."""
    centres = start
    units = F.normalize(vectors, dim=1)
    for _ in range(iterations):
        assignments = (units @ F.normalize(centres, dim=1).T).argmax(dim=1)
        centres = torch.stack([vectors[assignments == index].mean(dim=0) for index in range(len(centres))])
    return (units @ F.normalize(centres, dim=1).T).argmax(dim=1)


def _call(side: str, vectors: Tensor, start: Tensor) -> object:
    if side == "kmeans_pytorch":
        return _peer_iteration(vectors, start)
    return kmeans(vectors, len(start), start=start, iterations=2, engine=side)


def _fast(vectors: Tensor, start: Tensor, iterations: int) -> Tensor:
    """Assignments, int64 [M], to the centres before the last update."""
    peer = importlib.import_module("fast_pytorch_kmeans")
    assignments: Tensor = peer.KMeans(len(start), max_iter=iterations, tol=-1.0, mode="cosine").fit_predict(
        vectors, centroids=start.clone()
    )
    return assignments


def _sklearn(vectors: Tensor, start: Tensor, iterations: int) -> object:
    peer = importlib.import_module("sklearn.cluster")
    search = peer.KMeans(len(start), init=start.numpy(), n_init=1, max_iter=iterations, tol=0.0, algorithm="lloyd")
    return search.fit(vectors.numpy())


def _side(name: str, vectors: Tensor, start: Tensor) -> Callable[[int], object]:
    """Return a function of the number of iterations."""
    peers = {"fast_pytorch_kmeans": _fast, "textbook": textbook, "sklearn": _sklearn}
    if name in peers:
        return partial(peers[name], vectors, start)
    return lambda iterations: kmeans(vectors, len(start), start=start, iterations=iterations, engine=name)


def _time_sides(peer: _Peer, start: Tensor, settings: Settings) -> dict[str, dict[str, Any]]:
    """Time every side; the engines take turns with the iterations of kmeans_pytorch, the other peers come after."""
    vectors, iterations = peer.vectors, settings.iterations
    _peer_iteration(vectors[: 64 * len(start)], start)  # warms up, as do the engines' first calls
    engines = _calls({name: _side(name, vectors, start) for name in ENGINES}, settings.engine_iterations)
    for call in engines.values():
        call()
    timings = measure_in_turns({"kmeans_pytorch": peer.step, **engines}, repeats=iterations + 1, warmup=0)
    timing = timings["kmeans_pytorch"]
    numbers: dict[str, dict[str, Any]] = {
        "kmeans_pytorch": {
            "seconds_per_iteration": timing.median,
            "seconds": list(timing.seconds),
            "moved_in_the_last_iteration": peer.moved,
        }
    }
    others = _calls({name: _side(name, vectors, start) for name in PEERS}, iterations)
    timings |= measure_in_turns(others, repeats=settings.peer_repeats, warmup=0)
    many = {**dict.fromkeys(ENGINES, settings.engine_iterations), **dict.fromkeys(PEERS, iterations)}
    return numbers | {name: _per_iteration(timings, name, count) for name, count in many.items()}


def _calls(sides: Mapping[str, Callable[[int], object]], iterations: int) -> dict[str, Callable[[], object]]:
    """Return for every side a call of so many iterations and one of a single iteration."""
    return {f"{name} {count}": partial(side, count) for name, side in sides.items() for count in (iterations, 1)}


def _per_iteration(timings: Mapping[str, Timing], name: str, iterations: int) -> dict[str, Any]:
    whole, single = timings[f"{name} {iterations}"], timings[f"{name} 1"]
    return {
        "whole_call": whole.as_json(),
        "one_iteration_call": single.as_json(),
        "seconds_per_iteration": (whole.median - single.median) / (iterations - 1),
    }


def _over_centres(vectors: Tensor, settings: Settings) -> list[dict[str, Any]]:
    return [
        _point(vectors[: settings.curve_vectors], replace(settings, centres=centres))
        for centres in settings.many_centres
    ]


def _over_vectors(vectors: Tensor, settings: Settings) -> list[dict[str, Any]]:
    return [_point(vectors[:count], settings) for count in settings.many_vectors]


def _point(vectors: Tensor, settings: Settings) -> dict[str, Any]:
    start = make_start(vectors, settings)
    sides = {engine: _side(engine, vectors, start) for engine in ENGINES}
    timings = measure_in_turns(_calls(sides, settings.iterations), repeats=settings.peer_repeats, warmup=0)
    found = {engine: _per_iteration(timings, engine, settings.iterations) for engine in ENGINES}
    seconds = {engine: numbers["seconds_per_iteration"] for engine, numbers in found.items()}
    return {"vectors": len(vectors), "channels": settings.channels, "centres": settings.centres, "seconds": seconds}


def _floor(vectors: Tensor, start: Tensor, settings: Settings) -> dict[str, Any]:
    """Return what the arithmetic and the read of one iteration take on this machine."""
    left, right = torch.rand(2, settings.square, settings.square)
    directions = F.normalize(start, dim=1)
    across = directions.T.contiguous()
    members = torch.zeros(len(vectors), len(start))
    members[torch.arange(len(vectors)), torch.arange(len(vectors)) % len(start)] = 1
    members_across = members.T.contiguous()
    calls: dict[str, Callable[[], object]] = {
        "square product": lambda: left @ right,
        "read": vectors.sum,
        "assign: vectors @ directions": lambda: vectors @ across,
        "assign: directions @ vectors": lambda: directions @ vectors.T,
        "sum: members (row by row) @ vectors": lambda: members_across @ vectors,
        "sum: members (column by column) @ vectors": lambda: members.T @ vectors,
    }
    medians = {name: timing.median for name, timing in measure_in_turns(calls, repeats=settings.repeats).items()}
    rate = 2 * settings.square**3 / medians["square product"]
    operations = 4 * vectors.numel() * len(start)
    fastest = {
        kind: min(seconds for name, seconds in medians.items() if name.startswith(kind)) for kind in ("assign", "sum")
    }
    return {
        "flops_per_second": rate,
        "operations": operations,
        "seconds": medians,
        "seconds_per_iteration": operations / rate + medians["read"],
        "seconds_of_whole_products_and_read": fastest["assign"] + fastest["sum"] + medians["read"],
    }


def _found(vectors: Tensor, start: Tensor, settings: Settings, engine: str, peer: _Peer) -> dict[str, Any]:
    found = kmeans(vectors, settings.centres, start=start, iterations=settings.iterations, engine=engine)
    return {
        "objective": found.objective,
        "equal_assignments": _equal(found.assignments, peer),
        "centre_difference": _difference(found.centres, peer.centres),
    }


def _moved_after(vectors: Tensor, start: Tensor, iterations: int) -> float:
    """Return the share of the assignments that another iteration of the torch engine changes."""
    found = [kmeans(vectors, len(start), start=start, iterations=count) for count in (iterations, iterations + 1)]
    return float((found[0].assignments != found[1].assignments).double().mean())


def _equal(assignments: Tensor, peer: _Peer) -> float:
    return float((assignments == peer.assignments).double().mean())


class _Peer:
    """kmeans_pytorch, an iteration a step.

    Attributes:
        vectors: What it clusters.
        centres: Its own, after the last step.
        assignments: Those to the centres before.
        moved: Share of the assignments that the last step changed.
    """

    def __init__(self, vectors: Tensor, start: Tensor) -> None:
        self.vectors, self.centres = vectors, start
        self.assignments, self.moved = torch.empty(0), 1.0

    def step(self) -> None:
        """Go on by an iteration."""
        previous = self.assignments
        self.assignments, self.centres = _peer_iteration(self.vectors, self.centres)
        if len(previous):
            self.moved = float((previous != self.assignments).double().mean())


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
