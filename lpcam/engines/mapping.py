"""One function over the shards, whatever the engine."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lpcam.engines.placement import Job, Placement, Runner, usable_cores
from lpcam.interrupts import deferred, stop_here
from lpcam.records import Progress

if TYPE_CHECKING:
    from collections.abc import Iterator

Counted = Callable[[int, int], None]
"""``counted(index, done)``: of shard ``index`` so many photos are done."""

_LOG = logging.getLogger(__name__)


def runs_here(placement: Placement, device: str) -> bool:
    """Return whether the shards are done in this process, without a pool."""
    return placement.engine != "ray" and _processes(placement, device) == 1


def own_device(placement: Placement, device: str) -> str:
    """Return the device of this process: under torchrun the GPU of its local rank, else ``device`` resolved."""
    from lpcam.forward import resolve_device

    gpus = _gpus(device)
    if placement.shard == "auto" and gpus and "LOCAL_RANK" in os.environ:
        return f"cuda:{int(os.environ['LOCAL_RANK']) % gpus}"
    return resolve_device(device)


def local_workers(placement: Placement, device: str) -> tuple[list[str], int]:
    """Return the device of every process of this machine, and the CPU threads of each."""
    processes, gpus = _processes(placement, device), _gpus(device)
    devices = [f"cuda:{index % gpus}" if gpus else _without_gpu(device) for index in range(processes)]
    return devices, placement.threads or max(1, usable_cores() // processes)


def map_shards(
    job: Job | None,
    shards: Sequence[Any],
    sizes: Sequence[int],
    placement: Placement,
    *,
    device: str,
    here: Runner,
    stage: str,
    progress: Progress,
) -> list[Any]:
    """Do every shard and return the results in the order of the shards.

    Args:
        job: What a worker opens; it may be None where the shards are done here.
        shards: What is done; each can be pickled.
        sizes: Photos in each, for the progress.
        placement: Engine and processes.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:i``.
        here: The job opened in this process, for a stage that needs no pool.
        stage: Name for the progress.
        progress: Told as the work goes on.

    Raises:
        LpcamError: a shard raised it, or the workers of a shard died again and again.
    """
    if not shards:
        return []
    counted = _counter(sizes, stage, progress)
    if runs_here(placement, device):
        with _threads(placement.threads) as threads:
            _LOG.info("%s: %d shards in this process, %d CPU threads", stage, len(shards), threads)
            with deferred("what is in hand"):
                return [_do(here, shard, index, counted) for index, shard in enumerate(shards)]
    if job is None:
        raise ValueError("expected a job for the other processes, got None")
    if placement.engine == "ray":
        from lpcam.engines.on_ray import map_on_ray

        _LOG.info("%s: %d shards on Ray", stage, len(shards))
        with deferred("the shards in hand"):
            return map_on_ray(job, shards, placement, device, lambda index: counted(index, sizes[index]))
    from lpcam.engines.local import map_on_processes

    devices, threads = local_workers(placement, device)
    _LOG.info("%s: %d shards on %s, %d CPU threads each", stage, len(shards), ", ".join(devices), threads)
    with deferred("the shards in hand"):
        return map_on_processes(job, shards, devices, threads, counted)


def _processes(placement: Placement, device: str) -> int:
    if placement.processes is not None:
        return placement.processes
    return max(1, _gpus(device)) if placement.engine == "local" else 1


def _gpus(device: str) -> int:
    if device not in ("auto", "cuda"):
        return 0
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def _without_gpu(device: str) -> str:
    return "cpu" if device == "auto" else device


@contextmanager
def _threads(threads: int | None) -> Iterator[int]:
    """Use so many threads of torch in this process for a while, and say how many."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)


def _counter(sizes: Sequence[int], stage: str, progress: Progress) -> Counted:
    done, total, whole = [0] * len(sizes), 0, sum(sizes)

    def counted(index: int, count: int) -> None:
        nonlocal total
        count = min(count, sizes[index])
        if count == done[index]:
            return
        total += count - done[index]
        done[index] = count
        progress(stage, total, whole)

    progress(stage, 0, whole)
    return counted


def _do(here: Runner, shard: Any, index: int, counted: Counted) -> Any:
    stop_here()
    result = here(shard, _tick(counted, index))
    counted(index, sys.maxsize)
    return result


def _tick(counted: Counted, index: int) -> Callable[[int], None]:
    return lambda done: counted(index, done)
