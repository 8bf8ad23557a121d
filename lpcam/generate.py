"""Stage 3: the activation maps of every photo, all methods from one forward pass, each into its sink."""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch

from lpcam.forward import Forward, Loaded, halving_notices, plan_batches
from lpcam.interrupts import stop_here
from lpcam.memory import Heap, reused_memory
from lpcam.methods import Method
from lpcam.methods.attention import guide
from lpcam.propagation import Propagation, Scene
from lpcam.records import ActivationMaps, Execution, Failure, Photo, Progress, StageReport, silent
from lpcam.transfer import arrival, to_host
from lpcam.views import mirror_added

Sink = Callable[[str, ActivationMaps], None]
"""``sink(name, maps)`` keeps the maps of one photo; called by a writer thread, one call at a time unless there are
several writers."""

SHARD_SIZE = 32

_LOG = logging.getLogger(__name__)


def generate(
    photos: Sequence[Photo],
    forward: Forward,
    methods: Mapping[str, Method],
    sinks: Mapping[str, Sink],
    *,
    is_waiting: Callable[[Photo], bool] = lambda _: True,
    execution: Execution = Execution(),
    writers: int = 1,
    attention: str | None = None,
    propagation: Propagation = Propagation(),
    progress: Progress = silent,
) -> StageReport:
    """Make the activation maps of photos and hand them to the sinks.

    Reading and resizing of the next photos, the forward passes, and the sinks overlap. Which photos share a batch
    depends on the photos alone: a batch stays within `SHARD_SIZE` photos of the list, and one with a photo that is
    waiting is done whole, so that a run that goes on and a run on many machines end with the same bytes.

    Args:
        photos: Shards of `SHARD_SIZE` photos one after the other, the last may be shorter.
        forward: Classifier and scales.
        methods: By name; all work on the same features.
        sinks: By the name of the method they belong to.
        is_waiting: Whether a photo has no maps yet.
        execution: Batch size and workers; device and precision are those of ``forward``.
        writers: Threads that call the sinks, ≥ 1.
        attention: One of `lpcam.methods.attention.GUIDES`, put on the maps of all methods; None leaves them.
        propagation: What is done with the maps of all methods before they are handed on.
        progress: Told after every photo.

    Returns:
        The report; notices count maps that are zero everywhere, and how often a batch was halved for want of memory.
    """
    started, before, halved_before = time.perf_counter(), forward.seconds, forward.halved
    kind = forward.device.type
    batches = _batches(photos, execution.batch_on(kind), is_waiting)
    planned = sum(len(batch) for batch in batches)
    _LOG.info("%s of %d photos, %s", ", ".join(methods), planned, execution.on(kind))
    failures: list[Failure] = []
    done = 0
    empty: Counter[str] = Counter(dict.fromkeys(methods, 0))

    def work(loaded: Loaded) -> dict[str, list[ActivationMaps]]:
        return activation_maps(forward, loaded, methods, attention, propagation)

    with reused_memory(forward.device), ThreadPoolExecutor(writers, thread_name_prefix="lpcam-write") as writer:
        pending, heap = deque[Future[Counter[str]]](), Heap()
        for batch in forward.each(batches, execution.readers_on(kind), work):
            if isinstance(batch, Failure):
                failures.append(execution.tolerate(batch))
                continue
            loaded, found = batch
            for name, method_maps in found.items():
                arrived = arrival(forward.device)
                for photo, maps in zip(loaded.photos, method_maps, strict=True):
                    pending.append(writer.submit(_write, name, sinks[name], photo.name, maps, arrived))
            done += len(loaded.photos)
            _settle(pending, empty, most=4 * len(methods) * execution.batch_on(kind))
            heap.photo_done()
            progress("generate", done + len(failures), planned)
            stop_here()  # what was handed on is written when the block is left
        _settle(pending, empty, most=0)
    seconds, halved = time.perf_counter() - started, forward.halved - halved_before
    notices = (*empty_notices(empty), *halving_notices(halved))
    return StageReport(done, 0, tuple(failures), seconds, forward.seconds - before, notices, empty, halved=halved)


def empty_notices(empty: Mapping[str, int]) -> tuple[str, ...]:
    """Return what a user should know of maps that are zero everywhere, counted by method."""
    return tuple(f"{count} maps of {name} are zero everywhere" for name, count in empty.items() if count)


@torch.inference_mode()
def activation_maps(
    forward: Forward,
    loaded: Loaded,
    methods: Mapping[str, Method],
    attention: str | None = None,
    propagation: Propagation = Propagation(),
) -> dict[str, list[ActivationMaps]]:
    """Return the activation maps of each photo of a batch under every method.

    Args:
        forward: Classifier and scales.
        loaded: B photos of one size.
        methods: By name.
        attention: See `generate`.
        propagation: See `generate`.

    Returns:
        For every method, B activation maps on the CPU; those of a CUDA device arrive later, see `lpcam.transfer`.
    """
    scale_maps: dict[str, list[list[torch.Tensor]]] = {name: [[] for _ in loaded.photos] for name in methods}
    scenes: list[Scene] = []
    levels = levels_read(forward, methods, propagation)
    for index, of_scale in enumerate(forward.seen(loaded, levels=levels, attention=attention is not None)):
        if index == forward.nearest and propagation:
            scenes = [
                propagation.scene([mirror_added(level) for level in seen.levels], forward.pixels(loaded, photo))
                for photo, seen in enumerate(of_scale)
            ]
        for name, method in methods.items():
            for photo, seen, found in zip(loaded.photos, of_scale, scale_maps[name], strict=True):
                maps = method.view_maps(seen, photo.labels)
                if attention is not None and seen.attention is not None:
                    maps = guide(maps, seen.attention, photo.labels, attention)
                found.append(maps)
    scenes = scenes or [Scene()] * len(loaded.photos)
    return {
        name: [
            _to_host(propagation.merge(maps, photo.labels, loaded.size, methods[name].epsilon, scene))
            for photo, maps, scene in zip(loaded.photos, of_method, scenes, strict=True)
        ]
        for name, of_method in scale_maps.items()
    }


def levels_read(forward: Forward, methods: Mapping[str, Method], propagation: Propagation) -> Collection[int]:
    """Return the indices of the scales at which all levels of the network are needed."""
    if any(method.reads_levels for method in methods.values()):
        return range(len(forward.scales))
    return (forward.nearest,) if propagation.walk else ()


def _to_host(maps: ActivationMaps) -> ActivationMaps:
    return ActivationMaps(maps.labels, to_host(maps.strided), to_host(maps.high_res))


def _write(method: str, sink: Sink, name: str, maps: ActivationMaps, arrived: Callable[[], None]) -> Counter[str]:
    """Hand maps to their sink; return how many of the method's are zero everywhere."""
    arrived()
    sink(name, maps)
    peaks = maps.strided.numpy().max(axis=(1, 2)) if maps.labels else ()  # by NumPy, see `lpcam.views.view`
    empty = sum(peak == 0 for peak in peaks)
    return Counter({method: empty})


def _settle(pending: deque[Future[Counter[str]]], empty: Counter[str], most: int) -> None:
    """Wait until at most ``most`` writes are under way, and count; a failed write is raised here."""
    while len(pending) > most:
        empty.update(pending.popleft().result())


def _batches(photos: Sequence[Photo], batch_size: int, is_waiting: Callable[[Photo], bool]) -> list[tuple[Photo, ...]]:
    return [
        batch
        for first in range(0, len(photos), SHARD_SIZE)
        for batch in plan_batches(photos[first : first + SHARD_SIZE], batch_size)
        if any(is_waiting(photo) for photo in batch)
    ]
