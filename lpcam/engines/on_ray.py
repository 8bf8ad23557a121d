"""Ray core actors: each opens the job once and is handed one shard, or question, after the other, wherever it is."""

from __future__ import annotations

import importlib
import math
import os
import pickle
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lpcam.engines.crew import Crew, WorkerLost
from lpcam.engines.placement import ATTEMPTS, Job, Placement, Runner, given_up, limit_threads
from lpcam.errors import LpcamError, of_system
from lpcam.interrupts import asked, stop_here


def map_on_ray(
    job: Job, shards: Sequence[Any], placement: Placement, device: str, done: Callable[[int], None]
) -> list[Any]:
    """Do the shards on Ray actors, a GPU each where the cluster has some; see `lpcam.engines.map_shards`.

    A shard whose actor died goes to the next free one, three times at most, and a new actor is asked for. Files are
    the only thing that leaves an actor beside a short report, so every machine must see the data and the workspace
    under the same paths.
    """
    with _actors(job, placement, device) as actors:
        pool = _Pool(actors, shards, done)
        while len(pool.results) < len(shards):
            if not pool.is_busy():
                stop_here()
            pool.listen()
        return [pool.results[index] for index in range(len(shards))]


@contextmanager
def crew_of_actors(job: Job, placement: Placement, device: str) -> Iterator[Crew]:
    """Have actors that stay and answer, as many as `map_on_ray` would have; see `lpcam.engines.crew_for`."""
    with _actors(job, placement, device) as actors:
        yield _Crew(actors)


@contextmanager
def _actors(job: Job, placement: Placement, device: str) -> Iterator[_Actors]:
    """End every actor in the end, and Ray too where it was started for this."""
    ray = _import_ray()
    ours = not ray.is_initialized()
    if ours:
        _connect(ray, placement.ray_address)
    try:
        actors = _Actors(ray, job, placement, device)
        try:
            yield actors
        finally:
            actors.stop()
    finally:
        if ours:
            ray.shutdown()


class _Actors:
    """Actors that open the same job."""

    def __init__(self, ray: Any, job: Job, placement: Placement, device: str) -> None:
        self._ray = ray
        self._alive: set[Any] = set()
        self.count, cpus, gpus = _resources(ray, placement, device)
        self.device = "cuda" if gpus else "cpu"
        self._arguments = (pickle.dumps(job), self.device, placement.threads or cpus, str(Path.cwd()))
        self._actor = ray.remote(_Worker).options(num_cpus=cpus, num_gpus=gpus, scheduling_strategy="SPREAD")

    def hire(self) -> Any:
        """Start an actor."""
        actor = self._actor.remote(*self._arguments)
        self._alive.add(actor)
        return actor

    def listen(self, running: Mapping[Any, Any]) -> tuple[Any, str, Any]:
        """Wait for one answer: which, ready, done or lost, and what was done or why it was lost.

        Args:
            running: The actor of every answer that is still to come.

        Raises:
            LpcamError: an actor raised it.
        """
        (reference,), _ = self._ray.wait(list(running), num_returns=1)
        errors = self._ray.exceptions
        try:
            kind, value = self._ray.get(reference)
        except (
            errors.RayActorError,
            errors.WorkerCrashedError,
            errors.OutOfMemoryError,
            errors.ObjectLostError,
        ) as lost:
            self._alive.discard(running[reference])
            return reference, "lost", type(lost).__name__
        if kind == "refused":
            raise LpcamError(value)
        return reference, kind, value

    def stop(self) -> None:
        """End every actor."""
        for actor in self._alive:
            self._ray.kill(actor)


class _Pool:
    """What each actor is doing, and what is left."""

    def __init__(self, actors: _Actors, shards: Sequence[Any], done: Callable[[int], None]) -> None:
        self._actors, self._shards, self._done = actors, shards, done
        self._waiting = deque(range(len(shards)))
        self._begun: Counter[int] = Counter()
        self._failed_starts = 0
        self._idle: list[Any] = []
        self._running: dict[Any, Any] = {}
        self._doing: dict[Any, int] = {}
        self.results: dict[int, Any] = {}
        for _ in range(min(actors.count, len(shards))):
            self._hire()

    def listen(self) -> None:
        """Wait for one actor and take what it says."""
        reference, kind, value = self._actors.listen(self._running)
        actor, index = self._running.pop(reference), self._doing.pop(reference, None)
        if kind == "lost":
            self._replace(index, value)
            return
        if index is not None:
            self.results[index] = value
            self._done(index)
        self._idle.append(actor)
        self._hand_out()

    def is_busy(self) -> bool:
        """Return whether an actor has something in hand, if only its start."""
        return bool(self._running)

    def _hire(self) -> None:
        actor = self._actors.hire()
        self._running[actor.ready.remote()] = actor

    def _hand_out(self) -> None:
        while self._waiting and self._idle and not asked():
            index, actor = self._waiting.popleft(), self._idle.pop()
            self._begun[index] += 1
            reference = actor.run.remote(self._shards[index])
            self._running[reference], self._doing[reference] = actor, index

    def _replace(self, index: int | None, why: str) -> None:
        if index is None:
            self._failed_starts += 1
            if self._failed_starts >= ATTEMPTS:
                raise LpcamError(
                    f"Ray cannot start workers ({why}): is lpcam installed on every machine? See 'ray status'"
                )
        else:
            if self._begun[index] >= ATTEMPTS:
                raise given_up(ATTEMPTS, why)
            self._waiting.appendleft(index)
        self._hire()
        self._hand_out()


class _Crew:
    """Actors that stay: the shards they are handed are questions."""

    def __init__(self, actors: _Actors) -> None:
        self._actors = actors
        self._staff: dict[int, Any] = {}
        self.size, self.device = actors.count, actors.device

    def ask(self, questions: Mapping[int, Any]) -> dict[int, Any]:
        """Ask several at the same time; see `lpcam.engines.Crew.ask`."""
        self._staff |= {worker: self._actors.hire() for worker in questions if worker not in self._staff}
        asked_of = {self._staff[worker].run.remote(question): worker for worker, question in questions.items()}
        running = {reference: self._staff[worker] for reference, worker in asked_of.items()}
        answers, lost = {}, []
        while running:
            reference, kind, value = self._actors.listen(running)
            del running[reference]
            if kind == "lost":
                lost.append(value)
                del self._staff[asked_of[reference]]
            else:
                answers[asked_of[reference]] = value
        if lost:
            raise WorkerLost(lost[0])
        return answers


class _Worker:
    """An actor."""

    def __init__(self, job: bytes, device: str, threads: int, folder: str) -> None:
        limit_threads(threads)
        if Path(folder).is_dir():  # relative paths mean what they mean to the driver
            os.chdir(folder)
        self._job, self._device, self._threads = job, device, threads
        self._run: Runner | None = None

    def ready(self) -> tuple[str, None]:
        """Say that the actor is there."""
        return "ready", None

    def run(self, shard: Any) -> tuple[str, Any]:
        """Do one shard; an error that a user can fix is returned, so that it stays one line."""
        try:
            if self._run is None:
                self._run = pickle.loads(self._job).open(self._device)  # noqa: S301
                limit_threads(self._threads)  # opening imported torch
            return "done", self._run(shard, _ignore)
        except LpcamError as error:
            return "refused", str(error)
        except (OSError, MemoryError) as error:
            return "refused", str(of_system(error))


def _resources(ray: Any, placement: Placement, device: str) -> tuple[int, int, int]:
    """Return actors, CPUs of each and GPUs of each."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]
    gpus = 0 if device == "cpu" else int(ray.cluster_resources().get("GPU", 0))
    if device.startswith("cuda") and gpus == 0:
        raise LpcamError(f"the Ray cluster has no GPU for --device {device}: leave the option out, or see 'ray status'")
    count = placement.processes or gpus or max(1, len(nodes))
    count = min(count, gpus) if gpus else count
    smallest = min((int(node["CPU"]) for node in nodes), default=1)
    a_node = math.ceil(count / max(1, len(nodes)))
    return count, max(1, smallest // a_node), 1 if gpus else 0


def _import_ray() -> Any:
    try:
        return importlib.import_module("ray")  # an extra: nobody has to have it, mypy neither
    except ImportError as error:
        raise LpcamError("Ray is not installed: pip install 'lpcam[ray]', or use --engine local") from error


def _connect(ray: Any, address: str | None) -> None:
    alone = {} if address or os.environ.get("RAY_ADDRESS") else {"include_dashboard": False}
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR", **alone)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise LpcamError(
            f"cannot reach a Ray cluster at '{address}' ({str(error).splitlines()[0]}): "
            "start one with 'ray start --head', or leave --ray-address out"
        ) from error


def _ignore(done: int) -> None:
    """An actor reports whole shards only."""
